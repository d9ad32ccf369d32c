package netlab

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/google/gopacket/layers"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"
)

// unreachable are scenes of servers that cannot be reached.
func unreachable() []*Scene {
	all := []*Scene{
		scene("closed-port", "nobody listens", "tcp-refused", []string{"tcp.flags.reset=1"}, func(l *Lab) {
			for range 3 {
				l.connects(l.Server.Addr(5432), syscall.ECONNREFUSED)
			}
		}),
		scene("closed-port-ipv6", "nobody listens, over IPv6", "tcp-refused", []string{"tcp.flags.reset=1"}, func(l *Lab) {
			l.IPv6()
			l.connects(l.Server.Addr6(5432), syscall.ECONNREFUSED)
		}),
		scene("closed-port-among-others", "one of several ports is closed", "tcp-refused", []string{"tcp.flags.reset=1"}, func(l *Lab) {
			l.Server.Listen(l.Server.Addr(7), echoes)
			for range 5 {
				c := l.Client.Dial(l.Server.Addr(7))
				l.talk(c, 2, 100)
				l.check(c.Close())
			}
			l.AwaitEnd(5)
			l.connects(l.Server.Addr(5432), syscall.ECONNREFUSED)
		}),
		scene("firewall-drops", "a firewall drops the SYNs", "tcp-syn-unanswered", []string{"tcp.analysis.retransmission"}, func(l *Lab) {
			l.Server.firewall("tcp dport 5432 drop")
			l.Client.failsToDial(l.Server.Addr(5432), 2500*time.Millisecond)
		}),
		scene("firewall-drops-three-clients", "a firewall drops the SYNs of three connections", "tcp-syn-unanswered", []string{"tcp.analysis.retransmission"}, func(l *Lab) {
			l.Server.firewall("tcp dport 5432 drop")
			for range 3 {
				l.Client.failsToDial(l.Server.Addr(5432), 1300*time.Millisecond)
			}
		}),
		scene("firewall-drops-ipv6", "a firewall drops the SYNs, over IPv6", "tcp-syn-unanswered", []string{"tcp.analysis.retransmission"}, func(l *Lab) {
			l.IPv6()
			l.Server.firewall("tcp dport 5432 drop")
			l.Client.failsToDial(l.Server.Addr6(5432), 2500*time.Millisecond)
		}),
		scene("firewall-drops-at-the-server", "a firewall of the server drops the SYNs that arrive there", "tcp-syn-unanswered", []string{"tcp.analysis.retransmission"}, func(l *Lab) {
			l.Record(Recording{At: Right})
			l.Server.firewall("tcp dport 5432 drop")
			l.Client.failsToDial(l.Server.Addr(5432), 2500*time.Millisecond)
		}),
		scene("accept-queue-full", "a server does not accept, so that its queue is full after two connections", "tcp-syn-unanswered", []string{"tcp.analysis.retransmission", "tcp.analysis.initial_rtt"}, func(l *Lab) {
			l.Server.listenOnly(l.Server.Addr(5432), 1)
			for range 2 {
				l.Client.Dial(l.Server.Addr(5432))
			}
			l.Client.failsToDial(l.Server.Addr(5432), 2500*time.Millisecond)
		}),
		scene("firewall-drops-answers", "the SYN/ACKs do not come back, as the server sees it", "tcp-half-open", []string{"tcp.analysis.retransmission"}, func(l *Lab) {
			l.Record(Recording{At: Right})
			l.Server.Listen(l.Server.Addr(5432), echoes)
			l.Wire.Apply(Where(And(From(Right), IsTCP), Drop))
			l.Client.failsToDial(l.Server.Addr(5432), 2500*time.Millisecond)
		}),
		scene("reject-tcp-reset", "a firewall answers with a RST", "tcp-refused", []string{"tcp.flags.reset=1"}, func(l *Lab) {
			l.Server.firewall("tcp dport 5432 reject with tcp reset")
			l.connects(l.Server.Addr(5432), syscall.ECONNREFUSED)
		}),
		scene("udp-closed-port", "nobody listens on a UDP port", "icmp-port-unreachable", []string{"icmp.type=3", "icmp.code=3"}, func(l *Lab) {
			c := l.Client.Packets(l.Client.Addr(9001))
			for i := range 3 {
				_, err := c.WriteToUDPAddrPort(payload(100), l.Server.Addr(9000))
				l.check(err)
				l.AwaitArrival(i+1, Layer(layers.LayerTypeICMPv4))
			}
		}),
		scene("host-down", "no host has the address: no answer to ARP", "arp-no-reply", []string{"arp.opcode=1", "!arp.opcode=2"}, func(l *Lab) {
			l.connects(netip.MustParseAddrPort("10.1.0.9:5432"), syscall.EHOSTUNREACH)
		}),
		scene("host-down-ipv6", "no host has the address: no answer to neighbour solicitations", "ndp-no-reply", []string{"icmpv6.type=135", "!icmpv6.type=136"}, func(l *Lab) {
			l.IPv6()
			l.Client.failsToDial(netip.MustParseAddrPort("[fd00:1::9]:5432"), 3500*time.Millisecond)
			l.Await(3, Layer(layers.LayerTypeICMPv6NeighborSolicitation))
		}),
		scene("host-down-behind-a-router", "a router finds no host, and says so", "icmp-host-unreachable", []string{"icmp.type=3", "icmp.code=1"}, func(l *Lab) {
			l.Server.batch("link add br9 type bridge", "link set br9 up") // nobody is there
			l.routed("10.9.0.0/24 dev br9")
			l.connects(netip.MustParseAddrPort("10.9.0.9:5432"), syscall.EHOSTUNREACH)
		}),
		scene("no-route", "a router has no route", "icmp-host-unreachable", []string{"icmp.type=3", "icmp.code=1"}, func(l *Lab) {
			l.routed("unreachable 10.9.0.0/24")
			l.connects(netip.MustParseAddrPort("10.9.0.9:5432"), syscall.EHOSTUNREACH)
		}),
		scene("prohibited-by-a-router", "a router is not to forward it", "icmp-prohibited", []string{"icmp.type=3", "icmp.code=13"}, func(l *Lab) {
			l.routed("prohibit 10.9.0.0/24")
			l.connects(netip.MustParseAddrPort("10.9.0.9:5432"), syscall.EHOSTUNREACH)
		}),
		scene("time-to-live-exceeded", "a packet may pass no router", "icmp-ttl-exceeded", []string{"icmp.type=11", "icmp.code=0"}, func(l *Lab) {
			l.routed("10.9.0.0/24 via 10.1.0.3 dev eth0")
			c := l.Client.Packets(l.Client.Addr(9001), timeToLive(1))
			_, err := c.WriteToUDPAddrPort(payload(100), netip.MustParseAddrPort("10.9.0.9:9000"))
			l.check(err)
			l.AwaitArrival(1, Layer(layers.LayerTypeICMPv4))
		}),
		scene("hop-limit-exceeded", "the same over IPv6", "icmp-ttl-exceeded", []string{"icmpv6.type=3", "icmpv6.code=0"}, func(l *Lab) {
			l.IPv6()
			l.Server.sysctl("ipv6/conf/all/forwarding", "1")
			l.Server.batch("route add fd00:9::/64 via fd00:1::3")
			l.Client.batch("route add fd00:9::/64 via " + l.Server.V6.String())
			c := l.Client.Packets(l.Client.Addr6(9001), integer(unix.IPPROTO_IPV6, unix.IPV6_UNICAST_HOPS, 1))
			_, err := c.WriteToUDPAddrPort(payload(100), netip.MustParseAddrPort("[fd00:9::9]:9000"))
			l.check(err)
			l.AwaitArrival(1, func(f *Frame) bool {
				icmp, _ := f.Decoded.Layer(layers.LayerTypeICMPv6).(*layers.ICMPv6)
				return icmp != nil && icmp.TypeCode.Type() == layers.ICMPv6TypeTimeExceeded
			})
		}),
		scene("redirected", "a router knows a better one", "icmp-redirect", []string{"icmp.type=5"}, func(l *Lab) {
			l.routed("10.9.0.0/24 via 10.1.0.3 dev eth0")
			l.Server.batch("neigh add 10.1.0.3 lladdr 02:00:00:00:00:03 dev eth0 nud permanent") // else it asks in vain
			l.Server.sysctl("ipv4/conf/all/send_redirects", "1")
			l.Server.sysctl("ipv4/conf/eth0/send_redirects", "1")
			c := l.Client.Packets(l.Client.Addr(9001))
			_, err := c.WriteToUDPAddrPort(payload(100), netip.MustParseAddrPort("10.9.0.9:9000"))
			l.check(err)
			l.AwaitArrival(1, func(f *Frame) bool {
				icmp, _ := f.Decoded.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
				return icmp != nil && icmp.TypeCode.Type() == layers.ICMPv4TypeRedirect
			})
		}),
		scene("fragments-incomplete", "of three fragments the second is lost", "fragments-incomplete", []string{"ip.flags.mf=1"}, func(l *Lab) {
			lostFragment(l)
			l.Await(3, isFragment)
			time.Sleep(1200 * time.Millisecond) // the time is what the scene shows
			l.marker()
		}),
		scene("fragments-timed-out", "of three fragments the second is lost, and the server says so", "fragments-incomplete", []string{"icmp.type=11", "icmp.code=1"}, func(l *Lab) {
			l.Server.sysctl("ipv4/ipfrag_time", "1")
			lostFragment(l)
			l.AwaitArrival(1, Layer(layers.LayerTypeICMPv4))
		}),
		scene("two-macs", "a second host answers for the server's address", "address-two-macs", []string{"arp.opcode=2"}, func(l *Lab) {
			l.Wire.Apply(Where(func(f *Frame) bool {
				arp, _ := f.Decoded.Layer(layers.LayerTypeARP).(*layers.ARP)
				return arp != nil && arp.Operation == layers.ARPRequest && f.From == Left
			}, func(_ *Frame, _ time.Time, fate *Fate) {
				fate.Replies = append(fate.Replies, arpReply(l.Server.V4, net.HardwareAddr{2, 0, 0, 0, 0, 0x66}, l.Client))
			}))
			l.Neighbours()
			l.Client.batch("neigh flush dev eth0", "neigh del "+l.Server.V4.String()+" dev eth0")
			c := l.Client.Packets(l.Client.Addr(9001))
			_, err := c.WriteToUDPAddrPort(payload(100), l.Server.Addr(9000))
			l.check(err)
			l.AwaitArrival(2, func(f *Frame) bool {
				arp, _ := f.Decoded.Layer(layers.LayerTypeARP).(*layers.ARP)
				return arp != nil && arp.Operation == layers.ARPReply && f.From == Right
			})
		}),
		scene("dhcp-unanswered", "a client that no DHCP server offers anything", "dhcp-no-answer", []string{"dhcp.option.dhcp=1", "!dhcp.option.dhcp=2"}, func(l *Lab) {
			for i := range 3 {
				l.dhcp(i+1, layers.DHCPMsgTypeDiscover, l.Client, 99)
			}
			l.marker()
		}),
	}
	for _, r := range []struct {
		with       string
		ipv6       bool
		kind, code int
		first      string
	}{
		{"icmp type net-unreachable", false, 3, 0, "icmp-net-unreachable"}, {"icmp type host-unreachable", false, 3, 1, "icmp-host-unreachable"},
		{"icmp type prot-unreachable", false, 3, 2, "icmp-protocol-unreachable"},
		{"icmp type port-unreachable", false, 3, 3, "icmp-port-unreachable"}, {"icmp type net-prohibited", false, 3, 9, "icmp-prohibited"},
		{"icmp type host-prohibited", false, 3, 10, "icmp-prohibited"},
		{"icmp type admin-prohibited", false, 3, 13, "icmp-prohibited"},
		{"icmpv6 type no-route", true, 1, 0, "icmp-net-unreachable"}, {"icmpv6 type admin-prohibited", true, 1, 1, "icmp-prohibited"},
		{"icmpv6 type addr-unreachable", true, 1, 3, "icmp-host-unreachable"},
		{"icmpv6 type port-unreachable", true, 1, 4, "icmp-port-unreachable"}, {"icmpv6 type policy-fail", true, 1, 5, "icmp-prohibited"},
		{"icmpv6 type reject-route", true, 1, 6, "icmp-prohibited"},
	} {
		name := strings.ReplaceAll(strings.Replace(r.with, " type ", "-", 1), " ", "-")
		protocol := "icmp"
		if r.ipv6 {
			protocol = "icmpv6"
		}
		all = append(all, scene("reject-"+name, "a firewall answers the SYN with "+r.with, r.first,
			[]string{fmt.Sprintf("%s.type=%d", protocol, r.kind), fmt.Sprintf("%s.code=%d", protocol, r.code)}, func(l *Lab) {
				to := l.Server.Addr(5432)
				if r.ipv6 {
					l.IPv6()
					to = l.Server.Addr6(5432)
				}
				l.Server.firewall("tcp dport 5432 reject with " + r.with)
				l.connects(to, syscall.ECONNREFUSED, syscall.EHOSTUNREACH, syscall.ENETUNREACH, syscall.ENOPROTOOPT, syscall.EACCES)
			}))
	}
	return all
}

// routed makes the server a router with a route, and the client's way to it.
func (l *Lab) routed(route string) {
	l.Helper()
	l.Server.sysctl("ipv4/ip_forward", "1")
	l.Server.batch("route add " + route)
	l.Client.batch("route add 10.9.0.0/24 via " + l.Server.V4.String())
}

func isFragment(f *Frame) bool {
	ip, _ := f.Decoded.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	return ip != nil && (ip.Flags&layers.IPv4MoreFragments != 0 || ip.FragOffset > 0)
}

func lostFragment(l *Lab) {
	l.Record(Recording{At: Right})
	l.Wire.Apply(Where(isFragment, Nth(Drop, 2)))
	l.Server.Packets(l.Server.Addr(9000))
	_, err := l.Client.Packets(l.Client.Addr(9001)).WriteToUDPAddrPort(payload(4000), l.Server.Addr(9000))
	l.check(err)
}

// names are scenes of a DNS server that is in trouble.
func names() []*Scene {
	ask := func(answered int, answer func(q dnsmessage.Question) *dnsmessage.Message) func(l *Lab) {
		return func(l *Lab) {
			l.Server.dnsServer(l.Server.Addr(53), answer)
			timeout := 20 * time.Second
			if answered == 0 {
				timeout = 400 * time.Millisecond
			}
			if got := l.Client.ask(l.Server.Addr(53), 2, timeout, "www.example.com.", "db.example.com.", "www.example.com."); got != answered {
				l.Fatalf("%d queries were answered, want %d", got, answered)
			}
			if answered == 0 {
				l.marker()
			}
		}
	}
	return []*Scene{
		scene("dns-silent", "the DNS server does not answer", "dns-no-answer", []string{"dns.retransmit_request=1"}, ask(0, func(dnsmessage.Question) *dnsmessage.Message { return nil })),
		scene("dns-firewalled", "a firewall drops the queries", "dns-no-answer", []string{"!dns.flags.response=1"}, func(l *Lab) {
			l.Server.firewall("udp dport 53 drop")
			if l.Client.ask(l.Server.Addr(53), 2, 500*time.Millisecond, "www.example.com.") != 0 {
				l.Fatal("the query was answered")
			}
			l.marker()
		}),
		scene("dns-one-lost", "one answer is lost, and the query is asked again", "", []string{"dns.flags.rcode=0"}, func(l *Lab) {
			l.Wire.Apply(Where(And(From(Right), isPort(53)), Nth(Drop, 2)))
			l.Server.dnsServer(l.Server.Addr(53), found)
			if l.Client.ask(l.Server.Addr(53), 10, 2*time.Second, "a.example.com.", "b.example.com.", "c.example.com.") != 3 {
				l.Fatal("not all queries were answered")
			}
		}),
		scene("dns-nxdomain", "the names do not exist", "dns-nxdomain", []string{"dns.flags.rcode=3"}, ask(3, fails(dnsmessage.RCodeNameError))),
		scene("dns-servfail", "the DNS server fails", "dns-servfail", []string{"dns.flags.rcode=2"}, ask(3, fails(dnsmessage.RCodeServerFailure))),
		scene("dns-refused", "the DNS server refuses", "dns-refused", []string{"dns.flags.rcode=5"}, ask(3, fails(dnsmessage.RCodeRefused))),
		scene("dns-not-implemented", "the DNS server does not know how", "dns-error", []string{"dns.flags.rcode=4"}, ask(3, fails(dnsmessage.RCodeNotImplemented))),
		scene("dns-slow", "answers take 1.5 seconds", "dns-slow", []string{"dns.flags.rcode=0"}, ask(3, func(q dnsmessage.Question) *dnsmessage.Message {
			time.Sleep(1500 * time.Millisecond) // the time is what the scene shows
			return found(q)
		})),
		scene("dns-closed-port", "no DNS server runs there", "icmp-port-unreachable", []string{"icmp.type=3", "icmp.code=3"}, func(l *Lab) {
			if l.Client.ask(l.Server.Addr(53), 2, 300*time.Millisecond, "www.example.com.") != 0 {
				l.Fatal("the query was answered")
			}
		}),
		scene("dns-then-closed-port", "the name is found, and its port is closed", "tcp-refused", []string{"tcp.flags.reset=1", "dns.flags.rcode=0"}, func(l *Lab) {
			l.Server.dnsServer(l.Server.Addr(53), found)
			l.ask8(1)
			l.connects(l.Server.Addr(5432), syscall.ECONNREFUSED)
		}),
	}
}

// applications are scenes of TLS and HTTP that fail.
func applications() []*Scene {
	handshake := func(l *Lab, server, client *tls.Config) {
		l.Helper()
		l.Server.Listen(l.Server.Addr(443), func(c *net.TCPConn) {
			s := tls.Server(c, server)
			_ = s.HandshakeContext(l.ctx)
			_ = s.Close()
		})
		c := l.Client.Dial(l.Server.Addr(443))
		if err := tls.Client(c, client).HandshakeContext(l.ctx); err == nil {
			l.Fatal("the handshake did not fail")
		}
		l.check(c.Close())
		l.AwaitEnd(1)
	}
	statuses := func(codes ...int) func(l *Lab) {
		return func(l *Lab) {
			var next atomic.Int32
			l.Server.ServeHTTP(l.Server.Addr(8080), func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(codes[int(next.Add(1)-1)])
				_, _ = w.Write(payload(100))
			}, nil)
			c := l.Client.HTTPClient(l.Server.Addr(8080), nil)
			for i, code := range codes {
				if got := l.get(c, fmt.Sprintf("http://shop.example.com:8080/item/%d", i)); got != code {
					l.Fatalf("status %d, want %d", got, code)
				}
			}
			c.CloseIdleConnections()
			l.AwaitEnd(1)
		}
	}
	return []*Scene{
		scene("tls-version", "the server wants TLS 1.3, the client knows 1.2", "tls-alert", []string{"tls.alert_message.desc=70"}, func(l *Lab) {
			server, client := secureServer(), secureClient()
			server.MinVersion, client.MaxVersion = tls.VersionTLS13, tls.VersionTLS12
			handshake(l, server, client)
		}),
		scene("tls-bad-certificate", "the client does not trust the certificate, in TLS 1.2", "tls-alert", []string{"tls.alert_message.desc=42"}, func(l *Lab) {
			client := secureClient()
			client.RootCAs, client.MaxVersion = nil, tls.VersionTLS12
			handshake(l, secureServer(), client)
		}),
		scene("tls-no-common-cipher", "client and server have no cipher suite in common", "tls-alert", []string{"tls.alert_message.desc=40"}, func(l *Lab) {
			server, client := secureServer(), secureClient()
			server.MaxVersion, client.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
			server.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}
			client.CipherSuites = []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}
			handshake(l, server, client)
		}),
		scene("no-reply", "the server acknowledges a request, and the program behind it does nothing", "tcp-no-reply", []string{"tcp.len=100", "!tcp.analysis.retransmission"}, func(l *Lab) {
			l.Server.Listen(l.Server.Addr(5432), silent)
			c := l.Client.Dial(l.Server.Addr(5432))
			_, err := c.Write(payload(100))
			l.check(err)
			l.check(c.SetReadDeadline(time.Now().Add(1500 * time.Millisecond)))
			if n, err := c.Read(make([]byte, 1)); err == nil {
				l.Fatalf("a reply of %d bytes", n)
			}
			l.check(c.Close())
			l.marker()
		}),
		scene("tls-unanswered", "the server accepts the connection, and does not answer the ClientHello", "tls-no-answer", []string{"tls.handshake.type=1", "!tls.handshake.type=2"}, func(l *Lab) {
			l.Server.Listen(l.Server.Addr(443), silent)
			c := l.Client.Dial(l.Server.Addr(443))
			l.check(c.SetDeadline(time.Now().Add(1500 * time.Millisecond)))
			if err := tls.Client(c, secureClient()).HandshakeContext(l.ctx); err == nil {
				l.Fatal("the handshake did not fail")
			}
			l.marker()
		}),
		scene("tls-closed", "the server closes the connection after the ClientHello", "tls-no-answer", []string{"tls.handshake.type=1", "!tls.handshake.type=2"}, func(l *Lab) {
			l.Server.Listen(l.Server.Addr(443), func(c *net.TCPConn) {
				_, _ = io.ReadAtLeast(c, make([]byte, 4000), 5)
				_ = c.Close()
			})
			c := l.Client.Dial(l.Server.Addr(443))
			if err := tls.Client(c, secureClient()).HandshakeContext(l.ctx); err == nil {
				l.Fatal("the handshake did not fail")
			}
			l.check(c.Close())
			l.AwaitEnd(1)
		}),
		scene("tls-reset", "the server resets after the ClientHello", "tcp-reset", []string{"tls.handshake.type=1", "tcp.flags.reset=1"}, func(l *Lab) {
			l.Server.Listen(l.Server.Addr(443), func(c *net.TCPConn) {
				_, _ = io.ReadAtLeast(c, make([]byte, 4000), 5)
				_ = c.SetLinger(0)
				_ = c.Close()
			})
			c := l.Client.Dial(l.Server.Addr(443))
			if err := tls.Client(c, secureClient()).HandshakeContext(l.ctx); err == nil {
				l.Fatal("the handshake did not fail")
			}
			l.AwaitArrival(1, And(From(Right), RST))
		}),
		scene("http-not-found", "most requests are answered with 404", "http-4xx", []string{"http.response.code=404"}, statuses(200, 404, 404, 404)),
		scene("http-unavailable", "most requests are answered with 503", "http-5xx", []string{"http.response.code=503"}, statuses(200, 503, 503, 500)),
	}
}
