package registry

import (
	"encoding/binary"
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// The locks of a session are on single bytes of its lock file, far behind what is in it: locks of Windows keep others from
// reading what they cover. LockFileEx.
const (
	sessionLock = 1 << 62 // of the capturing process, until the session has ended
	changeLock  = sessionLock + 1
)

// Windows does not tell who holds a lock. So the lock file has a note of who that is; nobody who may write to it could not
// exchange all of the session as well.
const (
	noteSize = 8 + 8 + tokenSize
	maxLock  = noteSize
	// tokenSize is the length of the random part of an event's name, rand.Text in letters and digits.
	tokenSize = 26
)

// note is who holds a session.
type note struct {
	pid     uint32
	created uint64 // when that process was made, 100 ns since 1601: ids are given again
	token   string // of the event by which it is told to end
}

func (n *note) encode() []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(n.pid))
	b = binary.LittleEndian.AppendUint64(b, n.created)
	return append(b, n.token...)
}

// decodeNote takes any bytes. It is the zero note for what is none.
func decodeNote(b []byte) (n note) {
	if len(b) != noteSize {
		return n
	}
	pid := binary.LittleEndian.Uint64(b)
	token := b[16:]
	for _, c := range token {
		if (c < 'A' || c > 'Z') && (c < '0' || c > '9') {
			return note{}
		}
	}
	if pid == 0 || pid > 1<<32-1 {
		return note{}
	}
	return note{uint32(pid), binary.LittleEndian.Uint64(b[8:]), string(token)}
}

// noteOf is the note in a lock file; the zero note for none.
func noteOf(f *os.File) note {
	b := make([]byte, noteSize)
	n, _ := f.ReadAt(b, 0)
	return decodeNote(b[:n])
}

func overlapped(at uint64) *windows.Overlapped {
	return &windows.Overlapped{Offset: uint32(at), OffsetHigh: uint32(at >> 32)}
}

// tryLock takes a lock. It is false when another process has it, or another handle of this one.
func tryLock(f *os.File, at uint64) (bool, error) {
	return tryLockAs(f, at, windows.LOCKFILE_EXCLUSIVE_LOCK)
}

func tryLockAs(f *os.File, at uint64, flags uint32) (bool, error) {
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, overlapped(at))
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return false, nil
	}
	return err == nil, os.NewSyscallError("LockFileEx", err)
}

func unlock(f *os.File, at uint64) {
	_ = windows.UnlockFileEx(windows.Handle(f.Fd()), 0, 1, 0, overlapped(at))
}

// holder tells which process holds the session, 0 when that is not known. A process that the note names has it, too, when it
// lives and does not have the lock: it cannot have it while its folder gets its name (takeName).
func holder(f *os.File) (pid int, alive bool, err error) {
	n := noteOf(f)
	// For a moment, and together with all others who ask.
	free, err := tryLockAs(f, sessionLock, 0)
	if err != nil {
		return 0, false, err
	}
	if free {
		unlock(f, sessionLock)
		p, err := openProcess(n)
		if err != nil {
			return 0, false, nil //nolint:nilerr // it has ended, or there was none
		}
		defer p.close()
		// What it has written since it was asked first, it has written before it let go of the lock.
		return int(n.pid), p.exists() && noteOf(f) == n, nil
	}
	return int(n.pid), true, nil
}

// changer says nothing: Windows does not tell who has a lock.
func changer(*os.File) string { return "" }
