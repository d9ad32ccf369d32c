package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"pcapctl/capture"
	"pcapctl/capture/registry"
)

func (a *app) listCommand() *cobra.Command {
	var running bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the sessions, the newest first",
		Long: `list shows the sessions, those that capture and those that have ended, the
newest first. Times are UTC. Of other users' sessions it says the names and the
owners.`,
		Args: noArguments,
		RunE: func(*cobra.Command, []string) error { return a.list(running) },
	}
	cmd.Flags().BoolVar(&running, "running", false, "only those that capture")
	return cmd
}

// listView is the API's answer to "list".
type listView struct {
	Value    []*capture.Resource `json:"value"`
	sessions []*registry.Session
}

func (a *app) list(running bool) error {
	reg, err := a.registry()
	if err != nil {
		return err
	}
	found, err := reg.Look()
	if err != nil {
		return err
	}
	sessions := found.Sessions
	slices.Reverse(sessions)
	if running {
		sessions = slices.DeleteFunc(sessions, func(s *registry.Session) bool { return !s.Alive })
	}
	a.sayOthers(reg, found, len(sessions))
	if err := a.giveUpRoot(); err != nil {
		return err
	}
	v := listView{Value: make([]*capture.Resource, len(sessions)), sessions: sessions}
	for i, s := range sessions {
		v.Value[i] = s.Resource()
		if s.Err != nil {
			a.warn(s.Err.Error())
		}
	}
	return a.print(v)
}

func (v listView) table() (head []string, rows [][]string) {
	for _, s := range v.sessions {
		rows = append(rows, sessionRow(s))
	}
	return sessionHead, rows
}

func (v listView) narrow() (head []string, rows []narrowRow) {
	for _, s := range v.sessions {
		rows = append(rows, narrowSession(s))
	}
	return narrowHead, rows
}

func (v listView) items() any { return v.Value }

// sayOthers says which sessions a list does not have: those of other users in the
// same folder, of which it names no more than that, those of root, whose folder is
// another, and those that are too many.
func (a *app) sayOthers(reg *registry.Registry, found *registry.Listing, shown int) {
	if found.Left > 0 {
		a.warn(fmt.Sprintf("there are %s more in %s, which are not shown: `pcapctl delete --ended` forgets those that have ended", plural(uint64(found.Left), "session"), reg.Dir()))
	}
	if n := found.Foreign; n > 0 {
		names := make([]string, len(found.Others))
		for i, o := range found.Others {
			names[i] = o.Name + " (" + o.Owner + ")"
		}
		if len(names) < n {
			names = append(names, "…")
		}
		a.say("not shown: %s of other users in %s: %s", plural(uint64(n), "session"), reg.Dir(), strings.Join(names, ", "))
	}
	if asRoot || setStateDir.text(&a.settings) != "" {
		return
	}
	if _, err := os.Stat(rootStateDir()); err != nil {
		return
	}
	what := "these are your own sessions"
	if shown == 0 {
		what = "you have no sessions"
	}
	a.say("%s", fmt.Sprintf("%s; those of %s are in %s: %s", what, superUser, rootStateDir(), listAsRoot))
}
