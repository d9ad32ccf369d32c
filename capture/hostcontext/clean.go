package hostcontext

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxWord bounds a name that others have chosen, in bytes.
const maxWord = 64

// clean makes a name that others have chosen fit for a file that is shown: in one line,
// without what changes how a terminal shows the rest, and of bounded length.
func clean(name string) string {
	name = strings.Map(func(r rune) rune {
		if r == utf8.RuneError || !unicode.IsPrint(r) {
			return '?'
		}
		return r
	}, name)
	return cut(name, maxWord)
}

// cleanText does so for a text of several lines.
func cleanText(text string) string {
	return strings.Map(func(r rune) rune {
		if r != '\n' && r != '\t' && (r == utf8.RuneError || !unicode.IsPrint(r)) {
			return '?'
		}
		return r
	}, text)
}

// cut shortens a text, and not within a character.
func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most]
}
