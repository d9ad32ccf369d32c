package main

import (
	"strings"

	"github.com/spf13/cobra"

	"pcapctl/capture"
	"pcapctl/filter"
)

type validateOptions struct {
	request     requestFlags
	showProgram bool
}

func (a *app) validateCommand() *cobra.Command {
	var o validateOptions
	cmd := &cobra.Command{
		Use:   "validate [-f request.json | flags]",
		Short: "Check a request and show what create would do, without doing it",
		Long: `validate checks a request as create does and prints what create would do: the
request with its defaults filled in, the interfaces, the filters in words and
the kernel's program. It opens nothing and needs no privilege.`,
		Example: `  pcapctl validate -f request.json
  pcapctl validate -f request.json --query plan.filters
  pcapctl validate -f request.json --show-program --query plan.program -o tsv`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.validate(cmd, &o) },
	}
	o.request.flags(cmd)
	cmd.Flags().BoolVar(&o.showProgram, "show-program", false, "show the kernel's filter program as tcpdump -d and -ddd do")
	return cmd
}

// planView is what create would do.
type planView struct {
	Name       string             `json:"name"`
	Properties capture.Properties `json:"properties"`
	Plan       planDetails        `json:"plan"`
	Warnings   []string           `json:"warnings"`
}

type planDetails struct {
	Interfaces   []string      `json:"interfaces"`
	AnyInterface bool          `json:"anyInterface"`
	ReadFile     *readFileView `json:"readFile,omitempty"`
	LinkType     string        `json:"linkType"`
	Filter       string        `json:"filter"`
	FilterMode   string        `json:"filterMode"`
	Filters      []filterView  `json:"filters"`
	Instructions int           `json:"instructions"`
	// One line each, as tcpdump -d and tcpdump -ddd print them.
	Program    []string `json:"program,omitempty"`
	ProgramDDD []string `json:"programDecimal,omitempty"`
}

// filterView is one filter, explained.
type filterView struct {
	Words string `json:"words"`
	// PcapFilter is the same in the language of tcpdump and Wireshark, where
	// that can say it.
	PcapFilter string `json:"pcapFilter,omitempty"`
}

func (a *app) validate(cmd *cobra.Command, o *validateOptions) error {
	if fromFile, err := o.request.read.given(cmd.Flags()); err != nil || fromFile {
		if err == nil {
			err = a.validateFile(cmd, o)
		}
		return err
	}
	_, plan, err := a.plan(cmd, &o.request)
	if err != nil {
		return err
	}
	if err := plan.CheckFile(); err != nil {
		return err
	}
	v := planView{
		Name:       plan.Config.Name,
		Properties: plan.Config.Properties(),
		Plan: planDetails{
			AnyInterface: plan.Any,
			LinkType:     plan.LinkType.String(),
			Filter:       plan.Config.Filters.String(),
			FilterMode:   plan.FilterMode(),
			Filters:      filterViews(plan.Config.Filters),
			Instructions: len(plan.Program.Raw),
		},
		Warnings: append([]string{}, plan.Warnings...),
	}
	for _, i := range plan.Interfaces {
		v.Plan.Interfaces = append(v.Plan.Interfaces, i.Name)
	}
	if o.showProgram {
		v.Plan.Program = lines(plan.Program.Disassemble())
		v.Plan.ProgramDDD = lines(plan.Program.DDD())
	}
	return a.print(v)
}

func lines(text string) []string { return strings.Split(strings.TrimRight(text, "\n"), "\n") }

func filterViews(set filter.Set) []filterView {
	views := []filterView{}
	for _, f := range set.Filters() {
		view := filterView{Words: f.String()}
		if expr, ok := f.PcapExpression(); ok {
			view.PcapFilter = expr
		}
		views = append(views, view)
	}
	return views
}
