package capture

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/agext/levenshtein"
)

// Bounds of what a message repeats from a request.
const (
	maxShown = 120 // runes of a value
	snippetW = 76  // runes of a source line
)

// secretInText finds the signature of a SAS and an account's key, wherever a
// piece of a request is shown. Percent-encoded forms count, too.
var secretInText = pattern(`(?i)(?:sig|accountkey)(?:=|%3d)([^&"'\s;]+)`)

// mask hides secrets in a piece of a request and leaves its length as it was,
// so that a caret below it still points to the right place.
func mask(s string) string {
	hits := secretInText().FindAllStringSubmatchIndex(s, -1)
	if hits == nil {
		return s
	}
	var b strings.Builder
	done := 0
	for _, h := range hits {
		b.WriteString(s[done:h[2]])
		b.WriteString(strings.Repeat("*", utf8.RuneCountInString(s[h[2]:h[3]])))
		done = h[3]
	}
	b.WriteString(s[done:])
	return b.String()
}

// show quotes a value of a request for a message: secrets masked, cut to a
// bearable length, nothing in it that a terminal would obey. Backslashes stay
// single, because paths are what is shown most.
func show(s string) string {
	s = mask(s)
	if utf8.RuneCountInString(s) > maxShown {
		s = string([]rune(s)[:maxShown]) + "…"
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return strconv.Quote(s)
	}
	return `"` + s + `"`
}

// position is a place in the text of a request, counted from 1. Columns are
// characters; a tab is one.
type position struct{ line, column int }

func (p position) String() string { return fmt.Sprintf("line %d, column %d", p.line, p.column) }

func positionOf(text []byte, offset int) position {
	before := text[:min(offset, len(text))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return position{line: bytes.Count(before, []byte("\n")) + 1, column: utf8.RuneCount(before[start:]) + 1}
}

// snippet is the line of an offset with a caret below the place. Leading white
// space is left out, a long line is cut to a window around the caret.
func snippet(text []byte, offset int) string {
	offset = min(offset, len(text))
	start := bytes.LastIndexByte(text[:offset], '\n') + 1
	end := len(text)
	if i := bytes.IndexByte(text[offset:], '\n'); i >= 0 {
		end = offset + i
	}
	caret := utf8.RuneCount(text[start:offset])
	line := []rune(mask(strings.TrimRight(string(text[start:end]), "\r")))
	caret = min(caret, len(line))
	for i, r := range line {
		if r != '\t' && (!unicode.IsPrint(r) || r == utf8.RuneError) {
			line[i] = '?'
		}
	}
	for len(line) > 0 && caret > 0 && (line[0] == ' ' || line[0] == '\t') {
		line, caret = line[1:], caret-1
	}
	if len(line) > snippetW {
		from := max(0, min(caret-snippetW/2, len(line)-snippetW))
		to := from + snippetW
		cut := append([]rune(nil), line[from:to]...)
		if from > 0 {
			cut[0] = '…'
		}
		if to < len(line) {
			cut[len(cut)-1] = '…'
		}
		line, caret = cut, caret-from
	}
	// A tab above the caret is repeated below it: however wide it is shown,
	// both lines move alike.
	var pad strings.Builder
	for i := range caret {
		if i < len(line) && line[i] == '\t' {
			pad.WriteByte('\t')
		} else {
			pad.WriteByte(' ')
		}
	}
	return string(line) + "\n" + pad.String() + "^"
}

// Nearest is the known name that a misspelt one was probably meant to be, or
// "" when none is near: at most a third of its letters may differ. Letter case
// does not count.
func Nearest(given string, known []string) string { return nearest(given, known) }

// nearest is the known name that a misspelt one was probably meant to be, or
// "" when none is near. Letter case does not count.
func nearest(given string, known []string) string {
	if len(given) > maxShown {
		return ""
	}
	given = strings.ToLower(given)
	best, bestDistance := "", 0
	for _, name := range known {
		limit := max(1, max(len(name), len(given))/3)
		// Without MaxCost: with one, version 1.2.3 gives distances that are far
		// too small ("subscriptionid" and "packetcapturename": 2, not 14).
		d := levenshtein.Distance(given, strings.ToLower(name), nil)
		if d <= limit && d < len(name) && (best == "" || d < bestDistance) {
			best, bestDistance = name, d
		}
	}
	return best
}
