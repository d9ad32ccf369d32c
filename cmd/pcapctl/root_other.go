//go:build !windows

package main

import (
	"os"
	"path/filepath"
)

func startedAsRoot() bool { return os.Geteuid() == 0 }

// The words of messages about root.
const (
	superUser  = "root"
	becomeRoot = "use sudo"
	listAsRoot = "`sudo pcapctl list`"
)

// rootStateDir is the state folder of root.
func rootStateDir() string { return "/var/lib/pcapctl" }

// userStateDir is that of every other user.
func userStateDir() (string, error) {
	// A relative path in the variable is invalid and ignored (XDG Base
	// Directory Specification).
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "pcapctl"), nil
	}
	home, err := os.UserHomeDir()
	return filepath.Join(home, ".local", "state", "pcapctl"), err
}
