package inspect

import (
	"encoding/binary"
	"errors"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// errShort is what own layers give for bytes that end before their header does. It is
// one value, as making errors for hostile packets would cost more than the packets.
var errShort = errors.New("the header is not all there")

// errGarbage is for a header that cannot be one.
var errGarbage = errors.New("the header is not valid")

type ethernetLayer struct {
	layers.Ethernet
	d *decoder
}

func (l *ethernetLayer) DecodeFromBytes(b []byte, df gopacket.DecodeFeedback) error {
	if err := l.Ethernet.DecodeFromBytes(b, df); err != nil {
		return err
	}
	if p := &l.d.p; !p.hasIP {
		p.etherType = uint16(l.EthernetType)
		p.hasMAC = true
		copy(p.srcMAC[:], l.SrcMAC)
	}
	return nil
}

func (l *ethernetLayer) NextLayerType() gopacket.LayerType { return layerOf(uint16(l.EthernetType)) }

// tagLayer is a VLAN tag of 802.1Q or 802.1ad.
type tagLayer struct {
	layers.Dot1Q
	d *decoder
}

func (l *tagLayer) DecodeFromBytes(b []byte, df gopacket.DecodeFeedback) error {
	if err := l.Dot1Q.DecodeFromBytes(b, df); err != nil {
		return err
	}
	p := &l.d.p
	if !p.hasIP {
		p.etherType = uint16(l.Type)
	}
	// A priority tag (VLAN 0) is not a VLAN.
	if l.VLANIdentifier != 0 && !p.add(encap{kind: encapVLAN, id: uint32(l.VLANIdentifier)}) {
		return errGarbage
	}
	return nil
}

func (l *tagLayer) NextLayerType() gopacket.LayerType { return layerOf(uint16(l.Type)) }

type ip4Layer struct {
	layers.IPv4
	d *decoder
}

func (l *ip4Layer) DecodeFromBytes(b []byte, df gopacket.DecodeFeedback) error {
	if len(b) < 20 || b[0]>>4 != 4 {
		return errShort
	}
	err := l.IPv4.DecodeFromBytes(b, df)
	header := int(l.IHL) * 4
	if l.IHL < 5 || header > len(b) {
		return errGarbage
	}
	if err != nil { // options that are not valid; the rest may be
		l.Payload = b[header:]
	}
	d := l.d
	total := int(binary.BigEndian.Uint16(b[2:]))
	rest := d.wireRest(b)
	if total == 0 { // segmentation offload of more than 64 KiB (BIG TCP), or on Windows
		total = rest
		l.Payload = b[header:]
	}
	if total < header || !d.enter(addr4(b[12:]), addr4(b[16:]), false, b[9]) {
		return errGarbage
	}
	p := &d.p
	p.ttl, p.id = b[8], uint32(l.Id)
	p.segment, p.segLen = l.Payload, min(total, rest)-header
	if len(p.segment) > p.segLen {
		p.segment = p.segment[:max(0, p.segLen)]
	}
	p.offset, p.more = int(l.FragOffset)*8, l.Flags&layers.IPv4MoreFragments != 0
	p.fragment = p.more || p.offset > 0
	return nil
}

// NextLayerType has the first fragment looked into, too; it has the ports.
func (l *ip4Layer) NextLayerType() gopacket.LayerType {
	if l.d.p.offset > 0 {
		return gopacket.LayerTypeZero
	}
	return layerOfProtocol(l.d.p.proto, false)
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

func layerOfProtocol(proto uint8, v6 bool) gopacket.LayerType {
	switch proto {
	case protoTCP:
		return layers.LayerTypeTCP
	case protoUDP:
		return layers.LayerTypeUDP
	case protoICMP:
		if !v6 {
			return layers.LayerTypeICMPv4
		}
	case protoICMPv6:
		if v6 {
			return layers.LayerTypeICMPv6
		}
	case protoIPv4:
		return layers.LayerTypeIPv4
	case protoIPv6:
		return layers.LayerTypeIPv6
	case protoGRE:
		return layers.LayerTypeGRE
	case protoMPLS:
		return layers.LayerTypeMPLS
	}
	return gopacket.LayerTypeZero
}

// ownLayer is what the layers have in common that do not stand on one of gopacket's.
type ownLayer struct {
	rest []byte
	next gopacket.LayerType
}

func (l *ownLayer) NextLayerType() gopacket.LayerType { return l.next }
func (l *ownLayer) LayerPayload() []byte              { return l.rest }

// ip6Layer is IPv6 with its extension headers.
type ip6Layer struct {
	ownLayer
	d *decoder
}

// CanDecode implements gopacket.DecodingLayer.
func (*ip6Layer) CanDecode() gopacket.LayerClass { return layers.LayerTypeIPv6 }

// maxExtensions is how many extension headers are passed over.
const maxExtensions = 8

// DecodeFromBytes implements gopacket.DecodingLayer.
func (l *ip6Layer) DecodeFromBytes(b []byte, _ gopacket.DecodeFeedback) error {
	const header = 40
	if len(b) < header || b[0]>>4 != 6 {
		return errShort
	}
	d := l.d
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
		return errGarbage
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
	l.rest, l.next = body, gopacket.LayerTypeZero
	if p.offset == 0 {
		l.next = layerOfProtocol(proto, true)
	}
	return nil
}

type tcpLayer struct {
	*layers.TCP
	d *decoder
}

func (l *tcpLayer) DecodeFromBytes(b []byte, df gopacket.DecodeFeedback) error {
	if len(b) < 20 {
		return errShort
	}
	err := l.TCP.DecodeFromBytes(b, df)
	header := int(l.DataOffset) * 4
	p := &l.d.p
	if l.DataOffset < 5 || header > p.segLen {
		return errGarbage
	}
	if err != nil && header <= len(b) { // options that are not valid
		l.Payload = b[header:]
	}
	p.transport, p.sport, p.dport = transportTCP, uint16(l.SrcPort), uint16(l.DstPort)
	p.payload, p.length = l.Payload, p.segLen-header
	return nil
}

// NextLayerType ends the decoding: what is in TCP is looked at by flow.
func (*tcpLayer) NextLayerType() gopacket.LayerType { return gopacket.LayerTypeZero }

// LayerPayload is empty for the same reason.
func (*tcpLayer) LayerPayload() []byte { return nil }

type udpLayer struct {
	layers.UDP
	d *decoder
}

func (l *udpLayer) DecodeFromBytes(b []byte, df gopacket.DecodeFeedback) error {
	if len(b) < 8 {
		return errShort
	}
	if err := l.UDP.DecodeFromBytes(b, df); err != nil {
		return err
	}
	p := &l.d.p
	p.transport, p.sport, p.dport = transportUDP, uint16(l.SrcPort), uint16(l.DstPort)
	p.payload, p.length = l.Payload, max(0, p.segLen-8)
	return nil
}

// Ports of tunnels over UDP. 8472 is that of VXLAN on Linux before it had one of its own.
const (
	portVXLAN      = 4789
	portVXLANLinux = 8472
	portGeneve     = 6081
)

// NextLayerType looks at the destination only: the source of a tunnel is any port.
func (l *udpLayer) NextLayerType() gopacket.LayerType {
	switch uint16(l.DstPort) {
	case portVXLAN, portVXLANLinux:
		return layers.LayerTypeVXLAN
	case portGeneve:
		return layers.LayerTypeGeneve
	}
	return gopacket.LayerTypeZero
}

type icmp4Layer struct {
	*layers.ICMPv4
	d *decoder
}

func (l *icmp4Layer) DecodeFromBytes(b []byte, df gopacket.DecodeFeedback) error {
	if len(b) < 8 {
		return errShort
	}
	if err := l.ICMPv4.DecodeFromBytes(b, df); err != nil {
		return err
	}
	p := &l.d.p
	p.transport, p.payload, p.length = transportICMP4, l.Payload, max(0, p.segLen-8)
	return nil
}

func (*icmp4Layer) NextLayerType() gopacket.LayerType { return gopacket.LayerTypeZero }

type icmp6Layer struct {
	*layers.ICMPv6
	d *decoder
}

func (l *icmp6Layer) DecodeFromBytes(b []byte, df gopacket.DecodeFeedback) error {
	if len(b) < 4 {
		return errShort
	}
	if err := l.ICMPv6.DecodeFromBytes(b, df); err != nil {
		return err
	}
	p := &l.d.p
	p.transport, p.payload, p.length = transportICMP6, l.Payload, max(0, p.segLen-4)
	return nil
}

func (*icmp6Layer) NextLayerType() gopacket.LayerType { return gopacket.LayerTypeZero }

type arpLayer struct {
	*layers.ARP
	d *decoder
}

func (l *arpLayer) DecodeFromBytes(b []byte, df gopacket.DecodeFeedback) error {
	// Lengths of addresses other than those of Ethernet and IPv4 overflow in gopacket.
	if len(b) < 28 || b[4] != 6 || b[5] != 4 {
		return errShort
	}
	if err := l.ARP.DecodeFromBytes(b, df); err != nil {
		return err
	}
	l.d.p.isARP = !l.d.p.hasIP
	return nil
}

// NextLayerType ends the decoding.
func (*arpLayer) NextLayerType() gopacket.LayerType { return gopacket.LayerTypeZero }

// greLayer is RFC 2784 and 2890. Version 1 is that of PPTP, which is not looked into.
type greLayer struct {
	ownLayer
	d *decoder
}

// CanDecode implements gopacket.DecodingLayer.
func (*greLayer) CanDecode() gopacket.LayerClass { return layers.LayerTypeGRE }

// DecodeFromBytes implements gopacket.DecodingLayer.
func (l *greLayer) DecodeFromBytes(b []byte, _ gopacket.DecodeFeedback) error {
	if len(b) < 4 {
		return errShort
	}
	if b[1]&7 != 0 || b[0]&0x40 != 0 { // version, and source routes, which nobody sends
		return errGarbage
	}
	e := encap{kind: encapGRE}
	at := 4
	if b[0]&0x80 != 0 {
		at += 4
	}
	if b[0]&0x20 != 0 {
		if len(b) < at+4 {
			return errShort
		}
		e.id = binary.BigEndian.Uint32(b[at:])
		at += 4
	}
	if b[0]&0x10 != 0 {
		at += 4
	}
	if len(b) < at {
		return errShort
	}
	l.d.pending = e
	l.rest, l.next = b[at:], layerOf(binary.BigEndian.Uint16(b[2:]))
	return nil
}

type vxlanLayer struct {
	layers.VXLAN
	d *decoder
}

func (l *vxlanLayer) DecodeFromBytes(b []byte, df gopacket.DecodeFeedback) error {
	if err := l.VXLAN.DecodeFromBytes(b, df); err != nil {
		return err
	}
	l.d.pending = encap{kind: encapVXLAN, id: l.VNI}
	return nil
}

func (*vxlanLayer) NextLayerType() gopacket.LayerType { return layers.LayerTypeEthernet }

// geneveLayer is RFC 8926.
type geneveLayer struct {
	ownLayer
	d *decoder
}

// CanDecode implements gopacket.DecodingLayer.
func (*geneveLayer) CanDecode() gopacket.LayerClass { return layers.LayerTypeGeneve }

// DecodeFromBytes implements gopacket.DecodingLayer.
func (l *geneveLayer) DecodeFromBytes(b []byte, _ gopacket.DecodeFeedback) error {
	const header = 8
	if len(b) < header {
		return errShort
	}
	at := header + 4*int(b[0]&0x3f)
	if b[0]>>6 != 0 || len(b) < at {
		return errGarbage
	}
	l.d.pending = encap{kind: encapGeneve, id: binary.BigEndian.Uint32(b[4:]) >> 8}
	l.rest, l.next = b[at:], layerOf(binary.BigEndian.Uint16(b[2:]))
	return nil
}

// mplsLayer is a stack of labels. Nothing says what is behind it but its first four bits.
type mplsLayer struct {
	ownLayer
	d *decoder
}

// CanDecode implements gopacket.DecodingLayer.
func (*mplsLayer) CanDecode() gopacket.LayerClass { return layers.LayerTypeMPLS }

// maxLabels is how many labels of a stack are passed over.
const maxLabels = 16

// DecodeFromBytes implements gopacket.DecodingLayer.
func (l *mplsLayer) DecodeFromBytes(b []byte, _ gopacket.DecodeFeedback) error {
	for n := range maxLabels {
		if len(b) < 4 {
			return errShort
		}
		if n == 0 && !l.d.p.add(encap{kind: encapMPLS, id: binary.BigEndian.Uint32(b) >> 12}) {
			return errGarbage
		}
		bottom := b[2]&1 != 0
		if b = b[4:]; bottom {
			l.rest, l.next = b, layerOf(byVersion(b))
			return nil
		}
	}
	return errGarbage
}

// pppoeLayer is a session of PPPoE with the PPP header behind it: RFC 2516.
type pppoeLayer struct {
	ownLayer
	d *decoder
}

// CanDecode implements gopacket.DecodingLayer.
func (*pppoeLayer) CanDecode() gopacket.LayerClass { return layers.LayerTypePPPoE }

// DecodeFromBytes implements gopacket.DecodingLayer.
func (l *pppoeLayer) DecodeFromBytes(b []byte, _ gopacket.DecodeFeedback) error {
	const header = 8 // with the protocol of PPP
	if len(b) < header {
		return errShort
	}
	if !l.d.p.add(encap{kind: encapPPPoE, id: uint32(binary.BigEndian.Uint16(b[2:]))}) {
		return errGarbage
	}
	l.rest, l.next = b[header:], layerOf(byPPP(binary.BigEndian.Uint16(b[6:])))
	return nil
}
