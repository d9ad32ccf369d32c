package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pcapctl/capture/fault"
)

// azFlags are flags that az has on its commands and that mean nothing here:
// there is one machine, no subscription to choose and nothing that asks back.
// They are taken and passed over, so that a familiar line works. Commands may
// have a flag of the same name that means something.
var azFlags = []struct {
	name, shorthand string
	isBool          bool
}{
	{"location", "l", false},
	{"resource-group", "g", false},
	{"subscription", "", false},
	{"network-watcher-name", "", false},
	{"only-show-errors", "", true},
	{"yes", "y", true},
}

// addAzFlags adds them to all commands. Help does not show them.
func addAzFlags(root *cobra.Command) {
	flags := root.PersistentFlags()
	for _, f := range azFlags {
		if f.isBool {
			flags.BoolP(f.name, f.shorthand, false, "passed over")
		} else {
			flags.StringP(f.name, f.shorthand, "", "passed over")
		}
		_ = flags.MarkHidden(f.name)
	}
}

// addNoWait adds the flag by which az does not wait for its service. Here the
// command is done when it returns.
func addNoWait(flags *pflag.FlagSet) {
	flags.Bool("no-wait", false, "passed over")
	_ = flags.MarkHidden("no-wait")
}

// nameFlags are the flags that name sessions beside the arguments, as az has
// them.
type nameFlags struct {
	names, otherNames, ids []string
	paths                  bool // an argument may also be a path
}

// add gives a command the flags. Its arguments are then those that were given
// by either way.
func (n *nameFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringArrayVarP(&n.names, "name", "n", nil, "`name` of the session, as the argument")
	f.StringArrayVar(&n.otherNames, "packet-capture-name", nil, "as --name")
	f.StringArrayVar(&n.ids, "ids", nil, "`id` of the session as it is printed, as the argument")
	_ = f.MarkHidden("packet-capture-name")
	if complete := cmd.ValidArgsFunction; complete != nil {
		_ = cmd.RegisterFlagCompletionFunc("name", func(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
			return complete(cmd, nil, begun)
		})
	}
	check, run := cmd.Args, cmd.RunE
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		args, err := n.all(args)
		if err != nil || check == nil {
			return err
		}
		return check(cmd, args)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		args, err := n.all(args)
		if err != nil {
			return err
		}
		return run(cmd, args)
	}
}

// all are the names of the sessions, each once.
func (n *nameFlags) all(args []string) ([]string, error) {
	given := slices.Concat(args, n.names, n.otherNames)
	for _, ids := range n.ids { // several, as $(… -o tsv) gives them in quotes
		given = append(given, strings.Fields(ids)...)
	}
	var names []string
	for _, text := range given {
		name, ok := nameOfID(text)
		if !ok && !n.paths {
			return nil, fault.Errorf(fault.Invalid, "%s is neither the name of a session nor an id as show prints it: /subscriptions/…/packetCaptures/<name>", fault.Quote(text))
		}
		if !slices.ContainsFunc(names, func(known string) bool { return strings.EqualFold(known, name) }) {
			names = append(names, name)
		}
	}
	return names, nil
}

// nameOfID is the name in the id of a packet capture. Any other text is its own
// name; ok tells whether it can be one.
func nameOfID(text string) (name string, ok bool) {
	if !strings.HasPrefix(text, "/") {
		return text, true
	}
	parts := strings.Split(text, "/")
	if n := len(parts); n > 2 && strings.EqualFold(parts[1], "subscriptions") && strings.EqualFold(parts[n-2], "packetCaptures") && parts[n-1] != "" {
		return parts[n-1], true
	}
	return text, false
}

// flagError is the error of flags that could not be parsed. Flags that are not
// known are all in it, each with the nearest that is.
func (a *app) flagError(cmd *cobra.Command, err error) error {
	// The output flags may not have been read yet when another is wrong.
	a.output.peek(cmd.Flags())
	a.output.peekAhead(a.args)
	if words := a.args; !cmd.HasParent() && len(words) > 0 && !strings.HasPrefix(words[0], "-") {
		return noArguments(cmd, words[:1]) // a command that is not known has flags that are not
	}
	var faults []fault.Detail
	if _, unknown := errors.AsType[*pflag.NotExistError](err); unknown {
		for _, word := range unknownFlags(cmd.Flags(), a.args) {
			err := cmd.Flags().Parse([]string{word})
			if missing, ok := errors.AsType[*pflag.NotExistError](err); ok {
				name, _, _ := strings.Cut(word, "=")
				faults = append(faults, fault.Detail{
					Code: fault.Invalid.Code(), Target: fault.Mask(name), Message: fault.Mask(missing.Error()) + nearestFlag(cmd, missing),
				})
			}
		}
	}
	if wrong, ok := errors.AsType[*pflag.InvalidValueError](err); ok {
		return wrongFlag(wrong)
	}
	if len(faults) < 2 {
		return fault.Errorf(fault.Invalid, "%w%s", err, seeHelp(cmd, nearestFlag(cmd, err)))
	}
	return &fault.Error{
		Class: fault.Invalid, Details: faults[:min(len(faults), fault.MaxFaults)],
		Message: fmt.Sprintf("%d flags are not known%s", len(faults), seeHelp(cmd, "")),
	}
}

// wrongFlag is the error of a flag whose value has not its type: pflag's own has the words of Go's
// parser in it.
func wrongFlag(wrong *pflag.InvalidValueError) error {
	allowed := "a value of type " + wrong.GetFlag().Value.Type()
	switch wrong.GetFlag().Value.Type() {
	case "int":
		allowed = "a whole number"
	case "bool":
		allowed = "true, false"
	}
	return &fault.Error{
		Class: fault.Invalid, Code: fault.CodeInvalidValue, Target: "--" + wrong.GetFlag().Name,
		Message: notAllowed(fault.Mask(wrong.GetValue()), "%s", allowed).Error(), Err: wrong,
	}
}

// unknownFlags finds the words of a command line that are flags that the set
// does not have.
func unknownFlags(known *pflag.FlagSet, args []string) []string {
	var unknown []string
	for i := 0; i < len(args); i++ {
		word := args[i]
		if word == "--" {
			break
		}
		name, long := strings.CutPrefix(word, "--")
		switch {
		case long:
			name, _, valued := strings.Cut(name, "=")
			f := known.Lookup(name)
			switch {
			case f == nil:
				unknown = append(unknown, word)
			case !valued && f.NoOptDefVal == "":
				i++ // the next word is its value
			}
		case len(word) > 1 && word[0] == '-':
			bad, takesNext := unknownShorthand(known, word[1:])
			if bad {
				unknown = append(unknown, word)
			} else if takesNext {
				i++
			}
		}
	}
	return unknown
}

// unknownShorthand looks at the letters of a word such as -yn: whether one of
// them is not a flag, and whether the value of the last is the next word.
func unknownShorthand(known *pflag.FlagSet, letters string) (bad, takesNext bool) {
	for i := range len(letters) {
		f := known.ShorthandLookup(letters[i : i+1])
		switch {
		case f == nil:
			return true, false
		case f.NoOptDefVal == "":
			return false, i == len(letters)-1 // what follows it is its value
		case i+1 < len(letters) && letters[i+1] == '=':
			return false, false
		}
	}
	return false, false
}
