//go:build !linux

package main

// keepMemory does nothing on this system.
func keepMemory() {}
