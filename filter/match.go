package filter

import "net/netip"

// Match reports whether the set records the packet. Its time hardly depends on the number of filters. It allocates
// nothing but for the first packet of each kind in a large set, may be called by several goroutines at once, does not look
// at the interface, and does not drop the second copy of what runs over loopback: the kernel program does these two.
func (s Set) Match(p *Packet) bool {
	all := s.includesAll()
	if all && s.excludes == nil {
		return true
	}
	if s.excludes != nil {
		out, decided := s.excludes.quickMatch(p)
		switch {
		case !decided:
			return s.slowMatch(p)
		case out:
			return false
		case all:
			return true
		}
	}
	if s.index != nil || s.quick != nil {
		if matches, decided := s.quickMatch(p); decided {
			return matches
		}
	}
	return s.slowMatch(p)
}

// slowMatch is Match of a set that does not record everything, for every kind of packet.
func (s *Set) slowMatch(p *Packet) bool {
	all := s.includesAll()
	version, data := networkLayer(p)
	h, ok := readHeaders(version, data)
	if !ok {
		return all && (s.excludes == nil || !s.excludes.all)
	}
	if s.excludes != nil && s.excludes.leavesOut(h, p.Direction) {
		return false
	}
	if all || s.matchesHeaders(&h, p.Direction) {
		return true
	}
	if s.noErrors || h.quote == nil {
		return false
	}
	quoted, ok := readHeaders(version, h.quote)
	return ok && s.matchesHeaders(&quoted, p.Direction.inverted())
}

// leavesOut reports whether one of the filters matches the packet for sure.
func (s *Set) leavesOut(h headers, d Direction) bool {
	if h.ports == laterFragment {
		h.ports = noPorts
	}
	return s.all || s.matchesHeaders(&h, d)
}

func (s *Set) matchesHeaders(h *headers, d Direction) bool {
	if s.index != nil {
		return s.index.match(h, d)
	}
	for i := range s.filters {
		if s.filters[i].matchesHeaders(h, d) {
			return true
		}
	}
	return false
}

// matchesHeaders tries f with the source as the local end, with the destination, or with both.
func (f *Filter) matchesHeaders(h *headers, d Direction) bool {
	if f.protocol != anyProtocol && h.protocol != f.protocol.number(h.source.Is4()) {
		return false
	}
	if h.ports == noPorts && f.hasPorts() {
		return false
	}
	if f.flags != nil && !f.fitsFlags(h) {
		return false
	}
	named := f.addressDecides()
	if (named || d != Incoming) && f.local.fits(h, h.source, h.sourcePort) &&
		f.remote.fits(h, h.destination, h.destinationPort) {
		return true
	}
	return (named || d != Outgoing) && f.local.fits(h, h.destination, h.destinationPort) &&
		f.remote.fits(h, h.source, h.sourcePort)
}

// fitsFlags reports whether the flags of a packet are those that f names. Flags that were in another fragment fit.
func (f *Filter) fitsFlags(h *headers) bool {
	return h.protocol == protoTCP &&
		(h.ports == laterFragment || h.flags < noFlags && f.flags.contains(uint8(h.flags)))
}

// fits reports whether an end of the packet is one that e names. Ports that were in another fragment fit.
func (e *end) fits(h *headers, a netip.Addr, p port) bool {
	return (e.addrs == nil || e.addrs.contains(a)) &&
		(e.ports == nil || h.ports == laterFragment || e.ports.contains(p))
}
