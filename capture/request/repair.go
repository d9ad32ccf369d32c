package request

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"

	"pcapctl/capture/fault"
)

// maxRounds bounds how many syntax faults are reported of one request. Each
// costs a pass over the text.
const maxRounds = 20

// finding is one syntax fault: where it is, what to say, and the change that
// fixes it, nil when the text cannot be read on from there.
type finding struct {
	at      int // offset in the text being repaired
	message string
	fix     *edit
}

// edit replaces text[from:to].
type edit struct {
	from, to int
	with     string
}

// patched is a copy of a request under repair. origin maps each of its bytes,
// and its end, to the text as it was given, where people look for the fault.
type patched struct {
	text   []byte
	origin []int
}

func (p *patched) apply(e edit) {
	origin := make([]int, len(e.with))
	for i := range origin {
		origin[i] = p.origin[min(e.from+i, e.to)]
	}
	p.text = append(append(append([]byte(nil), p.text[:e.from]...), e.with...), p.text[e.to:]...)
	p.origin = append(append(append([]int(nil), p.origin[:e.from]...), origin...), p.origin[e.to:]...)
}

// repair finds the syntax faults of a text: encoding/json finds one, diagnose
// says what it is, its fix is applied to a copy, and so on. The text it gives
// back is valid JSON, nil when a fault was not understood; then what follows
// that fault was not looked at. The notes are about what was read although it is
// not JSON.
func repair(text []byte) (fixed []byte, notes []string, faults []fault.Detail) {
	if json.Valid(text) {
		return text, nil, nil
	}
	p, changed := plainQuotes(text)
	if changed {
		notes = []string{noteQuotes}
	}
	if json.Valid(p.text) {
		return p.text, notes, nil
	}
	for range maxRounds {
		f := diagnose(p.text, faultOffset(p.text))
		at := p.origin[f.at]
		if end := len(bytes.TrimRight(text, " \t\r\n")); end > 0 {
			at = min(at, end) // not in the empty line that a file ends with
		}
		faults = append(faults, fault.Detail{
			Code: fault.CodeBadRequest, Target: positionOf(text, at).String(),
			Message: f.message + "\n" + snippet(text, at),
		})
		if f.fix == nil {
			return nil, notes, faults
		}
		p.apply(*f.fix)
		if json.Valid(p.text) {
			return p.text, notes, faults
		}
	}
	return nil, notes, faults
}

// faultOffset is the index of the byte that a text stops being JSON at, its
// length when more of it could make it JSON. encoding/json counts the bad byte
// into Offset, but does not say whether the fault is the last byte or the end of
// the text. A NUL, which JSON has nowhere, makes the end a bad byte, too.
func faultOffset(text []byte) int {
	err := json.Unmarshal(append(slices.Clip(text), 0), new(json.RawMessage))
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return min(max(int(syntax.Offset)-1, 0), len(text))
	}
	return len(text)
}
