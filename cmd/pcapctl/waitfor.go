package main

import (
	"errors"
	"strings"
	"time"

	"github.com/jmespath/go-jmespath"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pcapctl/capture/fault"
	"pcapctl/capture/registry"
)

// waitFlags are the conditions that az waits for. Without one, wait waits for
// the end of a session.
type waitFlags struct {
	created, updated, exists, deleted bool
	custom, interval                  string
}

func (w *waitFlags) flags(f *pflag.FlagSet) {
	f.BoolVar(&w.created, "created", false, "wait until packets are being captured, and not for the end")
	f.BoolVar(&w.updated, "updated", false, "as --created")
	f.BoolVar(&w.exists, "exists", false, "wait until there is such a session")
	f.BoolVar(&w.deleted, "deleted", false, "wait until there is no such session")
	f.StringVar(&w.custom, "custom", "", "wait until this JMESPath `query` of what show prints is true")
	f.StringVar(&w.interval, "interval", "", "seconds between two looks (default 0.2)")
	for _, name := range []string{"updated", "exists", "interval"} {
		_ = f.MarkHidden(name)
	}
}

// waitCondition is what is waited for: told whether a look at a session shows it.
type waitCondition struct {
	name  string // of its flag
	holds func(s *registry.Session, err error) (bool, error)
}

// condition is the one that was given. It has no name when none was.
func (w *waitFlags) condition() (waitCondition, error) {
	begun := func(s *registry.Session, err error) (bool, error) {
		if err == nil {
			err = s.Err // nothing more will be known of it
		}
		return err == nil && s.State != registry.Starting, err
	}
	all := map[string]waitCondition{}
	for _, c := range []struct {
		given bool
		waitCondition
	}{
		{w.created, waitCondition{"--created", begun}},
		{w.updated, waitCondition{"--updated", begun}},
		{w.exists, waitCondition{"--exists", func(_ *registry.Session, err error) (bool, error) { return err == nil, unlessUnknown(err) }}},
		{w.deleted, waitCondition{"--deleted", func(_ *registry.Session, err error) (bool, error) {
			return errors.Is(err, registry.ErrUnknown), unlessUnknown(err)
		}}},
		{w.custom != "", waitCondition{name: "--custom"}},
	} {
		if c.given {
			all[c.name] = c.waitCondition
		}
	}
	if len(all) > 1 {
		return waitCondition{}, fault.Errorf(fault.Invalid, "wait waits for one condition: give one of --created, --updated, --exists, --deleted, --custom")
	}
	for _, c := range all {
		if w.custom == "" {
			return c, nil
		}
		expr, err := jmespath.Compile(w.custom)
		if err != nil {
			return c, notJMESPath("--custom", w.custom, err)
		}
		c.holds = func(s *registry.Session, err error) (bool, error) {
			if err != nil {
				return false, err
			}
			found, err := search(expr, w.custom, sessionView{s.Resource(), s})
			return isTrue(found), err
		}
		return c, nil
	}
	return waitCondition{}, nil
}

func unlessUnknown(err error) error {
	if errors.Is(err, registry.ErrUnknown) {
		return nil
	}
	return err
}

// isTrue reports whether JMESPath takes a value for true.
func isTrue(v any) bool {
	switch v := v.(type) {
	case nil:
		return false
	case bool:
		return v
	case string:
		return v != ""
	case []any:
		return len(v) > 0
	case map[string]any:
		return len(v) > 0
	default:
		return true
	}
}

// waitFor waits until the condition holds for every named session.
func (a *app) waitFor(cmd *cobra.Command, names []string, w *waitFlags, c waitCondition, atMost string) error {
	if err := sessionArgs(manySessions)(cmd, names); err != nil {
		return err
	}
	every := 200 * time.Millisecond
	if w.interval != "" {
		var err error
		if every, err = waitTime(w.interval); err != nil || every == 0 {
			return &fault.Error{Class: fault.Invalid, Target: "--interval", Message: notAllowed(w.interval, "a number of seconds, or a duration such as 500ms").Error()}
		}
	}
	ctx, cancel, err := waiting(cmd, atMost)
	if err != nil {
		return err
	}
	defer cancel()
	reg, err := a.registry()
	if err != nil {
		return err
	}
	for _, name := range names {
		for {
			s, err := reg.Get(name)
			held, err := c.holds(s, err)
			if err != nil {
				return withKnownNames(reg, name, err)
			}
			if held {
				a.say("%s: %s", name, strings.TrimPrefix(c.name, "--"))
				break
			}
			select {
			case <-ctx.Done():
				return fault.Errorf(fault.TimedOut, "%s: %s does not hold yet", name, c.name)
			case <-time.After(every):
			}
		}
	}
	return nil
}
