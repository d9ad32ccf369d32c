package main

import (
	"github.com/spf13/cobra"

	"pcapctl/capture"
	"pcapctl/capture/registry"
)

func (a *app) listCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the sessions, those that capture and those that have ended",
		Args:  noArguments,
		RunE:  func(*cobra.Command, []string) error { return a.list() },
	}
}

// listView is the API's answer to "list".
type listView struct {
	Value    []*capture.Resource `json:"value"`
	sessions []*registry.Session
}

func (a *app) list() error {
	reg, err := a.registry()
	if err != nil {
		return err
	}
	sessions, err := reg.List()
	if err != nil {
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

func (v listView) items() any { return v.Value }
