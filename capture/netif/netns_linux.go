package netif

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// In calls fn in the network namespace ns: sockets that fn opens stay in it,
// files are those of this process as ever. ns is the id of a process, also as
// ID@START with the clock tick at which it began, the name of a namespace as
// ip-netns(8) makes them, or the path of one; "" is the namespace of the calling
// thread.
//
// Errors, for errors.Is: fs.ErrNotExist (no such process or namespace) and
// fs.ErrPermission (CAP_SYS_ADMIN is missing); other errors are fn's own.
func In(ns string, fn func() error) error {
	if ns == "" {
		return fn()
	}
	fd, err := openNamespace(ns)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	done := make(chan error, 1)
	go inThrowawayThread(func() {
		if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
			done <- fmt.Errorf("enter the network namespace %s: %w", ns, os.NewSyscallError("setns", err))
			return
		}
		done <- fn()
	})
	return <-done
}

// inThrowawayThread calls fn in a thread that nothing else ever runs in. It is
// called in a goroutine of its own, which it ends.
func inThrowawayThread(fn func()) {
	// The thread is never unlocked: the runtime throws it away with the goroutine.
	runtime.LockOSThread()
	if unix.Gettid() != unix.Getpid() {
		fn()
		return
	}
	// But for the first thread of the process, which cannot end: it would stay in
	// the namespace, and the process be in it for all who look (/proc/PID/ns). While
	// it is held here, another goroutine has another one.
	done := make(chan struct{})
	go func() {
		defer close(done)
		inThrowawayThread(fn)
	}()
	<-done
	runtime.UnlockOSThread()
}

// processOf takes the id of a process apart. start is when it began, in clock ticks
// since the boot, or "" when that was not given.
func processOf(ns string) (pid, start string, ok bool) {
	pid, start, timed := strings.Cut(ns, "@")
	_, err := strconv.ParseUint(pid, 10, 31)
	if timed && err == nil {
		_, err = strconv.ParseUint(start, 10, 64)
	}
	return pid, start, err == nil
}

// namespacePath is the file that stands for the namespace ns.
func namespacePath(ns string) string {
	switch pid, _, ok := processOf(ns); {
	case ok:
		return filepath.Join("/proc", pid, "ns", "net")
	case !filepath.IsAbs(ns):
		return filepath.Join("/run/netns", ns)
	}
	return ns
}

func openNamespace(ns string) (int, error) {
	path := namespacePath(ns)
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, fmt.Errorf("enter the network namespace %s: %w", ns, &fs.PathError{Op: "open", Path: path, Err: err})
	}
	// Entering anything else would fail with an error that says less.
	if kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE); err != nil || kind != unix.CLONE_NEWNET {
		return -1, errors.Join(fmt.Errorf("enter the network namespace %s: %s is not a network namespace: %w", ns, path, fs.ErrNotExist), unix.Close(fd))
	}
	// Whose namespace is open now: an id that went to another process is seen.
	if pid, start, ok := processOf(ns); ok && start != "" && statField(pid, startField) != start {
		return -1, errors.Join(fmt.Errorf("enter the network namespace %s: the process has ended: %w", ns, fs.ErrNotExist), unix.Close(fd))
	}
	return fd, nil
}
