package inspect

// unanswered reports whether a SYN got nothing at all from the other end.
func (c *connection) unanswered(f *flow) bool {
	return c.syns > 0 && c.synAcks == 0 && !c.established && c.client >= 0 && f.packets[1-c.client] == 0
}

// isProbe reports whether a client only asked if the port is open, as load balancers and
// monitors do: it resets a connection that nothing was sent over, or the answer to its only SYN.
func (c *connection) isProbe() bool {
	return c.resets > 0 && c.client >= 0 && c.resetDir == c.client && c.syns == 1 && c.synAcks == 1 &&
		c.side[0].payload+c.side[1].payload == 0
}

// Bounds of what is called a failure.
const (
	blackHoleFrom   = 500                // bytes of a segment that is called large
	blackHoleTries  = 2                  // retransmissions of it
	deadTries       = 3                  // retransmissions of any segment without an answer, or keep-alives
	finTries        = 2                  // retransmissions of a FIN
	zeroWindowFrom  = int64(100_000_000) // closed for so long, in nanoseconds
	lossFrom        = 3                  // retransmissions
	lossPercent     = 0.5                // of the packets with payload
	outOfOrderFrom  = 3                  // packets
	halfOpenSynAcks = 2                  // SYN/ACKs sent
	noReplyOpen     = int64(5e9)         // waited for on a connection that is still open, in nanoseconds
)

// judge makes problems of a connection that has ended, or is given up. One that failed
// has one problem: the first of those that explains the others. It reports whether the problem
// explains retransmissions as well.
func (e *Engine) judge(f *flow, c *connection) bool {
	server := e.serverDir(f, c)
	client := 1 - server
	at, via := f.key.from(server), f.key.via
	one := func(k kind, first, last sighting) *problem {
		p := e.problems.get(problemKey{kind: k, at: at, via: via})
		p.count++
		p.seen(first, last)
		p.with(f.key.from(client).addr)
		p.name(e.hosts.text(c.app.name))
		e.failed(first.at)
		return p
	}
	e.countEnd(f, c)
	if f.packets[server] == 0 && c.joined || f.packets[client] == 0 && (c.packets >= 3 || c.synAcks > 0) {
		e.oneWayFlow(f, c)
		if c.joined || f.packets[client] == 0 {
			return false
		}
	}
	switch {
	case c.unanswered(f):
		if f.icmpError || c.syns == 1 && !e.waited(c.lastSYN.at) {
			return true
		}
		p := one(kindSYNSilent, c.firstSYN, c.lastSYN)
		p.packets += uint64(c.syns)
		p.most = max(p.most, c.lastSYN.at-c.firstSYN.at)
		return true
	case c.refused:
		p := one(kindRefused, c.resetAt, c.resetAt)
		p.packets += uint64(c.syns)
		return true
	}
	if c.isProbe() {
		return false
	}
	if e.blackHole(f, c, one) {
		return true
	}
	switch {
	case c.synAcks > 0 && !c.established && !c.rstSeen && (c.synAcks >= halfOpenSynAcks || e.waited(c.lastSynAck.at)):
		one(kindHalfOpen, c.firstSYN, c.lastSynAck).packets += uint64(c.synAcks)
		return true
	case c.synAcks > 0 && !c.established && c.rstSeen:
		// The client did not want the SYN/ACK: it gave up before, or never asked.
		one(kindHalfOpen, c.firstSYN, c.resetAt).packets += uint64(c.synAcks)
		return true
	}
	if e.dead(f, c, one) {
		return true
	}
	if wait := e.unreplied(c, server); wait > 0 {
		me := &c.side[client]
		p := one(kindNoReply, me.dataAt, me.dataAt)
		p.sum += int64(me.payload)
		p.most = max(p.most, wait)
		return false
	}
	if c.reset && !c.resetAfterFIN && !c.app.alerted {
		p := e.problems.get(problemKey{kind: kindReset, at: at, via: via, extra: uint32(count(int(c.resetDir) == server))})
		p.count++
		p.seen(c.resetAt, c.resetAt)
		p.with(f.key.from(client).addr)
		p.name(e.hosts.text(c.app.name))
		p.sum += int64(c.side[0].payload + c.side[1].payload)
		p.most = max(p.most, c.resetIdle)
		e.failed(c.resetAt.at)
		return false
	}
	for dir := range c.side {
		// Each side's FIN has to be acknowledged; a RST does as well.
		if d := &c.side[dir]; d.fin && !d.finAcked && d.finAgain >= finTries && !c.rstSeen {
			p := e.problems.get(problemKey{kind: kindFINSilent, at: at, via: via, extra: uint32(count(dir == server))})
			p.count++
			p.seen(d.finAt, sighting{c.lastAt, f.lastNo})
			p.with(f.key.from(client).addr)
			e.failed(d.finAt.at)
			return true
		}
	}
	return false
}

// unreplied tells how long a client has waited for the first byte of a server that acknowledged
// all it was sent, 0 where that is nothing strange. TLS has a finding of its own, and a server
// that resets, too.
func (e *Engine) unreplied(c *connection, server int) int64 {
	me, peer := &c.side[1-server], &c.side[server]
	if c.joined || !c.established || me.payload == 0 || peer.payload > 0 || c.app.kind == appTLS ||
		after(me.nextSeq, peer.lastAck+1) || c.reset && int(c.resetDir) == server {
		return 0
	}
	end, least := e.latest, noReplyOpen
	for _, d := range c.side {
		if d.fin {
			end, least = min(end, d.finAt.at), answerWithin
		}
	}
	if c.reset {
		end, least = min(end, c.resetAt.at), answerWithin
	}
	if wait := end - me.dataAt.at; wait >= least {
		return wait
	}
	return 0
}

// blackHole finds a direction in which large segments do not come through while small ones do.
func (e *Engine) blackHole(f *flow, c *connection, one func(kind, sighting, sighting) *problem) bool {
	for dir := range c.side {
		d, peer := &c.side[dir], &c.side[1-dir]
		switch {
		// Seen by the sender: the same large segment again and again, and none as large was
		// ever acknowledged.
		case d.stuckCount >= blackHoleTries && d.stuckLen >= blackHoleFrom && d.stuckLen > d.ackedLen &&
			(c.established || c.joined) && f.packets[1-dir] > 0 &&
			(d.stuckCount >= deadTries || c.lastFromPeer[1-dir] > d.stuckFirst.at):
			p := one(kindBlackHole, d.stuckFirst, d.stuckLast)
			p.packets += uint64(d.stuckCount)
			p.most, p.sum = max(p.most, int64(d.stuckLen)), max(p.sum, int64(d.ackedLen))
			p.of = count(dir == e.serverDir(f, c))
			return true
		// Seen by the receiver: a gap of a large segment that is never filled, a smaller
		// segment behind it, and the receiver's acknowledgements stay before the gap.
		case d.gapOpen && d.gapLen >= blackHoleFrom && peer.lastAck == d.gapSeq && (c.established || c.joined) && e.waited(d.gapFirst.at):
			p := one(kindBlackHole, d.gapFirst, d.gapFirst)
			p.packets++
			p.most, p.sum = max(p.most, int64(d.gapLen)), max(p.sum, int64(d.ackedLen))
			p.of = count(dir == e.serverDir(f, c))
			return true
		}
	}
	return false
}

// dead finds data that was sent again and again without any answer.
func (e *Engine) dead(f *flow, c *connection, one func(kind, sighting, sighting) *problem) bool {
	for dir := range c.side {
		d := &c.side[dir]
		if f.packets[1-dir] == 0 {
			continue
		}
		// Who gives up after keep-alives sends a RST: tcp_keepalive_timer of Linux.
		if n := d.asked; n >= deadTries || n >= deadTries-1 && c.rstSeen && int(c.resetDir) == dir {
			p := one(kindDead, d.askedFirst, d.askedLast)
			p.packets += uint64(n)
			p.sum += int64(n)
			p.most = max(p.most, d.askedLast.at-d.askedFirst.at)
			p.of = count(dir == e.serverDir(f, c))
			return true
		}
		if d.stuckCount < deadTries || c.lastFromPeer[1-dir] > d.stuckFirst.at {
			continue
		}
		p := one(kindDead, d.stuckFirst, d.stuckLast)
		p.packets += uint64(d.stuckCount)
		p.most = max(p.most, d.stuckLast.at-d.stuckFirst.at)
		p.of = count(dir == e.serverDir(f, c))
		return true
	}
	return false
}

// countEnd counts how a connection ended.
func (e *Engine) countEnd(f *flow, c *connection) {
	t := &e.tcp
	t.Begun += count(!c.joined)
	t.Joined += count(c.joined)
	t.Established += count(c.established)
	t.Unanswered += count(c.unanswered(f))
	t.Refused += count(c.refused)
	t.Reset += count(c.reset && !c.resetAfterFIN)
	t.Closed += count(c.side[0].fin && c.side[1].fin)
}

// oneWayFlow notes a connection of which one direction is not in the capture.
func (e *Engine) oneWayFlow(f *flow, c *connection) {
	q := &e.oneWay
	q.n++
	if q.first.no == 0 || c.firstPacket.no < q.first.no {
		q.first = c.firstPacket
	}
	if f.lastNo > q.last.no {
		q.last = sighting{c.lastAt, f.lastNo}
	}
	e.oneWayEnds.with(e.serverOf(f, c).addr)
}

// endServices makes problems of services that work badly.
func (e *Engine) endServices() {
	for _, s := range e.services {
		get := func(k kind, first, last sighting, n uint64) *problem {
			p := e.problems.get(problemKey{kind: k, at: s.key.at, via: s.key.via})
			p.count = n
			p.seen(first, last)
			p.others, p.otherCount, p.more = s.retransClients.others, s.retransClients.otherCount, s.retransClients.more
			for _, name := range s.names {
				p.name(name)
			}
			return p
		}
		all := s.toSeq + s.backSeq
		overtaken := s.overtaken >= outOfOrderFrom && float64(s.overtaken) >= float64(all)*lossPercent/100
		if overtaken {
			get(kindOutOfOrder, s.oooAt, s.oooLast, s.overtaken).of = all
		}
		// Three duplicate ACKs make the sender repeat what is only late. So with not more than two
		// that were sent again for each that was overtaken, these are the cause.
		if s.resent >= lossFrom && float64(s.resent) >= float64(all)*lossPercent/100 && (!overtaken || s.resent >= 2*s.overtaken) {
			get(kindRetransmissions, s.retransAt, s.retransLast, s.resent).of = all
		}
		if s.ZeroWindows > 0 && s.zero >= zeroWindowFrom {
			p := get(kindZeroWindow, s.zeroAt, s.zeroLast, s.ZeroWindows)
			p.sum = s.zero
			p.of = s.back.ZeroWindows
		}
	}
}
