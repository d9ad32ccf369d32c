package inspect

// segment looks at a TCP segment of a flow.
func (e *Engine) segment(p *packet, f *flow, dir int) Marks {
	s := &e.seg
	s.read(&e.dec.tcp, p)
	c := f.tcp
	if c == nil {
		c = &connection{}
		f.tcp = c
	}
	if !c.begun { // or what it was before belongs to a flow that was given up
		c.init()
	}
	var m Marks
	if begins, reused := c.isNewConnection(s, dir); c.begun && reused {
		if begins {
			e.restart(p, f, dir)
		} else {
			c.side[dir].base = s.seq // the same SYN/ACK again is not told again
		}
		m |= ReusedPorts
		c.reused++
		e.tcp.ReusedPorts++
	}
	here := sighting{p.at, p.number}
	if !c.begun {
		c.begun, c.firstPacket = true, here
		c.joined = !s.syn
		m |= NewConnection
		e.tcp.Connections++
		if c.joined && !s.rst {
			e.joined.count(p)
		}
	}
	if s.rst {
		m |= Reset
	}
	c.packets++
	e.tcp.Packets++
	before := c.side[dir].nextSeq
	m |= c.analyze(s, dir, p.at)
	if c.handshake(s, dir, p.at) {
		m |= HandshakeDone
	}
	e.life(c, s, dir, here, p.duplicate)
	e.follow(p, c, s, dir, m, before)
	if len(p.payload) > 0 && m&(Retransmission|OutOfOrder|KeepAlive|ZeroWindowProbe) == 0 {
		if p.sport == portDNS || p.dport == portDNS {
			m |= e.dnsOverTCP(p, f.key.via)
		} else {
			e.payload(p, f, c, s, dir)
		}
	}
	c.lastAt = p.at
	c.lastFromPeer[dir] = p.at
	return m
}

// restart ends the connection of a flow and begins another one on it.
func (e *Engine) restart(p *packet, f *flow, dir int) {
	f.packets[dir]--
	f.bytes[dir] -= uint64(p.wire)
	e.endFlow(f)
	*f = flow{key: f.key, taken: true, used: true, tcp: f.tcp, first: p.at, firstNo: p.number, last: p.at, lastNo: p.number}
	e.flowsAll++
	f.packets[dir], f.bytes[dir] = 1, uint64(p.wire)
	f.tcp.init()
}

// dnsOverTCP reads a message that is whole in its segment, behind its length. Longer ones
// are not put together: they are answers to zone transfers, mostly.
func (e *Engine) dnsOverTCP(p *packet, via uint32) Marks {
	b := p.payload
	if len(b) < 2 {
		return 0
	}
	n := int(b[0])<<8 | int(b[1])
	if n == 0 || n > len(b)-2 {
		return 0
	}
	return e.dnsMessage(p, b[2:2+n], via, true)
}

// life follows how a connection begins and ends.
// One that was captured twice was not sent again.
func (e *Engine) life(c *connection, s *segment, dir int, here sighting, duplicate bool) {
	me, peer := &c.side[dir], &c.side[1-dir]
	switch {
	case s.rst:
		e.tcp.Resets++
		c.resets++
		if !c.rstSeen {
			c.resetAt, c.resetDir = here, int8(dir)
			c.resetIdle = here.at - c.lastAt
			c.resetAfterFIN = me.fin || peer.fin
			switch {
			case c.established || c.joined && c.packets > 1:
				c.reset = true
			case c.syns > 0 && c.synAcks == 0 && int(c.client) != dir && s.isAck:
				// RFC 9293, 3.10.7.1: it acknowledges the SYN. One without ACK is late, of
				// the connection that had the ports before.
				c.refused = true
			}
		}
		c.rstSeen = true
	case s.syn && s.isAck:
		if c.client < 0 {
			c.client = int8(1 - dir)
		}
		if !duplicate {
			c.synAcks++
		}
		if !c.established { // a RST before it did not end the connection
			c.rstSeen, c.refused = false, false
		}
		c.lastSynAck = here
		if c.synAt != 0 && c.serverRTT == 0 {
			c.serverRTT = max(1, here.at-c.synAt)
		}
		c.synAckAt = here.at
	case s.syn:
		if c.client < 0 {
			c.client = int8(dir)
		}
		if c.syns == 0 {
			c.firstSYN = here
		}
		if !duplicate {
			c.syns++
		}
		c.lastSYN = here
	case s.isAck && !c.established && !c.joined:
		// The client has got the SYN/ACK, whether or not the capture has it; and who sends data is
		// connected.
		c.established = int(c.client) == dir || s.length > 0
		if int(c.client) == dir && c.synAcks > 0 {
			c.clientRTT = max(1, here.at-c.synAckAt)
		}
	}
	if s.fin {
		if me.fin && !duplicate {
			me.finAgain++
		} else if !me.fin {
			me.fin, me.finAt = true, here
		}
		c.finSeen = true
	}
	if peer.fin && s.isAck && peer.nextSeq != 0 && !after(peer.nextSeq, s.ack) {
		peer.finAcked = true
	}
}

// follow counts what a segment was marked as, and what findings are made of.
func (e *Engine) follow(p *packet, c *connection, s *segment, dir int, m Marks, before uint32) {
	me, peer := &c.side[dir], &c.side[1-dir]
	here := sighting{p.at, p.number}
	if s.length > 0 {
		me.sent(c, s, peer, before, m)
		if m&KeepAlive == 0 {
			me.dataAt = here
		}
	}
	if s.isAck && peer.bigLen > 0 && !after(peer.bigSeq+uint32(peer.bigLen), s.ack) {
		peer.ackedLen = max(peer.ackedLen, peer.bigLen)
		peer.bigLen = 0
	}
	if s.isAck && peer.stuckCount > 0 && after(s.ack, peer.stuckSeq) {
		peer.stuckCount = 0
	}
	if me.gapOpen && s.length > 0 && s.seq == me.gapSeq {
		me.gapOpen = false
	}
	// How long the window is closed: until any packet opens it.
	if !s.rst {
		switch {
		case s.window == 0 && !s.syn && !s.fin:
			if !me.zero {
				me.zero, me.zeroSince = true, p.at
				if me.zeroFirst.no == 0 {
					me.zeroFirst = here
				}
			}
			me.zeroLast = here
		case me.zero:
			me.zero = false
			me.zeroTotal += max(0, p.at-me.zeroSince)
		}
	}
	peer.asked = 0
	if m&KeepAlive != 0 && !p.duplicate {
		if me.asked == 0 {
			me.askedFirst = here
		}
		me.asked++
		me.askedLast = here
	}
	me.order.late(p, &e.dec.tcp, m, here)
	if m == 0 {
		return
	}
	e.countMarks(p, c, s, dir, m, before)
}

// sent notes a segment with payload.
func (d *side) sent(c *connection, s *segment, peer *side, before uint32, m Marks) {
	n := int(s.length)
	d.payload += uint64(n)
	d.dataPackets++
	d.largest = max(d.largest, n)
	if m&(Retransmission|OutOfOrder) != 0 {
		return
	}
	if n > d.bigLen {
		d.bigSeq, d.bigLen = s.seq, n
	}
	if before != 0 && before == peer.lastAck {
		d.sentIdle++
	}
	if w := peer.scaled(); c.established && peer.scale != scaleUnknown && peer.lastAck != 0 && w != 0 &&
		uint64(s.seq+s.length-peer.lastAck) >= uint64(w)-uint64(w)/10 {
		d.sentFull++
	}
}

// countMarks counts the marks of a segment.
func (e *Engine) countMarks(p *packet, c *connection, s *segment, dir int, m Marks, before uint32) {
	me := &c.side[dir]
	here := sighting{p.at, p.number}
	if m&Retransmission != 0 {
		me.retransmissions++
		e.tcp.Retransmissions++
		switch {
		case m&FastRetransmission != 0:
			me.fast++
			e.tcp.Fast++
		case m&SpuriousRetransmission != 0:
			me.spurious++
			e.tcp.Spurious++
		default:
			e.tcp.Timeouts++
		}
		if p.timed {
			e.time.at(p.at).Retransmissions++
		}
		if s.length > 0 && m&SpuriousRetransmission == 0 && !p.duplicate {
			if me.stuckCount == 0 || me.stuckSeq != s.seq {
				me.stuckSeq, me.stuckCount, me.stuckLen, me.stuckFirst = s.seq, 0, 0, here
			}
			me.stuckLen = max(me.stuckLen, int(s.length))
			me.stuckCount++
			me.stuckLast = here
		}
	}
	if m&OutOfOrder != 0 {
		me.outOfOrder++
		e.tcp.OutOfOrder++
	}
	if m&LostSegment != 0 {
		me.lost++
		e.tcp.LostSegments++
		if !me.gapOpen && before != 0 {
			me.gapOpen, me.gapSeq, me.gapLen, me.gapFirst = true, before, s.seq-before, here
		}
	}
	if m&AckLostSegment != 0 {
		me.ackLost++
		e.tcp.AckLostSegments++
		e.ackLost.count(p)
	}
	for _, n := range [...]struct {
		mark  Marks
		mine  *uint32
		total *uint64
	}{
		{DuplicateAck, &me.dupCount, &e.tcp.DuplicateAcks}, {ZeroWindow, &me.zeroWindows, &e.tcp.ZeroWindows},
		{ZeroWindowProbe, &me.probes, &e.tcp.ZeroProbes}, {ZeroWindowProbeAck, &me.probeAcks, &e.tcp.ZeroProbeAcks},
		{WindowFull, &me.fulls, &e.tcp.WindowFulls}, {WindowUpdate, &me.updates, &e.tcp.WindowUpdates},
		{KeepAlive, &me.keepAlives, &e.tcp.KeepAlives}, {KeepAliveAck, &me.keepAliveAcks, &e.tcp.KeepAliveAcks},
	} {
		if m&n.mark != 0 {
			*n.mine++
			*n.total++
		}
	}
}
