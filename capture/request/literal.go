package request

import (
	"bytes"
	"fmt"
	"strings"
)

// inString explains a fault inside a string: backslashes, control characters and
// a missing quote.
func (s scanState) inString(text []byte, at int) finding {
	end, closed := literalEnd(text, s.str)
	slash := at - 1
	for slash > s.str && slash > at-6 && text[slash] != '\\' {
		slash--
	}
	if at < len(text) && text[at] >= ' ' && text[slash] == '\\' || closed && hasQuotedEnd(text[s.str:end]) {
		if slash <= s.str || text[slash] != '\\' {
			slash = s.str + strings.IndexByte(string(text[s.str:end]), '\\')
		}
		if !closed {
			return finding{at: slash, message: `a backslash in a JSON string is written twice (\\), and this string is not closed on its line: a " is missing`}
		}
		fixed := doubleBackslashes(string(text[s.str:end]))
		return finding{
			at: slash, message: "a backslash in a JSON string is written twice: write " + shorten(fixed),
			fix: &edit{s.str, end, fixed},
		}
	}
	if at < len(text) && text[at] != '\n' && text[at] != '\r' {
		return finding{
			at: at, message: fmt.Sprintf("a control character (U+%04X) may not stand in a string as it is: leave it out, or write \\u%04x", text[at], text[at]),
			fix: &edit{at, at + 1, fmt.Sprintf(`\u%04x`, text[at])},
		}
	}
	return finding{at: s.str, message: `this string is not closed on its line: a " is missing at its end`}
}

// literalEnd is where a string literal ends that may have single backslashes:
// by JSON's rules if what follows that quote can follow a string. Otherwise the
// last backslash of "C:\x\" has made the quote a part of the string, and the
// literal ends at the first quote of its line after which a value may end.
func literalEnd(text []byte, start int) (end int, closed bool) {
	line := text[start:]
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
	}
	byRule := -1
	for i := 1; i < len(line) && byRule < 0; i++ {
		switch line[i] {
		case '\\':
			i++
		case '"':
			byRule = i + 1
		}
	}
	if byRule > 0 && followsString(line[byRule:], ",:}]\"") {
		return start + byRule, true
	}
	for i := 1; i < len(line); i++ {
		if line[i] == '"' && followsString(line[i+1:], ",:}]") {
			return start + i + 1, true
		}
	}
	if byRule > 0 {
		return start + byRule, true
	}
	return len(text), false
}

// followsString reports whether the rest of a line begins as what may stand
// behind a string.
func followsString(rest []byte, allowed string) bool {
	rest = bytes.TrimLeft(rest, " \t\r")
	return len(rest) == 0 || strings.IndexByte(allowed, rest[0]) >= 0
}

// hasQuotedEnd reports whether a literal ends in an odd number of backslashes
// and the quote, so that JSON takes the quote for a part of the string.
func hasQuotedEnd(literal []byte) bool {
	body := strings.TrimSuffix(string(literal), `"`)
	return (len(body)-len(strings.TrimRight(body, `\`)))%2 == 1
}

// doubleBackslashes writes a literal as it was meant. What is doubled already
// and a quoted quote within stay as they are.
func doubleBackslashes(literal string) string {
	body := literal[1 : len(literal)-1]
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			b.WriteByte(body[i])
			continue
		}
		b.WriteByte('\\')
		if i+1 < len(body) && (body[i+1] == '\\' || body[i+1] == '"') {
			i++
			b.WriteByte(body[i])
		} else {
			b.WriteByte('\\')
		}
	}
	b.WriteByte('"')
	return b.String()
}
