package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pcapctl/capture/fault"
	"pcapctl/capture/request"
	"pcapctl/filter"
)

// requestFlags are the flags that describe a capture, of both families of the
// az command line. Those that were given override the body.
type requestFlags struct {
	file string

	name, group, vm, target, targetType       string
	perPacket, total, timeLimit               string
	account, storagePath, filePath, localPath string
	filters                                   string
	filter                                    []string
	continuous                                string
	captureSettings                           []string
	bufferSize                                string
	interfaces                                []string
	promiscuous                               bool
	read                                      readFlags
}

// aliases are the names of the older family of az flags.
var aliases = map[string]string{
	"capture-limit": "total-bytes-per-session",
	"capture-size":  "bytes-to-capture-per-packet",
	"time-limit":    "time-limit-in-seconds",
}

func (r *requestFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&r.file, "file", "f", "", "JSON `file` with the body of the API's PUT; - is standard input")
	f.StringVarP(&r.name, "name", "n", "", "name of the capture (default: made of host name and time)")
	f.StringVarP(&r.group, "resource-group", "g", "", "resource group, together with --vm")
	f.StringVar(&r.vm, "vm", "", "name or resource id of the VM (default: this machine)")
	f.StringVar(&r.target, "target", "", "resource id of the VM (default: this machine)")
	f.StringVar(&r.targetType, "target-type", "", "type of the target: AzureVM")
	f.StringVar(&r.perPacket, "bytes-to-capture-per-packet", "", "`bytes` recorded of each packet; 0 is all (also --capture-size)")
	f.StringVar(&r.total, "total-bytes-per-session", "", "size limit of the file in `bytes`; 0 is none (default 1073741824; also --capture-limit)")
	f.StringVar(&r.timeLimit, "time-limit-in-seconds", "", "time limit in `seconds`; 0 is none (default 18000; also --time-limit)")
	f.StringVar(&r.account, "storage-account", "", "name or resource id of the storage account")
	f.StringVar(&r.storagePath, "storage-path", "", "https `URI` of the blob")
	f.StringVar(&r.filePath, "file-path", "", "`path` of the capture file, under the captures folder; {packetCaptureName}, {hostname} and {startTime} are filled in")
	f.StringVar(&r.localPath, "local-path", "", "`path` of the capture files in continuous mode")
	f.StringVar(&r.filters, "filters", "", "filters as a `JSON` list, or @file")
	f.StringArrayVar(&r.filter, "filter", nil, "one filter, as in `protocol=TCP,localPort=80-85,remoteIPAddress=10.0.0.5`; may be repeated")
	f.StringVar(&r.continuous, flagContinuous, "", "continuous mode: `true` for a ring of files, false for one")
	f.Lookup(flagContinuous).NoOptDefVal = bareContinuous
	f.StringArrayVar(&r.captureSettings, "capture-settings", nil, "of continuous mode: `file-count=…` file-size-in-bytes=… session-time-limit-in-seconds=…")
	f.StringArrayVarP(&r.interfaces, setInterface, "i", nil, "`interface` to capture on, may be repeated; any is all of them (default: all that are up, without loopback and those enslaved to another)")
	f.BoolVar(&r.promiscuous, setPromiscuous, true, "capture frames for other stations, too")
	f.Bool(setICMPErrors, true, "with filters, record the ICMP errors about their packets, too")
	outputFlags(cmd)
	netnsFlag(cmd)
	f.StringVar(&r.bufferSize, setBufferSize, "", "`size` of the kernel's packet ring, such as 8MiB")
	r.read.flags(f)
	for alias, name := range aliases {
		f.String(alias, "", "as --"+name)
		_ = f.MarkHidden(alias)
	}
	_ = cmd.RegisterFlagCompletionFunc(setInterface, completeInterfaces)
	_ = cmd.RegisterFlagCompletionFunc("target-type", cobra.FixedCompletions([]string{"AzureVM"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc(flagContinuous, cobra.FixedCompletions([]string{"true", "false"}, cobra.ShellCompDirectiveNoFileComp))
	// az takes the settings of --capture-settings as words of their own.
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		args = r.takeContinuous(args)
		if len(args) == 0 {
			return nil
		}
		if len(r.captureSettings) > 0 && !strings.HasPrefix(r.captureSettings[0], "{") {
			r.captureSettings = append(r.captureSettings, args...)
			return nil
		}
		return fault.Errorf(fault.Invalid, "%s takes no argument, but %q was given; a request file is named by -f", cmd.CommandPath(), args[0])
	}
}

const (
	flagContinuous = "continuous-capture"
	bareContinuous = "true" // the value of the flag when it has none of its own
)

// takeContinuous gives --continuous-capture its value, which may be left out as
// in az. So the word behind it comes as an argument, and it must not swallow a
// flag that follows.
func (r *requestFlags) takeContinuous(args []string) []string {
	if r.continuous != bareContinuous {
		return args
	}
	if len(args) > 0 && !strings.Contains(args[0], "=") && !strings.HasPrefix(args[0], "{") {
		r.continuous, args = args[0], args[1:]
	}
	return args
}

// config makes the session's config of body, flags and settings, with every
// fault of all of them in one error. The request is what it is made of, judged
// on host.
func (a *app) config(cmd *cobra.Command, r *requestFlags, host request.Host) (*request.Request, *request.Config, error) {
	req, bodyErr := r.body(a.in)
	if req == nil {
		return nil, nil, bodyErr
	}
	if req.Properties == nil && r.file == "" {
		req.Properties = &request.Properties{}
	}
	var flagErr, setErr error
	if p := req.Properties; p != nil {
		if r.file == "" {
			p.Target = new(a.settings.target())
		}
		flagErr = r.override(cmd.Flags(), req)
		setErr = a.settings.limits(p)
	}
	config, err := request.NewConfig(req, host)
	if err := fault.Join(bodyErr, flagErr, setErr, err); err != nil {
		return nil, nil, err
	}
	return req, config, nil
}

// body reads the request file. The request is nil when there was nothing to
// decode.
func (r *requestFlags) body(stdin io.Reader) (*request.Request, error) {
	if r.file == "" {
		return &request.Request{}, nil
	}
	text, err := readInput("the request", r.file, stdin)
	if err != nil {
		return nil, err
	}
	return request.Decode(text)
}

// readInput reads what, from the file name or from standard input.
func readInput(what, name string, stdin io.Reader) ([]byte, error) {
	from := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return nil, inputError(what, err)
		}
		defer func() { _ = f.Close() }()
		from = f
	}
	// One byte more than is allowed, so that DecodeRequest sees that and says so.
	text, err := io.ReadAll(io.LimitReader(from, request.MaxBody+1))
	if err != nil {
		return nil, inputError(what, err)
	}
	return text, nil
}

func inputError(what string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fault.Errorf(fault.NotFound, "read %s: %w", what, err)
	case errors.Is(err, fs.ErrPermission):
		return fault.Errorf(fault.Forbidden, "read %s: %w", what, err)
	default:
		return fault.Errorf(fault.Invalid, "read %s: %w", what, err)
	}
}

// override puts the flags that were given into the request.
func (r *requestFlags) override(given *pflag.FlagSet, req *request.Request) error {
	p := req.Properties
	if given.Changed("name") {
		req.Name = &r.name
	}
	targetErr := r.overrideTarget(given, p)
	if given.Changed("target-type") {
		p.TargetType = &r.targetType
	}
	r.overrideStorage(given, p)
	return fault.Join(
		targetErr,
		r.overrideNumbers(given, p),
		r.overrideFilters(given, p),
		r.overrideContinuous(given, p),
	)
}

func (r *requestFlags) overrideTarget(given *pflag.FlagSet, p *request.Properties) error {
	vm := r.vm
	if !strings.HasPrefix(vm, "/") {
		vm = vmID(r.group, vm)
	}
	switch {
	case given.Changed("target") && given.Changed("vm") && !strings.EqualFold(r.target, vm):
		return &fault.Error{Class: fault.Invalid, Code: fault.CodeInvalidValue, Target: "--vm", Message: vm + " given, and another machine by --target: leave one of them out"}
	case given.Changed("target"):
		p.Target = &r.target
	case given.Changed("vm"):
		p.Target = &vm
	}
	return nil
}

// The ids of things that are only known by name. The zero subscription stands
// for "not known here": no call is made to it.
const noSubscription = "00000000-0000-0000-0000-000000000000"

func vmID(group, name string) string {
	return armID(group, "Microsoft.Compute/virtualMachines/"+name)
}

func armID(group, rest string) string {
	if group == "" {
		group = "local"
	}
	return "/subscriptions/" + noSubscription + "/resourceGroups/" + group + "/providers/" + rest
}

func (r *requestFlags) overrideNumbers(given *pflag.FlagSet, p *request.Properties) error {
	var faults []fault.Detail
	for _, m := range []struct {
		name, text string
		to         **int64
	}{
		{"bytes-to-capture-per-packet", r.perPacket, &p.BytesToCapturePerPacket},
		{"total-bytes-per-session", r.total, &p.TotalBytesPerSession},
		{"time-limit-in-seconds", r.timeLimit, &p.TimeLimitInSeconds},
	} {
		if !given.Changed(m.name) {
			continue
		}
		n, err := number(m.text)
		if err != nil {
			faults = append(faults, fault.Detail{Code: fault.CodeInvalidValue, Target: "--" + m.name, Message: err.Error()})
			continue
		}
		*m.to = &n
	}
	return fault.OfRequest(faults)
}

func number(text string) (int64, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", text)
	}
	return n, nil
}

func (r *requestFlags) overrideStorage(given *pflag.FlagSet, p *request.Properties) {
	account := r.account
	if account != "" && !strings.HasPrefix(account, "/") {
		account = armID(r.group, "Microsoft.Storage/storageAccounts/"+account)
	}
	for _, m := range []struct {
		name, value string
		to          func(*request.StorageLocation) **string
	}{
		{"storage-account", account, func(l *request.StorageLocation) **string { return &l.StorageID }},
		{"storage-path", r.storagePath, func(l *request.StorageLocation) **string { return &l.StoragePath }},
		{"file-path", r.filePath, func(l *request.StorageLocation) **string { return &l.FilePath }},
		{"local-path", r.localPath, func(l *request.StorageLocation) **string { return &l.LocalPath }},
	} {
		if !given.Changed(m.name) {
			continue
		}
		if p.StorageLocation == nil {
			p.StorageLocation = &request.StorageLocation{}
		}
		*m.to(p.StorageLocation) = &m.value
	}
}

// overrideFilters replaces the body's filters by those of --filters and
// --filter together.
func (r *requestFlags) overrideFilters(given *pflag.FlagSet, p *request.Properties) error {
	if !given.Changed("filters") && !given.Changed("filter") {
		return nil
	}
	p.Filters = nil
	if given.Changed("filters") {
		text := []byte(r.filters)
		if name, ok := strings.CutPrefix(r.filters, "@"); ok {
			var err error
			if text, err = readInput("--filters", name, strings.NewReader("")); err != nil {
				return err
			}
		}
		list, err := decodeFilters(text)
		p.Filters = list
		if err != nil {
			return err
		}
	}
	var faults []fault.Detail
	for i, short := range r.filter {
		spec, err := shortFilter(short)
		if err != nil {
			faults = append(faults, fault.Detail{
				Code: fault.CodeInvalidValue, Target: fmt.Sprintf("--filter #%d", i+1), Message: err.Error(),
			})
		}
		p.Filters = append(p.Filters, spec)
	}
	return fault.OfRequest(faults)
}

// decodeFilters reads a list of filters, and names the flag that it came by where
// capture speaks of a request.
func decodeFilters(text []byte) ([]filter.Spec, error) {
	if isBlank(string(text)) {
		return nil, fault.OfRequest([]fault.Detail{{
			Code: fault.CodeInvalidValue, Target: "--filters", Message: `it is empty; allowed: a JSON list such as [{"protocol": "TCP"}], or @ and the name of a file that holds one`,
		}})
	}
	list, err := request.DecodeFilters(text)
	e, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return list, err
	}
	faults := slices.Clone(e.Details)
	for i, f := range faults {
		if !strings.HasPrefix(f.Target, "filters") {
			faults[i].Target = strings.TrimSuffix("--filters, "+f.Target, ", ")
			faults[i].Message = strings.ReplaceAll(f.Message, "the request", "the list")
		}
	}
	return list, fault.OfRequest(faults)
}

// shortFilter reads protocol=TCP,localPort=80-85. Values hold no comma: lists
// are separated by semicolons.
func shortFilter(text string) (filter.Spec, error) {
	var spec filter.Spec
	members := map[string]**string{
		"protocol": &spec.Protocol, "localipaddress": &spec.LocalIPAddress, "localport": &spec.LocalPort,
		"remoteipaddress": &spec.RemoteIPAddress, "remoteport": &spec.RemotePort,
	}
	names := []string{"protocol", "localIPAddress", "localPort", "remoteIPAddress", "remotePort"}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(pair, "=")
		key = strings.TrimSpace(key)
		to := members[strings.ToLower(key)]
		switch {
		case !ok:
			return spec, fmt.Errorf("%q is not of the form member=value", pair)
		case to == nil:
			return spec, fmt.Errorf("unknown member %q%s; allowed: %s", key, didYouMean(key, "", names), strings.Join(names, ", "))
		case *to != nil:
			return spec, fmt.Errorf("%q is given twice", key)
		}
		*to = new(strings.TrimSpace(value))
	}
	return spec, nil
}

func (r *requestFlags) overrideContinuous(given *pflag.FlagSet, p *request.Properties) error {
	var faults []fault.Detail
	if given.Changed(flagContinuous) {
		yes, err := strconv.ParseBool(r.continuous)
		if err != nil {
			faults = append(faults, fault.Detail{
				Code: fault.CodeInvalidValue, Target: "--" + flagContinuous, Message: fmt.Sprintf("%q given; allowed: true, false", r.continuous),
			})
		} else {
			p.ContinuousCapture = &yes
		}
	}
	if !given.Changed("capture-settings") {
		return fault.OfRequest(faults)
	}
	if strings.HasPrefix(r.captureSettings[0], "{") {
		settings, err := request.DecodeCaptureSettings([]byte(r.captureSettings[0]))
		p.CaptureSettings = settings
		return fault.Join(fault.OfRequest(faults), err)
	}
	if p.CaptureSettings == nil {
		p.CaptureSettings = &request.CaptureSettings{}
	}
	for _, word := range r.captureSettings {
		if err := setting(p.CaptureSettings, word); err != nil {
			faults = append(faults, fault.Detail{Code: fault.CodeInvalidValue, Target: "--capture-settings", Message: err.Error()})
		}
	}
	return fault.OfRequest(faults)
}

func setting(to *request.CaptureSettings, word string) error {
	names := []string{"file-count", "file-size-in-bytes", "session-time-limit-in-seconds"}
	key, value, ok := strings.Cut(word, "=")
	if !ok {
		return fmt.Errorf("%q is not of the form name=value", word)
	}
	member := map[string]**int64{
		names[0]: &to.FileCount, names[1]: &to.FileSizeInBytes, names[2]: &to.SessionTimeLimitInSeconds,
	}[strings.ToLower(key)]
	if member == nil {
		return fmt.Errorf("unknown setting %q%s; allowed: %s", key, didYouMean(key, "", names), strings.Join(names, ", "))
	}
	n, err := number(value)
	if err != nil {
		return err
	}
	*member = &n
	return nil
}
