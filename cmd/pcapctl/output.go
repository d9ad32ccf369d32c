package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/jmespath/go-jmespath"
	"github.com/spf13/pflag"
	"github.com/tidwall/pretty"
	"go.yaml.in/yaml/v3"

	"pcapctl/capture/fault"
)

var outputFormats = []string{"json", "jsonc", "yaml", "yamlc", "table", "tsv", "none"}

// output prints results as az does: a format and a JMESPath query.
type output struct {
	format string
	query  string
	asked  bool // the format was given, not defaulted
	glance bool // the result is for a person at a terminal who asked for no format
	color  bool // -o jsonc has colours
	width  int  // of the terminal, 0 for none
	expr   *jmespath.JMESPath

	nothing string // what to say of a query that found nothing in the result
}

func (o *output) flags(flags *pflag.FlagSet) {
	flags.StringVarP(&o.format, "output", "o", outputFormats[0], "output format: "+strings.Join(outputFormats, ", ")+" (default: json; at a terminal, lines for people)")
	flags.StringVar(&o.query, "query", "", "JMESPath query of the result")
}

// peek tells whether the format was given, when only some flags are parsed.
func (o *output) peek(flags *pflag.FlagSet) {
	if f := flags.Lookup("output"); f != nil {
		o.asked = f.Changed
	}
}

// peekAhead takes the format from the command line where parsing has ended at a flag before it.
func (o *output) peekAhead(args []string) {
	if o.asked {
		return
	}
	for i, word := range args {
		format, found := strings.CutPrefix(word, "--output=")
		if !found && (word == "-o" || word == "--output") && i+1 < len(args) {
			format, found = args[i+1], true
		}
		if !found {
			format, found = strings.CutPrefix(word, "-o")
		}
		if found && slices.Contains(outputFormats, format) {
			o.format, o.asked = format, true
			return
		}
	}
}

func (o *output) check() error {
	if !slices.Contains(outputFormats, o.format) {
		given := o.format
		o.format = outputFormats[0]
		return fault.Errorf(fault.Invalid, "output format %s given; allowed: %s", fault.Quote(given), strings.Join(outputFormats, ", "))
	}
	if o.query == "" {
		return nil
	}
	expr, err := jmespath.Compile(o.query)
	if err != nil {
		return notJMESPath("--query", o.query, err)
	}
	o.expr = expr
	return nil
}

// fit settles what depends on where the result goes.
func (o *output) fit(flags *pflag.FlagSet, out io.Writer, quiet bool) {
	o.peek(flags)
	terminal := isTerminal(out)
	if terminal {
		o.width = widthOf(out)
	}
	o.glance = terminal && !o.asked && o.query == ""
	o.color = terminal && os.Getenv("NO_COLOR") == ""
	if quiet && !o.asked && o.query == "" {
		o.format = "none"
	}
}

func (o *output) isJSON() bool { return o.format == "json" || o.format == "jsonc" }

// print writes v, which encoding/json can marshal.
func (o *output) print(w io.Writer, v any) error {
	if o.format == "none" {
		return nil
	}
	if p, ok := v.(pager); ok && o.expr == nil && (o.glance || o.format == "table") {
		return o.writePage(w, p)
	}
	if g, ok := v.(glance); ok && o.glance {
		return writeLines(w, g.glance(o.width))
	}
	format := o.format
	if o.glance {
		format = "table"
	}
	if t, ok := v.(tabler); ok && o.expr == nil && format == "table" {
		head, rows := t.table()
		if f, ok := v.(fitter); ok && o.width > 0 {
			return writeLines(w, f.fit(o.width))
		}
		if n, ok := v.(narrower); ok && o.width > 0 && tableWidth(head, rows) > o.width {
			if lines := narrowTable(n, o.width); lines != nil {
				return writeLines(w, lines)
			}
		}
		return o.writeTable(w, head, rows)
	}
	if l, ok := v.(lister); ok && o.expr == nil && format == "tsv" {
		v = l.items()
	}
	if o.expr != nil {
		found, err := search(o.expr, o.query, v)
		if err != nil {
			return err
		}
		if findsNothing(found) {
			o.nothing = nothingFound(o.query, v)
		}
		v = found
	}
	switch format {
	case "jsonc":
		text, err := marshal(v)
		if err != nil {
			return err
		}
		if !o.color {
			_, err = w.Write(text)
			return err
		}
		_, err = w.Write(append(pretty.Color(bytes.TrimRight(text, "\n"), nil), '\n'))
		return err
	case "yaml", "yamlc", "table", "tsv":
		node, err := ordered(v)
		if err != nil {
			return err
		}
		return o.writeNode(w, format, node)
	default:
		return writeJSON(w, v)
	}
}

func marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false) // paths and messages are for people, not for web pages
	enc.SetIndent("", "  ")
	err := enc.Encode(v)
	return escapeJSON(b.Bytes()), err
}

func writeJSON(w io.Writer, v any) error {
	text, err := marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// writeJSONLine writes v as one line, for logs and for those who read line by line.
func writeJSONLine(w io.Writer, v any) error {
	text, err := marshal(v)
	if err != nil {
		return err
	}
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line) // strings of JSON have no line feeds in them
		b.WriteString(line)
		if strings.HasSuffix(line, ",") {
			b.WriteByte(' ')
		}
	}
	_, err = io.WriteString(w, b.String()+"\n")
	return err
}

func writeLines(w io.Writer, lines []string) error {
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, fault.VisibleLine(line)); err != nil {
			return err
		}
	}
	return nil
}

// writeYAML writes the tree so that nothing in it is obeyed by a terminal.
func writeYAML(w io.Writer, n *yaml.Node) error {
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := errors.Join(enc.Encode(n), enc.Close()); err != nil {
		return err
	}
	_, err := w.Write(escapeYAML(b.Bytes()))
	return err
}

// yamlName finds the member's name that a line of YAML begins with.
var yamlName = regexp.MustCompile(`(?m)^((?:- | )*)([A-Za-z][A-Za-z0-9]*)(:(?: |$))`)

func (o *output) writeNode(w io.Writer, format string, n *yaml.Node) error {
	if format == "yamlc" && !o.color {
		format = "yaml"
	}
	switch format {
	case "yaml":
		return writeYAML(w, n)
	case "yamlc":
		var b bytes.Buffer
		if err := writeYAML(&b, n); err != nil {
			return err
		}
		_, err := w.Write(yamlName.ReplaceAll(b.Bytes(), []byte("$1\x1b[94m$2\x1b[0m$3")))
		return err
	}
	head, rows := tableOf(n)
	if format == "table" {
		return o.writeTable(w, head, rows)
	}
	for _, row := range rows {
		if o.width > 0 { // a terminal; into a file or pipe it is as az writes it
			row = visibleCells(row)
		}
		if _, err := fmt.Fprintln(w, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return nil
}
