//go:build !linux

package save

import "pcapctl/capture/request"

// Hook does not exist on this system: nothing is given up on it, and OnFile does.
type Hook struct{ OnFile }

// StartHook gives the command itself.
func StartHook(_ string, o OnFile, _ *request.Config, _ string) (*Hook, error) { return &Hook{o}, nil }

// IsHook is always false on this system.
func IsHook() bool { return false }

// HookMain does nothing.
func HookMain() {}
