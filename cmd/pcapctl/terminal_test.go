package main

import (
	"log/slog"
	"strings"
	"testing"
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
