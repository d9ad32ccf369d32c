package storage

import (
	"errors"
	"syscall"
)

// Uninterrupted calls fn again for as long as a signal interrupts it. The Go
// runtime sends signals to its own threads, and they end fallocate(2), locks, and
// every call on a file system of a network or in user space with EINTR. Package
// os does the same in most of its functions; os.Root.Rename and what is called by
// x/sys/unix need it.
func Uninterrupted(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}
