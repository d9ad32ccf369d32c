//go:build !linux && !windows

package storage

import (
	"errors"
	"os"
)

// Create makes the file name. It has its name from the start on this system.
func (d *Folder) Create(name string) (*File, error) { return d.create(name) }

// Open opens the very file a second time, for reading.
//
// Errors, for errors.Is: ErrReplaced, fs.ErrNotExist.
func (f *File) Open() (*os.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.folder.open(f.base, f.id)
}

// remove removes the file of that name, if it is the one of that identity.
func (d *Folder) remove(name string, id FileID) error {
	there, err := d.open(name, id)
	if err != nil {
		return err
	}
	return errors.Join(there.Close(), d.root.Remove(name))
}

func (d *Folder) sync() error { return nil }
