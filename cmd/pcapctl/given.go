package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pcapctl/capture/fault"
)

// emptyFlags refuses flags whose value is empty, all in one error. Mostly it is an
// unset variable of a shell. If such a flag counted as not given, more would be
// captured than the user wanted, or in another place.
func emptyFlags(cmd *cobra.Command) error {
	var faults []fault.Detail
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if isEmpty(f.Value) {
			faults = append(faults, fault.Detail{
				Code: fault.CodeInvalidValue, Target: "--" + f.Name,
				Message: "its value is empty (an unset shell variable?): give it one, or leave the flag out",
			})
		}
	})
	return fault.OfRequest(faults)
}

// swallowedFlags refuses flags that have taken the flag behind them for their value, as in
// `--html -o table`, all in one error. Else the message is about the word that is left over.
func swallowedFlags(cmd *cobra.Command) error {
	var faults []fault.Detail
	cmd.Flags().Visit(func(f *pflag.Flag) {
		for _, value := range values(f.Value) {
			if isFlagOf(cmd, value) {
				faults = append(faults, fault.Detail{
					Code: fault.CodeInvalidValue, Target: "--" + f.Name,
					Message: fmt.Sprintf("its value is missing: %s behind it is a flag", fault.Quote(value)),
				})
			}
		}
	})
	return fault.OfRequest(faults)
}

// withoutSwallowed has the commands look for swallowed flags before they look at their arguments.
func withoutSwallowed(commands []*cobra.Command) {
	for _, c := range commands {
		check := c.Args
		c.Args = func(cmd *cobra.Command, args []string) error {
			if err := swallowedFlags(cmd); err != nil || check == nil {
				return err
			}
			return check(cmd, args)
		}
	}
}

func values(v pflag.Value) []string {
	if list, ok := v.(pflag.SliceValue); ok {
		return list.GetSlice()
	}
	return []string{v.String()}
}

// isFlagOf reports whether a word is a flag of cmd: -o, --output or --output=json.
func isFlagOf(cmd *cobra.Command, word string) bool {
	name, _, _ := strings.Cut(word, "=")
	if long, ok := strings.CutPrefix(name, "--"); ok {
		return long != "" && cmd.Flags().Lookup(long) != nil
	}
	short, ok := strings.CutPrefix(name, "-")
	return ok && len(short) == 1 && cmd.Flags().ShorthandLookup(short) != nil
}

func isEmpty(v pflag.Value) bool {
	if list, ok := v.(pflag.SliceValue); ok {
		return slices.ContainsFunc(list.GetSlice(), isBlank)
	}
	return v.Type() == "string" && isBlank(v.String())
}

// aliases are the names that flags of a request have in the other family of az's
// commands.
var aliases = map[string]string{
	"packet-capture-name": "name",

	"capture-limit": setTotal.key,
	"capture-size":  setPerPacket.key,
	"time-limit":    setTime.key,
}

// aliasFor is the alias of a flag, "" for one that has none.
func aliasFor(name string) string {
	for alias, of := range aliases {
		if of == name {
			return alias
		}
	}
	return ""
}

// applyAliases gives the flags the values that were given by their other names.
// Two different values for one flag are a mistake.
func applyAliases(cmd *cobra.Command) error {
	var faults []fault.Detail
	for _, alias := range slices.Sorted(maps.Keys(aliases)) {
		name := aliases[alias]
		given := cmd.Flags().Lookup(alias)
		if given == nil || !given.Changed || given.Value.Type() != "string" { // nameFlags have theirs
			continue
		}
		value, to := given.Value.String(), cmd.Flags().Lookup(name)
		if to.Changed && to.Value.String() != value {
			faults = append(faults, fault.Detail{
				Code: fault.CodeInvalidValue, Target: "--" + alias,
				Message: fmt.Sprintf("%s given, and %s by its other name, --%s: leave one of them out", fault.Quote(value), fault.Quote(to.Value.String()), name),
			})
			continue
		}
		if err := cmd.Flags().Set(name, value); err != nil {
			return fault.Errorf(fault.Invalid, "%w", err)
		}
	}
	return fault.OfRequest(faults)
}

func isBlank(s string) bool { return strings.TrimSpace(s) == "" }

// splitCommas splits values at their commas. Flags with lists are pflag's arrays
// and not its slices, which lose an empty value.
func splitCommas(given []string) []string {
	var list []string
	for _, g := range given {
		for item := range strings.SplitSeq(g, ",") {
			list = append(list, strings.TrimSpace(item))
		}
	}
	return list
}
