package request

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"pcapctl/capture/fault"
)

// maxRounds bounds how many syntax faults one request is told of. Each costs
// a pass over the text.
const maxRounds = 20

// finding is one syntax fault: where it is, what to say, and the change that
// cures it, nil when the text cannot be read on from there.
type finding struct {
	at      int // offset in the text being repaired
	message string
	cure    *edit
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

func newPatched(text []byte) *patched {
	p := &patched{text: text, origin: make([]int, len(text)+1)}
	for i := range p.origin {
		p.origin[i] = i
	}
	return p
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
// says what it is, its cure is applied to a copy, and so on. The text it gives
// back is valid JSON, nil when a fault was not understood; then what follows
// that fault was not looked at.
func repair(text []byte) ([]byte, []fault.Detail) {
	if json.Valid(text) {
		return text, nil
	}
	var faults []fault.Detail
	p := newPatched(text)
	for range maxRounds {
		f := diagnose(p.text, faultOffset(p.text))
		at := p.origin[f.at]
		faults = append(faults, fault.Detail{
			Code: fault.CodeBadRequest, Target: positionOf(text, at).String(),
			Message: f.message + "\n" + snippet(text, at),
		})
		if f.cure == nil {
			return nil, faults
		}
		p.apply(*f.cure)
		if json.Valid(p.text) {
			return p.text, faults
		}
	}
	return nil, faults
}

// faultOffset is the index of the byte that a text stops being JSON at, its
// length when more of it could make it JSON. encoding/json counts the bad byte
// into Offset, but cannot tell whether it is the last byte or the end that it
// stumbled over. A NUL, which JSON has nowhere, makes the end a bad byte, too.
func faultOffset(text []byte) int {
	err := json.Unmarshal(append(slices.Clip(text), 0), new(json.RawMessage))
	if syntax, ok := errors.AsType[*json.SyntaxError](err); ok {
		return min(max(int(syntax.Offset)-1, 0), len(text))
	}
	return len(text)
}

// diagnose says what is wrong at an offset of a text that is good up to there.
func diagnose(text []byte, at int) finding {
	s := scanTo(text, at)
	switch {
	case len(s.open) > maxDepth:
		return finding{at: at, message: fmt.Sprintf("the request is nested more than %d levels deep", maxDepth)}
	case s.str >= 0:
		return s.inString(text, at)
	case at == len(text):
		return s.tooShort(text, at)
	}
	for _, look := range []func(scanState, []byte, int) (finding, bool){
		scanState.comment, scanState.quote, scanState.comma, scanState.word, scanState.bracket,
	} {
		if f, ok := look(s, text, at); ok {
			return f
		}
	}
	return finding{at: at, message: fmt.Sprintf("%s is not expected here; allowed: %s", charAt(text, at), s.expected())}
}

// expected says in words what JSON allows at the place.
func (s scanState) expected() string {
	switch s.want() {
	case wantMember:
		return `a member's name in double quotes, or "}"`
	case wantColon:
		return `":" and the member's value`
	case wantValue:
		if s.container() == '[' {
			return `a value, or "]"`
		}
		return "a value: an object, a list, a string in double quotes, a number, true, false or null"
	case wantNext:
		if s.container() == '[' {
			return `"," and another value, or "]"`
		}
		return `"," and another member, or "}"`
	default:
		return "nothing, the request ends before it"
	}
}

// inString deals with backslashes and line ends inside a string.
func (s scanState) inString(text []byte, at int) finding {
	end, closed := literalEnd(text, s.str)
	slash := at - 1
	for slash > s.str && slash > at-6 && text[slash] != '\\' {
		slash--
	}
	if at < len(text) && text[at] >= ' ' && text[slash] == '\\' || closed && hasQuotedEnd(text[s.str:end]) {
		if slash <= s.str || text[slash] != '\\' {
			slash = s.str + strings.IndexByte(string(text[s.str:end]), '\\')
		}
		if !closed {
			return finding{at: slash, message: `a backslash in a JSON string is written twice (\\), and this string is not closed on its line: a " is missing`}
		}
		fixed := doubleBackslashes(string(text[s.str:end]))
		return finding{
			at: slash, message: "a backslash in a JSON string is written twice: write " + shorten(fixed),
			cure: &edit{s.str, end, fixed},
		}
	}
	if at < len(text) && text[at] != '\n' && text[at] != '\r' {
		return finding{
			at: at, message: fmt.Sprintf("a control character (U+%04X) may not stand in a string as it is: leave it out, or write \\u%04x", text[at], text[at]),
			cure: &edit{at, at + 1, fmt.Sprintf(`\u%04x`, text[at])},
		}
	}
	return finding{at: s.str, message: `this string is not closed on its line: a " is missing at its end`}
}

// literalEnd is where a string literal ends that may have single backslashes:
// by JSON's rules if what follows that quote can follow a string. Otherwise the
// last backslash of "C:\x\" has swallowed the quote, and the literal ends at
// the first quote of its line that has what follows a value behind it.
func literalEnd(text []byte, start int) (end int, closed bool) {
	line := text[start:]
	if i := bytes.IndexByte(line, '\n'); i >= 0 {
		line = line[:i]
	}
	byRule := -1
	for i := 1; i < len(line) && byRule < 0; i++ {
		switch line[i] {
		case '\\':
			i++
		case '"':
			byRule = i + 1
		}
	}
	if byRule > 0 && followsString(line[byRule:], ",:}]\"") {
		return start + byRule, true
	}
	for i := 1; i < len(line); i++ {
		if line[i] == '"' && followsString(line[i+1:], ",:}]") {
			return start + i + 1, true
		}
	}
	if byRule > 0 {
		return start + byRule, true
	}
	return len(text), false
}

// followsString tells whether the rest of a line begins as what may stand
// behind a string.
func followsString(rest []byte, allowed string) bool {
	rest = bytes.TrimLeft(rest, " \t\r")
	return len(rest) == 0 || strings.IndexByte(allowed, rest[0]) >= 0
}

// hasQuotedEnd tells whether a literal ends in an odd number of backslashes
// and the quote, so that JSON takes the quote for a part of the string.
func hasQuotedEnd(literal []byte) bool {
	body := strings.TrimSuffix(string(literal), `"`)
	return (len(body)-len(strings.TrimRight(body, `\`)))%2 == 1
}

// doubleBackslashes writes a literal as it was meant. What is doubled already
// and a quoted quote within stay as they are.
func doubleBackslashes(literal string) string {
	body := literal[1 : len(literal)-1]
	var b strings.Builder
	b.WriteByte('"')
	for i := 0; i < len(body); i++ {
		if body[i] != '\\' {
			b.WriteByte(body[i])
			continue
		}
		b.WriteByte('\\')
		if i+1 < len(body) && (body[i+1] == '\\' || body[i+1] == '"') {
			i++
			b.WriteByte(body[i])
		} else {
			b.WriteByte('\\')
		}
	}
	b.WriteByte('"')
	return b.String()
}

func (s scanState) tooShort(text []byte, at int) finding {
	switch {
	case len(s.open) > 0:
		o := s.open[len(s.open)-1]
		return finding{at: at, message: fmt.Sprintf("the text ends too early: the %q of %s is not closed",
			string(o.bracket), positionOf(text, o.at))}
	case s.last == 0:
		return finding{at: at, message: "there is no request in the text"}
	default:
		return finding{at: at, message: fmt.Sprintf("the text ends in the middle of %s", shorten(string(text[s.start:at])))}
	}
}

func (s scanState) comment(text []byte, at int) (finding, bool) {
	rest := string(text[at:])
	var end int
	switch {
	case strings.HasPrefix(rest, "//"), strings.HasPrefix(rest, "#"):
		end = strings.IndexByte(rest+"\n", '\n')
	case strings.HasPrefix(rest, "/*"):
		if end = strings.Index(rest, "*/"); end >= 0 {
			end += len("*/")
		}
	default:
		return finding{}, false
	}
	f := finding{at: at, message: "JSON has no comments: take it out"}
	if end >= 0 {
		f.cure = &edit{at, at + end, ""}
	}
	return f, true
}

// quote recognises quotes that JSON does not have.
func (s scanState) quote(text []byte, at int) (finding, bool) {
	r, _ := utf8.DecodeRune(text[at:])
	switch r {
	case '\'':
		return finding{at: at, message: `a single quote: JSON writes strings and names in double quotes (")`}, true
	case '`':
		return finding{at: at, message: `a backquote: JSON writes strings and names in double quotes (")`}, true
	case '“', '”', '„', '‟', '‘', '’', '‚', '«', '»', '″':
		return finding{at: at, message: fmt.Sprintf(`%c is a typographic quote, as word processors and web pages make them: write the plain "`, r)}, true
	}
	return finding{}, false
}

// comma recognises commas and colons that are missing or too many.
func (s scanState) comma(text []byte, at int) (finding, bool) {
	c := text[at]
	want := s.want()
	switch {
	case (c == '}' || c == ']') && s.last == ',':
		return finding{
			at: s.start, message: fmt.Sprintf("a comma before the closing %q: nothing follows it, remove this comma", string(c)),
			cure: &edit{s.start, s.end, ""},
		}, true
	case c == ',' && (want == wantMember || want == wantValue) && len(s.open) > 0:
		return finding{at: at, message: "a comma too many: nothing stands before it, remove this comma", cure: &edit{at, at + 1, ""}}, true
	case want == wantNext && s.container() == '{' && c == '"':
		end, _ := literalEnd(text, at)
		return finding{
			at: s.end, message: fmt.Sprintf("a comma is missing between two members: write a comma here, before %s", shorten(string(text[at:end]))),
			cure: &edit{s.end, s.end, ","},
		}, true
	case want == wantNext && s.container() == '[' && (c == '"' || c == '{' || c == '[') && s.end <= at:
		return finding{at: s.end, message: "a comma is missing between two values of a list: write a comma here", cure: &edit{s.end, s.end, ","}}, true
	case want == wantNext && c == ';':
		return finding{at: at, message: "a semicolon: JSON parts members and values by commas", cure: &edit{at, at + 1, ","}}, true
	case want == wantColon && c == '=':
		return finding{at: at, message: `an equals sign: JSON writes "name": value`, cure: &edit{at, at + 1, ":"}}, true
	case want == wantColon && (c == '"' || c == '{' || c == '['):
		return finding{at: s.end, message: fmt.Sprintf("a colon is missing between the name %s and its value", shorten(string(text[s.start:s.end]))), cure: &edit{s.end, s.end, ":"}}, true
	}
	return finding{}, false
}

// word recognises what stands without quotes: names, True and None, numbers
// in a form that JSON does not have.
func (s scanState) word(text []byte, at int) (finding, bool) {
	start, end := at, at
	for end < len(text) && strings.IndexByte(" \t\r\n,:;=\"'{}[]/#", text[end]) < 0 {
		end++
	}
	if s.last == 'w' && s.end == at && (end > at || !json.Valid(text[s.start:at])) {
		start = s.start // it began well and goes on wrong, or stops too early
	}
	if start == end {
		return finding{}, false
	}
	word := string(text[start:end])
	first, _ := utf8.DecodeRuneInString(word)
	literal := map[string]string{"true": "true", "false": "false", "null": "null", "none": "null", "nil": "null", "undefined": "null"}
	value := start != at || s.want() == wantValue
	fix, known := literal[strings.ToLower(word)]
	switch {
	case value && known && len(s.open) > 0:
		return finding{at: start, message: fmt.Sprintf("%s is not JSON: write %s", word, fix), cure: &edit{start, end, fix}}, true
	case value && strings.ContainsRune("+-.0123456789", first):
		return finding{at: start, message: fmt.Sprintf("%s is no JSON number: write decimal digits alone, such as 40, without a leading zero, unit or separator", fault.Quote(word))}, true
	case value && len(s.open) == 0:
		return finding{at: start, message: `this is no JSON: a request begins with "{"`}, true
	case value:
		return finding{at: start, message: fmt.Sprintf("%s stands without quotes: write %s", fault.Quote(word), shorten(`"`+word+`"`))}, true
	case s.want() == wantMember && unicode.IsLetter(first):
		return finding{at: start, message: fmt.Sprintf("a member's name stands in double quotes: write %s", shorten(`"`+word+`"`))}, true
	}
	return finding{}, false
}

// bracket recognises brackets that do not pair, and what follows the request.
func (s scanState) bracket(text []byte, at int) (finding, bool) {
	c := text[at]
	if s.want() == wantNothing {
		return finding{
			at: at, message: fmt.Sprintf("the request ends before this %s: nothing may follow it, take the rest out", charAt(text, at)),
			cure: &edit{at, len(text), ""},
		}, true
	}
	if len(s.open) > 0 && (c == '}' || c == ']') && s.want() == wantNext {
		o := s.open[len(s.open)-1]
		return finding{at: at, message: fmt.Sprintf("%q does not close the %q of %s: one of the two is missing its counterpart",
			string(c), string(o.bracket), positionOf(text, o.at))}, true
	}
	return finding{}, false
}

func charAt(text []byte, at int) string {
	r, _ := utf8.DecodeRune(text[at:])
	if !unicode.IsPrint(r) || r == utf8.RuneError {
		return fmt.Sprintf("U+%04X", r)
	}
	return fmt.Sprintf("%q", string(r))
}

// shorten is show without the quotes, for a piece of JSON.
func shorten(literal string) string {
	s := fault.Quote(literal)
	return s[1 : len(s)-1]
}
