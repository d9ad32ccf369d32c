//go:build unix

package blobtest

import (
	"os/exec"
	"syscall"
)

// ownGroup makes the command the leader of a process group, as ip netns exec
// and npm's scripts may put others in between.
func ownGroup() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

func kill(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }

func terminate(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
