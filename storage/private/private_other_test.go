//go:build !windows

package private_test

import (
	"os"
	"testing"
)

func wantPrivate(t *testing.T, path string, folder bool) {
	t.Helper()
	st, err := os.Stat(path)
	must(t, err)
	want := os.FileMode(0o600)
	if folder {
		want = os.ModeDir | 0o700
	}
	if st.Mode() != want {
		t.Errorf("%s: mode %v, want %v", path, st.Mode(), want)
	}
}
