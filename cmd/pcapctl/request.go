package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pcapctl/capture/caller"
	"pcapctl/capture/fault"
	"pcapctl/capture/request"
)

// requestFlags are the flags that describe a capture, of both families of the
// az command line. Those that were given override the body.
type requestFlags struct {
	file string

	name, group, vm, targetType               string
	account, storagePath, filePath, localPath string
	storageLocation                           []string
	scope                                     string
	include                                   []string
	filters                                   string
	filter                                    []string
	continuous                                string
	captureSettings                           []string
	read                                      readFlags
	additions                                 additionFlags

	caller   *caller.User // as whom files are read, nil for the process's own user
	stdin    io.Reader    // nil before config
	stdinFor string       // the flag that reads it, "" for none
	ends     endFlags
	faults   []fault.Detail // of the command's other flags, told with those of the request
}

func (r *requestFlags) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVarP(&r.file, "file", "f", "", "JSON `file` with the body of the API's PUT; - is standard input")
	f.StringVarP(&r.name, "name", "n", "", "name of the capture (default: made of host name and time)")
	f.StringVarP(&r.group, "resource-group", "g", "", "resource group, together with --vm")
	f.StringVar(&r.vm, "vm", "", "name or resource id of the VM (default: this machine)")
	f.StringVar(&r.targetType, "target-type", "", "type of the target: AzureVM")
	f.StringVar(&r.account, "storage-account", "", "name or resource id of the storage account")
	f.StringVar(&r.storagePath, "storage-path", "", "https `URI` of the blob")
	f.StringVar(&r.filePath, "file-path", "", "`path` of the capture file, under the captures folder, or - for standard output; {packetCaptureName}, {hostname} and {startTime} are filled in (default: {packetCaptureName}.cap)")
	f.StringVar(&r.localPath, "local-path", "", "`path` of the capture files in continuous mode")
	f.StringArrayVar(&r.storageLocation, flagStorageLocation, nil, "all of the storage location: `JSON`, @file or storage-id=… storage-path=… file-path=… local-path=…")
	f.StringVar(&r.scope, "scope", "", "scope of a scale set as `JSON` or @file")
	f.StringArrayVar(&r.include, "include", nil, "`instances` of a scale set")
	for _, name := range []string{"scope", "include"} { // they can only be empty here
		_ = f.MarkHidden(name)
	}
	f.StringVar(&r.filters, "filters", "", "filters as a `JSON` list, in az's shorthand, or @file")
	f.StringArrayVar(&r.filter, "filter", nil, "one `filter`, as in 'protocol=TCP,localPort=80,443'; may be repeated: any of them")
	f.StringVar(&r.continuous, flagContinuous, "", "continuous mode: `true` for a ring of files, false for one")
	f.Lookup(flagContinuous).NoOptDefVal = bareContinuous
	f.StringArrayVar(&r.captureSettings, "capture-settings", nil, "of continuous mode: `name=value` … of file-count, file-size-in-bytes, session-time-limit-in-seconds")
	r.ends.flags(f)
	r.read.flags(f)
	r.additions.flags(f)
	addSettingFlags(cmd, captureCommands)
	for alias, name := range aliases {
		f.String(alias, "", "as --"+name)
		_ = f.MarkHidden(alias)
	}
	_ = cmd.RegisterFlagCompletionFunc("target-type", cobra.FixedCompletions([]string{"AzureVM"}, cobra.ShellCompDirectiveNoFileComp))
	_ = cmd.RegisterFlagCompletionFunc(flagContinuous, cobra.FixedCompletions([]string{"true", "false"}, cobra.ShellCompDirectiveNoFileComp))
	cmd.Args = r.arguments
}

// arguments takes the values of flags that az accepts as separate words, and
// refuses every other argument.
func (r *requestFlags) arguments(cmd *cobra.Command, args []string) error {
	args = r.takeContinuous(args)
	if len(args) == 0 {
		return nil
	}
	if args = r.takeWords(args); len(args) == 0 {
		return nil
	}
	return fault.Errorf(fault.Invalid, "%s takes no argument, but %s was given; a request file is named by -f", cmd.CommandPath(), fault.Quote(args[0]))
}

// config makes the session's config from body, flags and settings, and returns
// the request that it was made from as well. Its error has every fault of all
// three.
func (a *app) config(cmd *cobra.Command, r *requestFlags, host request.Host) (*request.Request, *request.Config, error) {
	r.caller = a.settings.caller
	r.useStdin(a.in)
	req, bodyErr := r.body(a.in)
	if req == nil {
		return nil, nil, bodyErr
	}
	if req.Properties == nil && r.file == "" {
		req.Properties = &request.Properties{}
	}
	var flagErr, setErr error
	a.typed = typedNames{}
	if p := req.Properties; p != nil {
		if r.file == "" {
			p.Target = new(a.settings.target())
		}
		flagErr = r.override(cmd.Flags(), req)
		a.typed = r.typedNames(cmd.Flags(), &a.settings, p)
		setErr = a.settings.limits(p)
		if r.file == "" {
			defaultDestination(p, host)
		}
	}
	var addErr error
	host.Additions, addErr = r.additions.additions()
	config, err := request.NewConfig(req, host)
	if err := fault.Join(bodyErr, fault.OfRequest(r.faults), flagErr, addErr, setErr, err, checkKind(cmd.Flags(), config)); err != nil {
		return nil, nil, err
	}
	return req, config, nil
}

// checkKind refuses flags that mean nothing for the kind of a capture: a stream, or one file. The config is nil when it is not
// known.
func checkKind(given *pflag.FlagSet, c *request.Config) error {
	switch {
	case c == nil:
	case c.Stream:
		return checkStreamFlags(given)
	case given.Changed(setRotateEvery.key) && !c.Rotates():
		return fault.OfRequest([]fault.Detail{{Code: fault.CodeInvalidValue, Target: "--" + setRotateEvery.key, Message: "this capture has one file: make it a ring of files with --" + flagContinuous}})
	}
	return nil
}

// body reads the request file. The request is nil when its text could not be
// read.
func (r *requestFlags) body(stdin io.Reader) (*request.Request, error) {
	if r.file == "" {
		return &request.Request{}, nil
	}
	text, err := readInput("the request", r.file, stdin, r.caller)
	if err != nil {
		return nil, err
	}
	return request.Decode(text)
}

// readInput reads the file with this name, as the user could, or standard input for
// "-". what says in errors what it is.
func readInput(what, name string, stdin io.Reader, u *caller.User) ([]byte, error) {
	from := stdin
	if name != "-" {
		f, err := openInput(u, name)
		if u != nil && errors.Is(err, fs.ErrPermission) {
			err = fmt.Errorf("%w; to have the shell of root open it, name - and redirect it: < FILE", err)
		}
		if err != nil {
			return nil, inputError(what, err)
		}
		defer func() { _ = f.Close() }()
		from = f
	}
	// One byte more than is allowed, so that request.Decode sees a text that is too
	// long and says so.
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
