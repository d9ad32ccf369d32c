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

	"pcapctl/storage"
)

func supported() error { return nil }

// openSafely does not follow a link in the last place, and does not block on a
// pipe that has taken the place of a file.
const openSafely = unix.O_NOFOLLOW | unix.O_NONBLOCK

// allocate gives a new file its length in bytes, and the space on the disk.
func allocate(f *os.File, size int64) error {
	err := storage.Uninterrupted(func() error { return unix.Fallocate(int(f.Fd()), 0, 0, size) })
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

// monotonic is the time of the clock by which time.Since measures; it is the same
// for all processes of a machine. CLOCK_MONOTONIC, clock_gettime(2).
func monotonic() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// bootID is a text that is different after every start of the machine, "" when
// there is none. random(4).
func bootID() string {
	text, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(text))
}

// inode is what is asked of a file's inode.
type inode struct {
	owner int    // user id
	links uint64 // names of the file
}

func inodeOf(st fs.FileInfo) inode {
	s, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{owner: -1}
	}
	return inode{owner: int(s.Uid), links: uint64(s.Nlink)} //nolint:unconvert // its type differs between machines
}

func userName(id int) string {
	if u, err := user.LookupId(strconv.Itoa(id)); err == nil {
		return u.Username
	}
	return fmt.Sprintf("user id %d", id)
}

func isInvalid(err error) bool { return errors.Is(err, unix.EINVAL) }
