package main

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pcapctl/capture/fault"
)

// errorKeeper keeps the first error of a writer. cobra ignores them, and help
// that could not be written must not look like success.
type errorKeeper struct {
	io.Writer
	err error
}

func (k *errorKeeper) Write(p []byte) (int, error) {
	n, err := k.Writer.Write(p)
	if k.err == nil {
		k.err = err
	}
	return n, err
}

// helpCommand is `help`. Unlike cobra's own it refuses a command that it does not
// know, instead of showing the program's help and ending with 0.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "help [COMMAND]",
		GroupID: groupProgram,
		Short:   "Help about any command",
		// Help works whatever the configuration file says.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		ValidArgsFunction: completeCommands,
		RunE:              showHelp,
	}
}

func completeCommands(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	for _, c := range cmd.Root().Commands() {
		if len(args) == 0 && c.IsAvailableCommand() {
			names = append(names, c.Name()+"\t"+c.Short)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func showHelp(cmd *cobra.Command, args []string) error {
	about, rest, err := cmd.Root().Find(args)
	if err != nil {
		return fault.Errorf(fault.Invalid, "%w", err)
	}
	if err := noArguments(about, rest); err != nil {
		return err
	}
	about.InitDefaultHelpFlag()
	return about.Help()
}

// strictCompletion makes `completion` refuse a shell that it does not know.
// cobra's own shows its help then and ends with 0.
func strictCompletion(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	completion, _, err := root.Find([]string{"completion"})
	if err != nil {
		return
	}
	completion.Args = cobra.ArbitraryArgs
	completion.RunE = func(cmd *cobra.Command, args []string) error {
		shells := commandNames(cmd)
		list := strings.Join(shells, ", ")
		if len(args) == 0 {
			return fault.Errorf(fault.Invalid, "%s needs the name of a shell; allowed: %s", cmd.CommandPath(), list)
		}
		return fault.Errorf(fault.Invalid, "unknown shell %s%s; allowed: %s", fault.Quote(args[0]), didYouMean(args[0], "", shells), list)
	}
}

// plainUsage removes the backticks from the flags' descriptions. They mark the
// name of a value for help; completion would show them.
func plainUsage(root *cobra.Command) {
	plain := func(f *pflag.Flag) { f.Usage = strings.ReplaceAll(f.Usage, "`", "") }
	for _, cmd := range slices.Concat([]*cobra.Command{root}, root.Commands()) {
		cmd.LocalFlags().VisitAll(plain)
		cmd.PersistentFlags().VisitAll(plain)
	}
}
