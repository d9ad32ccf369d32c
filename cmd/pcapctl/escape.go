package main

import (
	"bytes"
	"fmt"
	"io"
	"unicode/utf16"
	"unicode/utf8"

	"pcapctl/capture/fault"
)

// escapeJSON writes what a terminal would obey or not show as \u escapes, which
// mean the same to every reader of JSON. encoding/json does so with C0, and not
// with C1, DEL, bidi overrides and noncharacters. Such a character can only be
// within a string.
func escapeJSON(text []byte) []byte {
	return escapeRunes(text, func(b *bytes.Buffer, r rune) {
		if high, low := utf16.EncodeRune(r); high != utf8.RuneError {
			_, _ = fmt.Fprintf(b, `\u%04x\u%04x`, high, low)
			return
		}
		_, _ = fmt.Fprintf(b, `\u%04x`, r)
	})
}

// escapeYAML does the same with YAML, where such a character must be within
// double quotes. YAML has no pairs of escapes for one character.
func escapeYAML(text []byte) []byte {
	return escapeRunes(text, func(b *bytes.Buffer, r rune) {
		if r > 0xffff {
			_, _ = fmt.Fprintf(b, `\U%08X`, r)
			return
		}
		_, _ = fmt.Fprintf(b, `\u%04X`, r)
	})
}

// hiddenButLF tells of a character that must not be in any output. Line feeds are
// between the lines of a document.
func hiddenButLF(r rune) bool { return r != '\n' && fault.IsHidden(r) }

func escapeRunes(text []byte, escape func(*bytes.Buffer, rune)) []byte {
	if bytes.IndexFunc(text, hiddenButLF) < 0 {
		return text
	}
	var b bytes.Buffer
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if hiddenButLF(r) {
			escape(&b, r)
		} else {
			b.Write(text[:n])
		}
		text = text[n:]
	}
	return b.Bytes()
}

// escaping writes lines of JSON so that nothing in them is obeyed.
type escaping struct{ w io.Writer }

// Write implements io.Writer. What is written is whole lines.
func (e escaping) Write(p []byte) (int, error) {
	if _, err := e.w.Write(escapeJSON(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}
