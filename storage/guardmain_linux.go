package storage

import (
	"encoding/binary"
	"errors"
	"os"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// GuardMain runs the guard, and returns true when it has ended, if the process
// was started as one; otherwise it returns false at once. It belongs at the very
// start of main.
func GuardMain() bool {
	if !IsGuard() {
		return false
	}
	// A service manager signals every process of a unit. The guard ends when
	// the process that it guards has ended.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	runGuard(guardSockFD, os.NewFile(guardMemFD, guardName))
	return true
}

// runGuard serves the messages on sock until the other side is closed, and then
// truncates the files that it still has. When it cannot hear or answer any more,
// it ends and leaves the files alone: they may be being written. The capture sees
// by the socket that it has no guard any more, and does not wait for it.
func runGuard(sock int, mem *os.File) {
	var files [guardSlots]*os.File
	buf, oob := make([]byte, 2), make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(sock, buf, oob, unix.MSG_CMSG_CLOEXEC)
		switch {
		// Closed with an answer in it that was not read: the kernel says so once, before
		// what was sent (unix_release_sock).
		case errors.Is(err, unix.EINTR), errors.Is(err, unix.ECONNRESET):
			continue
		case err != nil:
			return
		}
		if n == 0 { // closed: recvmsg(2)
			break
		}
		if n < len(buf) || buf[1] >= guardSlots {
			return
		}
		slot := buf[1]
		if f := files[slot]; f != nil {
			files[slot] = nil
			_ = f.Close()
		}
		switch buf[0] {
		case guardTake:
			files[slot] = receivedFile(oob[:oobn])
		case guardDrop:
			err := Uninterrupted(func() error { return unix.Sendmsg(sock, []byte{guardDrop}, nil, nil, unix.MSG_NOSIGNAL) })
			if errors.Is(err, unix.EPIPE) {
				continue // closed: the next message says so
			}
			if err != nil {
				return
			}
		}
	}
	for slot, f := range files {
		if f != nil {
			_ = truncateFile(f, mem, slot)
		}
	}
}

func receivedFile(oob []byte) *os.File {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) != 1 {
		return nil
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return nil
	}
	return os.NewFile(uintptr(fds[0]), "capture")
}

// truncateFile ends a file where the word of its slot says that it is complete.
func truncateFile(file, mem *os.File, slot int) error {
	var word [8]byte
	if _, err := mem.ReadAt(word[:], int64(8*slot)); err != nil {
		return err
	}
	return endAt(file, binary.NativeEndian.Uint64(word[:]))
}
