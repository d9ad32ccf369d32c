package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"pcapctl/storage"
)

// detached puts the worker into a session of its own, without a terminal.
func detached() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

var errNoPipes = errors.New("it was not given its order")

// workerPipes takes over the pipes that the worker was started with.
func workerPipes() (order, answer *os.File, err error) {
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
func redirectStderr(log *os.File) error {
	if err := storage.Uninterrupted(func() error { return unix.Dup3(int(log.Fd()), 2, 0) }); err != nil {
		return fmt.Errorf("redirect standard error to the log file: %w", err)
	}
	return nil
}

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
