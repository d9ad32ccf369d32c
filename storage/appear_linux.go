package storage

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// CreateHidden is Create for a file that has no name before Appear, so that
// nobody, and no kill, ever finds it without its beginning. open(2), O_TMPFILE.
// The folder must be there. On a file system that has no such files it is
// Create.
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
	folder, err := root.Open(filepath.Dir(rel))
	if err != nil {
		return Create(dir, path) // which says what is wrong
	}
	fd, err := unix.Openat(int(folder.Fd()), ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		_ = folder.Close()
		return Create(dir, path)
	}
	f := &File{path: path, f: os.NewFile(uintptr(fd), path), folder: folder}
	f.hold()
	f.id, _ = IdentifyFile(f.f)
	return f, nil
}

// Appear gives the file its name, unless there is a file of that name:
// fs.ErrExist. linkat(2).
func (f *File) Appear() error {
	if f.folder == nil {
		return nil
	}
	err := unix.Linkat(unix.AT_FDCWD, fmt.Sprintf("/proc/self/fd/%d", f.f.Fd()), int(f.folder.Fd()), filepath.Base(f.path), unix.AT_SYMLINK_FOLLOW)
	if err != nil {
		return &fs.PathError{Op: "create", Path: f.path, Err: err}
	}
	err = f.folder.Close()
	f.folder = nil
	return err
}
