package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"

	"pcapctl/capture/fault"
)

// tabler is a result with a table of its own. The tables of others have their
// scalar members.
type tabler interface {
	table() (head []string, rows [][]string)
}

// narrower is a result with a table for narrow terminals, of which each row has
// more to say below it.
type narrower interface {
	narrow() (head []string, rows []narrowRow)
}

// fitter is a result whose table is lines of a name and a value.
type fitter interface {
	fit(width int) []string
}

// narrowRow is a row of such a table, and what stands below it.
type narrowRow struct {
	cells []string
	below string
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

// writeTable writes a table, within the width of the terminal if there is one: a
// row that would be longer than a line becomes a block of lines.
func (o *output) writeTable(w io.Writer, head []string, rows [][]string) error {
	shown := make([][]string, len(rows))
	for i, row := range rows {
		shown[i] = visibleCells(row)
	}
	rows = shown
	if o.width > 0 && head != nil && tableWidth(head, rows) > o.width {
		return writeLines(w, blocks(head, rows, o.width))
	}
	t := tabwriter.NewWriter(w, 0, 8, columnGap, ' ', 0)
	if head != nil {
		titles, lines := make([]string, len(head)), make([]string, len(head))
		for i, h := range head {
			titles[i] = title(h)
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

// visibleCells are cells of a table as they may be shown: none has a line or a
// column of its own, nor what text/tabwriter takes for the end of a cell.
func visibleCells(row []string) []string {
	shown := make([]string, len(row))
	for i, cell := range row {
		shown[i] = fault.VisibleLine(cell)
	}
	return shown
}

// narrowTable writes a table whose rows have a second line. A first cell that
// leaves the others no room has a line of its own. It is nil when not even the other
// columns fit.
func narrowTable(v narrower, width int) []string {
	head, rows := v.narrow()
	rest := make([][]string, 0, len(rows)+1)
	for i, r := range rows {
		rows[i].cells, rows[i].below = visibleCells(r.cells), fault.VisibleLine(r.below)
		rest = append(rest, rows[i].cells[1:])
	}
	room := width - columnGap - tableWidth(head[1:], rest)
	if room < len(head[0]) {
		return nil
	}
	first := len(head[0])
	for _, r := range rows {
		if n := utf8.RuneCountInString(r.cells[0]); n <= room {
			first = max(first, n)
		}
	}
	var b strings.Builder
	t := tabwriter.NewWriter(&b, 0, 8, columnGap, ' ', 0)
	titles := make([]string, len(head))
	for i, h := range head {
		titles[i] = title(h)
	}
	titles[0] += strings.Repeat(" ", first-len(titles[0]))
	_, _ = fmt.Fprintln(t, strings.Join(titles, "\t"))
	for _, r := range rows {
		cells := r.cells
		if utf8.RuneCountInString(cells[0]) > first {
			cells = append([]string{""}, cells[1:]...)
		}
		_, _ = fmt.Fprintln(t, strings.Join(cells, "\t"))
	}
	_ = t.Flush()
	var lines []string
	for i, line := range strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n") {
		if i > 0 {
			if name := rows[i-1].cells[0]; utf8.RuneCountInString(name) > first {
				lines = append(lines, name)
			}
		}
		lines = append(lines, strings.TrimRight(line, " "))
		if i > 0 && rows[i-1].below != "" {
			for _, part := range wrap(rows[i-1].below, width-columnGap) {
				lines = append(lines, strings.Repeat(" ", columnGap)+part)
			}
		}
	}
	return lines
}

// columnGap is how many blanks stand between columns.
const columnGap = 2

func title(h string) string { return strings.ToUpper(h[:1]) + h[1:] }

// tableWidth is how many columns of a terminal a table takes.
func tableWidth(head []string, rows [][]string) int {
	width := 0
	for i := range head {
		widest := utf8.RuneCountInString(head[i])
		for _, row := range rows {
			if i < len(row) {
				widest = max(widest, utf8.RuneCountInString(row[i]))
			}
		}
		width += widest
	}
	return width + columnGap*(len(head)-1)
}

// blocks writes each row as lines of a name and a value, without those that are
// empty. What is longer than a line goes on in the next, at a blank where it has
// one.
func blocks(head []string, rows [][]string, width int) []string {
	widest := 0
	for _, h := range head {
		widest = max(widest, len(h))
	}
	var lines []string
	for i, row := range rows {
		if i > 0 {
			lines = append(lines, "")
		}
		for j, value := range row {
			if value == "" || j >= len(head) {
				continue
			}
			name := fmt.Sprintf("%-*s", widest+columnGap, title(head[j]))
			for _, part := range wrap(value, width-len(name)) {
				lines = append(lines, name+part)
				name = strings.Repeat(" ", len(name))
			}
		}
	}
	return lines
}

// leastWidth is the least width that a text is wrapped to: on a terminal that is
// narrower, lines are longer than it.
const leastWidth = 16

// wrap breaks a text into lines of at most width columns, at its blanks. A word
// that is longer than a line stays whole: it may be a path that somebody copies.
func wrap(text string, width int) []string {
	width = max(width, leastWidth)
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) <= width:
			line += " " + word
		default:
			lines = append(lines, line)
			line = word
		}
	}
	return append(lines, line)
}
