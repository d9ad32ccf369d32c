package filter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
)

// ofFlow reports whether the packet belongs to a flow, by the reading of packets that Match has.
func ofFlow(p *Packet, flows []Flow) bool {
	h, ok := readHeaders(networkLayer(p))
	if !ok || h.protocol != protoTCP || h.ports != knownPorts {
		return false
	}
	return slices.ContainsFunc(flows, func(f Flow) bool {
		local, remote := port(f.LocalPort), port(f.Remote.Port())
		return h.sourcePort == local && h.destinationPort == remote && h.destination == f.Remote.Addr() ||
			h.sourcePort == remote && h.destinationPort == local && h.source == f.Remote.Addr()
	})
}

// Whatever the packet, nothing is left out but packets of the flows.
func TestExcludeLeavesOutNothingElse(t *testing.T) { excludesOnlyFlows(t, newRandom(t)) }

// With these seeds something else was left out once.
func TestExcludeLeavesOutNothingElseRegressions(t *testing.T) {
	for _, seed := range []uint64{
		1035885064238991832, // a frame with the EtherType of IPv6 whose header has version 15
	} {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { excludesOnlyFlows(t, random{Rand: newSource(seed)}) })
	}
}

func excludesOnlyFlows(t *testing.T, r random) {
	t.Helper()
	left, cases := 0, 0
	for want := propertyCases(t, 20_000); cases < want; {
		set := r.set(t)
		if r.chance(30) {
			set = NewSet()
		}
		packets, flows := make([]Packet, 50), make([]Flow, 0, 8)
		for i := range packets {
			packets[i] = r.packet()
			if h, ok := readHeaders(networkLayer(&packets[i])); ok && len(flows) < cap(flows) && r.chance(50) {
				flows = append(flows, Flow{uint16(h.sourcePort), netip.AddrPortFrom(h.destination, uint16(h.destinationPort))})
			}
		}
		var runners [3]*runner
		var exact [3]bool
		for framing := range runners {
			p := compiled(t, set, Options{Framing: Framing(framing), Exclude: flows})
			runners[framing], exact[framing] = newRunner(t, p.instructions), p.Exact
		}
		for _, p := range packets {
			cases++
			match, got := setMatches(t, set, &p), runners[p.Framing].accepts(&p)
			switch {
			case match == got || got && !exact[p.Framing]:
			case match && ofFlow(&p, flows):
				left++
			default:
				t.Fatalf("set %v\nflows %v\npacket %+v\nprogram accepts: %v, Match: %v", set, flows, p, got, match)
			}
		}
	}
	t.Logf("%d cases, %d left out", cases, left)
	if left < cases/1000 {
		t.Error("the random cases do not test much")
	}
}

// tcpPacket is a packet from one end to the other, as far as its ports and 16 bytes more.
func tcpPacket(from, to netip.AddrPort) []byte {
	b := make([]byte, 0, minTCPv6)
	if from.Addr().Is4() {
		b = append(b, 0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, protoTCP, 0, 0)
	} else {
		b = append(b, 0x60, 0, 0, 0, 0, 20, protoTCP, 64)
	}
	b = append(append(b, from.Addr().AsSlice()...), to.Addr().AsSlice()...)
	b = binary.BigEndian.AppendUint16(b, from.Port())
	b = binary.BigEndian.AppendUint16(b, to.Port())
	return append(b, make([]byte, 16)...)
}

// frames are all the ways that an IP packet may come.
func frames(ip []byte) []Packet {
	etherType := uint16(etherIPv4)
	if ip[0]>>4 == 6 {
		etherType = etherIPv6
	}
	out := make([]Packet, 0, 30)
	for _, direction := range []Direction{Incoming, Outgoing, Either} {
		for tags := range maxTags + 1 {
			b := make([]byte, 12)
			for range tags {
				b = append(b, 0x81, 0, 0, 5)
			}
			b = append(binary.BigEndian.AppendUint16(b, etherType), ip...)
			out = append(out, Packet{Data: b, Framing: Ethernet, Direction: direction})
			if tags > 0 {
				out = append(out, Packet{Data: b[14:], Framing: Cooked, Protocol: tagTypes[0], Direction: direction})
			}
		}
		out = append(out, Packet{Data: ip, Framing: RawIP, Direction: direction},
			Packet{Data: ip, Framing: Cooked, Protocol: etherType, Direction: direction},
			Packet{Data: ip, Framing: Cooked, Protocol: tagTypes[0], Direction: direction})
	}
	return out
}

func TestExclude(t *testing.T) {
	for _, pair := range [][2]string{
		{"10.0.0.1:50000", "10.9.9.9:443"}, {"127.0.0.1:50000", "127.0.0.9:50000"},
		{"[2001:db8::1]:50000", "[2001:db8::2]:443"}, {"[::1]:50000", "[::1]:10000"},
	} {
		local, remote := netip.MustParseAddrPort(pair[0]), netip.MustParseAddrPort(pair[1])
		flows := []Flow{
			{1, remote}, {local.Port(), netip.AddrPortFrom(remote.Addr(), 1)}, {local.Port(), remote},
			{local.Port(), netip.MustParseAddrPort("10.9.9.8:443")}, {local.Port(), netip.MustParseAddrPort("[2001:db8::99]:443")},
			{local.Port(), remote},
		}
		other := netip.AddrPortFrom(local.Addr(), local.Port()+1)
		elsewhere := netip.AddrPortFrom(remote.Addr().Next(), remote.Port())
		for _, tt := range []struct {
			name     string
			ip       []byte
			recorded bool
		}{
			{"sent", tcpPacket(local, remote), false},
			{"received", tcpPacket(remote, local), false},
			{"sent from another port", tcpPacket(other, remote), true},
			{"received at another port", tcpPacket(remote, other), true},
			{"sent elsewhere", tcpPacket(local, elsewhere), true},
			{"received from elsewhere", tcpPacket(elsewhere, local), true},
			{"cut short", tcpPacket(local, remote)[:39], true},
			{"nothing", tcpPacket(local, remote)[:1], true},
		} {
			for _, p := range frames(tt.ip) {
				for _, framing := range []Framing{p.Framing, Mixed} {
					if framing == Mixed && (p.Framing == RawIP || p.Framing == Cooked) {
						continue // a device type that the tests' VM does not make up
					}
					program := compiled(t, NewSet(), Options{Framing: framing, Exclude: flows})
					if got := newRunner(t, program.instructions).accepts(&p); got != tt.recorded {
						t.Errorf("%v, %s, framing %d: recorded %v, want %v: %x", pair, tt.name, framing, got, tt.recorded, p.Data)
					}
				}
			}
		}
		udp := tcpPacket(local, remote)
		udp[map[bool]int{true: 9, false: 6}[local.Addr().Is4()]] = protoUDP
		for _, p := range frames(udp) {
			program := compiled(t, NewSet(), Options{Framing: p.Framing, Exclude: flows})
			if !newRunner(t, program.instructions).accepts(&p) {
				t.Errorf("%v: UDP was left out", pair)
			}
		}
	}
}

// The room that is kept is enough, and makes programs the same however many flows there are.
func TestExcludeKeepsRoom(t *testing.T) {
	most := func(six bool) []Flow {
		r := newRandom(t)
		flows := make([]Flow, 0, MaxFlows)
		for range MaxFlows {
			flows = append(flows, Flow{uint16(r.IntN(65536)), netip.AddrPortFrom(random{Rand: r.Rand, wide: true}.addr(six), 443)})
		}
		return flows
	}
	for _, flows := range [][]Flow{most(true), most(false), append(most(true)[:MaxFlows/2], most(false)[:MaxFlows/2]...)} {
		c := compiler{Options: Options{Framing: Mixed, SnapLen: 1}, assembler: newAssembler(MaxInstructions)}
		c.reject, c.accept = c.ret(0), c.ret(1)
		c.exclude(flows)
		if len(c.code) > flowRoom {
			t.Errorf("%d instructions, and room for %d", len(c.code), flowRoom)
		}
		r := newRandom(t)
		for range 20 {
			set := r.set(t)
			without, with := compiled(t, set, Options{Exclude: []Flow{}}), compiled(t, set, Options{Exclude: flows})
			if without.Exact != with.Exact {
				t.Errorf("exact without flows: %v, with: %v", without.Exact, with.Exact)
			}
			n := len(without.instructions)
			if !slices.EqualFunc(without.instructions[:n-3], with.instructions[:n-3], func(a, b bpf.Instruction) bool { return a == b }) {
				t.Error("the programs differ before their ends")
			}
		}
	}
	if _, err := NewSet().Compile(Options{Exclude: make([]Flow, MaxFlows+1)}); !errors.Is(err, ErrTooManyFlows) {
		t.Errorf("too many flows: %v", err)
	}
}
