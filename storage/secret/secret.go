// Package secret keeps strings such as keys and signatures from being shown by accident.
//
// In memory they lie as other strings do: those who use them make copies, which
// nothing here could wipe. That no dump holds them is the process's to see to, for all
// of its memory.
package secret

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// redacted is what every secret looks like when it is printed.
const redacted = "REDACTED"

// Text is a string that must not be seen: a SAS query, a key. However it is
// printed, logged or marshalled, alone or inside another value, it shows as
// REDACTED (or as nothing when it is empty). Only Reveal gives the string.
//
// The string lies behind a pointer because fmt prints unexported fields of a
// struct without asking their methods; a pointer there prints as an address.
type Text struct{ value *string }

// New keeps a string from being seen. The empty string makes the zero Text.
func New(s string) Text {
	if s == "" {
		return Text{}
	}
	return Text{value: &s}
}

// Reveal is the string itself, for the one place that needs it.
func (s Text) Reveal() string {
	if s.value == nil {
		return ""
	}
	return *s.value
}

// IsZero reports whether the secret is the empty string.
func (s Text) IsZero() bool { return s.value == nil }

// Equal compares the strings, in a time that does not depend on where they
// differ; == compares pointers. go-cmp calls it for every type that holds a Text.
func (s Text) Equal(other Text) bool {
	return subtle.ConstantTimeCompare([]byte(s.Reveal()), []byte(other.Reveal())) == 1
}

// String is REDACTED, or "" for the zero Text.
func (s Text) String() string {
	if s.IsZero() {
		return ""
	}
	return redacted
}

// Format prints String whatever the verb, as %x or %#v would otherwise find
// the bytes.
func (s Text) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// GoString is String; Format covers %#v, this covers direct callers.
func (s Text) GoString() string { return s.String() }

// MarshalText gives String; encoding/json and most others use it.
func (s Text) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue gives String to log/slog.
func (s Text) LogValue() slog.Value { return slog.StringValue(s.String()) }
