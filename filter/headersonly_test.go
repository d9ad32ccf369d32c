package filter

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// kept is how many bytes of the packet a program keeps.
func (r *runner) kept(p *Packet) int {
	r.t.Helper()
	m := metadataOf(p)
	vm, ok := r.vms[m]
	if !ok {
		vm = specialised(r.t, r.program, m)
		r.vms[m] = vm
	}
	n, err := vm.Run(p.Data)
	if err != nil {
		r.t.Fatalf("the VM stopped: %v", err)
	}
	return min(n, len(p.Data))
}

// The program keeps as many bytes as the match in plain Go finds headers, whatever the packet, the set and the framing; no
// more than the snap length; and nothing of what does not match. What is cut so matches as before.
func TestProgramKeepsHeaders(t *testing.T) {
	r := newRandom(t)
	cases, matches, shorter := 0, 0, 0
	for want := propertyCases(t, 20_000); cases < want; {
		set := r.set(t)
		if r.chance(50) {
			set = NewSet()
		}
		snap := pick[uint32](r, 0, 0, 20, 60, 96)
		var programs [4]*runner
		for framing := range programs {
			p := compiled(t, set, Options{Framing: Framing(framing), SnapLen: snap, HeadersOnly: true})
			if !p.Cuts {
				t.Fatalf("%v: no room for the headers", set)
			}
			programs[framing] = newRunner(t, p.instructions)
		}
		for range 50 {
			p := r.packet()
			cases++
			want := 0
			if setMatches(t, set, &p) {
				want = p.HeaderLength()
				matches++
				if want < len(p.Data) {
					shorter++
				}
				if snap > 0 {
					want = min(want, int(snap))
				}
			}
			framings := []Framing{p.Framing}
			if p.Framing == Ethernet {
				framings = append(framings, Mixed) // of which the device is Ethernet's, as metadataOf has it
			}
			for _, framing := range framings {
				if got := programs[framing].kept(&p); got != want {
					t.Fatalf("set %v, snap length %d, framing %d\nfilters %+v\npacket %+v\n%x\nprogram keeps %d of %d bytes, HeaderLength: %d",
						set, snap, framing, specs(set), p, p.Data, got, len(p.Data), want)
				}
			}
			cut := p
			cut.Data = p.Data[:p.HeaderLength()]
			if setMatches(t, set, &p) != setMatches(t, set, &cut) || cut.HeaderLength() != len(cut.Data) {
				t.Fatalf("set %v\nfilters %+v\npacket %+v\n%x\ncut to %d bytes it matches otherwise, or is longer than its headers: %d",
					set, specs(set), p, p.Data, len(cut.Data), cut.HeaderLength())
			}
		}
	}
	t.Logf("%d cases, %d matched, of which %d are longer than their headers", cases, matches, shorter)
	enough(t, matches, cases)
	enough(t, shorter, cases)
}

// wellFormed is a packet on Ethernet that gopacket can read as far as its payload: lengths are right.
func (r random) wellFormed() []byte {
	v6 := r.chance(50)
	protocol, payload := r.wholeTransport(v6, true)
	var etherType uint16
	var ip []byte
	switch kind := r.IntN(20); {
	case kind == 0:
		etherType, ip = etherARP, append([]byte{0, 1, 8, 0, 6, 4, 0, 1}, make([]byte, 20+r.IntN(2)*18)...)
	case kind == 1:
		etherType, ip = pick[uint16](r, 0x88cc, 0x88b5, 0x0842), payload
	case v6:
		etherType, ip = etherIPv6, r.wholeIPv6(protocol, payload)
	default:
		etherType, ip = etherIPv4, r.wholeIPv4(protocol, payload)
	}
	for range pick(r, 0, 0, 0, 1, 2, 3) {
		head := binary.BigEndian.AppendUint16([]byte{0, 7}, etherType)
		// gopacket takes 0x9100 for no tag.
		etherType, ip = pick[uint16](r, 0x8100, 0x88a8), append(head, ip...)
	}
	return append(binary.BigEndian.AppendUint16(make([]byte, 12), etherType), ip...)
}

func (r random) wholeIPv4(protocol uint8, payload []byte) []byte {
	var ip []byte
	for {
		ip = r.ipv4(protocol, payload)
		if ip[0]>>4 == 4 && ip[0]&15 >= 5 && int(ip[0]&15)*4 == len(ip)-len(payload) {
			break
		}
	}
	for i := minIPv4Header; i < len(ip)-len(payload); i++ {
		ip[i] = 1 // options that do nothing
	}
	return ip
}

func (r random) wholeIPv6(protocol uint8, payload []byte) []byte {
	for {
		if ip := r.ipv6(protocol, payload); ip[0]>>4 == 6 {
			return ip
		}
	}
}

// wholeTransport is a transport protocol with its header, and data behind it.
func (r random) wholeTransport(v6, errors bool) (protocol uint8, b []byte) {
	data := make([]byte, r.IntN(40))
	switch r.IntN(6) {
	case 0, 1:
		words := pick(r, 5, 5, 8, 15)
		b = make([]byte, words*4)
		b[tcpOffsetAt] = uint8(words << 4)
		for i := minTCP; i < len(b); i++ {
			b[i] = 1
		}
		protocol = protoTCP
	case 2:
		b = make([]byte, udpHeader)
		binary.BigEndian.PutUint16(b, 40000) // of no protocol that gopacket knows
		binary.BigEndian.PutUint16(b[2:], 40001)
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)+len(data)))
		protocol = protoUDP
	case 3:
		b, protocol = make([]byte, sctpHeader), protoSCTP
	case 4:
		b, protocol = make([]byte, 8), 47 // GRE
	default:
		protocol, b = protoICMP, make([]byte, icmpHeader)
		b[0] = pick[uint8](r, 0, 8, 13, 3, 11, 12)
		if v6 {
			protocol, b[0] = protoICMPv6, pick[uint8](r, 128, 129, 1, 2, 3, 4, 133, 135, 136, 143)
		}
		if isError := !v6 && isICMPv4Error(b[0]) || v6 && isICMPv6Error(b[0]); isError {
			if !errors {
				b[0] = map[bool]uint8{false: 8, true: 128}[v6]
				break
			}
			inner, payload := r.wholeTransport(v6, false)
			if v6 {
				data = r.wholeIPv6(inner, payload)
			} else {
				data = r.wholeIPv4(inner, payload)
			}
		}
		if v6 && isAllHeader(b[0]) {
			data = append(make([]byte, 16), data...)
		}
	}
	return protocol, append(b, data...)
}

// gopacketEnd is where the headers end as gopacket's layers have them. It knows no more of a protocol than they tell, but for
// what they do not read on their own: what is behind a first fragment, and what an ICMP error quotes. unread says that
// gopacket could not read a header, as a routing header of a length that it does not know.
func gopacketEnd(data []byte, first gopacket.Decoder, quoted bool, unread *bool) int {
	packet := gopacket.NewPacket(data, first, gopacket.NoCopy)
	if all := packet.Layers(); packet.ErrorLayer() != nil && (len(all) < 2 || !slices.Contains(beyondHeaders, all[len(all)-2].LayerType())) {
		*unread = true
	}
	end := 0
	for _, l := range packet.Layers() {
		switch l := l.(type) {
		case *layers.Ethernet, *layers.Dot1Q, *layers.ARP, *layers.TCP, *layers.UDP, *layers.SCTP, *layers.IPv6,
			*layers.IPv6HopByHop, *layers.IPv6Routing, *layers.IPv6Destination, *layers.IPSecAH:
			end += len(l.LayerContents())
		case *layers.IPv4:
			end += len(l.Contents)
			if l.FragOffset > 0 {
				return end
			}
			if l.Flags&layers.IPv4MoreFragments != 0 {
				return end + gopacketEnd(l.Payload, l.Protocol, quoted, unread)
			}
		case *layers.IPv6Fragment:
			end += len(l.Contents)
			if l.FragmentOffset > 0 {
				return end
			}
			return end + gopacketEnd(l.Payload, l.NextHeader, quoted, unread)
		case *layers.ICMPv4:
			end += len(l.Contents)
			switch l.TypeCode.Type() {
			case layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4TypeTimeExceeded, layers.ICMPv4TypeParameterProblem:
				if !quoted {
					end += gopacketEnd(l.Payload, layers.LayerTypeIPv4, true, unread)
				}
			}
			return end
		case *layers.ICMPv6:
			switch kind := l.TypeCode.Type(); {
			case kind < 128 && !quoted:
				return end + icmpHeader + gopacketEnd(l.Payload[4:], layers.LayerTypeIPv6, true, unread)
			case kind == layers.ICMPv6TypeEchoRequest, kind == layers.ICMPv6TypeEchoReply, kind < 128:
				return end + icmpHeader
			default:
				return len(data) // all of the message is layers
			}
		default:
			return end
		}
	}
	return end
}

// beyondHeaders are layers behind which gopacket may read on as it likes: the headers end there.
var beyondHeaders = []gopacket.LayerType{layers.LayerTypeTCP, layers.LayerTypeUDP, layers.LayerTypeSCTP, layers.LayerTypeARP}

// gopacket has the same idea of where the headers end, and so has the program.
func TestHeadersAreGopackets(t *testing.T) {
	r := newRandom(t)
	program := newRunner(t, compiled(t, NewSet(), Options{HeadersOnly: true}).instructions)
	r.few = true
	ends := map[int]int{}
	cases, left := propertyCases(t, 20_000), 0
	for range cases {
		p := Packet{Data: r.wellFormed()}
		unread := false
		want, got := gopacketEnd(p.Data, layers.LayerTypeEthernet, false, &unread), p.HeaderLength()
		if unread {
			left++
			continue
		}
		if got != want || program.kept(&p) != want {
			t.Fatalf("packet %x\ngopacket: %d, HeaderLength: %d, the program keeps %d\n%v", p.Data, want, got, program.kept(&p),
				gopacket.NewPacket(p.Data, layers.LayerTypeEthernet, gopacket.NoCopy))
		}
		ends[got]++
	}
	t.Logf("%d packets, %d different lengths; gopacket could not read the headers of %d more", cases-left, len(ends), left)
	if left > cases/2 {
		t.Error("gopacket could not read most of them")
	}
	if len(ends) < 40 {
		t.Errorf("the headers have %d different lengths only: the random cases do not test much", len(ends))
	}
}

// What is kept of which packet.
func TestHeaderLength(t *testing.T) {
	const here, there = "10.0.0.1", "10.9.9.9"
	const here6, there6 = "2001:db8::1", "2001:db8::9"
	v4, v6 := layers.EthernetTypeIPv4, layers.EthernetTypeIPv6
	frame := func(parts ...gopacket.SerializableLayer) []byte { return serialized(t, parts...) }
	data := raw(make([]byte, 100)...)
	later := ip4(there, here, layers.IPProtocolUDP)
	later.FragOffset = 185
	quoted := frame(ip4(here, there, layers.IPProtocolTCP), tcpPorts(50000, 443), data)
	for _, tt := range []struct {
		name string
		data []byte
		want int
	}{
		{"TCP", frame(ethernet(v4), ip4(here, there, layers.IPProtocolTCP), tcpPorts(50000, 443), data), 14 + 20 + 20},
		{"TCP over IPv6 in a VLAN", frame(ethernet(layers.EthernetTypeDot1Q), tag(5, v6), ip6(here6, there6, 6), tcpPorts(50000, 443), data), 18 + 40 + 20},
		{"UDP", frame(ethernet(v4), ip4(here, there, layers.IPProtocolUDP), udpPorts(50000, 443), data), 14 + 20 + 8},
		{"UDP-Lite", frame(ethernet(v4), ip4(here, there, layers.IPProtocolUDPLite), data), 14 + 20 + 8},
		{"SCTP", frame(ethernet(v4), ip4(here, there, layers.IPProtocolSCTP), data), 14 + 20 + 12},
		{"DCCP", frame(ethernet(v4), ip4(here, there, protoDCCP), raw(0, 1, 0, 2, 6), data), 14 + 20 + 24},
		{"another protocol", frame(ethernet(v4), ip4(here, there, layers.IPProtocolGRE), data), 14 + 20},
		{"a later fragment", frame(ethernet(v4), later, data), 14 + 20},
		{"an echo", frame(ethernet(v4), ip4(here, there, layers.IPProtocolICMPv4), raw(8, 0, 0, 0, 0, 1, 0, 1), data), 14 + 20 + 8},
		{"an error", frame(ethernet(v4), ip4(there, here, layers.IPProtocolICMPv4), raw(3, 1, 0, 0, 0, 0, 0, 0), gopacket.Payload(quoted)), 14 + 20 + 8 + 20 + 20},
		{"an error with 8 bytes of TCP", frame(ethernet(v4), ip4(there, here, layers.IPProtocolICMPv4), raw(3, 1, 0, 0, 0, 0, 0, 0), gopacket.Payload(quoted[:28])), 14 + 20 + 8 + 28},
		{"neighbour discovery", frame(ethernet(v6), ip6(here6, there6, 58), raw(135, 0, 0, 0, 0, 0, 0, 0), raw(make([]byte, 24)...)), 14 + 40 + 32},
		{"ARP, padded", frame(ethernet(layers.EthernetTypeARP), raw(0, 1, 8, 0, 6, 4), raw(make([]byte, 40)...)), 14 + 28},
		{"ARP in a VLAN", frame(ethernet(layers.EthernetTypeDot1Q), tag(5, layers.EthernetTypeARP), raw(0, 1, 8, 0, 6, 4), raw(make([]byte, 40)...)), 18 + 28},
		{"another EtherType", frame(ethernet(layers.EthernetTypeLinkLayerDiscovery), data), 14},
		{"802.3", frame(ethernet(0x0026), data), 14},
		{"a fourth tag is not looked through", frame(ethernet(0x8100), tag(1, 0x8100), tag(2, 0x8100), tag(3, 0x8100), tag(4, v4), data), 14 + 12},
		{"no IPv4 header", frame(ethernet(v4), raw(0x44, 0, 0, 0), data), 14},
		{"cut in the TCP header", frame(ethernet(v4), ip4(here, there, layers.IPProtocolTCP), tcpPorts(50000, 443))[:14+20+10], 14 + 20 + 10},
		{"cut in the MAC header", frame(ethernet(v4))[:9], 9},
	} {
		p := Packet{Data: tt.data}
		if got := p.HeaderLength(); got != tt.want {
			t.Errorf("%s: HeaderLength is %d, want %d", tt.name, got, tt.want)
		}
		if got := newRunner(t, compiled(t, NewSet(), Options{HeadersOnly: true}).instructions).kept(&p); got != tt.want {
			t.Errorf("%s: the program keeps %d, want %d", tt.name, got, tt.want)
		}
	}
	none := Packet{Data: []byte{0x00, 1, 2, 3}, Framing: RawIP}
	if got := none.HeaderLength(); got != 1 {
		t.Errorf("of what is not IP, without a link layer, %d bytes are kept, want 1: a program that keeps none drops the packet", got)
	}
}

// A program with little room leaves the headers to its caller, and says so.
func TestHeadersWithoutRoom(t *testing.T) {
	set := NewSet(parsed(t, "protocol=TCP"))
	for most, cuts := range map[int]bool{0: true, 400: false} {
		if p := compiled(t, set, Options{HeadersOnly: true, MaxInstructions: most}); p.Cuts != cuts || !p.Exact {
			t.Errorf("of at most %d instructions: cuts: %v, exact: %v; it has %d", most, p.Cuts, p.Exact, len(p.Raw))
		}
	}
	if p := compiled(t, set, Options{HeadersOnly: true, Exclude: []Flow{}}); !p.Cuts || !p.Exact {
		t.Errorf("beside an upload: cuts: %v, exact: %v", p.Cuts, p.Exact)
	}
	for _, framing := range []Framing{Ethernet, RawIP, Cooked, Mixed} {
		with := compiled(t, NewSet(), Options{Framing: framing, HeadersOnly: true, NoLoopback: true})
		t.Logf("framing %d: %d instructions", framing, len(with.Raw))
	}
}
