package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Create makes the file name, which belongs to its owner alone. It has no name before Appear: whatever happens, nobody
// finds a file of that name without its header. open(2), O_TMPFILE. Where the file system has no such files (NFS, CIFS, FAT)
// or there is no /proc, it has its name from the start.
//
// Errors, for errors.Is: fs.ErrExist (of Appear, or here), fs.ErrPermission.
func (d *Folder) Create(name string) (*File, error) {
	if _, err := os.Lstat("/proc/self/fd"); err != nil {
		return d.create(name) // without it Appear could do nothing
	}
	var fd int
	err := Uninterrupted(func() (err error) {
		fd, err = unix.Openat(int(d.self.Fd()), ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		return d.create(name) // which says what is wrong, if that is not O_TMPFILE
	}
	return newFile(d, name, os.NewFile(uintptr(fd), filepath.Join(d.path, name)), hidden{}), nil
}

// hidden is the naming of a file that has no name yet.
type hidden struct{}

// appear is linkat(2), which overwrites nothing.
func (hidden) appear(f *File) error {
	err := Uninterrupted(func() error {
		return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.f.Fd()), int(f.folder.self.Fd()), f.base, unix.AT_SYMLINK_FOLLOW)
	})
	if err != nil {
		return &fs.PathError{Op: "create", Path: f.path, Err: err}
	}
	return nil
}

// discard leaves it to the kernel: a file without a name ends when it is closed.
func (hidden) discard(*File) error { return nil }

// Open opens the very file a second time, for whoever reads it back: a path may lead to another file by now, which its
// owner has put there for us to read. While it is being written that is a descriptor of the same open file, so that only
// ReadAt is allowed; afterwards it is found by its name in the held folder, if it is still the file that was made.
//
// Errors, for errors.Is: ErrReplaced, fs.ErrNotExist.
func (f *File) Open() (*os.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return f.folder.open(f.base, f.id)
	}
	fd, err := unix.FcntlInt(f.f.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("fcntl F_DUPFD_CLOEXEC", err)
	}
	return os.NewFile(uintptr(fd), f.path), nil
}

// remove removes the file of that name, if it is the one of that identity. Whoever may write to the folder can exchange the two
// between the look and the removal; he wins nothing by it, as what goes is a name in that folder, which he could remove himself.
func (d *Folder) remove(name string, id FileID) error {
	there, err := d.open(name, id)
	if err != nil {
		return err
	}
	return errors.Join(there.Close(), d.root.Remove(name))
}

// sync brings the names in the folder to the disk.
func (d *Folder) sync() error {
	err := d.self.Sync()
	// Some file systems do not sync folders and say so; they do not need it.
	if errors.Is(err, errors.ErrUnsupported) || isInvalid(err) {
		return nil
	}
	return err
}
