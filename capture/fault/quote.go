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

// secret finds the signature of a SAS and an account's key, wherever a piece of
// a request is shown. Percent-encoded forms count, too. It is compiled when it
// is first needed, which most runs never do.
var secret = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`(?i)(?:sig|accountkey)(?:=|%3d)([^&"'\s;]+)`)
})

// HoldsSecret reports whether there is the signature of a SAS or an account's
// key in a text.
func HoldsSecret(s string) bool { return secret().MatchString(s) }

// Mask replaces each character of the secrets in a piece of a request by an
// asterisk. The text keeps its number of characters, so that a caret below it
// still points to the right place.
func Mask(s string) string {
	hits := secret().FindAllStringSubmatchIndex(s, -1)
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

// Quote quotes a value from outside for a message: secrets are masked, it is cut
// to 120 characters, and nothing is left in it that a terminal would obey.
// Backslashes stay single, because most of these values are paths.
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
