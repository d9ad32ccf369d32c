package capture_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
	"pcapctl/capture/source/live"
	"pcapctl/capture/testnet"
)

// heldFor is a watcher that holds up the packet loop the first times that it hears of a block, each time for as long as
// hold takes.
type heldFor struct {
	slow
	times atomic.Int32
	hold  func()
}

func (w *heldFor) Progress(p capture.Progress) {
	if p.Packets > 0 && w.times.Load() > 0 {
		w.hold()
		w.times.Add(-1)
	}
}

// jump is a place in a file where numbers are missing.
type jump struct {
	missing       uint64
	after, before time.Time
}

// jumps are those of a file of numbered packets, of which sent were sent; what is missing at the end is the last.
func jumps(t *testing.T, path string, sent uint32) (list []jump) {
	t.Helper()
	var last time.Time
	next := uint32(0)
	for _, p := range packetsIn(t, path) {
		n := binary.BigEndian.Uint32(p.Data[len(p.Data)-4:])
		at := time.Unix(p.Sec, int64(p.Nsec))
		if n != next {
			list = append(list, jump{uint64(n - next), last, at})
		}
		next, last = n+1, at
	}
	if next != sent {
		list = append(list, jump{missing: uint64(sent - next), after: last})
	}
	return list
}

func packetsIn(t *testing.T, path string) (list []pcapfile.Packet) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	r, err := pcapfile.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for {
		var p pcapfile.Packet
		if err := r.Next(&p); err != nil {
			return list
		}
		p.Data = append([]byte(nil), p.Data...)
		list = append(list, p)
	}
}

// Where packets are missing the result says how many, between which two, and pcapng files say it at the very packet: to the
// number, whatever the ring's size and however often it overflows.
func TestGapsAreWherePacketsAreMissing(t *testing.T) {
	testnet.NeedTools(t, "tshark")
	for _, test := range []struct {
		format string
		ring   int
		holds  int32
	}{
		{request.FormatPcap, live.MinBufferSize, 1},
		{request.FormatPcapng, live.MinBufferSize, 3},
		{request.FormatPcapng, live.DefaultBufferSize, 3},
	} {
		t.Run(fmt.Sprint(test.format, test.ring, test.holds), func(t *testing.T) {
			r := newRig(t)
			r.output, r.buffer = request.Output{Format: test.format, Precision: request.PrecisionNano}, test.ring
			if test.format == request.FormatPcapng {
				r.output.Precision = ""
			}
			const burst = 8_000
			s := r.sendsNumbered("v0", tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 1200, 0))
			var sent atomic.Uint32
			var sending sync.Mutex // of the frame
			next := func() {
				sending.Lock()
				defer sending.Unlock()
				s(sent.Add(1) - 1)
			}
			flood := func() {
				for range burst {
					next()
				}
			}
			watcher := &heldFor{hold: flood}
			watcher.times.Store(test.holds)
			res := r.captureWith(r.plan("", "v1"), capture.Options{Watcher: watcher}, func() {
				next()
				// The loop is held up when it sees the first packet, and floods itself; all is sent before the end.
				for watcher.times.Load() > 0 {
					time.Sleep(5 * time.Millisecond)
				}
			})
			want := jumps(t, res.Files[0].Path, sent.Load())
			if len(want) < int(test.holds) {
				t.Fatalf("only %d gaps", len(want))
			}
			var sum uint64
			for i, g := range res.Gaps.List {
				sum += g.Packets
				if i >= len(want) || g.Packets != want[i].missing || !same(g.After, want[i].after) || !same(g.Before, want[i].before) {
					t.Errorf("gap %d is %+v, in the file %+v", i, g, want)
				}
			}
			if len(res.Gaps.List) != len(want) || res.Gaps.More != 0 || sum != res.Dropped.ByKernel || res.Packets+sum != uint64(sent.Load()) {
				t.Errorf("%d sent, %d packets, %+v, gaps %+v, in the file %+v", sent.Load(), res.Packets, res.Dropped, res.Gaps, want)
			}
			st := res.Resource().Properties.Statistics
			if len(st.Gaps) != len(want) || st.Gaps[0].PacketsDropped != want[0].missing || (st.Gaps[0].FirstBehind == "") != want[0].before.IsZero() || st.GapsNotListed != nil {
				t.Errorf("%+v", st.Gaps)
			}
			if test.format != request.FormatPcapng {
				return
			}
			check(t, res.Files[0].Path)
			var told []string
			for _, line := range tshark(t, res.Files[0].Path, "-T", "fields", "-e", "frame.drop_count", "-Y", "frame.drop_count") {
				told = append(told, strings.TrimSpace(line))
			}
			for i, w := range want {
				if !w.before.IsZero() && (i >= len(told) || told[i] != strconv.FormatUint(w.missing, 10)) {
					t.Errorf("tshark shows %q, missing are %+v", told, want)
				}
			}
		})
	}
}

func same(a, b time.Time) bool { return a.Equal(b) || a.IsZero() && b.IsZero() }

// What gaps tell of the end of a capture, beside what is known by reading the counter; the list is bounded.
func TestGapsAroundTheEnd(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(1000+s), 0) }
	for _, test := range []struct {
		name                  string
		gaps                  []source.Gap
		end                   int // 0: no limit
		all, inTime, unknown  uint64
		before, around, after uint64
		listed                int
	}{
		{"no limit", []source.Gap{{Packets: 5, After: at(1), Before: at(2)}, {Packets: 6, After: at(3)}}, 0, 11, 11, 0, 11, 0, 0, 2},
		{"before the end, which the counter does not tell", []source.Gap{{Packets: 5, After: at(1), Before: at(2)}}, 3, 5, 0, 5, 5, 0, 0, 1},
		{"over the end", []source.Gap{{Packets: 5, After: at(1), Before: at(4)}}, 3, 5, 0, 5, 0, 5, 0, 1},
		{"over the end, of which the counter tells a part", []source.Gap{{Packets: 5, After: at(1), Before: at(4)}}, 3, 5, 2, 1, 2, 1, 2, 1},
		{"after the end", []source.Gap{{Packets: 5, After: at(1), Before: at(2)}, {Packets: 7, After: at(4), Before: at(5)}}, 3, 12, 5, 7, 5, 0, 7, 1},
		{"the last, over the end", []source.Gap{{Packets: 7, After: at(2)}}, 3, 7, 0, 7, 0, 7, 0, 1},
		{"the last, after the end", []source.Gap{{Packets: 7, After: at(4)}}, 3, 7, 0, 7, 0, 0, 7, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			var end time.Time
			if test.end > 0 {
				end = at(test.end)
			}
			before, around, after, gaps := capture.SplitGaps(test.gaps, end, test.all, test.inTime, test.unknown)
			if before != test.before || around != test.around || after != test.after || len(gaps.List) != test.listed {
				t.Errorf("%d before, %d around, %d after, %+v", before, around, after, gaps)
			}
		})
	}
	many := make([]source.Gap, 250)
	for i := range many {
		many[i] = source.Gap{Packets: 2, After: at(i), Before: at(i + 1)}
	}
	if _, _, _, gaps := capture.SplitGaps(many, time.Time{}, 500, 500, 0); len(gaps.List) != 100 || gaps.More != 150 || gaps.Lost != 300 {
		t.Errorf("%d, %d, %d", len(gaps.List), gaps.More, gaps.Lost)
	}
}
