package filter

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// propertyCases is how many random cases a property test tries: few enough for every run, a tenth of them with
// -short, or as many as PCAPCTL_PROPERTY_CASES says, for a long one.
func propertyCases(t testing.TB, few int) int {
	text := os.Getenv("PCAPCTL_PROPERTY_CASES")
	if text == "" {
		if testing.Short() {
			few /= 10
		}
		return few
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		t.Fatalf("PCAPCTL_PROPERTY_CASES=%q is not a number of cases", text)
	}
	return n
}

// enough fails a test whose random cases are nearly all matches, or nearly none: it would not
// test much. A few sets, as with -short, may well be so.
func enough(t testing.TB, matched, cases int) {
	t.Helper()
	if !testing.Short() && (matched < cases/20 || matched > cases-cases/20) {
		t.Errorf("%d of %d cases matched: the random cases do not test much", matched, cases)
	}
}

// random makes filters and packets out of few addresses and ports, so that they often meet.
type random struct {
	*rand.Rand
	wide bool // out of some hundreds of each, for large sets
	few  bool // no more extension headers than are looked through
}

func newRandom(t testing.TB) random {
	seed := rand.Uint64()
	if text := os.Getenv("PCAPCTL_PROPERTY_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("PCAPCTL_PROPERTY_SEED: %v", err)
		}
	}
	t.Logf("PCAPCTL_PROPERTY_SEED=%d repeats this run", seed)
	return random{Rand: newSource(seed)}
}

func newSource(seed uint64) *rand.Rand { return rand.New(rand.NewPCG(seed, 0)) }

func (r random) chance(percent int) bool { return r.IntN(100) < percent }

func pick[T any](r random, from ...T) T { return from[r.IntN(len(from))] }

var (
	someIPv4 = []string{"0.0.0.0", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.255", "10.0.1.0", "127.0.0.1", "192.168.0.1", "255.255.255.255"}
	someIPv6 = []string{"::", "::1", "2001:db8::1", "2001:db8::2", "2001:db8::ffff:ffff", "2001:db8::1:0:0", "2001:db8:0:1::", "fe80::1",
		"ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}
	somePorts = []int{0, 1, 79, 80, 81, 85, 443, 1024, 8443, 65534, 65535}
)

func (r random) addr(v6 bool) netip.Addr {
	switch {
	case r.wide && v6:
		return netip.AddrFrom16([16]byte{0: 0x20, 1: 1, 5: byte(r.IntN(3)), 9: byte(r.IntN(3)), 15: byte(r.IntN(100))})
	case r.wide:
		return netip.AddrFrom4([4]byte{10, byte(r.IntN(3)), 0, byte(r.IntN(200))})
	case v6:
		return netip.MustParseAddr(pick(r, someIPv6...))
	}
	return netip.MustParseAddr(pick(r, someIPv4...))
}

func addrText(b ...byte) string { return netip.AddrFrom4([4]byte(b)).String() }

// plainTCP is a whole packet to port 443.
var plainTCP = slices.Concat(make([]byte, 12), []byte{8, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, protoTCP, 0, 0, 10, 9, 9, 9, 10, 0, 0, 1,
	0xc3, 0x50, 1, 0xbb}, make([]byte, 16))

// randomMember writes a single value, a range or a list of what next gives.
func randomMember[T point[T]](r random, next func() T) string {
	switch r.IntN(3) {
	case 0:
		return fmt.Sprint(next())
	case 1:
		low, high := next(), next()
		if low.Compare(high) > 0 {
			low, high = high, low
		}
		return fmt.Sprintf("%v-%v", low, high)
	default:
		var list []string
		for range 1 + r.IntN(5) {
			list = append(list, fmt.Sprint(next()))
		}
		return strings.Join(list, ";")
	}
}

func (r random) addrMember() string {
	v6 := r.chance(40)
	if r.chance(15) {
		a := r.addr(v6)
		return netip.PrefixFrom(a, a.BitLen()-pick(r, 0, 1, 8, 9, 16, 24, 32)).Masked().String()
	}
	text := randomMember(r, func() netip.Addr { return r.addr(v6) })
	if !strings.Contains(text, "-") && r.chance(30) {
		text += ";" + r.addr(!v6).String()
	}
	return text
}

// port is a random port.
func (r random) port() uint16 {
	if r.wide {
		return uint16(r.IntN(600) * 100)
	}
	return uint16(pick(r, somePorts...))
}

func (r random) portMember() string {
	return randomMember(r, func() port { return port(r.port()) })
}

// filter is a random valid filter.
func (r random) filter(t testing.TB) Filter {
	var pairs []string
	add := func(percent int, name string, value func() string) {
		if r.chance(percent) {
			pairs = append(pairs, name+"="+value())
		}
	}
	add(60, "protocol", func() string { return pick(r, "TCP", "TCP", "UDP", "UDP", "Any", "Any", "ICMP") })
	add(30, "localIPAddress", r.addrMember)
	add(35, "localPort", r.portMember)
	add(35, "remoteIPAddress", r.addrMember)
	add(35, "remotePort", r.portMember)
	add(15, "tcpFlags", func() string {
		return pick(r, "syn", "rst", "fin;rst", "syn+ack", "ack;syn+fin", "psh+urg", "ece;cwr", "fin+syn+rst+psh+ack+urg+ece+cwr")
	})
	return parsed(t, pairs...)
}

// set is a random set: mostly small, seldom one that records everything.
func (r random) set(t testing.TB) Set {
	var filters []Filter
	for range 1 + r.IntN(pick(r, 1, 3, 8, 20)) {
		f := r.filter(t)
		if f.matchesAll() && !r.chance(2) {
			continue
		}
		filters = append(filters, f)
	}
	s := NewSet(filters...).WithICMPErrors(r.chance(70))
	if r.chance(25) {
		var excludes []Filter
		for range 1 + r.IntN(3) {
			if f := r.filter(t); !f.matchesAll() || r.chance(2) {
				excludes = append(excludes, f)
			}
		}
		if s.includesAll() || r.chance(30) {
			s.filters, s.all = nil, false
		}
		s = s.Without(excludes...)
		if s.excludes != nil && r.chance(30) {
			s.excludes.index = newIndex(s.excludes.filters)
		}
	}
	if s.index == nil && r.chance(50) {
		s.index = newIndex(s.filters) // as a large set has it
	}
	return s
}

// setMatches is what Match says, which must be the same with an index and without, and by the short way over common
// packets and the long one: filter by filter.
func setMatches(t testing.TB, s Set, p *Packet) bool {
	t.Helper()
	got := s.Match(p)
	excluding := s.excludes != nil && (s.excludes.index != nil || s.excludes.quick != nil)
	if s.index != nil || s.quick != nil || excluding {
		s.index, s.quick = nil, nil
		if excluding {
			s.excludes = &Set{filters: s.excludes.filters, all: s.excludes.all}
		}
		if want := s.Match(p); got != want {
			t.Fatalf("set %v\nfilters %+v\npacket %+v\nby index or the short way: %v, filter by filter: %v", s, specs(s), p, got, want)
		}
	}
	return got
}

// Packets. Each part is well formed most of the time.

func (r random) transport() []byte {
	b := make([]byte, 8+r.IntN(24))
	binary.BigEndian.PutUint16(b[0:], r.port())
	binary.BigEndian.PutUint16(b[2:], r.port())
	if len(b) > tcpFlagsAt {
		b[tcpOffsetAt] = pick[uint8](r, 0x50, 0x50, 0x80, 0xa0, 0xf0, 0, uint8(r.IntN(256)))
		b[tcpFlagsAt] = pick[uint8](r, 0, 2, 2, 0x12, 0x10, 0x10, 0x11, 0x18, 4, 0x14, 0x28, 0x40, 0x80, 0xff, uint8(r.IntN(256)))
	}
	return b
}

func (r random) protocol() uint8 {
	if r.chance(8) {
		return uint8(r.IntN(256))
	}
	if r.chance(8) {
		return pick[uint8](r, protoICMP, protoICMPv6)
	}
	return pick[uint8](r, protoTCP, protoTCP, protoTCP, protoUDP, protoUDP, protoUDP, protoSCTP, protoDCCP, protoUDPLite)
}

// ip is an IP packet; depth is how many ICMP errors it may be wrapped in.
func (r random) ip(v6 bool, depth int) []byte {
	protocol := r.protocol()
	var payload []byte
	switch {
	case depth > 0 && r.chance(30):
		kind := uint8(pick(r, 3, 11, 12, 4, 5, 0, 8, 13))
		protocol = protoICMP
		if v6 {
			kind, protocol = uint8(pick(r, 1, 2, 3, 4, 0, 5, 128, 135, 143, 130, 138)), protoICMPv6
		}
		quoted := v6
		if r.chance(3) {
			quoted = !v6
		}
		payload = append([]byte{kind, 0, 0, 0, 0, 0, 0, 0}, r.ip(quoted, depth-1)...)
	default:
		payload = r.transport()
	}
	if v6 {
		return r.ipv6(protocol, payload)
	}
	return r.ipv4(protocol, payload)
}

func (r random) ipv4(protocol uint8, payload []byte) []byte {
	words := 5
	if r.chance(20) {
		words = 5 + r.IntN(11)
	}
	b := make([]byte, words*4)
	b[0] = 0x40 | uint8(words)
	if r.chance(2) {
		b[0] = uint8(r.IntN(256))
	}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(payload)))
	if r.chance(15) {
		binary.BigEndian.PutUint16(b[6:], pick[uint16](r, 0x2000, 0x2001, 0x0001, 0x1fff, 0x4000, 0x8000, 0x0100))
	}
	b[8], b[9] = 64, protocol
	src, dst := r.addr(false).As4(), r.addr(false).As4()
	copy(b[12:], src[:])
	copy(b[16:], dst[:])
	return slices.Concat(b, payload)
}

func (r random) ipv6(protocol uint8, payload []byte) []byte {
	headers := 0
	if r.chance(35) {
		headers = r.IntN(maxExtensions + 3)
		if r.few {
			headers %= maxExtensions
		}
	}
	next := protocol
	for range headers {
		kind := pick[uint8](r, protoHopByHop, protoRouting, protoDestination, protoAH, protoFragment)
		h := make([]byte, 8)
		h[0] = next
		switch kind {
		case protoFragment:
			binary.BigEndian.PutUint16(h[2:], pick[uint16](r, 0, 0, 1, 8, 9, 0xfff8, 6))
		case protoAH:
			h[1] = uint8(r.IntN(4))
			h = append(h, make([]byte, int(h[1])*4)...)
		default:
			h[1] = uint8(r.IntN(3))
			h = append(h, make([]byte, int(h[1])*8)...)
		}
		payload, next = append(h, payload...), kind
	}
	b := make([]byte, 40)
	b[0] = 0x60
	if r.chance(2) {
		b[0] = uint8(r.IntN(256))
	}
	b[1] = uint8(r.IntN(256))
	binary.BigEndian.PutUint16(b[4:], uint16(len(payload)))
	b[6], b[7] = next, 64
	src, dst := r.addr(true).As16(), r.addr(true).As16()
	copy(b[8:], src[:])
	copy(b[24:], dst[:])
	return slices.Concat(b, payload)
}

// spoiled is data, now and then cut short or with a wrong byte.
func (r random) spoiled(data []byte) []byte {
	if r.chance(12) && len(data) > 0 {
		data = data[:r.IntN(len(data))]
	}
	if r.chance(8) && len(data) > 0 {
		data[r.IntN(len(data))] = uint8(r.IntN(256))
	}
	return data
}

// tagged puts VLAN tags before a network packet: what stands between an EtherType and the IP header.
func (r random) tagged(etherType uint16, data []byte) (uint16, []byte) {
	if !r.chance(25) {
		return etherType, data
	}
	for range 1 + r.IntN(maxTags+1) {
		head := make([]byte, 4)
		binary.BigEndian.PutUint16(head, uint16(r.IntN(1<<16)))
		binary.BigEndian.PutUint16(head[2:], etherType)
		etherType, data = pick[uint16](r, 0x8100, 0x88a8, 0x9100), slices.Concat(head, data)
	}
	return etherType, data
}

// packet is a random packet with a random framing and direction.
func (r random) packet() Packet {
	v6 := r.chance(45)
	etherType := uint16(etherIPv4)
	if v6 {
		etherType = etherIPv6
	}
	data := r.spoiled(r.ip(v6, 2))
	p := Packet{Framing: Framing(r.IntN(3)), Direction: Direction(r.IntN(3))}
	if r.chance(3) {
		etherType = pick[uint16](r, 0x0806, 0, 0x88cc, 46, uint16(r.IntN(1<<16)))
	}
	switch p.Framing {
	case Ethernet:
		etherType, data = r.tagged(etherType, data)
		frame := make([]byte, 14)
		for i := range 12 {
			frame[i] = uint8(r.IntN(256))
		}
		binary.BigEndian.PutUint16(frame[12:], etherType)
		data = slices.Concat(frame, data)
		if r.chance(1) {
			data = data[:r.IntN(15)]
		}
	case Cooked:
		if r.chance(5) {
			etherType = pick[uint16](r, 0x8100, 0x88a8, 0x9100)
		} else {
			etherType, data = r.tagged(etherType, data)
		}
		p.Protocol = etherType
	default: // RawIP has nothing before the IP header.
	}
	p.Data = data
	return p
}
