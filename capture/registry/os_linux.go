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
	"pcapctl/storage/private"
)

func supported() error { return nil }

// openSafely does not follow a link in the last place, and does not block on a
// pipe that has taken the place of a file. withinSafely is the same for files opened in a folder.
const (
	openSafely   = unix.O_NOFOLLOW | unix.O_NONBLOCK
	withinSafely = openSafely
)

// maxLock is the size of a lock file.
const maxLock = 0

// The words of messages.
const (
	tellsOfProcesses = "/proc"
	killCommand      = "kill"
	superUser        = "root"
)

// closing is the command that keeps others from changing a folder.
func closing(path string) string { return "chmod go-w " + path }

// sharing says how a folder is shared by several users.
func sharing(path string) string { return fmt.Sprintf(", or share it safely with `chmod +t %s`", path) }

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

// account is a user's id.
type account = int

// isOwn tells whether what belongs to the user is this process's own.
func isOwn(owner account) bool { return owner == os.Geteuid() }

// isTrusted tells of users who may do everything, so that nothing of theirs need be feared.
func isTrusted(owner account) bool { return owner == 0 }

// isSuper tells whether this process may do what every other user may.
func isSuper() bool { return os.Geteuid() == 0 }

// inode is what is asked of a file's inode.
type inode struct {
	owner account
	links uint64 // names of the file
	open  bool   // others than its owner may write to it
}

// inodeIn is that of what has the name in a folder, and is as st says.
func inodeIn(_ *os.Root, _ string, st fs.FileInfo) inode { return inodeOf(nil, st) }

// inodeOf is that of an open file, which is as st says.
func inodeOf(_ *os.File, st fs.FileInfo) inode {
	s, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return inode{owner: -1}
	}
	return inode{owner: int(s.Uid), links: uint64(s.Nlink), open: st.Mode().Perm()&0o022 != 0} //nolint:unconvert // its type differs between machines
}

func userName(id int) string {
	if u, err := user.LookupId(strconv.Itoa(id)); err == nil {
		return u.Username
	}
	return fmt.Sprintf("user id %d", id)
}

// makeStateDir makes the state folder, and those above it.
func makeStateDir(path string) error { return private.MkdirAll(path) }

// takeName gives a session's folder, which is complete, its name. rename(2) does not replace a folder that has something in it.
// The error is errNameTaken when another session has the name.
func (c *Claim) takeName(temp, name string) error {
	err := renameIn(c.parent, temp, name)
	if errors.Is(err, fs.ErrExist) || errors.Is(err, unix.ENOTEMPTY) || errors.Is(err, unix.ENOTDIR) {
		return errNameTaken
	}
	return err
}

// loseName gives the folder of a session that never began another name. No other process removes it while its lock is held.
func (c *Claim) loseName(name, gone string) error { return renameIn(c.parent, name, gone) }

// letGo is where the lock does not tell all of who holds the session.
func (*Claim) letGo() {}

// rename gives the folder another name. Its lock is held, so that it is this one that has its name.
func (f *folder) rename(root *os.Root, name string) error { return renameIn(root, f.name, name) }

func renameIn(root *os.Root, from, to string) error {
	return storage.Uninterrupted(func() error { return root.Rename(from, to) })
}

// asks is nothing: a process is told to end by a signal.
type asks struct{}

func (asks) open() error            { return nil }
func (asks) asked() <-chan struct{} { return nil }
func (asks) close()                 {}

// syncFolder brings the names in a folder to the disk.
func syncFolder(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || errors.Is(err, unix.EINVAL) {
		err = nil // some file systems do not sync folders, and say so
	}
	return errors.Join(err, d.Close())
}
