package pcapfile

import "encoding/binary"

// AppendComment appends a text as the option opt_comment, which any block may have.
func AppendComment(b []byte, text string) []byte { return appendText(b, optComment, text) }

// AddOption adds an option to the last block in b, which has options already: it goes
// before their end.
func AddOption(b, option []byte) []byte {
	const tail = 8 // the end of the options, and the length of the block
	le := binary.LittleEndian
	length := le.Uint32(b[len(b)-4:])
	start := len(b) - int(length)
	length += uint32(len(option))
	b = append(b[:len(b)-tail], option...)
	b = append(b, 0, 0, 0, 0)
	b = le.AppendUint32(b, length)
	le.PutUint32(b[start+4:], length)
	return b
}
