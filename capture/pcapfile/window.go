package pcapfile

import (
	"errors"
	"fmt"
	"io"
)

// Pieces gives the bytes of a file, one piece after the other, in memory of its own.
type Pieces interface {
	// Next gives what follows, with rest in front of it: what was given last and is still needed, up to
	// MaxRest bytes. Whatever else was given before is not valid any more. Without an
	// error there is at least one byte behind rest; with one nothing follows. At the end of the file it is
	// io.EOF.
	Next(rest []byte) (piece []byte, err error)
}

// MaxRest is how many bytes a Reader asks to be given again at the most.
const MaxRest = 64 << 10

// PiecesOf is the pieces of what is read by the calls of Next.
func PiecesOf(in io.Reader) Pieces { return &streamed{in: in} }

// streamed is the pieces of an io.Reader.
type streamed struct {
	in     io.Reader
	memory []byte
	end    int // of what was given, in memory
}

// pieceSize is how many bytes are asked for at once, at least; twice as many are where nothing has to be given
// again. More would push what was read out of the processor's cache before it is looked at.
const pieceSize = 64 << 10

// idleReads is how often an io.Reader may give nothing in a row.
const idleReads = 100

// Next implements Pieces.
func (s *streamed) Next(rest []byte) ([]byte, error) {
	if s.memory == nil {
		s.memory = make([]byte, MaxRest+pieceSize)
	}
	start := s.end - len(rest)
	if len(s.memory)-s.end < MaxRest { // else the rest stays where it is: a pipe may give byte after byte
		start, s.end = 0, copy(s.memory, rest)
	}
	for range idleReads {
		n, err := s.in.Read(s.memory[s.end:])
		if n > 0 || err != nil {
			s.end += n
			return s.memory[start:s.end], err
		}
	}
	return s.memory[start:s.end], io.ErrNoProgress
}

// want has at least n bytes in the window, which are not more than MaxRest, unless the file ends
// before. Its error is then that of the file, and the window has what is left.
func (r *Reader) want(n int) error {
	for len(r.window) < n {
		if r.here {
			return errNotHere
		}
		if r.ended != nil {
			return r.ended
		}
		r.window, r.ended = r.in.Next(r.window)
	}
	return nil
}

// take is the next n bytes, which are in the window. Nothing is behind them that could be
// written over.
func (r *Reader) take(n int) []byte {
	b := r.window[:n:n]
	r.window = r.window[n:]
	r.offset += int64(n)
	return b
}

// fill reads all of b, which may have any length. what is named when the file ends before that.
func (r *Reader) fill(b []byte, what string) error {
	for {
		b = b[copy(b, r.take(min(len(b), len(r.window)))):]
		if len(b) == 0 {
			return nil
		}
		if err := r.want(1); err != nil {
			return r.cutShort(err, what)
		}
	}
}

// skip passes over n bytes.
func (r *Reader) skip(n uint32, what string) error {
	for {
		n -= uint32(len(r.take(int(min(uint64(n), uint64(len(r.window)))))))
		if n == 0 {
			return nil
		}
		if err := r.want(1); err != nil {
			return r.cutShort(err, what)
		}
	}
}

// part is the next n bytes of what began at r.at: in the window, or, if they are many, in other
// memory with room for some more. They are valid until the next call of Next.
func (r *Reader) part(n, more int, what string) ([]byte, error) {
	if n > MaxRest {
		if r.here {
			return nil, errNotHere
		}
		b := r.memory(n + more)[:n]
		return b, r.fill(b, what)
	}
	if len(r.window) < n {
		if err := r.want(n); err != nil {
			r.offset += int64(len(r.window))
			return nil, r.cutShort(err, what)
		}
	}
	return r.take(n), nil
}

// memory is n bytes beside the window.
func (r *Reader) memory(n int) []byte {
	if n > cap(r.data) {
		// Not less than is common, so that this is not done for every packet
		// that is a little longer than those before.
		r.data = make([]byte, max(n, min(2*n, maxPacketBlock+closing)))
	}
	return r.data[:n]
}

// begin reads the first n bytes of a record or block. Its error is io.EOF when the file ends before its
// first byte.
func (r *Reader) begin(n int, what string) ([]byte, error) {
	r.at = r.offset
	if len(r.window) < n {
		if err := r.want(1); err != nil {
			return nil, err
		}
	}
	return r.part(n, 0, what)
}

// cutShort is a file that ends within something, at r.offset, or cannot be read further.
func (r *Reader) cutShort(err error, what string) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return r.malformed("the file is cut short: it ends at byte %d, within %s that begins here", r.offset, what)
	}
	return err
}

func (r *Reader) malformed(format string, args ...any) error {
	return &FormatError{Offset: r.at, Reason: fmt.Sprintf(format, args...)}
}
