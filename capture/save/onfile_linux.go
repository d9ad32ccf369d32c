package save

import (
	"context"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"

	"pcapctl/capture/request"
)

const shell = "/bin/sh"

// inFolder has the shell go to the folder, and then be the one that runs the
// command: it may have rights there that who starts it has given up.
const inFolder = `cd -- "$1" && exec sh -c "$2"`

// shellCommand runs a command in a folder. The shell is not looked for by PATH, which under sudo may be that of the user who
// called it.
func shellCommand(ctx context.Context, folder, command string) *exec.Cmd {
	return exec.CommandContext(ctx, shell, "-c", inFolder, "sh", folder, command)
}

// runAsGroup runs the command in a process group of its own, so that Ctrl-C at the
// terminal does not reach it, and all of it can be ended at once.
func runAsGroup(cmd *exec.Cmd) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
			return os.ErrProcessDone
		}
		return nil
	}
	return cmd.Run()
}

// passedOn are the variables of our own environment that a command gets. There
// may be secrets in others.
var passedOn = []string{"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "XDG_RUNTIME_DIR"}

func passesOn(name string) bool {
	return slices.Contains(passedOn, name) || strings.HasPrefix(name, "LC_")
}

// Check finds nothing: what a command is told is never a part of it.
func (OnFile) Check(*request.Config, string) error { return nil }
