//go:build !windows

package storage

import "os"

// RemoveIn removes a file or an empty folder, by its name in a folder.
func RemoveIn(root *os.Root, name string) error { return root.Remove(name) }
