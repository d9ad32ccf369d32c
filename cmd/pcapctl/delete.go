package main

import (
	"github.com/spf13/cobra"

	"pcapctl/capture/registry"
)

func (a *app) deleteCommand() *cobra.Command {
	var stop bool
	cmd := &cobra.Command{
		Use:   "delete NAME…",
		Short: "Forget sessions that have ended; their capture files stay",
		Long: `delete removes what is kept of a session, so that its name is free again. It
never removes a capture file or a blob, and says where they are.`,
		Args: sessionArgs(manySessions),
		ValidArgsFunction: a.completeSessions(manySessions, func(s *registry.Session) bool {
			return stop || !isAlive(s)
		}),
		RunE: func(cmd *cobra.Command, args []string) error { return a.delete(cmd, args, stop) },
	}
	cmd.Flags().BoolVar(&stop, "stop", false, "end the session first if it is capturing")
	return cmd
}

func (a *app) delete(cmd *cobra.Command, names []string, stop bool) error {
	reg, err := a.registry()
	if err != nil {
		return err
	}
	results, err := each(reg, names, func(e *ended) { e.session, e.err = reg.Delete(cmd.Context(), e.name, stop) })
	if err != nil {
		return err
	}
	for _, e := range results {
		switch {
		case e.err != nil && err == nil:
			err = e.err
		case e.err != nil:
			a.printError(e.err)
		case e.session.Record == nil:
			a.say("deleted %s; its record could not be read, and its capture file was not touched", e.session.Name)
		default:
			a.say("deleted %s; still there: %s", e.session.Name, describeSaved(e.session.Record.Resource.Properties.Statistics))
		}
	}
	return err
}
