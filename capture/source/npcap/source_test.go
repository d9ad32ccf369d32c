package npcap

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"pcapctl/capture/fault"
	"pcapctl/capture/netif"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
	"pcapctl/capture/source/live"
	"pcapctl/capture/source/sourcetest"
	"pcapctl/filter"
)

// The contract, with a driver that is made up: on every system, and with what Wine's
// library does not do.
func TestConformance(t *testing.T) {
	for _, test := range []struct {
		name    string
		on      []string
		output  request.Output
		length  int
		endless bool
	}{
		{"one adapter", []string{"a"}, request.Output{}, 60, false},
		{"one adapter, pcapng", []string{"a"}, request.Output{Format: request.FormatPcapng}, 60, false},
		{"several", []string{"a", "b"}, request.Output{}, 60 - 14 + 20, false},
		{"several, pcapng", []string{"a", "b"}, request.Output{Format: request.FormatPcapng}, 60, false},
		{"a next without end", []string{"a", "b"}, request.Output{}, 60 - 14 + 20, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			sourcetest.Run(t, sourcetest.Fixture{Length: test.length, Prepare: func(t *testing.T) (source.Source, func(int)) {
				d := newFake(test.on...)
				d.endless = test.endless
				var interfaces []netif.Interface
				for i, name := range test.on {
					interfaces = append(interfaces, adapterNamed(name, i))
				}
				src := prepared(t, d, testConfig(t, test.output, toPort7), interfaces...)
				d.handle("a").arrive(datagram(1, 7), time.Now()) // before it is started
				number := 0
				return src, func(n int) {
					for range n {
						h := d.handle(test.on[number%len(test.on)])
						h.arrive(numbered(number), d.now())
						h.arrive(datagram(1, 8), d.now())
						number++
					}
				}
			}})
		})
	}
}

// What the driver has at the stop is recorded, what comes later is not, however fast
// packets come.
func TestDetachInAFlood(t *testing.T) {
	for _, unsynced := range []bool{false, true} {
		t.Run(map[bool]string{false: "system's clock", true: "another clock"}[unsynced], func(t *testing.T) {
			defer goleak.VerifyNone(t)
			d := newFake("a")
			d.unsynced = unsynced
			src := started(t, d, testConfig(t, request.Output{}, toPort7), adapterNamed("a", 0))
			quit, done := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(done)
				for n := 0; ; n++ {
					select {
					case <-quit:
						return
					default:
						d.handle("a").arrive(numbered(n), time.Now())
						time.Sleep(10 * time.Microsecond)
					}
				}
			}()
			got := all(t, src, 100)
			before := time.Now()
			if err := src.Detach(); err != nil {
				t.Fatal(err)
			}
			took := time.Since(before)
			got = append(got, all(t, src, -1)...)
			close(quit)
			<-done
			last := got[len(got)-1]
			if at := time.Unix(last.Sec, int64(last.Nsec)); !unsynced && at.After(before.Add(time.Second)) || took > 5*time.Second {
				t.Errorf("the last packet is of %v after the stop, which took %v", at.Sub(before), took)
			}
			for i, n := range numbers(got) {
				if n != i {
					t.Fatalf("packet %d is %d", i, n)
				}
			}
			if st := src.Stats(); st.Received != uint64(len(got)) || st.Dropped != 0 {
				t.Errorf("%d packets, %+v", len(got), st)
			}
			if err := src.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A packet loop that is held up: the driver drops, and what is given plus what was
// dropped is what passed the filter.
func TestEveryPacketIsGivenOrDropped(t *testing.T) {
	d := newFake("a", "b")
	d.room = 3000
	src := started(t, d, testConfig(t, request.Output{}), adapterNamed("a", 0), adapterNamed("b", 1))
	long := make([]byte, 1514) // some 4 * 512 KiB of them fill the buffers
	copy(long, datagram(1, 7))
	const each = 20_000
	for n := range each {
		binary.BigEndian.PutUint32(long[len(long)-4:], uint32(n))
		d.handle("a").arrive(long, time.Now())
		d.handle("b").arrive(long, time.Now())
	}
	if err := src.Detach(); err != nil {
		t.Fatal(err)
	}
	got := all(t, src, -1)
	st := src.Stats()
	if st.Received != 2*each || uint64(len(got))+st.Dropped != 2*each || st.Dropped == 0 {
		t.Errorf("%d given, %+v", len(got), st)
	}
	if tail := src.Tail(); tail.Packets != st.Dropped || tail.After.IsZero() != true {
		t.Errorf("lost at the end: %+v, and all in all %d", tail, st.Dropped)
	}
	for id := range 2 {
		last := -1
		for _, p := range got {
			if p.Interface == id {
				if p.number <= last {
					t.Fatalf("adapter %d: %d behind %d", id, p.number, last)
				}
				last = p.number
			}
		}
	}
}

// Packets of several adapters are in the order of their times when they come within
// Window, also when an adapter is idle, and one adapter that is idle holds up nothing.
func TestMergedByTime(t *testing.T) {
	d := newFake("a", "b")
	src := started(t, d, testConfig(t, request.Output{}), adapterNamed("a", 0), adapterNamed("b", 1))
	start := time.Now()
	d.handle("a").arrive(numbered(1), start.Add(time.Millisecond))
	d.handle("a").arrive(numbered(3), start.Add(3*time.Millisecond))
	time.Sleep(Window / 5)
	d.handle("b").arrive(numbered(0), start)
	d.handle("b").arrive(numbered(2), start.Add(2*time.Millisecond))
	d.handle("b").arrive(numbered(4), start.Add(4*time.Millisecond))
	got := all(t, src, 5)
	if !slices.Equal(numbers(got), []int{0, 1, 2, 3, 4}) {
		t.Errorf("%v", numbers(got))
	}
	from := time.Now()
	d.handle("b").arrive(numbered(5), time.Now())
	if got := all(t, src, 1); got[0].number != 5 || time.Since(from) > 10*(hold+Window) {
		t.Errorf("%v after %v", numbers(got), time.Since(from))
	}
}

// Drops are told between the packets before and behind the moments of counting.
func TestGapsArePlaced(t *testing.T) {
	d := newFake("a")
	d.room = 2
	src := started(t, d, testConfig(t, request.Output{}), adapterNamed("a", 0))
	h := d.handle("a")
	h.arrive(numbered(0), time.Now())
	all(t, src, 1)
	h.mu.Lock()
	h.drops += 7
	h.mu.Unlock()
	lost := time.Now()
	if batch, err := src.Next(); batch != nil || err != nil {
		t.Fatalf("%v, %v", batch, err)
	}
	time.Sleep(2 * time.Millisecond)
	h.arrive(numbered(1), time.Now())
	for end := time.Now().Add(20 * time.Second); ; {
		batch, err := src.Next()
		if err != nil || time.Now().After(end) {
			t.Fatal(err)
		}
		if batch == nil {
			_ = src.Wait(time.Millisecond)
			continue
		}
		gap := batch.Gap()
		if gap.Packets != 7 || gap.After.After(lost) || gap.Before.Before(lost) {
			t.Errorf("%+v, lost at %v", gap, lost)
		}
		break
	}
	if tail := src.Tail(); tail.Packets != 0 {
		t.Errorf("%+v", tail)
	}
}

// A batch ends where a gap is; what is counted is told once.
func TestGapLog(t *testing.T) {
	var l gapLog
	l.look(0, 100)
	l.given(90)
	l.look(5, 200) // 5 of 100 to 200
	l.look(5, 300)
	if l.due(200) || !l.due(201) {
		t.Error("it comes behind what was captured before it was counted")
	}
	l.given(95)  // before
	l.given(150) // in between
	if g := l.take(250); g.Packets != 5 || g.After.UnixNano() != 95 || g.Before.UnixNano() != 250 || l.due(400) {
		t.Errorf("%+v", g)
	}
	for n := range 2 * maxGaps {
		l.look(uint64(6+n), int64(400+n))
	}
	if g := l.rest(); g.Packets != 2*maxGaps || l.rest().Packets != 0 {
		t.Errorf("%+v", g)
	}
}

// What held is remembered for a while, and not for ever.
func TestExclusionsAreForgotten(t *testing.T) {
	var e *exclusions
	at := time.Now()
	for n := range 10 * maxPast {
		e = e.replaced([]filter.Flow{{LocalPort: uint16(n)}}, at.Add(time.Duration(n)*time.Millisecond))
	}
	if len(e.past) != maxPast {
		t.Errorf("%d", len(e.past))
	}
	if e = e.replaced(nil, at.Add(time.Hour)); len(e.past) != 1 {
		t.Errorf("%d an hour later", len(e.past))
	}
}

// Headers only: by the program, or here when it had no room for that.
func TestHeadersOnly(t *testing.T) {
	for _, tooLarge := range []bool{false, true} {
		c := testConfig(t, request.Output{}, toPort7)
		c.Additions.HeadersOnly = true
		if tooLarge {
			var filters []filter.Filter
			for i := range 3000 {
				f, faults := filter.Parse(filter.Spec{Protocol: new("UDP"), RemotePort: new("7"), LocalPort: new(fmt.Sprint(1 + i%500*2)), RemoteIPAddress: new(fmt.Sprintf("10.0.%d.%d", i>>8*2, i&255))})
				if faults != nil {
					t.Fatal(faults)
				}
				filters = append(filters, f)
			}
			c.Filters = filter.NewSet(filters...)
		}
		d := newFake("a")
		src := started(t, d, c, adapterNamed("a", 0))
		if a := src.adapters[0]; a.program.Exact == tooLarge || a.cut != tooLarge {
			t.Fatalf("too large: %v; exact: %v, cut here: %v", tooLarge, a.program.Exact, a.cut)
		}
		frame := datagram(5, 7)
		d.handle("a").arrive(frame, time.Now())
		if p := all(t, src, 1)[0]; string(p.Data) != string(frame[:14+20+8]) || p.Length != len(frame) {
			t.Errorf("too large: %v: %x of %d", tooLarge, p.Data, p.Length)
		}
	}
}

// An adapter that cannot be promiscuous is captured on all the same, and it is told.
func TestModestAdapter(t *testing.T) {
	for _, modest := range []bool{false, true} {
		d := newFake("a")
		d.modest = modest
		if modest {
			d.err = errors.New("failed to set hardware filter to promiscuous mode")
		}
		on := []netif.Interface{adapterNamed("a", 0)}
		spec, err := newSpec(testConfig(t, request.Output{}), live.Options{Promiscuous: true}, on, on)
		if err != nil {
			t.Fatal(err)
		}
		src, err := spec.prepare(d)
		if err != nil {
			t.Fatal(err)
		}
		if told := strings.Contains(strings.Join(src.Report().Warnings, "\n"), "promiscuous"); told != modest {
			t.Errorf("modest: %v; %+v", modest, src.Report())
		}
		if err := src.Close(); err != nil {
			t.Error(err)
		}
	}
}

// A clock that was set back just before the stop loses nothing of what the driver has.
func TestDetachWithClockSetBack(t *testing.T) {
	d := newFake("a")
	src := started(t, d, testConfig(t, request.Output{}), adapterNamed("a", 0))
	for n := range 10 {
		d.handle("a").arrive(numbered(n), time.Now().Add(time.Hour))
	}
	if err := src.Detach(); err != nil {
		t.Fatal(err)
	}
	if got := all(t, src, -1); len(got) != 10 {
		t.Errorf("%d packets", len(got))
	}
}

// The clock that ends a capture goes on between two looks at it, as that of packets does. By one that ticks, a hundred different times
// take more than a second.
func TestSystemTime(t *testing.T) {
	var took time.Duration
	for range 10 { // this process may be held up
		before := time.Now()
		for seen := map[int64]bool{}; len(seen) < 100; seen[systemTime().UnixNano()] = true {
		}
		took = time.Since(before)
		if now := systemTime(); now.Before(before.Add(-time.Second)) || now.After(time.Now().Add(time.Second)) {
			t.Fatalf("%v, and by time.Now %v", now, time.Now())
		}
		if took < time.Second {
			return
		}
	}
	t.Errorf("100 different times took %v", took)
}

// A packet that came before the end, and behind an answer that there is none, is not lost.
func TestDetachBesideAnIdleAnswer(t *testing.T) {
	d := newFake("a")
	src := started(t, d, testConfig(t, request.Output{}), adapterNamed("a", 0))
	h, done := d.handle("a"), make(chan struct{})
	h.mu.Lock()
	h.idling = func() {
		defer close(done)
		h.arrive(numbered(1), time.Now())
		src.adapters[0].detach(time.Now().Add(time.Millisecond))
	}
	h.mu.Unlock()
	<-done
	if err := src.Detach(); err != nil {
		t.Fatal(err)
	}
	if got := all(t, src, -1); len(got) != 1 {
		t.Errorf("%d packets", len(got))
	}
}

// A library that does not come back holds up no end for good.
func TestStuckLibrary(t *testing.T) {
	d := newFake("a")
	src := started(t, d, testConfig(t, request.Output{}), adapterNamed("a", 0))
	src.patience = 10 * time.Millisecond
	h := d.handle("a")
	h.mu.Lock()
	h.stuck = make(chan struct{})
	h.mu.Unlock()
	h.wake() // into the next call
	if err := src.Detach(); err == nil || !strings.Contains(err.Error(), "does not come back") {
		t.Errorf("detach: %v", err)
	}
	if err := src.Close(); err == nil || h.closed {
		t.Errorf("close: %v, closed below the reader: %v", err, h.closed)
	}
	close(h.stuck)
	waitFor(t, src.adapters[0].ended)
}

// The upload's own connections are left out, and count as nothing.
func TestExclude(t *testing.T) {
	d := newFake("a")
	src := started(t, d, testConfig(t, request.Output{}), adapterNamed("a", 0))
	tcp := func(from, to string, number byte) []byte {
		f := make([]byte, 14+40+4)
		copy(f, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00\x45\x00\x00\x2c\x00\x00\x00\x00\x40\x06")
		for i, end := range []string{from, to} {
			ap := netip.MustParseAddrPort(end)
			copy(f[26+4*i:], ap.Addr().AsSlice())
			binary.BigEndian.PutUint16(f[34+2*i:], ap.Port())
		}
		f[len(f)-1] = number
		return f
	}
	flow := filter.Flow{LocalPort: 50000, Remote: netip.MustParseAddrPort("10.0.0.9:443")}
	if err := src.Exclude([]filter.Flow{flow}); err != nil {
		t.Fatal(err)
	}
	h := d.handle("a")
	h.arrive(tcp("10.0.0.1:50000", "10.0.0.9:443", 0), time.Now())
	h.arrive(tcp("10.0.0.1:50001", "10.0.0.9:443", 1), time.Now())
	h.arrive(tcp("10.0.0.9:443", "10.0.0.1:50000", 2), time.Now())
	h.arrive(tcp("10.0.0.9:443", "10.0.0.1:50002", 3), time.Now())
	if got := numbers(all(t, src, 2)); !slices.Equal(got, []int{1, 3}) {
		t.Errorf("%v", got)
	}
	if st := src.Stats(); st.Received != 2 {
		t.Errorf("%+v", st)
	}
	// Those that came while it was left out are so, though they are given later.
	h.arrive(tcp("10.0.0.1:50000", "10.0.0.9:443", 9), time.Now())
	if err := src.Exclude(nil); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // more than a step of any clock
	h.arrive(tcp("10.0.0.1:50000", "10.0.0.9:443", 4), time.Now())
	if got := numbers(all(t, src, 1)); !slices.Equal(got, []int{4}) {
		t.Errorf("%v", got)
	}
}

// The counters of 32 bits begin anew.
func TestCounterWraps(t *testing.T) {
	c := counter{}
	for _, now := range []uint32{10, 1<<32 - 5, 3, 3, 1 << 31} {
		c.add(now)
	}
	if want := uint64(1<<32 + 1<<31); c.sum != want {
		t.Errorf("%d, want %d", c.sum, want)
	}
}

// An adapter that goes away ends the capture when it was the last.
func TestAdapterGoes(t *testing.T) {
	d := newFake("a", "b")
	src := started(t, d, testConfig(t, request.Output{}), adapterNamed("a", 0), adapterNamed("b", 1))
	d.handle("a").arrive(numbered(0), time.Now())
	d.handle("a").breaks(errors.New("the interface disappeared"))
	d.handle("b").arrive(numbered(1), time.Now())
	if got := all(t, src, 2); len(got) != 2 {
		t.Errorf("%v", numbers(got))
	}
	waitFor(t, func() bool { return src.adapters[0].ended() })
	if r := src.Report(); r.Absent != nil || len(r.Warnings) == 0 || !strings.Contains(strings.Join(r.Warnings, "\n"), "a went away") {
		t.Errorf("%+v", r)
	}
	d.handle("b").breaks(errors.New("the interface disappeared"))
	waitFor(t, func() bool { return src.adapters[1].ended() })
	if err := src.Wait(time.Second); !errors.Is(err, source.ErrGone) {
		t.Errorf("%v", err)
	}
	if r := src.Report(); !errors.Is(r.Absent, source.ErrGone) {
		t.Errorf("%+v", r)
	}
	if err := src.Detach(); err != nil {
		t.Error(err)
	}
}

// One that breaks and is still there is a failure.
func TestAdapterBreaks(t *testing.T) {
	list, err := netif.List()
	if err != nil || len(list) == 0 {
		t.Skip("no interface: ", err)
	}
	d := newFake("a")
	i := adapterNamed("a", 0)
	i.Index = list[0].Index
	src := started(t, d, testConfig(t, request.Output{}), i)
	d.handle("a").breaks(errors.New("driver error"))
	waitFor(t, func() bool { return src.adapters[0].ended() })
	if err := src.Wait(time.Second); err == nil || errors.Is(err, source.ErrGone) || !strings.Contains(err.Error(), "driver error") {
		t.Errorf("%v", err)
	}
}

func waitFor(t *testing.T, what func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !what(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come")
		}
	}
}

// Frames of each link type, as each kind of file has them.
func TestLayout(t *testing.T) {
	const v4, v6 = "\x45\x00\x00\x14\x00\x00\x00\x00\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02", "\x60\x00\x00\x00\x00\x00\x3b\x40" +
		"\x20\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x20\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02"
	const own, other, everybody = "\x02\x00\x00\x00\x00\x01", "\x02\x00\x00\x00\x00\x02", "\xff\xff\xff\xff\xff\xff"
	for _, tt := range []struct {
		name     string
		link     int
		frame    string
		loopback bool
		kind     uint8  // in a cooked header
		protocol uint16 // in a cooked header
		data     string // behind it
		flags    uint32 // in pcapng
	}{
		{"sent", dltEthernet, other + own + "\x08\x00" + v4, false, packetOutgoing, 0x800, v4, 2},
		{"received", dltEthernet, own + other + "\x08\x00" + v4, false, packetHost, 0x800, v4, 1 | 1<<2},
		{"broadcast", dltEthernet, everybody + other + "\x08\x00" + v4, false, packetBroadcast, 0x800, v4, 1 | 3<<2},
		{"multicast", dltEthernet, "\x33\x33\x00\x00\x00\x01" + other + "\x86\xdd" + v6, false, packetMulticast, 0x86dd, v6, 1 | 2<<2},
		{"for another", dltEthernet, other + other + "\x08\x00" + v4, false, packetOther, 0x800, v4, 1 | 4<<2},
		{"tagged", dltEthernet, own + other + "\x81\x00\x00\x05\x08\x00" + v4, false, packetHost, 0x8100, "\x00\x05\x08\x00" + v4, 1 | 1<<2},
		{"802.3", dltEthernet, own + other + "\x00\x03\x42\x42\x03", false, packetHost, 4, "\x42\x42\x03", 1 | 1<<2},
		{"too short", dltEthernet, own + "\x02", false, packetHost, 0, own + "\x02", 1 | 1<<2},
		{"loopback", dltNull, "\x02\x00\x00\x00" + v4, true, packetHost, 0x800, v4, 0},
		{"loopback, IPv6", dltNull, "\x17\x00\x00\x00" + v6, true, packetHost, 0x86dd, v6, 0},
		{"raw IP, sent", dltRaw, v4, false, packetOutgoing, 0x800, v4, 2},
		{"raw IP, received", dltRawIP, v6, false, packetHost, 0x86dd, v6, 1 | 1<<2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			one := adapterNamed("a", 0)
			one.Loopback = tt.loopback
			one.Addresses = []netip.Prefix{netip.MustParsePrefix("10.0.0.1/24")}
			for _, several := range []bool{false, true} {
				for _, format := range []string{"", request.FormatPcapng} {
					d := newFake("a", "b")
					d.link = tt.link
					on := []netif.Interface{one, adapterNamed("b", 1)}
					if !several {
						on = on[:1]
					}
					src := started(t, d, testConfig(t, request.Output{Format: format}), on...)
					d.handle("a").arrive([]byte(tt.frame), time.Now())
					if err := src.Detach(); err != nil {
						t.Fatal(err)
					}
					p := all(t, src, -1)[0]
					cooked := several && format == ""
					want := tt.frame
					if cooked {
						want = tt.data
					}
					if string(p.Data) != want || p.Length != len(p.Prefix)+len(want) || (len(p.Prefix) > 0) != cooked {
						t.Errorf("several: %v, %q: %x behind %x, %d bytes", several, format, p.Data, p.Prefix, p.Length)
					}
					if format != "" && p.Flags != tt.flags {
						t.Errorf("flags %#x, want %#x", p.Flags, tt.flags)
					}
					if cooked && (p.Prefix[10] != tt.kind || binary.BigEndian.Uint16(p.Prefix) != tt.protocol || int(binary.BigEndian.Uint32(p.Prefix[4:])) != one.Index) {
						t.Errorf("cooked header %x, want type %d and protocol %#x", p.Prefix, tt.kind, tt.protocol)
					}
					link := src.Report().LinkType
					if cooked && link != pcapfile.SLL2 || !several && link != src.adapters[0].link || src.Report().PerInterface != (several && format != "") {
						t.Errorf("%+v", src.Report())
					}
				}
			}
		})
	}
}

// Whoever cannot capture is told what to install and how to tell, in one class each.
// A device is found however its GUID is written.
func TestDeviceOf(t *testing.T) {
	devices := []string{`\Device\NPF_{0a1b}`, `\Device\NPF_Loopback`}
	for _, tt := range []struct {
		i    netif.Interface
		want string
	}{
		{netif.Interface{GUID: "{0A1B}"}, `\Device\NPF_{0a1b}`},
		{netif.Interface{GUID: "{0A1C}"}, ""},
		{netif.Interface{}, ""},
		{netif.Interface{GUID: "{0A1D}", Loopback: true}, `\Device\NPF_Loopback`},
	} {
		if got, found := deviceOf(tt.i, devices); got != tt.want || found != (tt.want != "") {
			t.Errorf("%+v: %q, %v", tt.i, got, found)
		}
	}
}

func TestMessages(t *testing.T) {
	for _, tt := range []struct {
		err   error
		class fault.Class
		has   []string
	}{
		{loadError(fmt.Errorf("%w: there is neither A nor B", errMissing)), fault.NotFound, []string{"https://npcap.com", "sc query npcap", "pktmon", "--read-file"}},
		{loadError(fmt.Errorf("X: it is Npcap 1.10: %w", errOld)), fault.NotFound, []string{"1.20 or later", "Npcap 1.10", "https://npcap.com", "--read-file"}},
		{loadError(errors.New("bad image")), fault.Failed, []string{"bad image", "https://npcap.com", "--read-file"}},
		{openError("open Ethernet", fmt.Errorf("%w: (5)", errDenied)), fault.Forbidden, []string{"open Ethernet", "elevated", "AdminOnly", "sc query npcap", "--read-file"}},
		{openError("open Ethernet", errNoDevice), fault.NotFound, []string{"pcapctl interfaces"}},
		{openError("open Ethernet", errors.New("driver error")), fault.Failed, []string{"driver error"}},
	} {
		if fault.ClassOf(tt.err) != tt.class {
			t.Errorf("%v: class %v, want %v", tt.err, fault.ClassOf(tt.err), tt.class)
		}
		for _, text := range tt.has {
			if !strings.Contains(tt.err.Error(), text) {
				t.Errorf("%v: without %q", tt.err, text)
			}
		}
	}
	d := newFake("a")
	d.err = fmt.Errorf("%w: open a (5)", errDenied)
	spec, err := newSpec(testConfig(t, request.Output{}), live.Options{}, nil, []netif.Interface{adapterNamed("a", 0), adapterNamed("b", 1)})
	if err != nil {
		t.Fatal(err)
	}
	if src, err := spec.prepare(d); src != nil || fault.ClassOf(err) != fault.Forbidden {
		t.Errorf("%v, %v", src, err)
	}
	d.err, d.names = nil, nil
	if src, err := spec.prepare(d); src != nil || fault.ClassOf(err) != fault.Forbidden {
		t.Errorf("no device: %v, %v", src, err)
	}
	d = newFake("a")
	if src, err := spec.prepare(d); src != nil || fault.ClassOf(err) != fault.NotFound || !d.handle("a").closed {
		t.Errorf("one of two: %v, %v", src, err)
	}
	d = newFake("a", "b")
	d.link = 127
	if src, err := spec.prepare(d); src != nil || fault.ClassOf(err) != fault.Failed || !d.handle("a").closed {
		t.Errorf("another link type: %v, %v", src, err)
	}
}
