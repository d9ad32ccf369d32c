package inspect

import "encoding/binary"

// ethernet is the header of Ethernet II. What stands there below 0x600 is a length (IEEE
// 802.3), and no EtherType.
func ethernet(d *decoder, b []byte) (layer, []byte) {
	const header, leastType = 14, 0x600
	if len(b) < header {
		return nil, nil
	}
	etherType := binary.BigEndian.Uint16(b[12:])
	if etherType < leastType {
		etherType = 0
	}
	if p := &d.p; !p.hasIP {
		p.etherType = etherType
		p.hasMAC = true
		copy(p.srcMAC[:], b[6:])
	}
	return layerOf(etherType), b[header:]
}

// vlanTag is a tag of 802.1Q or 802.1ad.
func vlanTag(d *decoder, b []byte) (layer, []byte) {
	const header, idMask = 4, 0xfff
	if len(b) < header {
		return nil, nil
	}
	p, etherType := &d.p, binary.BigEndian.Uint16(b[2:])
	if !p.hasIP {
		p.etherType = etherType
	}
	// A priority tag (VLAN 0) is not a VLAN.
	if id := binary.BigEndian.Uint16(b) & idMask; id != 0 && !p.add(encap{kind: encapVLAN, id: uint32(id)}) {
		return nil, nil
	}
	return layerOf(etherType), b[header:]
}

// ipv4 is RFC 791. Options are passed over, valid or not.
func ipv4(d *decoder, b []byte) (layer, []byte) {
	const least, moreFragments, offsetMask = 20, 0x2000, 0x1fff
	if len(b) < least || b[0]>>4 != 4 {
		return nil, nil
	}
	header := int(b[0]&0x0f) * 4
	if header < least || header > len(b) {
		return nil, nil
	}
	total, rest := int(binary.BigEndian.Uint16(b[2:])), d.wireRest(b)
	if total == 0 { // segmentation offload of more than 64 KiB (BIG TCP), or on Windows
		total = rest
	}
	if total < header || !d.enter(addr4(b[12:]), addr4(b[16:]), false, b[9]) {
		return nil, nil
	}
	p := &d.p
	p.ttl, p.id = b[8], uint32(binary.BigEndian.Uint16(b[4:]))
	p.segment, p.segLen = b[header:], min(total, rest)-header
	if len(p.segment) > p.segLen {
		p.segment = p.segment[:max(0, p.segLen)]
	}
	fragment := binary.BigEndian.Uint16(b[6:])
	p.offset, p.more = int(fragment&offsetMask)*8, fragment&moreFragments != 0
	p.fragment = p.more || p.offset > 0
	if p.offset > 0 {
		return nil, nil
	}
	return layerOfProtocol(p.proto, false), p.segment // the first fragment, too: it has the ports
}

// Numbers of protocols behind IP.
const (
	protoICMP   = 1
	protoIPv4   = 4
	protoTCP    = 6
	protoUDP    = 17
	protoIPv6   = 41
	protoGRE    = 47
	protoICMPv6 = 58
	protoMPLS   = 137
)

func layerOfProtocol(proto uint8, v6 bool) layer {
	switch proto {
	case protoTCP:
		return tcp
	case protoUDP:
		return udp
	case protoICMP:
		if !v6 {
			return icmpv4
		}
	case protoICMPv6:
		if v6 {
			return icmpv6
		}
	case protoIPv4:
		return ipv4
	case protoIPv6:
		return ipv6
	case protoGRE:
		return gre
	case protoMPLS:
		return mpls
	}
	return nil
}

// maxExtensions is how many extension headers are passed over.
const maxExtensions = 8

// ipv6 is RFC 8200 with its extension headers.
func ipv6(d *decoder, b []byte) (layer, []byte) {
	const header = 40
	if len(b) < header || b[0]>>4 != 6 {
		return nil, nil
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	rest := d.wireRest(b) - header
	if length == 0 { // a jumbogram, or segmentation offload
		length = rest
	}
	length = min(length, rest)
	proto, body := b[6], b[header:]
	if len(body) > length {
		body = body[:max(0, length)]
	}
	if !d.enter(addr(b[8:24]), addr(b[24:40]), true, proto) {
		return nil, nil
	}
	p := &d.p
	p.ttl = b[7]
	for range maxExtensions {
		size := 0
		switch proto {
		case 0, 43, 60, 135: // hop-by-hop, routing, destination, mobility: RFC 8200, 6275
			if len(body) >= 2 {
				size = 8 + 8*int(body[1])
			}
		case 51: // authentication, RFC 4302
			if len(body) >= 2 {
				size = 8 + 4*int(body[1])
			}
		case 44: // fragment
			if len(body) >= 8 {
				word := binary.BigEndian.Uint16(body[2:])
				p.offset, p.more = int(word&^7), word&1 != 0
				p.fragment = p.more || p.offset > 0
				p.id = binary.BigEndian.Uint32(body[4:])
				size = 8
			}
		default:
			size = -1
		}
		if size <= 0 || size > len(body) {
			break
		}
		proto, body = body[0], body[size:]
		length -= size
		if p.offset > 0 { // what follows is not the start of a header
			break
		}
	}
	p.proto, p.segment, p.segLen = proto, body, max(0, length)
	if p.offset > 0 {
		return nil, nil
	}
	return layerOfProtocol(proto, true), body
}

// tcpHeader is the header of TCP, RFC 9293.
type tcpHeader struct {
	seq, ack uint32
	window   uint16
	flags    uint8
	options  []byte // as far as they were captured
}

// Flags of TCP.
const (
	flagFIN = 0x01
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
)

// Kinds of TCP options that are looked at, and the two that have no length.
const (
	optionEnd         = 0
	optionNothing     = 1
	optionMSS         = 2
	optionWindowScale = 3
	optionTimestamps  = 8
)

// option is the data of the first option of a kind that has this many bytes, nil for none.
func (t *tcpHeader) option(kind uint8, size int) []byte {
	for b := t.options; len(b) > 0; {
		switch b[0] {
		case optionEnd:
			return nil
		case optionNothing:
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return nil
		}
		if b[0] == kind && int(b[1]) == 2+size {
			return b[2:b[1]]
		}
		b = b[b[1]:]
	}
	return nil
}

// tcp ends the decoding: what is in TCP is looked at by flow.
func tcp(d *decoder, b []byte) (layer, []byte) {
	const least = 20
	if len(b) < least {
		return nil, nil
	}
	p, header := &d.p, int(b[12]>>4)*4
	if header < least || header > p.segLen {
		return nil, nil
	}
	captured := min(header, len(b))
	d.tcp = tcpHeader{
		seq: binary.BigEndian.Uint32(b[4:]), ack: binary.BigEndian.Uint32(b[8:]), window: binary.BigEndian.Uint16(b[14:]),
		flags: b[13], options: b[least:captured],
	}
	p.transport, p.sport, p.dport = transportTCP, binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	p.payload, p.length = b[captured:], p.segLen-header
	return nil, nil
}

// Ports of tunnels over UDP. 8472 is that of VXLAN on Linux before it had one of its own.
const (
	portVXLAN      = 4789
	portVXLANLinux = 8472
	portGeneve     = 6081
)

// udp is RFC 768. A length of 0 is that of a jumbogram (RFC 2675). Of tunnels the
// destination tells: the source is any port.
func udp(d *decoder, b []byte) (layer, []byte) {
	const header = 8
	if len(b) < header {
		return nil, nil
	}
	length := int(binary.BigEndian.Uint16(b[4:]))
	if length == 0 {
		length = len(b)
	}
	if length < header {
		return nil, nil
	}
	p := &d.p
	p.transport, p.sport, p.dport = transportUDP, binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	p.payload, p.length = b[header:min(length, len(b))], max(0, p.segLen-header)
	switch p.dport {
	case portVXLAN, portVXLANLinux:
		return vxlan, p.payload
	case portGeneve:
		return geneve, p.payload
	}
	return nil, nil
}

// icmpHeader is the header of ICMP (RFC 792) or ICMPv6 (RFC 4443).
type icmpHeader struct {
	kind, code uint8
	low        uint16 // the last two of the eight bytes of ICMP, which are the MTU of type 3, code 4
}

func icmpv4(d *decoder, b []byte) (layer, []byte) {
	const header = 8
	if len(b) < header {
		return nil, nil
	}
	d.icmp = icmpHeader{b[0], b[1], binary.BigEndian.Uint16(b[6:])}
	p := &d.p
	p.transport, p.payload, p.length = transportICMP4, b[header:], max(0, p.segLen-header)
	return nil, nil
}

func icmpv6(d *decoder, b []byte) (layer, []byte) {
	const header = 4
	if len(b) < header {
		return nil, nil
	}
	d.icmp = icmpHeader{kind: b[0], code: b[1]}
	p := &d.p
	p.transport, p.payload, p.length = transportICMP6, b[header:], max(0, p.segLen-header)
	return nil, nil
}

// arpHeader is a message of ARP (RFC 826) for IPv4 on Ethernet.
type arpHeader struct {
	operation      uint16
	senderMAC      mac
	sender, target addr
}

func arp(d *decoder, b []byte) (layer, []byte) {
	const length = 28
	if len(b) < length || b[4] != 6 || b[5] != 4 { // of the addresses
		return nil, nil
	}
	d.arp = arpHeader{binary.BigEndian.Uint16(b[6:]), mac(b[8:14]), addr4(b[14:]), addr4(b[24:])}
	d.p.isARP = !d.p.hasIP
	return nil, nil
}

// gre is RFC 2784 and 2890. Version 1 is that of PPTP, which is not looked into.
func gre(d *decoder, b []byte) (layer, []byte) {
	if len(b) < 4 {
		return nil, nil
	}
	if b[1]&7 != 0 || b[0]&0x40 != 0 { // version, and source routes, which nobody sends
		return nil, nil
	}
	e := encap{kind: encapGRE}
	at := 4
	if b[0]&0x80 != 0 {
		at += 4
	}
	if b[0]&0x20 != 0 {
		if len(b) < at+4 {
			return nil, nil
		}
		e.id = binary.BigEndian.Uint32(b[at:])
		at += 4
	}
	if b[0]&0x10 != 0 {
		at += 4
	}
	if len(b) < at {
		return nil, nil
	}
	d.pending = e
	return layerOf(binary.BigEndian.Uint16(b[2:])), b[at:]
}

// vxlan is RFC 7348.
func vxlan(d *decoder, b []byte) (layer, []byte) {
	const header = 8
	if len(b) < header {
		return nil, nil
	}
	d.pending = encap{kind: encapVXLAN, id: binary.BigEndian.Uint32(b[4:]) >> 8}
	return ethernet, b[header:]
}

// geneve is RFC 8926.
func geneve(d *decoder, b []byte) (layer, []byte) {
	const header = 8
	if len(b) < header {
		return nil, nil
	}
	at := header + 4*int(b[0]&0x3f)
	if b[0]>>6 != 0 || len(b) < at {
		return nil, nil
	}
	d.pending = encap{kind: encapGeneve, id: binary.BigEndian.Uint32(b[4:]) >> 8}
	return layerOf(binary.BigEndian.Uint16(b[2:])), b[at:]
}

// maxLabels is how many labels of a stack are passed over.
const maxLabels = 16

// mpls is a stack of labels. Nothing says what is behind it but its first four bits.
func mpls(d *decoder, b []byte) (layer, []byte) {
	for n := range maxLabels {
		if len(b) < 4 {
			return nil, nil
		}
		if n == 0 && !d.p.add(encap{kind: encapMPLS, id: binary.BigEndian.Uint32(b) >> 12}) {
			return nil, nil
		}
		bottom := b[2]&1 != 0
		if b = b[4:]; bottom {
			return layerOf(byVersion(b)), b
		}
	}
	return nil, nil
}

// pppoe is a session of PPPoE with the PPP header behind it: RFC 2516.
func pppoe(d *decoder, b []byte) (layer, []byte) {
	const header = 8 // with the protocol of PPP
	if len(b) < header {
		return nil, nil
	}
	if !d.p.add(encap{kind: encapPPPoE, id: uint32(binary.BigEndian.Uint16(b[2:]))}) {
		return nil, nil
	}
	return layerOf(byPPP(binary.BigEndian.Uint16(b[6:]))), b[header:]
}
