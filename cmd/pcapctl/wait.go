package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pcapctl/capture/fault"
)

func (a *app) waitCommand() *cobra.Command {
	var timeout string
	var until waitFlags
	var named nameFlags
	cmd := &cobra.Command{
		Use:   "wait [NAME…]",
		Short: "Wait until sessions have ended, and end with their exit code",
		Long: `wait returns when the sessions have ended; all that list shows when none is
named, so that it makes no difference when each of them ended. Its exit code is
that of the session: what create would have ended with in the foreground. Of
several it is that of the first one, in the order given, that has failed.
Sessions of other users are not waited for.`,
		ValidArgsFunction: a.completeSessions(manySessions, isAlive),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := until.condition()
			switch {
			case err != nil:
				return err
			case c.name != "":
				return a.waitFor(cmd, args, &until, c, timeout)
			}
			return a.wait(cmd, args, timeout)
		},
	}
	cmd.Flags().StringVar(&timeout, "timeout", "", "how long to wait at most, such as 90s, 2h, or a number of seconds; 0 looks once (default: no limit)")
	until.flags(cmd.Flags())
	named.add(cmd)
	return cmd
}

// waitTime reads a duration; a number by itself is seconds.
func waitTime(text string) (time.Duration, error) {
	d, err := durationOf(text)
	if err != nil || d < 0 {
		return 0, &fault.Error{
			Class: fault.Invalid, Target: "--timeout",
			Message: notAllowed(text, "a duration such as 90s or 2h, a number of seconds, or 0 to look once").Error(),
		}
	}
	return d, nil
}

// waiting is the context of cmd, which ends after --timeout where that was given.
func waiting(cmd *cobra.Command, timeout string) (context.Context, context.CancelFunc, error) {
	if !cmd.Flags().Changed("timeout") {
		return cmd.Context(), func() {}, nil
	}
	atMost, err := waitTime(timeout)
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), atMost)
	return ctx, cancel, nil
}

func (a *app) wait(cmd *cobra.Command, names []string, atMost string) error {
	ctx, cancel, err := waiting(cmd, atMost)
	if err != nil {
		return err
	}
	defer cancel()
	reg, err := a.registry()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		if names, err = sessionNames(reg, anySession); err != nil {
			return err
		}
	}
	results, err := each(reg, names, func(name string) error { _, err := reg.Get(name); return err }, func(e *ended) { e.session, e.err = reg.Wait(ctx, e.name) })
	if err != nil {
		return err
	}
	var going []string
	for _, e := range results {
		switch {
		case errors.Is(e.err, context.DeadlineExceeded):
			going = append(going, e.name)
			continue
		case e.err == nil:
			a.say("%s has ended%s", e.session.Name, describeEnd(e.session))
			a.sayNothing(e.session)
			e.err = e.session.Failure()
			if e.err != nil && len(results) > 1 {
				e.err = ofSession(e.session.Name, e.err)
			}
		}
		if err == nil {
			err = e.err
		} else if e.err != nil {
			a.printError(e.err)
		}
	}
	if err == nil && going != nil {
		timeout, _ := waitTime(atMost) // which has passed
		err = fault.Errorf(fault.TimedOut, "%s had not ended after %s; wait again, or stop it", strings.Join(going, ", "), timeout)
	}
	return err
}

// ofSession is the error that a session ended with, with its name: of several it says which.
func ofSession(name string, err error) error {
	e := &fault.Error{Class: fault.ClassOf(err), Message: err.Error()}
	if known, ok := errors.AsType[*fault.Error](err); ok {
		*e = *known
	}
	e.Message, e.Err = name+": "+e.Message, err
	return e
}
