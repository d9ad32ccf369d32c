package main

import (
	"errors"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// openUnread opens a FIFO for writing without waiting for a reader.
func openUnread(path string) (*os.File, error) {
	return os.OpenFile(path, os.O_WRONLY|unix.O_NONBLOCK|unix.O_NOFOLLOW|unix.O_NOCTTY, 0)
}

// isUnread tells a FIFO that nobody reads. fifo(7).
func isUnread(err error) bool { return errors.Is(err, unix.ENXIO) }

// ownFIFO reports whether a FIFO is that of whoever runs this.
func (s *settings) ownFIFO(f *os.File) bool {
	st, err := f.Stat()
	if err != nil {
		return false
	}
	owner, ok := st.Sys().(*syscall.Stat_t)
	return ok && (int(owner.Uid) == os.Geteuid() || s.caller != nil && int(owner.Uid) == s.caller.UID())
}
