//go:build !linux

package storage

// CreateHidden is Create on this system.
func CreateHidden(dir, path string) (*File, error) { return Create(dir, path) }
