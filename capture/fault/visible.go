package fault

import (
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// IsHidden reports whether a terminal would obey a character or show nothing for
// it: control characters (C0, C1), those that turn the direction of a text
// (bidi), private ones and noncharacters.
func IsHidden(r rune) bool { return !unicode.IsGraphic(r) }

// Visible writes out what a terminal would obey or not show, as Go does in a
// string: \x1b, \u009b, \u202e. All text that somebody else could have chosen
// goes through it before it is shown: the name of an interface of a container, a
// path in a record, a server's answer. Line feeds and tabs stay, for messages of
// several lines.
func Visible(text string) string {
	return writeOut(text, func(r rune) bool { return r != '\n' && r != '\t' && IsHidden(r) })
}

// VisibleLine is Visible for what must stay in one line and one column: line
// feeds and tabs are written out as well.
func VisibleLine(text string) string { return writeOut(text, IsHidden) }

func writeOut(text string, hidden func(rune) bool) string {
	if utf8.ValidString(text) && !strings.ContainsFunc(text, hidden) {
		return text
	}
	var b strings.Builder
	for len(text) > 0 {
		r, n := utf8.DecodeRuneInString(text)
		if hidden(r) || r == utf8.RuneError && n == 1 {
			quoted := strconv.QuoteToASCII(text[:n])
			b.WriteString(quoted[1 : len(quoted)-1])
		} else {
			b.WriteRune(r)
		}
		text = text[n:]
	}
	return b.String()
}
