package caller

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks bounds the symbolic links on the way to a file, as the kernel does.
const maxLinks = 40

// OpenTrusted opens a regular file for reading that nobody but root and the owners
// (user ids) may have written: it, each folder and each symbolic link on the way to
// it belong to one of them, and nobody else may write to it or to the folders. A
// folder with the sticky bit, as /tmp, may be written to by others, who can neither
// remove nor rename there what is not theirs.
//
// Each step is opened, looked at and then gone on from, so that nothing can be
// exchanged in between.
//
// Errors, for errors.Is: ErrUntrusted, and those of opening.
func OpenTrusted(path string, owners ...int) (*os.File, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	w := &walk{path: path, owners: append(slices.Clone(owners), 0), at: -1}
	defer w.close()
	return w.open()
}

// walk is on its way to a file.
type walk struct {
	path   string // that was asked for
	owners []int
	at     int    // the folder that it has come to, opened with O_PATH
	here   string // its path
	links  int
}

func (w *walk) close() {
	if w.at >= 0 {
		_ = unix.Close(w.at)
	}
}

func (w *walk) fail(err error) error { return &fs.PathError{Op: "open", Path: w.path, Err: err} }

func (w *walk) open() (*os.File, error) {
	if err := w.root(); err != nil {
		return nil, err
	}
	rest := split(w.path)
	for len(rest) > 0 {
		name := rest[0]
		rest = rest[1:]
		fd, err := openAt(w.at, name, unix.O_PATH|unix.O_NOFOLLOW)
		if err != nil {
			return nil, w.fail(err)
		}
		there := filepath.Join(w.here, name)
		kind, err := w.check(fd, there)
		switch {
		case err != nil:
		case kind == unix.S_IFLNK:
			var target string
			if target, err = w.target(fd); err == nil {
				rest = append(split(target), rest...)
				if filepath.IsAbs(target) {
					err = w.root()
				}
			}
		case kind == unix.S_IFDIR:
			w.close()
			w.at, w.here = fd, there
			continue
		case len(rest) > 0:
			err = w.fail(unix.ENOTDIR)
		default:
			_ = unix.Close(fd)
			return w.last(name, there)
		}
		_ = unix.Close(fd)
		if err != nil {
			return nil, err
		}
	}
	return nil, w.fail(unix.EISDIR)
}

// root goes to the root folder.
func (w *walk) root() error {
	w.close()
	var err error
	if w.at, err = openAt(unix.AT_FDCWD, "/", unix.O_PATH|unix.O_DIRECTORY); err != nil {
		return w.fail(err)
	}
	w.here = "/"
	_, err = w.check(w.at, "/")
	return err
}

// last opens the file itself. It may have been exchanged since it was looked at.
func (w *walk) last(name, path string) (*os.File, error) {
	// O_NONBLOCK: a pipe in its place would make this wait.
	fd, err := openAt(w.at, name, unix.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK)
	if err != nil {
		return nil, w.fail(err)
	}
	kind, err := w.check(fd, path)
	if err == nil && kind != unix.S_IFREG {
		err = w.fail(errors.New("it is not a regular file"))
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), w.path), nil
}

// openAt is openat(2).
func openAt(at int, name string, flags int) (fd int, err error) {
	err = uninterrupted(func() (err error) {
		fd, err = unix.Openat(at, name, flags|unix.O_CLOEXEC, 0)
		return err
	})
	return fd, err
}

// uninterrupted calls fn again for as long as a signal interrupts it, as package os does: the file may lie on a file system
// of a network or in user space.
func uninterrupted(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// check says what fd is, if nobody else can have written to it.
func (w *walk) check(fd int, path string) (kind uint32, err error) {
	var st unix.Stat_t
	if err := uninterrupted(func() error { return unix.Fstat(fd, &st) }); err != nil {
		return 0, w.fail(err)
	}
	kind = st.Mode & unix.S_IFMT
	if !slices.Contains(w.owners, int(st.Uid)) {
		return kind, untrusted(path, "belongs to %s", userName(int(st.Uid)))
	}
	byOthers := st.Mode&0o022 != 0
	sticky := kind == unix.S_IFDIR && st.Mode&unix.S_ISVTX != 0
	if byOthers && !sticky && kind != unix.S_IFLNK { // the mode of a link says nothing
		return kind, untrusted(path, "can be written to by its group or by everybody (mode %04o; `chmod go-w` ends that)", st.Mode&0o7777)
	}
	return kind, nil
}

// target reads a symbolic link.
func (w *walk) target(fd int) (string, error) {
	if w.links++; w.links > maxLinks {
		return "", w.fail(unix.ELOOP)
	}
	text := make([]byte, unix.PathMax)
	var n int
	err := uninterrupted(func() (err error) {
		n, err = unix.Readlinkat(fd, "", text)
		return err
	})
	if err != nil {
		return "", w.fail(err)
	}
	return string(text[:n]), nil
}

// split takes a path apart. ".." stays, and is gone by as the kernel does.
func split(path string) []string {
	return slices.DeleteFunc(strings.Split(path, "/"), func(s string) bool { return s == "" || s == "." })
}

func userName(id int) string {
	if u, err := user.LookupId(strconv.Itoa(id)); err == nil {
		return "the user " + u.Username
	}
	return fmt.Sprintf("the user id %d", id)
}
