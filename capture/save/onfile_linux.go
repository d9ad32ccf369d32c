package save

import (
	"os"
	"os/exec"
	"syscall"
)

// asGroup gives the command a process group of its own, so that Ctrl-C at the
// terminal does not reach it, and all of it can be ended at once.
func asGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error {
		if err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL); err != nil {
			return os.ErrProcessDone
		}
		return nil
	}
}
