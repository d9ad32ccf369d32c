//go:build !linux

package save

import "os"

func openOutlet(f *os.File) (Outlet, error) { return plainOutlet{f}, nil }
