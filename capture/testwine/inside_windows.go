package testwine

import (
	"testing"

	"golang.org/x/sys/windows"
)

// Inside tells whether this program runs under Wine, and not on a real Windows.
func Inside() bool {
	return windows.NewLazySystemDLL("ntdll.dll").NewProc("wine_get_version").Find() == nil
}

// Broken skips a test that Wine breaks. why says what Wine does differently from Windows. Elsewhere it does nothing.
func Broken(t testing.TB, why string) {
	t.Helper()
	if Inside() {
		t.Skip("Wine: " + why)
	}
}
