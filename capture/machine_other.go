//go:build !linux

package capture

import "runtime"

func describeMachine() (hardware, system string) { return runtime.GOARCH, runtime.GOOS }
