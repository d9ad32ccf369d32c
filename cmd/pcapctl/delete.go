package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"pcapctl/capture/fault"
	"pcapctl/capture/registry"
)

type deleteOptions struct {
	stop, ended bool
	olderThan   string
	timeout     endTimeout
}

func (a *app) deleteCommand() *cobra.Command {
	var o deleteOptions
	var named nameFlags
	cmd := &cobra.Command{
		Use:   "delete NAME… | --ended [--older-than 7d]",
		Short: "Forget sessions that have ended; their capture files stay",
		Long: `delete removes what is kept of a session, so that its name is free again. It
never removes a capture file or a blob, and says where they are. Root may
delete other users' sessions by name.

--ended takes all your sessions that have ended, but those whose upload is not
complete. Records go by themselves as the setting keep-ended says.`,
		Example: `  pcapctl delete web
  pcapctl delete --ended --older-than 7d`,
		ValidArgsFunction: a.completeSessions(manySessions, func(s *registry.Session) bool {
			return o.stop || !isAlive(s)
		}),
		RunE: func(cmd *cobra.Command, args []string) error {
			if o.ended {
				return a.deleteEnded(cmd, &o)
			}
			return a.delete(cmd, args, &o)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&o.stop, "stop", false, "end the session first if it is capturing")
	f.BoolVar(&o.ended, "ended", false, "all sessions that have ended")
	o.timeout.flag(f, "with --stop: how long")
	f.StringVar(&o.olderThan, "older-than", "", "with --ended: only those that ended longer ago, such as `7d` or 12h")
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		switch {
		case o.olderThan != "" && !o.ended:
			return &fault.Error{Class: fault.Invalid, Target: "--older-than", Message: "it goes with --ended only"}
		case o.timeout.text != "" && !o.stop:
			return &fault.Error{Class: fault.Invalid, Target: "--timeout", Message: "it goes with --stop only"}
		case o.ended && o.stop:
			return &fault.Error{Class: fault.Invalid, Target: "--stop", Message: "not together with --ended: sessions that have ended need no stop"}
		case o.ended && len(args) > 0:
			return fault.Errorf(fault.Invalid, "either --ended or names, but %s was given with --ended", fault.Quote(args[0]))
		case o.ended:
			return nil
		}
		return sessionArgs(manySessions)(cmd, args)
	}
	addNoWait(f)
	named.add(cmd)
	return cmd
}

// deleteEnded deletes this user's sessions that have ended.
func (a *app) deleteEnded(cmd *cobra.Command, o *deleteOptions) error {
	var age time.Duration
	if o.olderThan != "" {
		var err error
		if age, err = durationOf(o.olderThan); err != nil || age < 0 {
			return &fault.Error{Class: fault.Invalid, Target: "--older-than", Message: notAllowed(o.olderThan, "a duration such as 7d, 12h or 90m").Error()}
		}
	}
	reg, err := a.registry()
	if err != nil {
		return err
	}
	list, err := reg.List()
	if err != nil {
		return err
	}
	var names []string
	for _, s := range list {
		switch {
		case !endedBefore(s, time.Now().Add(-age)):
		case s.NeedsUpload():
			a.say("kept %s: its upload is not complete; `pcapctl upload %s` goes on with it, `pcapctl delete %s` forgets it", s.Name, s.Name, s.Name)
		default:
			names = append(names, s.Name)
		}
	}
	if len(names) == 0 {
		a.say("no session to delete")
		return nil
	}
	return a.delete(cmd, names, o)
}

// endedBefore tells of a session that had ended at a time.
func endedBefore(s *registry.Session, at time.Time) bool {
	end := s.EndTime()
	return !end.IsZero() && !end.After(at)
}

// forgetOld deletes the records of sessions that ended longer ago than the setting
// keep-ended allows. A capture does not fail for it.
func (a *app) forgetOld(ctx context.Context, stateDir string) {
	keep, err := setKeepEnded.value(&a.settings)
	if err != nil || keep == 0 || stateDir == "" {
		return
	}
	reg := registry.New(stateDir)
	list, err := reg.List()
	if err != nil {
		return
	}
	n := 0
	for _, s := range list {
		if !endedBefore(s, time.Now().Add(-keep)) || s.NeedsUpload() {
			continue
		}
		if _, err := reg.Delete(ctx, s.Name, false); err == nil {
			n++
		}
	}
	if n > 0 {
		a.say("deleted the records of %s that ended more than %s ago (setting keep-ended); their capture files stay", plural(uint64(n), "session"), setKeepEnded.text(&a.settings))
	}
}

func (a *app) delete(cmd *cobra.Command, names []string, o *deleteOptions) error {
	atMost, err := o.timeout.value()
	if err != nil {
		return err
	}
	reg, err := a.registry()
	if err != nil {
		return err
	}
	results, err := each(reg, names, reg.Known, func(e *ended) {
		if !o.stop {
			e.session, e.err = reg.Delete(cmd.Context(), e.name, false)
			return
		}
		a.untilEnded(cmd.Context(), e, atMost, func(ctx context.Context) { e.session, e.err = reg.Delete(ctx, e.name, true) })
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
		case e.session.State == registry.Foreign:
			a.say("deleted %s, a session of another user (%s); its record was not read, and its capture file not touched", e.session.Name, e.session.Owner)
		case e.session.Record == nil:
			a.say("deleted %s; its record could not be read, and its capture file was not touched", e.session.Name)
		default:
			a.say("deleted %s; %s", e.session.Name, describeLeft(e.session.Record.Resource.Properties.Statistics))
		}
	}
	return err
}
