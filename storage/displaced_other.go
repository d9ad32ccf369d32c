//go:build !linux

package storage

import (
	"errors"
	"os"
)

// tag is nothing on this system.
type tag struct{}

func newTag(*Folder, string, FileID) tag { return tag{} }

func (tag) close() {}

// Look tells what has become of a file that is being written: nil when it is where it was made, or when that cannot be
// told. It may be called beside those who write.
func (f *File) Look() *Displaced {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.look()
}

func (f *File) look() *Displaced {
	mine, err := f.f.Stat()
	if err != nil {
		return nil
	}
	there, err := f.folder.root.Lstat(f.base)
	if err == nil && os.SameFile(mine, there) || err != nil && !os.IsNotExist(err) {
		return nil
	}
	return &Displaced{Path: f.path, what: fileRemoved}
}

func (d *Folder) look() (now string, why displacement) { return d.path, 0 }

func linkOf(*os.File) (string, error) { return "", errors.ErrUnsupported }
