package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"pcapctl/capture/fault"
)

// OpenFile opens the capture file that the record of a session names first, as
// OpenOwn does.
func (s *Session) OpenFile() (*os.File, error) {
	if s.Record == nil || len(s.Record.files()) == 0 {
		return nil, fault.Errorf(fault.NotFound, "session %q has left no file on this machine", s.Name)
	}
	return OpenOwn(fmt.Sprintf("session %q", s.Name), s.Record.files()[0])
}

// OpenOwn opens a capture file of a session of this user's for reading. A folder of
// captures may be open to other users, who could have put something else there since, for
// root to read: the file must belong to this user alone, and no link leads to it. The
// descriptor is what may be read; its path must not be opened again. whose says in errors
// what has made it.
//
// Error classes: NotFound, Forbidden, LocalFile.
func OpenOwn(whose, path string) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|openSafely, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.Errorf(fault.NotFound, "%s: its file was moved or removed: %w", whose, err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fault.Errorf(fault.Forbidden, "%s: %w", whose, err)
	case errors.Is(err, syscall.ELOOP):
		return nil, notItsFile(whose, path, "a symbolic link has taken its place")
	case err != nil:
		return nil, fault.Errorf(fault.LocalFile, "%s: %w", whose, err)
	}
	if err := checkFile(file, whose, path); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

func checkFile(file *os.File, whose, path string) error {
	st, err := file.Stat()
	if err != nil {
		return fault.Errorf(fault.LocalFile, "%s: %w", whose, err)
	}
	id := inodeOf(file, st)
	switch {
	case !st.Mode().IsRegular():
		return notItsFile(whose, path, "it is not a regular file")
	case !isOwn(id.owner):
		return notItsFile(whose, path, "it belongs to another user ("+userName(id.owner)+")")
	case id.links != 1:
		return notItsFile(whose, path, "it has more than one name (hard links)")
	}
	return nil
}

// notItsFile is the error of a file that a session cannot have made.
func notItsFile(whose, path, why string) error {
	return fault.Errorf(fault.Forbidden, "%s: %s is not the file that it made: %s; if that file is meant, copy it, and name the copy (for upload with --storage-path URL)",
		whose, fault.Quote(path), why)
}
