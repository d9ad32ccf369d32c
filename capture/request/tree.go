package request

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"pcapctl/capture/fault"
)

// node is a JSON value with all its members in the order of the text, the
// duplicates among them, which encoding/json's own types lose.
type node struct {
	kind    kind
	text    string // of a string, unquoted; of a number or boolean, as written
	members []member
	items   []node
}

type member struct {
	name  string
	value node
}

type kind uint8

const (
	kindNull kind = iota
	kindBool
	kindNumber
	kindString
	kindList
	kindObject
)

// String is the kind in words, with its article.
func (k kind) String() string {
	return [...]string{"null", "a boolean", "a number", "a string", "a list", "an object"}[k]
}

// parseTree reads a text that is valid JSON.
func parseTree(text []byte) (node, error) {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	root, err := parseNode(dec, 0)
	if err != nil {
		return node{}, err
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return node{}, errors.New("the request is followed by something else")
	}
	return root, nil
}

func parseNode(dec *json.Decoder, depth int) (node, error) {
	tok, err := dec.Token()
	if err != nil {
		return node{}, err
	}
	if depth > maxDepth {
		return node{}, fmt.Errorf("the request is nested more than %d levels deep", maxDepth)
	}
	switch tok := tok.(type) {
	case json.Delim:
		if tok == '{' {
			return parseObject(dec, depth)
		}
		return parseList(dec, depth)
	case string:
		return node{kind: kindString, text: tok}, nil
	case json.Number:
		return node{kind: kindNumber, text: tok.String()}, nil
	case bool:
		return node{kind: kindBool, text: strconv.FormatBool(tok)}, nil
	default:
		return node{kind: kindNull, text: "null"}, nil
	}
}

func parseObject(dec *json.Decoder, depth int) (node, error) {
	n := node{kind: kindObject}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return node{}, err
		}
		value, err := parseNode(dec, depth+1)
		if err != nil {
			return node{}, err
		}
		name, _ := key.(string) // the grammar has nothing else there
		n.members = append(n.members, member{name, value})
	}
	_, err := dec.Token()
	return n, err
}

func parseList(dec *json.Decoder, depth int) (node, error) {
	n := node{kind: kindList}
	for dec.More() {
		item, err := parseNode(dec, depth+1)
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, item)
	}
	_, err := dec.Token()
	return n, err
}

// String is what messages call the value: itself where that is short.
func (n node) String() string {
	switch n.kind {
	case kindString:
		return fault.Quote(n.text) + " (a string)"
	case kindNumber, kindBool:
		return shorten(n.text) + " (" + n.kind.String() + ")"
	default:
		return n.kind.String()
	}
}

// wrongType says what was given and what is allowed.
func (d *decoder) wrongType(v node, path, allowed string) {
	if path == "" {
		d.fault(path, "the request is %s; allowed: %s", v, allowed)
		return
	}
	d.fault(path, "%s is given; allowed: %s", v, allowed)
}

// object visits the known members of an object that are not null, and faults
// everything else about it. It reports whether there was an object.
func (d *decoder) object(v node, path, level string, visit func(name, path string, v node)) bool {
	if v.kind == kindNull && path != "" {
		return false
	}
	if v.kind != kindObject {
		d.wrongType(v, path, "an object, with the members "+strings.Join(memberNames[level], ", "))
		return false
	}
	known := slices.Concat(memberNames[level], outputOnly[level])
	seen := map[string]string{}
	for _, m := range v.members {
		at := joinPath(path, m.name)
		folded := strings.ToLower(m.name)
		if first, twice := seen[folded]; twice {
			d.duplicate(at, first, m.name)
			continue
		}
		seen[folded] = m.name
		i := slices.IndexFunc(known, func(k string) bool { return sameName(k, m.name) })
		switch {
		case i < 0:
			d.unknown(at, m.name, level)
		case i < len(memberNames[level]) && m.value.kind != kindNull:
			visit(known[i], joinPath(path, known[i]), m.value)
		}
	}
	return true
}

func (d *decoder) duplicate(path, first, second string) {
	if first == second {
		d.fault(path, "the member %s is given twice: keep one of them", fault.Quote(second))
		return
	}
	d.fault(path, "the member %s is given already as %s, and letter case does not count: keep one of them", fault.Quote(second), fault.Quote(first))
}

func (d *decoder) unknown(path, name, level string) {
	const opening = "there is no member %s here"
	// A known name in the wrong place is told its place before anything is
	// guessed.
	for _, other := range []string{"", "properties", "storageLocation", "filters", "captureSettings", "scope"} {
		if other != level && slices.ContainsFunc(memberNames[other], func(k string) bool { return sameName(k, name) }) {
			d.fault(path, opening+"; it belongs %s", fault.Quote(name), homes[other])
			return
		}
	}
	if near := fault.Nearest(name, memberNames[level]); near != "" {
		d.fault(path, opening+"; the nearest known is %q", fault.Quote(name), near)
		return
	}
	d.fault(path, opening+"; known are %s", fault.Quote(name), strings.Join(memberNames[level], ", "))
}

// homes say where the members of a level belong.
var homes = map[string]string{
	"":                `at the top, beside "properties"`,
	"properties":      `within "properties"`,
	"scope":           `within "properties.scope"`,
	"storageLocation": `within "properties.storageLocation"`,
	"filters":         `within an object of the list "properties.filters"`,
	"captureSettings": `within "properties.captureSettings"`,
}

// list visits the items of a list. It reports whether there was a list.
func (d *decoder) list(v node, path, what string, visit func(path string, v node)) bool {
	switch v.kind {
	case kindNull:
		return false
	case kindList:
	default:
		hint := ""
		if v.kind == kindObject && what == "filters" {
			hint = ": put the object in brackets, [{…}]"
		}
		d.wrongType(v, path, "a list of "+what+hint)
		return false
	}
	for i, item := range v.items {
		at := fmt.Sprintf("%s[%d]", path, i)
		if item.kind == kindNull {
			d.wrongType(item, at, "one of the "+what+", or nothing at all")
			continue
		}
		visit(at, item)
	}
	return true
}

func (d *decoder) text(v node, path string) *string {
	switch v.kind {
	case kindString:
		return &v.text
	case kindNumber, kindBool:
		d.wrongType(v, path, fmt.Sprintf("a string: write %q", v.text))
	default:
		d.wrongType(v, path, "a string")
	}
	return nil
}

func (d *decoder) texts(v node, path string) []string {
	texts := []string{}
	d.list(v, path, "strings", func(path string, v node) {
		if s := d.text(v, path); s != nil {
			texts = append(texts, *s)
		}
	})
	return texts
}

// truth reads a boolean. Something else that is not null makes false with a
// fault: what switches the mode is that the member is there, and the faults of
// the other mode would only mislead.
func (d *decoder) truth(v node, path string) *bool {
	b := v.text == "true"
	if v.kind != kindBool {
		d.wrongType(v, path, "true, false (without quotes) or null")
	}
	return &b
}

// jsonNumber takes a number apart: sign, digits before the point, digits
// behind it, exponent (RFC 8259, section 6).
var jsonNumber = pattern(`^(-?)(0|[1-9][0-9]*)(?:\.([0-9]+))?(?:[eE]([+-]?[0-9]+))?$`)

// integer reads a whole number, also from a string, as clients in the wild send
// both. 1e3 and 40.0 are whole numbers; JSON knows no other kind.
func (d *decoder) integer(v node, path string, b bounds) *int64 {
	if v.kind != kindNumber && v.kind != kindString {
		d.wrongType(v, path, "a whole number, "+b.String())
		return nil
	}
	parts := jsonNumber().FindStringSubmatch(strings.TrimSpace(v.text))
	if parts == nil {
		d.wrongType(v, path, "a whole number in decimal digits, "+b.String())
		return nil
	}
	n, err := wholeNumber(parts[1], parts[2], parts[3], parts[4])
	switch {
	case errors.Is(err, errNotWhole):
		d.wrongType(v, path, "a whole number, "+b.String())
		return nil
	case err != nil:
		d.fault(path, "%s is out of range; allowed: %s", v, b)
		return nil
	}
	return &n
}

var (
	errNotWhole = errors.New("not a whole number")
	errTooLarge = errors.New("too large a number")
)

// wholeNumber computes sign·whole.fraction·10^exponent without ever rounding,
// and without building what an exponent of a million would ask for.
func wholeNumber(sign, whole, fraction, exponent string) (int64, error) {
	digits := strings.TrimLeft(whole+fraction, "0")
	point := len(whole) - (len(whole+fraction) - len(digits)) // digits before the point
	digits = strings.TrimRight(digits, "0")
	if digits == "" {
		return 0, nil
	}
	shift := 0
	if exponent != "" {
		var err error
		if shift, err = strconv.Atoi(exponent); err != nil {
			// Out of int's range: as good as infinite in its direction.
			shift = math.MaxInt32
			if exponent[0] == '-' {
				shift = -math.MaxInt32
			}
		}
		shift = min(max(shift, -math.MaxInt32), math.MaxInt32)
	}
	point += shift
	switch {
	case point < len(digits):
		return 0, errNotWhole
	case point > len("9223372036854775807"):
		return 0, errTooLarge
	}
	n, err := strconv.ParseInt(sign+digits+strings.Repeat("0", point-len(digits)), 10, 64)
	if err != nil {
		return 0, errTooLarge
	}
	return n, nil
}

// plainName is a member's name that needs no quotes in a path.
var plainName = pattern(`^[A-Za-z_$][A-Za-z0-9_$-]{0,63}$`)

func joinPath(path, name string) string {
	switch {
	case !plainName().MatchString(name):
		return path + "[" + fault.Quote(name) + "]"
	case path == "":
		return name
	default:
		return path + "." + name
	}
}
