package inspect

// neighbourKey is an address on a link.
type neighbourKey struct {
	addr addr
	via  uint32
}

// neighbour is what is known of an address on the link.
type neighbour struct {
	asked       uint64 // requests since the last sign of life
	first, last sighting
	by          addr
	seen        bool // it answered, or sent anything that tells its MAC
	mac         mac
	hasMAC      bool
	other       mac // another MAC that claimed the address
	changes     uint64
	changeFirst sighting
	changeLast  sighting
}

// maxNeighbours bounds the table.
const maxNeighbours = 16384

func (e *Engine) neighbour(a addr, via uint32) *neighbour {
	k := neighbourKey{a, via}
	n := e.neighbours[k]
	if n == nil {
		if len(e.neighbours) == maxNeighbours {
			e.dropped.neighbours++
			return nil
		}
		n = &neighbour{}
		e.neighbours[k] = n
	}
	return n
}

// arp looks at a request or reply. A request for the sender's own address, or from
// nobody, is an announcement or a probe (RFC 5227): nobody should answer it.
func (e *Engine) arp(p *packet, via uint32) {
	const request = 1
	a := &e.dec.arp
	here := sighting{p.at, p.number}
	if !a.sender.isUnspecified() {
		e.claims(a.sender, via, a.senderMAC, here)
	}
	if a.operation == request && !a.sender.isUnspecified() && a.sender != a.target {
		e.asks(a.sender, a.target, via, here)
	}
}

// ndp looks at a neighbour solicitation or advertisement: RFC 4861, 4.3 and 4.4.
func (e *Engine) ndp(p *packet, via uint32, kindByte uint8) {
	b := p.payload // behind type, code and checksum
	if len(b) < 20 {
		return
	}
	target := addr(b[4:20])
	here := sighting{p.at, p.number}
	switch kindByte {
	case 135:
		if p.src.isUnspecified() { // duplicate address detection
			return
		}
		if m, ok := linkOption(b[20:], 1); ok {
			e.claims(p.src, via, m, here)
		}
		e.asks(p.src, target, via, here)
	case 136:
		if m, ok := linkOption(b[20:], 2); ok {
			e.claims(target, via, m, here)
		} else if n := e.neighbour(target, via); n != nil {
			n.seen, n.asked = true, 0
		}
	}
}

// linkOption finds the link-layer address among the options of NDP.
func linkOption(b []byte, kind byte) (m mac, ok bool) {
	for len(b) >= 8 && b[1] != 0 {
		n := int(b[1]) * 8
		if n > len(b) {
			break
		}
		if b[0] == kind {
			return mac(b[2:8]), true
		}
		b = b[n:]
	}
	return m, false
}

func (e *Engine) asks(by, target addr, via uint32, here sighting) {
	n := e.neighbour(target, via)
	if n == nil {
		return
	}
	if n.asked == 0 {
		n.first = here
	}
	n.asked++
	n.last, n.by = here, by
	if len(e.askers) < maxAskers {
		e.askers[by] = struct{}{}
	}
}

// maxAskers bounds whom is remembered; it matters only whether there is more than one.
const maxAskers = 16

// hears reports whether the capture would have answers to a host's requests. Requests are
// broadcast and so heard by all of a link, and answers are not: those of a host of which
// the capture has nothing else are left out, unless it is the only one.
func (e *Engine) hears(a addr) bool {
	h := e.talk.hosts[a]
	return len(e.askers) == 1 || h != nil && h.received > 0
}

// spoke reports whether an address sent IP packets after a time: then its MAC was known, and
// the answer is only not in the capture.
func (e *Engine) spoke(a addr, since int64) bool {
	h := e.talk.hosts[a]
	return h != nil && h.lastSent > since
}

// claims notes that an address has a MAC.
func (e *Engine) claims(a addr, via uint32, m mac, here sighting) {
	n := e.neighbour(a, via)
	if n == nil {
		return
	}
	n.seen, n.asked = true, 0
	if n.hasMAC && n.mac != m {
		n.other = n.mac
		n.changes++
		n.changeLast = here
	}
	if !n.hasMAC {
		n.changeFirst = here // the claim that the next one contradicts
	}
	n.mac, n.hasMAC = m, true
}

// endNeighbours makes problems of what nobody answered.
func (e *Engine) endNeighbours() {
	for k, n := range e.neighbours {
		v6 := k.addr.netip().Is6()
		// One that spoke later than it was asked was there: asked is zero then.
		if n.asked > 0 && (n.asked > 1 || e.waited(n.last.at)) && !e.spoke(k.addr, n.first.at) && e.hears(n.by) {
			what := kindARPSilent
			if v6 {
				what = kindNDPSilent
			}
			r := e.problems.get(problemKey{kind: what, at: endpoint{addr: k.addr}, via: k.via})
			r.count += n.asked
			r.seen(n.first, n.last)
			r.with(n.by)
			e.failed(n.first.at)
		}
		if n.changes > 0 {
			r := e.problems.get(problemKey{kind: kindTwoMACs, at: endpoint{addr: k.addr}, via: k.via})
			r.count += n.changes
			r.seen(n.changeFirst, n.changeLast)
			r.text = n.other.String() + " and " + n.mac.String()
		}
	}
}

func (m mac) String() string {
	const digits = "0123456789abcdef"
	b := make([]byte, 0, 17)
	for i, x := range m {
		if i > 0 {
			b = append(b, ':')
		}
		b = append(b, digits[x>>4], digits[x&15])
	}
	return string(b)
}
