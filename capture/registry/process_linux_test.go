package registry

import (
	"os"
	"runtime"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// signalsTo has the kernel's timer send a signal to the calling thread every 20 µs, as the Go runtime does to preempt it,
// until stop is called. timer_create(2), SIGEV_THREAD_ID.
func signalsTo(t *testing.T) (stop func()) {
	t.Helper()
	event := struct {
		value          uint64
		signal, notify int32
		thread         int32
		_              [44]byte
	}{signal: int32(unix.SIGURG), notify: 4, thread: int32(unix.Gettid())}
	var timer int32
	if _, _, errno := unix.Syscall(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&timer))); errno != 0 {
		t.Fatal(os.NewSyscallError("timer_create", errno))
	}
	every := [2]unix.Timespec{{Nsec: 20_000}, {Nsec: 20_000}}
	if _, _, errno := unix.Syscall6(unix.SYS_TIMER_SETTIME, uintptr(timer), 0, uintptr(unsafe.Pointer(&every)), 0, 0, 0); errno != 0 {
		t.Fatal(os.NewSyscallError("timer_settime", errno))
	}
	return func() { _, _, _ = unix.Syscall(unix.SYS_TIMER_DELETE, uintptr(timer), 0, 0) }
}

// A process that is there is never taken for one that has ended, however many signals
// come while it is looked at: stop would wait for it, and not tell it to end.
func TestProcessExistsAmongSignals(t *testing.T) {
	fd, err := unix.PidfdOpen(os.Getpid(), 0)
	if err != nil {
		t.Skip("a kernel without pidfd_open: ", err)
	}
	p := process{pid: os.Getpid(), fd: fd}
	defer p.close()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer signalsTo(t)()
	gone, looks := 0, 0
	for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); looks++ {
		if !p.exists() {
			gone++
		}
	}
	if gone > 0 {
		t.Errorf("%d of %d looks say that this process has ended", gone, looks)
	}
}
