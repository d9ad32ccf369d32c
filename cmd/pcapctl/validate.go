package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"pcapctl/capture"
	"pcapctl/capture/registry"
	"pcapctl/capture/request"
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
  pcapctl validate -f request.json --query 'plan.filters'
  pcapctl validate -f request.json --show-program --query 'plan.program' -o tsv`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.validate(cmd, &o) },
	}
	o.request.flags(cmd)
	cmd.Flags().BoolVar(&o.showProgram, "show-program", false, "show the kernel's filter program as tcpdump -d and -ddd do")
	return cmd
}

// planView is what create would do.
type planView struct {
	Name       string         `json:"name"`
	Properties planProperties `json:"properties"`
	Plan       planDetails    `json:"plan"`
	Warnings   []string       `json:"warnings"`

	resource *capture.Resource // as create would begin with it
	// For a table:
	filters      []string
	exclude      []string
	ring, limits string
	destinations []string
}

// planProperties are the request and the limits beside it, as in what create prints.
type planProperties struct {
	request.Properties
	request.Limits
}

// table is the plan as lines of a name and a value; several filters and destinations
// have a line each.
func (v planView) table() (head []string, rows [][]string) {
	add := func(name string, values ...string) {
		for _, value := range values {
			if value != "" {
				rows = append(rows, []string{name, value})
				name = ""
			}
		}
	}
	add("name", v.Name)
	add("status", v.resource.Properties.PacketCaptureStatus)
	switch {
	case v.Plan.ReadFile != nil:
		add("reads", v.Plan.ReadFile.Path+" ("+v.Plan.ReadFile.Format+")")
	case v.Plan.AnyInterface:
		add("interfaces", "any")
	default:
		add("interfaces", strings.Join(v.Plan.Interfaces, ", "))
	}
	add("link type", v.Plan.LinkType)
	add("filters", v.filters...)
	add("left out", v.exclude...)
	if v.Plan.HeadersOnly {
		add("recorded", "the headers of each packet")
	}
	add("container", v.Plan.Container)
	add("ring", v.ring)
	add("limits", v.limits)
	add("saved in", v.destinations...)
	add("warnings", v.Warnings...)
	return []string{"what", "value"}, rows
}

// fit implements fitter.
func (v planView) fit(width int) []string {
	_, rows := v.table()
	widest := 0
	for _, row := range rows {
		widest = max(widest, len(row[0]))
	}
	var lines []string
	for _, row := range rows {
		name := fmt.Sprintf("%-*s", widest+columnGap, row[0])
		for _, part := range wrap(row[1], width-len(name)) {
			lines = append(lines, name+part)
			name = strings.Repeat(" ", len(name))
		}
	}
	return lines
}

// describe fills in what only the table shows.
func (v *planView) describe(c *request.Config, typed *typedNames) {
	filters := v.Plan.Filters
	if typed.ends != "" {
		v.filters, filters = append(v.filters, typed.ends+" at either end"), filters[typed.ofEnds:]
	}
	for _, f := range filters {
		v.filters = append(v.filters, f.line())
	}
	if v.filters == nil {
		v.filters = []string{"every packet"}
	}
	for _, f := range v.Plan.Exclude {
		v.exclude = append(v.exclude, f.line())
	}
	if c.Rotates() {
		v.ring = ringInWords(c)
	}
	v.limits = "until " + strings.Join(limitsInWords(c, "it is stopped"), ", ")
	if c.Stream {
		v.destinations = append(v.destinations, toStdout)
	}
	if c.FilePath != "" {
		v.destinations = append(v.destinations, c.FilePath)
	}
	if c.Blob != nil {
		v.destinations = append(v.destinations, c.Blob.Address.String())
	}
}

// printPlan prints a plan. Where the output does not show its warnings they go to
// stderr.
func (a *app) printPlan(v planView, c *request.Config) error {
	v.Properties = planProperties{c.Properties(), c.Limits()}
	st := v.resource.Properties.Statistics
	v.Plan.StopAfter, v.Plan.Container = st.StopAfterInSeconds, st.Container
	v.describe(c, &a.typed)
	if st.Context != nil {
		v.Plan.Context = st.Context.Path
		v.destinations = append(v.destinations, st.Context.Path)
	}
	if a.output.query != "" || a.output.format == "tsv" || a.output.format == "none" {
		a.warn(v.Warnings...)
	}
	return a.print(v)
}

type planDetails struct {
	Interfaces   []string      `json:"interfaces"`
	AnyInterface bool          `json:"anyInterface"`
	ReadFile     *readFileView `json:"readFile,omitempty"`
	LinkType     string        `json:"linkType"`
	Filter       string        `json:"filter"`
	FilterMode   string        `json:"filterMode"`
	Filters      []filterView  `json:"filters"`
	Exclude      []filterView  `json:"exclude,omitempty"`
	HeadersOnly  bool          `json:"headersOnly,omitempty"`
	StopWhen     []filterView  `json:"stopWhen,omitempty"`
	StopAfter    *float64      `json:"stopAfterInSeconds,omitempty"`
	Container    string        `json:"container,omitempty"`
	Context      string        `json:"context,omitempty"` // path of the file
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
	// Own are the members of which something is pcapctl's own, and not in the service's notation.
	Own []string `json:"own,omitempty"`
}

// line is the filter as a line of a table.
func (v filterView) line() string {
	if v.Own == nil {
		return v.Words
	}
	return v.Words + " (pcapctl's own: " + strings.Join(v.Own, ", ") + ")"
}

func (a *app) validate(cmd *cobra.Command, o *validateOptions) error {
	if fromFile, err := o.request.read.given(cmd.Flags()); err != nil || fromFile {
		if err == nil {
			err = a.validateFile(cmd, o)
		}
		return err
	}
	if setNetns.text(&a.settings) == "" && setContainer.text(&a.settings) == "" { // only root may look into another network namespace
		if err := a.giveUpRoot(); err != nil {
			return err
		}
	}
	ord, plan, err := a.plan(cmd, &o.request)
	if err != nil {
		return err
	}
	if err := checkName(ord, plan); err != nil {
		return err
	}
	if err := plan.CheckFile(); err != nil {
		return err
	}
	warnings, err := plan.CheckCredentials()
	if err != nil {
		return err
	}
	if err := a.expectSandbox(plan.Plan, ord.sessionSettings, ord.stateFolders()); err != nil {
		return err
	}
	v := planView{
		Name: plan.Config.Name,
		Plan: planDetails{
			AnyInterface: plan.spec.Any,
			LinkType:     plan.spec.LinkType.String(),
			Filter:       plan.Config.Filters.String(),
			FilterMode:   plan.spec.FilterMode(),
			Filters:      filterViews(plan.Config.Filters.Filters()),
			Exclude:      filterViews(plan.Config.Filters.Excludes()),
			HeadersOnly:  plan.Config.Additions.HeadersOnly,
			StopWhen:     filterViews(plan.Config.StopWhen.Others().Excludes()),
			Instructions: len(plan.spec.Program.Raw),
		},
		Warnings: append(append([]string{}, plan.Warnings...), warnings...),
		resource: plan.Resource(),
	}
	for _, i := range plan.spec.Interfaces {
		v.Plan.Interfaces = append(v.Plan.Interfaces, i.Name)
	}
	if o.showProgram {
		v.Plan.Program = lines(plan.spec.Program.Disassemble())
		v.Plan.ProgramDDD = lines(plan.spec.Program.DDD())
	}
	return a.printPlan(v, plan.Config)
}

// checkName tells whether the name is taken. Where the state folder is of no use
// a capture in the foreground goes on without it, so that this is a warning.
func checkName(ord *order, plan *livePlan) error {
	err := ord.noStateDir
	if err == nil {
		err = registry.New(ord.StateDir).Check(plan.Config.Name)
	}
	switch {
	case isTaken(err):
		return err
	case err != nil && !errors.Is(err, registry.ErrUnsupported):
		plan.Warnings = append(plan.Warnings, err.Error())
	}
	return nil
}

func lines(text string) []string { return strings.Split(strings.TrimRight(text, "\n"), "\n") }

func filterViews(filters []filter.Filter) []filterView {
	views := []filterView{}
	for _, f := range filters {
		view := filterView{Words: f.String()}
		if expr, ok := f.PcapExpression(); ok {
			view.PcapFilter = expr
		}
		for _, own := range f.Spec().Own() {
			view.Own = append(view.Own, own.Field)
		}
		views = append(views, view)
	}
	return views
}
