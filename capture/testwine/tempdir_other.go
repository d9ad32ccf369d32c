//go:build !windows

package testwine

import "testing"

// TempDir is t.TempDir, also under Wine.
func TempDir(t testing.TB) string {
	t.Helper()
	return t.TempDir()
}
