package hostcontext

import (
	"bytes"
	"encoding/json"
)

// encode writes a document as JSON: a socket and a counter in one line each, as there may
// be thousands.
func encode(d *Document) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	short := *d
	short.Sockets, short.Counters = nil, nil
	if err := enc.Encode(&short); err != nil {
		return nil, err
	}
	text := b.Bytes()
	var err error
	if text, err = fill(text, `"countersMoved": null`, `"countersMoved": `, d.Counters); err != nil {
		return nil, err
	}
	return fill(text, `"sockets": null`, `"sockets": `, d.Sockets)
}

// fill puts a list in the place of mark, an element in each line.
func fill[T any](text []byte, mark, name string, list []T) ([]byte, error) {
	before, after, _ := bytes.Cut(text, []byte(mark))
	var b bytes.Buffer
	b.Write(before)
	b.WriteString(name + "[")
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	for i := range list {
		if i > 0 {
			b.Truncate(b.Len() - 1) // the line feed
			b.WriteString(",")
		}
		b.WriteString("\n    ")
		if err := enc.Encode(&list[i]); err != nil {
			return nil, err
		}
	}
	if len(list) > 0 {
		b.WriteString("  ")
	}
	b.WriteString("]")
	b.Write(after)
	return b.Bytes(), nil
}
