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
	"time"
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

// guardWait is how long the guard may take for an answer, and to end. It is not waited for again after that.
const guardWait = time.Second

// errSilent is why a guard is given up that does not answer, as it was stopped.
var errSilent = fmt.Errorf("it did not answer for %v and was ended", guardWait)

// Guard is the Protector that is a second process, which truncates a session's
// files to their last complete write when the session's process is killed. It
// has room for 64 files at a time. It is safe for concurrent use.
type Guard struct {
	cmd   *exec.Cmd
	mem   []byte
	conn  *os.File      // the same socket as sock, to read from
	acks  chan struct{} // has one element for each answer
	ended chan struct{} // closed when the guard's end of the socket is
	heard chan struct{} // closed when lost has what there is to tell
	lost  chan error

	mu     sync.Mutex
	sock   int   // -1 when closed
	silent error // why it was given up
	used   [guardSlots]bool
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
	// Not blocking, so that the goroutine that reads needs no thread.
	if err := unix.SetNonblock(socks[0], true); err != nil {
		return nil, errors.Join(os.NewSyscallError("fcntl", err), unix.Close(socks[0]))
	}
	g := &Guard{
		sock: socks[0], conn: os.NewFile(uintptr(socks[0]), guardName),
		acks: make(chan struct{}, 1), ended: make(chan struct{}), heard: make(chan struct{}), lost: make(chan error, 1),
	}
	if g.mem, err = unix.Mmap(memFD, 0, guardMemSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, errors.Join(os.NewSyscallError("mmap", err), g.conn.Close())
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
		return nil, errors.Join(err, unix.Munmap(g.mem), g.conn.Close())
	}
	go g.listen()
	return g, nil
}

// listen takes the guard's answers, and notices its end: the kernel then closes its end of the socket.
func (g *Guard) listen() {
	var ack [1]byte
	for {
		if n, err := g.conn.Read(ack[:]); n == 0 || err != nil {
			break
		}
		select {
		case g.acks <- struct{}{}:
		default:
		}
	}
	close(g.ended)
	defer close(g.heard)
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case g.silent != nil:
		g.lost <- fmt.Errorf("the guard of capture files: %w", g.silent)
	case g.sock < 0: // Close
	default:
		g.lost <- errors.New("the guard of capture files was killed")
	}
}

// Lost implements Protector.
func (g *Guard) Lost() <-chan error { return g.lost }

// Close ends the guard process, and waits for its end. Calls after the first do
// nothing.
func (g *Guard) Close() {
	g.mu.Lock()
	if g.sock < 0 {
		g.mu.Unlock()
		return
	}
	g.sock = -1
	atOnce := !slices.Contains(g.used[:], true) // it has nothing left to do
	g.mu.Unlock()
	_ = g.conn.Close()
	<-g.heard
	if atOnce {
		_ = g.cmd.Process.Kill()
	}
	late := time.AfterFunc(guardWait, func() { _ = g.cmd.Process.Kill() }) // which ends a stopped process as well
	_ = g.cmd.Wait()
	late.Stop()
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
	switch {
	case g.silent != nil:
		return fmt.Errorf("guard %s: %w", f.path, g.silent)
	case s.slot == guardSlots || g.sock < 0:
		return fmt.Errorf("guard %s: %w", f.path, errors.ErrUnsupported)
	}
	s.commit(f.size)
	err := Uninterrupted(func() error {
		return unix.Sendmsg(g.sock, []byte{guardTake, byte(s.slot)}, unix.UnixRights(int(f.f.Fd())), nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
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
// on the disk until both have closed it. A guard that does not answer, as it was
// stopped, is ended: it would keep the space of every file that it has.
func (s *guardSlot) release() {
	g := s.g
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sock < 0 || !g.used[s.slot] {
		return
	}
	atomic.StoreUint64(s.word(), guardDone)
	g.used[s.slot] = false
	if g.silent != nil {
		return
	}
	err := Uninterrupted(func() error {
		return unix.Sendmsg(g.sock, []byte{guardDrop, byte(s.slot)}, nil, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	})
	if err != nil && !errors.Is(err, unix.EAGAIN) {
		return // it is dead
	}
	for range 2 { // a process that was stopped itself finds the time over, and the answer a moment later
		late := time.NewTimer(guardWait / 2)
		select {
		case <-g.acks:
			late.Stop()
			return
		case <-g.ended:
			late.Stop()
			return
		case <-late.C:
		}
	}
	g.silent = errSilent
	_ = g.cmd.Process.Kill()
}

// lock locks the file until both the process and its guard have closed it:
// flock(2) locks belong to the open file description, which they share. Whoever
// gets the lock knows that nobody writes to the file any more. Where the file
// system does not support locks, the file stays without one.
func (f *File) lock() {
	_ = Uninterrupted(func() error { return unix.Flock(int(f.f.Fd()), unix.LOCK_EX|unix.LOCK_NB) })
}

func isInvalid(err error) bool { return errors.Is(err, unix.EINVAL) }
