package save

import (
	"testing"

	"golang.org/x/sys/windows"
)

// fullDisk are the errors of a disk that has no room.
var fullDisk = []error{windows.ERROR_DISK_FULL, windows.ERROR_HANDLE_DISK_FULL, windows.ERROR_DISK_QUOTA_EXCEEDED}

func smallDisk(t *testing.T) string {
	t.Helper()
	t.Skip("no small disk can be made here without changing the machine")
	return ""
}
