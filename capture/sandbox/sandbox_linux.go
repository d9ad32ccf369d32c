package sandbox

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// allOfThem stands for the capabilities of a build that cannot give them up.
var allOfThem = []string{"ALL"}

// Supported tells whether a process can give up anything.
const Supported = true

// Enter gives up everything but the policy, for all threads. What it returns has
// been reached whatever the error is. A kernel without Landlock or seccomp is not
// an error, nor is a build with cgo (that of the race detector), which filters
// system calls only: the kernel brings a filter to all threads by itself.
func Enter(p Policy) (Level, error) {
	l := Level{Capabilities: allOfThem, Programs: p.Programs}
	keep := p.kept()
	switch err := giveUp(keep); {
	case errors.Is(err, errors.ErrUnsupported):
	case err != nil:
		return l, err
	default:
		l.Capabilities = keep.names()
	}
	if p.Off {
		return l, nil
	}
	if version, err := p.landlock(); err == nil {
		l.Landlock = version
	}
	l.Seccomp = p.seccomp() == nil
	return l, nil
}

// Settle finds out what the policy needs of the rights that the calling thread has.
// Enter does so itself where it was not called before.
func (p *Policy) Settle() {
	if !p.settled {
		p.override, p.settled = p.needsOverride(), true
	}
}

// kept are the capabilities that the process goes on with.
func (p *Policy) kept() capabilities {
	p.Settle()
	if p.override {
		return setOf(unix.CAP_DAC_OVERRIDE)
	}
	return 0
}

// Expect is the Level that Enter would reach now. It changes nothing.
func Expect(p Policy) Level {
	l := Level{Capabilities: allOfThem, Programs: p.Programs}
	threads := canReachThreads()
	if threads {
		l.Capabilities = p.kept().names()
	}
	if !p.Off {
		l.Seccomp = haveSeccomp()
	}
	if !p.Off && threads {
		l.Landlock = landlockVersion()
	}
	return l
}

// Guard is for a process that was handed all that it uses.
func Guard() error {
	_, err := Enter(Policy{})
	return err
}

// LookAtOthers is for a process that reads /proc of other processes, of whoever
// they are (ptrace(2), PTRACE_MODE_READ), and does nothing else. Landlock is left
// out: it forbids just that.
func LookAtOthers() error {
	if err := giveUp(permitted() & setOf(unix.CAP_SYS_PTRACE)); err != nil {
		return err
	}
	_ = Policy{}.seccomp()
	return nil
}

// Observe is for a process that looks at the sockets and open files of others, of whoever
// they are (proc_pid_fd(5): CAP_SYS_PTRACE, and CAP_DAC_READ_SEARCH for the folder), and
// has the tools of packet filters print their rules: nft needs CAP_NET_ADMIN, iptables-save
// asks by a raw socket and needs CAP_NET_RAW as well. Landlock is left out, as by
// LookAtOthers.
func Observe() error {
	rules := setOf(unix.CAP_NET_ADMIN) | setOf(unix.CAP_NET_RAW)
	keep := permitted() & (setOf(unix.CAP_SYS_PTRACE) | setOf(unix.CAP_DAC_READ_SEARCH) | rules)
	if err := giveUpTo(keep, rules); err != nil {
		return err
	}
	_ = Policy{Programs: true, Observes: true}.seccomp()
	return nil
}

// StartCommands is for a process that starts commands which have the rights of
// whoever called this program. It has none itself but to end them (CAP_KILL): a
// command of root gets root's by execve(2), one of another user has the ambient
// ones, as without us. What a file capability of this program gave goes.
func StartCommands() error {
	ambient := ambientSet()
	keep := permitted() & (setOf(unix.CAP_KILL) | ambient)
	if os.Geteuid() != 0 {
		keep = ambient
	}
	return setCapabilities(keep, inheritable())
}

// allThreads makes a system call in every thread of the process. A program with C
// in it has threads that Go does not know of: errors.ErrUnsupported.
//
//go:uintptrescapes
func allThreads(name string, call, a, b uintptr) error {
	_, _, errno := syscall.AllThreadsSyscall(call, a, b, 0)
	if errno != 0 {
		return os.NewSyscallError(name, errno)
	}
	return nil
}

// uninterrupted calls fn again for as long as a signal interrupts it, as package os
// does: file systems of a network or in user space give EINTR.
func uninterrupted(fn func() error) error {
	for {
		if err := fn(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// canReachThreads tells whether allThreads works in this build.
func canReachThreads() bool {
	_, _, errno := syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0)
	return errno == 0
}

// KeepDescriptors keeps what the process was started with from the programs that
// it starts, but for the standard streams: a shell's pipes and files are nobody's
// business. They stay open here, so that /dev/fd/63 can be opened.
func KeepDescriptors() {
	const first = 3
	err := unix.CloseRange(first, ^uint(0), unix.CLOSE_RANGE_CLOEXEC)
	if err == nil {
		return
	}
	entries, err := os.ReadDir("/proc/self/fd") // before Linux 5.11
	if err != nil {
		return
	}
	for _, e := range entries {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd >= first {
			unix.CloseOnExec(fd)
		}
	}
}

// giveUp leaves the process with the capabilities of keep, which it has, and with
// no way to others.
func giveUp(keep capabilities) error { return giveUpTo(keep, 0) }

// giveUpTo is giveUp for a process whose programs may have some of keep.
func giveUpTo(keep, programs capabilities) error {
	// Another program must not bring more, neither by its owner nor by its file.
	// prctl(2). Not in the ambient set even if kept: it would be handed on.
	err := allThreads("prctl PR_SET_NO_NEW_PRIVS", unix.SYS_PRCTL, unix.PR_SET_NO_NEW_PRIVS, 1)
	if err == nil {
		err = dropBounding(programs)
	}
	if err == nil {
		err = setCapabilities(keep, 0)
	}
	if err != nil {
		return fmt.Errorf("give up the capabilities: %w", err)
	}
	return nil
}
