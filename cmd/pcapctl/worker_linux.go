package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"pcapctl/capture/fault"
	"pcapctl/storage"
)

// The worker's descriptors, behind the three that every process has.
const (
	orderFD  = 3
	answerFD = 4
)

// canDetach finds out whether a worker can be started at all.
func canDetach() error {
	if _, err := os.Readlink(guardProgram()); errors.Is(err, fs.ErrNotExist) {
		return fault.Errorf(fault.NotFound, "%w: a session in the background needs /proc: mount it (`mount -t proc proc /proc`), or capture in the foreground, without --no-wait", err)
	}
	return nil
}

// startDetached starts the worker, with the ends of the pipes that are its own, in a session without a terminal.
func startDetached(cmd *exec.Cmd, order, answer *os.File) (*exec.Cmd, error) {
	cmd.Dir = "/"
	cmd.ExtraFiles = []*os.File{order, answer}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	return cmd, cmd.Start()
}

// endDetached ends a worker that nobody can do anything with.
func endDetached(cmd *exec.Cmd) { _ = cmd.Process.Signal(syscall.SIGTERM) }

var errNoPipes = errors.New("it was not given its order")

// workerPipes takes over the pipes that the worker was started with.
func (*app) workerPipes() (order, answer *os.File, err error) {
	for _, fd := range []int{orderFD, answerFD} {
		var st unix.Stat_t
		if err := storage.Uninterrupted(func() error { return unix.Fstat(fd, &st) }); err != nil || st.Mode&unix.S_IFMT != unix.S_IFIFO {
			return nil, nil, errNoPipes
		}
		unix.CloseOnExec(fd)
	}
	return os.NewFile(orderFD, "order"), os.NewFile(answerFD, "answer"), nil
}

// redirectStderr makes the log file the worker's standard error, also for what
// the Go runtime has to say in the end.
func (*app) redirectStderr(log *os.File) error {
	if err := storage.Uninterrupted(func() error { return unix.Dup3(int(log.Fd()), 2, 0) }); err != nil {
		return fmt.Errorf("redirect standard error to the log file: %w", err)
	}
	return nil
}

// canInherit says whether descriptors of a caller are there by their numbers.
func canInherit() error { return nil }

// writable says whether a descriptor is open for writing, and takes it from
// the processes that we start.
func writable(fd int) bool {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFL, 0)
	if err != nil || flags&unix.O_ACCMODE == unix.O_RDONLY {
		return false
	}
	st, err := os.Stat(fmt.Sprintf("/proc/self/fd/%d", fd))
	if err != nil || st.Mode()&fs.ModeDir != 0 {
		return false
	}
	unix.CloseOnExec(fd)
	return true
}
