package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Windows lets nobody rename a folder while a file in it is open, so that mostly only the file itself can go.
func (f *File) look() *Displaced {
	if f.closed || f.id == (FileID{}) {
		return nil
	}
	gone, ok := removed(f.f)
	if !ok {
		return nil
	}
	now, folder := f.folder.look()
	d := &Displaced{Path: f.path, what: folder}
	switch {
	case gone && now == "":
		d.what = folderRemoved
		return d
	case gone:
		d.what = fileRemoved
		return d
	case now == "":
		return nil // the folder of a file that is there cannot have gone
	}
	there, err := IdentifyPath(f.path)
	if err == nil && there == f.id {
		return nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	d.what = fileRemoved // unless Windows tells where it is
	path, err := linkOf(f.f)
	if err != nil {
		return d
	}
	if there, err := IdentifyPath(path); err != nil || there != f.id {
		return d
	}
	d.what, d.Now = fileRenamed, path
	if now != f.folder.path && strings.EqualFold(path, filepath.Join(now, f.base)) {
		d.what = folderRenamed
	}
	return d
}

// look tells the path that leads to the folder, "" for none, and then why.
func (d *Folder) look() (now string, why displacement) {
	id, err := IdentifyFile(d.self)
	if err != nil {
		return d.path, 0
	}
	there, err := identify(d.path)
	if err == nil && there == id || err != nil && !errors.Is(err, fs.ErrNotExist) {
		return d.path, 0
	}
	if gone, ok := removed(d.self); ok && gone {
		return "", folderRemoved
	}
	path, err := linkOf(d.self)
	if err != nil {
		return d.path, 0 // it cannot be told
	}
	if there, err := identify(path); err == nil && there == id {
		return path, folderRenamed
	}
	return d.path, 0
}

// fileStandardInfo is FILE_STANDARD_INFO.
type fileStandardInfo struct {
	AllocationSize, EndOfFile int64
	NumberOfLinks             uint32
	DeletePending, Directory  bool
}

// removed reports whether f has no name any more, or loses it with its last handle; ok is false when that is not known.
func removed(f *os.File) (gone, ok bool) {
	var info fileStandardInfo
	err := control(f, func(h windows.Handle) error {
		return windows.GetFileInformationByHandleEx(h, windows.FileStandardInfo, (*byte)(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	})
	return info.DeletePending || info.NumberOfLinks == 0, err == nil
}

// linkOf is the path that leads to f now.
func linkOf(f *os.File) (path string, err error) {
	err = control(f, func(h windows.Handle) error {
		buf := make([]uint16, windows.MAX_LONG_PATH)
		n, err := windows.GetFinalPathNameByHandle(h, &buf[0], uint32(len(buf)), 0)
		if err == nil && int(n) >= len(buf) {
			err = windows.ERROR_FILENAME_EXCED_RANGE
		}
		if err != nil {
			return fmt.Errorf("ask where %s is: %w", f.Name(), os.NewSyscallError("GetFinalPathNameByHandle", err))
		}
		path = strings.TrimPrefix(windows.UTF16ToString(buf[:n]), `\\?\`)
		return nil
	})
	return path, err
}
