package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pcapctl/capture/pcapfile"
)

// flowsFile writes a capture of so many packets of TCP, in turn of so many connections.
func flowsFile(t *testing.T, w io.Writer, packets, flows, payload int) {
	t.Helper()
	b := bufio.NewWriterSize(w, 1<<20)
	_, err := b.Write(pcapfile.AppendHeader(nil, pcapfile.Nano, pcapfile.Ethernet, pcapfile.MaxSnapLen))
	must(t, err)
	const ethernet, ip, tcp = 14, 20, 20
	size := ethernet + ip + tcp + payload
	record := make([]byte, pcapfile.RecordHeaderLen+size)
	frame := record[pcapfile.RecordHeaderLen:]
	copy(frame, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00\x45")
	binary.BigEndian.PutUint16(frame[ethernet+2:], uint16(size-ethernet))
	frame[ethernet+8], frame[ethernet+9] = 64, 6
	copy(frame[ethernet+16:], "\x0a\x00\x00\x01")
	header := frame[ethernet+ip:]
	binary.BigEndian.PutUint16(header[2:], 5432)
	header[12], header[13], header[14] = 0x50, 0x10, 0xff
	for n := range packets {
		flow, round := n%flows, n/flows
		pcapfile.PutRecordHeader(record, uint32(1_700_000_000+n/100_000), uint32(n%100_000)*10_000, size, size)
		binary.BigEndian.PutUint16(frame[ethernet+4:], uint16(round))
		binary.BigEndian.PutUint32(frame[ethernet+12:], uint32(0xac100000+flow>>8))
		binary.BigEndian.PutUint16(header, uint16(10_000+flow&0xff))
		binary.BigEndian.PutUint32(header[4:], uint32(1+round*payload))
		binary.BigEndian.PutUint32(header[8:], 1)
		_, err = b.Write(record)
		must(t, err)
	}
	must(t, b.Flush())
}

// atTerminal is a program whose stderr is a terminal.
type atTerminal struct {
	t    *testing.T
	cmd  *exec.Cmd
	seen lockedBuffer
	done chan struct{}
}

func startAtTerminal(t *testing.T, cmd *exec.Cmd) *atTerminal {
	t.Helper()
	outer, inner := pseudoTerminal(t)
	must(t, unix.IoctlSetWinsize(int(inner.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: 100}))
	w := &atTerminal{t: t, cmd: cmd, done: make(chan struct{})}
	cmd.Stderr = inner
	must(t, cmd.Start())
	go func() { _ = cmd.Wait(); close(w.done) }()
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // of a test that failed
	go func() { _, _ = io.Copy(&w.seen, outer) }()
	return w
}

// until waits for what the terminal shows, or for the end. It is false at the end.
func (w *atTerminal) until(pattern string) bool {
	w.t.Helper()
	expr := regexp.MustCompile(pattern)
	until(w.t, "the terminal to show "+pattern, func() bool { return expr.MatchString(w.seen.String()) || isClosed(w.done) })
	return expr.MatchString(w.seen.String())
}

// interruptAgain is as somebody who presses Ctrl-C until the program has ended. Two in less than 0.2 s are one.
func (w *atTerminal) interruptAgain() {
	w.t.Helper()
	for range 100 {
		select {
		case <-w.done:
			return
		case <-time.After(sameInterrupt + 50*time.Millisecond):
			_ = w.cmd.Process.Signal(os.Interrupt) // has ended, may be
		}
	}
	w.t.Fatalf("it does not end: %s", &w.seen)
}

func (w *atTerminal) code(want int) {
	w.t.Helper()
	until(w.t, "the process to end", func() bool { return isClosed(w.done) })
	if code := w.cmd.ProcessState.ExitCode(); code != want {
		w.t.Errorf("exit code %d, want %d: %s", code, want, &w.seen)
	}
}

// Ctrl-C has inspect print what it has seen, also while it waits for more. A second one leaves it, where nobody takes
// what it prints: no page is left behind that is not complete.
func TestInspectInterrupted(t *testing.T) {
	h := newHost(t)
	const packets = 5000
	start := func(name string) (w *atTerminal, out *os.File) {
		in, feed, err := os.Pipe()
		must(t, err)
		out, stdout, err := os.Pipe()
		must(t, err)
		t.Cleanup(func() { _ = feed.Close(); _ = out.Close() })
		cmd := h.command("inspect", "-", "--top", "1000", "--html", h.path(name), "-o", "json")
		cmd.Stdin, cmd.Stdout = in, stdout
		w = startAtTerminal(t, cmd)
		must(t, in.Close())
		must(t, stdout.Close())
		flowsFile(t, feed, packets, 2000, 0)
		if !w.until(`[1-9]\d* packets`) {
			t.Fatalf("it has ended: %s", &w.seen)
		}
		return w, out
	}
	t.Run("once", func(t *testing.T) {
		w, out := start("once.html")
		must(t, w.cmd.Process.Signal(os.Interrupt))
		text, err := io.ReadAll(out)
		must(t, err)
		w.code(6)
		var r struct {
			Packets struct{ Count int }
			Input   struct{ Interrupted bool }
		}
		must(t, json.Unmarshal(text, &r))
		if r.Packets.Count == 0 || r.Packets.Count > packets || !r.Input.Interrupted {
			t.Errorf("%+v", r)
		}
		if !strings.Contains(w.seen.String(), "interrupted: the report is of the "+strconv.Itoa(r.Packets.Count)+" packets") {
			t.Errorf("says %s", &w.seen)
		}
		page, err := os.ReadFile(h.path("once.html"))
		if err != nil || !strings.HasSuffix(strings.TrimSpace(string(page)), "</html>") {
			t.Errorf("the page: %v, %d bytes", err, len(page))
		}
	})
	t.Run("twice", func(t *testing.T) {
		w, out := start("twice.html")
		must(t, w.cmd.Process.Signal(os.Interrupt))
		const pipeHolds = 64 << 10 // pipe(7)
		until(t, "the pipe to be full", func() bool {
			n, err := unix.IoctlGetInt(int(out.Fd()), unix.TIOCINQ)
			must(t, err)
			return n >= pipeHolds
		})
		w.interruptAgain()
		w.code(6)
		if !strings.Contains(w.seen.String(), "left before the report was printed") {
			t.Errorf("says %s", &w.seen)
		}
		if _, err := os.Stat(h.path("twice.html")); err == nil {
			t.Error("the page is there")
		}
	})
}

// Where create --inspect still reads, the capture is complete: a first Ctrl-C says so, a second one ends the look, and the
// result has what was seen.
func TestCreateInspectInterrupted(t *testing.T) {
	h := newHost(t)
	for packets := 2_000_000; ; packets *= 4 { // until the machine is not too fast for us
		f, err := os.Create(h.path("in.pcap"))
		must(t, err)
		flowsFile(t, f, packets, 50_000, 0)
		must(t, f.Close())
		out := fmt.Sprintf("captures/%d.cap", packets)
		cmd := h.command("create", "--read-file", h.path("in.pcap"), "--file-path", h.path(out), "--capture-limit", "0", "--inspect", "-o", "json")
		var text lockedBuffer
		cmd.Stdout = &text
		w := startAtTerminal(t, cmd)
		w.until(`ended \(EndOfFile\)`)
		_ = w.cmd.Process.Signal(os.Interrupt) // has ended, may be
		if w.until("the capture has ended already; once more ends what it waits for") {
			w.interruptAgain()
		}
		w.code(0)
		must(t, os.Remove(h.path(out)))
		if !strings.Contains(w.seen.String(), "ending --inspect; the capture is complete") {
			if packets > 30_000_000 {
				t.Fatalf("it was never found reading: %s", &w.seen)
			}
			continue
		}
		var r struct {
			Properties struct{ Statistics struct{ PacketsCaptured int } }
			Inspect    struct {
				Input   struct{ Interrupted bool }
				Packets struct{ Count int }
			}
		}
		must(t, json.Unmarshal([]byte(text.String()), &r))
		if r.Properties.Statistics.PacketsCaptured != packets || !r.Inspect.Input.Interrupted || r.Inspect.Packets.Count >= packets {
			t.Errorf("of %d packets: %+v", packets, r)
		}
		return
	}
}

// A file of gigabytes is inspected in memory that has a bound, also with more flows than are held, and with progress
// on the terminal. PCAPCTL_TEST_LONG makes it one of 4 GiB, and breaks a second look at it off.
func TestInspectLargeFile(t *testing.T) {
	if testing.Short() {
		t.Skip("measures memory, of which the race detector takes a multiple")
	}
	h := newHost(t)
	long := os.Getenv("PCAPCTL_TEST_LONG") != ""
	packets, flows, payload := 400_000, 150_000, 60
	if long {
		packets, flows, payload = 12_000_000, 1_000_000, 300
	}
	f, err := os.Create(h.path("large.pcap"))
	must(t, err)
	flowsFile(t, f, packets, flows, payload)
	size, err := f.Seek(0, io.SeekCurrent)
	must(t, err)
	must(t, f.Close())
	cmd := h.command("inspect", h.path("large.pcap"), "-o", "json", "--query", "[packets.count, limits.evictedFlows, tcp.connections]")
	var text lockedBuffer
	cmd.Stdout = &text
	w := startAtTerminal(t, cmd)
	var peak int64
	for ended := false; !ended; {
		select {
		case <-w.done:
			ended = true
		case <-time.After(5 * time.Millisecond):
			peak = max(peak, peakOf(cmd.Process.Pid))
		}
	}
	w.code(0)
	var counts [3]int
	must(t, json.Unmarshal([]byte(text.String()), &counts))
	t.Logf("%d bytes, %d packets of %d flows: %d connections, %d flows given up; peak memory %d MiB", size, packets, flows, counts[2], counts[1], peak>>20)
	if counts[0] != packets || counts[1] < flows-100_000 {
		t.Errorf("%v", counts)
	}
	if peak == 0 || peak > 256<<20 {
		t.Errorf("a peak of %d bytes", peak)
	}
	if !regexp.MustCompile(`[\d.]+ [KMG]i?B of [\d.]+ [MG]i?B read, \d+ packets`).MatchString(w.seen.String()) {
		t.Errorf("no progress: %q", w.seen.String())
	}
	if !long {
		return
	}
	broken := h.command("inspect", h.path("large.pcap"), "-o", "table")
	var report lockedBuffer
	broken.Stdout = &report
	w = startAtTerminal(t, broken)
	if !w.until(`of 4\.\d GiB read, [1-9]\d* packets`) {
		t.Fatalf("it has ended: %s", &w.seen)
	}
	must(t, broken.Process.Signal(os.Interrupt))
	w.code(6)
	t.Logf("%s", &w.seen)
	if !strings.Contains(w.seen.String(), "interrupted: the report is of the ") || !strings.Contains(report.String(), "Who talks") {
		t.Errorf("says %s\n%s", &w.seen, &report)
	}
}

// peakOf is what a process has had resident at most, in bytes; 0 when it has ended.
func peakOf(pid int) (peak int64) {
	status, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for line := range strings.Lines(string(status)) {
		if n, _ := fmt.Sscanf(line, "VmHWM: %d kB", &peak); n == 1 {
			return peak << 10
		}
	}
	return 0
}
