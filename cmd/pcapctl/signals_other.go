//go:build !windows

package main

import "os"

// hasten does nothing: who sends a signal leaves the process the time that it needs.
func (*app) hasten(os.Signal, <-chan struct{}) {}

// ignoreLogoffs does nothing: a logoff is SIGHUP, which has its own rules.
func ignoreLogoffs() {}
