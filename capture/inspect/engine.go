package inspect

import (
	"time"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/source/capfile"
)

// Engine looks at packets, one after the other. It is not for several goroutines.
type Engine struct {
	o      Options
	dec    *decoder // of the packet that is looked at
	coming [capfile.MaxList]coming
	touch  uint64
	number uint64 // of packets, those skipped included
	totals Packets
	first  int64 // time of the first and the last packet that have one
	last   int64
	quality
	time     timeline
	flows    *flowTable
	flowsAll uint64
	vias     vias
	frags    fragmentTable
	problems problemTable
	pieces   pieces
	hosts    names // that clients asked for: SNI, Host
	dns      dnsTable
	tls      struct {
		hellos, answers, silence, alerts uint64
		versions                         [6]Count
		names                            map[nameKey]*tlsName
	}
	http struct {
		requests, responses, c4, c5 uint64
		hosts                       map[nameKey]*httpHost
	}
	neighbours map[neighbourKey]*neighbour
	askers     map[addr]struct{}
	dhcps      map[dhcpKey]*dhcpState
	tcp        TCPCounts
	services   map[serviceKey]*service
	talk       talkers
	dropped    struct{ tls, http, dnsServers, neighbours, dhcp, services, hosts uint64 }
	seg        segment
	ended      bool
}

// NewEngine makes an Engine.
func NewEngine(o Options) *Engine {
	if o.Top <= 0 {
		o.Top = DefaultTop
	}
	if o.MaxFlows <= 0 {
		o.MaxFlows = DefaultMaxFlows
	}
	e := &Engine{
		o: o, vias: vias{index: make(map[viaKey]uint32)}, frags: fragmentTable{index: make(map[fragmentKey]*fragments)},
		problems: problemTable{index: make(map[problemKey]*problem)}, hosts: newNames(maxHosts), dns: newDNSTable(),
		neighbours: make(map[neighbourKey]*neighbour), askers: make(map[addr]struct{}), dhcps: make(map[dhcpKey]*dhcpState),
		services: make(map[serviceKey]*service), talk: newTalkers(),
	}
	e.tls.names, e.http.hosts = make(map[nameKey]*tlsName), make(map[nameKey]*httpHost)
	e.flows, e.told = newFlowTable(o.MaxFlows, e.endFlow), o.Lost
	return e
}

// maxHosts bounds how many names of hosts are remembered.
const maxHosts = 8192

// coming is a packet that was decoded and not yet looked at.
type coming struct {
	dec  decoder
	key  flowKey // if keyed
	dir  int
	hash uint32
	// keyed says that the key is known already: the packet is an IP packet in no tunnel.
	keyed bool
	flow  *flow // probably its flow; nil when there is none
	conn  *connection
}

// Packet looks at the next packet.
func (e *Engine) Packet(from *pcapfile.Packet) {
	list := [...]pcapfile.Packet{*from}
	e.Packets(list[:], 1)
}

// Packets looks at the next packets, at most capfile.MaxList. Those whose bit is not set in kept are only counted. It
// allocates nothing for most.
//
// What is known of flows is in no cache when their next packets come. So it is fetched for several
// packets at once, and their waits are one: a look at one packet after the other takes a quarter longer.
func (e *Engine) Packets(list []pcapfile.Packet, kept uint32) {
	number := e.number
	for i := range list {
		if c := &e.coming[i]; kept>>i&1 != 0 {
			c.decode(&list[i], number+uint64(i)+1, &e.flows.index)
		} else {
			c.keyed = false
		}
	}
	e.fetch(len(list))
	for i := range list {
		e.number++
		if kept>>i&1 == 0 {
			e.totals.Skipped++
			continue
		}
		e.packet(&e.coming[i], &list[i])
	}
}

// decode decodes a packet, and finds out which flow it is of.
func (c *coming) decode(from *pcapfile.Packet, number uint64, index *flowIndex) {
	p := c.dec.decode(from, number)
	c.flow, c.conn = nil, nil
	if c.keyed = p.hasIP && !p.isARP && p.depth == 0; c.keyed {
		c.key, c.dir = keyOf(p, 0)
		c.hash = index.hash(&c.key)
	}
}

// fetch has what is known of the flows of the first n packets brought into the cache: first where they are, then they
// themselves, then their connections. None of these loads waits for another one.
func (e *Engine) fetch(n int) {
	t, list := e.flows, e.coming[:n]
	mask := uint32(len(t.index.entries) - 1)
	for i := range list {
		if c := &list[i]; c.keyed {
			if entry := t.index.entries[c.hash&mask]; entry.slot != 0 {
				c.flow = t.slot(int(entry.slot - 1))
			}
		}
	}
	sum := uint64(0)
	for i := range list {
		if c := &list[i]; c.flow != nil {
			sum += c.flow.lastNo + uint64(c.flow.key.loPort)
			c.conn = c.flow.tcp
		}
	}
	for i := range list {
		if c := &list[i]; c.conn != nil {
			from, to := &c.conn.side[c.dir], &c.conn.side[1-c.dir]
			sum += c.conn.packets + uint64(from.nextSeq) + from.payload + uint64(from.order.stamp) + uint64(to.nextSeq)
		}
	}
	e.touch = sum // so that the loads are made
}

// packet looks at a packet that was decoded.
func (e *Engine) packet(c *coming, from *pcapfile.Packet) {
	t := &e.totals
	t.Count++
	t.Bytes += uint64(from.Length)
	t.CapturedBytes += uint64(len(from.Data))
	e.dec = &c.dec
	p := &c.dec.p
	if p.cut && !e.cutElsewhere {
		n, ok := capfile.HeaderLength(from)
		e.cutElsewhere = !ok || n != len(from.Data)
	}
	e.clock(p)
	if p.timed {
		s := e.time.at(p.at)
		s.Packets++
		s.Bytes += uint64(p.wire)
	}
	marks := e.look(c, p)
	if e.o.Observe != nil {
		e.o.Observe(p.number, marks)
	}
}

// clock looks at how the time goes on. A packet without a time has that of the packet before.
func (e *Engine) clock(p *packet) {
	if p.cut {
		e.cut.count(p)
	}
	if !p.timed {
		p.at = e.last
		return
	}
	if e.first == 0 {
		e.first, e.last = p.at, p.at
	}
	switch {
	case p.at < e.last-backwards:
		e.back.count(p)
		e.back.most = max(e.back.most, e.last-p.at)
	case p.at > e.last+leap:
		e.ahead.count(p)
		e.ahead.most = max(e.ahead.most, p.at-e.last)
	}
	e.first = min(e.first, p.at)
	e.last = p.at
	e.latest = max(e.latest, p.at)
}

// look decides what a packet is.
func (e *Engine) look(c *coming, p *packet) (m Marks) {
	if p.isARP {
		e.talk.other(p)
		e.arp(p, e.vias.of(p))
		return 0
	}
	if !p.hasIP {
		e.talk.other(p)
		if p.etherType == 0 || p.etherType == etherIPv4 || p.etherType == etherIPv6 {
			e.totals.NotDecoded++
		}
		return 0
	}
	via := e.vias.of(p)
	if p.fragment {
		e.fragment(p, via)
	}
	if p.duplicate = e.isDuplicate(p); p.duplicate {
		m |= Duplicate
	}
	if !c.keyed {
		c.key, c.dir = keyOf(p, via)
		c.hash = e.flows.index.hash(&c.key)
	}
	dir := c.dir
	f, isNew := e.flows.find(&c.key, c.hash)
	if isNew {
		e.flowsAll++
		f.first, f.firstNo = p.at, p.number
	}
	f.last, f.lastNo = p.at, p.number
	f.packets[dir]++
	f.bytes[dir] += uint64(p.wire)
	f.lastFrom[dir] = p.at
	if f.checked[dir] < checkedPackets {
		f.checked[dir]++
		e.checkSum(p, f)
	}
	switch p.transport {
	case transportTCP:
		m |= e.segment(p, f, dir)
	case transportUDP:
		m |= e.datagram(p, via)
	case transportICMP4, transportICMP6:
		e.icmp(p, via, e.dec.icmp.kind, e.dec.icmp.code)
	case noTransport:
	}
	return m
}

// datagram looks at what is over UDP, by its ports.
func (e *Engine) datagram(p *packet, via uint32) Marks {
	switch {
	case p.sport == portDNS || p.dport == portDNS:
		return e.dnsMessage(p, p.payload, via, false)
	case p.dport == portMDNS || p.sport == portMDNS:
		e.dns.MDNSPackets++
	case p.dport == portLLMNR || p.sport == portLLMNR:
		e.dns.LLMNRPackets++
	case p.dport == portDHCPServer || p.dport == portDHCPClient:
		e.dhcp4(p)
	case p.dport == portDHCP6Server || p.dport == portDHCP6Client:
		e.dhcp6(p)
	}
	return 0
}

// flowOf finds the flow between two endpoints, nil when there is none.
func (e *Engine) flowOf(a, b endpoint, proto uint8, via uint32) *flow {
	p := packet{decoded: decoded{src: a.addr, dst: b.addr, sport: a.port, dport: b.port, proto: proto, v6: a.addr.netip().Is6()}}
	k, _ := keyOf(&p, via)
	return e.flows.look(&k, e.flows.index.hash(&k))
}

// waited reports whether the capture went on long enough after a time that an answer
// would have come.
func (e *Engine) waited(since int64) bool { return e.latest-since >= answerWithin }

// answerWithin is how long an answer may take before its absence means something, where the
// capture ends.
const answerWithin = int64(time.Second)

// failed counts a failure at its time.
func (e *Engine) failed(at int64) {
	if at != 0 {
		e.time.at(at).Failures++
	}
}
