// Package private makes files and folders that belong to one user alone: those that hold captures, records of sessions and
// settings. Linux does it with the mode, 0600 and 0700. Windows ignores modes; a file there has what its folder hands down, which
// below C:\ lets every user read. So it is made with a protected DACL, which hands nothing down from above: its owner, who is the
// user of this process, SYSTEM and the Administrators have all rights, and nobody else has any. The DACL comes with the call that
// makes the file, so that nobody can open it before. A file system without permissions, such as FAT, has none for these files
// either: Kept tells.
//
// Folders hand the same rights down to what is made in them by other means.
package private

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Create makes the file name, one component, in the folder. flag is os.O_RDWR or os.O_WRONLY, and what else OpenFile takes.
// It overwrites nothing and follows no link in the last place.
//
// Errors, for errors.Is: fs.ErrExist, fs.ErrPermission, fs.ErrNotExist (the folder has been removed).
func Create(in *os.Root, name string, flag int) (*os.File, error) {
	if err := component("create", name); err != nil {
		return nil, err
	}
	return create(in, name, flag)
}

// CreateFile is Create for a path.
func CreateFile(path string, flag int) (*os.File, error) { return createFile(path, flag) }

// Mkdir makes the folder name, one component, in another folder.
//
// Errors are as those of Create.
func Mkdir(in *os.Root, name string) error {
	if err := component("mkdir", name); err != nil {
		return err
	}
	return mkdir(in, name)
}

// MkdirAll makes a folder, and those above it that are absent. It succeeds when the folder is there already, whoever may use it.
//
// Errors are as those of os.MkdirAll.
func MkdirAll(path string) error { return mkdirAll(path) }

// component refuses what is not the name of a file in the folder itself. Of what a Root refuses, too, it is what a path to the
// kernel of Windows would take for something else: a stream, a device.
func component(op, name string) error {
	if name == "." || !filepath.IsLocal(name) || strings.ContainsAny(name, `/\:`) {
		return &fs.PathError{Op: op, Path: name, Err: fmt.Errorf("it is not the name of a file in a folder: %w", fs.ErrInvalid)}
	}
	return nil
}
