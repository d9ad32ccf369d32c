package request

import "bytes"

// noteQuotes is the note about a text whose strings stand in single quotes.
const noteQuotes = "the request has strings in single quotes, as the service's own how-to prints them; JSON has double quotes, and they were read as such"

// plainQuotes gives a text in which the strings in single quotes have double
// ones, and whether there were any. A quote that does not begin a string, or has
// no counterpart on its line, stays as it is.
func plainQuotes(text []byte) (_ *patched, changed bool) {
	p := &patched{text: make([]byte, 0, len(text)), origin: make([]int, 0, len(text)+1)}
	keep := func(from, to int) {
		for ; from < to; from++ {
			p.text, p.origin = append(p.text, text[from]), append(p.origin, from)
		}
	}
	for at := 0; at < len(text); {
		end := at + 1
		switch c := text[at]; {
		case c == '"':
			end = quotedEnd(text, at)
			keep(at, end)
		case c == '\'' && isString(text, at):
			end = quotedEnd(text, at)
			p.quote(text, at, end)
			changed = true
		default:
			keep(at, end)
		}
		at = end
	}
	p.origin = append(p.origin, len(text))
	return p, changed
}

// quote appends the string text[from:to] with double quotes around it.
func (p *patched) quote(text []byte, from, to int) {
	add := func(at int, with ...byte) {
		for _, c := range with {
			p.text, p.origin = append(p.text, c), append(p.origin, at)
		}
	}
	add(from, '"')
	for at := from + 1; at < to-1; at++ {
		switch c := text[at]; {
		case c == '\\' && text[at+1] == '\'': // needs no backslash between double quotes
			at++
			add(at, '\'')
		case c == '\\' && at+2 < to:
			add(at, c, text[at+1])
			at++
		case c == '"':
			add(at, '\\', c)
		default:
			add(at, c)
		}
	}
	add(to-1, '"')
}

// quotedEnd is where the string ends whose quote stands at an offset: behind the
// same quote on the same line, else at the end of the line.
func quotedEnd(text []byte, at int) int {
	for i := at + 1; i < len(text); i++ {
		switch text[i] {
		case text[at]:
			return i + 1
		case '\\':
			i++
		case '\n':
			return i
		}
	}
	return len(text)
}

// isString tells whether a single quote begins a string: nothing that could be
// a word stands before it, it has its counterpart, and what follows that can
// follow a string, also where a comma is missing.
func isString(text []byte, at int) bool {
	end := quotedEnd(text, at)
	if end < at+2 || text[end-1] != '\'' || at > 0 && bytes.IndexByte([]byte(" \t\r\n{[,:"), text[at-1]) < 0 {
		return false
	}
	return followsString(bytes.TrimLeft(text[end:], " \t\r\n"), ",:}]'\"")
}
