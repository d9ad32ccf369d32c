package filter

import (
	"encoding/binary"
	"net/netip"
)

// quickRule is a filter as it applies to the packets that most captures consist of: TCP and UDP over IPv4, without
// options of IPv4 and with their ports. It says of them what Filter.matchesHeaders says, and takes a quarter of
// the time: reading a file is little else than this decision.
type quickRule struct {
	protocol      uint8 // 0 is any
	named         bool  // see Filter.addressDecides
	flags         flagSet
	local, remote quickEnd
}

// quickEnd is what a rule says of one end. nil lets everything through.
type quickEnd struct {
	addrs []quickSpan
	ports []quickSpan
}

// quickSpan is the closed interval lo..hi of addresses or ports as numbers.
type quickSpan struct{ lo, hi uint32 }

// quickRules are the rules of filters, without those that match no IPv4.
func quickRules(filters []Filter) []quickRule {
	rules := make([]quickRule, 0, len(filters))
	for i := range filters {
		f := &filters[i]
		local, ok1 := quickEndOf(&f.local)
		remote, ok2 := quickEndOf(&f.remote)
		if ok1 && ok2 {
			rules = append(rules, quickRule{f.protocol.number(true), f.addressDecides(), f.flags, local, remote})
		}
	}
	return rules
}

// quickEndOf is false for an end that has no IPv4 address.
func quickEndOf(e *end) (q quickEnd, ok bool) {
	addrs := ofFamily(e.addrs, true)
	if addrs != nil && len(addrs) == 0 {
		return q, false
	}
	return quickEnd{
		quickSpans(addrs, func(a netip.Addr) uint32 { return uint32(addrValue(a).low) }),
		quickSpans(e.ports, func(p port) uint32 { return uint32(p) }),
	}, true
}

func quickSpans[T point[T]](s spans[T], of func(T) uint32) []quickSpan {
	if s == nil {
		return nil
	}
	out := make([]quickSpan, len(s))
	for i, r := range s {
		out[i] = quickSpan{of(r.lo), of(r.hi)}
	}
	return out
}

// quickMatch is what Match says of a packet when decided is true. Packets that are not of the common kind are
// not decided here.
func (s *Set) quickMatch(p *Packet) (matches, decided bool) {
	b := p.Data
	if s.index == nil && s.quick == nil {
		return false, false
	}
	const ethernet, header = 14, 20
	switch {
	case p.Framing == Ethernet:
		if len(b) < ethernet || binary.BigEndian.Uint16(b[ethernet-2:]) != etherIPv4 {
			return false, false
		}
		b = b[ethernet:]
	case p.Framing == Cooked && p.Protocol != etherIPv4, p.Framing > Cooked:
		return false, false
	}
	if len(b) < header+4 || b[0] != 0x45 || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 || b[9] != protoTCP && b[9] != protoUDP {
		return false, false
	}
	source, destination, ports := binary.BigEndian.Uint32(b[12:]), binary.BigEndian.Uint32(b[16:]), binary.BigEndian.Uint32(b[header:])
	sourcePort, destinationPort, flags := ports>>16, ports&0xffff, uint16(noFlags)
	if b[9] == protoTCP && len(b) > header+tcpFlagsAt {
		flags = uint16(b[header+tcpFlagsAt])
	}
	if s.index != nil {
		protocol := tcp
		if b[9] == protoUDP {
			protocol = udp
		}
		from, to := endpoint{value{low: uint64(source)}, uint64(sourcePort)}, endpoint{value{low: uint64(destination)}, uint64(destinationPort)}
		return s.index.kind(knownPorts, protocol, 0).match(&from, &to, flags, p.Direction), true
	}
	for i := range s.quick {
		r := &s.quick[i]
		if r.protocol != 0 && r.protocol != b[9] {
			continue
		}
		if r.flags != nil && (flags == noFlags || !r.flags.contains(uint8(flags))) {
			continue
		}
		if (r.named || p.Direction != Incoming) && r.local.fits(source, sourcePort) && r.remote.fits(destination, destinationPort) ||
			(r.named || p.Direction != Outgoing) && r.local.fits(destination, destinationPort) && r.remote.fits(source, sourcePort) {
			return true, true
		}
	}
	return false, true
}

func (e *quickEnd) fits(a, p uint32) bool {
	return (e.ports == nil || inSpans(e.ports, p)) && (e.addrs == nil || inSpans(e.addrs, a))
}

// inSpans is spans.contains for numbers.
func inSpans(s []quickSpan, v uint32) bool {
	if len(s) == 1 { // most have one
		return v >= s[0].lo && v <= s[0].hi
	}
	low, high := 0, len(s)
	for low < high {
		mid := int(uint(low+high) >> 1)
		switch {
		case v < s[mid].lo:
			high = mid
		case v > s[mid].hi:
			low = mid + 1
		default:
			return true
		}
	}
	return false
}
