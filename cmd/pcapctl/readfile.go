package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/source/capfile"
)

const (
	flagReadFile     = "read-file"
	flagLocalAddress = "local-address"
)

// readFlags say which file packets are read from instead of an interface.
type readFlags struct {
	path  string
	local []string
}

func (r *readFlags) flags(f *pflag.FlagSet) {
	f.StringVar(&r.path, flagReadFile, "", "take the packets from this pcap or pcapng `file`, also in gzip, zstd or lz4, instead of an interface; - is standard input")
	f.StringArrayVar(&r.local, flagLocalAddress, nil, "with --read-file: an `address` or prefix of the local side, may be repeated (default: as the file tells the direction, else either end)")
}

// given tells whether packets come from a file.
func (r *readFlags) given(f *pflag.FlagSet) (bool, error) {
	if f.Changed(flagLocalAddress) && !f.Changed(flagReadFile) {
		return false, &fault.Error{Class: fault.Invalid, Target: "--" + flagLocalAddress, Message: "it goes with --" + flagReadFile + " only: on an interface the kernel tells the local side"}
	}
	return f.Changed(flagReadFile), nil
}

// notWithFile are flags that mean nothing for packets of a file, and why.
var notWithFile = []struct{ name, why string }{
	{setInterface.key, "packets come either from interfaces or from a file"},
	{setPromiscuous.key, "there is no interface"},
	{setNetns.key, "there is no interface"},
	{setContainer.key, "there is no interface"},
	{setBufferSize.key, "there is no packet ring"},
	{setContext.key, "the programs of that time are gone"},
	{setCooked.key, "packets keep the header that they have in the file"},
	{"no-wait", "a file is read in the foreground"},
	{"if-exists", "no session is made"},
	{"fail-on-drops", "nothing is dropped"},
	{"show-program", "the filters run without a program of the kernel's"},
}

// check finds what is wrong with the flags themselves.
func (r *readFlags) check(a *app, given *pflag.FlagSet, requestFile string) ([]netip.Prefix, error) {
	var faults []fault.Detail
	add := func(name, format string, args ...any) {
		faults = append(faults, fault.Detail{Code: fault.CodeInvalidValue, Target: "--" + name, Message: fmt.Sprintf(format, args...)})
	}
	for _, f := range notWithFile {
		if given.Changed(f.name) {
			add(f.name, "not together with --%s: %s", flagReadFile, f.why)
		}
	}
	switch {
	case r.path == capfile.StandardInput && requestFile == "-":
		add(flagReadFile, "standard input is the request already: name a file for one of them")
	case r.path == capfile.StandardInput && isTerminal(a.in):
		add(flagReadFile, "standard input is a terminal: redirect a capture into it")
	}
	var local []netip.Prefix
	for _, text := range splitCommas(r.local) {
		p, ok := parseLocal(text)
		if !ok {
			add(flagLocalAddress, "%s is not a valid address or prefix; allowed: such as 10.0.0.5, 10.0.0.0/24, fd00::/64", fault.Quote(text))
			continue
		}
		local = append(local, p)
	}
	return local, fault.OfRequest(faults)
}

func parseLocal(text string) (netip.Prefix, bool) {
	text = strings.TrimSpace(text)
	if p, err := netip.ParsePrefix(text); err == nil {
		return p, !p.Addr().Is4In6()
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, false
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), true
}

// openRead opens the file that is read now, and not when it is needed, where root is
// given up in between. The function that it gives is for capfile.Options; nil opens
// the file when it is needed. done closes what was not used.
func (a *app) openRead(r *readFlags) (open func(string) (*os.File, error), done func()) {
	if a.settings.caller == nil || r.path == capfile.StandardInput {
		return nil, func() {}
	}
	f, err := a.settings.openCapture(r.path)
	return func(string) (*os.File, error) { return f, err }, func() { _ = f.Close() }
}

// planFile checks everything that can be checked before the file is opened, by open
// (see capfile.Options); done ends the wait for it.
func (a *app) planFile(cmd *cobra.Command, r *requestFlags, open func(string) (*os.File, error), done <-chan struct{}) (*capture.Plan, capture.Options, error) {
	local, flagErr := r.read.check(a, cmd.Flags(), r.file)
	host := a.settings.host()
	host.FromFile = true
	_, config, err := a.config(cmd, r, host)
	icmpErrors, icmpErr := setICMPErrors.value(&a.settings)
	session, sessionErr := a.settings.session()
	o := session.options()
	a.mayConfine(&o, session)
	if err := fault.Join(flagErr, err, icmpErr, sessionErr); err != nil {
		return nil, o, err
	}
	if err := checkCapturesDir(config); err != nil {
		return nil, o, err
	}
	if !icmpErrors {
		config = config.WithoutICMPErrors()
	}
	spec, err := capfile.NewSpec(config, capfile.Options{Path: r.read.path, Stdin: a.in, Local: local, Open: open, Done: done})
	if err != nil {
		return nil, o, err
	}
	plan := capture.NewPlan(config, spec)
	return plan, o, session.checkOnFile(plan)
}

// createFromFile makes a capture of packets of a file. It is not a session: no
// list has it, and its name may be taken.
func (a *app) createFromFile(cmd *cobra.Command, o *createOptions, ready *readiness) error {
	open, done := a.openRead(&o.request.read)
	defer done()
	// Root is needed to make the files and to finish them. All that others have written,
	// the request and the capture that is read, is read without it.
	u := a.settings.caller
	if u != nil {
		if err := u.Lower(); err != nil {
			return fault.Errorf(fault.Internal, "give up the rights of root: %w", err)
		}
	}
	left := make(chan struct{})
	plan, options, err := a.planFile(cmd, &o.request, open, left)
	if err != nil {
		return err
	}
	if options.Outlet, err = a.openStream(plan.Config); err != nil {
		return err
	}
	result, err := a.resultTo(cmd, o.resultFile, plan.Config)
	if err != nil {
		return err
	}
	defer result.discard()
	options.Folders = result.sandboxed()
	defer result.keep()
	if u != nil {
		options.Rights = capture.Rights{Make: u.Raised, Regain: u.Restore}
	}
	ctx, stop := a.untilSignal(cmd.Context())
	defer stop()
	context.AfterFunc(ctx, func() { close(left) })
	options.Tell = a.tell
	session, err := capture.Start(plan, options)
	if err != nil {
		return err
	}
	a.warn(session.Warnings...)
	a.explainSandbox(session)
	from := session.Source()
	a.say("reading %s (%s, %s)", a.announceFrom(plan.Source.Name(), plan.Config, "the end of the file", "Ctrl-C"), from.File.Format, from.LinkType)
	ready.tell("reading " + plan.Source.Name())
	return a.runFile(ctx, session)
}

func (a *app) runFile(ctx context.Context, s *capture.Session) error {
	defer a.watchEnd(s)()
	bar := a.startReadProgress(s)
	result, err := s.Run(ctx)
	patiently(bar.stop)
	a.warnOnce(result.Warnings)
	a.say("ended%s: %d of %s in %s, %s", because(result.StopReason), result.Packets, plural(result.Read, "packet"),
		result.Elapsed.Round(time.Millisecond), whereTo(result))
	a.sayEvent(result)
	if err == nil && result.Packets == 0 {
		why := fmt.Sprintf("no packet matched of %s, for %s", plural(result.Read, "packet"), a.filterWords(s.Plan.Config.Filters))
		if ends := aboutEnds(result.Resource().Properties.Filters[a.typed.ofEnds:]); ends != nil {
			why += "; " + ends[0] + "; --local-address says which side of the file is local"
		}
		a.say("%s", why)
	}
	if perr := a.printResult(ctx, result.Resource()); err == nil {
		err = perr
	}
	return err
}

// startReadProgress shows how much of the file has been read. It does nothing
// unless stderr is a terminal.
func (a *app) startReadProgress(s *capture.Session) *progress {
	size := s.Source().File.Size
	return a.startBar(func() sight {
		if texts := describeCommand(s); texts != nil {
			return sight{texts, -1}
		}
		now := s.Progress()
		text := sizeText(now.BytesRead)
		part := -1.0
		if size > 0 {
			text += " of " + sizeText(size)
			part = min(float64(now.BytesRead)/float64(size), 1)
		}
		return sight{[]string{text + " read", fmt.Sprintf("%d of %s kept", now.Packets, plural(now.PacketsRead, "packet")), sizeText(now.Size)}, part}
	})
}

// readFileView is what validate says of the file.
type readFileView struct {
	Path   string `json:"path"`
	Format string `json:"format"`
	Size   *int64 `json:"sizeInBytes"` // null for a pipe
}

// validateFile shows what create would do with a file. It reads as far as the
// file's first packet.
func (a *app) validateFile(cmd *cobra.Command, o *validateOptions) error {
	open, done := a.openRead(&o.request.read)
	defer done()
	if err := a.giveUpRoot(); err != nil {
		return err
	}
	plan, _, err := a.planFile(cmd, &o.request, open, nil)
	if err != nil {
		return err
	}
	session, err := a.settings.session()
	if err == nil {
		err = a.expectSandbox(plan, session, nil)
	}
	if err != nil {
		return err
	}
	src, err := plan.Source.Prepare(func() error { return a.confineReader() })
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	if err := plan.CheckFile(); err != nil {
		return err
	}
	from := src.Report()
	read := &readFileView{Path: from.File.Path, Format: from.File.Format}
	if from.File.Size >= 0 {
		read.Size = &from.File.Size
	}
	return a.printPlan(planView{
		Name: plan.Config.Name,
		Plan: planDetails{
			Interfaces:  []string{},
			ReadFile:    read,
			LinkType:    from.LinkType.String(),
			Filter:      plan.Config.Filters.String(),
			FilterMode:  from.FilterMode,
			Filters:     filterViews(plan.Config.Filters.Filters()),
			Exclude:     filterViews(plan.Config.Filters.Excludes()),
			HeadersOnly: plan.Config.Additions.HeadersOnly,
			StopWhen:    filterViews(plan.Config.StopWhen.Others().Excludes()),
		},
		Warnings: append(append([]string{}, plan.Warnings...), from.Warnings...),
		resource: &capture.Resource{Name: plan.Config.Name, Properties: capture.ResourceProperties{
			PacketCaptureStatus: capture.StatusNotStarted,
			Statistics:          plan.Resource().Properties.Statistics,
		}},
	}, plan.Config)
}
