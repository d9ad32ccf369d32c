package main

import (
	"errors"
	"io"
	"os"
	"os/exec"
	"sync"

	"golang.org/x/sys/windows"

	"pcapctl/capture/fault"
	"pcapctl/storage"
)

func canDetach() error { return nil }

// startDetached starts the worker, with the ends of the pipes that are its own: in the place of the standard input and output, as
// Windows knows no other handles by a number that both agree on.
func startDetached(cmd *exec.Cmd, order, answer *os.File) (*exec.Cmd, error) {
	return storage.StartApart(func() *exec.Cmd {
		return &exec.Cmd{Path: cmd.Path, Args: cmd.Args, Env: cmd.Env, Stdin: order, Stdout: answer, Stderr: cmd.Stderr}
	})
}

// endDetached ends a worker that nobody can do anything with. Its guard completes the file.
func endDetached(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

var errNoPipes = errors.New("it was not given its order")

// workerPipes takes over the pipes that the worker was started with.
func (a *app) workerPipes() (order, answer *os.File, err error) {
	for _, f := range []*os.File{os.Stdin, os.Stdout} {
		if kind, err := windows.GetFileType(windows.Handle(f.Fd())); err != nil || kind != windows.FILE_TYPE_PIPE {
			return nil, nil, errNoPipes
		}
	}
	a.err = &redirected{w: a.err}
	return os.Stdin, os.Stdout, nil
}

// redirected is where the worker's messages go, which changes while it is written to.
type redirected struct {
	mu sync.Mutex
	w  io.Writer
}

// Write implements io.Writer.
func (r *redirected) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.w.Write(p)
}

// redirectStderr makes the log file the worker's standard error, also for what the Go runtime has to say in the end.
func (a *app) redirectStderr(log *os.File) error {
	if err := windows.SetStdHandle(windows.STD_ERROR_HANDLE, windows.Handle(log.Fd())); err != nil {
		return os.NewSyscallError("SetStdHandle", err)
	}
	r, ok := a.err.(*redirected)
	if !ok {
		return errNoPipes
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.w = log
	return nil
}

// canInherit says why descriptors of a caller are not there by their numbers.
func canInherit() error {
	return &fault.Error{
		Class: fault.Invalid, Target: "--ready-fd",
		Message: "it works on Linux only: Windows hands no descriptors on by their numbers; `pcapctl wait NAME --created` waits until packets are captured, and create --no-wait returns then",
	}
}

func writable(int) bool { return false }
