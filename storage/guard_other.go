//go:build !linux

package storage

import "errors"

type guard struct{}

// Protect does nothing on this system: it has no guard.
func (f *File) Protect(string) error { return errors.ErrUnsupported }

func (*File) hold() {}

func (*guard) commit(int64) {}
func (*guard) release()     {}

// GuardMain is always false on this system.
func GuardMain() bool { return false }

func isInvalid(error) bool { return false }
