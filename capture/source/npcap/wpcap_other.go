//go:build !windows

package npcap

// load always fails with ErrUnsupported.
func load() (driver, error) { return nil, ErrUnsupported }
