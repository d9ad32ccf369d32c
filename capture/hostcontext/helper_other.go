//go:build !linux

package hostcontext

import (
	"errors"
	"os"
)

// Sampler is the process that samples. There is none here.
type Sampler struct{}

// Start fails: sockets are looked at on Linux only.
func Start(string, Options, *os.File) (*Sampler, error) {
	return nil, errors.New("the context of a capture is written on Linux only")
}

// Sockets is not called.
func (*Sampler) Sockets() <-chan *Socket { return nil }

// End is not called.
func (*Sampler) End() {}

// Wait is not called.
func (*Sampler) Wait() *Told { return nil }

// Close is not called.
func (*Sampler) Close() {}

// IsHelper is false.
func IsHelper() bool { return false }

// Main is not called.
func Main(func() error) {}
