package filter

import (
	"net/netip"
	"testing"
)

// An Exclusion leaves out what the kernel's program does, packet by packet.
func TestExclusionIsTheProgram(t *testing.T) {
	r := newRandom(t)
	left, cases := 0, 0
	for want := propertyCases(t, 20_000); cases < want; {
		packets, flows := make([]Packet, 0, 50), make([]Flow, 0, 8)
		for len(packets) < cap(packets) {
			p := r.packet()
			if p.Framing == Cooked {
				continue
			}
			if h, ok := readHeaders(networkLayer(&p)); ok && len(flows) < cap(flows) && r.chance(50) {
				flows = append(flows, Flow{uint16(h.sourcePort), netip.AddrPortFrom(h.destination, uint16(h.destinationPort))})
			}
			packets = append(packets, p)
		}
		exclusion := NewExclusion(flows)
		var runners [2]*runner
		for framing := range runners {
			runners[framing] = newRunner(t, compiled(t, NewSet(), Options{Framing: Framing(framing), NoLoopback: true, Exclude: flows}).instructions)
		}
		for _, p := range packets {
			cases++
			out := exclusion.Excludes(&p)
			if out == runners[p.Framing].accepts(&p) {
				t.Fatalf("flows %v\npacket %+v\nleft out: %v, and by the program %v", flows, p, out, !out)
			}
			if out {
				left++
			}
		}
	}
	t.Logf("%d cases, %d left out", cases, left)
	if left < cases/1000 {
		t.Error("the random cases do not test much")
	}
}

func TestExclusionAllocatesNothing(t *testing.T) {
	local, remote := netip.MustParseAddrPort("[2001:db8::1]:50000"), netip.MustParseAddrPort("[2001:db8::2]:443")
	e := NewExclusion([]Flow{{local.Port(), remote}})
	packets := [...]Packet{{Data: tcpPacket(local, remote), Framing: RawIP}, {Data: tcpPacket(remote, local), Framing: RawIP}}
	if n := testing.AllocsPerRun(5, func() {
		for i := range packets {
			if !e.Excludes(&packets[i]) {
				t.Error("not left out")
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
