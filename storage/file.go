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
	"sync"
)

// File is a capture file being written. It is not safe for concurrent use, but for Look and Open.
//
// Its contents up to the last successful Write are safe from the end of the
// process, however sudden; up to Finish, also from the end of the machine.
type File struct {
	f          *os.File
	path       string // as it was given
	name       naming
	size       int64
	begin      []byte // the first bytes that were written
	protection protection

	mu     sync.Mutex // guards what follows: the file may be looked at while it is brought to its end
	folder *Folder
	base   string // the file's name in the folder
	id     FileID // zero when it is not known
	tag    tag    // what tells where the file is
	closed bool
}

// ErrTampered means that a file is not what was written.
var ErrTampered = errors.New("somebody else has cut or overwritten the file while it was being written")

// ErrReplaced means that another file has come to stand where one was made.
var ErrReplaced = errors.New("it is another file than the one that was made here")

// Remove removes a file that is closed. It follows no link and leaves alone what has taken the file's place since:
// ErrReplaced. It succeeds when the file is gone already. On Windows it fails while another program has the file open and does not
// share it (IsBusy).
func (f *File) Remove() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	err := f.folder.remove(f.base, f.id)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("remove %s: %w", f.path, err)
	}
	return nil
}

// open opens the file of that name for reading, if it is the one of that identity.
func (d *Folder) open(name string, id FileID) (*os.File, error) {
	f, err := d.root.OpenFile(name, os.O_RDONLY|openThis, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: filepath.Join(d.path, name), Err: cause(err)}
	}
	if now, err := IdentifyFile(f); err != nil || now != id || id == (FileID{}) {
		return nil, errors.Join(fmt.Errorf("%s: %w", f.Name(), ErrReplaced), f.Close())
	}
	return f, nil
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

// ID tells the file from every other one; zero where that is not known.
func (f *File) ID() FileID {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.id
}

// Finish syncs the file and its name to the disk and closes it. Only when it returns nil is the file complete, and where it
// was made. The error is a *Displaced when it is not there; of a file that was removed, it then makes a copy if it can. Else
// it may be ErrTampered: somebody has changed what is in it.
func (f *File) Finish() error {
	// The file first, then the folder that names it: a name without its bytes
	// would look like a complete file. fsync(2) asks for both.
	err := errors.Join(f.sync(), f.verify())
	away := f.settle()
	if err = errors.Join(err, f.Close()); err == nil {
		err = f.folder.sync()
	}
	if err == nil && away != nil {
		return away
	}
	return err
}

// settle looks where the file is in the end, and makes a copy of one that was removed.
func (f *File) settle() *Displaced {
	f.mu.Lock()
	defer f.mu.Unlock()
	away := f.look()
	if away != nil {
		f.rescue(away)
	}
	return away
}

// verify checks that the file is as long as what was written, and begins as it
// did. Tools that tidy folders up do not ask whether a file is in use.
func (f *File) verify() error {
	mine, err := f.f.Stat()
	if err != nil {
		return err
	}
	begin := make([]byte, len(f.begin))
	if _, err := f.f.ReadAt(begin, 0); err != nil || !bytes.Equal(begin, f.begin) || mine.Size() != f.size {
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
	f.mu.Lock()
	f.closed = true
	err := f.f.Close()
	f.tag.close()
	f.mu.Unlock()
	f.protection.release()
	return err
}
