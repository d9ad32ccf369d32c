package storage

import (
	"errors"
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// Files come to the guard over a socket (unix(7), SCM_RIGHTS), from which it also
// learns that the first process has ended: the kernel closes the socket's other end when the
// last thread of the process has closed its files, so that no write can come
// after. What was sent before that is still delivered.
//
// The guard runs from /proc/self/exe and so has neither the name nor the path of the program:
// `pkill -9 pcapctl` does not kill it.

const (
	guardSockFD = 0
	guardMemFD  = 3
)

// guardLine is the capture's end of the socket.
type guardLine struct {
	sock int
	conn *os.File // the same, to read from
}

// start starts the process.
func (g *Guard) start(program string) error {
	memFD, err := unix.MemfdCreate(guardName, unix.MFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("memfd_create", err)
	}
	memFile := os.NewFile(uintptr(memFD), guardName)
	defer func() { _ = memFile.Close() }()
	if err := memFile.Truncate(guardMemSize); err != nil {
		return err
	}
	socks, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(socks[1]), guardName)
	defer func() { _ = theirs.Close() }()
	// Not blocking, so that the goroutine that reads needs no thread.
	if err := unix.SetNonblock(socks[0], true); err != nil {
		return errors.Join(os.NewSyscallError("fcntl", err), unix.Close(socks[0]))
	}
	g.line = guardLine{socks[0], os.NewFile(uintptr(socks[0]), guardName)}
	if g.mem, err = unix.Mmap(memFD, 0, guardMemSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return errors.Join(os.NewSyscallError("mmap", err), g.line.conn.Close())
	}
	g.cmd = &exec.Cmd{
		Path:       program,
		Args:       []string{guardName},
		Dir:        "/",
		Env:        []string{"GOMAXPROCS=1", "GOTRACEBACK=none"}, // nothing of ours, least of all secrets
		Stdin:      theirs,
		ExtraFiles: []*os.File{memFile},
		// A session of its own: Ctrl-C and the end of the terminal are not its
		// business.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if err := g.cmd.Start(); err != nil {
		return errors.Join(err, unix.Munmap(g.mem), g.line.conn.Close())
	}
	return nil
}

func (l guardLine) read(b []byte) (int, error) { return l.conn.Read(b) }

func (l guardLine) take(slot int, f *os.File) error {
	err := Uninterrupted(func() error {
		return unix.Sendmsg(l.sock, []byte{guardTake, byte(slot)}, unix.UnixRights(int(f.Fd())), nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	})
	return os.NewSyscallError("sendmsg", err)
}

// drop is false when the guard is dead.
func (l guardLine) drop(slot int) bool {
	err := Uninterrupted(func() error {
		return unix.Sendmsg(l.sock, []byte{guardDrop, byte(slot)}, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	})
	return err == nil || errors.Is(err, unix.EAGAIN)
}

func (l guardLine) hangUp() { _ = l.conn.Close() }

func unmapGuard(mem []byte) { _ = unix.Munmap(mem) }

// lock locks the file until both the process and its guard have closed it:
// flock(2) locks belong to the open file description, which they share. Whoever
// gets the lock knows that nobody writes to the file any more. Where the file
// system does not support locks, the file stays without one.
func (f *File) lock() {
	_ = Uninterrupted(func() error { return unix.Flock(int(f.f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
}

// Writers reports whether a process that writes a capture file still has it open: the one that captures, or its guard.
// When there is none, f keeps others from writing in that way until it is closed.
func Writers(f *os.File) (bool, error) {
	err := Uninterrupted(func() error { return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, os.NewSyscallError("flock", err)
}

func isInvalid(err error) bool { return errors.Is(err, unix.EINVAL) }
