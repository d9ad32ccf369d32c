package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"go.yaml.in/yaml/v3"
)

// tabler is a result with a table of its own. The tables of others have their
// scalar members.
type tabler interface {
	table() (head []string, rows [][]string)
}

// lister is a list that is wrapped in an object. As tsv it has a line for each
// item.
type lister interface {
	items() any
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
