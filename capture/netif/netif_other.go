//go:build !linux && !windows

package netif

// List always fails with ErrUnsupported.
func List() ([]Interface, error) { return nil, ErrUnsupported }
