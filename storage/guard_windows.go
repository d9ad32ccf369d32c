package storage

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// The guard inherits a pipe for messages and one for answers, the memory that is shared, and a handle of the capturing
// process. Files come to it by DuplicateHandle, which makes a handle of the same open file in the guard, and the
// pipe tells which. When the pipe ends, the guard waits for the end of the process: Windows ends a process
// when its last write has, so that none can come after.

// guardMessageSize is the length of a message to the guard: what it is, the slot, and a handle in 8 bytes. The first
// message is two handles, of the memory and of the process.
const guardMessageSize = 16

// guardLine is the capture's end of the pipes.
type guardLine struct {
	orders  *os.File
	answers *os.File
	guard   windows.Handle // its process
}

// start starts the process.
func (g *Guard) start(program string) (err error) {
	var undo []func()
	defer func() {
		for _, f := range undo {
			f()
		}
	}()
	closing := func(h windows.Handle) {
		undo = append(undo, func() { _ = windows.CloseHandle(h) })
	}
	memory, err := windows.CreateFileMapping(windows.InvalidHandle, nil, windows.PAGE_READWRITE, 0, guardMemSize, nil)
	if err != nil {
		return os.NewSyscallError("CreateFileMapping", err)
	}
	closing(memory)
	if err := windows.SetHandleInformation(memory, windows.HANDLE_FLAG_INHERIT, windows.HANDLE_FLAG_INHERIT); err != nil {
		return os.NewSyscallError("SetHandleInformation", err)
	}
	// All that the guard may do with the process is to wait for its end.
	var self windows.Handle
	if err := windows.DuplicateHandle(windows.CurrentProcess(), windows.CurrentProcess(), windows.CurrentProcess(), &self, windows.SYNCHRONIZE, true, 0); err != nil {
		return os.NewSyscallError("DuplicateHandle", err)
	}
	closing(self)
	var theirOrders, theirAnswers *os.File
	if theirOrders, g.line.orders, err = os.Pipe(); err != nil {
		return err
	}
	undo = append(undo, func() { _ = theirOrders.Close() })
	if g.line.answers, theirAnswers, err = os.Pipe(); err != nil {
		return errors.Join(err, g.line.orders.Close())
	}
	undo = append(undo, func() { _ = theirAnswers.Close() })
	defer func() {
		if err != nil {
			err = errors.Join(err, g.line.orders.Close(), g.line.answers.Close())
		}
	}()
	if g.mem, err = mapGuard(memory); err != nil {
		return err
	}
	g.cmd, err = StartApart(func() *exec.Cmd {
		return &exec.Cmd{
			Path:  program,
			Args:  []string{guardName},
			Dir:   systemFolder(),
			Env:   []string{"GOMAXPROCS=1", "GOTRACEBACK=none"}, // and SYSTEMROOT, which os/exec adds; nothing of ours, least of all secrets
			Stdin: theirOrders, Stdout: theirAnswers,
			SysProcAttr: &syscall.SysProcAttr{AdditionalInheritedHandles: []syscall.Handle{syscall.Handle(memory), syscall.Handle(self)}},
		}
	})
	if err == nil {
		err = g.cmd.Process.WithHandle(func(h uintptr) {
			err := windows.DuplicateHandle(windows.CurrentProcess(), windows.Handle(h), windows.CurrentProcess(), &g.line.guard, 0, false, windows.DUPLICATE_SAME_ACCESS)
			if err != nil {
				g.line.guard = 0
			}
		})
		if err == nil && g.line.guard == 0 {
			err = errors.New("its process cannot be opened")
		}
		if err == nil {
			_, err = g.line.orders.Write(guardMessage(uint64(memory), uint64(self)))
		}
		if err != nil {
			_ = g.cmd.Process.Kill()
			_ = g.cmd.Wait()
		}
	}
	if err != nil {
		unmapGuard(g.mem)
	}
	return err
}

// StartApart starts the program of a command that newCommand makes as a process that goes on when this one, its console
// and its job have ended: it has no console, gets none of the console's signals, and leaves the job where that allows it. A
// terminal, an SSH server or a build agent may have put this process into a job that ends with them.
func StartApart(newCommand func() *exec.Cmd) (*exec.Cmd, error) {
	const apart = windows.DETACHED_PROCESS | windows.CREATE_NEW_PROCESS_GROUP
	start := func(flags uint32) (*exec.Cmd, error) {
		cmd := newCommand()
		if cmd.SysProcAttr == nil {
			cmd.SysProcAttr = &syscall.SysProcAttr{}
		}
		cmd.SysProcAttr.CreationFlags |= flags
		return cmd, cmd.Start()
	}
	cmd, err := start(apart | windows.CREATE_BREAKAWAY_FROM_JOB)
	if errors.Is(err, windows.ERROR_ACCESS_DENIED) { // what a job that must not be left answers
		cmd, err = start(apart)
	}
	return cmd, err
}

// systemFolder is a folder that is there as long as Windows is, so that a process whose current folder it is holds up
// nobody who removes his own; "" for the current one.
func systemFolder() string {
	dir, err := windows.GetSystemDirectory()
	if err != nil {
		return ""
	}
	return dir
}

func guardMessage(first, second uint64) []byte {
	return binary.NativeEndian.AppendUint64(binary.NativeEndian.AppendUint64(nil, first), second)
}

// guardOrder is a message that tells what to do with the slot.
func guardOrder(kind byte, slot int, file windows.Handle) []byte {
	b := guardMessage(0, uint64(file))
	b[0], b[1] = kind, byte(slot)
	return b
}

// read is not called again after an error: the guard has ended.
func (l guardLine) read(b []byte) (int, error) {
	n, err := l.answers.Read(b)
	if err != nil {
		_ = l.answers.Close()
	}
	return n, err
}

func (l guardLine) take(slot int, f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var theirs windows.Handle
	var failed error
	err = conn.Control(func(fd uintptr) {
		failed = windows.DuplicateHandle(windows.CurrentProcess(), windows.Handle(fd), l.guard, &theirs, 0, false, windows.DUPLICATE_SAME_ACCESS)
	})
	if err = errors.Join(err, os.NewSyscallError("DuplicateHandle", failed)); err != nil {
		return err
	}
	_, err = l.orders.Write(guardOrder(guardTake, slot, theirs))
	return err
}

// drop is false when the guard is dead.
func (l guardLine) drop(slot int) bool {
	_, err := l.orders.Write(guardOrder(guardDrop, slot, 0))
	return err == nil
}

// hangUp is called once, and the guard ends then: only after that nothing more can be read.
func (l guardLine) hangUp() {
	_ = l.orders.Close()
	_ = windows.CloseHandle(l.guard)
}

// mapGuard maps the memory that the two processes share.
func mapGuard(memory windows.Handle) ([]byte, error) {
	addr, err := windows.MapViewOfFile(memory, windows.FILE_MAP_READ|windows.FILE_MAP_WRITE, 0, 0, guardMemSize)
	if err != nil {
		return nil, os.NewSyscallError("MapViewOfFile", err)
	}
	// By way of a pointer to addr: it is no address of the Go heap, which vet cannot know.
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&addr)), guardMemSize), nil //nolint:gosec // G103: memory shared with the guard
}

func unmapGuard(mem []byte) { _ = windows.UnmapViewOfFile(uintptr(unsafe.Pointer(&mem[0]))) } //nolint:gosec // G103: what mapGuard gave

// fileLock is where the lock of a capture file is: far behind its end, as locks of Windows keep others from reading what they cover.
const fileLock = 1 << 62

// lock locks the file until both the process and its guard have closed it. A lock belongs to the process that took it, and
// ends with it, although both have the same open file: so each takes one, and they share it. Whoever gets the same lock
// for himself alone knows that nobody writes to the file any more. Where the file system does not support locks, the
// file stays without one.
func (f *File) lock() { _ = lockFile(f.f, false) }

// lockFile takes the lock of a capture file, for this process alone or to share it.
func lockFile(f *os.File, alone bool) error {
	flags := uint32(windows.LOCKFILE_FAIL_IMMEDIATELY)
	if alone {
		flags |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	at := uint64(fileLock)
	return windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, &windows.Overlapped{Offset: uint32(at), OffsetHigh: uint32(at >> 32)})
}

// Writers reports whether a process that writes a capture file still has it open: the one that captures, or its guard.
// When there is none, f keeps others from writing in that way until it is closed.
func Writers(f *os.File) (bool, error) {
	err := lockFile(f, true)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) || errors.Is(err, windows.ERROR_IO_PENDING) {
		return true, nil
	}
	return false, os.NewSyscallError("LockFileEx", err)
}

// GuardMain runs the guard, and returns true when it has ended, if the process
// was started as one; otherwise it returns false at once. It belongs at the very
// start of main.
func GuardMain() bool {
	if !IsGuard() {
		return false
	}
	runGuard(os.Stdin, os.Stdout)
	return true
}

// runGuard serves the orders until they end with the process that gives them, and then truncates the files that it still
// has. When it does not understand what it hears, or cannot answer, it ends and leaves the files alone: they may be being
// written.
func runGuard(orders io.Reader, answers io.Writer) {
	var files [guardSlots]*os.File
	b := make([]byte, guardMessageSize)
	word := func(i int) uint64 { return binary.NativeEndian.Uint64(b[8*i:]) }
	if _, err := io.ReadFull(orders, b); err != nil {
		return
	}
	mem, err := mapGuard(windows.Handle(word(0)))
	if err != nil {
		return
	}
	process := windows.Handle(word(1))
	for {
		_, err := io.ReadFull(orders, b)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil || b[1] >= guardSlots {
			return
		}
		slot := b[1]
		if f := files[slot]; f != nil {
			files[slot] = nil
			_ = f.Close()
		}
		switch b[0] {
		case guardTake:
			files[slot] = os.NewFile(uintptr(word(1)), fmt.Sprint("capture ", slot))
			_ = lockFile(files[slot], false)
		case guardDrop:
			// Who does not read it any more has ended, and the pipe ends, too.
			_, _ = answers.Write([]byte{guardDrop})
		default:
			return
		}
	}
	if event, err := windows.WaitForSingleObject(process, windows.INFINITE); err != nil || event != windows.WAIT_OBJECT_0 {
		return
	}
	for slot, f := range files {
		if f != nil {
			_ = endAt(f, binary.NativeEndian.Uint64(mem[8*slot:]))
			_ = f.Close()
		}
	}
}
