package request

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"pcapctl/capture/fault"
)

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
		f.fix = &edit{at, at + end, ""}
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
			fix: &edit{s.start, s.end, ""},
		}, true
	case c == ',' && (want == wantMember || want == wantValue) && len(s.open) > 0:
		return finding{at: at, message: "a comma too many: nothing stands before it, remove this comma", fix: &edit{at, at + 1, ""}}, true
	case want == wantNext && s.container() == '{' && c == '"':
		end, _ := literalEnd(text, at)
		return finding{
			at: s.end, message: fmt.Sprintf("a comma is missing between two members: write a comma here, before %s", shorten(string(text[at:end]))),
			fix: &edit{s.end, s.end, ","},
		}, true
	case want == wantNext && s.container() == '[' && (c == '"' || c == '{' || c == '[') && s.end <= at:
		return finding{at: s.end, message: "a comma is missing between two values of a list: write a comma here", fix: &edit{s.end, s.end, ","}}, true
	case want == wantNext && c == ';':
		return finding{at: at, message: "a semicolon: JSON separates members and values by commas", fix: &edit{at, at + 1, ","}}, true
	case want == wantColon && c == '=':
		return finding{at: at, message: `an equals sign: JSON writes "name": value`, fix: &edit{at, at + 1, ":"}}, true
	case want == wantColon && (c == '"' || c == '{' || c == '['):
		return finding{at: s.end, message: fmt.Sprintf("a colon is missing between the name %s and its value", shorten(string(text[s.start:s.end]))), fix: &edit{s.end, s.end, ":"}}, true
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
	plain, known := literal[strings.ToLower(word)]
	switch {
	case value && known && len(s.open) > 0:
		return finding{at: start, message: fmt.Sprintf("%s is not JSON: write %s", word, plain), fix: &edit{start, end, plain}}, true
	case value && strings.ContainsRune("+-.0123456789", first):
		return finding{at: start, message: fmt.Sprintf("%s is not a valid JSON number: write decimal digits alone, such as 40, without a leading zero, unit or separator", fault.Quote(word))}, true
	case value && len(s.open) == 0:
		return finding{at: start, message: `this is not JSON: a request begins with "{"`}, true
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
			fix: &edit{at, len(text), ""},
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

// shorten is fault.Quote without the quotes, for a piece of JSON.
func shorten(literal string) string {
	s := fault.Quote(literal)
	return s[1 : len(s)-1]
}
