package filter

import (
	"encoding/binary"

	"golang.org/x/net/bpf"
)

// HeaderLength is how many bytes of p.Data are headers: link layer with VLAN tags, IP with options and extension
// headers, and TCP with its options, UDP, UDP-Lite, SCTP or DCCP; of ICMP errors the headers that they quote as well. Of a
// packet that is cut within its headers it is all there is. It allocates nothing.
//
// ARP is all header, and so are ICMPv6's neighbour discovery (RFC 4861) and multicast listener messages (RFC 2710, RFC
// 3810). Of what is not looked into, such as another EtherType or IP protocol, the headers before it count. It is never 0
// where there is data, as a program that keeps nothing drops the packet.
//
// Whatever a Set matches it matches of the headers alone: Match gives the same for p.Data[:n].
func (p *Packet) HeaderLength() int {
	etherType, rest := linkLayer(p)
	n := len(p.Data) - len(rest)
	switch etherType {
	case etherIPv4:
		n += ipHeaders(4, rest, false)
	case etherIPv6:
		n += ipHeaders(6, rest, false)
	case etherARP, etherRARP:
		n += arpLength(rest)
	}
	return min(max(n, 1), len(p.Data))
}

// beyond stands for headers that do not end before the packet does.
const beyond = 1 << 20

// arpLength is the length of an ARP packet, which has two addresses of each kind (RFC 826).
func arpLength(data []byte) int {
	if len(data) < 6 {
		return beyond
	}
	return 8 + 2*(int(data[4])+int(data[5]))
}

// ipHeaders is the length of the headers from an IP header on; 0 for data that is not an IP packet of the version. quoted
// says that an ICMP error quotes it.
func ipHeaders(version int, data []byte, quoted bool) int {
	if len(data) == 0 {
		return beyond
	}
	if int(data[0]>>4) != version {
		return 0
	}
	if version == 6 {
		return ipv6Headers(data, quoted)
	}
	length := int(data[0]&15) * 4
	switch {
	case length < minIPv4Header:
		return 0
	case len(data) < 10:
		return beyond
	case binary.BigEndian.Uint16(data[6:])&0x1fff != 0, length > len(data):
		return length
	}
	payload := data[length:]
	if data[9] != protoICMP {
		return length + transportLength(data[9], payload)
	}
	switch {
	case len(payload) == 0:
		return beyond
	case !quoted && isICMPv4Error(payload[0]):
		return length + icmpHeader + ipHeaders(4, payload[min(icmpHeader, len(payload)):], true)
	default:
		return length + icmpHeader
	}
}

func ipv6Headers(data []byte, quoted bool) int {
	if len(data) <= minIPv6Header {
		return beyond
	}
	protocol, length := data[6], minIPv6Header
	for range maxExtensions {
		rest := data[length:]
		fragment := protocol == protoFragment
		if !fragment && protocol != protoAH && protocol != protoHopByHop && protocol != protoRouting && protocol != protoDestination {
			break
		}
		if len(rest) < 2 || fragment && len(rest) < 4 {
			return beyond
		}
		length += extensionLength(protocol, rest)
		protocol = rest[0]
		if fragment && binary.BigEndian.Uint16(rest[2:])&0xfff8 != 0 {
			return length
		}
		if length > len(data) {
			return beyond
		}
	}
	payload := data[length:]
	if protocol != protoICMPv6 {
		return length + transportLength(protocol, payload)
	}
	switch {
	case len(payload) == 0 || isAllHeader(payload[0]):
		return beyond
	case !quoted && isICMPv6Error(payload[0]):
		return length + icmpHeader + ipHeaders(6, payload[min(icmpHeader, len(payload)):], true)
	default:
		return length + icmpHeader
	}
}

// isAllHeader reports whether an ICMPv6 message has nothing that another protocol has put into it: multicast listener
// messages of both versions, and neighbour discovery.
func isAllHeader(kind uint8) bool { return kind >= 130 && kind <= 137 || kind == 143 }

// transportLength is the length of a transport header; 0 for a protocol that is not known.
func transportLength(protocol uint8, data []byte) int {
	switch protocol {
	case protoTCP:
		if len(data) <= tcpOffsetAt {
			return beyond
		}
		return max(minTCP, int(data[tcpOffsetAt]>>4)*4)
	case protoDCCP:
		if len(data) <= dccpOffsetAt {
			return beyond
		}
		return max(minDCCP, int(data[dccpOffsetAt])*4)
	case protoUDP, protoUDPLite:
		return udpHeader
	case protoSCTP:
		return sctpHeader
	default:
		return 0
	}
}

// Transport headers: their least lengths, and where the offset of the data is, in words (RFC 9293, section 3.1, RFC 4340,
// section 5.1, RFC 768, RFC 3828, RFC 9260, section 3.1).
const (
	minTCP, tcpOffsetAt   = 20, 12
	minDCCP, dccpOffsetAt = 12, 4
	udpHeader             = 8
	sctpHeader            = 12
)

// headerEnds writes the part of a program that ends at what HeaderLength says of a packet, or at its snap length.
type headerEnds struct {
	*compiler
	whole label // keeps the snap length
	ret   label // keeps as many bytes as A says, within the snap length
	v4    label // X is at an IP header
	v6    label
}

// headersOnly writes the part, and returns where it starts.
func (c *compiler) headersOnly() label {
	e := &headerEnds{compiler: c, whole: c.accept}
	// No header is as long as that; and Npcap compares signed.
	e.ret = c.test(bpf.JumpGreaterThan, min(c.SnapLen, wholePacket), e.whole, c.write(bpf.RetA{}))
	// A packet that ends before what is loaded of it ends within its headers.
	c.cut = e.whole
	defer func() { c.cut = 0 }()
	transports := e.transports()
	e.v4 = e.ipv4(transports, e.ipv4(transports, 0))
	e.v6 = e.ipv6(transports, e.ipv6(transports, 0))
	switch c.Framing {
	case RawIP:
		return e.raw()
	case Null:
		return e.null()
	case Cooked:
		return e.cooked()
	case Mixed:
		mac := e.ethernet()
		return c.seq(c.oneOf(mac, e.cooked(), arphrdEther, arphrdLoopback), bpf.LoadExtension{Num: bpf.ExtLinkLayerType})
	default:
		return e.ethernet()
	}
}

// headersFit reports whether a program has room for the part beside its filters.
func headersFit(o Options) bool {
	c := compiler{Options: o, assembler: newAssembler(o.MaxInstructions)}
	c.accept = c.ret(o.SnapLen)
	c.headersOnly()
	return len(c.code) <= o.MaxInstructions/2
}

// keep is where a packet goes on of which n bytes are headers.
func (e *headerEnds) keep(n uint32) label { return e.compiler.ret(min(max(n, 1), e.SnapLen)) }

// behindX is where a packet goes on whose headers end n bytes behind X.
func (e *headerEnds) behindX(n uint32) label {
	if n == 0 {
		return e.seq(e.ret, bpf.TXA{})
	}
	return e.seq(e.ret, bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: n})
}

// byOffset reads how many words a header at X has, at the least some bytes.
func (e *headerEnds) byOffset(at uint32, shift []bpf.Instruction, least uint32) label {
	next := e.seq(e.ret, bpf.ALUOpX{Op: bpf.ALUOpAdd})
	short := e.seq(next, bpf.LoadConstant{Dst: bpf.RegA, Val: least})
	next = e.test(bpf.JumpGreaterOrEqual, least, next, short)
	return e.seq(next, append([]bpf.Instruction{bpf.LoadIndirect{Off: at, Size: 1}}, shift...)...)
}

// transports writes the end of transport headers at X, by the protocol in A; there is none where it is not known.
func (e *headerEnds) transports() label {
	words := bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2}
	tcp := e.byOffset(tcpOffsetAt, []bpf.Instruction{bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4}, words}, minTCP)
	dccp := e.byOffset(dccpOffsetAt, []bpf.Instruction{words}, minDCCP)
	udp, sctp, none := e.behindX(udpHeader), e.behindX(sctpHeader), e.behindX(0)
	next := e.test(bpf.JumpEqual, protoDCCP, dccp, none)
	next = e.test(bpf.JumpEqual, protoSCTP, sctp, next)
	next = e.oneOf(udp, next, protoUDP, protoUDPLite)
	return e.test(bpf.JumpEqual, protoTCP, tcp, next)
}

// notIP is where a packet goes on that is not the IP packet that it should be at X: at the start of a packet without a
// link layer there is one byte to keep at the least.
func (e *headerEnds) notIP() label {
	next := e.test(bpf.JumpEqual, 0, e.keep(1), e.ret)
	return e.seq(next, bpf.TXA{})
}

// ipv4 writes the walk over an IPv4 packet at X. quote is where an ICMP error goes on whose quote is at X; 0 for the quote
// itself.
func (e *headerEnds) ipv4(transports, quote label) label {
	other := e.behindX(icmpHeader)
	if quote != 0 {
		other = e.oneOf(e.toX(icmpHeader, quote), other, 3, 11, 5, 12, 4)
		other = e.seq(other, bpf.LoadIndirect{Off: 0, Size: 1})
	}
	next := e.test(bpf.JumpEqual, protoICMP, other, transports)
	length := []bpf.Instruction{
		bpf.LoadIndirect{Off: 0, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 15},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2},
		bpf.ALUOpX{Op: bpf.ALUOpAdd},
	}
	next = e.seq(next, append(length, bpf.TAX{}, bpf.LoadScratch{Dst: bpf.RegA, N: slotProtocol})...)
	next = e.seq(next, bpf.LoadIndirect{Off: 9, Size: 1}, bpf.StoreScratch{Src: bpf.RegA, N: slotProtocol})
	next = e.test(bpf.JumpBitsSet, 0x1fff, e.seq(e.ret, length...), next)
	next = e.seq(next, bpf.LoadIndirect{Off: 6, Size: 2})
	return e.version(4, next)
}

// version writes the test that an IP header at X has its version, and IPv4 a valid length.
func (e *headerEnds) version(n uint32, next label) label {
	low := n << 4
	if n == 4 {
		low |= minIPv4Header / 4
	}
	not := e.notIP()
	next = e.test(bpf.JumpGreaterThan, n<<4|15, not, next)
	next = e.test(bpf.JumpGreaterOrEqual, low, next, not)
	return e.seq(next, bpf.LoadIndirect{Off: 0, Size: 1})
}

// toX moves X by n bytes; A is lost.
func (e *headerEnds) toX(n uint32, next label) label {
	return e.seq(next, bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: n}, bpf.TAX{})
}

// ipv6 writes the same for IPv6.
func (e *headerEnds) ipv6(transports, quote label) label {
	other := e.behindX(icmpHeader)
	if quote != 0 {
		other = e.test(bpf.JumpGreaterThan, 4, other, e.toX(icmpHeader, quote))
		other = e.test(bpf.JumpGreaterOrEqual, 1, other, e.behindX(icmpHeader))
	}
	other = e.oneOf(e.whole, other, 130, 131, 132, 133, 134, 135, 136, 137, 143)
	other = e.seq(other, bpf.LoadIndirect{Off: 0, Size: 1})
	next := e.test(bpf.JumpEqual, protoICMPv6, other, transports)
	later := e.behindX(8)
	walk := reader{compiler: e.compiler}
	for range maxExtensions {
		next = walk.extension(next, later)
	}
	next = e.seq(next, bpf.StoreScratch{Src: bpf.RegA, N: slotProtocol},
		bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: minIPv6Header}, bpf.TAX{}, bpf.LoadScratch{Dst: bpf.RegA, N: slotProtocol})
	// The reference wants a byte behind the header.
	next = e.seq(next, bpf.LoadIndirect{Off: minIPv6Header, Size: 1}, bpf.LoadIndirect{Off: 6, Size: 1})
	return e.version(6, next)
}

// byType writes the test of the EtherType in A for what is at an offset.
func (e *headerEnds) byType(offset uint32, tag label) label {
	toX := func(next label) label { return e.seq(next, bpf.LoadConstant{Dst: bpf.RegX, Val: offset}) }
	next := e.oneOf(e.arp(offset), e.keep(offset), etherARP, etherRARP)
	if tag != 0 {
		next = e.oneOfTags(tag, next)
	}
	next = e.test(bpf.JumpEqual, etherIPv6, toX(e.v6), next)
	return e.test(bpf.JumpEqual, etherIPv4, toX(e.v4), next)
}

// arp writes the sum of the lengths in an ARP packet.
func (e *headerEnds) arp(offset uint32) label {
	return e.seq(e.ret,
		bpf.LoadAbsolute{Off: offset + 4, Size: 1},
		bpf.TAX{},
		bpf.LoadAbsolute{Off: offset + 5, Size: 1},
		bpf.ALUOpX{Op: bpf.ALUOpAdd},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: offset + 8})
}

func (e *headerEnds) ethernet() label {
	var next label
	for tags := maxTags; tags >= 0; tags-- {
		offset := uint32(14 + 4*tags)
		next = e.seq(e.byType(offset, next), bpf.LoadAbsolute{Off: offset - 2, Size: 2})
	}
	return next
}

func (e *headerEnds) raw() label {
	toX := func(next label) label { return e.seq(next, bpf.LoadConstant{Dst: bpf.RegX, Val: 0}) }
	next := e.test(bpf.JumpEqual, 6, toX(e.v6), e.keep(0))
	next = e.test(bpf.JumpEqual, 4, toX(e.v4), next)
	return e.seq(next, bpf.LoadAbsolute{Off: 0, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
}

func (e *headerEnds) null() label {
	toX := func(next label) label { return e.seq(next, bpf.LoadConstant{Dst: bpf.RegX, Val: nullLen}) }
	at6 := toX(e.v6)
	next := e.test(bpf.JumpEqual, familyIPv6Windows<<24, at6, e.keep(nullLen))
	next = e.test(bpf.JumpEqual, familyIPv6<<24, at6, next)
	next = e.test(bpf.JumpEqual, familyIPv4<<24, toX(e.v4), next)
	return e.seq(next, bpf.LoadAbsolute{Off: 0, Size: 4})
}

// cooked finds the start as linkLayer does: the EtherType is beside the packet, which starts with the rest of a tag where
// that is one, unless the kernel has put the tag there while sending.
func (e *headerEnds) cooked() label {
	raw := e.raw()
	var rest label
	for tags := maxTags; tags > 1; tags-- {
		offset := uint32(4 * tags)
		rest = e.seq(e.byType(offset, rest), bpf.LoadAbsolute{Off: offset - 2, Size: 2})
	}
	first := e.oneOfTags(rest, raw)
	first = e.test(bpf.JumpEqual, etherIPv6, e.seq(e.v6, bpf.LoadConstant{Dst: bpf.RegX, Val: 4}), first)
	first = e.test(bpf.JumpEqual, etherIPv4, e.seq(e.v4, bpf.LoadConstant{Dst: bpf.RegX, Val: 4}), first)
	e.cut = raw
	first = e.seq(first, bpf.LoadAbsolute{Off: 2, Size: 2})
	e.cut = e.whole
	version := func(n uint32, found label) label {
		next := e.test(bpf.JumpEqual, n, e.seq(found, bpf.LoadConstant{Dst: bpf.RegX, Val: 0}), first)
		return e.seq(next, bpf.LoadAbsolute{Off: 0, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
	}
	next := e.oneOf(e.arp(0), e.keep(0), etherARP, etherRARP)
	next = e.oneOfTags(first, next)
	next = e.test(bpf.JumpEqual, etherIPv6, version(6, e.v6), next)
	next = e.test(bpf.JumpEqual, etherIPv4, version(4, e.v4), next)
	return e.seq(next, bpf.LoadExtension{Num: bpf.ExtProto})
}
