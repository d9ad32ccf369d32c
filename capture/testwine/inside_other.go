//go:build !windows

package testwine

import "testing"

// Inside tells whether this program runs under Wine.
func Inside() bool { return false }

// Broken skips a test that Wine breaks, under Wine only. why says what Wine does differently from Windows.
func Broken(testing.TB, string) {}
