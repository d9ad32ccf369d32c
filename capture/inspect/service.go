package inspect

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// serviceKey is a server endpoint.
type serviceKey struct {
	at  endpoint
	via uint32
}

// service collects what its connections had.
type service struct {
	TCPCounts
	key                       serviceKey
	names                     []string
	clients                   map[addr]struct{}
	to, back                  Direction // to the server, to the client
	toSeq, backSeq            uint64    // packets with payload, SYN or FIN
	handshake, server, client histogram
	zero                      int64
	mss                       MSS
	noScaling, scaling        bool
	limits                    [2]limits // of to and back
	retransAt, retransLast    sighting
	oooAt, oooLast            sighting
	resent, overtaken         uint64 // see order; of connections without a problem that explains it
	zeroAt, zeroLast          sighting
	retransClients            problem // only its others are used
	trouble                   uint64
}

// limits is what tells who bounds the throughput of one direction.
type limits struct {
	data, idle, full, windowFull, zeroWindows, retransmissions uint64
}

// Bounds of services.
const (
	maxServices = 4096
	maxClients  = 64
)

func (e *Engine) service(k serviceKey) *service {
	s := e.services[k]
	if s == nil {
		if len(e.services) == maxServices {
			e.dropped.services++
			return nil
		}
		s = &service{key: k, clients: make(map[addr]struct{})}
		e.services[k] = s
	}
	return s
}

// serverDir is the direction in which the server of a connection sends. The server is the end
// that was sent a SYN, or has answered one; else the one with the lower port.
func (e *Engine) serverDir(f *flow, c *connection) int {
	if c != nil && c.client >= 0 {
		return 1 - int(c.client)
	}
	if f.key.loPort <= f.key.hiPort {
		return fromLo
	}
	return fromHi
}

func (e *Engine) serverOf(f *flow, c *connection) endpoint { return f.key.from(e.serverDir(f, c)) }

// endFlow takes what a flow had into the totals.
func (e *Engine) endFlow(f *flow) {
	c := f.tcp
	if c != nil && !c.begun {
		c = nil
	}
	e.talk.flow(f, e.serverDir(f, c), c)
	if c == nil {
		return
	}
	for i := range c.side {
		e.pieces.give(&c.side[i].app)
		if d := &c.side[i]; d.zero {
			d.zeroTotal += max(0, c.lastAt-d.zeroSince)
		}
	}
	e.endTLS(f, c)
	e.addToService(f, c, e.judge(f, c))
	c.begun = false
}

func (e *Engine) addToService(f *flow, c *connection, explained bool) {
	server := e.serverDir(f, c)
	s := e.service(serviceKey{f.key.from(server), f.key.via})
	if s == nil {
		return
	}
	if len(s.clients) < maxClients {
		s.clients[f.key.from(1-server).addr] = struct{}{}
	}
	if name := e.hosts.text(c.app.name); name != "" && len(s.names) < maxEndpoints && !slices.Contains(s.names, name) {
		s.names = append(s.names, name)
	}
	s.Connections++
	s.Packets += c.packets
	s.Resets += uint64(c.resets)
	s.Joined += count(c.joined)
	s.ReusedPorts += uint64(c.reused)
	s.Begun += count(!c.joined)
	s.Established += count(c.established)
	s.Refused += count(c.refused)
	s.Reset += count(c.reset && !c.resetAfterFIN)
	s.Closed += count(c.side[0].fin && c.side[1].fin)
	s.Unanswered += count(c.unanswered(f))
	if c.established && !c.refused {
		if c.handshakeRTT > 0 {
			s.handshake.add(c.handshakeRTT)
		}
		if c.serverRTT > 0 {
			s.server.add(c.serverRTT)
		}
		if c.clientRTT > 0 {
			s.client.add(c.clientRTT)
		}
	}
	for dir := range c.side {
		e.addSide(s, f, c, dir, dir == server)
		if o := &c.side[dir].order; !explained {
			s.resent += uint64(o.resent)
			s.overtaken += uint64(o.overtaken)
			span(&s.retransAt, &s.retransLast, o.resentFirst, o.resentLast)
			span(&s.oooAt, &s.oooLast, o.overtakenFirst, o.overtakenLast)
		}
	}
	cl, sv := &c.side[1-server], &c.side[server]
	if cl.syn && sv.syn {
		if cl.scale == scaleNone {
			s.noScaling = true
		} else {
			s.scaling = true
		}
	}
	s.mss.Client, s.mss.Server = least(s.mss.Client, cl.mss), least(s.mss.Server, sv.mss)
	s.mss.Largest = max(s.mss.Largest, cl.largest, sv.largest)
}

func least(a, b uint16) uint16 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

func count(b bool) uint64 {
	if b {
		return 1
	}
	return 0
}

// addSide adds what one side of a connection has sent.
func (e *Engine) addSide(s *service, f *flow, c *connection, dir int, fromServer bool) {
	d := &c.side[dir]
	way, seq, l := &s.to, &s.toSeq, &s.limits[0]
	if fromServer {
		way, seq, l = &s.back, &s.backSeq, &s.limits[1]
	}
	way.Packets += f.packets[dir]
	way.Bytes += f.bytes[dir]
	way.PayloadBytes += d.payload
	way.DataPackets += d.dataPackets
	way.Retransmissions += uint64(d.retransmissions)
	way.OutOfOrder += uint64(d.outOfOrder)
	way.DuplicateAcks += uint64(d.dupCount)
	way.ZeroWindows += uint64(d.zeroWindows)
	way.WindowFulls += uint64(d.fulls)
	*seq += d.dataPackets + count(d.fin) + uint64(d.finAgain)
	if fromServer {
		*seq += uint64(c.synAcks)
	} else {
		*seq += uint64(c.syns)
	}
	s.Retransmissions += uint64(d.retransmissions)
	s.Fast += uint64(d.fast)
	s.Spurious += uint64(d.spurious)
	s.Timeouts += uint64(d.retransmissions - d.fast - d.spurious)
	s.OutOfOrder += uint64(d.outOfOrder)
	s.DuplicateAcks += uint64(d.dupCount)
	s.LostSegments += uint64(d.lost)
	s.AckLostSegments += uint64(d.ackLost)
	s.ZeroWindows += uint64(d.zeroWindows)
	s.ZeroProbes += uint64(d.probes)
	s.ZeroProbeAcks += uint64(d.probeAcks)
	s.WindowFulls += uint64(d.fulls)
	s.WindowUpdates += uint64(d.updates)
	s.KeepAlives += uint64(d.keepAlives)
	s.KeepAliveAcks += uint64(d.keepAliveAcks)
	s.zero += d.zeroTotal
	s.retransClients.with(f.key.from(e.clientDir(f, c)).addr)
	span(&s.zeroAt, &s.zeroLast, d.zeroFirst, d.zeroLast)
	peer := &c.side[1-dir]
	l.data += d.dataPackets
	l.idle += d.sentIdle
	l.full += d.sentFull
	l.windowFull += uint64(d.fulls)
	l.zeroWindows += uint64(peer.zeroWindows)
	l.retransmissions += uint64(d.retransmissions)
}

func (e *Engine) clientDir(f *flow, c *connection) int { return 1 - e.serverDir(f, c) }

// span widens a span of packets by another one.
func span(first, last *sighting, from, to sighting) {
	if from.no != 0 && (first.no == 0 || from.no < first.no) {
		*first = from
	}
	if to.no > last.no {
		*last = to
	}
}

func (d *Direction) percent(seq uint64) {
	if seq > 0 {
		d.RetransmissionPercent = float64(d.Retransmissions) / float64(seq) * 100
	}
}

// limitedFrom is how much payload a direction must have sent before anything is said of
// its throughput, in bytes.
const limitedFrom = 64 << 10

// limit says what bounded the throughput of the direction with more payload.
func (s *service) limit() (who, why string) {
	way, l := &s.to, &s.limits[0]
	if s.back.PayloadBytes > way.PayloadBytes {
		way, l = &s.back, &s.limits[1]
	}
	if way.PayloadBytes < limitedFrom || l.data == 0 {
		return "", ""
	}
	part := func(n uint64) float64 { return float64(n) / float64(l.data) * 100 }
	switch {
	case l.zeroWindows > 0 || part(l.full) >= 20:
		return "receiver", fmt.Sprintf("%.0f%% of the data packets filled 9/10 of the receiver's window or more, which was closed %d times", part(l.full), l.zeroWindows)
	case part(l.retransmissions) >= 0.5:
		return "network", fmt.Sprintf("%.1f%% of the data packets were retransmissions, and %.0f%% filled the receiver's window", part(l.retransmissions), part(l.full))
	}
	return "sender", fmt.Sprintf("%.0f%% of the data packets were sent when nothing was on its way, %.1f%% were retransmissions, and %.0f%% filled the receiver's window",
		part(l.idle), part(l.retransmissions), part(l.full))
}

// clamped says in words what makes the MSS less than Ethernet's.
func (s *service) clamped() string {
	const ethernet4, ethernet6 = 1460, 1440
	full := uint16(ethernet4)
	if s.key.at.addr.netip().Is6() {
		full = ethernet6
	}
	c, v := s.mss.Client, s.mss.Server
	switch {
	case c == 0 && v == 0:
		return ""
	case c != 0 && c < full && (v == 0 || c <= v):
		return fmt.Sprintf("the SYNs offer %d where Ethernet allows %d: a smaller MTU at the client, or a device on the way that lowers it (tunnel, VPN)", c, full)
	case v != 0 && v < full:
		return fmt.Sprintf("the SYN/ACKs offer %d where Ethernet allows %d: a smaller MTU at the server, or a device on the way that lowers it (tunnel, VPN)", v, full)
	}
	return ""
}

// report is the service as it is told.
func (e *Engine) reportService(s *service) Service {
	s.to.percent(s.toSeq)
	s.back.percent(s.backSeq)
	s.mss.ClampedBy = s.clamped()
	r := Service{
		Server: s.key.at.String(), Through: e.vias.describe(s.key.via), Names: s.names, TCPCounts: s.TCPCounts, Clients: len(s.clients),
		ToServer: s.to, ToClient: s.back, HandshakeRTT: s.handshake.latency(), ServerRTT: s.server.latency(), ClientRTT: s.client.latency(),
		ZeroWindowSeconds: seconds(s.zero), MSS: s.mss, WindowScaling: !s.noScaling,
	}
	r.LimitedBy, r.Because = s.limit()
	return r
}

// String is an endpoint as "address:port"; the address alone where there is no port.
func (p endpoint) String() string {
	if p.port == 0 {
		return p.addr.String()
	}
	return netip.AddrPortFrom(p.addr.netip(), p.port).String()
}

// reportServices sorts services by trouble, then by size.
func (e *Engine) reportServices() []Service {
	list := make([]*service, 0, len(e.services))
	for _, s := range e.services {
		s.trouble = 1000*(s.Unanswered+s.Refused+s.Reset) + s.Retransmissions + s.ZeroWindows + s.OutOfOrder
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b *service) int {
		return cmp.Or(cmp.Compare(b.trouble, a.trouble), cmp.Compare(b.to.Bytes+b.back.Bytes, a.to.Bytes+a.back.Bytes),
			compareEndpoints(a.key.at, b.key.at), cmp.Compare(a.key.via, b.key.via))
	})
	out := []Service{}
	for _, s := range list[:min(len(list), e.o.Top)] {
		out = append(out, e.reportService(s))
	}
	return out
}

func compareEndpoints(a, b endpoint) int {
	return cmp.Or(a.addr.netip().Compare(b.addr.netip()), cmp.Compare(a.port, b.port))
}
