package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"pcapctl/capture/fault"
)

// The name of an interface, and whatever else comes from outside, does not reach the
// terminal as a command, in messages, tables and lines.
func TestNothingIsObeyedByTheTerminal(t *testing.T) {
	t.Parallel()
	const hostile = "a\x1b[31mb\u009b2J\u202e\xff"
	const want = `a\x1b[31mb\u009b2J\u202e\xff`
	var b strings.Builder
	(&logger{}).write(&b, slog.LevelInfo, hostile+"\nand ü")
	if err := (&output{}).writeTable(&b, []string{"name"}, [][]string{{hostile}}); err != nil {
		t.Error(err)
	}
	if err := writeLines(&b, []string{hostile}); err != nil {
		t.Error(err)
	}
	if n := strings.Count(b.String(), want); n != 3 || !strings.Contains(b.String(), "\nand ü\n") {
		t.Errorf("%d times %s in %q", n, want, b.String())
	}
}

// Whatever a result has in it, every output form is written, has nothing in it that a
// terminal obeys, and says the same as before.
func TestEveryOutputIsWrittenOut(t *testing.T) {
	t.Parallel()
	const hostile = "a\x1b[2J\x7f\u009b2J\u202e\u2028\ufeff\uffff\U0001fffe\U000e0001\t\né 🦈"
	type item struct {
		Name  string   `json:"name"`
		Size  uint64   `json:"size"`
		Part  float64  `json:"part"`
		None  *int     `json:"none"`
		Yes   bool     `json:"yes"`
		Text  string   `json:"text"`
		Files []string `json:"files"`
	}
	want := []item{{Name: hostile, Size: 1 << 63, Part: 1e21, Yes: true, Text: "yes", Files: []string{}}, {Name: "12", Text: "null: x", Files: []string{hostile, "-"}}}
	for _, format := range outputFormats {
		for _, width := range []int{0, 40} { // off a terminal, and at one
			o := &output{format: format, asked: true, width: width}
			var b bytes.Buffer
			if err := o.print(&b, want); err != nil {
				t.Errorf("%s: %v", format, err)
				continue
			}
			if format == "tsv" && width == 0 {
				if text := "a\x1b[2J"; !strings.HasPrefix(b.String(), text) { // as az
					t.Errorf("tsv in a pipe: %q", b.String())
				}
				continue
			}
			text := b.String()
			if format == "tsv" {
				text = strings.ReplaceAll(text, "\t", " ")
			}
			if strings.ContainsFunc(text, hiddenButLF) {
				t.Errorf("%s: %q", format, text)
			}
			var got []item
			var err error
			switch format {
			case "json", "jsonc":
				err = json.Unmarshal(b.Bytes(), &got)
			case "yaml", "yamlc":
				err = yaml.Unmarshal(b.Bytes(), &got)
			case "none":
				continue
			default:
				if !strings.Contains(b.String(), `a\x1b[2J\x7f\u009b2J\u202e\u2028\ufeff\uffff\U0001fffe\U000e0001\t\né`) {
					t.Errorf("%s: %q", format, b.String())
				}
				continue
			}
			if d := cmp.Diff(want, got); d != "" || err != nil {
				t.Errorf("%s: %v %s\n%s", format, err, d, b.String())
			}
		}
	}
	// The lines of a log, and an error.
	var b bytes.Buffer
	l := logger{format: logJSON}
	l.write(&b, slog.LevelWarn, hostile)
	l.failure(&b, fault.Errorf(fault.Internal, "%w", errors.New(hostile)))
	if err := writeJSONLine(&b, envelopeOf(errors.New(hostile))); err != nil {
		t.Error(err)
	}
	b.WriteString(sight{texts: []string{hostile}}.line(200) + "\n")
	if strings.ContainsFunc(b.String(), hiddenButLF) || strings.Count(b.String(), "\n") != 4 {
		t.Errorf("%q", b.String())
	}
}
