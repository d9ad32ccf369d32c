package save

import (
	"errors"
	"io"
	"os"
	"time"
)

// Outlet is where a stream goes: a pipe, FIFO, socket or file that somebody else reads. One goroutine writes to it.
type Outlet interface {
	// Write writes of b what is taken within about wait, and tells how much that was. It does not wait longer, where the
	// system allows that. The error is ErrReaderLeft, or one of a disk.
	Write(b []byte, wait time.Duration) (n int, err error)
	// Left reports whether nobody reads any more, as far as that can be told without writing.
	Left() bool
	// Close closes what the Outlet has opened itself.
	Close() error
}

// ErrReaderLeft means that nobody reads the stream any more.
var ErrReaderLeft = errors.New("the reader of the stream has left")

// OpenOutlet makes the Outlet of an open file, or of another writer.
func OpenOutlet(w io.Writer) (Outlet, error) {
	if f, ok := w.(*os.File); ok {
		return openOutlet(f)
	}
	return plainOutlet{w}, nil
}

// plainOutlet is what takes everything at once, as a file does, or of which nobody can tell.
type plainOutlet struct{ w io.Writer }

// Write implements Outlet.
func (p plainOutlet) Write(b []byte, _ time.Duration) (int, error) {
	n, err := p.w.Write(b)
	if isLeft(err) || errors.Is(err, io.ErrClosedPipe) {
		err = ErrReaderLeft
	}
	return n, err
}

// Left implements Outlet.
func (plainOutlet) Left() bool { return false }

// Close implements Outlet.
func (plainOutlet) Close() error { return nil }
