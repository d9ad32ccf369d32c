package request

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"pcapctl/capture/fault"
	"pcapctl/filter"
)

// The arguments of a command line that hold JSON. Each is read as az reads them:
// as JSON, else as a Python literal, whose strings have single quotes, else as
// az's shorthand, {local-port:80,protocol:TCP}, which has no quotes. Names may
// have hyphens. Paths of faults begin at the argument's member of the request.
// The errors are as those of Decode, and so is what is returned beside them.

// DecodeFilters reads a list of filters. In shorthand one filter may stand
// without brackets.
func DecodeFilters(data []byte) ([]filter.Spec, error) {
	return decodeArgument(data, func(d *decoder, v node) []filter.Spec {
		if v.short && v.kind == kindObject {
			v = node{kind: kindList, items: []node{v}}
		}
		return d.filters(v, "filters")
	})
}

// DecodeCaptureSettings reads the settings of continuous mode.
func DecodeCaptureSettings(data []byte) (*CaptureSettings, error) {
	return decodeArgument(data, func(d *decoder, v node) *CaptureSettings { return d.captureSettings(v, "captureSettings") })
}

// DecodeStorageLocation reads where a capture goes.
func DecodeStorageLocation(data []byte) (*StorageLocation, error) {
	return decodeArgument(data, func(d *decoder, v node) *StorageLocation { return d.storageLocation(v, "storageLocation") })
}

// DecodeScope reads the scope of a capture.
func DecodeScope(data []byte) (*Scope, error) {
	return decodeArgument(data, func(d *decoder, v node) *Scope { return d.scope(v, "scope") })
}

func decodeArgument[T any](data []byte, decode func(d *decoder, v node) T) (T, error) {
	root, faults := readArgument(data)
	if root == nil {
		var none T
		return none, fault.OfRequest(faults)
	}
	d := &decoder{faults: faults, hyphens: true}
	value := decode(d, *root)
	return value, fault.OfRequest(d.faults)
}

// readArgument makes a tree of an argument. What is neither JSON nor a form of
// az's gets the faults of the form that it resembles.
func readArgument(data []byte) (*node, []fault.Detail) {
	text, faults := plainText(data)
	if faults != nil {
		return nil, faults
	}
	first := bytes.TrimSpace(text)[0]
	double, single := bytes.IndexByte(text, '"') >= 0, bytes.IndexByte(text, '\'') >= 0
	if json.Valid(text) || first != '{' && first != '[' || double && !single {
		root, _, faults := readText(text)
		return root, faults
	}
	root, err := readShort(string(text))
	bad, isSyntax := errors.AsType[*shortError](err)
	switch {
	case err == nil:
		return &root, nil
	case !isSyntax || double:
		root, _, faults := readText(text)
		return root, faults
	}
	return nil, []fault.Detail{{
		Code: fault.CodeBadRequest, Target: positionOf(text, bad.at).String(),
		Message: bad.why + "; allowed: JSON, or az's shorthand such as {name:value,other:[a,b]}, with single quotes around what has a comma or a bracket in it\n" + snippet(text, bad.at),
	}}
}

// shortError is a fault of a Python literal or of az's shorthand.
type shortError struct {
	at  int // offset in the text
	why string
}

func (e *shortError) Error() string { return e.why }

// readShort reads a Python literal or az's shorthand. The two are not mixed: a
// text with words without quotes has no double quotes, which az would take for a
// part of the word, and which are rather JSON that is not complete.
func readShort(text string) (node, error) {
	r := shortReader{text: text, word: -1}
	root, err := r.value(0)
	if err != nil {
		return node{}, err
	}
	if r.space(); r.at < len(text) {
		return node{}, r.bad("nothing may follow the last bracket")
	}
	if r.word >= 0 && r.double {
		return node{}, &shortError{r.word, "a word stands without quotes among others in double quotes"}
	}
	root.short = true
	return root, nil
}

type shortReader struct {
	text   string
	at     int
	double bool // there are strings in double quotes
	word   int  // where the first word without quotes is, -1 for none
}

func (r *shortReader) bad(format string, args ...any) error {
	return &shortError{r.at, fmt.Sprintf(format, args...)}
}

func (r *shortReader) space() {
	for r.at < len(r.text) && strings.IndexByte(" \t\r\n", r.text[r.at]) >= 0 {
		r.at++
	}
}

// next is the next byte that is not white space, 0 at the end.
func (r *shortReader) next() byte {
	if r.space(); r.at < len(r.text) {
		return r.text[r.at]
	}
	return 0
}

func (r *shortReader) value(depth int) (node, error) {
	if depth > maxDepth {
		return node{}, r.bad("it is nested more than %d levels deep", maxDepth)
	}
	switch r.next() {
	case '{':
		return r.object(depth)
	case '[':
		return r.list(depth)
	case '\'', '"':
		text, err := r.quoted()
		return node{kind: kindString, text: text}, err
	}
	word, err := r.bare(",]}")
	switch word {
	case "null", "None":
		return node{kind: kindNull, text: "null"}, err
	case "true", "false", "True", "False":
	default:
		if _, nerr := strconv.ParseFloat(word, 64); nerr != nil && r.word < 0 {
			r.word = r.at - len(word)
		}
	}
	return node{kind: kindWord, text: word}, err
}

func (r *shortReader) object(depth int) (node, error) {
	n := node{kind: kindObject}
	err := r.items('}', func() error {
		var name string
		var err error
		if c := r.next(); c == '\'' || c == '"' {
			name, err = r.quoted()
		} else {
			name, err = r.bare(":,]}")
			if r.word < 0 {
				r.word = r.at - len(name)
			}
		}
		if err != nil {
			return err
		}
		if r.next() != ':' {
			return r.bad("a colon and a value are missing behind the name %s", fault.Quote(name))
		}
		r.at++
		value, err := r.value(depth + 1)
		n.members = append(n.members, member{name, value})
		return err
	})
	return n, err
}

func (r *shortReader) list(depth int) (node, error) {
	n := node{kind: kindList}
	err := r.items(']', func() error {
		item, err := r.value(depth + 1)
		n.items = append(n.items, item)
		return err
	})
	return n, err
}

// items reads what stands between brackets, separated by commas. A comma may
// follow the last one, as in Python.
func (r *shortReader) items(closing byte, read func() error) error {
	start := r.at
	r.at++
	for r.next() != closing {
		if err := read(); err != nil {
			return err
		}
		switch r.next() {
		case ',':
			r.at++
		case closing:
		case 0:
			r.at = start
			return r.bad("this bracket is not closed: %q is missing", string(closing))
		default:
			return r.bad("%s is not expected here; allowed: a comma or %q", charAt([]byte(r.text), r.at), string(closing))
		}
	}
	r.at++
	return nil
}

// bare reads a word without quotes, which ends before one of the bytes of stop.
func (r *shortReader) bare(stop string) (string, error) {
	r.space()
	rest := r.text[r.at:]
	end := strings.IndexAny(rest, stop+"{['\"")
	switch {
	case end < 0:
		end = len(rest)
	case end == 0:
		return "", r.bad("%s is not expected here; allowed: a word, a string in quotes, a list or an object", charAt([]byte(r.text), r.at))
	case strings.IndexByte(stop, rest[end]) < 0:
		r.at += end
		return "", r.bad("%s stands in a word that has no quotes", charAt([]byte(r.text), r.at))
	}
	word := strings.TrimRight(rest[:end], " \t\r\n")
	if word == "" {
		return "", r.bad("the text ends too early")
	}
	r.at += len(word)
	return word, nil
}

// quoted reads a string in single or double quotes, as Python does. In az's
// shorthand '/ within single quotes is the quote itself.
func (r *shortReader) quoted() (string, error) {
	start, quote := r.at, r.text[r.at]
	r.double = r.double || quote == '"'
	var b strings.Builder
	for i := r.at + 1; i < len(r.text); i++ {
		switch c := r.text[i]; {
		case c == quote && quote == '\'' && i+1 < len(r.text) && r.text[i+1] == '/':
			b.WriteByte(c)
			i++
		case c == quote:
			r.at = i + 1
			return b.String(), nil
		case c == '\\' && i+1 < len(r.text):
			i += r.escape(&b, r.text[i+1:])
		default:
			b.WriteByte(c)
		}
	}
	r.at = start
	return "", r.bad("this string is not closed: %s is missing at its end", string(quote))
}

// escape writes what a backslash and the text behind it stand for, and tells how
// many bytes of the text that is. A backslash before anything else is itself.
func (r *shortReader) escape(b *strings.Builder, text string) int {
	switch c := text[0]; c {
	case '\\', '\'', '"', '/':
		b.WriteByte(c)
	case 'n':
		b.WriteByte('\n')
	case 't':
		b.WriteByte('\t')
	case 'u':
		n, err := strconv.ParseUint(text[1:min(len(text), 5)], 16, 16)
		if err != nil || len(text) < 5 || !utf8.ValidRune(rune(n)) {
			b.WriteByte('\\')
			return 0
		}
		b.WriteRune(rune(n))
		return 5
	default:
		b.WriteByte('\\')
		return 0
	}
	return 1
}
