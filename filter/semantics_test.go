package filter

import (
	"net"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// serialized is packet layers as bytes, with lengths and checksums filled in.
func serialized(t testing.TB, parts ...gopacket.SerializableLayer) []byte {
	t.Helper()
	for _, part := range parts {
		if udp, ok := part.(*layers.UDP); ok {
			for _, network := range parts {
				if n, ok := network.(gopacket.NetworkLayer); ok {
					if err := udp.SetNetworkLayerForChecksum(n); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
	buffer := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buffer, gopacket.SerializeOptions{FixLengths: true}, parts...); err != nil {
		t.Fatal(err)
	}
	return buffer.Bytes()
}

func mac(last byte) net.HardwareAddr { return net.HardwareAddr{2, 0, 0, 0, 0, last} }

func ethernet(kind layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: mac(1), DstMAC: mac(2), EthernetType: kind}
}

func tag(id uint16, kind layers.EthernetType) *layers.Dot1Q {
	return &layers.Dot1Q{VLANIdentifier: id, Type: kind}
}

func ip4(src, dst string, protocol layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 64, Protocol: protocol, SrcIP: net.ParseIP(src).To4(), DstIP: net.ParseIP(dst).To4()}
}

func ip6(src, dst string, next layers.IPProtocol) *layers.IPv6 {
	return &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: next, SrcIP: net.ParseIP(src), DstIP: net.ParseIP(dst)}
}

func tcpPorts(src, dst layers.TCPPort) *layers.TCP {
	return &layers.TCP{SrcPort: src, DstPort: dst, SYN: true, Window: 1000}
}

func udpPorts(src, dst layers.UDPPort) *layers.UDP { return &layers.UDP{SrcPort: src, DstPort: dst} }

// raw is bytes of a header that gopacket does not write.
func raw(b ...byte) gopacket.Payload { return b }

// What a filter means, packet by packet: the match and the program, on all framings where it makes sense.
func TestSemantics(t *testing.T) {
	const here, there, other, router = "10.0.0.1", "10.9.9.9", "10.0.0.2", "192.0.2.1"
	const here6, there6 = "2001:db8::1", "2001:db8::9"
	v4, v6 := layers.EthernetTypeIPv4, layers.EthernetTypeIPv6
	frame := func(parts ...gopacket.SerializableLayer) []byte { return serialized(t, parts...) }
	quoting := func(kind uint8, quote ...gopacket.SerializableLayer) []byte {
		quoted := serialized(t, quote...)
		return frame(ethernet(v4), ip4(router, here, layers.IPProtocolICMPv4), raw(kind, 0, 0, 0, 0, 0, 0, 0), gopacket.Payload(quoted[:28]))
	}
	fragment := func(offset uint16) []byte {
		ip := ip4(there, here, layers.IPProtocolUDP)
		ip.FragOffset, ip.Flags = offset, layers.IPv4MoreFragments
		return frame(ethernet(v4), ip, udpPorts(53, 9999))
	}
	flagged := func(flags byte) []byte {
		b := frame(ethernet(v4), ip4(here, there, layers.IPProtocolTCP), tcpPorts(50000, 443))
		b[14+20+tcpFlagsAt] = flags
		return b
	}
	withOptions := ip4(there, here, layers.IPProtocolTCP)
	withOptions.Options = []layers.IPv4Option{{OptionType: 1}, {OptionType: 1}, {OptionType: 1}, {OptionType: 1}}
	syn := frame(ethernet(v4), ip4(here, there, layers.IPProtocolTCP), tcpPorts(50000, 443))
	synAck := frame(ethernet(v4), ip4(there, here, layers.IPProtocolTCP), tcpPorts(443, 50000))
	udp6 := []byte{0, 53, 39, 15, 0, 8, 0, 0}
	pad := func(next byte) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }
	sctp := []byte{0, 80, 0, 81, 0, 0, 0, 0, 0, 0, 0, 0}

	tests := []struct {
		name      string
		filter    []string
		data      []byte
		direction Direction
		want      bool
		noErrors  bool
	}{
		{"a filter of nothing takes what is not IP", nil, frame(ethernet(layers.EthernetTypeARP), raw(0, 1)), Incoming, true, false},
		{"a protocol does not", []string{"protocol=TCP"}, frame(ethernet(layers.EthernetTypeARP), raw(0, 1)), Incoming, false, false},
		{"an address does not take ARP", []string{"localIPAddress=10.0.0.1"}, frame(ethernet(layers.EthernetTypeARP), raw(0, 1, 8, 0, 6, 4)), Incoming, false, false},

		{"sent: the remote port is the destination's", []string{"remotePort=443"}, syn, Outgoing, true, false},
		{"sent: the local port is the source's", []string{"localPort=50000"}, syn, Outgoing, true, false},
		{"sent: not the other way round", []string{"localPort=443"}, syn, Outgoing, false, false},
		{"received: the remote port is the source's", []string{"remotePort=443"}, synAck, Incoming, true, false},
		{"received: not the other way round", []string{"localPort=443"}, synAck, Incoming, false, false},
		{"a server's port is not a client's", []string{"localPort=443"}, syn, Outgoing, false, false},
		{"loopback: either end is local", []string{"localPort=443"}, syn, Either, true, false},
		{"loopback: but one of them, not a bit of each", []string{"localPort=443", "remotePort=443"}, syn, Either, false, false},
		{"the local address decides, sent", []string{"localIPAddress=" + here, "localPort=50000"}, syn, Outgoing, true, false},
		{"the local address decides, whatever the direction", []string{"localIPAddress=" + here, "localPort=50000"}, syn, Incoming, true, false},
		{"the local address decides, for the ports as well", []string{"localIPAddress=" + here, "localPort=443"}, syn, Incoming, false, false},
		{"the remote address alone does not decide", []string{"remoteIPAddress=" + here}, syn, Outgoing, false, false},

		{"everything named must match", []string{"protocol=TCP", "localIPAddress=" + here, "remoteIPAddress=" + there, "remotePort=400-500"}, syn, Outgoing, true, false},
		{"one thing that does not is enough", []string{"protocol=UDP", "localIPAddress=" + here, "remoteIPAddress=" + there, "remotePort=400-500"}, syn, Outgoing, false, false},
		{"ranges have their ends", []string{"remoteIPAddress=10.9.9.9-10.9.9.9", "remotePort=443-443"}, syn, Outgoing, true, false},
		{"above a range", []string{"remotePort=400-442"}, syn, Outgoing, false, false},
		{"below a range", []string{"remotePort=444-450"}, syn, Outgoing, false, false},
		{"a list", []string{"remotePort=1;443;65535"}, syn, Outgoing, true, false},
		{"not in a list", []string{"remotePort=1;442;444"}, syn, Outgoing, false, false},
		{"IPv4 and IPv6 in one list", []string{"remoteIPAddress=" + there + ";" + there6}, frame(ethernet(v6), ip6(here6, there6, 59)), Outgoing, true, false},

		{"Any with a port takes SCTP", []string{"localPort=80"}, frame(ethernet(v4), ip4(here, there, layers.IPProtocolSCTP), raw(sctp...)), Outgoing, true, false},
		{"Any with a port takes DCCP", []string{"localPort=80"}, frame(ethernet(v4), ip4(here, there, protoDCCP), raw(sctp...)), Outgoing, true, false},
		{"Any with a port takes UDP-Lite", []string{"localPort=80"}, frame(ethernet(v4), ip4(here, there, layers.IPProtocolUDPLite), raw(sctp...)), Outgoing, true, false},
		{"Any with a port takes no GRE", []string{"localPort=80"}, frame(ethernet(v4), ip4(here, there, layers.IPProtocolGRE), raw(sctp...)), Outgoing, false, false},
		{"every port still is only what has ports", []string{"localPort=0-65535"}, frame(ethernet(v4), ip4(here, there, layers.IPProtocolGRE), raw(sctp...)), Outgoing, false, false},
		{"Any with an address takes GRE", []string{"remoteIPAddress=" + there}, frame(ethernet(v4), ip4(here, there, layers.IPProtocolGRE), raw(sctp...)), Outgoing, true, false},

		{"802.1Q", []string{"remotePort=443"}, frame(ethernet(layers.EthernetTypeDot1Q), tag(5, v4), ip4(here, there, layers.IPProtocolTCP), tcpPorts(50000, 443)), Outgoing, true, false},
		{"802.1ad with 802.1Q inside", []string{"remotePort=443"},
			frame(ethernet(0x88a8), tag(5, layers.EthernetTypeDot1Q), tag(6, v4), ip4(here, there, layers.IPProtocolTCP), tcpPorts(50000, 443)), Outgoing, true, false},
		{"three tags", []string{"remotePort=443"},
			frame(ethernet(0x9100), tag(4, 0x88a8), tag(5, layers.EthernetTypeDot1Q), tag(6, v4), ip4(here, there, layers.IPProtocolTCP), tcpPorts(50000, 443)), Outgoing, true, false},
		{"four tags are too many", []string{"remotePort=443"},
			frame(ethernet(0x9100), tag(3, 0x9100), tag(4, 0x88a8), tag(5, layers.EthernetTypeDot1Q), tag(6, v4), ip4(here, there, layers.IPProtocolTCP), tcpPorts(50000, 443)), Outgoing, false, false},

		{"IPv4 options", []string{"localPort=443"}, frame(ethernet(v4), withOptions, tcpPorts(50000, 443)), Incoming, true, false},
		{"the first fragment has ports", []string{"protocol=UDP", "remotePort=53"}, fragment(0), Incoming, true, false},
		{"the first fragment of other ports", []string{"protocol=UDP", "remotePort=54"}, fragment(0), Incoming, false, false},
		{"a later fragment has none", []string{"protocol=UDP", "remotePort=54", "remoteIPAddress=" + there}, fragment(185), Incoming, true, false},
		{"a later fragment of another protocol", []string{"protocol=TCP", "remotePort=54", "remoteIPAddress=" + there}, fragment(185), Incoming, false, false},
		{"a later fragment of another host", []string{"protocol=UDP", "remotePort=54", "remoteIPAddress=" + other}, fragment(185), Incoming, false, false},

		{"hop-by-hop options", []string{"protocol=UDP", "remotePort=53"}, frame(ethernet(v6), ip6(there6, here6, 0), raw(pad(17)...), raw(udp6...)), Incoming, true, false},
		{"destination options and routing", []string{"remotePort=53"},
			frame(ethernet(v6), ip6(there6, here6, 60), raw(pad(43)...), raw(pad(17)...), raw(udp6...)), Incoming, true, false},
		{"authentication header", []string{"remotePort=53"},
			frame(ethernet(v6), ip6(there6, here6, 51), raw(17, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), raw(udp6...)), Incoming, true, false},
		{"fragment header of the first fragment", []string{"remotePort=53"},
			frame(ethernet(v6), ip6(there6, here6, 44), raw(17, 0, 0, 1, 0, 0, 0, 0), raw(udp6...)), Incoming, true, false},
		{"fragment header of a later fragment", []string{"remotePort=54"},
			frame(ethernet(v6), ip6(there6, here6, 44), raw(17, 0, 0, 9, 0, 0, 0, 0), raw(udp6...)), Incoming, true, false},
		{"six extension headers", []string{"remotePort=53"},
			frame(ethernet(v6), ip6(there6, here6, 60), raw(slices.Concat(pad(60), pad(60), pad(60), pad(60), pad(60), pad(17))...), raw(udp6...)), Incoming, true, false},
		{"seven are too many", []string{"remotePort=53"},
			frame(ethernet(v6), ip6(there6, here6, 60), raw(slices.Concat(pad(60), pad(60), pad(60), pad(60), pad(60), pad(60), pad(17))...), raw(udp6...)), Incoming, false, false},
		{"but for a filter without ports any chain will do", []string{"remoteIPAddress=" + there6},
			frame(ethernet(v6), ip6(there6, here6, 60), raw(60, 255)), Incoming, true, false},

		{"port unreachable for what was sent", []string{"protocol=UDP", "remoteIPAddress=" + there, "remotePort=53"},
			quoting(3, ip4(here, there, layers.IPProtocolUDP), udpPorts(40000, 53)), Incoming, true, false},
		{"time exceeded", []string{"protocol=UDP", "localPort=40000"},
			quoting(11, ip4(here, there, layers.IPProtocolUDP), udpPorts(40000, 53)), Incoming, true, false},
		{"the local end of what an error quotes is its source", []string{"protocol=UDP", "localPort=53"},
			quoting(3, ip4(here, there, layers.IPProtocolUDP), udpPorts(40000, 53)), Incoming, false, false},
		{"an error that is sent quotes what was received", []string{"protocol=UDP", "localPort=53"},
			quoting(3, ip4(there, here, layers.IPProtocolUDP), udpPorts(40000, 53)), Outgoing, true, false},
		{"an error about another packet", []string{"protocol=UDP", "remotePort=54"},
			quoting(3, ip4(here, there, layers.IPProtocolUDP), udpPorts(40000, 53)), Incoming, false, false},
		{"an echo is not an error", []string{"protocol=UDP", "remotePort=53"},
			quoting(8, ip4(here, there, layers.IPProtocolUDP), udpPorts(40000, 53)), Incoming, false, false},
		{"errors can be turned off", []string{"protocol=UDP", "remotePort=53"},
			quoting(3, ip4(here, there, layers.IPProtocolUDP), udpPorts(40000, 53)), Incoming, false, true},
		{"turned off, they still are packets from an address", []string{"remoteIPAddress=" + router},
			quoting(3, ip4(here, there, layers.IPProtocolUDP), udpPorts(40000, 53)), Incoming, true, true},
		{"ICMPv6 unreachable", []string{"protocol=UDP", "remotePort=53"},
			frame(ethernet(v6), ip6("fe80::1", here6, 58), raw(1, 4, 0, 0, 0, 0, 0, 0), ip6(here6, there6, 17), udpPorts(40000, 53)), Incoming, true, false},
		{"ICMPv6 echo", []string{"protocol=UDP", "remotePort=53"},
			frame(ethernet(v6), ip6("fe80::1", here6, 58), raw(128, 0, 0, 0, 0, 0, 0, 0), ip6(here6, there6, 17), udpPorts(40000, 53)), Incoming, false, false},

		{"ICMP is that of IPv4", []string{"protocol=ICMP"}, frame(ethernet(v4), ip4(here, there, layers.IPProtocolICMPv4), raw(8, 0, 0, 0, 0, 1, 0, 1)), Outgoing, true, false},
		{"and that of IPv6", []string{"protocol=ICMP"}, frame(ethernet(v6), ip6(here6, there6, 58), raw(128, 0, 0, 0, 0, 1, 0, 1)), Outgoing, true, false},
		{"not each in the other", []string{"protocol=ICMP"}, frame(ethernet(v6), ip6(here6, there6, 1), raw(8, 0, 0, 0, 0, 1, 0, 1)), Outgoing, false, false},
		{"ICMP behind extension headers", []string{"protocol=ICMP", "localIPAddress=" + here6},
			frame(ethernet(v6), ip6(here6, there6, 60), raw(pad(58)...), raw(135, 0, 0, 0, 0, 0, 0, 0)), Outgoing, true, false},
		{"ICMP of another host", []string{"protocol=ICMP", "remoteIPAddress=" + other}, frame(ethernet(v4), ip4(here, there, layers.IPProtocolICMPv4), raw(8, 0, 0, 0, 0, 1, 0, 1)), Outgoing, false, false},
		{"an error about an echo to it", []string{"protocol=ICMP", "remoteIPAddress=" + there},
			quoting(11, ip4(here, there, layers.IPProtocolICMPv4), raw(8, 0, 0, 0, 0, 1, 0, 1)), Incoming, true, false},
		{"ICMP takes no TCP", []string{"protocol=ICMP"}, syn, Outgoing, false, false},
		{"a later fragment of ICMP", []string{"protocol=ICMP"}, frame(ethernet(v6), ip6(there6, here6, 44), raw(58, 0, 0, 9, 0, 0, 0, 0), raw(1, 2, 3, 4)), Incoming, true, false},
		{"ICMP has no ports", []string{"protocol=ICMP", "remotePort=2048"}, frame(ethernet(v4), ip4(here, there, layers.IPProtocolICMPv4), raw(8, 0, 8, 0, 0, 1, 0, 1)), Outgoing, false, false},

		{"a flag", []string{"tcpFlags=syn"}, flagged(0x02), Outgoing, true, false},
		{"a flag among others", []string{"tcpFlags=syn"}, flagged(0x12), Outgoing, true, false},
		{"all flags that are joined", []string{"tcpFlags=syn+ack"}, flagged(0x52), Outgoing, true, false},
		{"not one of them alone", []string{"tcpFlags=syn+ack"}, flagged(0x02), Outgoing, false, false},
		{"one entry of a list", []string{"tcpFlags=fin;rst", "remotePort=443"}, flagged(0x14), Outgoing, true, false},
		{"none of a list", []string{"tcpFlags=fin;rst"}, flagged(0x1a), Outgoing, false, false},
		{"flags and another port", []string{"tcpFlags=rst", "remotePort=80"}, flagged(0x04), Outgoing, false, false},
		{"flags of IPv6", []string{"tcpFlags=rst"}, frame(ethernet(v6), ip6(here6, there6, 60), raw(pad(6)...), raw(0, 80, 0, 81, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 4)), Outgoing, true, false},
		{"UDP has no flags", []string{"tcpFlags=rst"}, frame(ethernet(v4), ip4(here, there, layers.IPProtocolUDP), raw(0, 80, 0, 81, 0, 0, 0, 0, 0, 0, 0, 0, 0x50, 4)), Outgoing, false, false},
		{"flags cut off", []string{"tcpFlags=rst"}, flagged(0x04)[:14+20+13], Outgoing, false, false},
		{"flags in another fragment", []string{"tcpFlags=rst"}, frame(ethernet(v6), ip6(there6, here6, 44), raw(6, 0, 0, 9, 0, 0, 0, 0), raw(1, 2, 3, 4)), Incoming, true, false},
		{"flags that are quoted", []string{"tcpFlags=syn", "remotePort=443"},
			frame(ethernet(v4), ip4(router, here, layers.IPProtocolICMPv4), raw(3, 1, 0, 0, 0, 0, 0, 0), gopacket.Payload(flagged(0x02)[14:])), Incoming, true, false},
		{"flags that are not in the quote", []string{"tcpFlags=syn", "remotePort=443"},
			frame(ethernet(v4), ip4(router, here, layers.IPProtocolICMPv4), raw(3, 1, 0, 0, 0, 0, 0, 0), gopacket.Payload(flagged(0x02)[14:14+28])), Incoming, false, false},

		{"ports cut off: no port can match", []string{"remotePort=443"}, syn[:14+20+3], Outgoing, false, false},
		{"ports cut off: the protocol still matches", []string{"protocol=TCP", "remoteIPAddress=" + there}, syn[:14+20+3], Outgoing, true, false},
		{"an IP header cut off is not IP", []string{"protocol=TCP"}, syn[:14+19], Outgoing, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			set := NewSet(parsed(t, tt.filter...)).WithICMPErrors(!tt.noErrors)
			p := Packet{Data: tt.data, Direction: tt.direction}
			packets := []Packet{p}
			etherType := uint16(tt.data[12])<<8 | uint16(tt.data[13])
			packets = append(packets, Packet{Data: tt.data[14:], Framing: Cooked, Protocol: etherType, Direction: tt.direction})
			if etherType == etherIPv4 || etherType == etherIPv6 {
				packets = append(packets, Packet{Data: tt.data[14:], Framing: RawIP, Direction: tt.direction})
			}
			for _, p := range packets {
				if got := setMatches(t, set, &p); got != tt.want {
					t.Errorf("framing %d: Match: %v, want %v", p.Framing, got, tt.want)
				}
				program := compiled(t, set, Options{Framing: p.Framing})
				if got := run(t, program.instructions, &p, metadataOf(&p)) > 0; got != tt.want {
					t.Errorf("framing %d: program: %v, want %v", p.Framing, got, tt.want)
				}
			}
		})
	}
}

// What an exclude leaves out, and what stays: an ICMP error that quotes what is left out, and whatever cannot be seen.
func TestWithout(t *testing.T) {
	const here, there, router = "10.0.0.1", "10.9.9.9", "192.0.2.1"
	v4, v6 := layers.EthernetTypeIPv4, layers.EthernetTypeIPv6
	frame := func(parts ...gopacket.SerializableLayer) []byte { return serialized(t, parts...) }
	query := frame(ethernet(v4), ip4(here, there, layers.IPProtocolUDP), udpPorts(40000, 53))
	refused := frame(ethernet(v4), ip4(router, here, layers.IPProtocolICMPv4), raw(3, 3, 0, 0, 0, 0, 0, 0), gopacket.Payload(query[14:]))
	later := ip4(here, there, layers.IPProtocolUDP)
	later.FragOffset = 185
	tests := []struct {
		name      string
		filters   [][]string
		excludes  [][]string
		data      []byte
		direction Direction
		want      bool
	}{
		{"what matches is left out", nil, [][]string{{"protocol=UDP", "remotePort=53"}}, query, Outgoing, false},
		{"also of what a filter matches", [][]string{{"remoteIPAddress=" + there}}, [][]string{{"remotePort=53"}}, query, Outgoing, false},
		{"the direction counts", nil, [][]string{{"localPort=53"}}, query, Outgoing, true},
		{"either way round where it is not known", nil, [][]string{{"localPort=53"}}, query, Either, false},
		{"any of several", nil, [][]string{{"protocol=TCP"}, {"remotePort=53"}}, query, Outgoing, false},
		{"what is not IP stays", nil, [][]string{{"remotePort=53"}}, frame(ethernet(layers.EthernetTypeARP), raw(0, 1)), Outgoing, true},
		{"but not what leaves out everything", nil, [][]string{nil}, frame(ethernet(layers.EthernetTypeARP), raw(0, 1)), Outgoing, false},
		{"an error that quotes it stays", nil, [][]string{{"protocol=UDP", "remotePort=53"}}, refused, Incoming, true},
		{"also where a filter takes it for its quote", [][]string{{"protocol=UDP"}}, [][]string{{"protocol=UDP", "remotePort=53"}}, refused, Incoming, true},
		{"not where it is left out itself", [][]string{{"protocol=UDP"}}, [][]string{{"protocol=ICMP"}}, refused, Incoming, false},
		{"a later fragment stays, as its ports cannot be seen", nil, [][]string{{"remotePort=53"}}, frame(ethernet(v4), later, raw(1, 2, 3, 4)), Outgoing, true},
		{"not where its address is enough", nil, [][]string{{"protocol=UDP", "remoteIPAddress=" + there}}, frame(ethernet(v4), later, raw(1, 2, 3, 4)), Outgoing, false},
		{"later fragments have no flags", nil, [][]string{{"tcpFlags=syn"}}, frame(ethernet(v6), ip6("2001:db8::1", "2001:db8::2", 44), raw(6, 0, 0, 9, 0, 0, 0, 0)), Outgoing, true},
		{"what is cut short stays", nil, [][]string{{"remotePort=53"}}, query[:14+20+3], Outgoing, true},
		{"a header that is cut stays", nil, [][]string{{"protocol=UDP"}}, query[:14+19], Outgoing, true},
		{"a frame that is cut stays", nil, [][]string{{"protocol=UDP"}}, query[:13], Outgoing, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var lists [2][]Filter
			for i, list := range [][][]string{tt.filters, tt.excludes} {
				for _, pairs := range list {
					lists[i] = append(lists[i], parsed(t, pairs...))
				}
			}
			set := NewSet(lists[0]...).Without(lists[1]...)
			p := Packet{Data: tt.data, Direction: tt.direction}
			if got := setMatches(t, set, &p); got != tt.want {
				t.Errorf("Match: %v, want %v", got, tt.want)
			}
			if got := run(t, compiled(t, set, Options{}).instructions, &p, metadataOf(&p)) > 0; got != tt.want {
				t.Errorf("program: %v, want %v", got, tt.want)
			}
		})
	}
}

// What is to be left out may be too large for a program. It then lets through more, and says so.
func TestManyExcludes(t *testing.T) {
	r := newRandom(t)
	r.wide = true
	for _, tt := range []struct {
		n     int
		exact bool
	}{{5, true}, {600, false}} {
		set := NewSet(parsed(t, "protocol=TCP"), parsed(t, "protocol=UDP")).Without(largeSet(t, r, tt.n).filters...)
		program := compiled(t, set, Options{})
		if program.Exact != tt.exact {
			t.Errorf("%d excludes: exact: %v", tt.n, program.Exact)
		}
		runner := newRunner(t, program.instructions)
		for range 2000 {
			p := r.packet()
			p.Framing = Ethernet
			if got, want := runner.accepts(&p), setMatches(t, set, &p); want && !got || got && !want && program.Exact {
				t.Fatalf("%d excludes, exact: %v\npacket %+v\nprogram: %v, Match: %v", tt.n, program.Exact, p, got, want)
			}
		}
	}
}

// Filters are alternatives: what hides one of them, such as the end of the packet, hides no other.
func TestSetIsAnyOfItsFilters(t *testing.T) {
	set := NewSet(parsed(t, "protocol=TCP", "localPort=80"), parsed(t, "remoteIPAddress=10.9.9.9"), parsed(t, "protocol=UDP"))
	cut := serialized(t, ethernet(layers.EthernetTypeIPv4), ip4("10.9.9.9", "10.0.0.1", layers.IPProtocolTCP))
	for _, p := range []Packet{{Data: cut, Direction: Incoming}, {Data: cut[:14+20], Direction: Incoming}} {
		program := compiled(t, set, Options{})
		if !setMatches(t, set, &p) || run(t, program.instructions, &p, metadataOf(&p)) == 0 {
			t.Errorf("a packet without its ports does not match by its address")
		}
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	r := newRandom(t)
	set := r.set(t)
	packets := make([]Packet, 100)
	for i := range packets {
		packets[i] = r.packet()
	}
	allocations := testing.AllocsPerRun(10, func() {
		for i := range packets {
			set.Match(&packets[i])
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
}

// FuzzMatch holds that the match and the program agree on any bytes.
func FuzzMatch(f *testing.F) {
	r := random{Rand: newSource(1)}
	for range 50 {
		p := r.packet()
		f.Add(p.Data, uint8(p.Framing), p.Protocol, uint8(p.Direction), r.Uint64())
	}
	f.Fuzz(func(t *testing.T, data []byte, framing uint8, protocol uint16, direction uint8, seed uint64) {
		p := Packet{Data: data, Framing: Framing(framing % 3), Protocol: protocol, Direction: Direction(direction % 3)}
		set := random{Rand: newSource(seed)}.set(t)
		program := compiled(t, set, Options{Framing: p.Framing})
		if got, want := run(t, program.instructions, &p, metadataOf(&p)) > 0, setMatches(t, set, &p); got != want {
			t.Errorf("set %v\npacket %+v\nprogram: %v, Match: %v", set, p, got, want)
		}
	})
}
