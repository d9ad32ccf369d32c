package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/inspect"
	"pcapctl/capture/registry"
	"pcapctl/capture/source/capfile"
	"pcapctl/filter"
	"pcapctl/storage/private"
)

// inspectOptions are the flags of inspect.
type inspectOptions struct {
	filter   []string
	ends     endFlags
	top      int
	maxFlows int
	html     string
	context  string
}

func (a *app) inspectCommand() *cobra.Command {
	var o inspectOptions
	cmd := &cobra.Command{
		Use:   "inspect FILE… | NAME | -",
		Short: "Say what a capture shows: what failed first",
		Long: `inspect reads capture files (pcap or pcapng, also in gzip, zstd or lz4) and says
what they show: whether the capture is complete, what failed and what that
usually means, the health of TCP by service, who talks, and when. Of several
files, which are read in the order given, it makes one report. It needs no root.

An argument that is - (standard input), that has a / in it or that is the name
of a file in this folder is a path. Any other is the name of a session: its
files are read, those of a ring from the oldest on.

At a terminal the report is text, also with -o table; else JSON. Ctrl-C prints
what was seen so far, and the exit code is then 6.`,
		Example: `  pcapctl inspect trace.pcap
  pcapctl inspect web --html web.html
  pcapctl inspect ring-1.pcapng.zst ring-2.pcapng.zst --filter 'remotePort=5432'
  pcapctl inspect trace.pcap -o json --query 'failures[].title'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fault.Errorf(fault.Invalid, "%s needs a capture file, - for standard input, or the name of a session (`pcapctl list` shows them)", cmd.CommandPath())
			}
			return nil
		},
		ValidArgsFunction: a.completeInspect,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.inspect(cmd, args, &o) },
	}
	o.flags(cmd.Flags())
	return cmd
}

func (o *inspectOptions) flags(f *pflag.FlagSet) {
	f.StringArrayVar(&o.filter, "filter", nil, "look only at packets of this `filter`, as in 'protocol=TCP,remotePort=443'; may be repeated: any of them")
	o.ends.flags(f)
	f.IntVar(&o.top, "top", inspect.DefaultTop, "how many `entries` a table has")
	f.IntVar(&o.maxFlows, "max-flows", inspect.DefaultMaxFlows, "how many `flows` are held in memory at a time, of up to 1.4 kB each")
	f.StringVar(&o.context, "context", "", "the context of the capture, a `file` that create --context has written (default: the one beside the capture)")
	f.StringVar(&o.html, "html", "", "write the report to this new `file` as well, as one page for a browser")
}

// completeInspect completes the names of sessions and files.
func (a *app) completeInspect(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	names, _ := a.completeSessions(manySessions, func(s *registry.Session) bool { return s.Record != nil })(cmd, args, begun)
	return names, cobra.ShellCompDirectiveDefault
}

// options checks the flags.
func (o *inspectOptions) options() (inspect.Options, error) {
	var faults []fault.Detail
	add := func(target, message string) {
		faults = append(faults, fault.Detail{Code: fault.CodeInvalidValue, Target: target, Message: message})
	}
	if o.top < 1 || o.top > maxTop {
		add("--top", fmt.Sprintf("%d given; allowed: 1 to %d", o.top, maxTop))
	}
	if o.maxFlows < 1 || o.maxFlows > mostFlows {
		add("--max-flows", fmt.Sprintf("%d given; allowed: 1 to %d", o.maxFlows, mostFlows))
	}
	var filters []filter.Filter
	parse := func(target string, spec filter.Spec) {
		f, wrong := filter.Parse(spec)
		for _, w := range wrong {
			f := fault.Detail{Code: fault.CodeInvalidValue, Target: target, Message: w.Field + ": " + w.Reason}
			if target == "" { // --host and --port stand for several members, which nobody has written
				f.Target, f.Message = "--"+flagPort, w.Reason
				if w.Field == "localIPAddress" {
					f.Target = "--" + flagHost
				}
			}
			if !slices.Contains(faults, f) {
				faults = append(faults, f)
			}
		}
		filters = append(filters, f)
	}
	for _, spec := range o.ends.filters() {
		parse("", spec)
	}
	for i, text := range o.filter {
		target := fmt.Sprintf("--filter #%d", i+1)
		spec, err := shortFilter(text)
		if err != nil {
			add(target, err.Error())
			continue
		}
		parse(target, spec)
	}
	if err := fault.OfRequest(faults); err != nil {
		return inspect.Options{}, err
	}
	return inspect.Options{Top: o.top, MaxFlows: o.maxFlows, Filter: filter.NewSet(filters...)}, nil
}

// Bounds of the flags.
const (
	maxTop    = 1000
	mostFlows = 10_000_000
)

func (a *app) inspect(cmd *cobra.Command, args []string, o *inspectOptions) error {
	options, err := o.options()
	if err != nil {
		return err
	}
	// A signal ends the process as long as nothing is made: a named pipe may have nobody who writes into it.
	from, captures, err := openAll(func() (inspected, error) { return a.capturesOf(args) }, func(in inspected) (*inspect.Captures, error) {
		return inspect.Open(in.paths, a.in, in.opener(a.settings.openCapture))
	})
	if err != nil {
		return err
	}
	defer func() { _ = captures.Close() }() // they were only read
	options.Lost = from.lost
	contexts, err := a.openContexts(&from, o.context)
	if err != nil {
		return err
	}
	defer contexts.close()
	var begun atomic.Pointer[page]
	ctx, stop := a.untilAnySignal(cmd.Context(), func() {
		if p := begun.Load(); p != nil {
			p.discard()
		}
	})
	defer stop()
	page, err := a.openPage("--html", o.html)
	if err != nil {
		return err
	}
	begun.Store(page)
	defer page.discard()
	// Everything is open. From here on what others have chosen is read.
	if err := a.giveUpRoot(); err != nil {
		return err
	}
	if err := a.confineReader(page.folders()...); err != nil {
		return err
	}
	report, err := a.readCaptures(ctx, captures, options)
	if report == nil {
		return err
	}
	a.addContexts(report, contexts)
	if err != nil && from.growing {
		// A file that is being written may end anywhere.
		a.warn(err.Error())
		err = nil
	}
	if perr := a.print(reportView{report}); perr != nil {
		return perr
	}
	if perr := page.write(report); perr != nil {
		return perr
	}
	if err == nil && report.Input.Interrupted {
		err = fault.Errorf(fault.Failed, "interrupted: the report is of the %s that were read until then", plural(report.Packets.Count, "packet"))
	}
	return err
}

// readCaptures reads what is open. Everything that comes from packets is handled between its
// first line and its last: no file is opened, and none is written, in between.
func (a *app) readCaptures(ctx context.Context, captures *inspect.Captures, o inspect.Options) (*inspect.Report, error) {
	bar := a.startBar(func() sight {
		read, size, packets := captures.Progress()
		text, part := sizeText(read), -1.0
		if size > 0 {
			text += " of " + sizeText(size)
			part = min(float64(read)/float64(size), 1)
		}
		return sight{[]string{text + " read", plural(packets, "packet")}, part}
	})
	defer patiently(bar.stop)
	return captures.Inspect(ctx, o)
}

// openTries is how often the files of a session that captures are looked for.
const openTries = 5

// openAll finds and opens what is to be read. A ring may remove its oldest file in between; then it
// has another one.
func openAll(find func() (inspected, error), open func(inspected) (*inspect.Captures, error)) (inspected, *inspect.Captures, error) {
	for try := 1; ; try++ {
		in, err := find()
		if err != nil {
			return in, nil, err
		}
		captures, err := open(in)
		if err == nil || !in.growing || try == openTries || fault.ClassOf(err) != fault.NotFound {
			return in, captures, err
		}
	}
}

// inspected is what is to be read.
type inspected struct {
	paths    []string
	whose    map[string]string // of the paths that come from a record: the session, for errors
	contexts []string          // of sessions
	lost     inspect.Losses
	growing  bool // a session that still captures
}

// capturesOf finds the files of the arguments: paths, or one session's.
func (a *app) capturesOf(args []string) (inspected, error) {
	var in inspected
	stdin := false
	for _, arg := range args {
		switch {
		case arg == capfile.StandardInput && stdin:
			return in, fault.Errorf(fault.Invalid, "- is given twice; standard input can be read once")
		case arg == capfile.StandardInput && isTerminal(a.in):
			return in, fault.Errorf(fault.Invalid, "standard input is a terminal: redirect a capture into it")
		case arg == capfile.StandardInput:
			stdin = true
			in.paths = append(in.paths, arg)
		case isPath(arg):
			in.paths = append(in.paths, arg)
		default:
			if err := a.filesOfSession(arg, &in); err != nil {
				return in, err
			}
		}
	}
	return in, nil
}

// isPath tells a path from the name of a session.
func isPath(arg string) bool {
	if strings.ContainsRune(arg, filepath.Separator) {
		return true
	}
	_, err := os.Lstat(arg)
	return !errors.Is(err, fs.ErrNotExist)
}

// filesOfSession adds the files of a session, and what its record says was lost.
func (a *app) filesOfSession(name string, in *inspected) error {
	reg, err := a.registry()
	if err != nil {
		return err
	}
	s, err := reg.Get(name)
	if err != nil {
		if errors.Is(err, registry.ErrUnknown) {
			return fault.Errorf(fault.NotFound, "there is no file %s, and no session of that name%s", fault.Quote(name), knownNames(reg, name))
		}
		return err
	}
	if s.Record == nil {
		return s.Err
	}
	st := s.Resource().Properties.Statistics
	if st == nil || len(st.Files) == 0 {
		where := ""
		if st != nil && len(st.Blobs) > 0 {
			where = "; it is in " + st.Where() + ": download it, and give inspect the file"
		}
		return fault.Errorf(fault.NotFound, "session %s has no file on this machine%s", s.Name, where)
	}
	in.add(fmt.Sprintf("session %q", s.Name), st)
	in.growing = in.growing || s.Alive
	return nil
}

// knownNames says which session was probably meant.
func knownNames(reg *registry.Registry, name string) string {
	list, err := reg.List()
	if err != nil || len(list) == 0 {
		return ""
	}
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.Name
	}
	if hint := didYouMean(name, "", names); hint != "" {
		return hint
	}
	return "; `pcapctl list` shows the sessions"
}

func (in *inspected) add(whose string, st *capture.Statistics) {
	if in.whose == nil {
		in.whose = make(map[string]string)
	}
	for _, f := range st.Files {
		in.paths = append(in.paths, f.Path)
		in.whose[f.Path] = whose
	}
	if c := st.Context; c != nil && c.Path != "" {
		in.contexts = append(in.contexts, c.Path)
		in.whose[c.Path] = whose
	}
	in.lost.ByKernel += st.PacketsDroppedByKernel + st.PacketsDroppedAroundLimit
	in.lost.ByInterface += st.PacketsDroppedByInterface
	in.lost.ByFile += st.PacketsNotWritten
}

// opener opens the files: those of a session as it has made them, others by given.
func (in *inspected) opener(given func(path string) (*os.File, error)) func(path string) (*os.File, error) {
	return func(path string) (*os.File, error) {
		if whose, ok := in.whose[path]; ok {
			return registry.OpenOwn(whose, path)
		}
		return given(path)
	}
}

// page is the new file of a report or result, the zero page none.
type page struct {
	file *os.File
	done atomic.Bool // complete, or taken away
}

// openPage makes the file before anything of the capture is read. Nothing is overwritten, and
// a link in its place is not followed. Under sudo it is the file of whoever called.
func (a *app) openPage(flag, path string) (_ *page, err error) {
	if path == "" {
		return &page{}, nil
	}
	var f *os.File
	open := func() (err error) {
		f, err = private.CreateFile(path, os.O_WRONLY)
		return err
	}
	if u := a.settings.caller; u != nil {
		err = asCaller(u, u.Do(open))
	} else {
		err = open()
	}
	if err != nil {
		class := fault.LocalFile
		switch {
		case errors.Is(err, fs.ErrExist):
			return nil, fault.Errorf(fault.Conflict, "%s: %s exists already; name another file, or remove it", flag, fault.Quote(path))
		case errors.Is(err, fs.ErrNotExist):
			class = fault.NotFound
		case errors.Is(err, fs.ErrPermission):
			class = fault.Forbidden
		}
		return nil, fault.Errorf(class, "%s: %w", flag, err)
	}
	return &page{file: f}, nil
}

// folders are those that are needed to take the page away again.
func (p *page) folders() []string {
	if p.file == nil {
		return nil
	}
	return []string{filepath.Dir(p.file.Name())}
}

// write writes the report and closes the file.
func (p *page) write(r *inspect.Report) error {
	if p.file == nil {
		return nil
	}
	err := errors.Join(r.HTML(p.file), p.file.Close())
	if err != nil {
		return fault.Errorf(fault.LocalFile, "--html: %w; the page was removed", err)
	}
	p.done.Store(true)
	return nil
}

// discard takes a page away that was not written to its end. A signal may come between.
func (p *page) discard() {
	if p.file == nil || p.done.Swap(true) {
		return
	}
	_ = p.file.Close() // may be closed already
	_ = os.Remove(p.file.Name())
}

// reportView is a report that is printed.
type reportView struct{ *inspect.Report }

// page implements pager.
func (v reportView) page(width int, color bool) []string {
	return v.Text(inspect.Style{Width: width, Color: color, ASCII: !speaksUTF8()})
}

// speaksUTF8 tells by the locale whether the terminal shows more than ASCII: the first of these
// variables that is set counts (locale(7)).
func speaksUTF8() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if value := os.Getenv(name); value != "" {
			value = strings.ToLower(value)
			return strings.Contains(value, "utf-8") || strings.Contains(value, "utf8")
		}
	}
	return false
}

// inspectedView is a capture with what it shows, for create --inspect.
type inspectedView struct {
	resourceView
	Inspect *inspect.Report `json:"inspect"`
}

// printInspected prints the result of a capture together with what it shows: a member of
// the JSON, and text behind the result otherwise. That it cannot be shown changes nothing
// about the capture.
func (a *app) printInspected(ctx context.Context, res *capture.Resource) error {
	report, err := a.inspectResult(ctx, res)
	if err != nil {
		a.warn("--inspect: " + err.Error())
	}
	if report == nil {
		return a.printDone(resourceView{res})
	}
	if err := a.printDone(inspectedView{resourceView{res}, report}); err != nil {
		return err
	}
	if a.output.expr == nil && (a.output.glance || a.output.format == "table") {
		return a.print(reportView{report})
	}
	return nil
}

// inspectResult looks at the files of a capture that has ended.
func (a *app) inspectResult(ctx context.Context, res *capture.Resource) (*inspect.Report, error) {
	var in inspected
	if st := res.Properties.Statistics; st != nil {
		in.add("the capture", st)
	}
	if len(in.paths) == 0 {
		return nil, errors.New("the capture has left no file on this machine")
	}
	captures, err := inspect.Open(in.paths, nil, in.opener(nil))
	if fault.ClassOf(err) == fault.NotFound {
		return nil, fmt.Errorf("%w; where --on-file has moved it, or somebody else, `pcapctl inspect FILE` shows it there", err)
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = captures.Close() }()
	contexts, err := a.openContexts(&in, "")
	if err != nil {
		return nil, err
	}
	defer contexts.close()
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx)) // the signal that ended the capture has done its work
	defer cancel()
	a.inspecting.Store(&cancel)
	defer a.inspecting.Store(nil)
	report, err := a.readCaptures(ctx, captures, inspect.Options{Lost: in.lost})
	if report != nil {
		a.addContexts(report, contexts)
	}
	return report, err
}

// abandonInspect breaks off the look at a capture, if there is one.
func (a *app) abandonInspect() bool {
	cancel := a.inspecting.Load()
	if cancel == nil {
		return false
	}
	(*cancel)()
	return true
}

// pager is a result that has a form of its own as text, with colours, which print does not
// touch: what is not its own in it is escaped already.
type pager interface {
	page(width int, color bool) []string
}

// writePage writes the lines of a pager.
func (o *output) writePage(w io.Writer, p pager) error {
	width := o.width
	if width == 0 {
		width = pageWidth
	}
	var b strings.Builder
	for _, line := range p.page(width, o.color) {
		b.WriteString(line)
		b.WriteByte('\n')
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// pageWidth is the width of a page that does not go to a terminal.
const pageWidth = 100
