package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Create makes the file name, which belongs to its owner alone (see package private). It has its name from the start.
//
// Errors, for errors.Is: fs.ErrExist, fs.ErrPermission.
func (d *Folder) Create(name string) (*File, error) { return d.create(name) }

const shareAll = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE

var reOpenFile = windows.NewLazySystemDLL("kernel32.dll").NewProc("ReOpenFile")

// Open opens the very file a second time, for whoever reads it back: a path may lead to another file by now. While it is being
// written that is another opening of what is open, and not a second handle of it: on Windows the two would have one position, which
// a read at an offset moves, too. Afterwards it is found by its name in the held folder, if it is still the file that was made.
//
// Errors, for errors.Is: ErrReplaced, fs.ErrNotExist.
func (f *File) Open() (*os.File, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return f.folder.open(f.base, f.id)
	}
	var h windows.Handle
	err := control(f.f, func(own windows.Handle) error {
		r, _, err := reOpenFile.Call(uintptr(own), windows.GENERIC_READ|windows.GENERIC_WRITE, shareAll, 0)
		if h = windows.Handle(r); h == windows.InvalidHandle {
			return err
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("open %s again: %w", f.path, os.NewSyscallError("ReOpenFile", err))
	}
	return os.NewFile(uintptr(h), f.path), nil
}

// control calls do with the handle of f, which cannot be closed and used again meanwhile.
func control(f *os.File, do func(windows.Handle) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(fd uintptr) { failed = do(windows.Handle(fd)) }); err != nil {
		return err
	}
	return failed
}

// openPath opens what stands at a path, a file or a folder, and no link in the last place. Without rights to its contents, access
// 0, it fails for nobody who has it open, and disturbs nobody.
func openPath(path string, access uint32) (*os.File, error) {
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, err
	}
	h, err := windows.CreateFile(name, access|windows.FILE_READ_ATTRIBUTES, shareAll, nil, windows.OPEN_EXISTING,
		windows.FILE_FLAG_BACKUP_SEMANTICS|windows.FILE_FLAG_OPEN_REPARSE_POINT, 0)
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(h), path), nil
}

// remove removes the file of that name, if it is the one of that identity. What is looked at is what is removed: both go by the one
// handle. Where Windows can do it (from Windows 10 1709 on, NTFS) the name goes at once, although somebody has the file open; else
// when the last handle is closed.
func (d *Folder) remove(name string, id FileID) error {
	f, err := openPath(filepath.Join(d.path, name), windows.DELETE)
	if err != nil {
		return err
	}
	if now, err := IdentifyFile(f); err != nil || now != id || id == (FileID{}) {
		return errors.Join(fmt.Errorf("%s: %w", f.Name(), ErrReplaced), f.Close())
	}
	err = control(f, func(h windows.Handle) error {
		flags := uint32(windows.FILE_DISPOSITION_DELETE | windows.FILE_DISPOSITION_POSIX_SEMANTICS | windows.FILE_DISPOSITION_IGNORE_READONLY_ATTRIBUTE)
		err := windows.SetFileInformationByHandle(h, windows.FileDispositionInfoEx, (*byte)(unsafe.Pointer(&flags)), uint32(unsafe.Sizeof(flags)))
		if err == nil || errors.Is(err, windows.ERROR_ACCESS_DENIED) || errors.Is(err, windows.ERROR_SHARING_VIOLATION) {
			return err
		}
		// An older Windows, another file system, or Wine, each with an error of its own.
		remove := byte(1)
		return windows.SetFileInformationByHandle(h, windows.FileDispositionInfo, &remove, 1)
	})
	if err != nil {
		err = &fs.PathError{Op: "remove", Path: f.Name(), Err: err}
	}
	return errors.Join(err, f.Close())
}

// sync does nothing: Windows has no call for it. FlushFileBuffers wants a handle that may write, which no folder gives ("Access is
// denied"). NTFS and ReFS log changes of names, and to flush a file, which File.Finish does before, brings the log up to its last
// change to the disk, its creation included (FlushFileBuffers flushes metadata). FAT has no log: the name of a new file may be lost
// there when the power fails.
func (d *Folder) sync() error { return nil }
