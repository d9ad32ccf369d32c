package save

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
)

// named is an encoder of one interface with names.
func named(link pcapfile.LinkType, n *Names) *namedEncoder {
	return &namedEncoder{
		ngEncoder: ngEncoder{cutter: newCutter(&request.Config{}), ifaces: make([]ngInterface, 1), described: 1, tail: pcapfile.StatisticsLen},
		names:     n, links: []pcapfile.LinkType{link}, file: 1,
	}
}

// frameOf lays out a packet between two ends, as TCP or UDP.
func frameOf(t testing.TB, udp bool, from, to string) []byte {
	t.Helper()
	a, b := netip.MustParseAddrPort(from), netip.MustParseAddrPort(to)
	kind, protocol := layers.EthernetTypeIPv4, layers.IPProtocolTCP
	if udp {
		protocol = layers.IPProtocolUDP
	}
	if a.Addr().Is6() {
		kind = layers.EthernetTypeIPv6
	}
	list := []gopacket.SerializableLayer{&layers.Ethernet{SrcMAC: make([]byte, 6), DstMAC: make([]byte, 6), EthernetType: kind}}
	if a.Addr().Is6() {
		list = append(list, &layers.IPv6{Version: 6, NextHeader: protocol, SrcIP: a.Addr().AsSlice(), DstIP: b.Addr().AsSlice()})
	} else {
		list = append(list, &layers.IPv4{Version: 4, IHL: 5, Protocol: protocol, SrcIP: a.Addr().AsSlice(), DstIP: b.Addr().AsSlice()})
	}
	if udp {
		list = append(list, &layers.UDP{SrcPort: layers.UDPPort(a.Port()), DstPort: layers.UDPPort(b.Port())})
	} else {
		list = append(list, &layers.TCP{SrcPort: layers.TCPPort(a.Port()), DstPort: layers.TCPPort(b.Port())})
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true}, append(list, gopacket.Payload("data"))...); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// comments are those of a file's packets, by number from 1 on.
func comments(t *testing.T, file []byte) map[int]string {
	t.Helper()
	found, le := map[int]string{}, binary.LittleEndian
	packets, _, size := pcapfile.WholeNG(file)
	if size != len(file) {
		t.Fatalf("%d of %d bytes are whole blocks", size, len(file))
	}
	number := 0
	for b := file; len(b) > 0; {
		block := b[:le.Uint32(b[4:])]
		b = b[len(block):]
		number++
		for o := block[28+(le.Uint32(block[20:])+3)&^3 : len(block)-4]; le.Uint16(o) != 0; {
			length := int(le.Uint16(o[2:]))
			if le.Uint16(o) == 1 {
				found[number] += string(o[4 : 4+length])
			}
			o = o[4+(length+3)&^3:]
		}
	}
	if number != packets {
		t.Fatalf("%d packets, and %d blocks", packets, number)
	}
	return found
}

func TestFlowsGetComments(t *testing.T) {
	const a, b, c = "10.0.0.1:40000", "10.0.0.2:443", "10.0.0.3:53"
	const six, sixB = "[2001:db8::1]:40000", "[2001:db8::2]:443"
	n := &Names{}
	add := func(protocol, local, remote, about string) {
		n.Add(protocol, netip.MustParseAddrPort(local), netip.MustParseAddrPort(remote), about)
	}
	packets := []source.Packet{}
	put := func(udp bool, from, to string) {
		data := frameOf(t, udp, from, to)
		packets = append(packets, source.Packet{Data: data, Length: len(data)})
	}
	add("TCP", a, b, "curl")
	add("UDP", a, c, "dig")
	add("TCP", six, sixB, "six")
	put(false, a, b)               // 1 curl
	put(false, b, a)               // has been said
	put(true, a, b)                // nobody's
	put(true, c, a)                // 4 dig, from the other end
	put(false, a, c)               // nobody's
	put(false, sixB, six)          // 6 six
	put(false, b, "10.0.0.1:4000") // nobody's
	tagged := frameOf(t, true, a, c)
	packets = append(packets, source.Packet{ // has been said, with a tag that was put back
		Prefix: append(bytes.Clone(tagged[:12]), 0x81, 0, 0, 5), Data: tagged[12:], Length: len(tagged) + 4,
	}, source.Packet{Data: tagged[:20], Length: 60}, source.Packet{Data: nil, Length: 60})

	e := named(pcapfile.Ethernet, n)
	write := func() map[int]string {
		file, next, count, _ := e.Append(make([]byte, 0, 1<<20), nil, &list{packets: packets}, 1<<20, 1<<20)
		if next != nil || count != uint64(len(packets)) {
			t.Fatalf("%d packets were appended, next %v", count, next)
		}
		return comments(t, file)
	}
	want := fmt.Sprint(map[int]string{1: "curl", 4: "dig", 6: "six"})
	if got := fmt.Sprint(write()); got != want {
		t.Errorf("comments %s, want %s", got, want)
	}
	if got := write(); len(got) > 0 {
		t.Errorf("what the file has is said again: %v", got)
	}
	e.Begin(nil) // another file
	if got := fmt.Sprint(write()); got != want {
		t.Errorf("comments of the next file %s, want %s", got, want)
	}
	add("TCP", b, a, "nginx") // the other end, and all is said again
	if got := write(); got[1] != "curl; nginx" || len(got) != 1 {
		t.Errorf("comments %v", got)
	}
	add("TCP", a, b, "wget")
	if got := write(); got[1] != "wget; nginx" || len(got) != 1 {
		t.Errorf("comments %v", got)
	}
}

// Cooked headers and packets without a link layer.
func TestFlowsOfOtherLinkTypes(t *testing.T) {
	const a, b = "10.0.0.1:40000", "10.0.0.2:443"
	frame := frameOf(t, false, a, b)
	sll2 := make([]byte, pcapfile.SLL2Len)
	binary.BigEndian.PutUint16(sll2, 0x0800)
	sll := make([]byte, pcapfile.SLLLen)
	binary.BigEndian.PutUint16(sll[14:], 0x8100)
	for link, p := range map[pcapfile.LinkType]source.Packet{
		pcapfile.SLL2:  {Prefix: sll2, Data: frame[14:]},
		pcapfile.SLL:   {Prefix: append(sll, 0, 5, 8, 0), Data: frame[14:]},
		pcapfile.RawIP: {Data: frame[14:]},
	} {
		n := &Names{}
		n.Add("TCP", netip.MustParseAddrPort(b), netip.MustParseAddrPort(a), "nginx")
		file, _, _, _ := named(link, n).Append(make([]byte, 0, 1<<20), nil, &list{packets: []source.Packet{p}}, 1<<20, 1<<20)
		if got := comments(t, file); got[1] != "nginx" {
			t.Errorf("%v: comments %v", link, got)
		}
	}
}

// Whatever a packet holds, and however little room there is: the file keeps its limit, and
// a comment is left out rather than a packet.
func TestCommentsKeepTheLimit(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		n := &Names{}
		var packets []source.Packet
		for range 1 + random.IntN(8) {
			from, to := fmt.Sprintf("10.0.0.%d:1", 1+random.IntN(3)), fmt.Sprintf("10.0.1.%d:2", 1+random.IntN(3))
			data := frameOf(t, false, from, to)
			for range random.IntN(3) {
				data[random.IntN(len(data))] = byte(random.Uint32())
			}
			data = data[:random.IntN(len(data)+1)]
			packets = append(packets, source.Packet{Data: data, Length: len(data)})
			n.Add("TCP", netip.MustParseAddrPort(from), netip.MustParseAddrPort(to), strings.Repeat("ü", random.IntN(200)))
		}
		room := int64(random.IntN(2000))
		e := named(pcapfile.Ethernet, n)
		plain := named(pcapfile.Ethernet, &Names{})
		file, next, count, data := e.Append(make([]byte, 0, 1<<20), nil, &list{packets: packets}, 1<<20, room)
		if int64(len(file))+e.endSize() > room && len(file) > 0 {
			t.Fatalf("%d bytes and %d of the end in a room of %d", len(file), e.endSize(), room)
		}
		comments(t, file)
		if next == nil && count != uint64(len(packets)) {
			t.Fatalf("%d packets of %d, and none is next", count, len(packets))
		}
		if count > 0 {
			want, _, _, wantData := plain.Append(make([]byte, 0, 1<<20), nil, &list{packets: packets[:count]}, 1<<20, 1<<20)
			if wantData != data || len(want) > len(file) {
				t.Fatalf("%d bytes of packets, want %d", data, wantData)
			}
		}
	}
}

func TestCommentsAllocateNothing(t *testing.T) {
	n := &Names{}
	packets := make([]source.Packet, 64)
	for i := range packets {
		from := fmt.Sprintf("10.0.0.%d:1", 1+i)
		data := frameOf(t, false, from, "10.0.1.1:2")
		packets[i] = source.Packet{Data: data, Length: len(data)}
		n.Add("TCP", netip.MustParseAddrPort(from), netip.MustParseAddrPort("10.0.1.1:2"), "program "+from)
	}
	e := named(pcapfile.Ethernet, n)
	batch, buf, all := &list{packets: packets}, make([]byte, 0, 1<<20), uint64(0)
	if allocs := testing.AllocsPerRun(100, func() {
		e.file++
		var count uint64
		buf, _, count, _ = e.Append(buf[:0], nil, batch, 1<<20, 1<<20)
		all += count
	}); allocs != 0 || all != 101*64 {
		t.Errorf("%v allocations for a batch, of %d packets in all", allocs, all)
	}
	if got := len(comments(t, buf)); got != len(packets) {
		t.Errorf("%d packets have comments", got)
	}
}

// The table has a bound, and what it has no room for is left out.
func TestNamesAreBounded(t *testing.T) {
	n := &Names{}
	for i := range maxNames {
		n.Add("TCP", netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 16), 1}), uint16(i)), netip.MustParseAddrPort("10.9.9.9:1"), "x")
	}
	if got := n.used.Load(); got != maxNames/2 {
		t.Errorf("%d names are held", got)
	}
}

func BenchmarkNames(b *testing.B) {
	data := frameOf(b, false, "10.0.0.1:40000", "10.0.0.2:443")
	packets := make([]source.Packet, 64)
	for i := range packets {
		packets[i] = source.Packet{Data: data, Length: len(data)}
	}
	for _, names := range []int{0, 1, 1000} {
		b.Run(fmt.Sprint(names), func(b *testing.B) {
			n := &Names{}
			for i := range names {
				n.Add("TCP", netip.AddrPortFrom(netip.MustParseAddr("10.0.0.1"), uint16(40000+i)), netip.MustParseAddrPort("10.0.0.2:443"), "curl")
			}
			e, batch, buf := named(pcapfile.Ethernet, n), &list{packets: packets}, make([]byte, 0, 1<<20)
			b.ReportAllocs()
			for b.Loop() {
				buf, _, _, _ = e.Append(buf[:0], nil, batch, 1<<20, 1<<20)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(packets)), "ns/packet")
		})
	}
}
