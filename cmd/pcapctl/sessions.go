package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"pcapctl/capture/fault"
	"pcapctl/capture/registry"
)

// registry is the registry of sessions in the state folder.
func (a *app) registry() (*registry.Registry, error) {
	dir, err := a.settings.stateDir()
	if err != nil {
		return nil, err
	}
	return registry.New(dir), nil
}

// freshStateDir is called before a name is claimed in the state folder. The
// function that it returns removes the folder, and those above it, if they did not exist before and are
// empty: a capture that cannot start leaves nothing behind.
func freshStateDir(dir string) (undo func()) {
	var absent []string // it, and those above it
	for dir != "" {
		if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
			break
		}
		absent = append(absent, dir)
		dir = filepath.Dir(dir)
	}
	return func() {
		for _, dir := range absent {
			_ = os.Remove(dir)
		}
	}
}

// withKnownNames adds to the error of an unknown session name which names there
// are.
func withKnownNames(reg *registry.Registry, name string, err error) error {
	if !errors.Is(err, registry.ErrUnknown) {
		return err
	}
	hint := "; there are no sessions in " + reg.Dir()
	if own, derr := defaultStateDir(); !asRoot && derr == nil && own == reg.Dir() {
		hint += fmt.Sprintf("; those of %s are in %s: %s", superUser, rootStateDir(), becomeRoot)
	}
	if list, lerr := reg.List(); lerr == nil && len(list) > 0 {
		names := make([]string, len(list))
		for i, s := range list {
			names[i] = s.Name
		}
		if hint = didYouMean(name, "", names); hint == "" {
			hint = "; `pcapctl list` shows the sessions"
		}
	}
	return fault.Errorf(fault.NotFound, "%w%s", err, hint)
}

// sessionArgs accepts from one to most session names.
func sessionArgs(most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			all := ""
			for _, flag := range []string{"all", "ended"} {
				if cmd.Flags().Lookup(flag) != nil {
					all = ", or --" + flag
				}
			}
			return fault.Errorf(fault.Invalid, "%s needs the name of a session%s; `pcapctl list` shows them", cmd.CommandPath(), all)
		case len(args) > most:
			return fault.Errorf(fault.Invalid, "%s takes one name, but %s was given, too", cmd.CommandPath(), fault.Quote(args[most]))
		}
		return nil
	}
}

// manySessions stands for any number of session names.
const manySessions = math.MaxInt

// completeSessions completes up to most names of the sessions that fit.
func (a *app) completeSessions(most int, fits func(*registry.Session) bool) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		const none = cobra.ShellCompDirectiveNoFileComp
		if len(args) >= most || a.settings.read(cmd.Flags()) != nil {
			return nil, none
		}
		reg, err := a.registry()
		if err != nil {
			return nil, none
		}
		list, err := reg.List()
		if err != nil {
			return nil, none
		}
		var names []string
		for _, s := range list {
			if fits(s) && !slices.Contains(args, s.Name) {
				names = append(names, fault.VisibleLine(s.Name)+"\t"+fault.VisibleLine(s.Resource().Properties.PacketCaptureStatus))
			}
		}
		return names, none
	}
}

func anySession(*registry.Session) bool { return true }

// ended is the result of stopping, awaiting or deleting one session.
type ended struct {
	name    string
	session *registry.Session
	was     bool // it was capturing
	err     error
}

// each calls do for every named session, for all of them at the same time, so that
// none waits for a slow one. When known has an error for a name do is not called at
// all. The results are in the order of the names.
func each(reg *registry.Registry, names []string, known func(name string) error, do func(*ended)) ([]ended, error) {
	var results []ended
	for _, name := range names {
		if err := known(name); err != nil {
			return nil, withKnownNames(reg, name, err)
		}
		if !slices.ContainsFunc(results, func(e ended) bool { return strings.EqualFold(e.name, name) }) {
			results = append(results, ended{name: name})
		}
	}
	var wg sync.WaitGroup
	for i := range results {
		wg.Go(func() { do(&results[i]) })
	}
	wg.Wait()
	for i := range results {
		results[i].err = withKnownNames(reg, results[i].name, results[i].err)
	}
	return results, nil
}
