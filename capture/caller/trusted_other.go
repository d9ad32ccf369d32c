//go:build !linux && !windows

package caller

import "os"

// OpenTrusted opens a file for reading. Who could have written it is not looked at
// on this system.
func OpenTrusted(path string, _ ...int) (*os.File, error) { return os.Open(path) }
