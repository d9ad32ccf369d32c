package inspect_test

import (
	"net"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"pcapctl/capture/inspect"
)

const (
	clientIP = "10.0.0.1"
	serverIP = "10.0.0.2"
	routerIP = "10.0.0.254"
)

// query makes a DNS query or answer.
func dns(id uint16, name string, response bool, rcode layers.DNSResponseCode) []byte {
	m := &layers.DNS{ID: id, QR: response, RD: true, ResponseCode: rcode, QDCount: 1, Questions: []layers.DNSQuestion{{Name: []byte(name), Type: layers.DNSTypeA, Class: layers.DNSClassIN}}}
	b := gopacket.NewSerializeBuffer()
	if err := m.SerializeTo(b, gopacket.SerializeOptions{FixLengths: true}); err != nil {
		panic(err)
	}
	return slices.Clone(b.Bytes())
}

// clientHello makes a ClientHello in its record.
func clientHello(name string) []byte {
	sni := append([]byte{0, 0, byte((len(name) + 5) >> 8), byte(len(name) + 5), byte((len(name) + 3) >> 8), byte(len(name) + 3), 0, byte(len(name) >> 8), byte(len(name))}, name...)
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0, 0, 2, 0x13, 0x01, 1, 0)
	body = append(body, byte(len(sni)>>8), byte(len(sni)))
	body = append(body, sni...)
	return record(1, body)
}

func serverHello() []byte {
	body := append([]byte{3, 3}, make([]byte, 32)...)
	body = append(body, 0, 0x13, 0x01, 0, 0, 6, 0, 43, 0, 2, 3, 4)
	return record(2, body)
}

func record(kind byte, body []byte) []byte {
	n := len(body)
	hand := append([]byte{kind, 0, byte(n >> 8), byte(n)}, body...)
	return append([]byte{22, 3, 1, byte(len(hand) >> 8), byte(len(hand))}, hand...)
}

// arp makes a request (1) or reply (2).
func (s *scene) arp(op uint16, from net.HardwareAddr, sender, target string) {
	s.add(s.frame(&layers.Ethernet{SrcMAC: from, DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeARP}, &layers.ARP{
		AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: op,
		SourceHwAddress: from, SourceProtAddress: net.ParseIP(sender).To4(), DstHwAddress: make([]byte, 6), DstProtAddress: net.ParseIP(target).To4(),
	}))
}

// icmp sends an ICMP error that quotes the last packet.
func (s *scene) icmp(from, to string, typeCode layers.ICMPv4TypeCode, mtu uint16) {
	last := s.packets[len(s.packets)-1].Data[14:]
	e, i := s.ip(from, to, layers.IPProtocolICMPv4)
	s.add(s.frame(e, i, &layers.ICMPv4{TypeCode: typeCode, Seq: mtu}, gopacket.Payload(last[:min(len(last), 28)])))
}

func unreachable(code uint8) layers.ICMPv4TypeCode { return layers.CreateICMPv4TypeCode(3, code) }

// scenes are captures with one fault each, and the finding that has to come first. An
// empty one is a healthy capture.
var scenes = []struct {
	name, want string
	server     string // what the first endpoint has to be
	make       func(*scene)
}{
	{"healthy", "", "", func(s *scene) {
		for i := range 5 {
			c := s.conn(clientIP, uint16(4000+i), serverIP, 443).handshake()
			c.data(byClient, clientHello("example.com")).data(byServer, serverHello())
			c.bytes(byClient, 100).bytes(byServer, 1400).bytes(byServer, 200).close()
			s.udp(clientIP, 5353+uint16(i), serverIP, 53, dns(uint16(i), "example.com", false, 0))
			s.udp(serverIP, 53, clientIP, 5353+uint16(i), dns(uint16(i), "example.com", true, 0))
			s.arp(1, macA, clientIP, serverIP)
			s.arp(2, macB, serverIP, clientIP)
		}
		s.after(5 * time.Second)
		s.conn(clientIP, 5000, serverIP, 80).handshake().close()
	}},
	{"a SYN at the very end", "", "", func(s *scene) {
		s.conn(clientIP, 4000, serverIP, 80).handshake().close()
		s.after(5 * time.Second)
		s.conn(clientIP, 4001, serverIP, 5432).send(byClient, flags{syn: true}, nil)
	}},
	{"a query and a request for an address at the very end", "", "", func(s *scene) {
		s.udp(clientIP, 5000, serverIP, 53, dns(1, "example.com", false, 0))
		s.arp(1, macA, clientIP, routerIP)
	}},
	{"a connection that is reset behind its FIN", "", "", func(s *scene) {
		c := s.conn(clientIP, 4000, serverIP, 80).handshake().bytes(byClient, 100)
		c.send(byClient, flags{fin: true, ack: true}, nil)
		c.send(byServer, flags{rst: true, ack: true}, nil)
	}},
	{"a probe of a port", "", "", func(s *scene) {
		s.conn(clientIP, 4000, serverIP, 80).handshake().send(byClient, flags{rst: true, ack: true}, nil)
		c := s.conn(clientIP, 4001, serverIP, 80)
		c.send(byClient, flags{syn: true}, nil)
		c.send(byServer, flags{syn: true, ack: true}, nil)
		c.raw(byClient, c.seq[0], 0, flags{rst: true}, nil)
		s.after(5 * time.Second)
		s.conn(clientIP, 5000, serverIP, 80).handshake().close()
	}},
	{"somebody else's requests for addresses, whose answers are not heard", "", "", func(s *scene) {
		s.conn(clientIP, 4000, serverIP, 80).handshake().close()
		for i := range 5 {
			s.arp(1, macB, "10.0.0.77", "10.0.0.78")
			s.arp(1, macA, clientIP, serverIP)
			s.arp(2, macB, serverIP, clientIP)
			s.after(time.Second * time.Duration(i))
		}
	}},
	{"no answer to SYN", "tcp-syn-unanswered", "10.0.0.2:5432", func(s *scene) {
		for port := range uint16(3) {
			c := s.conn(clientIP, 4000+port, serverIP, 5432)
			for try := range 4 {
				c.raw(byClient, c.seq[0], 0, flags{syn: true}, nil)
				s.after(time.Second << try)
			}
		}
		s.conn(clientIP, 5000, serverIP, 80).handshake().close()
	}},
	{"refused", "tcp-refused", "10.0.0.2:5432", func(s *scene) {
		c := s.conn(clientIP, 4000, serverIP, 5432)
		c.send(byClient, flags{syn: true}, nil)
		c.raw(byServer, 0, c.seq[0], flags{rst: true, ack: true}, nil)
	}},
	{"half open", "tcp-half-open", "10.0.0.2:5432", func(s *scene) {
		c := s.conn(clientIP, 4000, serverIP, 5432)
		c.send(byClient, flags{syn: true}, nil)
		for range 3 {
			c.raw(byServer, 7, c.seq[0], flags{syn: true, ack: true}, nil)
			s.after(time.Second)
		}
	}},
	{"reset by the server", "tcp-reset", "10.0.0.2:5432", func(s *scene) {
		c := s.conn(clientIP, 4000, serverIP, 5432).handshake().bytes(byClient, 500).bytes(byServer, 100)
		s.after(300 * time.Second)
		c.send(byServer, flags{rst: true, ack: true}, nil)
	}},
	{"the other end vanishes", "tcp-unacknowledged", "10.0.0.2:5432", func(s *scene) {
		c := s.conn(clientIP, 4000, serverIP, 5432).handshake().bytes(byClient, 900).bytes(byServer, 900)
		for try := range 5 {
			c.raw(byClient, c.seq[0], c.seq[1], flags{ack: true}, make([]byte, 200))
			s.after(200 * time.Millisecond << try)
		}
	}},
	{"a FIN that nobody answers", "tcp-fin-unanswered", "10.0.0.2:80", func(s *scene) {
		c := s.conn(clientIP, 4000, serverIP, 80).handshake().bytes(byClient, 100).bytes(byServer, 100)
		for try := range 3 {
			c.raw(byClient, c.seq[0], c.seq[1], flags{fin: true, ack: true}, nil)
			s.after(200 * time.Millisecond << try)
		}
	}},
	{"an MTU black hole, seen by the sender", "tcp-black-hole", "10.0.0.2:443", func(s *scene) {
		c := s.conn(clientIP, 4000, serverIP, 443).handshake().bytes(byClient, 200)
		for try := range 4 {
			c.raw(byServer, c.seq[1], c.seq[0], flags{ack: true}, make([]byte, 1460))
			s.after(200 * time.Millisecond << try)
		}
	}},
	{"an MTU black hole, seen by the receiver", "tcp-black-hole", "10.0.0.2:443", func(s *scene) {
		c := s.conn(clientIP, 4000, serverIP, 443).handshake().bytes(byClient, 200)
		c.raw(byServer, c.seq[1]+2920, c.seq[0], flags{ack: true}, make([]byte, 300))
		for range 3 {
			c.send(byClient, flags{ack: true}, nil)
			s.after(time.Second)
		}
	}},
	{"fragmentation needed", "icmp-too-big", "10.0.0.2:443", func(s *scene) {
		c := s.conn(clientIP, 4000, serverIP, 443).handshake()
		c.raw(byClient, c.seq[0], c.seq[1], flags{ack: true}, make([]byte, 1400))
		s.icmp(routerIP, clientIP, unreachable(4), 1300)
		c.data(byClient, make([]byte, 1200))
	}},
	{"rejected by a firewall", "icmp-prohibited", "10.0.0.2:5432", func(s *scene) {
		for range 3 {
			s.conn(clientIP, 4000, serverIP, 5432).send(byClient, flags{syn: true}, nil)
			s.icmp(serverIP, clientIP, unreachable(13), 0)
			s.after(time.Second)
		}
	}},
	{"a port that nobody listens at", "icmp-port-unreachable", "10.0.0.2:514", func(s *scene) {
		s.udp(clientIP, 4000, serverIP, 514, []byte("log"))
		s.icmp(serverIP, clientIP, unreachable(3), 0)
	}},
	{"no route", "icmp-net-unreachable", "10.0.0.2:80", func(s *scene) {
		s.conn(clientIP, 4000, serverIP, 80).send(byClient, flags{syn: true}, nil)
		s.icmp(routerIP, clientIP, unreachable(0), 0)
		s.after(5 * time.Second)
	}},
	{"no such host", "icmp-host-unreachable", "10.0.0.2:80", func(s *scene) {
		s.conn(clientIP, 4000, serverIP, 80).send(byClient, flags{syn: true}, nil)
		s.icmp(routerIP, clientIP, unreachable(1), 0)
	}},
	{"a routing loop", "icmp-ttl-exceeded", "10.0.0.2:80", func(s *scene) {
		s.conn(clientIP, 4000, serverIP, 80).send(byClient, flags{syn: true}, nil)
		s.icmp(routerIP, clientIP, layers.CreateICMPv4TypeCode(11, 0), 0)
	}},
	{"a redirect", "icmp-redirect", routerIP, func(s *scene) {
		s.udp(clientIP, 4000, serverIP, 514, []byte("log"))
		s.icmp(routerIP, clientIP, layers.CreateICMPv4TypeCode(5, 1), 0)
	}},
	{"a DNS server that is silent", "dns-no-answer", "10.0.0.53:53", func(s *scene) {
		for try := range 3 {
			s.udp(clientIP, 5000, "10.0.0.53", 53, dns(7, "db.example.com", false, 0))
			s.after(time.Second << try)
		}
		s.conn(clientIP, 4000, serverIP, 80).handshake().close()
	}},
	{"a name that does not exist", "dns-nxdomain", "10.0.0.53:53", func(s *scene) {
		s.udp(clientIP, 5000, "10.0.0.53", 53, dns(7, "nosuch.example.com", false, 0))
		s.udp("10.0.0.53", 53, clientIP, 5000, dns(7, "nosuch.example.com", true, layers.DNSResponseCodeNXDomain))
	}},
	{"a DNS server that fails", "dns-servfail", "10.0.0.53:53", func(s *scene) {
		s.udp(clientIP, 5000, "10.0.0.53", 53, dns(7, "example.com", false, 0))
		s.udp("10.0.0.53", 53, clientIP, 5000, dns(7, "example.com", true, layers.DNSResponseCodeServFail))
	}},
	{"a DNS server that refuses", "dns-refused", "10.0.0.53:53", func(s *scene) {
		s.udp(clientIP, 5000, "10.0.0.53", 53, dns(7, "example.com", false, 0))
		s.udp("10.0.0.53", 53, clientIP, 5000, dns(7, "example.com", true, layers.DNSResponseCodeRefused))
	}},
	{"a DNS server that is slow", "dns-slow", "10.0.0.53:53", func(s *scene) {
		s.udp(clientIP, 5000, "10.0.0.53", 53, dns(7, "example.com", false, 0))
		s.after(3 * time.Second)
		s.udp("10.0.0.53", 53, clientIP, 5000, dns(7, "example.com", true, 0))
	}},
	{"no reply to a request", "tcp-no-reply", "10.0.0.2:5432", func(s *scene) {
		c := s.conn(clientIP, 4000, serverIP, 5432).handshake().bytes(byClient, 100)
		s.after(4 * time.Second)
		c.close()
	}},
	{"no reply to a request, of which the client waits still", "tcp-no-reply", "10.0.0.2:5432", func(s *scene) {
		s.conn(clientIP, 4000, serverIP, 5432).handshake().bytes(byClient, 100)
		s.after(6 * time.Second)
		s.conn(clientIP, 4001, serverIP, 80).handshake().close()
	}},
	{"no reply to a request, after which the client resets", "tcp-no-reply", "10.0.0.2:5432", func(s *scene) {
		c := s.conn(clientIP, 4000, serverIP, 5432).handshake().bytes(byClient, 100)
		s.after(4 * time.Second)
		c.send(byClient, flags{rst: true, ack: true}, nil)
	}},
	{"data that is sent without a reply, and the end behind it", "", "", func(s *scene) {
		s.conn(clientIP, 4000, serverIP, 514).handshake().bytes(byClient, 100).bytes(byClient, 100).close()
		s.after(10 * time.Second)
		s.conn(clientIP, 4001, serverIP, 80).handshake().close()
	}},
	{"a reply, and a request that has none yet", "", "", func(s *scene) {
		s.conn(clientIP, 4000, serverIP, 80).handshake().bytes(byClient, 100).bytes(byServer, 100).bytes(byClient, 100)
		s.after(10 * time.Second)
		s.conn(clientIP, 4001, serverIP, 80).handshake().bytes(byClient, 100)
	}},
	{"no answer to TLS", "tls-no-answer", "10.0.0.2:443", func(s *scene) {
		s.conn(clientIP, 4000, serverIP, 443).handshake().data(byClient, clientHello("example.com"))
		s.after(10 * time.Second)
		s.conn(clientIP, 4001, serverIP, 80).handshake().close()
	}},
	{"a TLS alert", "tls-alert", "10.0.0.2:443", func(s *scene) {
		c := s.conn(clientIP, 4000, serverIP, 443).handshake().data(byClient, clientHello("example.com"))
		c.data(byServer, []byte{21, 3, 3, 0, 2, 2, 40})
		c.send(byServer, flags{rst: true, ack: true}, nil)
	}},
	{"a server that fails", "http-5xx", "10.0.0.2:80", func(s *scene) {
		c := s.conn(clientIP, 4000, serverIP, 80).handshake()
		c.data(byClient, []byte("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"))
		c.data(byServer, []byte("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")).close()
	}},
	{"a page that does not exist", "http-4xx", "10.0.0.2:80", func(s *scene) {
		c := s.conn(clientIP, 4000, serverIP, 80).handshake()
		c.data(byClient, []byte("GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n"))
		c.data(byServer, []byte("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")).close()
	}},
	{"nobody answers ARP", "arp-no-reply", "10.0.0.9", func(s *scene) {
		for range 3 {
			s.arp(1, macA, clientIP, "10.0.0.9")
			s.after(time.Second)
		}
	}},
	{"nobody answers NDP", "ndp-no-reply", "fd00::9", func(s *scene) {
		for range 3 {
			e, i := s.ip("fd00::1", "ff02::1:ff00:9", layers.IPProtocolICMPv6)
			icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(135, 0)}
			_ = icmp.SetNetworkLayerForChecksum(i.(gopacket.NetworkLayer))
			s.add(s.frame(e, i, icmp, &layers.ICMPv6NeighborSolicitation{TargetAddress: net.ParseIP("fd00::9")}))
			s.after(time.Second)
		}
	}},
	{"an address with two MACs", "address-two-macs", serverIP, func(s *scene) {
		s.arp(2, macB, serverIP, clientIP)
		s.arp(2, macA, serverIP, clientIP)
	}},
	{"no DHCP server", "dhcp-no-answer", "", func(s *scene) {
		for try := range 3 {
			s.dhcp("0.0.0.0", 68, "255.255.255.255", 67, layers.DHCPMsgTypeDiscover)
			s.after(time.Second << try)
		}
	}},
	{"a DHCP server that refuses", "dhcp-nak", "10.0.0.254:67", func(s *scene) {
		s.dhcp("0.0.0.0", 68, "255.255.255.255", 67, layers.DHCPMsgTypeRequest)
		s.dhcp(routerIP, 67, "255.255.255.255", 68, layers.DHCPMsgTypeNak)
	}},
	{"fragments that never come", "fragments-incomplete", serverIP, func(s *scene) {
		for i := range uint16(3) {
			e, l := s.ip(clientIP, serverIP, layers.IPProtocolUDP)
			h := l.(*layers.IPv4)
			h.Flags, h.Id = layers.IPv4MoreFragments, 900+i
			s.add(s.frame(e, h, gopacket.Payload(make([]byte, 1480))))
			s.after(time.Second)
		}
		s.arp(2, macB, serverIP, clientIP)
	}},
	{"a slow reader", "tcp-zero-window", "10.0.0.2:80", func(s *scene) {
		c := s.conn(clientIP, 4000, serverIP, 80).handshake().bytes(byServer, 1400)
		c.window[byClient] = 0
		c.send(byClient, flags{ack: true}, nil)
		s.after(3 * time.Second)
		c.window[byClient] = 500
		c.send(byClient, flags{ack: true}, nil)
		c.bytes(byServer, 1400).close()
	}},
	{"loss", "tcp-retransmissions", "10.0.0.2:80", func(s *scene) {
		c := s.conn(clientIP, 4000, serverIP, 80).handshake().bytes(byServer, 1400)
		for range 5 {
			c.raw(byServer, c.seq[1], c.seq[0], flags{ack: true}, make([]byte, 1400))
			s.after(300 * time.Millisecond)
			c.bytes(byServer, 1400).bytes(byServer, 1400)
		}
		c.close()
	}},
	{"reordering", "tcp-out-of-order", "10.0.0.2:80", func(s *scene) {
		c := s.conn(clientIP, 4000, serverIP, 80).handshake().bytes(byServer, 1400)
		for range 5 {
			c.raw(byServer, c.seq[1]+1000, c.seq[0], flags{ack: true}, make([]byte, 1000))
			c.raw(byServer, c.seq[1], c.seq[0], flags{ack: true}, make([]byte, 1000))
			c.seq[1] += 2000
			c.send(byClient, flags{ack: true}, nil)
		}
		c.close()
	}},
}

func (s *scene) dhcp(src string, sport uint16, dst string, dport uint16, kind layers.DHCPMsgType) {
	op := layers.DHCPOpRequest
	if sport == 67 {
		op = layers.DHCPOpReply
	}
	m := &layers.DHCPv4{Operation: op, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6, Xid: 77, ClientHWAddr: macA, Options: layers.DHCPOptions{
		layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(kind)}), layers.NewDHCPOption(layers.DHCPOptEnd, nil),
	}}
	s.udp(src, sport, dst, dport, s.frame(m))
}

// TestScenes: the first failure that the report names is the cause, and a healthy capture
// names none.
func TestScenes(t *testing.T) {
	for _, test := range scenes {
		t.Run(test.name, func(t *testing.T) {
			s := newScene(t)
			test.make(s)
			r := s.report()
			if test.want == "" {
				for _, f := range r.Failures {
					t.Errorf("%s: %s", f.ID, f.Title)
				}
				return
			}
			if len(r.Failures) == 0 {
				t.Fatalf("no failure, want %s", test.want)
			}
			f := r.Failures[0]
			if f.ID != test.want || test.server != "" && f.Endpoints[0] != test.server {
				t.Errorf("%s at %v, want %s at %s: %s", f.ID, f.Endpoints, test.want, test.server, f.Title)
			}
			if f.Count == 0 || f.Meaning == "" || f.Next == "" || f.Title == "" || f.DisplayFilter == "" && f.ID != "" {
				t.Errorf("incomplete: %+v", f)
			}
			if f.FirstPacket == 0 && f.ID != "dns-slow" || f.First.Before(start) && f.ID != "dns-slow" || f.LastPacket < f.FirstPacket {
				t.Errorf("seen first in packet %d at %s, last in %d", f.FirstPacket, f.First, f.LastPacket)
			}
			if r.Verdict != f.Title {
				t.Errorf("verdict %q, want %q", r.Verdict, f.Title)
			}
		})
	}
}

// TestScenesOfHeaders: of the same packets without what is behind their headers nothing is said that is not said of them
// whole, and what TCP and ICMP tell is said all the same.
func TestScenesOfHeaders(t *testing.T) {
	for _, test := range scenes {
		t.Run(test.name, func(t *testing.T) {
			whole, cut := newScene(t), newScene(t)
			test.make(whole)
			test.make(cut)
			cut.toHeaders()
			ids := func(s *scene) (list []string) {
				r := s.report()
				for _, f := range slices.Concat(r.Failures, r.Quality) {
					list = append(list, f.ID)
				}
				return list
			}
			before, after := ids(whole), ids(cut)
			for _, id := range after {
				// What is behind the headers tells the layer; without it, what TCP shows of the same is left.
				shown := map[string]string{"tcp-no-reply": "tls-no-answer", "tcp-reset": "tls-alert"}[id]
				if id != "headers-only" && !slices.Contains(before, id) && !slices.Contains(before, shown) {
					t.Errorf("a false alarm: %s; of whole packets: %v", id, before)
				}
			}
			for _, id := range before {
				if (strings.HasPrefix(id, "tcp-") || strings.HasPrefix(id, "icmp-")) && !slices.Contains(after, id) {
					t.Errorf("%s is not told any more: %v", id, after)
				}
			}
		})
	}
}

// TestEveryFindingHasAScene keeps the table whole: a kind that nothing shows may be wrong.
func TestEveryFindingHasAScene(t *testing.T) {
	var seen []string
	for _, test := range scenes {
		if test.want != "" {
			seen = append(seen, test.want)
		}
	}
	for _, id := range inspect.FindingIDs() {
		if !slices.Contains(seen, id) && !strings.HasPrefix(id, "icmp-") && id != "dns-error" {
			t.Errorf("no scene shows %s", id)
		}
	}
}

// TestDocs: docs/inspect.md has every kind of finding, and every member of the JSON.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/inspect.md")
	if err != nil {
		t.Fatal(err)
	}
	want := inspect.FindingIDs()
	members(reflect.TypeFor[inspect.Report](), map[reflect.Type]bool{}, func(name string) { want = append(want, name) })
	for _, name := range want {
		if !strings.Contains(string(text), "`"+name) {
			t.Errorf("docs/inspect.md has no `%s`", name)
		}
	}
	if len(want) < 150 {
		t.Errorf("only %d names were found", len(want))
	}
}

// members calls see with the names of the members of a type's JSON.
func members(of reflect.Type, seen map[reflect.Type]bool, see func(string)) {
	for of.Kind() == reflect.Slice || of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	if of.Kind() != reflect.Struct || of == reflect.TypeFor[time.Time]() || seen[of] {
		return
	}
	seen[of] = true
	for f := range of.Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			see(name)
		}
		members(f.Type, seen, see)
	}
}

// TestNamesThatOnlyRepeat: who asks for a page by the address of its server writes that address as
// the Host, and a title does not say it twice.
func TestNamesThatOnlyRepeat(t *testing.T) {
	for _, test := range []struct{ server, host, want string }{
		{serverIP, serverIP + ":80", serverIP + ":80 answers 1 request with HTTP 503"},
		{serverIP, serverIP, serverIP + ":80 answers 1 request with HTTP 503"},
		{"fd00::2", "[fd00::2]", "[fd00::2]:80 answers 1 request with HTTP 503"},
		{serverIP, serverIP + ":8", serverIP + `:80 ("` + serverIP + `:8") answers 1 request with HTTP 503`},
		{serverIP, "shop.example", serverIP + `:80 ("shop.example") answers 1 request with HTTP 503`},
	} {
		s := newScene(t)
		client := clientIP
		if test.server != serverIP {
			client = "fd00::1"
		}
		c := s.conn(client, 4000, test.server, 80).handshake()
		c.data(byClient, []byte("GET / HTTP/1.1\r\nHost: "+test.host+"\r\n\r\n"))
		c.data(byServer, []byte("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")).close()
		r := s.report()
		if r.Verdict != test.want {
			t.Errorf("Host %s: verdict %q, want %q", test.host, r.Verdict, test.want)
		}
		named := strings.Contains(test.want, "(")
		if text := strings.Join(r.Text(inspect.Style{Width: 200}), "\n"); strings.Contains(text, `:80 "`+test.host) != named {
			t.Errorf("Host %s: the table of services names it: %v, want %v:\n%s", test.host, !named, named, text)
		}
	}
}
