package testwine

import (
	"os"
	"testing"
)

// TempDir is t.TempDir, also under Wine 8: os.RemoveAll, by which that folder would be removed, ends with "Invalid function"
// there. The folder goes with the Windows that the test program has to itself.
func TempDir(t testing.TB) string {
	t.Helper()
	if !Inside() {
		return t.TempDir()
	}
	dir, err := os.MkdirTemp("", "test-")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}
