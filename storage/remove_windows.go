package storage

import (
	"errors"
	"io/fs"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/windows"
)

// RemoveIn removes a file or an empty folder, by its name in a folder. A Root removes with the meaning of POSIX only: drivers of
// some file systems answer that call by "Invalid function" (STATUS_INVALID_DEVICE_REQUEST, STATUS_NOT_IMPLEMENTED), and os.Root
// does not try another one then. The file is removed when it is closed, which every file system can do.
func RemoveIn(root *os.Root, name string) error {
	err := root.Remove(name)
	if !errors.Is(err, windows.ERROR_INVALID_FUNCTION) {
		return err
	}
	folder, err := root.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = folder.Close() }()
	h, err := OpenIn(folder, name, windows.DELETE, windows.FILE_DELETE_ON_CLOSE)
	if err != nil {
		return &fs.PathError{Op: "remove", Path: name, Err: err}
	}
	return windows.CloseHandle(h)
}

// OpenIn opens what has the name, one component, in a folder: a file, a folder, or a link itself. access and options are those
// of NtCreateFile.
func OpenIn(folder *os.File, name string, access, options uint32) (windows.Handle, error) {
	object, err := windows.NewNTUnicodeString(name)
	if err != nil {
		return 0, err
	}
	oa := windows.OBJECT_ATTRIBUTES{RootDirectory: windows.Handle(folder.Fd()), ObjectName: object, Attributes: windows.OBJ_CASE_INSENSITIVE}
	oa.Length = uint32(unsafe.Sizeof(oa))
	var h windows.Handle
	err = windows.NtCreateFile(&h, access|windows.SYNCHRONIZE, &oa, &windows.IO_STATUS_BLOCK{}, nil, windows.FILE_ATTRIBUTE_NORMAL,
		windows.FILE_SHARE_READ|windows.FILE_SHARE_WRITE|windows.FILE_SHARE_DELETE, windows.FILE_OPEN,
		options|windows.FILE_OPEN_REPARSE_POINT|windows.FILE_OPEN_FOR_BACKUP_INTENT|windows.FILE_SYNCHRONOUS_IO_NONALERT, 0, 0)
	runtime.KeepAlive(folder)
	if status, ok := errors.AsType[windows.NTStatus](err); ok {
		return 0, status.Errno()
	}
	return h, err
}
