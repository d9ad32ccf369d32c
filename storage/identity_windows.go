package storage

import (
	"fmt"
	"io/fs"
	"os"
	"syscall"
)

const openThis = 0

// IdentifyFile tells which file f is.
func IdentifyFile(f *os.File) (FileID, error) {
	var st syscall.ByHandleFileInformation
	if err := syscall.GetFileInformationByHandle(syscall.Handle(f.Fd()), &st); err != nil {
		return FileID{}, fmt.Errorf("identify %s: %w", f.Name(), os.NewSyscallError("GetFileInformationByHandle", err))
	}
	return FileID{
		Device: uint64(st.VolumeSerialNumber),
		Inode:  uint64(st.FileIndexHigh)<<32 | uint64(st.FileIndexLow),
		Birth:  st.CreationTime.Nanoseconds(),
	}, nil
}

// IdentifyPath tells which file stands at the path. A symbolic link in the
// last place is not followed, but is an error.
func IdentifyPath(path string) (FileID, error) {
	st, err := os.Lstat(path)
	if err != nil {
		return FileID{}, err
	}
	if !st.Mode().IsRegular() {
		return FileID{}, fmt.Errorf("identify %s: it is not a regular file: %w", path, fs.ErrInvalid)
	}
	f, err := os.Open(path)
	if err != nil {
		return FileID{}, err
	}
	defer func() { _ = f.Close() }()
	return IdentifyFile(f)
}
