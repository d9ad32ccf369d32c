package sandbox

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// forbidden are system calls that a capture never makes, on every architecture.
// What would be of no use without a capability is there, too: a kernel has faults.
var forbidden = slices.Concat([]uint32{
	// Other processes.
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE, unix.SYS_PROCESS_MRELEASE, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD,
	unix.SYS_MIGRATE_PAGES, unix.SYS_MOVE_PAGES,
	// Other users and namespaces. clone(2) is looked at by its flags.
	unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETREGID,
	unix.SYS_SETFSUID, unix.SYS_SETFSGID, unix.SYS_SETGROUPS, unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_PERSONALITY,
	// Mounts.
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_OPEN_TREE, unix.SYS_OPEN_TREE_ATTR, unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN,
	unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR, unix.SYS_SWAPON, unix.SYS_SWAPOFF,
	unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_FANOTIFY_INIT, unix.SYS_MKNODAT,
	// The kernel itself.
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_KEYCTL, unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD,
	unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	// The machine.
	unix.SYS_REBOOT, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME,
	unix.SYS_ADJTIMEX, unix.SYS_ACCT, unix.SYS_SYSLOG, unix.SYS_VHANGUP,
}, forbiddenHere)

// forbiddenAlone are those of a process that starts no other program and is
// connected to by nobody.
var forbiddenAlone = slices.Concat([]uint32{
	unix.SYS_EXECVE, unix.SYS_EXECVEAT, unix.SYS_LISTEN, unix.SYS_ACCEPT, unix.SYS_ACCEPT4,
	// Signals go to the process itself, and by pidfd_send_signal(2) to processes that
	// it has started before.
	unix.SYS_PIDFD_OPEN, unix.SYS_TKILL, unix.SYS_RT_SIGQUEUEINFO, unix.SYS_RT_TGSIGQUEUEINFO,
	// Who owns a file needs no capability to open it to others, or to have it run as its
	// owner, and Landlock does not look at that. landlock(7), "Current limitations".
	unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT,
	unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, unix.SYS_SETXATTRAT,
	unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR, unix.SYS_FREMOVEXATTR, unix.SYS_REMOVEXATTRAT, unix.SYS_FILE_SETATTR,
}, forbiddenAloneHere)

// signalsToItself are calls whose first argument must be the process' own id.
var signalsToItself = []uint32{unix.SYS_KILL, unix.SYS_TGKILL}

// forbiddenToOne are those of a process that does not change between root and
// another user.
var forbiddenToOne = []uint32{unix.SYS_SETRESUID, unix.SYS_SETRESGID}

const newNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER |
	unix.CLONE_NEWPID | unix.CLONE_NEWNET

// typing are requests of ioctl(2) that type into a terminal, where whoever called
// the program has a shell.
var typing = []uint32{unix.TIOCSTI, unix.TIOCLINUX}

// Offsets in struct seccomp_data. Of an argument the lower half is looked at: both
// architectures are little-endian, and the kernel takes flags, families and requests
// as 32 bits.
const (
	dataNumber         = 0
	dataArch           = 4
	dataArgument       = 16
	dataSecondArgument = 24
)

// socketKind is the part of the second argument of socket(2) that is not flags,
// SOCK_TYPE_MASK.
const socketKind = 0xf

var allowed = bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}

func answer(errno unix.Errno) bpf.RetConstant {
	return bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(errno)}
}

// families are the kinds of socket that may be opened, of any type.
func (p *Policy) families() (list []uint32) {
	if len(p.Ports) > 0 || p.Observes {
		list = append(list, unix.AF_INET, unix.AF_INET6)
	}
	if p.Programs {
		list = append(list, unix.AF_UNIX, unix.AF_NETLINK) // getaddrinfo(3) of glibc
	}
	return list
}

// sockets is the part of the program that looks at socket(2).
func (p *Policy) sockets(denied bpf.Instruction) []bpf.Instruction {
	list := []bpf.Instruction{bpf.LoadAbsolute{Off: dataArgument, Size: 4}}
	for _, family := range p.families() {
		list = append(list, bpf.JumpIf{Cond: bpf.JumpEqual, Val: family, SkipFalse: 1}, allowed)
	}
	if os.Getenv("NOTIFY_SOCKET") != "" {
		// The service manager is told by datagrams (sd_notify(3)). Other services of this
		// machine, of which some do for root whatever it asks, have stream sockets, and
		// Landlock does not look at those that have a path.
		list = append(list,
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.AF_UNIX, SkipFalse: 4},
			bpf.LoadAbsolute{Off: dataSecondArgument, Size: 4},
			bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: socketKind},
			bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SOCK_DGRAM, SkipFalse: 1},
			allowed,
		)
	}
	return append(list, denied)
}

// filter is the seccomp program: everything is allowed but what is listed.
func (p *Policy) filter() []bpf.Instruction {
	denied := answer(unix.EPERM)
	list := []bpf.Instruction{
		bpf.LoadAbsolute{Off: dataArch, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: auditArch, SkipTrue: 1},
		denied, // 32-bit calls have other numbers
		bpf.LoadAbsolute{Off: dataNumber, Size: 4},
	}
	if otherNumbers != 0 {
		list = append(list, bpf.JumpIf{Cond: bpf.JumpGreaterOrEqual, Val: otherNumbers, SkipFalse: 1}, denied)
	}
	numbers := forbidden
	if p.Observes {
		numbers = slices.DeleteFunc(slices.Clone(numbers), func(n uint32) bool { return n == unix.SYS_ADJTIMEX })
	}
	if !p.Programs {
		numbers = slices.Concat(numbers, forbiddenAlone)
	}
	if !p.Users {
		numbers = slices.Concat(numbers, forbiddenToOne)
	}
	for _, number := range numbers {
		list = append(list, bpf.JumpIf{Cond: bpf.JumpEqual, Val: number, SkipFalse: 1}, denied)
	}
	// clone3(2) has its flags in memory, where a filter cannot look. Without it
	// everybody takes clone(2).
	list = append(list, bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_CLONE3, SkipFalse: 1}, answer(unix.ENOSYS))
	list = append(list,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_CLONE, SkipFalse: 4},
		bpf.LoadAbsolute{Off: dataArgument, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpBitsSet, Val: newNamespaces, SkipFalse: 1},
		denied,
		allowed,
	)
	list = append(list,
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_IOCTL, SkipFalse: uint8(1 + 2*len(typing) + 1)},
		bpf.LoadAbsolute{Off: dataSecondArgument, Size: 4})
	for _, request := range typing {
		list = append(list, bpf.JumpIf{Cond: bpf.JumpEqual, Val: request, SkipFalse: 1}, denied)
	}
	list = append(list, allowed)
	if !p.Programs {
		for _, number := range signalsToItself {
			list = append(list,
				bpf.JumpIf{Cond: bpf.JumpEqual, Val: number, SkipFalse: 4},
				bpf.LoadAbsolute{Off: dataArgument, Size: 4},
				bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(os.Getpid()), SkipFalse: 1},
				allowed,
				denied,
			)
		}
	}
	sockets := p.sockets(denied)
	list = append(list, bpf.JumpIf{Cond: bpf.JumpEqual, Val: unix.SYS_SOCKET, SkipFalse: uint8(len(sockets))})
	list = append(list, sockets...)
	return append(list, allowed)
}

// haveSeccomp tells whether the kernel filters system calls. seccomp(2).
func haveSeccomp() bool {
	action := uint32(unix.SECCOMP_RET_ERRNO)
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action))) //nolint:gosec // G103: the call's argument
	return errno == 0
}

var errArch = errors.New("system calls of this architecture are not filtered")

// seccomp filters the system calls of all threads.
func (p Policy) seccomp() error {
	if auditArch == 0 {
		return errArch
	}
	raw, err := bpf.Assemble(p.filter())
	if err != nil {
		return err
	}
	program := make([]unix.SockFilter, len(raw))
	for i, in := range raw {
		program[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	// For the kernel, which brings it to the other threads with the filter; a build
	// with cgo could not.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl PR_SET_NO_NEW_PRIVS", err)
	}
	prog := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	thread, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog))) //nolint:gosec // G103: the call's argument
	runtime.KeepAlive(program)
	switch {
	case errno != 0:
		return os.NewSyscallError("seccomp", errno)
	case thread != 0: // which has a filter of its own: nothing was changed. seccomp(2), SECCOMP_FILTER_FLAG_TSYNC.
		return fmt.Errorf("seccomp: the filter cannot be that of thread %d", thread)
	}
	return nil
}
