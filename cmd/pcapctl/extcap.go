package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"pcapctl/capture/fault"
	"pcapctl/capture/netif"
	"pcapctl/capture/request"
	"pcapctl/capture/source/live"
	"pcapctl/filter"
)

// Wireshark starts an extcap by its own flags: https://www.wireshark.org/docs/wsdg_html_chunked/ChCaptureExtcap.html

// extcapName is the one interface that Wireshark is told of.
const extcapName = "pcapctl"

// fifoPatience is how long Wireshark may take to open its end of the FIFO.
const fifoPatience = 30 * time.Second

type extcapOptions struct {
	create createOptions

	interfaces, dlts, config, capture    bool
	version, iface, fifo, filter, reload string
	controlIn, controlOut                string
}

// extcapArgs are the arguments of a program that Wireshark has started: `pcapctl extcap` and what it has written, without the
// options that it leaves empty. Others are given back as they are.
func extcapArgs(args []string) []string {
	switch {
	case len(args) > 0 && args[0] == "extcap":
		args = args[1:]
	case len(args) == 0 || args[0] != "--capture" && !strings.HasPrefix(args[0], "--extcap-"):
		return args
	}
	list := []string{"extcap"}
	for i := 0; i < len(args); i++ {
		if strings.HasPrefix(args[i], "--") && i+1 < len(args) && args[i+1] == "" {
			i++
			continue
		}
		list = append(list, args[i])
	}
	return list
}

func (a *app) extcapCommand() *cobra.Command {
	var o extcapOptions
	cmd := &cobra.Command{
		Use:   "extcap --extcap-interfaces | --capture --fifo FILE [flags]",
		Short: "Capture for Wireshark, which starts it as an external capture tool",
		Long: `extcap is what Wireshark and tshark call. A link to pcapctl in their extcap
folder has them show an interface "pcapctl" with the interfaces, filters and
limits of create as options:

  ln -s "$(command -v pcapctl)" ~/.local/lib/wireshark/extcap/pcapctl

Wireshark's flags before all others say that it is extcap that is meant.`,
		Example: `  tshark -i pcapctl -c 10
  pcapctl extcap --extcap-interfaces
  pcapctl extcap --capture --extcap-interface pcapctl --fifo /tmp/fifo \
      --interface eth0 --port 443`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.extcap(cmd, &o) },
	}
	o.create.request.flags(cmd)
	o.create.ifExists, o.create.readyFD = existsFail, noReadyFD
	f := cmd.Flags()
	f.BoolVar(&o.interfaces, "extcap-interfaces", false, "list the interfaces")
	f.BoolVar(&o.dlts, "extcap-dlts", false, "list the link types of --extcap-interface")
	f.BoolVar(&o.config, "extcap-config", false, "list the options of --extcap-interface")
	f.BoolVar(&o.capture, "capture", false, "capture into --fifo")
	f.StringVar(&o.version, "extcap-version", "", "`version` of Wireshark")
	f.StringVar(&o.iface, "extcap-interface", "", "the `interface`: "+extcapName)
	f.StringVar(&o.fifo, "fifo", "", "`FIFO` that the packets are written to as pcapng; - is standard output")
	f.StringVar(&o.filter, "extcap-capture-filter", "", "a `filter` as of --filter; without --capture say whether it is valid")
	f.StringVar(&o.reload, "extcap-reload-option", "", "list the values of an `option` again")
	f.StringVar(&o.controlIn, "extcap-control-in", "", "FIFO of a toolbar, which there is none of")
	f.StringVar(&o.controlOut, "extcap-control-out", "", "FIFO of a toolbar, which there is none of")
	for _, name := range []string{"extcap-control-in", "extcap-control-out"} {
		_ = f.MarkHidden(name)
	}
	return cmd
}

func (a *app) extcap(cmd *cobra.Command, o *extcapOptions) error {
	if o.iface != "" && o.iface != extcapName {
		return &fault.Error{Class: fault.NotFound, Target: "--extcap-interface", Message: fmt.Sprintf("there is no interface %s; there is: %s", fault.Quote(o.iface), extcapName)}
	}
	a.output.format, a.output.asked = "none", true // errors are text: Wireshark shows them
	switch {
	case o.interfaces:
		return a.extcapPrint(
			fmt.Sprintf("extcap {version=%s}{help=https://www.wireshark.org/docs/man-pages/extcap.html}{display=pcapctl}", sentence(buildVersion().Version)),
			"interface {value="+extcapName+"}{display=pcapctl}",
		)
	case o.dlts:
		return a.extcapPrint("dlt {number=1}{name=EN10MB}{display=as each interface has it}")
	case o.config:
		return a.extcapPrint(extcapConfig()...)
	case o.reload != "":
		return a.extcapPrint(interfaceValues()...)
	case o.capture:
		return a.extcapCapture(cmd, o)
	case o.filter != "":
		if err := checkFilter(o.filter); err != nil {
			return a.extcapPrint(err.Error()) // any output says that it is not valid
		}
		return nil
	}
	return fault.Errorf(fault.Invalid, "extcap is called by Wireshark, with one of --extcap-interfaces, --extcap-dlts, --extcap-config, --capture")
}

func (a *app) extcapPrint(lines ...string) error {
	for _, line := range lines {
		if _, err := fmt.Fprintln(a.out, fault.VisibleLine(line)); err != nil {
			return fault.Errorf(fault.Internal, "write the result: %w", err)
		}
	}
	return nil
}

// sentence is a text as a value of Wireshark's sentences can have it.
func sentence(text string) string {
	return strings.Map(func(r rune) rune {
		if r == '{' || r == '}' {
			return '_'
		}
		return r
	}, text)
}

// extcapArgument is an option that Wireshark shows.
type extcapArgument struct{ flag, display, kind, tooltip, extra string }

var extcapArguments = []extcapArgument{
	{"--interface", "Interfaces", "multicheck", "None: all that are up or come up, without loopback", "{reload=true}{placeholder=Look again}"},
	{"--filter", "Filter", "string", "As of pcapctl: protocol=TCP,localPort=80-85", ""},
	{"--host", "Host", "string", "Addresses of either end: one, a range, or a list with commas", ""},
	{"--port", "Port", "string", "Ports of either end: one, a range, or a list with commas", ""},
	{"--exclude", "Leave out", "string", "A filter as above, of what is not captured; my-ssh is the SSH connection that this is controlled by", ""},
	{"--stop-when", "Stop at", "string", "A filter as above: the packet that ends the capture, 5s after it", ""},
	{"--headers-only", "Headers only", "boolflag", "Cut each packet behind its last header", "{default=false}"},
	{"--capture-size", "Bytes of each packet", "string", "Such as 96; empty is all", ""},
	{"--packet-limit", "Packets", "string", "End behind this number of packets", ""},
	{"--time-limit", "Time", "string", "Time limit, such as 30s or 5m; 0 is none (default 5h)", ""},
	{"--capture-limit", "Size", "string", "Limit of all bytes, such as 10MB; 0 is none (default 1GiB)", ""},
	{"--netns", "Network namespace", "string", "Name, path, or the id of a process", ""},
	{"--container", "Container", "string", "Name or id of a container of this machine", ""},
}

func extcapConfig() []string {
	var lines []string
	for i, arg := range extcapArguments {
		lines = append(lines, fmt.Sprintf("arg {number=%d}{call=%s}{display=%s}{type=%s}{tooltip=%s}%s", i, arg.flag, arg.display, arg.kind, arg.tooltip, arg.extra))
	}
	return append(lines, interfaceValues()...)
}

// interfaceValues are the interfaces of this machine. One whose name would break a sentence is left out, and can be named
// with create.
func interfaceValues() []string {
	all, err := live.Interfaces("")
	if err != nil {
		return nil
	}
	all = slices.DeleteFunc(all, func(i netif.Interface) bool { return strings.ContainsAny(i.Name, "{},") })
	lines := []string{"value {arg=0}{value=" + live.AnyInterface + "}{display=any: every interface, loopback included}{default=false}{enabled=true}"}
	for _, i := range all {
		state := "up"
		if !i.Up {
			state = "down"
		}
		lines = append(lines, fmt.Sprintf("value {arg=0}{value=%s}{display=%s (%s)}{default=false}{enabled=true}", i.Name, i.Name, state))
	}
	return lines
}

// checkFilter finds what is wrong with a capture filter of Wireshark's, which stands in the notation of --filter.
func checkFilter(text string) error {
	spec, err := shortFilter(text)
	if err != nil {
		return err
	}
	if _, faults := filter.Parse(spec); faults != nil {
		return fmt.Errorf("%v", faults[0])
	}
	return nil
}

// extcapCapture is create --file-path - with the FIFO as standard output.
func (a *app) extcapCapture(cmd *cobra.Command, o *extcapOptions) error {
	if o.fifo == "" {
		return &fault.Error{Class: fault.Invalid, Target: "--fifo", Message: "it is missing: name the FIFO that the packets are written to"}
	}
	flags := cmd.Flags()
	for _, set := range []struct{ name, value string }{{"file-path", request.StandardOutput}, {setFormat.key, request.FormatPcapng}, {"filter", o.filter}} {
		if set.value == "" {
			continue
		}
		if err := flags.Set(set.name, set.value); err != nil {
			return fault.Errorf(fault.Invalid, "%w", err)
		}
	}
	if o.fifo != request.StandardOutput {
		ctx, stop := a.untilAnySignal(cmd.Context(), func() {})
		fifo, err := a.openFIFO(ctx, o.fifo)
		stop()
		if err != nil {
			return err
		}
		defer func() { _ = fifo.Close() }()
		a.out = fifo
	}
	a.noResult = true
	a.quiet = true // Wireshark takes every word for an error
	return a.create(cmd, &o.create)
}

// openFIFO opens a FIFO that somebody reads, or is about to, with the rights of whoever called. Nothing else is written to,
// a link is not followed, and the FIFO of somebody else, who could read what is captured, is refused.
func (a *app) openFIFO(ctx context.Context, path string) (*os.File, error) {
	invalid := func(format string, args ...any) error {
		return &fault.Error{Class: fault.Invalid, Target: "--fifo", Message: fmt.Sprintf(format, args...)}
	}
	for deadline := time.Now().Add(fifoPatience); ; {
		var f *os.File
		open := func() (err error) {
			f, err = openUnread(path)
			return err
		}
		var err error
		if u := a.settings.caller; u != nil {
			err = u.Do(open)
		} else {
			err = open()
		}
		switch {
		case err == nil:
			if st, serr := f.Stat(); serr != nil || st.Mode()&fs.ModeNamedPipe == 0 {
				_ = f.Close()
				return nil, invalid("%s is not a FIFO: make one with mkfifo, or let Wireshark do it", fault.Quote(path))
			}
			if !a.settings.ownFIFO(f) {
				_ = f.Close()
				return nil, fault.Errorf(fault.Forbidden, "--fifo: %s is the FIFO of another user, who could read what is captured", fault.Quote(path))
			}
			return f, nil
		case errors.Is(err, fs.ErrNotExist):
			return nil, fault.Errorf(fault.NotFound, "--fifo: %w", err)
		case !isUnread(err):
			return nil, fault.Errorf(fault.Forbidden, "--fifo: %w: it must be a FIFO, and no link to one", err)
		case time.Now().After(deadline):
			return nil, invalid("nobody has opened %s for reading within %s", fault.Quote(path), fifoPatience)
		}
		select {
		case <-ctx.Done():
			return nil, fault.Errorf(fault.Failed, "interrupted before anybody had opened %s for reading", fault.Quote(path))
		case <-time.After(20 * time.Millisecond):
		}
	}
}
