package main

import (
	"github.com/spf13/cobra"

	"pcapctl/capture/fault"
	"pcapctl/capture/registry"
)

func (a *app) stopCommand() *cobra.Command {
	var all bool
	var named nameFlags
	cmd := &cobra.Command{
		Use:   "stop NAME… | --all",
		Short: "End sessions; their capture files are complete when it returns",
		Long: `stop ends sessions as Ctrl-C does and returns when their capture files are
closed. It is not an error when a session has ended before.`,
		ValidArgsFunction: a.completeSessions(manySessions, isAlive),
		RunE:              func(cmd *cobra.Command, args []string) error { return a.stop(cmd, args, all) },
	}
	cmd.Flags().BoolVar(&all, "all", false, "end all sessions that are capturing")
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

func (a *app) stop(cmd *cobra.Command, names []string, all bool) error {
	reg, err := a.registry()
	if err != nil {
		return err
	}
	if all {
		if names, err = sessionNames(reg, isAlive); err != nil {
			return err
		}
	}
	results, err := each(reg, names, func(e *ended) {
		e.session, e.was, e.err = reg.Stop(cmd.Context(), e.name)
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
			a.say("%s had ended before%s", e.session.Name, describeEnd(e.session))
		}
	}
	if all && len(names) == 0 {
		a.say("no session is capturing")
	}
	return err
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
