// Package storage keeps captures: in files that are never overwritten, never cut
// in the middle of a packet and never reported as complete before the disk has
// them.
package storage

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// ErrOutside means that a path leads out of the captures folder by way of a
// symbolic link.
var ErrOutside = errors.New("the path leads out of the captures folder through a symbolic link")

// File is a capture file being written. It is not safe for concurrent use.
//
// Its contents up to the last successful Write are safe from the end of the
// process, however sudden; up to Finish, also from the end of the machine.
type File struct {
	f          *os.File
	path       string
	madeDir    string // the captures folder, if it was made for this file
	id         FileID // zero when it is not known
	name       naming
	size       int64
	begin      []byte // the first bytes that were written
	protection protection
}

// Create makes the file path, which lies under the folder dir. The folder is
// made when it is absent, folders between the two are not. The file belongs to
// its owner alone.
//
// Errors, for errors.Is: fs.ErrExist (the file exists already and was left
// alone), fs.ErrNotExist (a folder between the two is missing),
// fs.ErrPermission, ErrOutside.
func Create(dir, path string) (_ *File, err error) {
	rel, err := filepath.Rel(dir, path)
	if err != nil || !filepath.IsLocal(rel) {
		return nil, fmt.Errorf("%s is not under %s: %w", path, dir, ErrOutside)
	}
	madeDir := ""
	switch _, err := os.Stat(dir); {
	case errors.Is(err, fs.ErrNotExist):
		err := os.MkdirAll(dir, 0o700)
		if errors.Is(err, fs.ErrExist) { // of a folder above that cannot be looked at
			err = errors.New(err.Error()) // not a file that exists already
		}
		if err != nil {
			return nil, err
		}
		madeDir = dir
	case err != nil:
		return nil, err
	}
	defer func() {
		if err != nil {
			removeDir(madeDir)
		}
	}()
	// A Root resolves every component beneath the folder and follows no link
	// that leaves it, also when a link is planted between check and use.
	rel = resolved(dir, rel)
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	// O_EXCL: nothing is overwritten, and a link in the last place is not
	// followed. open(2).
	opened, err := root.OpenFile(rel, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		if leadsOut(dir, path) {
			return nil, fmt.Errorf("%s: %w", path, ErrOutside)
		}
		return nil, &fs.PathError{Op: "create", Path: path, Err: cause(err)}
	}
	f := newFile(path, opened, named{})
	f.madeDir = madeDir
	return f, nil
}

// ErrTampered means that a file is not what was written: somebody has removed,
// renamed, replaced, cut or overwritten it meanwhile.
var ErrTampered = errors.New("somebody else has removed, renamed, replaced or cut the file while it was being written")

// ErrReplaced means that another file has come to stand where one was made.
var ErrReplaced = errors.New("it is another file than the one that was made here")

// Remove removes a file that Create made and that is closed. It follows no link
// and leaves alone what has taken the file's place since: ErrReplaced. It
// succeeds when the file is gone already.
func (f *File) Remove(dir string) error {
	rel, err := filepath.Rel(dir, f.path)
	if err != nil {
		return err
	}
	rel = resolved(dir, rel)
	root, err := os.OpenRoot(dir)
	if err == nil {
		defer func() { _ = root.Close() }()
		var there *os.File
		if there, err = root.OpenFile(rel, os.O_RDONLY|openThis, 0); err == nil {
			id, ierr := IdentifyFile(there)
			_ = there.Close()
			if ierr != nil || id != f.id {
				return fmt.Errorf("remove %s: %w", f.path, ErrReplaced)
			}
			err = root.Remove(rel)
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// Space is what the file system of a folder has: the free bytes that this
// process may use, and all bytes. ok is false where that is not known.
func Space(dir string) (free, total int64, ok bool) {
	f, err := os.Open(dir)
	if err != nil {
		return 0, 0, false
	}
	defer func() { _ = f.Close() }()
	return space(f)
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

// Path is the path that the file was created with.
func (f *File) Path() string { return f.path }

// Size is the number of bytes up to which the file is complete.
func (f *File) Size() int64 { return f.size }

// Write appends p, which must end where the file may end: behind a whole record.
// When it fails, n bytes of p are in the file and Cut has to remove what must
// not stay.
func (f *File) Write(p []byte) (n int, err error) {
	// Not WriteAt, which does not return how much of a part was written.
	if n, err = f.f.Write(p); err != nil {
		return n, err
	}
	if f.size == 0 {
		f.begin = bytes.Clone(p[:min(n, beginLen)])
	}
	f.size += int64(n)
	f.protection.commit(f.size)
	return n, nil
}

// beginLen is how much of a file's beginning is remembered for Finish.
const beginLen = 64

// Cut ends the file at size, after a Write that failed. size must not be less
// than Size.
func (f *File) Cut(size int64) error {
	if err := f.f.Truncate(size); err != nil {
		return err
	}
	if _, err := f.f.Seek(size, io.SeekStart); err != nil {
		return err
	}
	f.size = size
	f.protection.commit(size)
	return nil
}

// Finish syncs the file and its name to the disk and closes it. Only when it
// returns nil is the file complete. ErrTampered: somebody else has changed it.
func (f *File) Finish() error {
	// The file first, then the folder that names it: a name without its bytes
	// would look like a complete file. fsync(2) asks for both.
	err := errors.Join(f.sync(), f.verify(), f.Close())
	if err != nil {
		return err
	}
	return syncDir(filepath.Dir(f.path))
}

// verify checks that the file is still where it was made, is as long as what
// was written, and begins as it did. Tools that tidy folders up do not ask
// whether a file is in use.
func (f *File) verify() error {
	mine, err := f.f.Stat()
	if err != nil {
		return err
	}
	named, err := os.Lstat(f.path)
	if err != nil || !os.SameFile(mine, named) || mine.Size() != f.size {
		return fmt.Errorf("%s: %w", f.path, ErrTampered)
	}
	begin := make([]byte, len(f.begin))
	if _, err := f.f.ReadAt(begin, 0); err != nil || !bytes.Equal(begin, f.begin) {
		return fmt.Errorf("%s: %w", f.path, ErrTampered)
	}
	return nil
}

func (f *File) sync() error {
	if err := f.f.Sync(); err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	return nil
}

// Close closes the file as it is.
func (f *File) Close() error {
	err := f.f.Close()
	f.protection.release()
	return err
}

// removeDir removes the folder that was made for a file; "" is none.
func removeDir(dir string) {
	if dir != "" {
		_ = os.Remove(dir) // fails when somebody else has put something into it, as it should
	}
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	// Some file systems do not sync folders and say so; they do not need it.
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || isInvalid(err) {
		err = nil
	}
	return errors.Join(err, d.Close())
}
