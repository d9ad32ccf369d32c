package main

import (
	"errors"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pcapctl/capture/fault"
)

// didYouMean is a hint at the known name that is nearest to an unknown one, ""
// when none is near.
func didYouMean(given, prefix string, known []string) string {
	near := fault.Nearest(given, known)
	if near == "" {
		return ""
	}
	return "; did you mean " + strconv.Quote(prefix+near) + "?"
}

// nearestFlag is a hint for a flag that does not exist.
func nearestFlag(cmd *cobra.Command, err error) string {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return ""
	}
	name := unknown.GetSpecifiedName()
	if cmd.Name() == "inspect" {
		if hint := synonym(flagsOfInspect, name); hint != "" {
			return hint
		}
	}
	if here := flagSynonyms[name]; here != "" && hasFlag(cmd, here) {
		return synonym(flagSynonyms, name)
	}
	if len(name) < 2 {
		return ""
	}
	var known []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) { known = append(known, f.Name) })
	return didYouMean(name, "--", known)
}

// hasFlag reports whether a command has the flag that a hint begins with, if it begins with one:
// what only another command has leads nowhere.
func hasFlag(cmd *cobra.Command, hint string) bool {
	name, isFlag := strings.CutPrefix(hint, "--")
	if !isFlag {
		return true
	}
	end := strings.IndexFunc(name, func(r rune) bool { return r != '-' && (r < 'a' || r > 'z') })
	if end >= 0 {
		name = name[:end]
	}
	return cmd.Flags().Lookup(name) != nil
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
		if here := synonym(commandSynonyms, args[0]); here != "" {
			hint = here
		}
	}
	return fault.Errorf(fault.Invalid, "unknown %s %s%s", what, fault.Quote(args[0]), seeHelp(cmd, hint))
}

// seeHelp ends a message of a word that is not known, with what it was probably
// meant for, if that is known.
func seeHelp(cmd *cobra.Command, hint string) string {
	list := "`" + cmd.CommandPath() + " --help` lists all"
	if strings.HasSuffix(hint, "?") {
		return hint + " " + list
	}
	return hint + "; " + list
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
