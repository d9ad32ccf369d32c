package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A write(2) that SIGKILL interrupts stops between two pages of the page cache
// (generic_perform_write checks for a fatal signal before each of them), so
// that no order of writes in one process can keep a file from ending in the
// middle of a packet. The guard is a second process that does nothing but wait
// for the end of the first; if that left the file unfinished, it cuts it where
// the last complete write ended.
//
// The two share the file's descriptor and one word of memory: the size that
// the file is good for, or guardDone. The end is told by a pipe that nobody
// writes to: the kernel closes its other end when the last thread of the
// process has let go of its files, so that no write can come after.

// GuardName is what the guard is called in a list of processes. It runs from
// /proc/self/exe and so carries neither the name nor the path of the program:
// `pkill -9 pcapctl` is no reason for it to die.
const GuardName = "pcap-guard"

const (
	guardDone    = ^uint64(0)
	guardMemSize = 8
	guardFileFD  = 3
	guardMemFD   = 4
)

type guard struct {
	cmd  *exec.Cmd
	pipe io.Closer
	mem  []byte
}

// Protect starts the guard of the file. program is what to run, which must
// call GuardMain first of all in its main.
func (f *File) Protect(program string) error {
	memFD, err := unix.MemfdCreate(GuardName, unix.MFD_CLOEXEC)
	if err != nil {
		return fmt.Errorf("start the guard of %s: %w", f.path, os.NewSyscallError("memfd_create", err))
	}
	memFile := os.NewFile(uintptr(memFD), GuardName)
	defer func() { _ = memFile.Close() }()
	if err := memFile.Truncate(guardMemSize); err != nil {
		return fmt.Errorf("start the guard of %s: %w", f.path, err)
	}
	mem, err := unix.Mmap(memFD, 0, guardMemSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("start the guard of %s: %w", f.path, os.NewSyscallError("mmap", err))
	}
	g := &guard{mem: mem}
	g.commit(f.size)

	g.cmd = &exec.Cmd{
		Path:       program,
		Args:       []string{GuardName},
		Dir:        "/",
		Env:        []string{"GOMAXPROCS=1", "GOTRACEBACK=none"}, // nothing of ours, least of all secrets
		ExtraFiles: []*os.File{f.f, memFile},
		// A session of its own: Ctrl-C and the end of the terminal are not its
		// business.
		SysProcAttr: &syscall.SysProcAttr{Setsid: true},
	}
	if g.pipe, err = g.cmd.StdinPipe(); err == nil {
		err = g.cmd.Start()
	}
	if err != nil {
		_ = unix.Munmap(mem)
		return fmt.Errorf("start the guard of %s: %w", f.path, err)
	}
	f.guard = g
	return nil
}

func (g *guard) word() *uint64 {
	return (*uint64)(unsafe.Pointer(&g.mem[0])) //nolint:gosec // G103: memory shared with the guard
}

// commit tells the guard the size that the file is good for.
func (g *guard) commit(size int64) {
	if g != nil {
		atomic.StoreUint64(g.word(), uint64(size))
	}
}

// release sends the guard home: the file is closed, however it ends.
func (g *guard) release() {
	if g == nil || g.mem == nil {
		return
	}
	atomic.StoreUint64(g.word(), guardDone)
	_ = g.pipe.Close()
	_ = g.cmd.Wait()
	_ = unix.Munmap(g.mem)
	g.mem = nil
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
	_ = keepGuard(os.Stdin, os.NewFile(guardFileFD, "capture"), os.NewFile(guardMemFD, GuardName))
	return true
}

func keepGuard(pipe io.Reader, file, mem *os.File) error {
	if _, err := io.Copy(io.Discard, pipe); err != nil {
		return err
	}
	var word [guardMemSize]byte
	if _, err := mem.ReadAt(word[:], 0); err != nil {
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
