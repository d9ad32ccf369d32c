package inspect

import "encoding/binary"

const (
	portDNS   = 53
	portMDNS  = 5353
	portLLMNR = 5355
)

// Response codes: RFC 1035, 4.1.1.
const (
	rcodeServFail = 2
	rcodeNXDomain = 3
	rcodeRefused  = 5
)

// dnsMessage is what is taken of a message.
type dnsMessage struct {
	id        uint16
	response  bool
	opcode    uint8
	rcode     uint8
	truncated bool
	name      []byte // of the first question, in lower case; in the buffer that was handed in
	qtype     uint16
	questions uint16
}

// parseDNS reads the header and the first question of a message. The name is put into buf.
// It is false for what is not a valid message as far as that.
func parseDNS(b, buf []byte) (m dnsMessage, ok bool) {
	const header = 12
	if len(b) < header {
		return m, false
	}
	m.id = binary.BigEndian.Uint16(b)
	m.response, m.opcode, m.truncated = b[2]&0x80 != 0, b[2]>>3&15, b[2]&2 != 0
	m.rcode = b[3] & 15
	m.questions = binary.BigEndian.Uint16(b[4:])
	if m.questions == 0 {
		return m, m.response // a FORMERR may have none
	}
	name := buf[:0]
	for b = b[header:]; ; {
		if len(b) == 0 {
			return m, false
		}
		n := int(b[0])
		b = b[1:]
		if n == 0 {
			break
		}
		// Compression has nothing to point to in the first question.
		if n > 63 || n > len(b) || len(name)+n+1 > maxName {
			return m, false
		}
		if len(name) > 0 {
			name = append(name, '.')
		}
		for _, c := range b[:n] {
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			name = append(name, c)
		}
		b = b[n:]
	}
	if len(b) < 4 {
		return m, false
	}
	if len(name) == 0 {
		name = append(name, '.')
	}
	m.name, m.qtype = name, binary.BigEndian.Uint16(b)
	return m, true
}

// dnsKey is what a query and its answer have in common.
type dnsKey struct {
	client, server endpoint
	via            uint32
	id             uint16
	qtype          uint16
	name           uint32 // of the table of names; 0 when that is full
	tcp            bool
}

// dnsPending is a query that waits for its answer.
type dnsPending struct {
	first, last sighting
	order       uint64 // in which the queries came
}

// Bounds of the tables of DNS.
const (
	maxPending    = 32768
	maxDNSNames   = 8192
	maxDNSServers = 1024
)

// dnsGroup counts what came of the queries of one server or for one name.
type dnsGroup struct {
	queries, answers, silence, nx, servfail, refused, other uint64
	latency                                                 histogram
}

// dnsTable matches answers with queries.
type dnsTable struct {
	DNS
	pending map[dnsKey]dnsPending
	queue   []dnsKey // in the order of the queries; those answered are still in it
	head    int
	order   uint64
	orders  []uint64 // beside queue
	latency histogram
	names   names
	byName  map[uint32]*dnsGroup
	servers map[endpoint]*dnsGroup
	buf     [maxName + 1]byte
}

func newDNSTable() dnsTable {
	return dnsTable{
		pending: make(map[dnsKey]dnsPending), names: newNames(maxDNSNames),
		byName: make(map[uint32]*dnsGroup), servers: make(map[endpoint]*dnsGroup),
	}
}

// groups are where a query is counted; either may be nil when its table is full.
func (t *dnsTable) groups(k *dnsKey, lost *uint64) (server, name *dnsGroup) {
	if server = t.servers[k.server]; server == nil {
		if len(t.servers) < maxDNSServers {
			server = &dnsGroup{}
			t.servers[k.server] = server
		} else {
			*lost++
		}
	}
	if k.name != 0 {
		if name = t.byName[k.name]; name == nil {
			name = &dnsGroup{}
			t.byName[k.name] = name
		}
	}
	return server, name
}

// dnsMessage looks at a message of DNS, over UDP, or over TCP behind its length.
func (e *Engine) dnsMessage(p *packet, b []byte, via uint32, tcp bool) Marks {
	t := &e.dns
	t.Packets++
	m, ok := parseDNS(b, t.buf[:])
	if !ok {
		if !p.cut {
			t.Malformed++
		}
		return 0
	}
	if m.opcode != 0 { // updates and notifications
		return 0
	}
	src, dst := endpoint{p.src, p.sport}, endpoint{p.dst, p.dport}
	if !m.response {
		return e.dnsQuery(p, dnsKey{client: src, server: dst, via: via, id: m.id, qtype: m.qtype, name: t.names.of(m.name), tcp: tcp})
	}
	k := dnsKey{client: dst, server: src, via: via, id: m.id, tcp: tcp}
	if m.questions > 0 {
		k.qtype, k.name = m.qtype, t.names.of(m.name)
	}
	return e.dnsAnswer(p, &m, k)
}

func (e *Engine) dnsQuery(p *packet, k dnsKey) Marks {
	t := &e.dns
	here := sighting{p.at, p.number}
	if q, ok := t.pending[k]; ok {
		t.Repeated++
		q.last = here
		t.pending[k] = q
		return DNSQuery
	}
	t.Queries++
	server, name := t.groups(&k, &e.dropped.dnsServers)
	if server != nil {
		server.queries++
	}
	if name != nil {
		name.queries++
	}
	if len(t.pending) >= maxPending {
		e.dnsOldest()
	}
	t.order++
	t.pending[k] = dnsPending{first: here, last: here, order: t.order}
	t.queue, t.orders = append(t.queue, k), append(t.orders, t.order)
	if t.head > maxPending { // what was answered is let go
		n := copy(t.queue, t.queue[t.head:])
		copy(t.orders, t.orders[t.head:])
		t.queue, t.orders, t.head = t.queue[:n], t.orders[:n], 0
	}
	// The ones at the front that were answered.
	for t.head < len(t.queue) {
		if q, ok := t.pending[t.queue[t.head]]; ok && q.order == t.orders[t.head] {
			break
		}
		t.head++
	}
	if len(t.queue)-t.head > 2*maxPending {
		e.dnsOldest()
	}
	return DNSQuery
}

// dnsOldest gives up the query that waits longest.
func (e *Engine) dnsOldest() {
	t := &e.dns
	for t.head < len(t.queue) {
		k, order := t.queue[t.head], t.orders[t.head]
		t.head++
		if q, ok := t.pending[k]; ok && q.order == order {
			e.dnsSilent(&k, q)
			delete(t.pending, k)
			return
		}
	}
}

// dnsSilent is a query that had no answer.
func (e *Engine) dnsSilent(k *dnsKey, q dnsPending) {
	t := &e.dns
	t.Unanswered++
	server, name := t.groups(k, &e.dropped.dnsServers)
	if server != nil {
		server.silence++
	}
	if name != nil {
		name.silence++
	}
	if e.refusedByICMP(k) {
		return
	}
	r := e.problems.get(problemKey{kind: kindDNSSilent, at: k.server, via: k.via})
	r.count++
	r.seen(q.first, q.last)
	r.with(k.client.addr)
	r.name(t.names.text(k.name))
	e.failed(q.first.at)
}

// refusedByICMP reports whether an ICMP error came for the query: that is then the finding.
func (e *Engine) refusedByICMP(k *dnsKey) bool {
	proto := uint8(protoUDP)
	if k.tcp {
		proto = protoTCP
	}
	f := e.flowOf(k.client, k.server, proto, k.via)
	return f != nil && f.icmpError
}

func (e *Engine) dnsAnswer(p *packet, m *dnsMessage, k dnsKey) Marks {
	t := &e.dns
	q, ok := t.pending[k]
	marks := DNSAnswer
	if m.rcode != 0 {
		marks |= DNSError
	}
	if m.truncated {
		t.Truncated++
	}
	if !ok {
		t.Unasked++
		return marks
	}
	delete(t.pending, k)
	t.Answers++
	took := p.at - q.first.at
	server, name := t.groups(&k, &e.dropped.dnsServers)
	t.latency.add(took)
	here := sighting{p.at, p.number}
	for _, g := range [2]*dnsGroup{server, name} {
		if g == nil {
			continue
		}
		g.answers++
		g.latency.add(took)
		switch m.rcode {
		case 0:
		case rcodeNXDomain:
			g.nx++
		case rcodeServFail:
			g.servfail++
		case rcodeRefused:
			g.refused++
		default:
			g.other++
		}
	}
	var what kind
	var extra uint32
	switch m.rcode {
	case 0:
		return marks
	case rcodeNXDomain:
		t.NXDomain++
		what, extra = kindDNSNXDomain, 0
	case rcodeServFail:
		t.ServFail++
		what = kindDNSServFail
	case rcodeRefused:
		t.Refused++
		what = kindDNSRefused
	default:
		t.OtherError++
		what, extra = kindDNSOther, uint32(m.rcode)
	}
	r := e.problems.get(problemKey{kind: what, at: k.server, via: k.via, extra: extra})
	r.count++
	r.seen(here, here)
	r.with(k.client.addr)
	r.name(t.names.text(k.name))
	e.failed(p.at)
	return marks
}

// endDNS counts the queries that wait at the end.
func (e *Engine) endDNS() {
	t := &e.dns
	for ; t.head < len(t.queue); t.head++ {
		k := t.queue[t.head]
		q, ok := t.pending[k]
		if !ok || q.order != t.orders[t.head] {
			continue
		}
		delete(t.pending, k)
		// A query that was sent at the very end may have an answer that was not captured.
		if q.last.no != q.first.no || e.waited(q.last.at) {
			e.dnsSilent(&k, q)
		}
	}
	// A server that answers, but slowly.
	for at, g := range t.servers {
		if g.latency.count == 0 || g.latency.percentile(0.99) < slowDNS {
			continue
		}
		r := e.problems.get(problemKey{kind: kindDNSSlow, at: at})
		r.count, r.most, r.sum = g.answers, g.latency.percentile(0.99), g.latency.percentile(0.5)
	}
}

// slowDNS is the 99th percentile from which on a server is called slow: resolvers ask
// again after 5 s, and people notice a second.
const slowDNS = 1_000_000_000
