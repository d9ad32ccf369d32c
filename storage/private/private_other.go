//go:build !windows

package private

import "os"

const (
	fileMode   = 0o600
	folderMode = 0o700
)

func create(in *os.Root, name string, flag int) (*os.File, error) {
	return in.OpenFile(name, os.O_CREATE|os.O_EXCL|flag, fileMode)
}

func createFile(path string, flag int) (*os.File, error) {
	return os.OpenFile(path, os.O_CREATE|os.O_EXCL|flag, fileMode)
}

func mkdir(in *os.Root, name string) error { return in.Mkdir(name, folderMode) }

func mkdirAll(path string) error { return os.MkdirAll(path, folderMode) }

// Kept tells whether the file system of f keeps the rights of its files. It is not asked on this system, where one that keeps none
// is mounted with rights for all its files.
func Kept(*os.File) bool { return true }
