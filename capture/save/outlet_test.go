package save

import (
	"errors"
	"io"
	"os"
	"testing"
)

// That the reader of a pipe has left is told as such on every system: he wanted no more, and nothing has failed.
func TestReaderOfAPipeLeaves(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Close() }()
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := (plainOutlet{w}).Write([]byte("x"), 0); !errors.Is(err, ErrReaderLeft) {
		t.Errorf("a pipe of the system: %v", err)
	}
	reader, writer := io.Pipe()
	_ = reader.Close()
	if _, err := (plainOutlet{writer}).Write([]byte("x"), 0); !errors.Is(err, ErrReaderLeft) {
		t.Errorf("a pipe in this process: %v", err)
	}
}
