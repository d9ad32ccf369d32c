package registry

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"pcapctl/storage"
)

// The locks of a session are on single bytes of its lock file, which stays
// empty: fcntl(2) locks bytes behind the end of a file as well.
const (
	sessionLock = 0 // of the capturing process, until the session has ended
	changeLock  = 1 // of a process that repairs, changes or removes the session
)

// lockOf describes one of the locks. They are POSIX locks and not those of
// flock(2) or of open file descriptions: they belong to the process alone, not
// to a child that inherits a descriptor, and the kernel tells who holds one.
// fcntl_locking(2).
func lockOf(kind int16, at int64) *unix.Flock_t {
	return &unix.Flock_t{Type: kind, Whence: unix.SEEK_SET, Start: at, Len: 1}
}

// tryLock takes a lock. It is false when another process has it.
func tryLock(f *os.File, at int64) (bool, error) {
	err := storage.Uninterrupted(func() error { return unix.FcntlFlock(f.Fd(), unix.F_SETLK, lockOf(unix.F_WRLCK, at)) })
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return false, nil
	}
	return err == nil, os.NewSyscallError("fcntl F_SETLK", err)
}

func unlock(f *os.File, at int64) {
	_ = storage.Uninterrupted(func() error { return unix.FcntlFlock(f.Fd(), unix.F_SETLK, lockOf(unix.F_UNLCK, at)) })
}

// holder tells which process holds the session. The id is 0 for a process in
// another process namespace, whose ids we do not see.
func holder(f *os.File) (pid int, alive bool, err error) {
	l := lockOf(unix.F_WRLCK, sessionLock)
	if err := storage.Uninterrupted(func() error { return unix.FcntlFlock(f.Fd(), unix.F_GETLK, l) }); err != nil {
		return 0, false, os.NewSyscallError("fcntl F_GETLK", err)
	}
	return int(l.Pid), l.Type != unix.F_UNLCK, nil
}

// changer says which process changes the session now, " (id 0)" for none or one that
// cannot be seen.
func changer(f *os.File) string { return fmt.Sprintf(" (id %d)", changerID(f)) }

func changerID(f *os.File) int {
	l := lockOf(unix.F_WRLCK, changeLock)
	if err := storage.Uninterrupted(func() error { return unix.FcntlFlock(f.Fd(), unix.F_GETLK, l) }); err != nil || l.Type == unix.F_UNLCK {
		return 0
	}
	return int(l.Pid)
}

// holdsSomeSession tells whether a process holds a lock as that of a session is,
// for one whose lock file has no name any more and cannot be asked.
// proc_locks(5).
func holdsSomeSession(pid int) bool {
	file, err := os.Open("/proc/locks")
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }()
	at := strconv.Itoa(sessionLock)
	want := []string{"POSIX", "ADVISORY", "WRITE", strconv.Itoa(pid), "", at, at} // the empty one is the inode
	for lines := bufio.NewScanner(file); lines.Scan(); {
		words := strings.Fields(lines.Text())
		if len(words) != len(want)+1 {
			continue
		}
		words = words[1:] // the number of the lock
		words[4] = ""
		if slices.Equal(words, want) {
			return true
		}
	}
	return false
}
