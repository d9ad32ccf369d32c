package save

import (
	"os"
	"syscall"
	"testing"
)

// fullDisk are the errors of a disk that has no room.
var fullDisk = []error{syscall.ENOSPC, syscall.EDQUOT}

// smallDisk is a folder on a disk of 2 MiB.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small tmpfs")
	}
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=2m"); err != nil {
		t.Fatal("mount a small tmpfs: ", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
	return dir
}
