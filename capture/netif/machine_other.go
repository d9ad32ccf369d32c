//go:build !linux

package netif

import "runtime"

// Machine says what the machine is and what it runs.
func Machine() (hardware, system string) { return runtime.GOARCH, runtime.GOOS }
