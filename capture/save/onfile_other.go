//go:build !linux

package save

import "os/exec"

// asGroup does nothing on this system: what a command has started may outlive
// it.
func asGroup(*exec.Cmd) {}
