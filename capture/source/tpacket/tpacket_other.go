//go:build !linux

package tpacket

import (
	"time"

	"golang.org/x/net/bpf"
)

// Ring is not to be had on this system: Open always fails.
type Ring struct{}

// Privileged always fails with ErrUnsupported.
func Privileged() error { return ErrUnsupported }

// Open always fails with ErrUnsupported.
func Open(Options) (*Ring, error) { return nil, ErrUnsupported }

// Start always fails with ErrUnsupported.
func (*Ring) Start() error { return ErrUnsupported }

// SetFilter always fails with ErrUnsupported.
func (*Ring) SetFilter([]bpf.RawInstruction) error { return ErrUnsupported }

// AddPromiscuous always fails with ErrUnsupported.
func (*Ring) AddPromiscuous(int) error { return ErrUnsupported }

// Rebind always fails with ErrUnsupported.
func (*Ring) Rebind(int) error { return ErrUnsupported }

// Wait always fails with ErrUnsupported.
func (*Ring) Wait(time.Duration) error { return ErrUnsupported }

// Wake does nothing.
func (*Ring) Wake() {}

// Next has never a block.
func (*Ring) Next() (*Block, error) { return nil, ErrUnsupported }

// Tail is always 0.
func (*Ring) Tail() uint64 { return 0 }

// Detach always fails with ErrUnsupported.
func (*Ring) Detach() error { return ErrUnsupported }

// Stats always fails with ErrUnsupported.
func (*Ring) Stats() (Stats, error) { return Stats{}, ErrUnsupported }

// Close does nothing.
func (*Ring) Close() error { return nil }
