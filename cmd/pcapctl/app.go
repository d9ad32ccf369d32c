package main

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"

	"pcapctl/capture"
	"pcapctl/capture/fault"
)

// app is what every command works with: the streams, the settings and the
// printer of results.
type app struct {
	uploading atomic.Pointer[capture.Session] // whose capture goes to a blob
	bar       atomic.Pointer[progress]        // what is drawn on the terminal now

	in       io.Reader
	out      io.Writer // the result and nothing else
	err      io.Writer // everything else
	exit     func(code int)
	settings settings
	output   output
	log      logger
	verbose  bool
	debug    bool
}

// run is the program: arguments and streams in, exit code out.
func run(args []string, in io.Reader, out, errs io.Writer) int {
	a := &app{in: in, out: out, err: errs, exit: os.Exit}
	help := &failed{Writer: out}
	root := a.rootCommand(help)
	root.SetArgs(args)
	root.SetIn(in)
	root.SetErr(errs)
	if len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd) {
		plainUsage(root)
	}
	err := root.Execute()
	if err == nil && help.err != nil {
		err = fault.Errorf(fault.Internal, "write the result: %w", help.err)
	}
	if err == nil {
		return 0
	}
	a.printError(withCure(err))
	return exitCode(err)
}

// rootCommand makes the commands. out is for what cobra prints by itself.
func (a *app) rootCommand(out io.Writer) *cobra.Command {
	root := &cobra.Command{
		Use:   "pcapctl",
		Short: "Capture packets on this machine as Azure Network Watcher does on a VM",
		Long: `pcapctl captures packets on this machine as Azure Network Watcher does on a VM:
it takes the same request (a JSON body or flags), captures in the kernel with
exact limits and filters, and leaves a .cap file that every pcap tool opens.

` + exitCodeHelp(),
		SilenceErrors:      true,
		SilenceUsage:       true,
		DisableSuggestions: true, // noArguments makes them
		Args:               noArguments,
		RunE:               func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return a.begin(cmd)
		},
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		// The output flags may not have been read yet when another is wrong.
		a.output.peek(cmd.Flags())
		return fault.Errorf(fault.Invalid, "%w%s; see %s --help", err, nearestFlag(cmd, err), cmd.CommandPath())
	})
	flags := root.PersistentFlags()
	a.output.flags(flags)
	flags.BoolVar(&a.verbose, "verbose", false, "say on stderr how a request is carried out")
	flags.BoolVar(&a.debug, "debug", false, "as --verbose, and show the kernel's filter program")
	a.settings.flags(root)
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputFormats, cobra.ShellCompDirectiveNoFileComp))

	root.AddCommand(a.createCommand(), a.validateCommand(), a.interfacesCommand(), a.versionCommand(),
		a.listCommand(), a.showCommand(), a.statusCommand(), a.stopCommand(), a.waitCommand(), a.deleteCommand(),
		a.uploadCommand(), a.workerCommand())
	root.SetOut(out)
	a.mendHelp(root)
	return root
}

// nearestFlag is a hint for a flag that does not exist.
func nearestFlag(cmd *cobra.Command, err error) string {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok || len(unknown.GetSpecifiedName()) < 2 {
		return ""
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	return didYouMean(unknown.GetSpecifiedName(), "--", known)
}

// noArguments refuses arguments, and commands that do not exist with a hint at
// the nearest that does.
func noArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	what, hint := "argument", ""
	if !cmd.HasParent() {
		what, hint = "command", didYouMean(args[0], "", commandNames(cmd))
	}
	return fault.Errorf(fault.Invalid, "unknown %s %s%s; see %s --help", what, fault.Quote(args[0]), hint, cmd.CommandPath())
}

// commandNames are the names by which a command's own commands may be called,
// without those that are hidden.
func commandNames(cmd *cobra.Command) []string {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(append(names, c.Name()), c.Aliases...)
		}
	}
	return names
}

// begin runs before every command, when its flags are known.
func (a *app) begin(cmd *cobra.Command) error {
	if err := a.output.check(); err != nil {
		return err
	}
	if err := fault.Join(emptyFlags(cmd), settleAliases(cmd)); err != nil {
		return err
	}
	if err := a.settings.read(cmd.Flags()); err != nil {
		return err
	}
	format, err := setLogFormat.value(&a.settings)
	if err != nil {
		return err
	}
	a.log.open(format, a.err)
	for _, why := range a.settings.passedOver {
		a.warn("a configuration file is passed over: " + why)
	}
	return nil
}

// explain says how a plan is carried out, for --verbose and --debug.
func (a *app) explain(p *capture.Plan) {
	if !a.verbose && !a.debug {
		return
	}
	if a.settings.used != "" {
		a.say("configuration file: %s", a.settings.used)
	}
	a.say("session %s for %s", p.Config.Name, p.Config.Target)
	a.say("link type %s, kernel filter of %d instructions (%s), ring of %s",
		p.LinkType, len(p.Program.Raw), p.FilterMode(), humanize.IBytes(uint64(p.RingSize())))
	if a.debug {
		for line := range strings.Lines(p.Program.Disassemble()) {
			a.say("%s", strings.TrimRight(line, "\n"))
		}
	}
}

// print writes a result to stdout. A result that cannot be written is an
// error: a full disk behind a redirection must not look like success.
func (a *app) print(v any) error {
	if err := a.output.print(a.out, v); err != nil {
		if fault.ClassOf(err) != fault.Internal {
			return err
		}
		return fault.Errorf(fault.Internal, "write the result: %w", err)
	}
	return nil
}

// printDone prints the result of something that has been done and cannot be
// done again: a query that does not go with it must neither lose the result nor
// change the exit code.
func (a *app) printDone(v any) error {
	err := a.print(v)
	if !errors.Is(err, errQuery) {
		return err
	}
	a.warn(err.Error() + "; here is all of it")
	a.output.expr = nil
	return a.print(v)
}

// printError writes the API's error envelope where the output is JSON, and
// plain lines for other outputs and for people at a terminal who did not ask
// for JSON. Where the log is JSON, the error is a line of it.
func (a *app) printError(err error) {
	defer a.aside()()
	switch {
	case a.log.format == logJSON:
		a.log.failure(a.err, err)
	case a.log.plain() && a.output.isJSON() && (a.output.asked || !isTerminal(a.err)):
		_ = writeJSON(a.err, envelopeOf(err))
	default:
		a.log.write(a.err, slog.LevelError, err.Error())
	}
}

func isTerminal(stream any) bool {
	f, ok := stream.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}
