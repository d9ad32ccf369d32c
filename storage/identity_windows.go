package storage

import (
	"fmt"
	"io/fs"
	"os"
	"unsafe"

	"golang.org/x/sys/windows"
)

const openThis = 0

// fileIDInfo is FILE_ID_INFO.
type fileIDInfo struct {
	VolumeSerialNumber uint64
	Low, High          uint64 // 128 bits
}

// IdentifyFile tells which file f is: the serial number of its volume, and its id there. NTFS puts a number into the id that changes
// when its place is used for another file, and ReFS uses none twice. So the time at which a file was made is left out: whoever may
// write to it can change that. Only ReFS has ids of more than 64 bits, which are folded.
func IdentifyFile(f *os.File) (FileID, error) {
	var id FileID
	err := control(f, func(h windows.Handle) error {
		var long fileIDInfo
		if windows.GetFileInformationByHandleEx(h, windows.FileIdInfo, (*byte)(unsafe.Pointer(&long)), uint32(unsafe.Sizeof(long))) == nil {
			const odd = 0x9e3779b97f4a7c15
			id = FileID{Device: long.VolumeSerialNumber, Inode: long.Low ^ long.High*odd}
			return nil
		}
		var st windows.ByHandleFileInformation // of a file system without the other, such as FAT
		err := windows.GetFileInformationByHandle(h, &st)
		id = FileID{Device: uint64(st.VolumeSerialNumber), Inode: uint64(st.FileIndexHigh)<<32 | uint64(st.FileIndexLow)}
		return os.NewSyscallError("GetFileInformationByHandle", err)
	})
	if err != nil {
		return FileID{}, fmt.Errorf("identify %s: %w", f.Name(), err)
	}
	return id, nil
}

// IdentifyPath tells which file stands at the path. A symbolic link in the
// last place is not followed, but is an error. Nobody who has the file open is disturbed, nor keeps it from being identified.
func IdentifyPath(path string) (FileID, error) {
	st, err := os.Lstat(path)
	if err != nil {
		return FileID{}, err
	}
	if !st.Mode().IsRegular() {
		return FileID{}, fmt.Errorf("identify %s: it is not a regular file: %w", path, fs.ErrInvalid)
	}
	return identify(path)
}

// identify tells which file or folder stands at the path.
func identify(path string) (FileID, error) {
	f, err := openPath(path, 0)
	if err != nil {
		return FileID{}, err
	}
	defer func() { _ = f.Close() }()
	return IdentifyFile(f)
}
