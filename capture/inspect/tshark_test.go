package inspect_test

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"pcapctl/capture/inspect"
)

// tsharkMarks are the fields of tshark that the marks are compared with.
var tsharkMarks = []struct {
	field string
	mark  inspect.Marks
}{
	{"tcp.analysis.retransmission", inspect.Retransmission},
	{"tcp.analysis.fast_retransmission", inspect.FastRetransmission},
	{"tcp.analysis.spurious_retransmission", inspect.SpuriousRetransmission},
	{"tcp.analysis.out_of_order", inspect.OutOfOrder},
	{"tcp.analysis.duplicate_ack", inspect.DuplicateAck},
	{"tcp.analysis.lost_segment", inspect.LostSegment},
	{"tcp.analysis.ack_lost_segment", inspect.AckLostSegment},
	{"tcp.analysis.zero_window", inspect.ZeroWindow},
	{"tcp.analysis.zero_window_probe", inspect.ZeroWindowProbe},
	{"tcp.analysis.zero_window_probe_ack", inspect.ZeroWindowProbeAck},
	{"tcp.analysis.window_full", inspect.WindowFull},
	{"tcp.analysis.window_update", inspect.WindowUpdate},
	{"tcp.analysis.keep_alive", inspect.KeepAlive},
	{"tcp.analysis.keep_alive_ack", inspect.KeepAliveAck},
	{"tcp.analysis.reused_ports", inspect.ReusedPorts},
}

// tshark gives the marks that tshark sets, by packet.
func tshark(t *testing.T, path string) []inspect.Marks {
	t.Helper()
	args := []string{"-n", "-r", path, "-T", "fields", "-e", "frame.number"}
	for _, m := range tsharkMarks {
		args = append(args, "-e", m.field)
	}
	out, err := exec.CommandContext(t.Context(), "tshark", args...).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	var list []inspect.Marks
	for line := range strings.Lines(string(out)) {
		var m inspect.Marks
		for i, text := range strings.Split(strings.TrimRight(line, "\n"), "\t") {
			if i > 0 && text != "" {
				m |= tsharkMarks[i-1].mark
			}
		}
		list = append(list, m)
	}
	return list
}

func names(m inspect.Marks) string {
	var list []string
	for _, t := range tsharkMarks {
		if m&t.mark != 0 {
			list = append(list, strings.TrimPrefix(t.field, "tcp.analysis."))
		}
	}
	return strings.Join(list, "+")
}

// TestTsharkRandom compares the marks of every packet with those of tshark, on connections in
// which anything may happen: loss, reordering, repetition, windows that close, ports that are used again.
func TestTsharkRandom(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("tshark is not installed")
	}
	seed := uint64(1)
	if text := os.Getenv("PCAPCTL_PROPERTY_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	r := rand.New(rand.NewPCG(seed, 1))
	s := newScene(t)
	for i := range 300 {
		randomConnection(s, r, uint16(10000+i%200))
	}
	want := tshark(t, s.write())
	var all inspect.Marks
	for _, m := range tsharkMarks {
		all |= m.mark
	}
	var got []inspect.Marks
	reportOf(t, s.file(), inspect.Options{Observe: func(_ uint64, m inspect.Marks) { got = append(got, m&all) }})
	wrong := 0
	count := map[string]int{}
	seen := inspect.Marks(0)
	for i := range got {
		count[names(want[i])]++
		seen |= want[i]
		if got[i] != want[i] {
			if wrong++; wrong <= 10 {
				t.Errorf("packet %d: %s, want %s", i+1, names(got[i]), names(want[i]))
			}
		}
	}
	t.Log(len(got), "packets,", wrong, "differ; marks:", count)
	if seen != all {
		t.Errorf("these never came: %s", names(all&^seen))
	}
}

// randomConnection is a connection in which each step is chosen by chance.
func randomConnection(s *scene, r *rand.Rand, port uint16) {
	c := s.conn("10.0.0.1", port, "10.0.0.2", 80)
	c.seq[0], c.seq[1] = r.Uint32(), r.Uint32()
	if r.IntN(6) == 0 {
		c.seq[r.IntN(2)] = -uint32(r.IntN(5000)) // wraps around
	}
	c.noScale = r.IntN(4) == 0
	if r.IntN(8) > 0 {
		c.send(byClient, flags{syn: true}, nil)
		for r.IntN(4) == 0 {
			s.after(time.Duration(r.IntN(2000)) * time.Millisecond)
			c.raw(byClient, c.seq[0]-1, 0, flags{syn: true}, nil)
		}
		s.after(time.Duration(r.IntN(50)) * time.Millisecond)
		if r.IntN(10) == 0 {
			c.raw(byServer, 0, c.seq[0], flags{rst: true, ack: true}, nil)
			return
		}
		c.send(byServer, flags{syn: true, ack: true}, nil)
		c.send(byClient, flags{ack: true}, nil)
	}
	sent := [2][]uint32{} // sequence numbers that may be sent again
	acked := [2]uint32{c.seq[0], c.seq[1]}
	for range r.IntN(60) {
		by := r.IntN(2)
		n := 1 + r.IntN(1460)
		if r.IntN(10) == 0 {
			n = 1
		}
		switch r.IntN(16) {
		case 0, 1, 2, 3, 4:
			sent[by] = append(sent[by], c.seq[by])
			c.raw(by, c.seq[by], acked[1-by], flags{ack: true}, make([]byte, n))
			c.seq[by] += uint32(n)
		case 5: // lost before the capture
			sent[by] = append(sent[by], c.seq[by])
			c.seq[by] += uint32(n)
		case 6, 7:
			if len(sent[by]) > 0 {
				c.raw(by, sent[by][r.IntN(len(sent[by]))], acked[1-by], flags{ack: true}, make([]byte, n))
			}
		case 8, 9, 10:
			acked[1-by] = c.seq[1-by]
			c.raw(by, c.seq[by], acked[1-by], flags{ack: true}, nil)
		case 11, 12:
			for range 1 + r.IntN(4) {
				c.raw(by, c.seq[by], acked[1-by], flags{ack: true}, nil)
			}
		case 13:
			c.window[by] = []uint16{0, 0, 10, 100, 500}[r.IntN(5)]
			c.raw(by, c.seq[by], acked[1-by], flags{ack: true}, nil)
		case 14:
			c.raw(by, c.seq[by]-1, acked[1-by], flags{ack: true}, make([]byte, r.IntN(2)))
		case 15:
			switch r.IntN(6) {
			case 0:
				c.send(by, flags{fin: true, ack: true}, nil)
			case 1:
				c.raw(by, c.seq[by], 0, flags{rst: true}, nil)
			case 2:
				c.raw(by, c.seq[by]-1, 0, flags{syn: true}, nil)
			case 3: // fills the window
				w := uint32(c.window[1-by])
				if !c.noScale {
					w <<= 7
				}
				if rest := acked[by] + w - c.seq[by]; rest > 0 && rest < 3000 {
					c.raw(by, c.seq[by], acked[1-by], flags{ack: true}, make([]byte, rest))
					c.seq[by] += rest
				}
			}
		}
		s.after([]time.Duration{0, 100 * time.Microsecond, 2 * time.Millisecond, 15 * time.Millisecond, 300 * time.Millisecond}[r.IntN(5)])
	}
	if r.IntN(2) == 0 {
		c.close()
	}
}

// TestDisplayFilters: the display filter of a scene's failure is one that tshark takes, and shows
// the packets that the finding names, and no packet outside of them.
func TestDisplayFilters(t *testing.T) {
	if _, err := exec.LookPath("tshark"); err != nil {
		t.Skip("tshark is not installed")
	}
	if testing.Short() {
		t.Skip("tshark takes a second for each scene; run without -short")
	}
	for _, test := range scenes {
		if test.want == "" {
			continue
		}
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			test.make(s)
			f := s.report().Failures[0]
			out, err := exec.CommandContext(t.Context(), "tshark", "-n", "-2", "-r", s.write(), "-Y", f.DisplayFilter, "-T", "fields", "-e", "frame.number").Output()
			if err != nil {
				t.Fatalf("%s: %v", f.DisplayFilter, err)
			}
			shown := strings.Fields(string(out))
			if len(shown) == 0 {
				t.Fatalf("%s shows nothing", f.DisplayFilter)
			}
			first, last := shown[0], shown[len(shown)-1]
			if f.FirstPacket != 0 && (first != strconv.FormatUint(f.FirstPacket, 10) || last != strconv.FormatUint(f.LastPacket, 10)) {
				t.Errorf("%s shows packets %s to %s, and the finding has %d to %d", f.DisplayFilter, first, last, f.FirstPacket, f.LastPacket)
			}
		})
	}
}
