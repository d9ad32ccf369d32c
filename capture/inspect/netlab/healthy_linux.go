package netlab

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"pcapctl/capture/pcapfile"
)

// noTrouble is what tshark must not find in a capture where nothing is wrong.
var noTrouble = []string{
	"!tcp.analysis.retransmission", "!tcp.analysis.lost_segment", "!tcp.analysis.ack_lost_segment", "!tcp.analysis.zero_window",
	"!icmp.type=3", "!icmp.type=11", "!dns.flags.rcode=2", "!dns.flags.rcode=3", "!dns.flags.rcode=5",
}

func shows(more ...string) []string { return append(more, noTrouble...) }

// web has the client make some requests over one connection.
func web(l *Lab) {
	l.Server.ServeHTTP(l.Server.Addr(80), func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(payload(5000)) }, nil)
	c := l.Client.HTTPClient(l.Server.Addr(80), nil)
	for i := range 5 {
		if code := l.get(c, fmt.Sprintf("http://www.example.com/%d", i)); code != http.StatusOK {
			l.Fatalf("status %d", code)
		}
	}
	c.CloseIdleConnections()
	l.AwaitEnd(1)
}

// healthy are scenes in which nothing fails.
func healthy() []*Scene {
	return []*Scene{
		scene("healthy-http", "five requests over one connection", "", shows("http.response.code=200"), web),
		scene("healthy-bulk", "500 kB over 10 ms of round trip", "", shows(), func(l *Lab) {
			l.Delay(5 * time.Millisecond)
			l.bulk(500_000, roomy)
		}),
		scene("healthy-upload", "500 kB to the server", "", shows(), func(l *Lab) {
			l.Delay(5 * time.Millisecond)
			l.Server.Listen(l.Server.Addr(5001), func(c *net.TCPConn) {
				_, _ = io.Copy(io.Discard, c)
				_ = c.Close()
			}, roomy)
			c := l.Client.Dial(l.Server.Addr(5001))
			_, err := c.Write(payload(500_000))
			l.check(err)
			l.ends(c)
		}),
		scene("healthy-many-short", "forty connections of one request", "", shows(), func(l *Lab) {
			l.Server.Listen(l.Server.Addr(7), echoes)
			for range 40 {
				c := l.Client.Dial(l.Server.Addr(7))
				l.talk(c, 1, 200)
				l.check(c.Close())
			}
			l.AwaitEnd(40)
		}),
		scene("healthy-dns", "eight names over UDP", "", shows("dns.flags.rcode=0"), func(l *Lab) {
			l.Server.dnsServer(l.Server.Addr(53), found)
			l.ask8(8)
		}),
		scene("healthy-dns-tcp", "three names over one TCP connection", "", shows("dns.flags.rcode=0"), func(l *Lab) {
			l.Server.Listen(l.Server.Addr(53), serveDNSOverTCP(false))
			c := l.Client.Dial(l.Server.Addr(53))
			for i := range 3 {
				l.dnsOverTCP(c, uint16(i), fmt.Sprintf("host%d.example.com.", i))
			}
			l.ends(c)
		}),
		scene("healthy-dns-truncated", "an answer that is cut, and asked for again over TCP", "", shows("dns.flags.truncated=1"), func(l *Lab) {
			l.Server.dnsServer(l.Server.Addr(53), func(dnsmessage.Question) *dnsmessage.Message {
				return &dnsmessage.Message{Header: dnsmessage.Header{Truncated: true}}
			})
			l.Server.Listen(l.Server.Addr(53), serveDNSOverTCP(false))
			if l.Client.ask(l.Server.Addr(53), 3, 20*time.Second, "large.example.com.") != 1 {
				l.Fatal("the DNS server did not answer")
			}
			c := l.Client.Dial(l.Server.Addr(53))
			l.dnsOverTCP(c, 1, "large.example.com.")
			l.ends(c)
		}),
		{Name: "healthy-dns-tcp-in-pieces", How: "a name over TCP, of which each message is in two segments", Shows: shows("dns.flags.rcode=0"),
			Differs: "A message in several segments or fragments is not put together", play: func(l *Lab) {
				l.Server.Listen(l.Server.Addr(53), serveDNSOverTCP(true))
				c := l.Client.Dial(l.Server.Addr(53))
				l.dnsOverTCP(c, 1, "www.example.com.")
				l.ends(c)
			}},
		{Name: "healthy-dns-fragmented", How: "an answer over UDP in several fragments", Shows: shows("dns.flags.rcode=0", "ip.flags.mf=1"),
			Differs: "A message in several segments or fragments is not put together", play: func(l *Lab) {
				l.Server.dnsServer(l.Server.Addr(53), func(q dnsmessage.Question) *dnsmessage.Message {
					m := &dnsmessage.Message{}
					for range 20 {
						m.Answers = append(m.Answers, dnsmessage.Resource{
							Header: dnsmessage.ResourceHeader{Name: q.Name, Type: dnsmessage.TypeTXT, Class: q.Class, TTL: 60},
							Body:   &dnsmessage.TXTResource{TXT: []string{strings.Repeat("x", 200)}},
						})
					}
					return m
				})
				if l.Client.ask(l.Server.Addr(53), 3, 20*time.Second, "large.example.com.") != 1 {
					l.Fatal("the DNS server did not answer")
				}
				time.Sleep(1200 * time.Millisecond) // after which an answer counts as missing
				l.marker()
			}},
		scene("healthy-tls13", "requests over TLS 1.3", "", shows("tls.handshake.type=1"), func(l *Lab) { secureWeb(l, secureServer(), secureClient()) }),
		scene("healthy-tls12", "requests over TLS 1.2", "", shows("tls.handshake.type=2"), func(l *Lab) {
			client := secureClient()
			client.MaxVersion = tls.VersionTLS12
			secureWeb(l, secureServer(), client)
		}),
		scene("healthy-ipv6", "requests and names over IPv6", "", shows("ipv6.version"), func(l *Lab) {
			l.IPv6()
			l.Server.dnsServer(l.Server.Addr6(53), found)
			if l.Client.ask(l.Server.Addr6(53), 3, 20*time.Second, "www.example.com.") != 1 {
				l.Fatal("the DNS server did not answer")
			}
			l.Server.Listen(l.Server.Addr6(7), echoes)
			c := l.Client.Dial(l.Server.Addr6(7))
			l.talk(c, 20, 500)
			l.ends(c)
		}),
		scene("healthy-udp", "datagrams that are sent back", "", shows(), func(l *Lab) {
			server := l.Server.Packets(l.Server.Addr(9000))
			l.tasks.Go(func() {
				buf := make([]byte, 2000)
				for {
					n, from, err := server.ReadFromUDPAddrPort(buf)
					if err != nil {
						return
					}
					_, _ = server.WriteToUDPAddrPort(buf[:n], from)
				}
			})
			c := l.Client.Packets(l.Client.Addr(9001))
			for range 20 {
				_, err := c.WriteToUDPAddrPort(payload(300), l.Server.Addr(9000))
				l.check(err)
				_, _, err = c.ReadFromUDPAddrPort(make([]byte, 2000))
				l.check(err)
			}
		}),
		scene("healthy-fragments", "a datagram in three fragments that all arrive", "", shows(), func(l *Lab) {
			server := l.Server.Packets(l.Server.Addr(9000))
			c := l.Client.Packets(l.Client.Addr(9001))
			_, err := c.WriteToUDPAddrPort(payload(4000), l.Server.Addr(9000))
			l.check(err)
			_, _, err = server.ReadFromUDPAddrPort(make([]byte, 5000))
			l.check(err)
		}),
		scene("healthy-ping", "echo requests that are answered", "", shows("icmp.type=0"), func(l *Lab) {
			var c net.PacketConn
			var err error
			l.Client.Do(func() { c, err = (&net.ListenConfig{}).ListenPacket(l.ctx, "ip4:icmp", l.Client.V4.String()) })
			l.check(err)
			l.closeLater(c)
			for i := range 3 {
				echo := &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0), Id: 7, Seq: uint16(i)}
				_, err := c.WriteTo(serialize(echo, gopacket.Payload(payload(56))), &net.IPAddr{IP: l.Server.V4.AsSlice()})
				l.check(err)
				_, _, err = c.ReadFrom(make([]byte, 200))
				l.check(err)
			}
		}),
		scene("healthy-keep-alives", "an idle connection whose keep-alives are answered", "", shows("tcp.analysis.keep_alive", "tcp.analysis.keep_alive_ack"), func(l *Lab) {
			l.Server.Listen(l.Server.Addr(7), echoes)
			c := l.Client.Dial(l.Server.Addr(7), keepAlive(3)...)
			l.talk(c, 2, 100)
			l.Await(3, isKeepAlive(Left))
			l.ends(c)
		}),
		scene("healthy-port-reuse", "two connections from the same port", "", shows("tcp.analysis.reused_ports"), func(l *Lab) {
			l.Server.Listen(l.Server.Addr(7), sends(1000))
			from := l.Client.Addr(40000)
			for i := range 2 {
				c, err := l.Client.TryDial(l.ctx, from, l.Server.Addr(7), integer(unix.SOL_SOCKET, unix.SO_REUSEADDR, 1))
				l.check(err)
				l.download(c) // the server closes first, so that it is the server's end that is in TIME_WAIT
				l.AwaitEnd(i + 1)
			}
		}),
		scene("healthy-simultaneous-open", "both ends connect to each other at the same time", "", []string{"tcp.flags.syn=1", "!tcp.flags.reset=1"}, simultaneousOpen),
		scene("healthy-half-close", "the client ends its direction, and the server goes on to send", "", shows(), func(l *Lab) {
			l.Delay(5 * time.Millisecond)
			l.Server.Listen(l.Server.Addr(7), func(c *net.TCPConn) {
				_, _ = io.Copy(io.Discard, c)
				_, _ = c.Write(payload(50_000))
				_ = c.Close()
			})
			c := l.Client.Dial(l.Server.Addr(7))
			_, err := c.Write(payload(500))
			l.check(err)
			l.check(c.CloseWrite())
			l.download(c)
			l.AwaitEnd(1)
		}),
		scene("healthy-dhcp", "a client that gets an address", "", shows("dhcp.option.dhcp=5"), func(l *Lab) {
			l.dhcp(1, layers.DHCPMsgTypeDiscover, l.Client, 77)
			l.dhcp(2, layers.DHCPMsgTypeOffer, l.Server, 77)
			l.dhcp(3, layers.DHCPMsgTypeRequest, l.Client, 77)
			l.dhcp(4, layers.DHCPMsgTypeAck, l.Server, 77)
		}),
		scene("healthy-long-delay", "requests over 400 ms of round trip", "", shows(), func(l *Lab) {
			l.Delay(200 * time.Millisecond)
			l.Server.Listen(l.Server.Addr(7), echoes)
			c := l.Client.Dial(l.Server.Addr(7))
			l.talk(c, 3, 200)
			l.ends(c)
		}),
	}
}

// recordings are scenes in which nothing fails, and only the capture is unlike others.
func recordings() []*Scene {
	recorded := func(name, how string, shows []string, r Recording) *Scene {
		return &Scene{Name: name, How: how, Shows: shows, play: func(l *Lab) {
			l.Record(r)
			web(l)
		}}
	}
	return []*Scene{
		recorded("recorded-vlan", "frames with a VLAN tag", shows("vlan.id=7"), Recording{Records: tagged(7)}),
		recorded("recorded-qinq", "frames with two VLAN tags", shows("vlan.id=8"), Recording{Records: tagged(7, 8)}),
		recorded("recorded-vxlan", "in VXLAN", shows("vxlan.vni=7"), Recording{Records: inVXLAN()}),
		recorded("recorded-geneve", "in Geneve", shows("geneve.vni=0x000007"), Recording{Records: inGeneve()}),
		recorded("recorded-gre", "in GRE", shows("gre.proto=0x0800"), Recording{Records: inGRE}),
		recorded("recorded-ipip", "in IPIP", shows("ip.proto=4"), Recording{Records: inIPIP}),
		recorded("recorded-raw-ip", "link type RAW", shows("http.response.code=200"), Recording{Link: pcapfile.RawIP, Records: rawIP}),
		recorded("recorded-sll", "link type LINUX_SLL", shows("http.response.code=200"), Recording{Link: pcapfile.SLL, Records: cooked(pcapfile.SLL, Left)}),
		recorded("recorded-sll2", "link type LINUX_SLL2", shows("http.response.code=200"), Recording{Link: pcapfile.SLL2, Records: cooked(pcapfile.SLL2, Left)}),
		recorded("recorded-pcapng", "pcapng", shows("http.response.code=200"), Recording{Format: pcapfile.NG}),
		recorded("recorded-nanoseconds", "nanoseconds, at the server", shows("http.response.code=200"), Recording{Format: pcapfile.Nano, At: Right}),
		recorded("recorded-cut", "of each packet 100 bytes", shows(), Recording{Snap: 100}),
		recorded("recorded-twice", "every packet twice", nil, Recording{Records: twice}),
		scene("recorded-with-losses", "by a capture that lost every twentieth packet", "", []string{"tcp.analysis.ack_lost_segment", "tcp.analysis.lost_segment", "!tcp.analysis.retransmission"}, func(l *Lab) {
			l.Record(Recording{Records: losing(0.05, 1)})
			l.Delay(5 * time.Millisecond)
			l.bulk(300_000, roomy)
		}),
		{Name: "recorded-in-two-vlans", How: "on both sides of a router between VLANs", Differs: "VLANs and tunnels are part of a flow", play: func(l *Lab) {
			l.Record(Recording{Records: func(f *Frame) [][]byte { return append(tagged(7)(f), tagged(8)(f)...) }})
			web(l)
		}},
		recorded("recorded-client-only", "what the client sends alone", nil, Recording{Records: only(From(Left))}),
		recorded("recorded-server-only", "what the server sends alone", nil, Recording{Records: only(From(Right))}),
		scene("recorded-from-the-middle", "without the beginning of a connection", "", shows("!tcp.flags.syn=1"), func(l *Lab) {
			l.Pause()
			l.Server.Listen(l.Server.Addr(7), echoes)
			c := l.Client.Dial(l.Server.Addr(7))
			l.talk(c, 3, 500)
			l.Await(1, func(f *Frame) bool { // of the last answer, that no packet is in the wire when it begins
				return f.From == Left && PureACK(f) && f.TCP().Ack-l.firstSequence(Right) == 1501
			})
			l.Resume()
			l.talk(c, 20, 500)
			l.ends(c)
		}),
		scene("recorded-clock-set-back", "with a clock that was set back by ten seconds in the middle", "", nil, func(l *Lab) {
			l.Server.Listen(l.Server.Addr(7), echoes)
			c := l.Client.Dial(l.Server.Addr(7))
			l.talk(c, 10, 500)
			l.Wire.mu.Lock()
			l.Wire.recorder.clock = -10 * time.Second
			l.Wire.mu.Unlock()
			l.talk(c, 10, 500)
			l.ends(c)
		}),
		scene("recorded-by-pcapctl", "by pcapctl at the client", "", shows("http.response.code=200"), func(l *Lab) {
			stop := l.Client.Live(0, "cap", "eth0")
			web(l)
			stop()
		}),
		scene("recorded-by-pcapctl-offloaded", "by pcapctl at the server, whose interface segments and computes checksums itself", "", shows("!tcp.analysis.out_of_order"), func(l *Lab) {
			l.offloading()
			stop := l.Server.Live(0, "pcapng", "fast0")
			at := netip.MustParseAddrPort("10.2.0.2:5001")
			l.Server.Listen(at, sends(1_000_000))
			c := l.Client.Dial(at, roomy)
			l.download(c)
			l.awaitTimeWait(l.Server)
			stop()
		}),
		scene("recorded-on-a-bridge", "by pcapctl on all interfaces, of which one is a bridge's port", "", nil, func(l *Lab) {
			l.Client.batch(
				"addr del "+l.Client.V4.String()+"/24 dev eth0",
				"link add br0 type bridge", "link set br0 address "+l.Client.MAC.String()+" multicast off",
				"link set eth0 master br0", "link set br0 up", "addr add "+l.Client.V4.String()+"/24 dev br0")
			l.Client.WaitUntilUp("br0")
			stop := l.Client.Live(pcapfile.SLL2, "cap", "any")
			web(l)
			stop()
		}),
	}
}

// ask8 asks for n names that all have to be answered.
func (l *Lab) ask8(n int) {
	l.Helper()
	var names []string
	for i := range n {
		names = append(names, fmt.Sprintf("host%d.example.com.", i))
	}
	if got := l.Client.ask(l.Server.Addr(53), 3, 20*time.Second, names...); got != n {
		l.Fatalf("%d of %d names were answered", got, n)
	}
}

func secureWeb(l *Lab, server, client *tls.Config) {
	l.Server.ServeHTTP(l.Server.Addr(443), func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(payload(5000)) }, server)
	conn := tls.Client(l.Client.Dial(l.Server.Addr(443)), client)
	r := bufio.NewReader(conn)
	for range 3 {
		req, err := http.NewRequestWithContext(l.ctx, http.MethodGet, "https://www.example.com/", http.NoBody)
		l.check(errors.Join(err, req.Write(conn)))
		res, err := http.ReadResponse(r, req)
		l.check(err)
		_, err = io.Copy(io.Discard, res.Body)
		l.check(errors.Join(err, res.Body.Close()))
		if res.StatusCode != http.StatusOK {
			l.Fatalf("status %d", res.StatusCode)
		}
	}
	// The server's last word is read before the end: what is unread when a socket is closed has the kernel
	// send a RST instead of a FIN (RFC 2525, 2.17), on a busy machine only.
	l.check(conn.CloseWrite())
	_, err := io.Copy(io.Discard, r)
	l.check(err)
	_ = conn.Close()
	l.AwaitEnd(1)
}

// simultaneousOpen is RFC 9293, section 3.5, figure 7.
func simultaneousOpen(l *Lab) {
	l.Neighbours()
	l.Wire.Hold(Left)
	l.Wire.Hold(Right)
	conns := make(chan *net.TCPConn, 2)
	dial := func(from, to *Host) {
		c, err := from.TryDial(l.ctx, from.Addr(5000), to.Addr(5000))
		if err != nil {
			l.Errorf("connect at the same time: %v", err)
		}
		conns <- c
	}
	l.tasks.Go(func() { dial(l.Client, l.Server) })
	l.tasks.Go(func() { dial(l.Server, l.Client) })
	l.Await(1, And(From(Left), SYN))
	l.Await(1, And(From(Right), SYN))
	l.Wire.Release(Left)
	l.Wire.Release(Right)
	a, b := <-conns, <-conns
	if a == nil || b == nil {
		return
	}
	_, err := a.Write(payload(300))
	l.check(err)
	_, err = io.ReadFull(b, make([]byte, 300))
	l.check(err)
	l.check(a.Close())
	_, err = io.Copy(io.Discard, b)
	l.check(err)
	l.ends(b)
}

// firstSequence is the sequence number of the SYN that an end sent. It is called
// within a wait for events.
func (l *Lab) firstSequence(e End) uint32 {
	for _, ev := range l.Wire.log {
		if t := ev.frame.TCP(); t != nil && t.SYN && ev.frame.From == e {
			return t.Seq
		}
	}
	return 0
}

// isKeepAlive matches a segment that an end sends after its connection has been idle:
// without payload, with the sequence number before the next (RFC 1122, 4.2.3.6).
func isKeepAlive(e End) Match {
	var next uint32
	return func(f *Frame) bool {
		t := f.TCP()
		if t == nil || f.From != e {
			return false
		}
		if len(t.Payload) == 0 && !t.SYN && !t.FIN && t.Seq == next-1 {
			return true
		}
		next = t.Seq + uint32(len(t.Payload))
		if t.SYN || t.FIN {
			next++
		}
		return false
	}
}

// dhcp sends the n-th frame of an exchange. A host's own client would need the whole
// of a machine; the packets are what it would send.
func (l *Lab) dhcp(n int, kind layers.DHCPMsgType, from *Host, id uint32) {
	l.Helper()
	dhcp := &layers.DHCPv4{
		Operation: layers.DHCPOpRequest, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6, Xid: id,
		ClientHWAddr: l.Client.MAC, ClientIP: net.IPv4zero, YourClientIP: net.IPv4zero, NextServerIP: net.IPv4zero, RelayAgentIP: net.IPv4zero,
		Options: layers.DHCPOptions{layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(kind)})},
	}
	udp := &layers.UDP{SrcPort: 68, DstPort: 67}
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: net.IPv4zero.To4(), DstIP: net.IPv4bcast.To4()}
	if from == l.Server {
		dhcp.Operation, dhcp.YourClientIP = layers.DHCPOpReply, net.IPv4(10, 1, 0, 99)
		udp.SrcPort, udp.DstPort = 67, 68
		ip.SrcIP = l.Server.V4.AsSlice()
	}
	_ = udp.SetNetworkLayerForChecksum(ip) // never fails for IPv4
	eth := &layers.Ethernet{SrcMAC: from.MAC, DstMAC: layers.EthernetBroadcast, EthernetType: layers.EthernetTypeIPv4}
	from.Sender("eth0").Send(serialize(eth, ip, udp, dhcp))
	l.AwaitArrival(n, Layer(layers.LayerTypeDHCPv4))
}

// offloading joins the hosts by a pair of veth interfaces, too: these hand over
// packets of up to 64 KiB, without checksums.
func (l *Lab) offloading() {
	l.Client.batch("link add fast0 type veth peer name fast0 netns " + l.Server.Name)
	for i, h := range []*Host{l.Client, l.Server} {
		h.batch(fmt.Sprintf("addr add 10.2.0.%d/24 dev fast0", i+1), "link set fast0 multicast off up", fmt.Sprintf("route replace 10.2.0.0/24 dev fast0 proto kernel scope link src 10.2.0.%d rto_min 20s", i+1))
	}
	l.Client.WaitUntilUp("fast0")
	l.Server.WaitUntilUp("fast0")
}

// awaitTimeWait waits until a TCP connection of the host is in TIME_WAIT: both ends
// have closed, and the last ACK has come.
func (l *Lab) awaitTimeWait(h *Host) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.ctx, time.Minute)
	defer cancel()
	for ctx.Err() == nil {
		out, err := h.Command("cat", "/proc/net/tcp").Output()
		l.check(err)
		if timeWait.Match(out) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	l.Fatal("no connection is in TIME_WAIT after a minute")
}

// arpReply says that ip is at mac.
func arpReply(ip netip.Addr, mac net.HardwareAddr, to *Host) []byte {
	return serialize(
		&layers.Ethernet{SrcMAC: mac, DstMAC: to.MAC, EthernetType: layers.EthernetTypeARP},
		&layers.ARP{AddrType: layers.LinkTypeEthernet, Protocol: layers.EthernetTypeIPv4, HwAddressSize: 6, ProtAddressSize: 4, Operation: layers.ARPReply,
			SourceHwAddress: mac, SourceProtAddress: ip.AsSlice(), DstHwAddress: to.MAC, DstProtAddress: to.V4.AsSlice()},
		gopacket.Payload(make([]byte, 18)))
}

// timeWait matches a connection in TIME_WAIT in /proc/net/tcp.
var timeWait = regexp.MustCompile(`(?m)^\s*\d+: [0-9A-F]+:[0-9A-F]+ [0-9A-F]+:[0-9A-F]+ 06 `)
