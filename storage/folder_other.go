//go:build !linux

package storage

import "os"

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
