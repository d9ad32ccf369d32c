package inspect

import (
	"cmp"
	"container/heap"
	"fmt"
	"slices"
)

// talkers is who talks; it is filled when flows end.
type talkers struct {
	others   map[uint16]*Count // by EtherType: what is not IP
	hosts    map[addr]*hostCount
	lost     uint64 // hosts without room
	top      topFlows
	proto    map[string]*Count
	services map[serviceName]*Count
}

type hostCount struct {
	sent, received, bytesSent, bytesReceived uint64
	lastSent                                 int64
}

// serviceName is a protocol and the server's port.
type serviceName struct {
	proto uint8
	port  uint16
}

// Bounds of the tables.
const (
	maxTalkers       = 65536
	maxEtherTypes    = 256
	maxServiceNames  = 4096
	maxConversations = 256
)

func newTalkers() talkers {
	return talkers{
		others: make(map[uint16]*Count), hosts: make(map[addr]*hostCount), proto: make(map[string]*Count),
		services: make(map[serviceName]*Count),
	}
}

// other counts a packet that is not IP.
func (t *talkers) other(p *packet) {
	k := p.etherType
	c := t.others[k]
	if c == nil {
		if len(t.others) == maxEtherTypes {
			k = 0
			c = t.others[0]
		}
		if c == nil {
			c = &Count{}
			t.others[k] = c
		}
	}
	c.Packets++
	c.Bytes += uint64(p.wire)
}

// etherName names what is not IP.
func etherName(etherType uint16) string {
	switch etherType {
	case 0:
		return "other link layers"
	case etherARP:
		return "ARP"
	case etherIPv4, etherIPv6:
		return "damaged IP"
	case 0x88cc:
		return "LLDP"
	case 0x8863:
		return "PPPoE discovery"
	case 0x888e:
		return "EAPOL"
	case 0x88a2:
		return "AoE"
	case 0x0842:
		return "Wake-on-LAN"
	case 0x88f7:
		return "PTP"
	case 0x8809:
		return "LACP"
	}
	if etherType < 0x600 {
		return "LLC (such as STP)"
	}
	return fmt.Sprintf("EtherType 0x%04x", etherType)
}

// protoName names a protocol over IP.
func protoName(proto uint8) string {
	switch proto {
	case protoICMP:
		return "ICMP"
	case 2:
		return "IGMP"
	case protoTCP:
		return "TCP"
	case protoUDP:
		return "UDP"
	case protoGRE:
		return "GRE"
	case 50:
		return "ESP"
	case 51:
		return "AH"
	case protoICMPv6:
		return "ICMPv6"
	case 89:
		return "OSPF"
	case 103:
		return "PIM"
	case 112:
		return "VRRP"
	case 132:
		return "SCTP"
	case 136:
		return "UDP-Lite"
	}
	return fmt.Sprintf("IP protocol %d", proto)
}

// inner names what a flow carries, as far as it is known.
func inner(f *flow, port uint16, c *connection) string {
	switch {
	case c != nil && c.app.kind == appTLS:
		return "TLS"
	case c != nil && c.app.kind == appHTTP:
		return "HTTP"
	case f.key.proto != protoTCP && f.key.proto != protoUDP:
	case port == portDNS:
		return "DNS"
	case f.key.proto == protoTCP:
	case port == portMDNS || f.key.loPort == portMDNS:
		return "mDNS"
	case port == portLLMNR:
		return "LLMNR"
	case port == portDHCPServer || port == portDHCPClient:
		return "DHCP"
	case port == portDHCP6Client || port == portDHCP6Server:
		return "DHCPv6"
	case port == 123:
		return "NTP"
	case port == 443:
		return "QUIC"
	}
	return protoName(f.key.proto)
}

// flow takes a flow that has ended.
func (t *talkers) flow(f *flow, server int, c *connection) {
	packets, bytes := f.packets[0]+f.packets[1], f.bytes[0]+f.bytes[1]
	for dir := range 2 {
		if f.packets[dir] == 0 {
			continue
		}
		if h := t.host(f.key.from(dir).addr); h != nil {
			h.sent += f.packets[dir]
			h.bytesSent += f.bytes[dir]
			h.lastSent = max(h.lastSent, f.lastFrom[dir])
		}
		if h := t.host(f.key.from(1 - dir).addr); h != nil {
			h.received += f.packets[dir]
			h.bytesReceived += f.bytes[dir]
		}
	}
	port := f.key.from(server).port
	add(t.proto, inner(f, port, c), packets, bytes)
	if port != 0 {
		k := serviceName{f.key.proto, port}
		if t.services[k] != nil || len(t.services) < maxServiceNames {
			add(t.services, k, packets, bytes)
		}
	}
	t.top.add(topFlow{key: f.key, client: 1 - server, packets: f.packets, bytes: f.bytes, first: f.first, last: f.last, proto: inner(f, port, c)})
}

func add[K comparable](m map[K]*Count, k K, packets, bytes uint64) {
	c := m[k]
	if c == nil {
		c = &Count{}
		m[k] = c
	}
	c.Packets += packets
	c.Bytes += bytes
}

func (t *talkers) host(a addr) *hostCount {
	h := t.hosts[a]
	if h == nil {
		if len(t.hosts) == maxTalkers {
			t.lost++
			return nil
		}
		h = &hostCount{}
		t.hosts[a] = h
	}
	return h
}

// topFlow is a flow of those with most bytes.
type topFlow struct {
	key            flowKey
	client         int // direction
	packets, bytes [2]uint64
	first, last    int64
	proto          string
}

func (f *topFlow) size() uint64 { return f.bytes[0] + f.bytes[1] }

// topFlows holds the flows with most bytes: a heap with the smallest on top.
type topFlows []topFlow

// Len implements heap.Interface.
func (t topFlows) Len() int { return len(t) }

// Less implements heap.Interface.
func (t topFlows) Less(i, j int) bool { return t[i].size() < t[j].size() }

// Swap implements heap.Interface.
func (t topFlows) Swap(i, j int) { t[i], t[j] = t[j], t[i] }

// Push implements heap.Interface.
func (t *topFlows) Push(x any) { *t = append(*t, x.(topFlow)) }

// Pop implements heap.Interface.
func (t *topFlows) Pop() any {
	n := len(*t) - 1
	x := (*t)[n]
	*t = (*t)[:n]
	return x
}

func (t *topFlows) add(f topFlow) {
	switch {
	case len(*t) < maxConversations:
		heap.Push(t, f)
	case (*t)[0].size() < f.size():
		(*t)[0] = f
		heap.Fix(t, 0)
	}
}

// sorted is the counts of a table by bytes, at most top of them.
func sorted[K comparable](m map[K]*Count, top int, name func(K) string) []Count {
	list := make([]Count, 0, len(m))
	for k, c := range m {
		if c.Packets > 0 {
			list = append(list, Count{Name: name(k), Packets: c.Packets, Bytes: c.Bytes})
		}
	}
	return firstCounts(list, top)
}

func firstCounts(list []Count, top int) []Count {
	slices.SortFunc(list, func(a, b Count) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), cmp.Compare(b.Packets, a.Packets), cmp.Compare(a.Name, b.Name))
	})
	return list[:min(len(list), top)]
}

// reportTalkers is who talks.
func (e *Engine) reportTalkers() Talkers {
	t, top := &e.talk, e.o.Top
	r := Talkers{HostCount: len(t.hosts), FlowCount: e.flowsAll, Hosts: []Host{}, Conversations: []Conversation{}}
	for k, c := range t.others {
		add(t.proto, etherName(k), c.Packets, c.Bytes)
	}
	r.Protocols = sorted(t.proto, top, func(k string) string { return k })
	r.Services = sorted(t.services, top, func(k serviceName) string { return fmt.Sprintf("%s %d", protoName(k.proto), k.port) })
	for a, h := range t.hosts {
		r.Hosts = append(r.Hosts, Host{Address: a.String(), PacketsSent: h.sent, BytesSent: h.bytesSent, PacketsReceived: h.received, BytesReceived: h.bytesReceived})
	}
	slices.SortFunc(r.Hosts, func(a, b Host) int {
		return cmp.Or(cmp.Compare(b.BytesSent+b.BytesReceived, a.BytesSent+a.BytesReceived), cmp.Compare(a.Address, b.Address))
	})
	r.Hosts = slices.Clip(r.Hosts[:min(len(r.Hosts), top)])
	flows := slices.Clone(t.top)
	slices.SortFunc(flows, func(a, b topFlow) int { return cmp.Or(cmp.Compare(b.size(), a.size()), cmp.Compare(a.first, b.first)) })
	for _, f := range flows[:min(len(flows), top)] {
		a, b := f.client, 1-f.client
		r.Conversations = append(r.Conversations, Conversation{
			Protocol: f.proto, A: f.key.from(a).String(), B: f.key.from(b).String(), Through: e.vias.describe(f.key.via),
			PacketsAB: f.packets[a], BytesAB: f.bytes[a], PacketsBA: f.packets[b], BytesBA: f.bytes[b], First: timeOf(f.first), Last: timeOf(f.last),
		})
	}
	vlans, tunnels := map[string]*Count{}, map[string]*Count{}
	for i, k := range e.vias.list {
		c := e.vias.count[i]
		for _, x := range k.encaps[:k.depth] {
			where := tunnels
			if x.kind == encapVLAN {
				where = vlans
			}
			add(where, x.describe(), c.Packets, c.Bytes)
		}
	}
	r.VLANs = sorted(vlans, top, func(k string) string { return k })
	r.Tunnels = sorted(tunnels, top, func(k string) string { return k })
	return r
}

// describe names a tag or tunnel.
func (x *encap) describe() string {
	switch x.kind {
	case encapVLAN:
		return fmt.Sprintf("VLAN %d", x.id)
	case encapMPLS, encapPPPoE:
		return x.kind.String()
	case encapIPIP:
		return fmt.Sprintf("%s %s - %s", x.kind, x.src, x.dst)
	case encapGRE, encapVXLAN, encapGeneve:
	}
	return fmt.Sprintf("%s %d %s - %s", x.kind, x.id, x.src, x.dst)
}
