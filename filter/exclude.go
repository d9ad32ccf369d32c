package filter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"
)

// Flow is a TCP connection as this machine sees it. Both directions of it are meant.
type Flow struct {
	LocalPort uint16
	Remote    netip.AddrPort
}

// MaxFlows is how many flows a program can leave out.
const MaxFlows = 96

// ErrTooManyFlows is for more flows than MaxFlows.
var ErrTooManyFlows = errors.New("too many flows to leave out")

// flowRoom is how many instructions are kept for leaving out flows, so that how exact a program is does not
// depend on how many there are at the moment. TestExcludeKeepsRoom holds it against the largest case: 25 for
// each flow (IPv6, both directions), and 200 to find the header.
const flowRoom = 25*MaxFlows + 200

// The least that a TCP packet has from its IP header on. A packet that is shorter, has IPv4 options or IPv6
// extension headers, or is a later fragment, is never left out: what a machine's own connections send has none
// of these.
const (
	minTCPv4 = 20 + 20
	minTCPv6 = 40 + 20
)

// exclude writes the part that leaves out the flows. It stands before accept, so that only packets that would
// be recorded are looked at. It looks at no byte that may not be there: a load beyond the end would reject the
// packet.
func (c *compiler) exclude(flows []Flow) {
	if len(flows) == 0 {
		return
	}
	recorded := c.accept
	c.accept = c.excludeFrom(recorded, c.excludeIPv4(flows, recorded), c.excludeIPv6(flows, recorded))
}

// flowCheck is one direction of a flow: what must be at an offset from the IP header when the ports are right.
type flowCheck struct {
	offset uint32
	addr   netip.Addr
}

// flowChecks are the checks of all flows of a family by their two ports, that of the source first.
func flowChecks(flows []Flow, v4 bool, source, destination uint32) map[uint32][]flowCheck {
	checks := map[uint32][]flowCheck{}
	for _, f := range flows {
		addr := f.Remote.Addr().Unmap().WithZone("")
		if addr.Is4() != v4 {
			continue
		}
		local, remote := uint32(f.LocalPort), uint32(f.Remote.Port())
		for _, way := range []struct {
			ports uint32
			check flowCheck
		}{
			{local<<16 | remote, flowCheck{destination, addr}},
			{remote<<16 | local, flowCheck{source, addr}},
		} {
			if !slices.Contains(checks[way.ports], way.check) {
				checks[way.ports] = append(checks[way.ports], way.check)
			}
		}
	}
	return checks
}

// excludePorts writes the search for the ports in A; X is at the IP header.
func (c *compiler) excludePorts(checks map[uint32][]flowCheck, recorded label) label {
	t := tree{assembler: c.assembler}
	var all []wordSpan
	for _, ports := range slices.Sorted(maps.Keys(checks)) {
		all = append(all, wordSpan{ports, ports, func() label {
			next := recorded
			for _, check := range checks[ports] {
				next = c.excludeAddr(check, next)
			}
			return next
		}})
	}
	return t.search(all, 0, ^uint32(0), recorded)
}

// excludeAddr rejects a packet that has the address, any other goes on at next.
func (c *compiler) excludeAddr(check flowCheck, next label) label {
	addr := check.addr.AsSlice()
	at := c.reject
	for word := len(addr) - 4; word >= 0; word -= 4 {
		at = c.test(bpf.JumpEqual, binary.BigEndian.Uint32(addr[word:]), at, next)
		at = c.seq(at, bpf.LoadIndirect{Off: check.offset + uint32(word), Size: 4})
	}
	return at
}

// excludeIPv4 writes the look at an IPv4 packet. X is at its header, and minTCPv4 bytes are there.
func (c *compiler) excludeIPv4(flows []Flow, recorded label) label {
	checks := flowChecks(flows, true, 12, 16)
	if len(checks) == 0 {
		return recorded
	}
	next := c.seq(c.excludePorts(checks, recorded), bpf.LoadIndirect{Off: 20, Size: 4})
	next = c.test(bpf.JumpBitsSet, 0x1fff, recorded, next)
	next = c.seq(next, bpf.LoadIndirect{Off: 6, Size: 2})
	next = c.test(bpf.JumpEqual, protoTCP, next, recorded)
	next = c.seq(next, bpf.LoadIndirect{Off: 9, Size: 1})
	next = c.test(bpf.JumpEqual, 0x45, next, recorded)
	return c.seq(next, bpf.LoadIndirect{Off: 0, Size: 1})
}

// excludeIPv6 writes the same for IPv6.
func (c *compiler) excludeIPv6(flows []Flow, recorded label) label {
	checks := flowChecks(flows, false, 8, 24)
	if len(checks) == 0 {
		return recorded
	}
	next := c.seq(c.excludePorts(checks, recorded), bpf.LoadIndirect{Off: 40, Size: 4})
	next = c.test(bpf.JumpEqual, protoTCP, next, recorded)
	next = c.seq(next, bpf.LoadIndirect{Off: 6, Size: 1})
	// An EtherType of IPv6 does not make the header one: what has another version is not a packet of the flow.
	next = c.test(bpf.JumpEqual, 6, next, recorded)
	return c.seq(next, bpf.LoadIndirect{Off: 0, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
}

// excludeFrom writes the search for the IP header.
func (c *compiler) excludeFrom(recorded, v4, v6 label) label {
	e := excluder{c, recorded, v4, v6}
	switch c.Framing {
	case RawIP:
		return e.raw(recorded)
	case Cooked:
		return e.cooked()
	case Mixed:
		mac := e.ethernet()
		return c.seq(c.oneOf(mac, e.cooked(), arphrdEther, arphrdLoopback), bpf.LoadExtension{Num: bpf.ExtLinkLayerType})
	default:
		return e.ethernet()
	}
}

// excluder has where a packet goes on that is recorded, or is at its IP header.
type excluder struct {
	*compiler
	recorded, v4, v6 label
}

// have writes the test that a packet has at least n bytes.
func (e *excluder) have(n uint32, next label) label {
	if next == e.recorded {
		return next
	}
	return e.seq(e.test(bpf.JumpGreaterOrEqual, n, next, e.recorded), bpf.LoadExtension{Num: bpf.ExtLen})
}

// header puts the place of the header into X if there is enough behind it.
func (e *excluder) header(offset, least uint32, next label) label {
	if next == e.recorded {
		return next
	}
	return e.have(offset+least, e.seq(next, bpf.LoadConstant{Dst: bpf.RegX, Val: offset}))
}

func (e *excluder) byType(offset uint32, tag label) label {
	next := e.oneOfTags(tag, e.recorded)
	next = e.test(bpf.JumpEqual, etherIPv6, e.header(offset, minTCPv6, e.v6), next)
	return e.test(bpf.JumpEqual, etherIPv4, e.header(offset, minTCPv4, e.v4), next)
}

func (e *excluder) ethernet() label {
	next := e.recorded
	for tags := maxTags; tags >= 0; tags-- {
		offset := uint32(14 + 4*tags)
		next = e.have(offset, e.seq(e.byType(offset, next), bpf.LoadAbsolute{Off: offset - 2, Size: 2}))
	}
	return next
}

// raw takes what starts with an IP header; anything else goes on at other.
func (e *excluder) raw(other label) label {
	next := e.test(bpf.JumpEqual, 6, e.header(0, minTCPv6, e.v6), other)
	next = e.test(bpf.JumpEqual, 4, e.header(0, minTCPv4, e.v4), next)
	next = e.seq(next, bpf.LoadAbsolute{Off: 0, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
	return e.have(1, next)
}

// cooked has the EtherType beside the packet: that of the packet, or a tag's. In the second case the packet
// starts with its IP header if the kernel tagged it while sending, else with the rest of the tag.
func (e *excluder) cooked() label {
	rest := e.recorded
	for tags := maxTags; tags > 0; tags-- {
		offset := uint32(4 * tags)
		rest = e.have(offset, e.seq(e.byType(offset, rest), bpf.LoadAbsolute{Off: offset - 2, Size: 2}))
	}
	tagged := e.have(4, e.seq(e.byTagRest(rest), bpf.LoadAbsolute{Off: 2, Size: 2}))
	return e.seq(e.byType(0, tagged), bpf.LoadExtension{Num: bpf.ExtProto})
}

// byTagRest tells the two apart by what is where a tag's EtherType would be. In an IP header that is a length,
// and a TCP packet of 0x8100 bytes, say, is then not recognised as one: it is recorded, never lost.
func (e *excluder) byTagRest(rest label) label {
	raw := e.raw(e.recorded)
	isType := e.oneOf(rest, raw, etherIPv4, etherIPv6)
	return e.oneOfTags(rest, isType)
}

func checkFlows(flows []Flow) error {
	if len(flows) > MaxFlows {
		return fmt.Errorf("%w: %d, and %d are possible", ErrTooManyFlows, len(flows), MaxFlows)
	}
	return nil
}
