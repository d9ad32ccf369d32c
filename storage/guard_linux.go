package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
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
// for the end of the first; the files that it left unfinished it cuts where
// their last complete write ended.
//
// The two share the files' descriptors, which go over a socket (unix(7),
// SCM_RIGHTS), and for each file one word of memory: the size that the file is
// good for, or guardDone. The end is told by the same socket: the kernel closes
// its other end when the last thread of the process has let go of its files, so
// that no write can come after. What was sent before that is still delivered.

// GuardName is what the guard is called in a list of processes. It runs from
// /proc/self/exe and so carries neither the name nor the path of the program:
// `pkill -9 pcapctl` is no reason for it to die.
const GuardName = "pcap-guard"

const (
	guardDone    = ^uint64(0)
	guardSlots   = 64 // files at a time
	guardMemSize = 8 * guardSlots
	guardSockFD  = 0
	guardMemFD   = 3

	// What the guard is told, followed by the number of a slot.
	guardTake = 't' // with a file's descriptor
	guardDrop = 'd' // answered when the guard has let go of the file
)

// Guard is the guard process of a session's files. It is safe for concurrent
// use.
type Guard struct {
	cmd  *exec.Cmd
	mem  []byte
	mu   sync.Mutex
	sock int // -1 when closed
	used [guardSlots]bool
}

// guardSlot is a file under guard.
type guardSlot struct {
	g    *Guard
	slot int
}

// StartGuard starts a guard. program is what to run, which must call GuardMain
// first of all in its main. Close sends it home, when its files are closed.
func StartGuard(program string) (_ *Guard, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("start the guard of capture files: %w", err)
		}
	}()
	memFD, err := unix.MemfdCreate(GuardName, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	memFile := os.NewFile(uintptr(memFD), GuardName)
	defer func() { _ = memFile.Close() }()
	if err := memFile.Truncate(guardMemSize); err != nil {
		return nil, err
	}
	socks, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(socks[1]), GuardName)
	defer func() { _ = theirs.Close() }()
	g := &Guard{sock: socks[0]}
	if g.mem, err = unix.Mmap(memFD, 0, guardMemSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return nil, errors.Join(os.NewSyscallError("mmap", err), unix.Close(g.sock))
	}
	g.cmd = &exec.Cmd{
		Path:       program,
		Args:       []string{GuardName},
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

// Close sends the guard home. It is nil-safe.
func (g *Guard) Close() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.sock < 0 {
		return
	}
	_ = unix.Close(g.sock)
	g.sock = -1
	if !slices.Contains(g.used[:], true) {
		_ = g.cmd.Process.Kill() // it has nothing to do any more, and need not take its time
	}
	_ = g.cmd.Wait()
	_ = unix.Munmap(g.mem)
}

// Protect puts the file under guard, from its next Write on.
func (f *File) Protect(g *Guard) error {
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
	err := unix.Sendmsg(g.sock, []byte{guardTake, byte(s.slot)}, unix.UnixRights(int(f.f.Fd())), nil, unix.MSG_NOSIGNAL)
	if err != nil {
		return fmt.Errorf("guard %s: %w", f.path, os.NewSyscallError("sendmsg", err))
	}
	g.used[s.slot] = true
	f.guard = s
	return nil
}

func (s *guardSlot) word() *uint64 {
	return (*uint64)(unsafe.Pointer(&s.g.mem[8*s.slot])) //nolint:gosec // G103: memory shared with the guard
}

// commit tells the guard the size that the file is good for.
func (s *guardSlot) commit(size int64) {
	if s != nil {
		atomic.StoreUint64(s.word(), uint64(size))
	}
}

// release takes the file, which is closed, from the guard, and waits until it
// has let go of it: a file that two hold open takes its space on the disk until
// both have closed it.
func (s *guardSlot) release() {
	if s == nil {
		return
	}
	s.g.mu.Lock()
	defer s.g.mu.Unlock()
	if s.g.sock < 0 || !s.g.used[s.slot] {
		return
	}
	atomic.StoreUint64(s.word(), guardDone)
	if unix.Sendmsg(s.g.sock, []byte{guardDrop, byte(s.slot)}, nil, nil, unix.MSG_NOSIGNAL) == nil {
		var ack [1]byte
		for {
			if _, err := unix.Read(s.g.sock, ack[:]); !errors.Is(err, unix.EINTR) {
				break // answered, or the guard is dead
			}
		}
	}
	s.g.used[s.slot] = false
}

// GuardMain turns the process into a guard if it was started as one, and is
// false if not. It belongs at the very start of main.
func GuardMain() bool {
	if len(os.Args) != 1 || os.Args[0] != GuardName {
		return false
	}
	// A service manager signals every process of a unit. The guard goes when
	// the one it guards has gone.
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT)
	keepGuard(guardSockFD, os.NewFile(guardMemFD, GuardName))
	return true
}

// keepGuard does as it is told until the other side is gone, and then cuts what
// files it has.
func keepGuard(sock int, mem *os.File) {
	var files [guardSlots]*os.File
	buf, oob := make([]byte, 2), make([]byte, unix.CmsgSpace(4))
	for {
		n, oobn, _, _, err := unix.Recvmsg(sock, buf, oob, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n < len(buf) || buf[1] >= guardSlots {
			break
		}
		slot := buf[1]
		if f := files[slot]; f != nil {
			files[slot] = nil
			_ = f.Close()
		}
		switch buf[0] {
		case guardTake:
			files[slot] = receivedFile(oob[:oobn])
		case guardDrop:
			_ = unix.Sendmsg(sock, []byte{guardDrop}, nil, nil, unix.MSG_NOSIGNAL)
		}
	}
	for slot, f := range files {
		if f != nil {
			_ = cutFile(f, mem, slot)
		}
	}
}

func receivedFile(oob []byte) *os.File {
	msgs, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(msgs) != 1 {
		return nil
	}
	fds, err := unix.ParseUnixRights(&msgs[0])
	if err != nil || len(fds) != 1 {
		return nil
	}
	return os.NewFile(uintptr(fds[0]), "capture")
}

func cutFile(file, mem *os.File, slot int) error {
	var word [8]byte
	if _, err := mem.ReadAt(word[:], int64(8*slot)); err != nil {
		return err
	}
	size := binary.NativeEndian.Uint64(word[:])
	if size == guardDone {
		return nil
	}
	st, err := file.Stat()
	if err != nil {
		return err
	}
	if st.Size() > int64(size) {
		err = file.Truncate(int64(size))
	}
	return errors.Join(err, file.Sync())
}

// hold puts a lock on the file that stays until both the process and its guard
// have let go of it: flock(2) locks belong to the open file description, which
// they share. Who gets the lock knows that nobody writes to the file any more.
// A file system without locks does without.
func (f *File) hold() { _ = unix.Flock(int(f.f.Fd()), unix.LOCK_EX|unix.LOCK_NB) }

func isInvalid(err error) bool { return errors.Is(err, unix.EINVAL) }
