package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/registry"
	"pcapctl/capture/request"
)

// A session in the background is a process of its own, the worker. The one that
// was called starts it, hands it the order by a pipe, and waits at another for
// the answer.

const workerName = "worker"

// answer is what the worker has to say once it captures, or why it does not.
type answer struct {
	Resource *capture.Resource `json:"resource,omitempty"`
	Warnings []string          `json:"warnings,omitempty"`
	LogFile  string            `json:"logFile,omitempty"`
	Error    *fault.Report     `json:"error,omitempty"`
}

// createDetached has a worker capture and returns when it does.
func (a *app) createDetached(ctx context.Context, ord *order, plan *livePlan, ready *readiness) error {
	if ord.noStateDir != nil {
		return ord.noStateDir
	}
	reg := registry.New(ord.StateDir)
	if err := reg.Check(*ord.Request.Name); err != nil {
		return err
	}
	ans, err := callWorker(ord)
	if err != nil {
		return err
	}
	name := ans.Resource.Name
	a.warn(ans.Warnings...)
	if ctx.Err() != nil {
		// Ctrl-C while the worker was starting, which it could not be told then.
		e := ended{name: name}
		a.untilEnded(context.WithoutCancel(ctx), &e, defaultEndTimeout, func(ctx context.Context) { e.session, _, e.err = reg.Stop(ctx, name) })
		if e.err != nil {
			return e.err
		}
		s := e.session
		a.say("stopped %s%s", s.Name, describeEnd(s))
		return a.printDone(sessionView{s.Resource(), s})
	}
	a.say("capturing on %s; log: %s", a.announce(plan.Plan, byStop(name)), ans.LogFile)
	ready.tell("capturing on " + plan.Source.Name())
	return a.printDone(resourceView{ans.Resource})
}

func byStop(name string) string { return "`pcapctl stop " + name + "`" }

// callWorker starts a worker and waits for its answer. There is no way to hurry
// it: a signal could hit it before it knows what to do with one, half way
// through a claim.
func callWorker(ord *order) (*answer, error) {
	if err := canDetach(); err != nil {
		return nil, err
	}
	text, err := ord.forWorker()
	if err != nil {
		return nil, fault.Errorf(fault.Internal, "%w", err)
	}
	var pipes [3]struct{ r, w *os.File } // order, answer, messages
	for i := range pipes {
		if pipes[i].r, pipes[i].w, err = os.Pipe(); err != nil {
			return nil, fault.Errorf(fault.Internal, "%w", err)
		}
		defer func() { _, _ = pipes[i].r.Close(), pipes[i].w.Close() }()
	}
	cmd, err := startDetached(&exec.Cmd{
		Path:   guardProgram(),
		Args:   []string{"pcapctl", workerName, *ord.Request.Name}, // for those who look at a list of processes
		Env:    workerEnv(),
		Stderr: pipes[2].w, // until it has a log file
	}, pipes[0].r, pipes[1].w)
	if err != nil {
		return nil, fault.Errorf(fault.Internal, "start a process in the background: %w", err)
	}
	for _, f := range []*os.File{pipes[0].r, pipes[1].w, pipes[2].w} {
		_ = f.Close() // the worker's ends: what is read here ends when it does
	}
	_, err = pipes[0].w.Write(text)
	_ = pipes[0].w.Close()
	ans := &answer{}
	if err == nil {
		err = json.NewDecoder(pipes[1].r).Decode(ans)
	}
	switch {
	case err == nil && ans.Resource != nil:
		_ = cmd.Process.Release() // init's child from now on
		return ans, nil
	case err == nil && ans.Error != nil:
		_ = cmd.Wait()
		return nil, ans.Error.Err()
	}
	if err != nil && !errors.Is(err, io.EOF) {
		// It may capture, though nobody knows of it.
		endDetached(cmd)
	}
	said, _ := io.ReadAll(io.LimitReader(pipes[2].r, 4<<10))
	return nil, fault.Errorf(fault.Internal, "the process in the background has given no answer (%w) and ended (%v): %s",
		err, cmd.Wait(), bytes.TrimSpace(said))
}

// workerEnv is the environment without what is meant for this process alone.
func workerEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(s string) bool {
		name, _, _ := strings.Cut(s, "=")
		return slices.Contains([]string{"NOTIFY_SOCKET", "JOURNAL_STREAM", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS"}, name)
	})
}

func (a *app) workerCommand() *cobra.Command {
	return &cobra.Command{
		Use:    workerName + " NAME",
		Short:  "Capture in the background; create --no-wait runs it",
		Hidden: true,
		// The order is all that it goes by, and nothing of this machine's
		// settings or of a configuration that may have changed since.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		RunE:              func(cmd *cobra.Command, _ []string) error { return a.worker(cmd.Context()) },
	}
}

func (a *app) worker(parent context.Context) error {
	in, out, err := a.workerPipes()
	if err != nil {
		return fault.Errorf(fault.Invalid, "%s is run by create --no-wait and by nobody else: %w", workerName, err)
	}
	defer func() { _ = out.Close() }()
	a.log.times = true
	// Logging out must not end it, wherever the signal comes from.
	signal.Ignore(syscall.SIGHUP)
	ctx, stop := a.untilSignal(parent)
	defer stop()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	ord, session, claim, err := a.startWorker(ctx, in)
	if err != nil {
		report := fault.ReportOf(withHint(err))
		_ = json.NewEncoder(out).Encode(answer{Error: &report})
		return err
	}
	defer a.watchUpload(session)()
	defer a.watchEnd(session)()
	plan := session.Plan
	a.warn(session.Warnings...)
	a.say("capturing on %s", a.announce(plan, byStop(plan.Config.Name)))
	err = json.NewEncoder(out).Encode(answer{
		Resource: claim.Resource(session.Started), Warnings: session.Warnings, LogFile: claim.LogFile(),
	})
	_ = out.Close()
	if err != nil {
		// Nobody knows of this capture, and nobody would end it.
		a.warn("the command that began this session has gone before it could be told: stopping")
		cancel()
	}
	result, err := session.Run(ctx)
	return a.endSession(claim, result, err, ord)
}

// startWorker does what the order says, up to the moment that packets are
// being captured.
func (a *app) startWorker(ctx context.Context, in io.ReadCloser) (*order, *capture.Session, *registry.Claim, error) {
	ord := &order{}
	err := json.NewDecoder(in).Decode(ord)
	_ = in.Close()
	if err != nil {
		return nil, nil, nil, fault.Errorf(fault.Internal, "read the order: %w", err)
	}
	a.log.format = ord.LogFormat
	if ord.Request != nil {
		ord.Request.Notes = ord.Notes
	}
	config, err := request.NewConfig(ord.Request, ord.Host)
	if err != nil {
		return nil, nil, nil, err
	}
	// The order came by a pipe. Whoever may run any command of pcapctl as root may have
	// written it.
	machine := settings{}
	if err := machine.readSystem(); err != nil {
		return nil, nil, nil, err
	}
	if err := machine.policy.allows(ord.OnFile.Command); err != nil {
		return nil, nil, nil, err
	}
	plan, err := ord.plan(config)
	if err != nil {
		return nil, nil, nil, err
	}
	undo := freshStateDir(ord.StateDir)
	claim, err := registry.New(ord.StateDir).Claim(ord.record(plan), true)
	if err != nil {
		return nil, nil, nil, err
	}
	if err := a.redirectStderr(claim.Log()); err != nil {
		claim.Abandon()
		undo()
		return nil, nil, nil, fault.Errorf(fault.Internal, "%w", err)
	}
	obeyed := a.obey(claim.Asked())
	session, err := a.startSession(ctx, ord, plan, claim)
	if err != nil {
		obeyed()
		undo()
		return nil, nil, nil, err
	}
	return ord, session, claim, nil
}
