package storage

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// CreateHidden is Create for a file that has no name before Appear: whatever
// happens, nobody finds a file of that name without its header. open(2),
// O_TMPFILE. Where the file system does not have such files, or the folder does
// not exist yet, it is Create.
func CreateHidden(dir, path string) (*File, error) {
	rel, err := filepath.Rel(dir, path)
	if err != nil || !filepath.IsLocal(rel) {
		return nil, fmt.Errorf("%s is not under %s: %w", path, dir, ErrOutside)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return Create(dir, path) // which makes it
	}
	defer func() { _ = root.Close() }()
	rel = resolved(dir, rel)
	folder, err := root.Open(filepath.Dir(rel))
	if err != nil {
		return Create(dir, path) // which says what is wrong
	}
	var fd int
	err = Uninterrupted(func() (err error) {
		fd, err = unix.Openat(int(folder.Fd()), ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
		return err
	})
	if err != nil {
		_ = folder.Close()
		return Create(dir, path)
	}
	return newFile(path, os.NewFile(uintptr(fd), path), hidden{folder}), nil
}

// hidden is the naming of a file that has no name yet. folder is the one that it
// will have its name in.
type hidden struct{ folder *os.File }

// appear is linkat(2), which overwrites nothing.
func (h hidden) appear(f *File) error {
	err := Uninterrupted(func() error {
		return unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.f.Fd()), int(h.folder.Fd()), filepath.Base(f.path), unix.AT_SYMLINK_FOLLOW)
	})
	if err != nil {
		return &fs.PathError{Op: "create", Path: f.path, Err: err}
	}
	_ = h.folder.Close() // nothing was written through it
	return nil
}

// discard leaves it to the kernel: a file without a name ends when it is closed.
func (h hidden) discard(*File) error { return h.folder.Close() }
