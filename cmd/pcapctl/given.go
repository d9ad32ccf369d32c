package main

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"pcapctl/capture"
)

// emptyFlags refuses flags that were given without a value, all at once. It is
// an unset variable of a shell more often than not, and to take it for a flag
// that was not given would capture more than was asked for, or elsewhere.
func emptyFlags(cmd *cobra.Command) error {
	var faults []capture.Fault
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if isEmpty(f.Value) {
			faults = append(faults, capture.Fault{
				Code: capture.CodeInvalidValue, Target: "--" + f.Name,
				Message: "its value is empty (an unset shell variable?): give it one, or leave the flag out",
			})
		}
	})
	return capture.InvalidRequest(faults)
}

func isEmpty(v pflag.Value) bool {
	if list, ok := v.(pflag.SliceValue); ok {
		return slices.ContainsFunc(list.GetSlice(), isBlank)
	}
	return v.Type() == "string" && isBlank(v.String())
}

func isBlank(s string) bool { return strings.TrimSpace(s) == "" }

// commaLists takes lists apart that were given with commas in them. Such flags
// are arrays and not pflag's slices, which lose an empty value.
func commaLists(given []string) []string {
	var list []string
	for _, g := range given {
		for item := range strings.SplitSeq(g, ",") {
			list = append(list, strings.TrimSpace(item))
		}
	}
	return list
}
