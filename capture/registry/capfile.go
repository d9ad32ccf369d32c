package registry

import (
	"errors"
	"io/fs"
	"os"
	"syscall"

	"pcapctl/capture/fault"
)

// OpenFile opens the capture file that the record of a session names first, for
// reading. A folder of captures may be open to other users, who could have put
// something else there since, for root to read: the file must belong to the owner of
// the record alone, and no link leads to it. The descriptor is what may be read; its
// path must not be opened again.
//
// Error classes: NotFound, Forbidden, LocalFile.
func (s *Session) OpenFile() (*os.File, error) {
	if s.Record == nil || len(s.Record.files()) == 0 {
		return nil, fault.Errorf(fault.NotFound, "session %q has left no file on this machine", s.Name)
	}
	path := s.Record.files()[0]
	file, err := os.OpenFile(path, os.O_RDONLY|openSafely, 0)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.Errorf(fault.NotFound, "session %q: %w", s.Name, err)
	case errors.Is(err, fs.ErrPermission):
		return nil, fault.Errorf(fault.Forbidden, "session %q: %w", s.Name, err)
	case errors.Is(err, syscall.ELOOP):
		return nil, notItsFile(s.Name, path, "a symbolic link has taken its place")
	case err != nil:
		return nil, fault.Errorf(fault.LocalFile, "session %q: %w", s.Name, err)
	}
	if err := s.checkFile(file, path); err != nil {
		_ = file.Close()
		return nil, err
	}
	return file, nil
}

func (s *Session) checkFile(file *os.File, path string) error {
	st, err := file.Stat()
	if err != nil {
		return fault.Errorf(fault.LocalFile, "session %q: %w", s.Name, err)
	}
	id := inodeOf(st)
	switch {
	case !st.Mode().IsRegular():
		return notItsFile(s.Name, path, "it is not a regular file")
	case id.owner != os.Geteuid():
		return notItsFile(s.Name, path, "it belongs to another user ("+userName(id.owner)+")")
	case id.links != 1:
		return notItsFile(s.Name, path, "it has more than one name (hard links)")
	}
	return nil
}

// notItsFile is the error of a file that a session cannot have made.
func notItsFile(session, path, why string) error {
	return fault.Errorf(fault.Forbidden, "session %q: %s is not the file that it made: %s; if that file is meant, copy it and send the copy: `pcapctl upload FILE --storage-path URL`",
		session, fault.Quote(path), why)
}
