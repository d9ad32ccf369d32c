package request

import (
	"bytes"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"pcapctl/capture/fault"
)

// snippetW is how many characters of a line of a request a message repeats.
const snippetW = 76

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
	line := []rune(fault.Mask(strings.TrimRight(string(text[start:end]), "\r")))
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
	// A tab in the line is repeated in the line of the caret: both are then
	// shown equally wide.
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
