//go:build !linux && !windows

package storage

import (
	"errors"
	"os"
)

// tag is nothing on this system.
type tag struct{}

func newTag(*Folder, string, FileID) tag { return tag{} }

func (tag) close() {}

// Look tells what has become of a file that is being written: always nil, as that cannot be told on this system. It may be
// called beside those who write.
func (f *File) Look() *Displaced {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.look()
}

func (*File) look() *Displaced { return nil }

func (d *Folder) look() (now string, why displacement) { return d.path, 0 }

func linkOf(*os.File) (string, error) { return "", errors.ErrUnsupported }
