package main

import (
	"github.com/spf13/cobra"

	"pcapctl/capture"
	"pcapctl/capture/registry"
)

func (a *app) showCommand() *cobra.Command {
	var names nameFlags
	cmd := &cobra.Command{
		Use:               "show NAME",
		Short:             "Show a session: its request with the defaults filled in, its status and statistics",
		Args:              sessionArgs(1),
		ValidArgsFunction: a.completeSessions(1, anySession),
		RunE: func(_ *cobra.Command, args []string) error {
			s, err := a.session(args[0])
			if err != nil {
				return err
			}
			if err := a.giveUpRoot(); err != nil {
				return err
			}
			return a.print(sessionView{s.Resource(), s})
		},
	}
	names.add(cmd)
	return cmd
}

// session is the session with this name; it is an error when its record cannot be
// read.
func (a *app) session(name string) (*registry.Session, error) {
	reg, err := a.registry()
	if err != nil {
		return nil, err
	}
	s, err := reg.Get(name)
	if err != nil {
		return nil, withKnownNames(reg, name, err)
	}
	return s, s.Err
}

// sessionView is a session as the API's resource.
type sessionView struct {
	*capture.Resource
	session *registry.Session
}

func (v sessionView) table() (head []string, rows [][]string) {
	return sessionHead, [][]string{sessionRow(v.session)}
}
