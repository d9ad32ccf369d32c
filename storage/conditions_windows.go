package storage

import (
	"errors"

	"golang.org/x/sys/windows"
)

// errNotFolder is the error of a component of a path that is a file. syscall.ENOTDIR is the error of a path that is not there on Windows.
const errNotFolder = windows.ERROR_DIRECTORY

// IsFull tells the error of a disk, or of a user's quota of it, that has no room. Windows has two for the disk: writes of a file give
// the second.
func IsFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) || errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}

// IsReadOnly tells the error of a file system that nobody may write to.
func IsReadOnly(err error) bool { return errors.Is(err, windows.ERROR_WRITE_PROTECT) }

// IsBusy tells the error of a file that another program has open in a way that keeps it from being removed or opened.
func IsBusy(err error) bool {
	return errors.Is(err, windows.ERROR_SHARING_VIOLATION) || errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_USER_MAPPED_FILE)
}
