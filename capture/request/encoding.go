package request

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unicode/utf16"
	"unicode/utf8"

	"pcapctl/capture/fault"
)

// The byte order marks that a text may begin with. Windows editors write one
// before UTF-8 (RFC 8259, section 8.1, lets a reader ignore it); the `>` of
// PowerShell 5.1 writes UTF-16.
var (
	markUTF8    = []byte("\xef\xbb\xbf")
	markUTF16LE = []byte("\xff\xfe")
	markUTF16BE = []byte("\xfe\xff")
)

// plainText gives a text as UTF-8 without a byte order mark, or what is wrong
// with it.
func plainText(data []byte) ([]byte, []fault.Detail) {
	if len(data) > MaxBody {
		return nil, badText("the request has more than the %d bytes (1 MiB) that are allowed", MaxBody)
	}
	switch {
	case bytes.HasPrefix(data, markUTF8):
		data = data[len(markUTF8):]
	case bytes.HasPrefix(data, markUTF16LE), bytes.HasPrefix(data, markUTF16BE):
		text, ok := fromUTF16(data)
		if !ok {
			return nil, badText("the request begins as UTF-16 text and is not valid UTF-16: save it as UTF-8")
		}
		data = text
	case len(data) > 1 && (data[0] == 0) != (data[1] == 0): // an ASCII character of two bytes
		return nil, badText("the request is UTF-16 text without a byte order mark: save it as UTF-8")
	}
	switch {
	case !utf8.Valid(data):
		return nil, []fault.Detail{badUTF8(data)}
	case len(bytes.TrimSpace(data)) == 0:
		return nil, badText("the request is empty; a request is a JSON object that begins with {\"properties\":")
	}
	return data, nil
}

func badText(format string, args ...any) []fault.Detail {
	return []fault.Detail{{Code: fault.CodeBadRequest, Message: fmt.Sprintf(format, args...)}}
}

// fromUTF16 reads UTF-16 that begins with a byte order mark.
func fromUTF16(data []byte) (text []byte, ok bool) {
	var order binary.ByteOrder = binary.LittleEndian
	if data[0] == markUTF16BE[0] {
		order = binary.BigEndian
	}
	if len(data)%2 != 0 {
		return nil, false
	}
	units := make([]uint16, 0, len(data)/2-1)
	for at := 2; at < len(data); at += 2 {
		units = append(units, order.Uint16(data[at:]))
	}
	for i := 0; i < len(units); i++ {
		r := rune(units[i])
		if utf16.IsSurrogate(r) {
			if i+1 == len(units) || utf16.DecodeRune(r, rune(units[i+1])) == utf8.RuneError {
				return nil, false
			}
			r = utf16.DecodeRune(r, rune(units[i+1]))
			i++
		}
		text = utf8.AppendRune(text, r)
	}
	return text, true
}

func badUTF8(data []byte) fault.Detail {
	at := 0
	for at < len(data) {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return fault.Detail{
		Code: fault.CodeBadRequest, Target: positionOf(data, at).String(),
		Message: fmt.Sprintf("byte 0x%02x is not UTF-8: save the request as UTF-8\n%s", data[at], snippet(data, at)),
	}
}
