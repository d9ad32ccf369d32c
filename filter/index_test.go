package filter

import (
	"fmt"
	"testing"
	"time"
)

// Large sets say of each packet what their filters say one by one: sets of several tables, of filters that overlap,
// of IPv6, of ends of the lines of values.
func TestIndexIsOneByOne(t *testing.T) {
	r := newRandom(t)
	cases, matched := 0, 0
	for want := propertyCases(t, 20_000); cases < want; {
		r.wide = r.chance(70)
		var filters []Filter
		for range 1 + r.IntN(pick(r, 10, 300, 3*maxTable)) {
			if f := r.filter(t); !f.matchesAll() {
				filters = append(filters, f)
			}
		}
		// A set that most packets match says little: those that match nearly everything go.
		if r.chance(80) {
			kept := filters[:0]
			for _, f := range filters {
				if (f.local.addrs != nil || f.remote.addrs != nil) && f.hasPorts() {
					kept = append(kept, f)
				}
			}
			filters = kept
		}
		set := NewSet(filters...).WithICMPErrors(r.chance(70))
		if len(filters) == 0 {
			continue
		}
		set.index = newIndex(set.filters)
		for range 1000 {
			p := r.packet()
			if setMatches(t, set, &p) {
				matched++
			}
			cases++
		}
	}
	t.Logf("%d cases, %d matched", cases, matched)
	enough(t, matched, cases)
}

// pairs is n filters of an address and a port, which all differ.
func pairs(t testing.TB, n int) Set {
	filters := make([]Filter, n)
	for i := range filters {
		filters[i] = parsed(t, "protocol=TCP", "remoteIPAddress="+addrText(10, byte(i>>8), byte(i), 7), fmt.Sprintf("remotePort=%d", 1000+i))
	}
	return NewSet(filters...)
}

// quickest is the least time that a look at the packets takes: other work on the machine only ever adds to it.
func quickest(set Set, packets []Packet) time.Duration {
	best := time.Hour
	for range 50 {
		start := time.Now()
		for i := range packets {
			set.Match(&packets[i])
		}
		best = min(best, time.Since(start))
	}
	return best
}

// A thousand filters of address and port take no more than five times as long as one. It took more than a
// hundred times as long when they were looked at one by one.
func TestThousandFiltersCostAsOne(t *testing.T) {
	one, thousand := pairs(t, 1), pairs(t, 1000)
	r := newRandom(t)
	var packets []Packet
	for i := range 200 {
		p := Packet{Data: append([]byte(nil), plainTCP...), Direction: Direction(i % 3)}
		copy(p.Data[26:], []byte{10, 0, 0, 1, 10, byte(r.IntN(8)), byte(r.IntN(256)), 7, 0xc3, 0x50, 4, byte(r.IntN(256))})
		packets = append(packets, p)
	}
	var single, many time.Duration
	for range 100 { // until there was a quiet moment for both
		single, many = quickest(one, packets), quickest(thousand, packets)
		if many <= 5*single {
			break
		}
	}
	t.Logf("%v for one, %v for a thousand", single/200, many/200)
	if many > 5*single {
		t.Errorf("200 packets take %v with a thousand filters, %v with one", many, single)
	}
}
