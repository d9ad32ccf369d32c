//go:build !linux

package storage

// CreateHidden is Create on this system.
func CreateHidden(dir, path string) (*File, error) { return Create(dir, path) }

// Appear does nothing on this system: the file has its name.
func (f *File) Appear() error { return nil }
