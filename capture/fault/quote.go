package fault

import (
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// maxShown is how many characters of a value a message repeats.
const maxShown = 120

// secretInText finds the signature of a SAS and an account's key, wherever a
// piece of a request is shown. Percent-encoded forms count, too.
var SecretInText = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(?:sig|accountkey)(?:=|%3d)([^&"'\s;]+)`)
})

// mask hides secrets in a piece of a request and leaves its length as it was,
// so that a caret below it still points to the right place.
func Mask(s string) string {
	hits := SecretInText().FindAllStringSubmatchIndex(s, -1)
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
func Quote(s string) string {
	s = Mask(s)
	if utf8.RuneCountInString(s) > maxShown {
		s = string([]rune(s)[:maxShown]) + "…"
	}
	if strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) || r == utf8.RuneError }) {
		return strconv.Quote(s)
	}
	return `"` + s + `"`
}
