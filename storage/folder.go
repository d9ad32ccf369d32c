package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	"pcapctl/storage/private"
)

// ErrOutside means that a path leads out of the captures folder by way of a
// symbolic link.
var ErrOutside = errors.New("the path leads out of the captures folder through a symbolic link")

// Folder is the folder that a session's capture files lie in. It is held open: files are made, looked at and removed in
// this very folder, whatever its path leads to by then. It is never made anew. It is safe for concurrent use.
type Folder struct {
	path string // as it was given
	made string // the captures folder, if it was made for this session; else ""

	root *os.Root
	self *os.File // the same folder, for what a Root has no method for
	real string   // where it was as the kernel told it, "" when it did not
	// The captures folder, where path lies below it; else the same as the above.
	top *Folder
	// least is how many bytes of the disk no copy may take.
	least atomic.Int64
}

// OpenFolder opens the folder that the file path is to lie in. dir is the captures folder, which path lies under; it is
// made when it is absent, folders between the two are not.
//
// Errors, for errors.Is: fs.ErrNotExist (a folder between the two is missing), fs.ErrPermission, ErrOutside.
func OpenFolder(dir, path string) (_ *Folder, err error) {
	rel, err := filepath.Rel(dir, path)
	if err != nil || !filepath.IsLocal(rel) {
		return nil, fmt.Errorf("%s is not under %s: %w", path, dir, ErrOutside)
	}
	made := ""
	switch _, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		err := private.MkdirAll(dir)
		if errors.Is(err, fs.ErrExist) { // of a folder above that cannot be looked at
			err = errors.New(err.Error()) // not a file that exists already
		}
		if err != nil {
			return nil, err
		}
		made = dir
	case err != nil:
		return nil, err
	}
	defer func() {
		if err != nil {
			removeDir(made)
		}
	}()
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	top, err := newFolder(dir, root)
	if err != nil {
		return nil, errors.Join(err, root.Close())
	}
	top.made = made
	below := filepath.Dir(resolved(dir, rel))
	if below == "." {
		return top, nil
	}
	// A Root resolves every component beneath the folder and follows no link
	// that leaves it, also when a link is planted between check and use.
	if root, err = top.root.OpenRoot(below); err != nil {
		if st, serr := top.root.Stat(below); serr == nil && !st.IsDir() {
			err = errNotFolder // Root has an error of its own for it
		}
		_ = top.Close()
		if leadsOut(dir, path) {
			return nil, fmt.Errorf("%s: %w", path, ErrOutside)
		}
		return nil, &fs.PathError{Op: "create", Path: path, Err: cause(err)}
	}
	d, err := newFolder(filepath.Dir(path), root)
	if err != nil {
		return nil, errors.Join(err, root.Close(), top.Close())
	}
	d.top = top
	return d, nil
}

func newFolder(path string, root *os.Root) (*Folder, error) {
	self, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	d := &Folder{path: path, root: root, self: self}
	d.top = d
	d.real, _ = linkOf(self)
	return d, nil
}

// Path is the path that the folder was opened by.
func (d *Folder) Path() string { return d.path }

// Has reports whether the folder has something of that name.
func (d *Folder) Has(name string) bool {
	_, err := d.root.Lstat(name)
	return err == nil
}

// Space is what the folder's file system has: the free bytes that this process may use, and all bytes. ok is false where
// that is not known.
func (d *Folder) Space() (free, total int64, ok bool) { return space(d.self) }

// KeepsRights tells whether files of the folder can belong to their owner alone.
func (d *Folder) KeepsRights() bool { return private.Kept(d.self) }

// Reserve says how many bytes of the disk no copy of a file may take (see Displaced.Copy).
func (d *Folder) Reserve(least int64) { d.least.Store(least) }

// Close lets go of the folder. Its files can be used as long as they are open.
func (d *Folder) Close() error {
	err := errors.Join(d.self.Close(), d.root.Close())
	if d.top != d {
		err = errors.Join(err, d.top.Close())
	}
	return err
}

// Discard closes the folder, and removes the captures folder if that was made for this session and is empty: for a capture
// that never began.
func (d *Folder) Discard() {
	_ = d.Close()
	removeDir(d.top.made)
}

// create makes the file name with its name: O_EXCL overwrites nothing, and does not follow a link in the last place.
// open(2).
func (d *Folder) create(name string) (*File, error) {
	path := filepath.Join(d.path, name)
	opened, err := private.Create(d.root, name, os.O_RDWR)
	if err != nil {
		return nil, &fs.PathError{Op: "create", Path: path, Err: cause(err)}
	}
	return newFile(d, name, opened, named{}), nil
}

// cause is what a PathError says behind the path, which in a Root is only the
// path within it.
func cause(err error) error {
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	return err
}

// resolved is a path relative to a folder, without the symbolic links to folders below that folder. A Root follows
// relative links by itself, but no absolute one, wherever it leads. A path that leads out stays as it is, for the Root to
// refuse.
func resolved(dir, rel string) string {
	realDir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return rel
	}
	parent, err := filepath.EvalSymlinks(filepath.Join(dir, filepath.Dir(rel)))
	if err != nil {
		return rel
	}
	inside, err := filepath.Rel(realDir, parent)
	if err != nil || !filepath.IsLocal(inside) {
		return rel
	}
	return filepath.Join(inside, filepath.Base(rel))
}

func leadsOut(dir, path string) bool {
	realDir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return false
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return false
	}
	rel, err := filepath.Rel(realDir, parent)
	return err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// removeDir removes the folder that was made for a file; "" is none.
func removeDir(dir string) {
	if dir != "" {
		_ = os.Remove(dir) // fails when somebody else has put something into it, as it should
	}
}
