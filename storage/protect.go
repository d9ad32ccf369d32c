package storage

import (
	"errors"
	"os"
	"path/filepath"
)

// Protector keeps files usable whose process ends in the middle of a write:
// *Guard does it with a second process, Unguarded not at all.
type Protector interface {
	// Protect takes over an open file, from its next Write on. When it fails,
	// the file can be written all the same, and is not protected.
	Protect(f *File) error
	// Lost has one error when the protection has ended before Close: files are written on without it. It is nil where
	// that does not happen.
	Lost() <-chan error
	// Close ends the protection. The files are closed before. Calls after the
	// first do nothing.
	Close()
}

// Unguarded is the Protector that does nothing: a kill in the middle of a write
// may leave the last packet of a file incomplete.
type Unguarded struct{}

// Protect does nothing and never fails.
func (Unguarded) Protect(*File) error { return nil }

// Lost implements Protector.
func (Unguarded) Lost() <-chan error { return nil }

// Close does nothing.
func (Unguarded) Close() {}

// protection is what a File reports to whoever protects it.
type protection interface {
	// commit says that the file is complete up to size bytes.
	commit(size int64)
	// release says that the file is closed.
	release()
}

// unprotected is the protection of a file that nobody protects.
type unprotected struct{}

func (unprotected) commit(int64) {}
func (unprotected) release()     {}

// naming is how a File stands in its folder: named, or hidden until Appear.
type naming interface {
	// appear gives the file its name.
	appear(f *File) error
	// discard removes the file, which is closed.
	discard(f *File) error
}

// named is the naming of a file that has its name from the start.
type named struct{}

func (named) appear(*File) error { return nil }

func (named) discard(f *File) error {
	return f.Remove()
}

// newFile is the File for an open file.
func newFile(d *Folder, base string, f *os.File, name naming) *File {
	file := &File{folder: d, base: base, path: filepath.Join(d.path, base), f: f, name: name, protection: unprotected{}}
	file.lock()
	file.id, _ = IdentifyFile(f) // without it Remove leaves the file alone
	return file
}

// Appear gives a file its name, if it does not have one yet. fs.ErrExist: another file has the name.
func (f *File) Appear() error {
	if err := f.name.appear(f); err != nil {
		return err
	}
	f.name = named{}
	f.tag = newTag(f.folder, f.base, f.id)
	return nil
}

// Discard closes the file and removes it: for a capture that never began.
func (f *File) Discard() error { return errors.Join(f.Close(), f.name.discard(f)) }
