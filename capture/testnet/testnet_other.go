//go:build !linux

// Package testnet gives tests networks of their own, on Linux.
package testnet

import "errors"

// WaitUntilUp always fails on this system.
func WaitUntilUp(string, ...string) error { return errors.ErrUnsupported }
