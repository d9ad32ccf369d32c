package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"pcapctl/capture"
)

type createOptions struct {
	request     requestFlags
	failOnDrops bool
}

func (a *app) createCommand() *cobra.Command {
	var o createOptions
	cmd := &cobra.Command{
		Use:   "create [-f request.json | flags]",
		Short: "Capture packets until a limit is reached or it is stopped",
		Long: `create captures packets in the foreground until the byte or the time limit is
reached, or Ctrl-C or SIGTERM ends it, and prints what came of it.

` + exitCodeHelp(),
		Example: `  pcapctl create -f request.json
  pcapctl create --file-path '/var/captures/{startTime}.cap' --time-limit 60 --filter protocol=TCP,localPort=443`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.create(cmd, &o) },
	}
	o.request.flags(cmd)
	cmd.Flags().BoolVar(&o.failOnDrops, "fail-on-drops", false, "exit 9 when packets were dropped")
	return cmd
}

func (a *app) create(cmd *cobra.Command, o *createOptions) error {
	plan, err := a.plan(cmd, &o.request)
	if err != nil {
		return err
	}
	// Before anything is opened: from here on a signal ends the capture, and
	// not the process.
	ctx, stop := a.untilSignal(cmd.Context())
	defer stop()

	session, err := capture.Start(plan, capture.Options{Guard: guardProgram()})
	if err != nil {
		return err
	}
	a.warn(plan.Warnings)
	a.say("capturing on %s", announce(plan))

	bar := a.startProgress(session)
	result, err := session.Run(ctx)
	bar.stop()
	if err == nil && o.failOnDrops && result.Dropped.Total() > 0 {
		err = capture.Errorf(capture.Dropped, "%s; a larger --buffer-size, a narrower filter or a smaller --bytes-to-capture-per-packet may help",
			lost(result.Dropped))
	} else if result.Dropped.Total() > 0 {
		a.say("warning: %s", lost(result.Dropped))
	}
	a.say("%s: %s in %s, %s", strings.ToLower(string(result.StopReason)), plural(result.Packets, "packet"),
		result.Elapsed.Round(time.Millisecond), describeFiles(result.Files))
	if perr := a.print(result.Resource()); err == nil {
		err = perr
	}
	return err
}

// plan checks everything that can be checked before anything is touched.
func (a *app) plan(cmd *cobra.Command, r *requestFlags) (*capture.Plan, error) {
	config, err := a.config(cmd, r)
	if err != nil {
		return nil, err
	}
	if err := config.Supported(); err != nil {
		return nil, err
	}
	src, err := a.settings.source()
	if err != nil {
		return nil, err
	}
	return capture.NewPlan(config, src)
}

// guardProgram is this program, by a name that a replaced or deleted binary
// does not break.
func guardProgram() string {
	if runtime.GOOS == "linux" {
		return "/proc/self/exe"
	}
	return ""
}

// untilSignal gives a context that the first signal ends; the second ends the
// process at once. The file stays readable: its guard cuts it behind the last
// packet that was written whole.
func (a *app) untilSignal(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(parent)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup(1) asks that it stays so
		signal.Notify(signals, syscall.SIGHUP)
	}
	done := make(chan struct{})
	go func() {
		select {
		case <-done:
			return
		case <-signals:
		}
		a.say("stopping; once more to leave at once")
		cancel()
		select {
		case <-done:
		case <-signals:
			a.printError(capture.Errorf(capture.Failed, "left before the capture file was complete; what had been written is readable"))
			a.exit(exitCode(&capture.Error{Class: capture.Failed}))
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}

// announce says in words what is being captured and when it ends.
func announce(p *capture.Plan) string {
	c := p.Config
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%s: %s", p.On(), c.Filters)
	if c.SnapLen != 0 {
		_, _ = fmt.Fprintf(&b, "; %s of each packet", plural(uint64(c.SnapLen), "byte"))
	}
	var until []string
	if c.MaxTime != 0 {
		until = append(until, c.MaxTime.String())
	}
	if c.MaxBytes != 0 {
		until = append(until, humanize.IBytes(uint64(c.MaxBytes)))
	}
	until = append(until, "Ctrl-C")
	_, _ = fmt.Fprintf(&b, "; to %s; until %s", c.FilePath, strings.Join(until, ", "))
	return b.String()
}

func lost(d capture.Drops) string {
	var by []string
	for _, e := range []struct {
		n  uint64
		by string
	}{{d.ByKernel, "by the kernel (the ring was full)"}, {d.ByInterface, "by the interface"}, {d.ByFile, "by the disk"}} {
		if e.n > 0 {
			by = append(by, fmt.Sprintf("%d %s", e.n, e.by))
		}
	}
	return plural(d.Total(), "packet") + " dropped: " + strings.Join(by, ", ")
}

func describeFiles(files []capture.SavedFile) string {
	list := make([]string, len(files))
	for i, f := range files {
		list[i] = fmt.Sprintf("%s (%s)", f.Path, humanize.IBytes(uint64(f.Size)))
	}
	return strings.Join(list, ", ")
}

func plural(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
