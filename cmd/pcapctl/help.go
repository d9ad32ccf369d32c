package main

import (
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pcapctl/capture/fault"
)

// failed keeps the first error of a writer: cobra does not look at them, and
// help that a full disk has swallowed must not look like success.
type failed struct {
	io.Writer
	err error
}

func (f *failed) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if f.err == nil {
		f.err = err
	}
	return n, err
}

// mendHelp has help and completion refuse what they do not know. cobra's own
// print their help then and end with 0.
func (a *app) mendHelp(root *cobra.Command) {
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		// Help must be had whatever the configuration file says.
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil },
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			var names []string
			for _, c := range cmd.Root().Commands() {
				if len(args) == 0 && c.IsAvailableCommand() {
					names = append(names, c.Name()+"\t"+c.Short)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := cmd.Root().Find(args)
			if err != nil {
				return fault.Errorf(fault.Invalid, "%w", err)
			}
			if err := noArguments(about, rest); err != nil {
				return err
			}
			about.InitDefaultHelpFlag()
			return about.Help()
		},
	})
	root.InitDefaultCompletionCmd()
	completion, _, err := root.Find([]string{"completion"})
	if err != nil {
		return
	}
	completion.Args = cobra.ArbitraryArgs
	completion.RunE = func(cmd *cobra.Command, args []string) error {
		var shells []string
		for _, c := range cmd.Commands() {
			shells = append(shells, c.Name())
		}
		list := strings.Join(shells, ", ")
		if len(args) == 0 {
			return fault.Errorf(fault.Invalid, "%s needs the name of a shell; allowed: %s", cmd.CommandPath(), list)
		}
		return fault.Errorf(fault.Invalid, "unknown shell %q%s; allowed: %s", args[0], didYouMean(args[0], "", shells), list)
	}
}

// plainUsage takes from the flags' descriptions the backticks that mark the
// name of a value: help shows them as that, completion as they are.
func plainUsage(root *cobra.Command) {
	plain := func(f *pflag.Flag) { f.Usage = strings.ReplaceAll(f.Usage, "`", "") }
	for _, cmd := range slices.Concat([]*cobra.Command{root}, root.Commands()) {
		cmd.LocalFlags().VisitAll(plain)
		cmd.PersistentFlags().VisitAll(plain)
	}
}
