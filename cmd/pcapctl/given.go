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

// emptyFlags refuses flags that were given without a value, all at once. It is
// an unset variable of a shell more often than not, and to take it for a flag
// that was not given would capture more than was asked for, or elsewhere.
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

func isEmpty(v pflag.Value) bool {
	if list, ok := v.(pflag.SliceValue); ok {
		return slices.ContainsFunc(list.GetSlice(), isBlank)
	}
	return v.Type() == "string" && isBlank(v.String())
}

// settleAliases gives the flags the values that were given by their other names.
// Two values for one flag are a mistake, whichever of them would win.
func settleAliases(cmd *cobra.Command) error {
	var faults []fault.Detail
	for _, alias := range slices.Sorted(maps.Keys(aliases)) {
		name := aliases[alias]
		given := cmd.Flags().Lookup(alias)
		if given == nil || !given.Changed {
			continue
		}
		value, to := given.Value.String(), cmd.Flags().Lookup(name)
		if to.Changed && to.Value.String() != value {
			faults = append(faults, fault.Detail{
				Code: fault.CodeInvalidValue, Target: "--" + alias,
				Message: fmt.Sprintf("%s given, and %s by its other name, --%s: leave one of them out", value, to.Value, name),
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

// splitCommas takes lists apart that were given with commas in them. Such flags
// are arrays and not pflag's slices, which lose an empty value.
func splitCommas(given []string) []string {
	var list []string
	for _, g := range given {
		for item := range strings.SplitSeq(g, ",") {
			list = append(list, strings.TrimSpace(item))
		}
	}
	return list
}
