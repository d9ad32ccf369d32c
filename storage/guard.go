//go:build linux || windows

package storage

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// A write that is interrupted by the end of its process stops anywhere: a write(2)
// that SIGKILL interrupts between two pages of the page cache
// (generic_perform_write checks for a fatal signal before each of them). So
// no order of writes in one process can keep a file from ending in the
// middle of a packet. The guard is a second process that does nothing but wait
// for the end of the first. It truncates each file that the first process left
// unfinished to where its last complete write ended.
//
// The two share the open files, and for each file one word of memory: the size up to
// which the file is complete, or guardDone. How files come to the guard, and how it
// learns that the first process has ended, is in guard_linux.go and guard_windows.go.

// guardName is the first argument of a guard, and with Linux its name in a list of processes.
const guardName = "pcap-guard"

const (
	guardDone    = ^uint64(0)
	guardSlots   = 64 // files at a time
	guardMemSize = 8 * guardSlots

	// The messages to the guard, each followed by the number of a slot.
	guardTake = 't' // with a file
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
	line  guardLine
	acks  chan struct{} // has one element for each answer
	ended chan struct{} // closed when the guard has ended, or nothing more is heard of it
	heard chan struct{} // closed when lost has what there is to tell
	lost  chan error

	mu     sync.Mutex
	closed bool
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
func StartGuard(program string) (*Guard, error) {
	g := &Guard{
		acks: make(chan struct{}, 1), ended: make(chan struct{}), heard: make(chan struct{}), lost: make(chan error, 1),
	}
	if err := g.start(program); err != nil {
		return nil, fmt.Errorf("start the guard of capture files: %w", err)
	}
	go g.listen()
	return g, nil
}

// listen takes the guard's answers, and notices its end: the kernel then closes its end of the line.
func (g *Guard) listen() {
	var ack [1]byte
	for {
		if n, err := g.line.read(ack[:]); n == 0 || err != nil {
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
	case g.closed:
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
	if g.closed {
		g.mu.Unlock()
		return
	}
	g.closed = true
	atOnce := !slices.Contains(g.used[:], true) // it has nothing left to do
	g.mu.Unlock()
	g.line.hangUp()
	if atOnce {
		_ = g.cmd.Process.Kill()
	}
	late := time.AfterFunc(guardWait, func() { _ = g.cmd.Process.Kill() }) // which ends a stopped process as well
	_ = g.cmd.Wait()
	late.Stop()
	<-g.heard
	unmapGuard(g.mem)
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
	case s.slot == guardSlots || g.closed:
		return fmt.Errorf("guard %s: %w", f.path, errors.ErrUnsupported)
	}
	s.commit(f.size)
	if err := g.line.take(s.slot, f.f); err != nil {
		return fmt.Errorf("guard %s: %w", f.path, err)
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
	if g.closed || !g.used[s.slot] {
		return
	}
	atomic.StoreUint64(s.word(), guardDone)
	g.used[s.slot] = false
	if g.silent != nil {
		return
	}
	if !g.line.drop(s.slot) {
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

// IsGuard tells whether this process was started by StartGuard.
func IsGuard() bool { return len(os.Args) == 1 && os.Args[0] == guardName }

// endAt ends a file at what the word of its slot says, the size up to which it is complete.
func endAt(file *os.File, word uint64) error {
	if word == guardDone {
		return nil
	}
	st, err := file.Stat()
	if err != nil {
		return err
	}
	if st.Size() > int64(word) {
		err = file.Truncate(int64(word))
	}
	return errors.Join(err, file.Sync())
}
