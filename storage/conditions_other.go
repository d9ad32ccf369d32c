//go:build !windows

package storage

import (
	"errors"
	"syscall"
)

// errNotFolder is the error of a component of a path that is a file.
const errNotFolder = syscall.ENOTDIR

// IsFull tells the error of a disk, or of a user's quota of it, that has no room.
func IsFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// IsReadOnly tells the error of a file system that nobody may write to.
func IsReadOnly(err error) bool { return errors.Is(err, syscall.EROFS) }

// IsBusy tells the error of a file that another program has open in a way that keeps it from being removed: never on this system.
func IsBusy(error) bool { return false }
