package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pcapctl/capture"
	"pcapctl/capture/deliver"
	"pcapctl/capture/fault"
	"pcapctl/capture/registry"
	"pcapctl/capture/request"
	"pcapctl/capture/save"
	"pcapctl/filter"
	"pcapctl/storage"
)

type createOptions struct {
	request     requestFlags
	failOnDrops bool
	noWait      bool
	ifExists    string
	readyFD     int
	resultFile  string
}

// What --if-exists may be.
const (
	existsFail   = "fail"
	existsReturn = "return"
)

func (a *app) createCommand() *cobra.Command {
	var o createOptions
	cmd := &cobra.Command{
		Use:   "create [-f request.json | flags]",
		Short: "Capture packets until a limit is reached or it is stopped",
		Long: `create captures packets in the foreground until the byte or the time limit is
reached, or Ctrl-C, SIGTERM or stop ends it, and prints what came of it.

With --no-wait it returns as soon as packets are being captured and prints the
new session; the capture goes on in the background. See list, show-status, stop,
wait and delete.

Without a request file and a destination the capture goes to the captures
folder, as {packetCaptureName}.cap. In --filter a comma also continues a list:
'remotePort=80,443'. Quote what has a semicolon, a brace or a bracket in it.

With --file-path - the packets go to standard output as they come, for a program
that reads them, and the result to stderr:
ssh vm pcapctl create --file-path - --port 443 | wireshark -k -i -`,
		Example: `  pcapctl create -f request.json
  pcapctl create --port 443 --time-limit 30s
  pcapctl create --no-wait -n web --filter 'protocol=TCP,localPort=80,443'
  pcapctl create --file-path '{hostname}-{startTime}.cap' --capture-limit 10MB
  pcapctl create --read-file big.pcapng -n web --filter 'remotePort=443' \
      --local-address 10.0.0.5`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.create(cmd, &o) },
	}
	o.request.flags(cmd)
	f := cmd.Flags()
	f.BoolVar(&o.failOnDrops, "fail-on-drops", false, "exit 9 when packets were dropped")
	f.BoolVar(&a.inspects, "inspect", false, "say at the end what the capture shows, as inspect does")
	f.BoolVar(&o.noWait, "no-wait", false, "return once packets are being captured; go on in the background")
	f.StringVar(&o.ifExists, "if-exists", existsFail, "what to do when the name is taken: `fail` (exit 5), or return: give back that session if its request is the same")
	f.StringVar(&o.resultFile, flagResultFile, "", "write the result to this new `file`, and not to stdout")
	f.IntVar(&o.readyFD, "ready-fd", noReadyFD, "write a line feed to this `descriptor` and close it once packets are being captured")
	if runtime.GOOS != linux { // nobody inherits a descriptor by its number there
		_ = f.MarkHidden("ready-fd")
	}
	_ = cmd.RegisterFlagCompletionFunc("if-exists", cobra.FixedCompletions([]string{existsFail, existsReturn}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) create(cmd *cobra.Command, o *createOptions) error {
	o.request.faults = o.faults(a.inspects)
	ready, err := openReadiness(o.readyFD)
	if err != nil {
		return err
	}
	defer ready.close()
	if fromFile, err := o.request.read.given(cmd.Flags()); err != nil || fromFile {
		if err == nil {
			err = a.createFromFile(cmd, o, ready)
		}
		return err
	}
	ord, plan, err := a.plan(cmd, &o.request)
	if err != nil {
		return err
	}
	ord.FailOnDrops = o.failOnDrops
	if plan.outlet, err = a.openStream(plan.Config); err != nil {
		return err
	}
	result, err := a.resultTo(cmd, o.resultFile, plan.Config)
	if err != nil {
		return err
	}
	defer result.discard()
	plan.folders = result.sandboxed()
	// Before anything is opened: from here on a signal ends the capture, and
	// not the process.
	ctx, stop := a.untilSignal(cmd.Context())
	defer stop()
	a.forgetOld(ctx, ord.StateDir)
	for {
		if o.noWait {
			err = a.createDetached(ctx, ord, plan, ready)
		} else {
			err = a.createHere(ctx, ord, plan, ready, o.ifExists == existsReturn)
			result.keep()
		}
		if o.ifExists != existsReturn || !isTaken(err) {
			return err
		}
		s, err := a.existing(ctx, ord)
		switch {
		case errors.Is(err, registry.ErrUnknown) && ctx.Err() == nil:
			continue // it could not start, or was deleted: the name is free again
		case err != nil:
			return err
		}
		a.say("session %s exists already, with the same request", s.Name)
		ready.tell("")
		err = a.printDone(sessionView{s.Resource(), s})
		result.keep()
		return err
	}
}

// faults are what is wrong with the flags of create alone.
func (o *createOptions) faults(inspects bool) (faults []fault.Detail) {
	add := func(name, message string) {
		faults = append(faults, fault.Detail{Code: fault.CodeInvalidValue, Target: "--" + name, Message: message})
	}
	if o.ifExists != existsFail && o.ifExists != existsReturn {
		add("if-exists", fmt.Sprintf("%s given; allowed: %s, %s", fault.Quote(o.ifExists), existsFail, existsReturn))
	}
	if o.noWait && inspects {
		add("inspect", "not together with --no-wait: `pcapctl inspect NAME` says it at any time")
	}
	if o.noWait && o.resultFile != "" {
		add(flagResultFile, "not together with --no-wait: `pcapctl wait NAME` and then `pcapctl show NAME` give the result")
	}
	return faults
}

// isTaken tells a name that is taken, also when a background process says so.
func isTaken(err error) bool {
	e, ok := errors.AsType[*fault.Error](err)
	return ok && e.Code == registry.CodeTaken
}

// existing is the session that has the order's name, if it was made by the same
// request, once packets are being captured.
func (a *app) existing(ctx context.Context, ord *order) (*registry.Session, error) {
	reg := registry.New(ord.StateDir)
	word := time.AfterFunc(sayWaitingAfter, func() {
		a.say("session %s exists, and has not begun to capture yet; waiting for it, Ctrl-C ends that", *ord.Request.Name)
	})
	defer word.Stop()
	s, err := reg.WaitBegun(ctx, *ord.Request.Name)
	switch {
	case errors.Is(err, registry.ErrForeign):
		if err := reg.Check(*ord.Request.Name); err != nil {
			return nil, err // the name is taken, as without --if-exists
		}
		return nil, registry.ErrUnknown // it is free again
	case err != nil:
		return nil, err
	case s.Err != nil:
		return nil, s.Err
	case !ord.same(s.Record):
		return nil, &fault.Error{
			Class: fault.Conflict, Code: registry.CodeTaken, Target: "name", Err: registry.ErrTaken,
			Message: fmt.Sprintf("a session %q exists, and its request is another one: compare `pcapctl show %s`, or choose another name", s.Name, s.Name),
		}
	}
	return s, nil
}

// createHere captures in this process.
func (a *app) createHere(ctx context.Context, ord *order, plan *livePlan, ready *readiness, mustClaim bool) error {
	undo := freshStateDir(ord.StateDir)
	var keeper recordKeeper = registry.Unlisted{}
	var unlisted []string
	claim, err := ord.claim(plan)
	switch {
	case err == nil:
		keeper = claim
		defer a.obey(claim.Asked())()
	case isTaken(err) || mustClaim:
		return err
	default:
		// A capture matters more than its entry in the registry.
		unlisted = []string{withHint(err).Error() + "; this capture is in no list, and ends by Ctrl-C, SIGTERM or its limits only"}
	}
	session, err := a.startSession(ctx, ord, plan, keeper)
	if err != nil {
		undo()
		return err
	}
	defer a.watchUpload(session)()
	defer a.watchEnd(session)()
	a.warn(slices.Concat(unlisted, session.Warnings)...)
	a.explainSandbox(session)
	a.say("capturing on %s", a.announce(plan.Plan, "Ctrl-C"))
	ready.tell("capturing on " + plan.Source.Name())

	bar, endStatus := a.startProgress(session), keepStatus(session)
	result, err := session.Run(ctx)
	patiently(bar.stop)
	endStatus()
	err = a.endSession(keeper, result, err, ord)
	a.printing.Store(err == nil)
	if perr := a.printResult(ctx, result.Resource()); err == nil {
		err = perr
	}
	return err
}

// printResult prints what came of a capture.
func (a *app) printResult(ctx context.Context, res *capture.Resource) error {
	if a.inspects {
		return a.printInspected(ctx, res)
	}
	return a.printDone(resourceView{res})
}

// recordKeeper keeps the record of a session from its beginning to its end: a
// registry.Claim, or registry.Unlisted.
type recordKeeper interface {
	capture.Watcher
	Listed() bool
	Begin(start time.Time, made storage.FileID)
	End(result *capture.Result, err error) error
	Abandon()
}

// startSession begins to capture. When it fails, the session's record is gone.
// ctx ends the look at the blob.
func (a *app) startSession(ctx context.Context, ord *order, plan *livePlan, keeper recordKeeper) (*capture.Session, error) {
	o := ord.options()
	a.mayConfine(&o, ord.sessionSettings)
	o.Watcher, o.Listed, o.Tell = keeper, keeper.Listed(), a.tell
	o.Outlet, o.Folders = plan.outlet, plan.folders
	if o.Listed {
		o.Folders = append(ord.stateFolders(), o.Folders...)
	}
	var err error
	if o.Delivery, err = plan.Connect(ctx); err != nil {
		keeper.Abandon()
		return nil, err
	}
	session, err := capture.Start(plan.Plan, o)
	if err != nil {
		o.Delivery.Discard()
		keeper.Abandon()
		return nil, err
	}
	keeper.Begin(session.Started, session.Made())
	return session, nil
}

// endSession writes down and says what came of a session, and gives the error
// that it ends with.
func (a *app) endSession(keeper recordKeeper, result *capture.Result, err error, ord *order) error {
	dropped := result.Dropped.Total() > 0
	if err == nil && ord.FailOnDrops && dropped {
		err = fault.Errorf(fault.Dropped, "%s; a larger --buffer-size, a narrower filter or a smaller --bytes-to-capture-per-packet may help",
			lost(result.Dropped))
		dropped = false // it will be told as the error
	}
	patiently(func() {
		if dropped {
			a.warn(lost(result.Dropped))
		}
		a.warnOnce(result.Warnings)
	})
	if cerr := keeper.End(result, err); cerr != nil {
		a.warn(cerr.Error())
	}
	a.say("ended%s: %s in %s, %s", because(result.StopReason), plural(result.Packets, "packet"),
		result.Elapsed.Round(time.Millisecond), whereTo(result))
	a.sayEvent(result)
	if err == nil {
		if why := explainNothing(&result.Resource().Properties, ord.Source); why != "" {
			a.say("%s", why)
		}
	}
	return err
}

// sayEvent says which packet the event was that the capture was to end at.
func (a *app) sayEvent(result *capture.Result) {
	switch e := result.Event; {
	case result.Config.StopWhen.IsZero():
	case e.Number == 0:
		a.say("no packet was recorded that is %s", result.Config.StopWhen)
	case e.At.IsZero():
		a.say("the event is packet %d", e.Number)
	default:
		a.say("the event is packet %d, at %s", e.Number, e.At.UTC().Format(time.RFC3339Nano))
	}
}

// plan checks everything that can be checked before anything is touched.
func (a *app) plan(cmd *cobra.Command, r *requestFlags) (*order, *livePlan, error) {
	ord := &order{Host: a.settings.host(), LogFormat: a.log.format}
	given, config, err := a.config(cmd, r, ord.Host)
	if err := fault.Join(err, a.settings.order(ord)); err != nil {
		return nil, nil, err
	}
	if err := checkCapturesDir(config); err != nil {
		return nil, nil, err
	}
	in, err := a.settings.network() // looks at this machine
	if err != nil {
		return nil, nil, err
	}
	ord.Source.Netns, ord.Source.Container = in.Netns, in.Container
	ord.setConfig(config, given)
	ord.Source.EitherEnd = a.typed.ofEnds
	plan, err := ord.plan(config)
	if err == nil {
		a.explain(plan)
	}
	return ord, plan, err
}

// checkCapturesDir finds a captures folder that is not a folder, or where no file may lie, before anything is
// opened.
func checkCapturesDir(c *request.Config) error {
	if c.FilePath == "" {
		return nil
	}
	if err := checkDrive(c.CapturesDir); err != nil {
		return err
	}
	if isBelowFile(c.CapturesDir) {
		return wrongSetting(setCapturesDir.key, "%s is a file, or lies below one: name a folder with --captures-dir, or take the file away", c.CapturesDir)
	}
	return nil
}

// guardProgram is this program, by a name that a replaced or deleted binary
// does not break.
func guardProgram() string {
	if runtime.GOOS == "linux" {
		return "/proc/self/exe"
	}
	program, err := os.Executable() // which Windows lets nobody replace or remove while it runs
	if runtime.GOOS != "windows" || err != nil {
		return ""
	}
	return program
}

// announce says in words what is being captured and when it ends, at the latest
// by what a user does.
func (a *app) announce(p *capture.Plan, end string) string {
	text := a.announceFrom(p.Source.Name(), p.Config, end)
	if p.Config.MaxTime == 0 { // 0 is easily taken for the opposite
		text += "; no time limit"
	}
	return text
}

// announceFrom does it for any source of packets, which may have several ends.
func (a *app) announceFrom(source string, c *request.Config, ends ...string) string {
	var b strings.Builder
	_, _ = fmt.Fprintf(&b, "%s: %s", source, a.filterWords(c.Filters))
	if c.SnapLen != 0 {
		_, _ = fmt.Fprintf(&b, "; %s of each packet", plural(uint64(c.SnapLen), "byte"))
	}
	if c.Additions.HeadersOnly {
		b.WriteString("; headers only")
	}
	if c.Rotates() {
		b.WriteString("; " + ringInWords(c))
	}
	_, _ = fmt.Fprintf(&b, "; to %s; until %s", destinations(c), strings.Join(limitsInWords(c, ends...), ", "))
	return b.String()
}

// ringInWords says which files a ring keeps.
func ringInWords(c *request.Config) string {
	text := fmt.Sprintf("the last %s of %s", plural(uint64(c.Continuous.FileCount), "file"), sizeText(c.MaxBytes))
	if every := c.RotateEvery(); every > 0 {
		text += fmt.Sprintf(" or %s", every)
	}
	return text
}

// limitsInWords are what ends a capture: its limits, and what else its caller knows.
func limitsInWords(c *request.Config, ends ...string) []string {
	var until []string
	if c.MaxTime != 0 {
		until = append(until, c.MaxTime.String())
	}
	if c.MaxBytes != 0 && !c.Rotates() {
		until = append(until, sizeText(c.MaxBytes))
	}
	if c.MaxPackets != 0 {
		until = append(until, plural(c.MaxPackets, "packet"))
	}
	if !c.StopWhen.IsZero() {
		until = append(until, fmt.Sprintf("%s after a packet that is %s", c.Additions.StopAfter, c.StopWhen))
	}
	return append(until, ends...)
}

// filterWords says what the filters match, those of --host and --port as they were
// meant.
func (a *app) filterWords(set filter.Set) string {
	if a.typed.ends == "" {
		return set.String()
	}
	words := a.typed.ends + " at either end"
	if rest := set.Filters()[a.typed.ofEnds:]; len(rest) > 0 {
		words += "; or " + filter.NewSet(rest...).String()
	}
	if excludes := set.Excludes(); excludes != nil {
		words += "; but not " + filter.NewSet(excludes...).String()
	}
	return words
}

func lost(d capture.Drops) string {
	var by []string
	for _, e := range []struct {
		n  uint64
		by string
	}{
		{d.ByKernel, droppedByKernel}, {d.ByInterface, "by the interface"}, {d.ByFile, "by the disk"},
		{d.AroundLimit, droppedAroundLimit},
	} {
		if e.n > 0 {
			by = append(by, fmt.Sprintf("%d %s", e.n, e.by))
		}
	}
	return plural(d.Total(), "packet") + " dropped: " + strings.Join(by, ", ")
}

func describeFiles(files []save.File, blobs []deliver.Blob) string {
	var size int64
	var paths, list []string
	add := func(path string, n int64) {
		size += n
		paths, list = append(paths, path), append(list, fmt.Sprintf("%s (%s)", path, sizeText(n)))
	}
	for _, f := range files {
		add(f.Path, f.Size)
	}
	for _, b := range blobs {
		add(b.URL, b.Size)
	}
	if files := capture.SummarizeFiles(paths); files != "" {
		return fmt.Sprintf("%s (%s)", files, sizeText(size))
	}
	if list == nil {
		return "no file is left"
	}
	return strings.Join(list, ", ")
}

func plural(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}
