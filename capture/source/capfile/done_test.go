package capfile

import (
	"io"
	"os"
	"strings"
	"sync"
	"testing"

	"pcapctl/capture/fault"
	"pcapctl/capture/request"
)

// TestDoneEndsPrepare: whoever waits for the other end of a FIFO, or for the first bytes of a pipe, can
// leave. What is told is that nothing was made.
func TestDoneEndsPrepare(t *testing.T) {
	never := make(chan struct{})
	t.Cleanup(func() { close(never) })
	silent, unwritten := io.Pipe()
	t.Cleanup(func() { _ = unwritten.Close() })
	for name, o := range map[string]func(waits func()) Options{
		"a FIFO that nobody writes to": func(waits func()) Options {
			return Options{Path: "fifo", Open: func(string) (*os.File, error) {
				waits()
				<-never
				return nil, os.ErrClosed
			}}
		},
		"a pipe that is silent": func(waits func()) Options {
			return Options{Path: StandardInput, Stdin: told{silent, waits}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			done := make(chan struct{})
			options := o(sync.OnceFunc(func() { close(done) })) // once it waits, it is left
			options.Done = done
			spec, err := NewSpec(&request.Config{CapturesDir: "/var/captures", FilePath: "/var/captures/x.cap"}, options)
			if err != nil {
				t.Fatal(err)
			}
			_, err = spec.Prepare(func() error { return nil })
			if fault.ClassOf(err) != fault.Failed || !strings.Contains(err.Error(), "interrupted before its first packet came; no file was made") {
				t.Errorf("%v", err)
			}
		})
	}
}

// told is a reader that tells of its first read.
type told struct {
	io.Reader
	reads func()
}

func (r told) Read(p []byte) (int, error) {
	r.reads()
	return r.Reader.Read(p)
}
