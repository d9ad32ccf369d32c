package main

import (
	"errors"
	"io/fs"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"pcapctl/capture/fault"
	"pcapctl/capture/registry"
)

// registry is the registry of the state folder that the settings name.
func (a *app) registry() (*registry.Registry, error) {
	dir, err := a.settings.stateDir()
	if err != nil {
		return nil, err
	}
	return registry.New(dir), nil
}

// freshStateDir is called before something is claimed in the state folder. The
// function that it returns takes the folder away again if it was not there yet
// and nobody has anything in it: a refusal leaves nothing behind.
func freshStateDir(dir string) (undo func()) {
	if _, err := os.Lstat(dir); !errors.Is(err, fs.ErrNotExist) {
		return func() {}
	}
	return func() { _ = os.Remove(dir) }
}

// known adds to the error of a name that does not exist the nearest one that
// does.
func known(reg *registry.Registry, name string, err error) error {
	if !errors.Is(err, registry.ErrUnknown) {
		return err
	}
	hint := "; there are no sessions in " + reg.Dir()
	if list, lerr := reg.List(); lerr == nil && len(list) > 0 {
		names := make([]string, len(list))
		for i, s := range list {
			names[i] = s.Name
		}
		if hint = didYouMean(name, "", names); hint == "" {
			hint = "; `pcapctl list` shows those that there are"
		}
	}
	return fault.Errorf(fault.NotFound, "%w%s", err, hint)
}

// sessionArgs takes session names: at least one, and at most that many.
func sessionArgs(most int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) == 0:
			return fault.Errorf(fault.Invalid, "%s needs the name of a session; `pcapctl list` shows them", cmd.CommandPath())
		case len(args) > most:
			return fault.Errorf(fault.Invalid, "%s takes one name, but %q was given, too", cmd.CommandPath(), args[most])
		}
		return nil
	}
}

const manySessions = 1 << 20

// completeSessions completes the names of the sessions that fit.
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
				names = append(names, s.Name+"\t"+s.Resource().Properties.PacketCaptureStatus)
			}
		}
		return names, none
	}
}

func anySession(*registry.Session) bool { return true }

// ended is what came of stopping, awaiting or deleting one session.
type ended struct {
	name    string
	session *registry.Session
	was     bool // it was capturing
	err     error
}

// each looks up all the names before it does something to the first, and then
// does it to all of them at once: one that takes long holds up no other. The
// results are in the order of the names.
func each(reg *registry.Registry, names []string, do func(*ended)) ([]ended, error) {
	var results []ended
	for _, name := range names {
		if _, err := reg.Get(name); err != nil {
			return nil, known(reg, name, err)
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
		results[i].err = known(reg, results[i].name, results[i].err)
	}
	return results, nil
}
