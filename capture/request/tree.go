package request

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"

	"pcapctl/capture/fault"
)

// node is a JSON value with all its members in the order of the text, the
// duplicates among them, which encoding/json's own types lose.
type node struct {
	kind    kind
	text    string // of a string, unquoted; of a number, boolean or word, as written
	members []member
	items   []node
	short   bool // the text was a Python literal or az's shorthand
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
	kindWord // of az's shorthand, where only its place tells what it is
)

// String is the kind in words, with its article.
func (k kind) String() string {
	return [...]string{"null", "a boolean", "a number", "a string", "a list", "an object", "a word"}[k]
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
	case kindWord:
		return fault.Quote(n.text)
	case kindNumber, kindBool:
		return shorten(n.text) + " (" + n.kind.String() + ")"
	default:
		return n.kind.String()
	}
}
