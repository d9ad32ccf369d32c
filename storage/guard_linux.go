package storage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A write(2) that SIGKILL interrupts stops between two pages of the page cache
// (generic_perform_write checks for a fatal signal before each of them), so
// that no order of writes in one process can keep a file from ending in the
// middle of a packet. The guard is a second process that does nothing but wait
// for the end of the first. It truncates each file that the first process left
// unfinished to where its last complete write ended.
//
// The two share the files' descriptors, which are passed over a socket (unix(7),
// SCM_RIGHTS), and for each file one word of memory: the size up to which the
// file is complete, or guardDone. The guard learns from the same socket that the
// first process has ended: the kernel closes the socket's other end when the
// last thread of the process has closed its files, so that no write can come
// after. What was sent before that is still delivered.

// guardName is the guard's name in a list of processes. The guard runs from
// /proc/self/exe and so has neither the name nor the path of the program:
// `pkill -9 pcapctl` does not kill it.
const guardName = "pcap-guard"

const (
	guardDone    = ^uint64(0)
	guardSlots   = 64 // files at a time
	guardMemSize = 8 * guardSlots
	guardSockFD  = 0
	guardMemFD   = 3

	// The messages to the guard, each followed by the number of a slot.
	guardTake = 't' // with a file's descriptor
	guardDrop = 'd' // the guard answers when it has closed the file
)

// Guard is the Protector that is a second process, which truncates a session's
// files to their last complete write when the session's process is killed. It
// has room for 64 files at a time. It is safe for concurrent use.
type Guard struct {
	cmd  *exec.Cmd
	mem  []byte
	mu   sync.Mutex
	sock int // -1 when closed
	used [guardSlots]bool
}

// guardSlot is the protection of a file by a guard.
type guardSlot struct {
	g    *Guard
	slot int
}

// StartGuard starts a guard. program is the path of the program to run, which
// must call GuardMain first of all in its main. Close ends the guard; its files
// are closed before.
func StartGuard(program string) (_ *Guard, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("start the guard of capture files: %w", err)
		}
	}()
	memFD, err := unix.MemfdCreate(guardName, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	memFile := os.NewFile(uintptr(memFD), guardName)
	defer func() { _ = memFile.Close() }()
	if err := memFile.Truncate(guardMemSize); err != nil {
		return nil, err
	}
	socks, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(socks[1]), guardName)
	defer func() { _ = theirs.Close() }()
	g := &Guard{sock: socks[0]}
	if g.mem, err = unix.Mmap(memFD, 0, guardMemSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, errors.Join(os.NewSyscallError("mmap", err), unix.Close(g.sock))
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
		return nil, errors.Join(err, unix.Munmap(g.mem), unix.Close(g.sock))
	}
	return g, nil
}

// Close ends the guard process, and waits for its end. Calls after the first do
// nothing.
func (g *Guard) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sock < 0 {
		return
	}
	_ = unix.Close(g.sock)
	g.sock = -1
	if !slices.Contains(g.used[:], true) {
		_ = g.cmd.Process.Kill() // it has nothing left to do
	}
	_ = g.cmd.Wait()
	_ = unix.Munmap(g.mem)
}

// Protect puts a file under guard, from its next Write on. It fails when the
// guard has as many files as it has room for, is closed or was killed.
func (g *Guard) Protect(f *File) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := &guardSlot{g: g}
	for s.slot < guardSlots && g.used[s.slot] {
		s.slot++
	}
	if s.slot == guardSlots || g.sock < 0 {
		return fmt.Errorf("guard %s: %w", f.path, errors.ErrUnsupported)
	}
	s.commit(f.size)
	err := Uninterrupted(func() error {
		return unix.Sendmsg(g.sock, []byte{guardTake, byte(s.slot)}, unix.UnixRights(int(f.f.Fd())), nil, unix.MSG_NOSIGNAL)
	})
	if err != nil {
		return fmt.Errorf("guard %s: %w", f.path, os.NewSyscallError("sendmsg", err))
	}
	g.used[s.slot] = true
	f.protection = s
	return nil
}

func (s *guardSlot) word() *uint64 {
	return (*uint64)(unsafe.Pointer(&s.g.mem[8*s.slot])) //nolint:gosec // G103: memory shared with the guard
}

// commit is for the guard the size to truncate the file to.
func (s *guardSlot) commit(size int64) { atomic.StoreUint64(s.word(), uint64(size)) }

// release takes the file, which is closed, from the guard, and waits until the
// guard has closed it, too: a file that two processes have open keeps its space
// on the disk until both have closed it.
func (s *guardSlot) release() {
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	if s.g.sock < 0 || !s.g.used[s.slot] {
		return
	}
	atomic.StoreUint64(s.word(), guardDone)
	err := Uninterrupted(func() error {
		return unix.Sendmsg(s.g.sock, []byte{guardDrop, byte(s.slot)}, nil, nil, unix.MSG_NOSIGNAL)
	})
	if err == nil {
		var ack [1]byte
		for {
			if _, err := unix.Read(s.g.sock, ack[:]); !errors.Is(err, unix.EINTR) {
				break // answered, or the guard is dead
			}
		}
	}
	s.g.used[s.slot] = false
}

// lock locks the file until both the process and its guard have closed it:
// flock(2) locks belong to the open file description, which they share. Whoever
// gets the lock knows that nobody writes to the file any more. Where the file
// system does not support locks, the file stays without one.
func (f *File) lock() {
	_ = Uninterrupted(func() error { return unix.Flock(int(f.f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
}

func isInvalid(err error) bool { return errors.Is(err, unix.EINVAL) }
