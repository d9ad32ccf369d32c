package main

import (
	"path/filepath"

	"golang.org/x/sys/windows"

	"pcapctl/storage/private"
)

// startedAsRoot tells whether this process has the rights of an administrator: it was started by "Run as administrator", or as
// SYSTEM.
func startedAsRoot() bool { return private.Elevated() }

// The words of messages about administrators.
const (
	superUser  = "administrators"
	becomeRoot = `use "Run as administrator"`
	listAsRoot = "`pcapctl list` as administrator shows them"
)

// rootStateDir is the state folder of administrators. It is asked of Windows, and not of the environment, which whoever starts the
// program sets.
func rootStateDir() string {
	dir, err := windows.KnownFolderPath(windows.FOLDERID_ProgramData, windows.KF_FLAG_DEFAULT)
	if err != nil {
		dir = `C:\ProgramData`
	}
	return filepath.Join(dir, "pcapctl", "sessions")
}

// userStateDir is that of every other user.
func userStateDir() (string, error) {
	dir, err := windows.KnownFolderPath(windows.FOLDERID_LocalAppData, windows.KF_FLAG_DEFAULT)
	return filepath.Join(dir, "pcapctl", "sessions"), err
}
