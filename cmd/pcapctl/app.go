package main

import (
	"context"
	"io"
	"os"
	"sync/atomic"

	"github.com/spf13/cobra"

	"pcapctl/capture"
	"pcapctl/capture/fault"
)

// app has what every command needs: the streams, the settings and the output of
// results.
type app struct {
	uploading atomic.Pointer[capture.Session] // the session whose capture is uploaded
	capturing atomic.Pointer[capture.Session] // the session that this process has
	// inspecting ends the look at a capture that this process has made, nil for none.
	inspecting atomic.Pointer[context.CancelFunc]
	printing   atomic.Bool              // the result of a capture that is complete
	bar        atomic.Pointer[progress] // the progress bar on the terminal, nil for none

	told told // what was warned of while a session ran

	args []string // of the command line, without the program's name
	// ownProcess says that the process is nobody else's, so that a capture may give
	// up its rights.
	ownProcess bool
	// typed are the names by which the request's members were given on the command
	// line, for messages.
	typed typedNames

	// stops takes what ends the capture as a signal does, where the system has none for it.
	stops chan os.Signal

	in        io.Reader
	out       io.Writer // the result and nothing else
	err       io.Writer // everything else
	exit      func(code int)
	settings  settings
	output    output
	log       logger
	unwritten atomic.Pointer[page] // the file of --result-file, nil for none
	noResult  bool                 // create prints no result of a stream: nobody would read it
	inspects  bool                 // create says at the end what the capture shows
	quiet     bool
	verbose   bool
	debug     bool
}

// run is the program: arguments and streams in, exit code out.
func (a *app) run() int {
	a.exit = os.Exit
	if a.stops == nil {
		a.stops = make(chan os.Signal, 1)
	}
	a.takeLibraryLog()
	help := &errorKeeper{Writer: a.out}
	root := a.rootCommand(help)
	a.args = extcapArgs(a.args)
	root.SetArgs(a.args)
	root.SetIn(a.in)
	root.SetErr(a.err)
	if args := a.args; len(args) > 0 && (args[0] == cobra.ShellCompRequestCmd || args[0] == cobra.ShellCompNoDescRequestCmd) {
		plainUsage(root)
	}
	err := root.Execute()
	if err == nil && help.err != nil {
		err = fault.Errorf(fault.Internal, "write the result: %w", help.err)
	}
	if err == nil {
		return 0
	}
	a.printError(withHint(a.typed.asTyped(err)))
	return exitCode(err)
}

// rootCommand makes the commands. out is for what cobra prints by itself.
func (a *app) rootCommand(out io.Writer) *cobra.Command {
	var showVersion bool
	root := &cobra.Command{
		Use:   "pcapctl",
		Short: "Capture packets on this machine as Azure Network Watcher does on a VM",
		Long: `pcapctl captures packets on this machine as Azure Network Watcher does on a VM:
it takes the same request (a JSON body or flags), captures in the kernel with
exact limits and filters, and leaves a .cap file for every pcap tool.`,
		Example: `  sudo pcapctl create --port 443 --time-limit 30s
  sudo pcapctl create -f request.json
  sudo pcapctl create --no-wait -n web --filter 'protocol=TCP,localPort=80,443'
  sudo pcapctl stop web`,
		SilenceErrors:      true,
		SilenceUsage:       true,
		DisableSuggestions: true, // noArguments makes them
		Args:               noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if showVersion {
				return a.print(buildVersion())
			}
			return cmd.Help()
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			return a.begin(cmd)
		},
	}
	root.SetFlagErrorFunc(a.flagError)
	root.Flags().BoolVarP(&showVersion, "version", "V", false, "print the version")
	flags := root.PersistentFlags()
	a.output.flags(flags)
	flags.BoolVarP(&a.quiet, "quiet", "q", false, "say nothing unless something is wrong; create and upload print their result only when -o or --query asks for it")
	flags.BoolVar(&a.verbose, "verbose", false, "say on stderr how a request is carried out")
	flags.BoolVar(&a.debug, "debug", false, "as --verbose, and show the kernel's filter program")
	a.settings.flags(root)
	addAzFlags(root)
	_ = root.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(outputFormats, cobra.ShellCompDirectiveNoFileComp))

	root.AddCommand(a.createCommand(), a.validateCommand(), a.interfacesCommand(), a.versionCommand(),
		a.listCommand(), a.showCommand(), a.statusCommand(), a.stopCommand(), a.waitCommand(), a.deleteCommand(),
		a.uploadCommand(), a.inspectCommand(), a.extcapCommand(), a.workerCommand())
	withoutSwallowed(root.Commands())
	root.SetOut(out)
	root.SetHelpCommand(helpCommand())
	strictCompletion(root)
	groupCommands(root)
	root.SetHelpFunc(func(cmd *cobra.Command, _ []string) { writeHelp(cmd.OutOrStdout(), cmd) })
	return root
}

// begin runs before every command, when its flags are known.
func (a *app) begin(cmd *cobra.Command) error {
	a.output.fit(cmd.Flags(), a.out, a.quiet && (cmd.Name() == "create" || cmd.Name() == "upload"))
	if err := a.output.check(); err != nil {
		return err
	}
	if err := fault.Join(emptyFlags(cmd), applyAliases(cmd)); err != nil {
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
	a.warn(unknownVariables(os.Environ())...)
	for _, why := range a.settings.unread {
		a.warn("a configuration file is not read: " + why)
	}
	return nil
}
