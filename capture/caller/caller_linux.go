package caller

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Find is the user on whose behalf this process works: nil when that is the
// process's own user, because it is not root or because root itself has called it.
//
// An environment that names no valid user is an error: as whom to go on would be a
// guess.
func Find() (*User, error) {
	if unix.Geteuid() != 0 {
		return nil, nil
	}
	return find(os.Getenv)
}

// keep leaves an id as it is. setresuid(2).
const keep = -1

// Do runs do on a thread that has the user's rights and no others, while the rest of
// the process keeps those of root. What do opens stays open. Goroutines that do
// starts have the rights of the process. A process that has the user's rights already
// (Lower, GiveUp) runs it as it is.
func (u *User) Do(do func() error) error {
	if unix.Geteuid() == u.uid {
		return do()
	}
	return onThread(func() error {
		if err := setGroups(u.groups); err != nil {
			return err
		}
		if err := setIDs(unix.SYS_SETRESGID, [3]int{u.gid, u.gid, u.gid}); err != nil {
			return err
		}
		return setIDs(unix.SYS_SETRESUID, [3]int{u.uid, u.uid, u.uid})
	}, do)
}

// Lower gives the whole process the user's rights, in a way that Raised and Restore
// can undo: real and saved ids stay those of root.
func (u *User) Lower() error {
	err := os.NewSyscallError("setgroups", syscall.Setgroups(u.groups))
	if err == nil {
		err = os.NewSyscallError("setresgid", syscall.Setresgid(keep, u.gid, keep))
	}
	if err == nil {
		err = os.NewSyscallError("setresuid", syscall.Setresuid(keep, u.uid, keep))
	}
	if err == nil {
		err = NotDumpable()
	}
	return err
}

// Raised runs do on a thread with root's rights, in a process that Lower was called
// in.
func (u *User) Raised(do func() error) error {
	return onThread(func() error {
		if err := setIDs(unix.SYS_SETRESUID, [3]int{keep, 0, keep}); err != nil {
			return err
		}
		return setIDs(unix.SYS_SETRESGID, [3]int{keep, 0, keep})
	}, do)
}

// Restore gives the whole process root's rights again, in a process that Lower was
// called in. The groups besides the first stay the user's.
func (u *User) Restore() error {
	err := os.NewSyscallError("setresuid", syscall.Setresuid(keep, 0, keep))
	if err == nil {
		err = os.NewSyscallError("setresgid", syscall.Setresgid(keep, 0, keep))
	}
	if err == nil {
		err = NotDumpable()
	}
	return err
}

// GiveUp gives the whole process the user's rights for good. It does not go together
// with Lower.
func (u *User) GiveUp() error {
	err := os.NewSyscallError("setgroups", syscall.Setgroups(u.groups))
	if err == nil {
		err = os.NewSyscallError("setresgid", syscall.Setresgid(u.gid, u.gid, u.gid))
	}
	if err == nil {
		err = os.NewSyscallError("setresuid", syscall.Setresuid(u.uid, u.uid, u.uid))
	}
	if err == nil {
		err = NotDumpable()
	}
	if err == nil {
		err = noCapabilities()
	}
	return err
}

// noCapabilities is an error when there are capabilities: with SECBIT_NO_SETUID_FIXUP,
// which a parent may have set, they stay when the user changes. capabilities(7).
func noCapabilities() error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var sets [2]unix.CapUserData // 64 bits of each set
	if err := unix.Capget(&header, &sets[0]); err != nil {
		return os.NewSyscallError("capget", err)
	}
	for _, s := range sets {
		if s.Effective|s.Permitted != 0 {
			return errors.New("the capabilities of root stayed although the user was changed: the securebits of this process keep them")
		}
	}
	return nil
}

// onThread runs two functions, the second if the first gives no error, on a thread
// that ends with them: the runtime throws it away with the goroutine that has locked
// it, so that nothing else ever runs with its rights.
func onThread(prepare, do func() error) error {
	done := make(chan error, 1)
	thread := make(chan int, 1)
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// The first thread cannot end before the process does. Held here, it is not
			// the one that the next goroutine gets.
			thread <- 0
			done <- onThread(prepare, do)
			runtime.UnlockOSThread()
			return
		}
		thread <- unix.Gettid()
		err := prepare()
		if err == nil {
			err = NotDumpable()
		}
		if err != nil {
			done <- fmt.Errorf("change the user: %w", err)
			return
		}
		done <- do()
	}()
	id, err := <-thread, <-done
	// What changes the ids of all threads fails fatally when it does not do the same
	// in each of them (syscall.AllThreadsSyscall), so this one must have gone.
	for id != 0 && unix.Tgkill(unix.Getpid(), id, 0) == nil {
		time.Sleep(50 * time.Microsecond)
	}
	return err
}

// setIDs changes the ids (real, effective, saved) of the calling thread alone. The functions of package
// syscall change those of all threads.
func setIDs(call uintptr, ids [3]int) error {
	_, _, errno := unix.RawSyscall(call, uintptr(ids[0]), uintptr(ids[1]), uintptr(ids[2]))
	if errno != 0 {
		return os.NewSyscallError("setres[ug]id", errno)
	}
	return nil
}

func setGroups(groups []int) error {
	list := make([]uint32, len(groups)+1) // never empty, for its address
	for i, g := range groups {
		list[i] = uint32(g)
	}
	_, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, uintptr(len(groups)), uintptr(unsafe.Pointer(&list[0])), 0) //nolint:gosec // G103: setgroups(2) takes an address
	if errno != 0 {
		return os.NewSyscallError("setgroups", errno)
	}
	return nil
}

// NotDumpable keeps the memory of this process from other processes of its user, and
// from core dumps. The kernel forgets it with every change of the user. prctl(2),
// PR_SET_DUMPABLE.
func NotDumpable() error {
	return os.NewSyscallError("prctl PR_SET_DUMPABLE", unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0))
}
