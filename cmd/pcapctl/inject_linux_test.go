package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"pcapctl/capture/testnet"
)

// An injector makes system calls of a real pcapctl process, and of all processes
// that come from it, fail as a broken machine would. The program is started by a
// launcher, which installs a seccomp filter and executes it: calls of some kinds
// stop in the kernel then, and the injector says of each whether it goes on or
// fails, and with which error. seccomp_unotify(2). No ptrace, so that threads,
// signals and the program's own children are as they always are.
type injector struct {
	t    *testing.T
	base string // folder that paths are told relative to
	done chan struct{}

	mu        sync.Mutex
	phase     phase
	calls     map[site]int // how often each was met
	fault     *injection
	delivered int
	pids      map[int]bool // threads that made calls
}

// phase is how far the session under test has come when a call is made.
type phase string

const (
	starting  phase = "start" // until packets are being captured
	capturing phase = "capture"
	closing   phase = "end" // from the moment that it was asked to end
)

// site is a place where a system call can fail.
type site struct {
	phase  phase
	role   string // the process: command, worker, or a helper such as the guard
	kind   string // of the system call: see callKinds
	target string // what it is about: a path below base, or what sort of descriptor
}

func (s site) String() string {
	return fmt.Sprintf("%s: %s of %s in the %s", s.phase, s.kind, s.target, s.role)
}

// injection is a fault: the nth call at a site fails, and if it lasts all that
// come after it.
type injection struct {
	site  site
	nth   int // from 1 on
	errno unix.Errno
	lasts bool
}

func (i injection) String() string {
	text := fmt.Sprintf("%s, call %d: %s", i.site, i.nth, unix.ErrnoName(i.errno))
	if i.lasts {
		text += " from then on"
	}
	return text
}

// callKinds are the kinds of system calls that are told apart, and their numbers.
var callKinds = map[string][]uint32{
	"write":      {unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_WRITEV},
	"fsync":      {unix.SYS_FSYNC, unix.SYS_FDATASYNC},
	"create":     {unix.SYS_OPENAT},
	"open":       {unix.SYS_OPENAT},
	"mkdir":      {unix.SYS_MKDIRAT},
	"rename":     {unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINKAT},
	"unlink":     {unix.SYS_UNLINKAT},
	"mmap":       {unix.SYS_MMAP},
	"send":       {unix.SYS_SENDMSG, unix.SYS_SENDTO},
	"receive":    {unix.SYS_RECVMSG, unix.SYS_RECVFROM},
	"lock":       {unix.SYS_FLOCK, unix.SYS_FCNTL},
	"stat":       {unix.SYS_STATX, unix.SYS_FSTAT, unix.SYS_NEWFSTATAT},
	"statfs":     {unix.SYS_STATFS, unix.SYS_FSTATFS},
	"fallocate":  {unix.SYS_FALLOCATE},
	"ftruncate":  {unix.SYS_FTRUNCATE},
	"lseek":      {unix.SYS_LSEEK},
	"read":       {unix.SYS_READ, unix.SYS_PREAD64},
	"socket":     {unix.SYS_SOCKET, unix.SYS_SOCKETPAIR},
	"bind":       {unix.SYS_BIND},
	"getsockopt": {unix.SYS_GETSOCKOPT},
	"setsockopt": {unix.SYS_SETSOCKOPT},
	"poll":       {unix.SYS_PPOLL},
	"memfd":      {unix.SYS_MEMFD_CREATE},
	"pipe":       {unix.SYS_PIPE2},
}

// seccompData is what the kernel tells of a call. struct seccomp_data, seccomp(2).
type seccompData struct {
	Nr   int32
	Arch uint32
	IP   uint64
	Args [6]uint64
}

// seccompNotif is struct seccomp_notif, and seccompResponse is
// struct seccomp_notif_resp, seccomp_unotify(2).
type seccompNotif struct {
	ID    uint64
	PID   uint32 // of the thread
	Flags uint32
	Data  seccompData
}

type seccompResponse struct {
	ID    uint64
	Val   int64
	Error int32
	Flags uint32
}

const seccompContinue = 1 // SECCOMP_USER_NOTIF_FLAG_CONTINUE

// launcherName is the name by which the test binary is the launcher.
const launcherName = "inject"

// launch is the launcher: inject SOCKET NUMBERS PROGRAM ARGUMENTS…. It installs the filter for the system
// calls of these numbers, sends the listener over the socket and becomes the
// program.
func launch() {
	fail := func(what string, err error) {
		fmt.Fprintln(os.Stderr, "inject:", what+":", err)
		os.Exit(125)
	}
	socket, err := strconv.Atoi(os.Args[1])
	if err != nil {
		fail("socket", err)
	}
	unix.CloseOnExec(socket)
	// TestMain has kept what is inherited from programs that this one executes.
	for fd := 3; fd < socket; fd++ {
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, 0); err != nil {
			fail("descriptor", err)
		}
	}
	var numbers []uint32
	for text := range strings.SplitSeq(os.Args[2], ",") {
		n, err := strconv.ParseUint(text, 10, 32)
		if err != nil {
			fail("numbers", err)
		}
		numbers = append(numbers, uint32(n))
	}
	// The filter is that of one thread, which executes the program; the listener is
	// sent by another one, whose system calls nobody holds up.
	listener, sent := make(chan int), make(chan error)
	go func() { sent <- unix.Sendmsg(socket, []byte{0}, unix.UnixRights(<-listener), nil, 0) }()
	runtime.LockOSThread()
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		fail("no_new_privs", err)
	}
	fd, err := notify(numbers)
	if err != nil {
		fail("seccomp", err)
	}
	listener <- fd
	if err := <-sent; err != nil {
		fail("send the listener", err)
	}
	fail("execute", syscall.Exec(os.Args[3], os.Args[3:], os.Environ()))
}

// notify has the calling thread's system calls of these numbers, and those of all
// that come from it, wait for the listener that is returned. Once a call was handed to the
// listener, no signal but a deadly one makes it begin anew
// (SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV): else the Go runtime's own signals
// would have calls counted twice.
func notify(numbers []uint32) (int, error) {
	arch := map[string]uint32{"amd64": unix.AUDIT_ARCH_X86_64, "arm64": unix.AUDIT_ARCH_AARCH64}[runtime.GOARCH]
	ret := func(action uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: action}
	}
	load := func(offset uintptr) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: uint32(offset)}
	}
	equal := func(k uint32, jt, jf uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jt: jt, Jf: jf}
	}
	var d seccompData
	prog := []unix.SockFilter{
		load(unsafe.Offsetof(d.Arch)), equal(arch, 1, 0), ret(unix.SECCOMP_RET_ALLOW),
		load(unsafe.Offsetof(d.Nr)),
	}
	for _, n := range numbers {
		prog = append(prog, equal(n, 0, 1), ret(unix.SECCOMP_RET_USER_NOTIF))
	}
	prog = append(prog, ret(unix.SECCOMP_RET_ALLOW))
	fprog := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	fd, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER,
		unix.SECCOMP_FILTER_FLAG_NEW_LISTENER|unix.SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, uintptr(unsafe.Pointer(&fprog)))
	runtime.KeepAlive(prog)
	if errno != 0 {
		return -1, errno
	}
	return int(fd), nil
}

// newInjector makes an injector for what lies below base. fault is nil for one
// that only watches.
func newInjector(t *testing.T, base string, fault *injection) *injector {
	t.Helper()
	return &injector{t: t, base: base, phase: starting, calls: map[site]int{}, pids: map[int]bool{}, fault: fault, done: make(chan struct{})}
}

// start starts cmd, whose path is argument `at` of its own arguments, with system calls of
// these kinds under the injector.
func (in *injector) start(cmd *exec.Cmd, at int, launcher string, kinds ...string) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	ours := pair[0]
	theirs := os.NewFile(uintptr(pair[1]), launcherName)
	var numbers []string
	for _, kind := range kinds {
		for _, n := range callKinds[kind] {
			if text := strconv.Itoa(int(n)); !slices.Contains(numbers, text) {
				numbers = append(numbers, text)
			}
		}
	}
	cmd.ExtraFiles = append(cmd.ExtraFiles, theirs)
	cmd.Args = slices.Insert(cmd.Args, at, launcher, strconv.Itoa(2+len(cmd.ExtraFiles)), strings.Join(numbers, ","))
	err = cmd.Start()
	_ = theirs.Close()
	if err != nil {
		_ = unix.Close(ours)
		return err
	}
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(ours, make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	_ = unix.Close(ours)
	if err != nil {
		return os.NewSyscallError("recvmsg", err)
	}
	msgs, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(msgs) != 1 {
		return fmt.Errorf("the launcher sent no listener: %w", errors.Join(err, cmd.Wait()))
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil {
		return err
	}
	go in.serve(fds[0])
	return nil
}

// serve answers until no process has the filter any more.
func (in *injector) serve(listener int) {
	defer close(in.done)
	defer func() { _ = unix.Close(listener) }()
	for {
		fds := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, -1); err != nil {
			continue // EINTR
		}
		if fds[0].Revents&unix.POLLIN == 0 {
			return
		}
		var notif seccompNotif // the kernel wants zeros
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_RECV, uintptr(unsafe.Pointer(&notif))); errno != 0 {
			continue // ENOENT: the process was killed meanwhile
		}
		resp := seccompResponse{ID: notif.ID, Flags: seccompContinue}
		if errno := in.decide(&notif); errno != 0 {
			resp.Flags, resp.Error = 0, -int32(errno)
		}
		_, _, _ = unix.Syscall(unix.SYS_IOCTL, uintptr(listener), unix.SECCOMP_IOCTL_NOTIF_SEND, uintptr(unsafe.Pointer(&resp)))
	}
}

// enter says how far the session has come.
func (in *injector) enter(p phase) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.phase = p
}

// deliveries is how many calls were made to fail.
func (in *injector) deliveries() int {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.delivered
}

// killAll kills the processes that are left.
func (in *injector) killAll() {
	in.mu.Lock()
	defer in.mu.Unlock()
	for pid := range in.pids {
		_ = unix.Kill(pid, unix.SIGKILL) // of a thread, it kills the process
	}
}

// ended waits until no process is left that came from the one that was started.
func (in *injector) ended(d time.Duration) bool {
	select {
	case <-in.done:
		return true
	case <-time.After(d):
		return false
	}
}

// decide gives the error that a call fails with, 0 for none.
func (in *injector) decide(n *seccompNotif) unix.Errno {
	kind, target := in.describe(int(n.PID), &n.Data)
	if kind == "" || notOurs.MatchString(target) {
		return 0
	}
	role := roleOf(int(n.PID))
	if role == launcherName {
		return 0
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.pids[int(n.PID)] = true
	at := site{in.phase, role, kind, target}
	in.calls[at]++
	f := in.fault
	switch {
	case f == nil:
		return 0
	case f.lasts && in.delivered > 0:
		at.phase = f.site.phase // a fault that lasts outlasts the phase
		if at != f.site {
			return 0
		}
	case at != f.site || in.calls[at] != f.nth:
		return 0
	}
	in.delivered++
	return f.errno
}

// notOurs are the targets of the Go runtime and of the dynamic loader, which end
// the program, or go on without, and of the eventfds: the runtime has one besides
// that of the ring, and gives up when it fails. No kernel makes a write to them fail.
var notOurs = regexp.MustCompile(`^/(usr/)?lib|^/etc/ld\.so|^/sys/(kernel/mm|fs/cgroup)|^/proc/(PID|self)/(cgroup|maps|mountinfo)$|^eventfd$`)

// roleOf tells which of the program's processes a thread belongs to.
func roleOf(pid int) string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	args := strings.Split(string(text), "\x00")
	switch {
	case filepath.Base(args[0]) == launcherName:
		return launcherName
	case strings.HasPrefix(args[0], "pcap-"): // its helpers: guard, hook, netns
		return strings.TrimPrefix(args[0], "pcap-")
	case len(args) > 1 && args[1] == workerName:
		return "worker"
	default:
		return "command"
	}
}

// describe tells what a call is about, with kind "" for one that is not looked at.
func (in *injector) describe(pid int, d *seccompData) (kind, target string) {
	fd := func(arg int) string { return in.descriptor(pid, int(int32(d.Args[arg]))) }
	path := func(dir, arg int) string {
		name := stringAt(pid, d.Args[arg])
		if name == "" {
			return fd(dir)
		}
		if !filepath.IsAbs(name) {
			if at := int32(d.Args[dir]); at == unix.AT_FDCWD {
				cwd, _ := os.Readlink(fmt.Sprintf("/proc/%d/cwd", pid))
				name = filepath.Join(cwd, name)
			} else {
				to, _ := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, at))
				name = filepath.Join(to, name)
			}
		}
		return in.relative(name)
	}
	switch uint32(d.Nr) {
	case unix.SYS_READ:
		if target = fd(0); target == "pipe" && d.Args[2] == uint64(unsafe.Sizeof(uintptr(0))) {
			return "", "" // package syscall reads whether the child could execute its program
		}
		return "read", target
	case unix.SYS_OPENAT:
		// O_TMPFILE has a bit of its own and that of O_DIRECTORY.
		if d.Args[2]&unix.O_CREAT != 0 || d.Args[2]&unix.O_TMPFILE == unix.O_TMPFILE {
			return "create", path(0, 1)
		}
		return "open", path(0, 1)
	case unix.SYS_MKDIRAT:
		return "mkdir", path(0, 1)
	case unix.SYS_UNLINKAT:
		return "unlink", path(0, 1)
	case unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_LINKAT:
		return "rename", path(2, 3)
	case unix.SYS_MMAP:
		if int32(d.Args[4]) < 0 {
			return "", "" // memory of the Go runtime, which ends the program when there is none
		}
		return "mmap", fd(4)
	case unix.SYS_STATX, unix.SYS_NEWFSTATAT:
		return "stat", path(0, 1)
	case unix.SYS_STATFS:
		return "statfs", in.relative(stringAt(pid, d.Args[0]))
	case unix.SYS_FCNTL:
		if cmd := d.Args[1]; cmd != unix.F_SETLK && cmd != unix.F_SETLKW && cmd != unix.F_OFD_SETLK {
			return "", ""
		}
		return "lock", fd(0)
	case unix.SYS_SOCKET:
		return "socket", socketName(int(d.Args[0]))
	case unix.SYS_SOCKETPAIR:
		return "socket", socketName(unix.AF_UNIX)
	case unix.SYS_GETSOCKOPT, unix.SYS_SETSOCKOPT:
		kind = map[int32]string{unix.SYS_GETSOCKOPT: "getsockopt", unix.SYS_SETSOCKOPT: "setsockopt"}[d.Nr]
		if in.descriptor(pid, int(int32(d.Args[0]))) == socketName(unix.AF_INET) {
			return kind, socketName(unix.AF_INET)
		}
		return kind, optionName(d.Args[1], d.Args[2])
	case unix.SYS_PPOLL:
		return "poll", socketName(unix.AF_PACKET)
	case unix.SYS_MEMFD_CREATE:
		return "memfd", stringAt(pid, d.Args[0])
	case unix.SYS_PIPE2:
		return "pipe", "new"
	}
	for kind, numbers := range callKinds {
		if slices.Contains(numbers, uint32(d.Nr)) {
			return kind, fd(0)
		}
	}
	return "", ""
}

func optionName(level, name uint64) string {
	if text, ok := map[[2]uint64]string{
		{unix.SOL_PACKET, unix.PACKET_STATISTICS}: "PACKET_STATISTICS", {unix.SOL_PACKET, unix.PACKET_VERSION}: "PACKET_VERSION",
		{unix.SOL_PACKET, unix.PACKET_RX_RING}: "PACKET_RX_RING", {unix.SOL_PACKET, unix.PACKET_ADD_MEMBERSHIP}: "PACKET_ADD_MEMBERSHIP",
		{unix.SOL_SOCKET, unix.SO_ATTACH_FILTER}: "SO_ATTACH_FILTER", {unix.SOL_SOCKET, unix.SO_ERROR}: "SO_ERROR",
	}[[2]uint64{level, name}]; ok {
		return text
	}
	return fmt.Sprintf("level %d option %d", level, name)
}

// stringAt reads a text of another process, "" for a null pointer.
func stringAt(pid int, at uint64) string {
	if at == 0 {
		return ""
	}
	buf := make([]byte, unix.PathMax)
	// Not beyond the page: the next one may not be there.
	size := min(len(buf), os.Getpagesize()-int(at)%os.Getpagesize())
	var text []byte
	for len(text) < unix.PathMax {
		local := []unix.Iovec{{Base: &buf[0], Len: uint64(size)}}
		n, err := unix.ProcessVMReadv(pid, local, []unix.RemoteIovec{{Base: uintptr(at), Len: size}}, 0)
		if err != nil {
			break
		}
		if end := slices.Index(buf[:n], 0); end >= 0 {
			return string(append(text, buf[:end]...))
		}
		text = append(text, buf[:n]...)
		at, size = at+uint64(n), os.Getpagesize()
	}
	return string(text)
}

// descriptor tells what a descriptor of a process leads to.
func (in *injector) descriptor(pid, fd int) string {
	if fd >= 0 && fd <= 2 {
		return []string{"stdin", "stdout", "stderr"}[fd]
	}
	to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", pid, fd))
	if err != nil {
		return "nothing"
	}
	if kind, _, ok := strings.Cut(to, ":["); ok && !strings.HasPrefix(to, "/") {
		if kind == "anon_inode" {
			return strings.TrimSuffix(strings.TrimPrefix(to, "anon_inode:["), "]")
		}
		if kind == "socket" {
			return socketName(familyOf(pid, fd))
		}
		return kind // pipe
	}
	return in.relative(strings.TrimSuffix(to, " (deleted)"))
}

// socketName is what sockets of a family are for in pcapctl.
func socketName(family int) string {
	switch family {
	case unix.AF_PACKET:
		return "packet socket"
	case unix.AF_NETLINK:
		return "netlink socket"
	case unix.AF_UNIX:
		return "guard socket"
	case unix.AF_INET, unix.AF_INET6:
		return "connection"
	default:
		return "socket"
	}
}

// familyOf is the address family of a socket of another process, -1 if it cannot be
// told.
func familyOf(thread, fd int) int {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", thread))
	_, rest, _ := strings.Cut(string(text), "\nTgid:")
	line, _, _ := strings.Cut(rest, "\n")
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		return -1
	}
	process, err := unix.PidfdOpen(pid, 0)
	if err != nil {
		return -1
	}
	defer func() { _ = unix.Close(process) }()
	socket, err := unix.PidfdGetfd(process, fd, 0)
	if err != nil {
		return -1
	}
	defer func() { _ = unix.Close(socket) }()
	family, err := unix.GetsockoptInt(socket, unix.SOL_SOCKET, unix.SO_DOMAIN)
	if err != nil {
		return -1
	}
	return family
}

var randomPart = regexp.MustCompile(`(\.(?:new|old)-)[A-Z0-9]+|(_)\d{8}T[0-9.]+Z_\d{6}|(#)\d+$|(-)\d{8}T[0-9.]+Z`)

// relative is a path below base, without what is different every time.
func (in *injector) relative(path string) string {
	if rel, err := filepath.Rel(in.base, path); err == nil && filepath.IsLocal(rel) {
		path = rel
	} else if strings.HasPrefix(in.base, path) {
		path = "above" // a folder on the way
	} else if rest, ok := strings.CutPrefix(path, "/proc/"); ok {
		pid, rest, _ := strings.Cut(rest, "/")
		if _, err := strconv.Atoi(pid); err == nil {
			path = "/proc/PID/" + rest
		}
	}
	return randomPart.ReplaceAllString(path, "$1$2$3$4*")
}

// canInject ends the test where the kernel has no way to do it.
func canInject(t *testing.T) {
	t.Helper()
	testnet.Need(t, "ip")
	var sizes [3]uint16
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_NOTIF_SIZES, 0, uintptr(unsafe.Pointer(&sizes))); errno != 0 {
		t.Skip("needs seccomp's user notifications (Linux 5.19): ", errno)
	}
	if sizes[0] != uint16(unsafe.Sizeof(seccompNotif{})) || sizes[1] != uint16(unsafe.Sizeof(seccompResponse{})) {
		t.Fatalf("the kernel's structures of seccomp notifications are %d and %d bytes long", sizes[0], sizes[1])
	}
}
