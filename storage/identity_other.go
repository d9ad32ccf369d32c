//go:build !linux

package storage

import "os"

const openThis = 0

// identity tells a file from all others: by the little that the standard
// library can say of a file on every system.
type identity struct{ name string }

func identify(f *os.File) identity { return identity{f.Name()} }
