package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// pseudoTerminal gives both sides of a terminal. pty(7).
func pseudoTerminal(t *testing.T) (outer, inner *os.File) {
	t.Helper()
	outer, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { _ = outer.Close() })
	must(t, unix.IoctlSetPointerInt(int(outer.Fd()), unix.TIOCSPTLCK, 0))
	number, err := unix.IoctlGetInt(int(outer.Fd()), unix.TIOCGPTN)
	must(t, err)
	inner, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	must(t, err)
	t.Cleanup(func() { _ = inner.Close() })
	return outer, inner
}

// Ctrl-C ends inspect while it waits for somebody to write into a named pipe.
func TestInspectOfAPipeWithoutWriterEnds(t *testing.T) {
	h := newHost(t)
	must(t, unix.Mkfifo(h.path("pipe"), 0o600))
	cmd := h.command("inspect", h.path("pipe"))
	must(t, cmd.Start())
	done := make(chan struct{})
	go func() { _ = cmd.Wait(); close(done) }()
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // of a test that failed
	until(t, "it to open the pipe", func() bool {
		tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/syscall", cmd.Process.Pid))
		return slices.ContainsFunc(tasks, func(file string) bool {
			text, err := os.ReadFile(file)
			return err == nil && strings.HasPrefix(string(text), fmt.Sprintf("%d ", unix.SYS_OPENAT))
		})
	})
	must(t, cmd.Process.Signal(os.Interrupt))
	until(t, "the process to end", func() bool { return isClosed(done) })
}

func isClosed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// What TCXONC asks for: TCOOFF and TCOON, ioctl_tty(2).
const outputOff, outputOn = 0, 1

// A terminal that takes nothing more, as after Ctrl-S or over a connection that hangs, keeps no capture from its end: the
// file is complete and the record is written. SIGQUIT, as a second Ctrl-C, leaves at once all the same.
func TestStoppedTerminalHoldsUpNoEnd(t *testing.T) {
	h := newHost(t)
	for _, test := range []struct {
		name  string
		ended func() bool
		end   syscall.Signal
		code  int
	}{
		{"term", func() bool {
			return strings.Contains(h.run("show-status", "term", "--query", "packetCaptureStatus").out, "Stopped")
		}, syscall.SIGTERM, 0},
		{"quit", nil, syscall.SIGQUIT, 6},
	} {
		t.Run(test.name, func(t *testing.T) {
			outer, inner := pseudoTerminal(t)
			cmd := h.create(test.name)
			cmd.Stderr = inner
			must(t, cmd.Start())
			done := make(chan struct{})
			go func() { _ = cmd.Wait(); close(done) }()
			t.Cleanup(func() { _ = cmd.Process.Kill() }) // of a test that failed
			var seen lockedBuffer
			go func() { _, _ = io.Copy(&seen, outer) }()
			until(t, "it to capture, and to draw its progress", func() bool { return strings.Contains(seen.String(), "0 packets") })
			h.send(3)
			h.count(test.name, 3)
			must(t, unix.IoctlSetInt(int(inner.Fd()), unix.TCXONC, outputOff))
			must(t, cmd.Process.Signal(test.end))
			if test.ended != nil {
				until(t, "the session to end", test.ended)
				numbers(t, h.path("captures/"+test.name+".cap"), 3)
				must(t, unix.IoctlSetInt(int(inner.Fd()), unix.TCXONC, outputOn))
			}
			until(t, "the process to end", func() bool { return isClosed(done) })
			if code := cmd.ProcessState.ExitCode(); code != test.code {
				t.Errorf("exit code %d, want %d: %s", code, test.code, &seen)
			}
		})
	}
}
