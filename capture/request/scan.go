package request

import "strings"

// scanState is what a reader of JSON knows at a place in the text: which
// brackets are open and which token went before.
type scanState struct {
	open       []opening
	last       byte // first byte of the last token; 'w' for a number or word, '"' for a string, 0 for none
	key        bool // the last token is a member's name
	start, end int  // of the last token
	str        int  // start of the string that the place lies in, or -1
}

type opening struct {
	bracket byte
	at      int
}

// wanted is what JSON's grammar allows at a place.
type wanted uint8

const (
	wantValue   wanted = iota
	wantMember         // a member's name
	wantColon          // the colon after it
	wantNext           // a comma or the closing bracket
	wantNothing        // the value is complete
)

// scanTo reads a text up to an offset, before which it must be good JSON.
func scanTo(text []byte, to int) scanState {
	s := scanState{str: -1}
	for i := 0; i < to; {
		start, key := i, false
		c := text[i]
		switch {
		case strings.IndexByte(" \t\r\n", c) >= 0:
			i++
			continue
		case c == '"':
			for i++; i < to && text[i] != '"'; i++ {
				if text[i] == '\\' {
					i++
				}
			}
			if i >= to {
				s.str = start
				return s
			}
			key = s.want() == wantMember
			i++
		case c == '{' || c == '[':
			s.open = append(s.open, opening{c, i})
			i++
		case c == '}' || c == ']':
			s.open = s.open[:max(0, len(s.open)-1)]
			i++
		case c == ',' || c == ':':
			i++
		default:
			for i++; i < to && strings.IndexByte(" \t\r\n,:\"{}[]", text[i]) < 0; {
				i++
			}
			c = 'w'
		}
		s.last, s.key, s.start, s.end = c, key, start, i
	}
	return s
}

func (s scanState) container() byte {
	if len(s.open) == 0 {
		return 0
	}
	return s.open[len(s.open)-1].bracket
}

func (s scanState) want() wanted {
	switch {
	case s.key:
		return wantColon
	case s.container() == '{' && (s.last == '{' || s.last == ','):
		return wantMember
	case s.last == 0 || s.last == ':' || s.last == '[' || s.last == ',':
		return wantValue
	case s.container() == 0:
		return wantNothing
	default:
		return wantNext
	}
}
