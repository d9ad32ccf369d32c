//go:build !linux && !windows

package storage

import (
	"errors"
	"os"
)

// Guard does not exist on this system: StartGuard always fails.
type Guard struct{}

// StartGuard fails on this system: it has no guard.
func StartGuard(string) (*Guard, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (*Guard) Close() {}

// Lost never has anything.
func (*Guard) Lost() <-chan error { return nil }

// Protect fails on this system: it has no guard.
func (*Guard) Protect(*File) error { return errors.ErrUnsupported }

func (*File) lock() {}

// Writers is not told on this system.
func Writers(*os.File) (bool, error) { return false, errors.ErrUnsupported }

// IsGuard is always false on this system.
func IsGuard() bool { return false }

// GuardMain is always false on this system.
func GuardMain() bool { return false }
