package fault

import (
	"strings"
	"testing"
	"unicode/utf8"
)

func TestVisible(t *testing.T) {
	for given, want := range map[string][2]string{
		"":                           {"", ""},
		"größe “x” 日本 🦈":             {"größe “x” 日本 🦈", "größe “x” 日本 🦈"},
		"a\x1b[31mb\u009b2J\x7f":     {`a\x1b[31mb\u009b2J\x7f`, `a\x1b[31mb\u009b2J\x7f`},
		"a\u202eb\u2066c\u200d":      {`a\u202eb\u2066c\u200d`, `a\u202eb\u2066c\u200d`},
		"a\xffb\uffff\U0001ffff":     {`a\xffb\uffff\U0001ffff`, `a\xffb\uffff\U0001ffff`},
		"one\n\ttwo\r":               {"one\n\ttwo\\r", `one\n\ttwo\r`},
		"a\u2028b\ufeff\ue000":       {`a\u2028b\ufeff\ue000`, `a\u2028b\ufeff\ue000`},
		"what was not valid: \ufffd": {"what was not valid: \ufffd", "what was not valid: \ufffd"},
	} {
		if got := Visible(given); got != want[0] {
			t.Errorf("%q: %s, want %s", given, got, want[0])
		}
		if got := VisibleLine(given); got != want[1] {
			t.Errorf("%q in a line: %s, want %s", given, got, want[1])
		}
	}
}

// Whatever the bytes, nothing is left that a terminal obeys, and what could be
// shown is unchanged.
func FuzzVisible(f *testing.F) {
	for _, s := range []string{"", "x\n\ty", "\x1b[2J\u009b\u202e\uffff", "\xff\xfe\xf4\x90\x80\x80"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		line := VisibleLine(s)
		if !utf8.ValidString(line) || strings.ContainsFunc(line, IsHidden) {
			t.Errorf("%q became %q", s, line)
		}
		if text := Visible(s); VisibleLine(text) != strings.NewReplacer("\n", `\n`, "\t", `\t`).Replace(text) {
			t.Errorf("%q became %q", s, text)
		}
		if Visible(line) != line || utf8.ValidString(s) && !strings.ContainsFunc(s, IsHidden) && line != s {
			t.Errorf("%q became %q", s, line)
		}
	})
}
