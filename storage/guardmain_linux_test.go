package storage

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// guardsEnd is the guard's side of a socket, of which the test has both ends.
type guardsEnd struct {
	ours, theirs int
	file, mem    *os.File
}

func newGuardsEnd(t *testing.T) *guardsEnd {
	t.Helper()
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	must(t, err)
	t.Cleanup(func() { _ = unix.Close(pair[1]) })
	dir := t.TempDir()
	g := &guardsEnd{ours: pair[0], theirs: pair[1]}
	for name, f := range map[string]**os.File{"x.cap": &g.file, "mem": &g.mem} {
		*f, err = os.Create(filepath.Join(dir, name))
		must(t, err)
		t.Cleanup(func() { _ = (*f).Close() })
	}
	_, err = g.file.WriteString("complete, and a part")
	must(t, err)
	_, err = g.mem.Write(binary.NativeEndian.AppendUint64(nil, uint64(len("complete"))))
	must(t, err)
	return g
}

func (g *guardsEnd) take(t *testing.T) {
	t.Helper()
	must(t, unix.Sendmsg(g.ours, []byte{guardTake, 0}, unix.UnixRights(int(g.file.Fd())), nil, 0))
}

func (g *guardsEnd) size(t *testing.T) int64 {
	t.Helper()
	st, err := g.file.Stat()
	must(t, err)
	return st.Size()
}

// A guard that does not understand what it hears, or cannot hear, does not know that the
// capture has ended. It must not cut a file that is being written.
func TestGuardThatCannotHearCutsNothing(t *testing.T) {
	for name, spoil := range map[string]func(*guardsEnd){
		"a message that is too short": func(g *guardsEnd) { _, _ = unix.Write(g.ours, []byte{guardTake}) },
		"no such file":                func(g *guardsEnd) { _, _ = unix.Write(g.ours, []byte{guardTake, guardSlots}) },
		"an answer that nobody takes": func(g *guardsEnd) {
			_ = unix.Shutdown(g.theirs, unix.SHUT_WR)
			_, _ = unix.Write(g.ours, []byte{guardDrop, 1})
			_, _ = unix.Write(g.ours, []byte{guardTake})
		},
	} {
		t.Run(name, func(t *testing.T) {
			g := newGuardsEnd(t)
			defer func() { _ = unix.Close(g.ours) }()
			g.take(t)
			before := g.size(t)
			spoil(g)
			runGuard(g.theirs, g.mem)
			if after := g.size(t); after != before {
				t.Errorf("%d bytes, %d before", after, before)
			}
		})
	}
}

// The capture was killed before it had read an answer of the guard's. The kernel says so
// with ECONNRESET, once, and before what was sent last.
func TestGuardHearsWhatWasSentBeforeTheEnd(t *testing.T) {
	g := newGuardsEnd(t)
	_, err := unix.Write(g.theirs, []byte{guardDrop})
	must(t, err)
	g.take(t)
	must(t, unix.Close(g.ours))
	runGuard(g.theirs, g.mem)
	if size := g.size(t); size != int64(len("complete")) {
		t.Errorf("%d bytes: the file was not cut", size)
	}
}
