//go:build !linux && !windows

package save

import (
	"context"
	"errors"
	"os/exec"

	"pcapctl/capture/request"
)

func shellCommand(ctx context.Context, _, command string) *exec.Cmd {
	return exec.CommandContext(ctx, command)
}

func runAsGroup(*exec.Cmd) error { return errors.ErrUnsupported }

func passesOn(string) bool { return false }

// Check fails for every command: this system has none.
func (o OnFile) Check(*request.Config, string) error {
	if o.Command == "" {
		return nil
	}
	return errors.New("commands for files are run on Linux and Windows only")
}
