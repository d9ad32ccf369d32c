package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/jmespath/go-jmespath"
	"github.com/spf13/pflag"
	"github.com/tidwall/pretty"
	"go.yaml.in/yaml/v3"

	"pcapctl/capture/fault"
)

var outputFormats = []string{"json", "jsonc", "yaml", "table", "tsv", "none"}

// output prints results as az does: a format and a JMESPath query.
type output struct {
	format string
	query  string
	asked  bool // the format was given, not defaulted
	expr   *jmespath.JMESPath
}

func (o *output) flags(flags *pflag.FlagSet) {
	flags.StringVarP(&o.format, "output", "o", outputFormats[0], "output format: "+strings.Join(outputFormats, ", "))
	flags.StringVar(&o.query, "query", "", "JMESPath query of the result")
}

// peek takes the format from flags that are only partly parsed.
func (o *output) peek(flags *pflag.FlagSet) {
	if f := flags.Lookup("output"); f != nil {
		o.asked = f.Changed
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
		return fault.Errorf(fault.Invalid, "--query %s is not a valid JMESPath expression: %w", fault.Quote(o.query), err)
	}
	o.expr = expr
	return nil
}

func (o *output) isJSON() bool { return o.format == "json" || o.format == "jsonc" }

// tabler is a result with a table of its own. Others are shown by their scalar
// members.
type tabler interface {
	table() (head []string, rows [][]string)
}

// lister is a list that is wrapped in an object. Where lines are printed there
// is one for each item.
type lister interface {
	items() any
}

// print writes v, which encoding/json can marshal.
func (o *output) print(w io.Writer, v any) error {
	if o.format == "none" {
		return nil
	}
	if t, ok := v.(tabler); ok && o.expr == nil && o.format == "table" {
		head, rows := t.table()
		return writeTable(w, head, rows)
	}
	if l, ok := v.(lister); ok && o.expr == nil && o.format == "tsv" {
		v = l.items()
	}
	if o.expr != nil {
		var err error
		if v, err = search(o.expr, v); err != nil {
			return err
		}
	}
	switch o.format {
	case "jsonc":
		text, err := marshal(v)
		if err != nil {
			return err
		}
		_, err = w.Write(append(pretty.Color(bytes.TrimRight(text, "\n"), nil), '\n'))
		return err
	case "yaml", "table", "tsv":
		node, err := ordered(v)
		if err != nil {
			return err
		}
		return writeNode(w, o.format, node)
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
	return b.Bytes(), err
}

func writeJSON(w io.Writer, v any) error {
	text, err := marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// ordered gives v as a tree that keeps the order of members. JSON is YAML.
func ordered(v any) (*yaml.Node, error) {
	text, err := marshal(v)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	plain(&doc)
	return doc.Content[0], nil
}

// plain takes away the styles that the tree has from JSON, braces and quotes.
func plain(n *yaml.Node) {
	n.Style = 0
	for _, c := range n.Content {
		plain(c)
	}
}

func writeNode(w io.Writer, format string, n *yaml.Node) error {
	if format == "yaml" {
		enc := yaml.NewEncoder(w)
		enc.SetIndent(2)
		if err := enc.Encode(n); err != nil {
			return err
		}
		return enc.Close()
	}
	head, rows := tableOf(n)
	if format == "table" {
		return writeTable(w, head, rows)
	}
	for _, row := range rows {
		if _, err := fmt.Fprintln(w, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return nil
}

// tableOf makes a row of every element of a list, or one of anything else. The
// columns are the scalar members, as az does it.
func tableOf(n *yaml.Node) (head []string, rows [][]string) {
	items := []*yaml.Node{n}
	if n.Kind == yaml.SequenceNode {
		items = n.Content
	}
	for _, item := range items {
		var row []string
		switch item.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(item.Content); i += 2 {
				key, value := item.Content[i].Value, item.Content[i+1]
				if value.Kind != yaml.ScalarNode {
					continue
				}
				at := slices.Index(head, key)
				if at < 0 {
					at, head = len(head), append(head, key)
				}
				row = append(row, make([]string, max(0, at+1-len(row)))...)
				row[at] = scalar(value)
			}
		case yaml.SequenceNode:
			for _, c := range item.Content {
				row = append(row, scalar(c))
			}
		default:
			row = []string{scalar(item)}
		}
		rows = append(rows, row)
	}
	return head, rows
}

func scalar(n *yaml.Node) string {
	if n.Kind != yaml.ScalarNode || n.Tag == "!!null" {
		return ""
	}
	return n.Value
}

func writeTable(w io.Writer, head []string, rows [][]string) error {
	t := tabwriter.NewWriter(w, 0, 8, 2, ' ', 0)
	if head != nil {
		titles, lines := make([]string, len(head)), make([]string, len(head))
		for i, h := range head {
			titles[i] = strings.ToUpper(h[:1]) + h[1:]
			lines[i] = strings.Repeat("-", len(h))
		}
		rows = append([][]string{titles, lines}, rows...)
	}
	for _, row := range rows {
		if _, err := fmt.Fprintln(t, strings.Join(row, "\t")); err != nil {
			return err
		}
	}
	return t.Flush()
}
