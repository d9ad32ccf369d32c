package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func supported() error { return nil }

// openSafely: no link is followed in the last place, and a pipe that somebody
// has put there does not block.
const openSafely = unix.O_NOFOLLOW | unix.O_NONBLOCK

// The bytes of the lock file, which need not exist to be locked.
const (
	lifeByte = 0 // held by the capturing process
	careByte = 1 // held by who mends or removes the session
)

// POSIX locks and not those of flock(2) or open file descriptions: they belong
// to the process alone, not to a child that inherits a descriptor, and the
// kernel tells who holds one. fcntl_locking(2).

func lockOf(kind int16, at int64) *unix.Flock_t {
	return &unix.Flock_t{Type: kind, Whence: unix.SEEK_SET, Start: at, Len: 1}
}

// tryLock takes a lock, or says that somebody else has it.
func tryLock(f *os.File, at int64) (bool, error) {
	err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, lockOf(unix.F_WRLCK, at))
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
		return false, nil
	}
	return err == nil, os.NewSyscallError("fcntl F_SETLK", err)
}

func unlock(f *os.File, at int64) {
	_ = unix.FcntlFlock(f.Fd(), unix.F_SETLK, lockOf(unix.F_UNLCK, at))
}

// holder tells which process holds the session. The id is 0 when the process
// is in a process namespace that we do not see into.
func holder(f *os.File) (pid int, alive bool, err error) {
	l := lockOf(unix.F_WRLCK, lifeByte)
	if err := unix.FcntlFlock(f.Fd(), unix.F_GETLK, l); err != nil {
		return 0, false, os.NewSyscallError("fcntl F_GETLK", err)
	}
	return int(l.Pid), l.Type != unix.F_UNLCK, nil
}

// lockFile tries for the lock that the writers of a capture file hold.
func lockFile(f *os.File) (bool, error) {
	err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return false, nil
	}
	return err == nil, os.NewSyscallError("flock", err)
}

// process is a process that cannot be mistaken for another one.
type process struct {
	pid int
	fd  int // pidfd_open(2), -1 on a kernel without it
}

// errElsewhere is told of a process in another process namespace.
var errElsewhere = errors.New("it is held by a process in another container; do it there")

// holdingProcess names the process that holds the session. It is nil when
// nobody does, and when the process cannot be named, which is an error.
func holdingProcess(f *os.File) (_ *process, alive bool, err error) {
	for {
		pid, alive, err := holder(f)
		if err != nil || !alive {
			return nil, false, err
		}
		if pid <= 0 {
			return nil, true, errElsewhere
		}
		p := &process{pid: pid, fd: -1}
		p.fd, err = unix.PidfdOpen(pid, 0)
		if err != nil && !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EPERM) {
			if errors.Is(err, unix.ESRCH) {
				continue // it has just ended
			}
			return nil, true, os.NewSyscallError("pidfd_open", err)
		}
		// The id was the holder's, and if it still is, it was all the time:
		// nobody takes the lock of a session a second time. So what we have
		// opened in between is the holder.
		again, alive, err := holder(f)
		if err == nil && alive && again == pid {
			return p, true, nil
		}
		p.close()
		if err != nil || !alive {
			return nil, false, err
		}
	}
}

// terminate sends SIGTERM.
func (p *process) terminate() error {
	var err error
	if p.fd < 0 {
		// Before Linux 5.3 there are only ids. This one was asked for a moment
		// ago, and ids are not given again before all others have been.
		err = unix.Kill(p.pid, unix.SIGTERM)
	} else {
		err = unix.PidfdSendSignal(p.fd, unix.SIGTERM, nil, 0)
	}
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

func (p *process) pollable() bool { return p.fd >= 0 }

// waitExit waits for the end of the process, for at most d.
func (p *process) waitExit(d time.Duration) {
	fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
	n, err := unix.Poll(fds, int(d.Milliseconds()))
	if n > 0 || err != nil && !errors.Is(err, unix.EINTR) {
		// It is readable from the moment that the last thread is going, and
		// the lock goes a little later, with the files.
		time.Sleep(time.Millisecond)
	}
}

func (p *process) close() {
	if p != nil && p.fd >= 0 {
		_ = unix.Close(p.fd)
	}
}

// allocate gives a new file a length and the space for it.
func allocate(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		_, err = f.WriteAt(make([]byte, size), 0)
		return err
	}
	return os.NewSyscallError("fallocate", err)
}

func mapShared(f *os.File, size int) ([]byte, error) {
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	return mem, os.NewSyscallError("mmap", err)
}

func unmap(mem []byte) { _ = unix.Munmap(mem) }

// monotonic is the clock that time.Since measures by, which all processes of a
// machine share: CLOCK_MONOTONIC, clock_gettime(2).
func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// bootID is another one every time the machine comes up. random(4).
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// identity is what a file's inode says.
type identity struct {
	owner int
	links uint64
}

func identify(st fs.FileInfo) identity {
	s, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return identity{owner: -1}
	}
	return identity{owner: int(s.Uid), links: uint64(s.Nlink)} //nolint:unconvert // its type differs between machines
}

func userName(id int) string {
	if u, err := user.LookupId(strconv.Itoa(id)); err == nil {
		return u.Username
	}
	return fmt.Sprintf("user id %d", id)
}

func isInvalid(err error) bool { return errors.Is(err, unix.EINVAL) }
