//go:build !linux

package main

// send sends frames on Linux; the scripts that use it are skipped elsewhere.
func send() { panic("send: only on Linux") }

// docsProgram is run by the test of the documentation, which is for Linux.
func docsProgram() { panic("docs-pcapctl: only on Linux") }

// launch makes system calls fail, which is for Linux.
func launch() { panic("inject: only on Linux") }

// holdLock is run by tests of sessions, which are for Linux.
func holdLock() { panic("hold-lock: only on Linux") }

// programWithProbe is the program; the test of its confinement is for Linux.
func programWithProbe() { main() }
