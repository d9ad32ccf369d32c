package inspect

import "encoding/binary"

// quoted is the packet that an ICMP error quotes.
type quoted struct {
	src, dst endpoint
	proto    uint8
	ok       bool
}

// parseQuote reads the IP header, and the ports, of what an ICMP error quotes.
func parseQuote(b []byte, v6 bool) (q quoted) {
	var l4 []byte
	if v6 {
		if len(b) < 40 || b[0]>>4 != 6 {
			return q
		}
		q.src.addr, q.dst.addr, q.proto = addr(b[8:24]), addr(b[24:40]), b[6]
		l4 = b[40:]
	} else {
		if len(b) < 20 || b[0]>>4 != 4 {
			return q
		}
		q.src.addr, q.dst.addr, q.proto = addr4(b[12:]), addr4(b[16:]), b[9]
		n := int(b[0]&15) * 4
		if n < 20 || n > len(b) {
			return q
		}
		if binary.BigEndian.Uint16(b[6:])&0x1fff == 0 { // a later fragment has no ports
			l4 = b[n:]
		}
	}
	q.ok = true
	if (q.proto == protoTCP || q.proto == protoUDP) && len(l4) >= 4 {
		q.src.port, q.dst.port = binary.BigEndian.Uint16(l4), binary.BigEndian.Uint16(l4[2:])
	}
	return q
}

// icmp looks at a message of ICMP or ICMPv6.
func (e *Engine) icmp(p *packet, via uint32, kindByte, code uint8) {
	var what kind
	extra := uint32(kindByte)<<8 | uint32(code)
	body := p.payload // behind 8 bytes of ICMPv4, 4 of ICMPv6
	mtu := uint32(0)
	if p.transport == transportICMP6 {
		switch kindByte {
		case 1:
			what = unreachable6(code)
		case 2:
			what = kindTooBig
		case 3:
			what = timeExceeded(code)
		case 135, 136, 137:
			e.ndp(p, via, kindByte)
			if kindByte != 137 {
				return
			}
			what = kindRedirect
		default:
			return
		}
		if len(body) < 4 {
			return
		}
		mtu = binary.BigEndian.Uint32(body)
		if body = body[4:]; what == kindRedirect {
			e.redirect(p, via, extra)
			return
		}
	} else {
		switch kindByte {
		case 3:
			what = unreachable4(code)
			// RFC 1191: the MTU of the next hop. Routers before it left it at zero.
			mtu = uint32(e.dec.icmp.low)
		case 5:
			e.redirect(p, via, extra)
			return
		case 11:
			what = timeExceeded(code)
		default:
			return
		}
	}
	q := parseQuote(body, p.v6)
	if !q.ok {
		return
	}
	if what == kindTooBig {
		extra = mtu
	}
	f := e.flowOf(q.src, q.dst, q.proto, via)
	if f != nil && what != kindTooBig {
		f.icmpError = true
	}
	r := e.problems.get(problemKey{kind: what, at: q.dst, via: via, extra: extra})
	r.count++
	r.seen(sighting{p.at, p.number}, sighting{p.at, p.number})
	r.with(q.src.addr)
	r.by = p.src
	r.of = uint64(q.proto)
	if q.proto == protoUDP && q.src.port == portDNS {
		r.most++ // answers of DNS to a client that waits no more
	}
	e.failed(p.at)
}

func (e *Engine) redirect(p *packet, via uint32, extra uint32) {
	r := e.problems.get(problemKey{kind: kindRedirect, at: endpoint{addr: p.src}, via: via, extra: extra})
	r.count++
	r.seen(sighting{p.at, p.number}, sighting{p.at, p.number})
	r.with(p.dst)
	r.by = p.src
}

func unreachable4(code uint8) kind {
	switch code {
	case 0, 6, 11:
		return kindNetUnreachable
	case 1, 7, 8, 12:
		return kindHostUnreachable
	case 2:
		return kindProtoUnreachable
	case 3:
		return kindPortUnreachable
	case 4:
		return kindTooBig
	case 9, 10, 13:
		return kindProhibited
	}
	return kindOtherUnreachable
}

func unreachable6(code uint8) kind {
	switch code {
	case 0:
		return kindNetUnreachable
	case 1, 5, 6:
		return kindProhibited
	case 3:
		return kindHostUnreachable
	case 4:
		return kindPortUnreachable
	}
	return kindOtherUnreachable
}

func timeExceeded(code uint8) kind {
	if code == 1 {
		return kindReassembly
	}
	return kindTTL
}
