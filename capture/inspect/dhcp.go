package inspect

import "encoding/binary"

// Ports of DHCP.
const (
	portDHCPServer  = 67
	portDHCPClient  = 68
	portDHCP6Client = 546
	portDHCP6Server = 547
)

// dhcpKey is a client's exchange.
type dhcpKey struct {
	xid    uint32
	client mac // zero for DHCPv6, which has none in a fixed place
	v6     bool
}

type dhcpState struct {
	asked       uint64 // DISCOVER or SOLICIT without an answer since
	requested   uint64 // REQUEST, RENEW …
	first, last sighting
}

// maxDHCP bounds how many exchanges are followed.
const maxDHCP = 4096

// Message types of DHCP: RFC 2132, 9.6.
const (
	dhcpDiscover = 1
	dhcpOffer    = 2
	dhcpRequest  = 3
	dhcpACK      = 5
	dhcpNAK      = 6
)

func (e *Engine) dhcpState(k dhcpKey) *dhcpState {
	s := e.dhcps[k]
	if s == nil {
		if len(e.dhcps) == maxDHCP {
			e.dropped.dhcp++
			return &dhcpState{}
		}
		s = &dhcpState{}
		e.dhcps[k] = s
	}
	return s
}

// dhcp4 looks at a message of DHCP: RFC 2131.
func (e *Engine) dhcp4(p *packet) {
	b := p.payload
	const options = 240
	if len(b) < options || binary.BigEndian.Uint32(b[236:]) != 0x63825363 {
		return
	}
	kindByte := byte(0)
	for o := b[options:]; len(o) >= 2; {
		if o[0] == 0 {
			o = o[1:]
			continue
		}
		n := 2 + int(o[1])
		if o[0] == 255 || n > len(o) {
			break
		}
		if o[0] == 53 && n == 3 {
			kindByte = o[2]
			break
		}
		o = o[n:]
	}
	s := e.dhcpState(dhcpKey{xid: binary.BigEndian.Uint32(b[4:]), client: mac(b[28:34])})
	here := sighting{p.at, p.number}
	switch kindByte {
	case dhcpDiscover:
		s.ask(&s.asked, here)
	case dhcpRequest:
		s.ask(&s.requested, here)
	case dhcpOffer:
		s.asked = 0
	case dhcpACK:
		s.asked, s.requested = 0, 0
	case dhcpNAK:
		s.asked, s.requested = 0, 0
		r := e.problems.get(problemKey{kind: kindDHCPNAK, at: endpoint{p.src, p.sport}})
		r.count++
		r.seen(here, here)
		e.failed(p.at)
	}
}

func (s *dhcpState) ask(n *uint64, here sighting) {
	if s.asked+s.requested == 0 {
		s.first = here
	}
	*n++
	s.last = here
}

// dhcp6 looks at a message of DHCPv6: RFC 8415, 7.3.
func (e *Engine) dhcp6(p *packet) {
	b := p.payload
	if len(b) < 4 {
		return
	}
	s := e.dhcpState(dhcpKey{xid: binary.BigEndian.Uint32(b) & 0xffffff, v6: true})
	here := sighting{p.at, p.number}
	switch b[0] {
	case 1: // SOLICIT
		s.ask(&s.asked, here)
	case 3, 5, 6: // REQUEST, RENEW, REBIND
		s.ask(&s.requested, here)
	case 2, 7: // ADVERTISE, REPLY
		s.asked, s.requested = 0, 0
	}
}

// endDHCP makes problems of the exchanges without an answer, all of one kind in one.
func (e *Engine) endDHCP() {
	for _, k := range inOrder(e.dhcps, func(s *dhcpState) uint64 { return s.first.no }) {
		s := e.dhcps[k]
		n, extra := s.asked, uint32(0)
		if n == 0 {
			n, extra = s.requested, 1
		}
		if n == 0 || n == 1 && !e.waited(s.last.at) {
			continue
		}
		if k.v6 {
			extra |= 2
		}
		r := e.problems.get(problemKey{kind: kindDHCPSilent, extra: extra})
		r.count += n
		r.of++
		r.seen(s.first, s.last)
		if !k.v6 {
			r.name(k.client.String())
		}
		e.failed(s.first.at)
	}
}
