package filter

import (
	"errors"
	"testing"
)

// largeSet is n random filters that differ.
func largeSet(t testing.TB, r random, n int) Set {
	filters := make([]Filter, 0, n)
	for len(filters) < n {
		if f := r.filter(t); f.hasPorts() && (f.local.addrs != nil || f.remote.addrs != nil) {
			filters = append(filters, f)
		}
	}
	return NewSet(filters...)
}

// Large sets make programs that the kernel would take. Where a set does not fit, the program lets through all
// that the set matches.
func TestLargeSets(t *testing.T) {
	r := newRandom(t)
	r.wide = true
	sizes := []int{10, 100, 1000, 5000}
	if testing.Short() {
		sizes = sizes[:2]
	}
	for _, n := range sizes {
		set := largeSet(t, r, n)
		program := compiled(t, set, Options{})
		if len(program.instructions) > MaxInstructions {
			t.Errorf("%d filters: %d instructions", n, len(program.instructions))
		}
		runner := newRunner(t, program.instructions)
		accepted, matched := 0, 0
		for range 5000 {
			p := r.packet()
			p.Framing = Ethernet
			got, want := runner.accepts(&p), setMatches(t, set, &p)
			if want && !got || got && !want && program.Exact {
				t.Fatalf("%d filters, exact: %v\npacket %+v\nprogram: %v, Match: %v", n, program.Exact, p, got, want)
			}
			if got {
				accepted++
			}
			if want {
				matched++
			}
		}
		t.Logf("%5d filters: %4d instructions, exact: %v; of 5000 packets %d match, the program accepts %d",
			n, len(program.instructions), program.Exact, matched, accepted)
		if matched == 0 {
			t.Errorf("%d filters: no packet matched", n)
		}
	}
}

// A large set of one kind fits whole: 600 addresses, a thousand where there is no loopback, a thousand pairs of
// address and port.
func TestManyFiltersOfOneKindAreExact(t *testing.T) {
	r := newRandom(t)
	addrs, pairs := make([]Filter, 0, 1000), make([]Filter, 0, 1000)
	for i := range 1000 {
		a := r.addr4(10, i)
		addrs = append(addrs, parsed(t, "remoteIPAddress="+a))
		pairs = append(pairs, parsed(t, "protocol=TCP", "remoteIPAddress="+a, "remotePort=443"))
	}
	for _, tt := range []struct {
		name string
		set  Set
		o    Options
	}{
		{"addresses", NewSet(addrs[:600]...), Options{}},
		{"addresses without loopback", NewSet(addrs...), Options{NoLoopback: true}},
		{"addresses without loopback, beside an upload", NewSet(addrs[:600]...), Options{NoLoopback: true, Exclude: []Flow{}}},
		{"addresses without loopback, on several interfaces", NewSet(addrs...), Options{NoLoopback: true, Framing: Mixed, Interfaces: []uint32{2, 3, 5, 8}}},
		{"pairs", NewSet(pairs...), Options{}},
	} {
		program := compiled(t, tt.set, tt.o)
		t.Logf("%s: %d instructions", tt.name, len(program.instructions))
		if !program.Exact {
			t.Errorf("%s: not exact", tt.name)
		}
	}
}

// addr4 is an address of its own for every i.
func (r random) addr4(first byte, i int) string {
	return addrText(first, byte(i>>8), byte(i), byte(r.IntN(256)))
}

// However small a program must be, it lets through all that the set matches; and the less it may hold, the more
// it lets through.
func TestCoarsePrograms(t *testing.T) {
	r := newRandom(t)
	r.wide = true
	set := largeSet(t, r, 300)
	packets := make([]Packet, 3000)
	matched := 0
	for i := range packets {
		packets[i] = r.packet()
		packets[i].Framing = Ethernet
		if setMatches(t, set, &packets[i]) {
			matched++
		}
	}
	for _, limit := range []int{4096, 2048, 1024, 700, 500, 300, 100, 20} {
		program := compiled(t, set, Options{MaxInstructions: limit})
		if len(program.instructions) > limit {
			t.Errorf("%d instructions, %d allowed", len(program.instructions), limit)
		}
		runner := newRunner(t, program.instructions)
		accepted := 0
		for i := range packets {
			got := runner.accepts(&packets[i])
			if !got && setMatches(t, set, &packets[i]) {
				t.Fatalf("limit %d: %+v matches and is rejected", limit, packets[i])
			}
			if got {
				accepted++
			}
		}
		t.Logf("limit %4d: %4d instructions, exact: %v, %d accepted for %d that match", limit, len(program.instructions), program.Exact, accepted, matched)
		if program.Exact && accepted != matched {
			t.Errorf("limit %d: the program says it is exact and is not", limit)
		}
	}
	if _, err := set.Compile(Options{MaxInstructions: 4}); !errors.Is(err, ErrTooManyInterfaces) {
		t.Errorf("a program of 4 instructions: %v", err)
	}
}

func TestOptions(t *testing.T) {
	set := NewSet(parsed(t, "protocol=TCP", "localPort=443"))
	syn := Packet{Data: plainTCP, Direction: Incoming}
	m := metadataOf(&syn)

	program := compiled(t, set, Options{SnapLen: 96})
	if got := run(t, program.instructions, &syn, m); got != 96 {
		t.Errorf("snap length 96: the program keeps %d bytes", got)
	}
	if got := run(t, compiled(t, set, Options{}).instructions, &Packet{Data: make([]byte, 60)}, m); got != 0 {
		t.Errorf("a packet that does not match: the program keeps %d bytes", got)
	}

	for _, tt := range []struct {
		name string
		set  Set
	}{{"a filter", set}, {"everything", Set{}}} {
		program := compiled(t, tt.set, Options{Interfaces: []uint32{7, 2, 3, 4, 9}})
		for index, want := range map[uint32]bool{1: false, 2: true, 3: true, 4: true, 5: false, 7: true, 9: true, 10: false} {
			m := m
			m.ifindex = index
			if got := run(t, program.instructions, &syn, m) > 0; got != want {
				t.Errorf("%s, interface %d: %v, want %v", tt.name, index, got, want)
			}
		}
		// Over loopback a packet is seen going out, then coming in.
		outgoing := metadata{hardware: arphrdLoopback, kind: packetOutgoing}
		incoming := metadata{hardware: arphrdLoopback}
		program = compiled(t, tt.set, Options{})
		if run(t, program.instructions, &syn, outgoing) > 0 || run(t, program.instructions, &syn, incoming) == 0 {
			t.Errorf("%s: a loopback packet is not recorded just once", tt.name)
		}
	}

	many := make([]uint32, 5000)
	for i := range many {
		many[i] = uint32(2 * i)
	}
	if _, err := set.Compile(Options{Interfaces: many}); !errors.Is(err, ErrTooManyInterfaces) {
		t.Errorf("5000 interfaces: %v", err)
	}
	if _, err := set.Compile(Options{Framing: Mixed + 1}); !errors.Is(err, ErrFraming) {
		t.Errorf("a framing that does not exist: %v", err)
	}
	if p := compiled(t, Set{}, Options{}); run(t, p.instructions, &syn, m) != wholePacket || len(p.instructions) > 6 {
		t.Errorf("everything: %s", p.Disassemble())
	}
}
