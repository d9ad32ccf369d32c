//go:build !linux

package storage

import "errors"

// Guard is not to be had on this system.
type Guard struct{}

type guardSlot struct{}

// StartGuard fails on this system: it has no guard.
func StartGuard(string) (*Guard, error) { return nil, errors.ErrUnsupported }

// Close does nothing.
func (*Guard) Close() {}

// Protect fails on this system: it has no guard.
func (f *File) Protect(*Guard) error { return errors.ErrUnsupported }

func (*File) hold() {}

func (*guardSlot) commit(int64) {}
func (*guardSlot) release()     {}

// GuardMain is always false on this system.
func GuardMain() bool { return false }

func isInvalid(error) bool { return false }
