package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pcapctl/capture/fault"
	"pcapctl/capture/registry"
	"pcapctl/capture/request"
)

func (a *app) stopCommand() *cobra.Command {
	var all bool
	var timeout endTimeout
	var after string
	var named nameFlags
	cmd := &cobra.Command{
		Use:   "stop NAME… | --all",
		Short: "End sessions; their capture files are complete when it returns",
		Long: `stop ends sessions as Ctrl-C does and returns when their capture files are
closed. It is not an error when a session has ended before. It waits for
--timeout at the most: exit code 10 then, and the session ends by itself.

With --after it waits that long before it ends them, so that what follows an
event that a script has seen is captured, too. Ctrl-C meanwhile leaves them
running.

--all takes your own sessions. Root may stop other users' sessions by name.`,
		ValidArgsFunction: a.completeSessions(manySessions, isAlive),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.stop(cmd, args, all, after, &timeout) },
	}
	cmd.Flags().BoolVar(&all, "all", false, "end all sessions that are capturing")
	cmd.Flags().StringVar(&after, "after", "", "how long to go on capturing before: a `time` such as 30s, or a number of seconds")
	timeout.flag(cmd.Flags(), "how long")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case !all:
			return sessionArgs(manySessions)(cmd, args)
		case len(args) > 0:
			return fault.Errorf(fault.Invalid, "either --all or names, but %s was given with --all", fault.Quote(args[0]))
		}
		return nil
	}
	addNoWait(cmd.Flags())
	named.add(cmd)
	return cmd
}

func (a *app) stop(cmd *cobra.Command, names []string, all bool, after string, timeout *endTimeout) error {
	atMost, err := timeout.value()
	wait, werr := stopAfter(after)
	if err := fault.Join(err, werr); err != nil {
		return err
	}
	reg, err := a.registry()
	if err != nil {
		return err
	}
	if all {
		if names, err = sessionNames(reg, isAlive); err != nil {
			return err
		}
	}
	results, err := each(reg, names, reg.Known, func(e *ended) {
		if wait > 0 {
			a.say("ending %s in %s", e.name, wait)
			untilOver(cmd.Context(), reg, e.name, wait)
		}
		a.untilEnded(cmd.Context(), e, atMost, func(ctx context.Context) { e.session, e.was, e.err = reg.Stop(ctx, e.name) })
	})
	if err != nil {
		return err
	}
	for _, e := range results {
		switch {
		case e.err != nil && err == nil:
			err = e.err
		case e.err != nil:
			a.printError(e.err)
		case e.was:
			a.say("stopped %s%s", e.session.Name, describeEnd(e.session))
			a.sayNothing(e.session)
		default:
			a.say("%s had already ended%s", e.session.Name, describeEnd(e.session))
		}
	}
	if all && len(names) == 0 {
		a.say("no session is capturing")
	}
	return err
}

// stopAfter is the value of --after, 0 for none.
func stopAfter(text string) (time.Duration, error) {
	if text == "" {
		return 0, nil
	}
	d, err := durationOf(text)
	if err != nil || d < 0 || d > request.MaxStopAfter {
		return 0, &fault.Error{Class: fault.Invalid, Code: fault.CodeInvalidValue, Target: "--after", Message: notAllowed(text, "a duration such as 30s or 5m, or a number of seconds, up to 7d").Error()}
	}
	return d, nil
}

// untilOver returns after a time, or when a session has ended before.
func untilOver(parent context.Context, reg *registry.Registry, name string, wait time.Duration) {
	ctx, cancel := context.WithTimeout(parent, wait)
	defer cancel()
	if _, err := reg.Wait(ctx, name); err != nil { // it is another user's, say, whose end is not seen
		<-ctx.Done()
	}
}

// endTimeout is how long is waited for the end of sessions that were told to end.
type endTimeout struct{ text string }

// An upload that comes no further is given up within --upload-grace, 5 minutes by
// default, and a command for a file within one.
const (
	defaultEndTimeout = 10 * time.Minute
	sayWaitingAfter   = 5 * time.Second
)

func (t *endTimeout) flag(f *pflag.FlagSet, what string) {
	f.StringVar(&t.text, "timeout", "", what+" to wait for the end at most, such as `90s`, 2h, or a number of seconds (default 10m)")
}

func (t *endTimeout) value() (time.Duration, error) {
	if t.text == "" {
		return defaultEndTimeout, nil
	}
	d, err := durationOf(t.text)
	if err != nil || d <= 0 {
		return 0, &fault.Error{Class: fault.Invalid, Target: "--timeout", Message: notAllowed(t.text, "a duration such as 90s or 2h, or a number of seconds").Error()}
	}
	return d, nil
}

// untilEnded calls end, which ends a session, and bounds it: a process may be
// stopped, hang in the kernel, or not obey. A long wait is said.
func (a *app) untilEnded(parent context.Context, e *ended, atMost time.Duration, end func(context.Context)) {
	ctx, cancel := context.WithTimeout(parent, atMost)
	defer cancel()
	word := time.AfterFunc(sayWaitingAfter, func() {
		a.say("%s was told to end and has not yet; waiting for %s at the most (--timeout)", e.name, atMost)
	})
	defer word.Stop()
	end(ctx)
	if errors.Is(e.err, context.DeadlineExceeded) {
		e.err = fault.Errorf(fault.TimedOut, "%q was told to end and has not after %s; `pcapctl wait %s` waits on, and `pcapctl show-status %s` tells how it gets on", e.name, atMost, e.name, e.name)
	}
}

func isAlive(s *registry.Session) bool { return s.Alive }

// sessionNames names the sessions that fit.
func sessionNames(reg *registry.Registry, fits func(*registry.Session) bool) ([]string, error) {
	list, err := reg.List()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, s := range list {
		if fits(s) {
			names = append(names, s.Name)
		}
	}
	return names, nil
}
