package inspect

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// kind is a kind of failure. Their order is that in which they are told within a severity:
// what explains others comes first.
type kind uint8

const (
	_ kind = iota
	kindDHCPSilent
	kindDHCPNAK
	kindARPSilent
	kindNDPSilent
	kindTwoMACs
	kindProhibited
	kindNetUnreachable
	kindHostUnreachable
	kindTTL
	kindPortUnreachable
	kindProtoUnreachable
	kindOtherUnreachable
	kindDNSSilent
	kindDNSServFail
	kindDNSRefused
	kindDNSOther
	kindBlackHole
	kindTooBig
	kindSYNSilent
	kindRefused
	kindHalfOpen
	kindTLSAlert
	kindTLSSilent
	kindDead
	kindReset
	kindHTTP5xx
	kindNoReply
	kindFragments
	kindReassembly
	kindDNSNXDomain
	kindDNSSlow
	kindHTTP4xx
	kindZeroWindow
	kindFINSilent
	kindRetransmissions
	kindOutOfOrder
	kindRedirect
	kinds
)

// about is what is the same of all findings of a kind.
type about struct {
	id            string
	severity      Severity
	unit          string
	meaning, next string
}

var abouts = [kinds]about{
	kindDHCPSilent:       {"dhcp-no-answer", Error, "request", "no DHCP server answers, so that the client has no address", "whether the server or its relay is up, and whether the VLAN is right"},
	kindDHCPNAK:          {"dhcp-nak", Error, "answer", "the DHCP server refuses the address that the client asks for", "the server's pool and reservations, and whether the client has moved to another network"},
	kindARPSilent:        {"arp-no-reply", Error, "request", "nobody on the link has this IPv4 address, or the answers do not come through", "whether the host is up, its address and netmask, and the VLAN"},
	kindNDPSilent:        {"ndp-no-reply", Error, "request", "nobody on the link has this IPv6 address, or the answers do not come through", "whether the host is up, its address and prefix length, and the VLAN"},
	kindTwoMACs:          {"address-two-macs", Warning, "change", "two network cards claim one address: a duplicate address, a failover, or somebody in between", "which host each MAC belongs to"},
	kindProhibited:       {"icmp-prohibited", Error, "packet", "a firewall rejects these packets", "the rules of the device that sent the ICMP message"},
	kindNetUnreachable:   {"icmp-net-unreachable", Error, "packet", "a router has no route to the destination", "the routing table of the router that sent the ICMP message"},
	kindHostUnreachable:  {"icmp-host-unreachable", Error, "packet", "the last router does not find the host: it is off, or its address is wrong", "whether the host is up and answers ARP"},
	kindTTL:              {"icmp-ttl-exceeded", Warning, "packet", "packets went through too many routers: a routing loop, unless somebody ran traceroute", "the routes to the destination, with traceroute"},
	kindPortUnreachable:  {"icmp-port-unreachable", Error, "packet", "nothing listens at the port, or a firewall rejects", "whether the service runs and at which address and port it listens"},
	kindProtoUnreachable: {"icmp-protocol-unreachable", Error, "packet", "the host does not speak the protocol", "what was meant to be sent there"},
	kindOtherUnreachable: {"icmp-unreachable", Error, "packet", "the destination cannot be reached", "the code of the ICMP message, and the device that sent it"},
	kindDNSSilent:        {"dns-no-answer", Error, "query", "the DNS server is down or cannot be reached, or a firewall drops", "whether the server's address is right (resolv.conf), and whether it answers `dig @server`"},
	kindDNSServFail:      {"dns-servfail", Error, "answer", "the DNS server could not find out: its own upstream fails, or DNSSEC does", "the log of the DNS server, and the servers that it forwards to"},
	kindDNSRefused:       {"dns-refused", Error, "answer", "the DNS server does not serve this client or zone", "the server's access rules, and whether it is the right server"},
	kindDNSOther:         {"dns-error", Error, "answer", "the DNS server answers with an error", "the response code, and the log of the DNS server"},
	kindBlackHole: {"tcp-black-hole", Error, "connection", "large packets do not come through while small ones do: an MTU on the way is smaller, and the ICMP messages that say so are dropped",
		"the MTU along the path (tunnels, VPN), `ping -M do -s 1472`, and whether ICMP is let through; MSS clamping is a remedy"},
	kindTooBig: {"icmp-too-big", Warning, "packet", "a packet was larger than an MTU on the way; the sender should send smaller ones from then on",
		"whether the sender does: if the same sizes are sent again, it does not get the message"},
	kindSYNSilent: {"tcp-syn-unanswered", Error, "connection", "a firewall drops the packets, the host is down, or it has no route back", "firewall rules on both sides, whether the host is up, and the route back; capture at the server to see whether the SYNs arrive"},
	kindRefused:   {"tcp-refused", Error, "connection", "nothing listens at the port, or a firewall rejects", "whether the service runs and at which address and port it listens (`ss -ltn`)"},
	kindHalfOpen:  {"tcp-half-open", Error, "connection", "the server's SYN/ACK does not reach the client, or the client's ACK is lost: one way is broken", "asymmetric routes and stateful firewalls on the way; capture at the other end"},
	kindTLSAlert:  {"tls-alert", Error, "alert", "one end ended TLS with an error", "the certificate, its names and its chain, and the versions that both ends allow"},
	kindTLSSilent: {"tls-no-answer", Error, "connection", "the server accepts connections and does not answer TLS: it hangs, or does not speak TLS at this port", "the log and load of the server, and whether the port is one of TLS"},
	kindDead:      {"tcp-unacknowledged", Error, "connection", "the other end vanished in mid-connection, or a firewall has dropped the connection's state", "whether the host is up, and the idle timeout of firewalls and load balancers on the way"},
	kindReset:     {"tcp-reset", Error, "connection", "one end, or a device in between, aborted the connection: a crash, a timeout, or a full queue", "the log of the end that sent the RST; an idle time of whole minutes points to a timeout"},
	kindHTTP5xx:   {"http-5xx", Error, "response", "the server, or a proxy before it, failed", "the log of the server"},
	kindNoReply: {"tcp-no-reply", Warning, "connection", "the program at the server hangs or waits for something (a lock, another server); or its reply is lost on the way, as large packets are where an MTU is smaller. Protocols without replies, such as syslog, look the same",
		"the log and load of the server; a capture there: a reply that is sent again and again is lost on the way"},
	kindFragments:       {"fragments-incomplete", Warning, "packet", "fragments are lost or dropped, so that the whole packet is", "firewalls that drop fragments, and the MTU; smaller datagrams are a remedy"},
	kindReassembly:      {"icmp-reassembly-exceeded", Warning, "packet", "a host did not get all fragments of a packet", "firewalls that drop fragments, and the MTU"},
	kindDNSNXDomain:     {"dns-nxdomain", Warning, "answer", "the names do not exist: misspelt, or search domains that are tried one after the other", "the spelling of the names, and the search list (resolv.conf, ndots)"},
	kindDNSSlow:         {"dns-slow", Warning, "answer", "the DNS server takes long, so that everything that needs a name does", "the load of the server, and the servers that it forwards to"},
	kindHTTP4xx:         {"http-4xx", Warning, "response", "the server refuses the requests: rights, or addresses that do not exist", "the requests, and the log of the server"},
	kindZeroWindow:      {"tcp-zero-window", Warning, "packet", "the receiving program does not read fast enough, so that the sender has to wait", "what the receiving program does meanwhile: CPU, disk, locks"},
	kindRetransmissions: {"tcp-retransmissions", Warning, "packet", "packets are lost on the way, or their acknowledgements are late", "errors and drops of interfaces on the way, and congestion; which direction has them says where to look"},
	kindOutOfOrder:      {"tcp-out-of-order", Warning, "packet", "packets overtake each other: several paths or queues", "links that are bundled or balanced by packet, and the queues of the network card"},
	kindFINSilent:       {"tcp-fin-unanswered", Warning, "connection", "the other end was gone before the connection was closed", "whether the host is up, and the idle timeout of firewalls on the way"},
	kindRedirect:        {"icmp-redirect", Warning, "packet", "a router says that another router on the same link is nearer", "the routes of the host: its gateway is not the best"},
}

// finding is a problem as it is told.
func (e *Engine) finding(p *problem) Finding {
	a := &abouts[p.key.kind]
	f := Finding{
		ID: a.id, Severity: a.severity, Count: p.count, Unit: a.unit, More: p.more, Names: p.names,
		First: timeOf(p.first.at), Last: timeOf(p.last.at), FirstPacket: p.first.no, LastPacket: p.last.no,
		Meaning: a.meaning, Next: a.next,
	}
	server := p.key.at.String()
	f.Endpoints = []string{}
	if p.key.at != (endpoint{}) {
		f.Endpoints = append(f.Endpoints, server)
	}
	for _, other := range p.others[:p.otherCount] {
		if len(f.Endpoints) == maxEndpoints {
			f.More++
			continue
		}
		f.Endpoints = append(f.Endpoints, other.String())
	}
	f.Title, f.Values = e.title(p, server)
	if p.key.via != 0 {
		f.Title += " (in " + e.vias.describe(p.key.via) + ")"
	}
	f.DisplayFilter = p.displayFilter()
	switch p.key.kind {
	case kindPortUnreachable:
		if p.most == int64(p.count) { // answers of DNS that nobody waits for any more
			f.Severity = Warning
			f.Meaning, f.Next = "answers of DNS come to a client that waits for them no more", "how long the DNS server takes"
		}
	case kindTTL:
		if p.of == protoTCP {
			f.Severity = Error
		}
	case kindHTTP5xx, kindHTTP4xx, kindTLSAlert, kindReset:
	default:
	}
	return f
}

// few lists names for a title, at most three.
func few(names []string) string {
	const most = 3
	if len(names) == 0 {
		return ""
	}
	shown := names[:min(len(names), most)]
	quoted := make([]string, len(shown))
	for i, n := range shown {
		quoted[i] = visible(n)
	}
	text := strings.Join(quoted, ", ")
	if len(names) > most {
		text += " …"
	}
	return text
}

// withNames adds names to an endpoint.
func withNames(server string, names []string) string {
	names = tellingNames(server, names)
	if len(names) == 0 {
		return server
	}
	return server + " (" + few(names) + ")"
}

// tellingNames are the names without those that only repeat the endpoint: a client that was given
// an address as its URL writes that address as the Host.
func tellingNames(server string, names []string) []string {
	repeats := func(name string) bool {
		rest, ok := strings.CutPrefix(server, name)
		if !ok {
			rest, ok = strings.CutPrefix(server, "["+name+"]") // IPv6 without its port
		}
		return ok && (rest == "" || rest[0] == ':' || rest[0] == ' ')
	}
	return slices.DeleteFunc(slices.Clone(names), repeats)
}

func plural(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	if rest, ok := strings.CutSuffix(thing, "y"); ok {
		return fmt.Sprintf("%d %sies", n, rest)
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// duration is a time span for people.
func duration(ns int64) string {
	d := time.Duration(ns)
	switch {
	case d >= time.Minute:
		return d.Round(time.Second).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

type values = map[string]float64

// title says a problem in one line, with its numbers.
func (e *Engine) title(p *problem, server string) (string, values) {
	n := plural(p.count, abouts[p.key.kind].unit)
	at := withNames(server, p.names)
	side := "client"
	if p.of != 0 {
		side = "server"
	}
	switch p.key.kind {
	case kindSYNSilent:
		return fmt.Sprintf("%s does not answer SYNs: %s, %s over %s", at, n, plural(p.packets, "SYN"), duration(p.last.at-p.first.at)),
			values{"syns": float64(p.packets), "longestTrySeconds": seconds(p.most)}
	case kindRefused:
		return fmt.Sprintf("%s refuses connections: %s got a RST for the SYN", at, n), values{"syns": float64(p.packets)}
	case kindHalfOpen:
		return fmt.Sprintf("the handshake with %s is never completed: %s, %s", at, n, plural(p.packets, "SYN/ACK")), values{"synAcks": float64(p.packets)}
	case kindReset:
		side = "the client"
		if p.key.extra != 0 {
			side = "the server"
		}
		return fmt.Sprintf("%s reset %s with %s in mid-stream, after %s of payload on average and up to %s idle", side, n, at,
				plural(uint64(p.sum)/max(p.count, 1), "byte"), duration(p.most)),
			values{"payloadBytes": float64(p.sum), "longestIdleSeconds": seconds(p.most), "byServer": float64(p.key.extra)}
	case kindNoReply:
		return fmt.Sprintf("%s acknowledges requests but sends no reply: %s, waited up to %s", at, n, duration(p.most)),
			values{"longestWaitSeconds": seconds(p.most), "requestBytes": float64(p.sum)}
	case kindDead:
		what := "data of the %s is not acknowledged any more: %s with %s, sent again %d times over up to %s"
		if p.sum > 0 && uint64(p.sum) == p.packets {
			what = "keep-alives of the %s are not answered any more: %s with %s, %d of them over up to %s"
		}
		return fmt.Sprintf(what, side, n, at, p.packets, duration(p.most)),
			values{"retransmissions": float64(p.packets), "longestSeconds": seconds(p.most), "byServer": float64(p.of)}
	case kindBlackHole:
		passing := "none that long was"
		if p.sum > 0 {
			passing = fmt.Sprintf("up to %d bytes were", p.sum)
		}
		return fmt.Sprintf("large segments of the %s do not come through: %s with %s, up to %d bytes are never acknowledged, while %s", side, n, at, p.most, passing),
			values{"retransmissions": float64(p.packets), "lostBytes": float64(p.most), "passingBytes": float64(p.sum), "byServer": float64(p.of)}
	case kindFINSilent:
		return fmt.Sprintf("a FIN is never acknowledged: %s with %s", n, at), nil
	case kindRetransmissions:
		return fmt.Sprintf("%s of %d with data are retransmissions at %s (%.1f%%)", n, p.of, at, percent(p.count, p.of)), values{"of": float64(p.of), "percent": percent(p.count, p.of)}
	case kindOutOfOrder:
		return fmt.Sprintf("%s of %d with data came out of order at %s (%.1f%%)", n, p.of, at, percent(p.count, p.of)), values{"of": float64(p.of), "percent": percent(p.count, p.of)}
	case kindZeroWindow:
		who := "clients of " + at + " do not read fast enough: their"
		if p.of*2 > p.count {
			who = at + " does not read fast enough: its"
		}
		return fmt.Sprintf("%s window was closed for %s in all, told by %s", who, duration(p.sum), n), values{"closedSeconds": seconds(p.sum), "byServer": float64(p.of)}
	case kindDNSSilent:
		return fmt.Sprintf("the DNS server %s did not answer %s%s", server, n, forNames(p.names)), nil
	case kindDNSServFail:
		return fmt.Sprintf("the DNS server %s fails: %s SERVFAIL%s", server, n, forNames(p.names)), nil
	case kindDNSRefused:
		return fmt.Sprintf("the DNS server %s refuses: %s REFUSED%s", server, n, forNames(p.names)), nil
	case kindDNSOther:
		return fmt.Sprintf("the DNS server %s answers with an error: %s with response code %d%s", server, n, p.key.extra, forNames(p.names)), values{"rcode": float64(p.key.extra)}
	case kindDNSNXDomain:
		return fmt.Sprintf("names that do not exist: %s NXDOMAIN of %s%s", n, server, forNames(p.names)), nil
	case kindDNSSlow:
		return fmt.Sprintf("the DNS server %s is slow: half of %s took over %s, 1%% over %s", server, n, duration(p.sum), duration(p.most)), values{"p50Seconds": seconds(p.sum), "p99Seconds": seconds(p.most)}
	case kindTLSSilent:
		return fmt.Sprintf("%s does not answer the TLS ClientHello: %s", at, n), nil
	case kindTLSAlert:
		by := "clients"
		if p.of*2 > p.count {
			by = "the server"
		}
		return fmt.Sprintf("TLS with %s fails: %s %q (%d), sent by %s", at, n, alertText(uint8(p.key.extra)), p.key.extra, by), values{"code": float64(p.key.extra), "byServer": float64(p.of)}
	case kindHTTP5xx, kindHTTP4xx:
		return fmt.Sprintf("%s answers %s with HTTP %d", at, plural(p.count, "request"), p.key.extra), values{"status": float64(p.key.extra)}
	case kindARPSilent:
		return fmt.Sprintf("no ARP reply from %s: %s", server, n), nil
	case kindNDPSilent:
		return fmt.Sprintf("no neighbour advertisement from %s: %s", server, n), nil
	case kindTwoMACs:
		return fmt.Sprintf("%s is claimed by two MACs: %s, %s", server, p.text, n), nil
	case kindDHCPSilent:
		what := [...]string{"DISCOVER had no OFFER", "REQUEST had no ACK", "SOLICIT had no ADVERTISE", "REQUEST had no REPLY"}[p.key.extra&3]
		return fmt.Sprintf("no DHCP answer: %s of %s, a %s%s", n, plural(p.of, "exchange"), what, forNames(p.names)), values{"exchanges": float64(p.of)}
	case kindDHCPNAK:
		return fmt.Sprintf("the DHCP server %s refuses: %s NAK", p.key.at.addr, n), nil
	case kindFragments:
		return fmt.Sprintf("%s to %s never came with all fragments: %s did", n, server, plural(p.of, "fragment")), values{"fragments": float64(p.of)}
	case kindRedirect:
		return fmt.Sprintf("%s redirects: %s", server, n), nil
	case kindTooBig:
		return fmt.Sprintf("packets to %s are too large: %s says that the MTU is %d, %s", server, p.by, p.key.extra, n), values{"mtuBytes": float64(p.key.extra)}
	case kindProhibited, kindNetUnreachable, kindHostUnreachable, kindTTL, kindPortUnreachable, kindProtoUnreachable, kindOtherUnreachable, kindReassembly:
		return fmt.Sprintf("%s %s: %s of ICMP from %s (type %d, code %d)", server, icmpText(p.key.kind), n, p.by, p.key.extra>>8, p.key.extra&255),
			values{"type": float64(p.key.extra >> 8), "code": float64(p.key.extra & 255)}
	default:
		return n, nil
	}
}

func icmpText(k kind) string {
	switch k {
	case kindProhibited:
		return "is blocked by a firewall"
	case kindNetUnreachable:
		return "cannot be reached: no route to its network"
	case kindHostUnreachable:
		return "cannot be reached: its router does not find the host"
	case kindTTL:
		return "is not reached: packets go through too many routers"
	case kindPortUnreachable:
		return "cannot be reached: nothing at this port, or a firewall rejects"
	case kindProtoUnreachable:
		return "does not speak the protocol"
	case kindReassembly:
		return "did not get all fragments"
	default:
		return "cannot be reached"
	}
}

func forNames(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return ", for " + few(names)
}

func percent(n, of uint64) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of) * 100
}

// ip is a test of an address in the language of display filters: which is src, dst or addr.
func ip(which string, a addr) string {
	if a.netip().Is6() {
		return "ipv6." + which + "==" + a.String()
	}
	return "ip." + which + "==" + a.String()
}

func (p *problem) displayFilter() string {
	at := p.key.at
	v6 := at.addr.netip().Is6()
	both := fmt.Sprintf("%s && tcp.port==%d", ip("addr", at.addr), at.port)
	to := fmt.Sprintf("%s && tcp.dstport==%d", ip("dst", at.addr), at.port)
	from := fmt.Sprintf("%s && tcp.srcport==%d", ip("src", at.addr), at.port)
	switch p.key.kind {
	case kindSYNSilent:
		return "tcp.flags.syn==1 && tcp.completeness==1 && " + to
	case kindRefused:
		return "tcp.flags.reset==1 && !(tcp.completeness & 2) && " + from
	case kindHalfOpen:
		return "tcp.flags.syn==1 && tcp.completeness & 2 && !(tcp.completeness & 12) && " + both
	case kindReset:
		side := to
		if p.key.extra != 0 {
			side = from
		}
		return "tcp.flags.reset==1 && !(tcp.completeness & 16) && " + side
	case kindNoReply:
		return "tcp.len>0 && " + to
	case kindDead:
		return "(tcp.analysis.retransmission || tcp.analysis.keep_alive) && " + both
	case kindBlackHole:
		return fmt.Sprintf("(tcp.analysis.retransmission && tcp.len>=%d || tcp.analysis.lost_segment) && %s", blackHoleFrom, both)
	case kindFINSilent:
		return "tcp.flags.fin==1 && " + both
	case kindRetransmissions:
		return "(tcp.analysis.retransmission || tcp.analysis.out_of_order) && " + both
	case kindOutOfOrder:
		return "(tcp.analysis.out_of_order || tcp.analysis.retransmission) && " + both
	case kindZeroWindow:
		return "tcp.analysis.zero_window && " + both
	case kindDNSSilent:
		return "dns.flags.response==0 && !dns.response_in && " + ip("dst", at.addr)
	case kindDNSServFail:
		return "dns.flags.rcode==2 && " + ip("src", at.addr)
	case kindDNSRefused:
		return "dns.flags.rcode==5 && " + ip("src", at.addr)
	case kindDNSOther:
		return fmt.Sprintf("dns.flags.rcode==%d && %s", p.key.extra, ip("src", at.addr))
	case kindDNSNXDomain:
		return "dns.flags.rcode==3 && " + ip("src", at.addr)
	case kindDNSSlow:
		return "dns.time>=1 && " + ip("src", at.addr)
	case kindTLSSilent:
		return "tls.handshake.type==1 && " + to
	case kindTLSAlert:
		return fmt.Sprintf("tls.alert_message.desc==%d && %s", p.key.extra, both)
	case kindHTTP5xx, kindHTTP4xx:
		return fmt.Sprintf("http.response.code==%d && %s", p.key.extra, from)
	case kindARPSilent:
		return "arp.opcode==1 && arp.dst.proto_ipv4==" + at.addr.String()
	case kindNDPSilent:
		return "icmpv6.type==135 && icmpv6.nd.ns.target_address==" + at.addr.String()
	case kindTwoMACs:
		if v6 {
			return "icmpv6.nd.na.target_address==" + at.addr.String()
		}
		return "arp.src.proto_ipv4==" + at.addr.String()
	case kindDHCPSilent:
		return [...]string{"dhcp.option.dhcp==1", "dhcp.option.dhcp==3", "dhcpv6.msgtype==1", "dhcpv6.msgtype in {3,5,6}"}[p.key.extra&3]
	case kindDHCPNAK:
		return "dhcp.option.dhcp==6"
	case kindFragments:
		if v6 {
			return "ipv6.fraghdr && !ipv6.reassembled_in && " + ip("dst", at.addr)
		}
		return "(ip.flags.mf==1 || ip.frag_offset>0) && !ip.reassembled_in && " + ip("dst", at.addr)
	case kindRedirect:
		if v6 {
			return "icmpv6.type==137 && " + ip("src", at.addr)
		}
		return "icmp.type==5 && " + ip("src", at.addr)
	case kindTooBig:
		if v6 {
			return "icmpv6.type==2 && " + ip("dst", at.addr)
		}
		return "icmp.type==3 && icmp.code==4 && " + ip("dst", at.addr)
	case kindProhibited, kindNetUnreachable, kindHostUnreachable, kindTTL, kindPortUnreachable, kindProtoUnreachable, kindOtherUnreachable, kindReassembly:
		name := "icmp"
		if v6 {
			name = "icmpv6"
		}
		text := fmt.Sprintf("%s.type==%d && %s.code==%d && %s", name, p.key.extra>>8, name, p.key.extra&255, ip("dst", at.addr))
		if at.port != 0 {
			transport := "tcp"
			if p.of == protoUDP {
				transport = "udp"
			}
			text += fmt.Sprintf(" && %s.dstport==%d", transport, at.port)
		}
		return text
	default:
		return ""
	}
}

// maxFindings bounds how many failures are told.
const maxFindings = 200

// failures are the problems as findings, the cause before what follows from it: first by
// severity, then by kind, then by how often.
func (e *Engine) failures() (list []Finding, left int) {
	type told struct {
		f Finding
		k kind
	}
	all := make([]told, 0, len(e.problems.index))
	for _, p := range e.problems.index {
		all = append(all, told{e.finding(p), p.key.kind})
	}
	slices.SortFunc(all, func(a, b told) int {
		return cmp.Or(cmp.Compare(rank(a.f.Severity), rank(b.f.Severity)), cmp.Compare(a.k, b.k), cmp.Compare(b.f.Count, a.f.Count),
			cmp.Compare(a.f.FirstPacket, b.f.FirstPacket), cmp.Compare(a.f.Title, b.f.Title))
	})
	list = []Finding{}
	for _, t := range all[:min(len(all), maxFindings)] {
		list = append(list, t.f)
	}
	return list, len(all) - len(list)
}

func rank(s Severity) int {
	switch s {
	case Error:
		return 0
	case Warning:
		return 1
	case Note:
	}
	return 2
}
