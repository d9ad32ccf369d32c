//go:build !linux

package main

// send sends frames on Linux; the scripts that use it are skipped elsewhere.
func send() { panic("send: only on Linux") }
