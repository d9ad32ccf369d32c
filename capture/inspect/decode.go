package inspect

import (
	"encoding/binary"
	"math"
	"net/netip"

	"pcapctl/capture/pcapfile"
)

// addr is an IP address; one of IPv4 is mapped (::ffff:a.b.c.d). It has no pointers,
// so that tables of it cost the garbage collector nothing.
type addr [16]byte

func addr4(b []byte) addr {
	return addr{10: 0xff, 11: 0xff, 12: b[0], 13: b[1], 14: b[2], 15: b[3]}
}

func (a addr) netip() netip.Addr { return netip.AddrFrom16(a).Unmap() }

func (a addr) String() string { return a.netip().String() }

func (a addr) isUnspecified() bool { return a.netip().IsUnspecified() }

type mac [6]byte

// encap is a VLAN or tunnel that a packet is in.
type encap struct {
	kind     encapKind
	id       uint32 // VLAN, VNI or key
	src, dst addr   // of the outer IP header; zero for a VLAN
}

type encapKind uint8

// The kinds of encap.
const (
	encapVLAN encapKind = iota + 1
	encapIPIP
	encapGRE
	encapVXLAN
	encapGeneve
	encapMPLS
	encapPPPoE
)

func (k encapKind) String() string {
	switch k {
	case encapVLAN:
		return "VLAN"
	case encapIPIP:
		return "IP in IP"
	case encapGRE:
		return "GRE"
	case encapVXLAN:
		return "VXLAN"
	case encapGeneve:
		return "Geneve"
	case encapMPLS:
		return "MPLS"
	case encapPPPoE:
		return "PPPoE"
	}
	return ""
}

// maxEncaps is how many tags and tunnels of one packet are looked through.
const maxEncaps = 4

// transport says what is behind the IP header.
type transport uint8

const (
	noTransport transport = iota // another protocol, a later fragment, or too little of it
	transportTCP
	transportUDP
	transportICMP4
	transportICMP6
)

// packet is what was decoded of one packet: of the innermost IP header.
type packet struct {
	decoded
	encaps [maxEncaps]encap // depth of them; not cleared for each packet
}

// decoded is a packet without what it is in.
type decoded struct {
	number uint64
	at     int64 // nanoseconds since 1970
	timed  bool
	wire   int // bytes

	etherType uint16 // behind the link layer and its tags; 0 is not known
	hasMAC    bool
	srcMAC    mac

	hasIP    bool
	src, dst addr
	v6       bool
	proto    uint8
	ttl      uint8
	id       uint32 // of IPv4, or of a fragment of IPv6
	// Fragments: more says that others follow, offset is in bytes.
	fragment, more bool
	offset         int

	transport transport
	sport     uint16
	dport     uint16
	// payload is behind the header of TCP, UDP and ICMP (8 bytes of ICMPv4, 4 of ICMPv6), as
	// far as it was captured; length is what it was on the wire.
	payload []byte
	length  int
	segment []byte // what is behind the IP header, as far as captured
	segLen  int    // on the wire

	isARP bool

	depth int  // of encaps
	cut   bool // bytes are missing in the file

	duplicate bool // it has just been seen: see Engine.isDuplicate
}

// decoder looks into packets, header by header. It is not gopacket's: that package's
// tables of names cost each start of the program, also one that captures, 4 ms and 9 MB,
// and half of its layers cannot be trusted with any bytes.
type decoder struct {
	p       packet
	data    []byte // of the packet
	pending encap  // what the next IP header is in; kind 0 for none

	tcp  tcpHeader
	arp  arpHeader
	icmp icmpHeader
}

// layer decodes the header that bytes begin with, and notes in the packet what it has
// found. It gives what is behind the header, and the layer for that, nil for none. The rest
// is always shorter, so that decoding comes to an end.
type layer func(d *decoder, b []byte) (next layer, rest []byte)

// decode looks into a packet. What cannot be decoded is left as far as it was
// understood; the rest of the packet is then only counted.
func (d *decoder) decode(from *pcapfile.Packet, number uint64) *packet {
	p := &d.p
	p.decoded = decoded{}
	p.number, p.at, p.wire, p.cut = number, from.Sec*1e9+int64(from.Nsec), from.Length, len(from.Data) < from.Length
	p.timed = from.Timed && from.Sec >= 0 && from.Sec <= maxSeconds
	d.data, d.pending.kind = from.Data, 0
	next, rest := layer(ethernet), from.Data
	if from.LinkType != pcapfile.Ethernet {
		p.etherType, rest = linkLayer(p, from)
		next = layerOf(p.etherType)
	}
	for next != nil && len(rest) > 0 {
		next, rest = next(d, rest)
	}
	return p
}

// maxSeconds is the last time since 1970 that is taken for one: it is that of nanoseconds in 64 bits.
const maxSeconds = math.MaxInt64/1_000_000_000 - 1

// wireRest is how many bytes the packet had from the start of a part of it on.
func (d *decoder) wireRest(part []byte) int {
	return max(0, d.p.wire-(cap(d.data)-cap(part)))
}

// enter is called by the layers for every IP header. The one that comes last counts;
// those before are what the packet is in.
func (d *decoder) enter(src, dst addr, v6 bool, proto uint8) bool {
	p := &d.p
	if p.hasIP {
		e := d.pending
		if e.kind == 0 {
			e.kind = encapIPIP
		}
		e.src, e.dst = p.src, p.dst
		if !p.add(e) {
			return false
		}
	}
	d.pending.kind = 0
	p.hasIP, p.src, p.dst, p.v6, p.proto = true, src, dst, v6, proto
	p.transport, p.sport, p.dport, p.payload, p.length = noTransport, 0, 0, nil, 0
	p.fragment, p.more, p.offset, p.id = false, false, 0, 0
	return true
}

// add notes a tag or tunnel. It is false for more of them than are looked through.
func (p *packet) add(e encap) bool {
	if p.depth == maxEncaps {
		return false
	}
	p.encaps[p.depth] = e
	p.depth++
	return true
}

// EtherTypes that are looked into.
const (
	etherIPv4  = 0x0800
	etherARP   = 0x0806
	etherTEB   = 0x6558 // transparent Ethernet bridging, in GRE and Geneve
	etherIPv6  = 0x86dd
	etherMPLS  = 0x8847
	etherPPPoE = 0x8864
)

// layerOf is the layer behind an EtherType, nil for what is not looked into.
func layerOf(etherType uint16) layer {
	switch etherType {
	case etherIPv4:
		return ipv4
	case etherIPv6:
		return ipv6
	case etherARP:
		return arp
	case 0x8100, 0x88a8, 0x9100: // 802.1Q, 802.1ad, and what came before it
		return vlanTag
	case etherMPLS:
		return mpls
	case etherPPPoE:
		return pppoe
	case etherTEB:
		return ethernet
	}
	return nil
}

// linkLayer reads the header of link types other than Ethernet: what EtherType is behind
// it, and the bytes there. The EtherType is 0 for what is not looked into.
func linkLayer(p *packet, from *pcapfile.Packet) (etherType uint16, rest []byte) {
	b := from.Data
	switch from.LinkType {
	case pcapfile.SLL:
		if len(b) < pcapfile.SLLLen {
			return 0, nil
		}
		p.takeMAC(b[6:14], int(binary.BigEndian.Uint16(b[4:])))
		return binary.BigEndian.Uint16(b[14:]), b[pcapfile.SLLLen:]
	case pcapfile.SLL2:
		if len(b) < pcapfile.SLL2Len {
			return 0, nil
		}
		p.takeMAC(b[12:20], int(b[11]))
		return binary.BigEndian.Uint16(b), b[pcapfile.SLL2Len:]
	case pcapfile.RawIP, pcapfile.RawIPBSD, pcapfile.RawIPOpen:
		return byVersion(b), b
	case pcapfile.RawIPv4:
		return etherIPv4, b
	case pcapfile.RawIPv6:
		return etherIPv6, b
	case pcapfile.Null, pcapfile.Loop:
		if len(b) < pcapfile.NullLen {
			return 0, nil
		}
		// The address family in front has a number for IPv6 that differs by system;
		// the version tells as much.
		return byVersion(b[pcapfile.NullLen:]), b[pcapfile.NullLen:]
	case pcapfile.PPP, pcapfile.PPPSerial:
		if len(b) < 4 {
			return 0, nil
		}
		return byPPP(binary.BigEndian.Uint16(b[2:])), b[4:]
	case pcapfile.PPPEther:
		return etherPPPoE, b
	case pcapfile.CiscoHDLC:
		if len(b) < 4 {
			return 0, nil
		}
		return binary.BigEndian.Uint16(b[2:]), b[4:]
	case pcapfile.FrameRelay: // RFC 2427: an address of two bytes, control, NLPID
		if len(b) < 4 || b[2] != 0x03 {
			return 0, nil
		}
		switch b[3] {
		case 0xcc:
			return etherIPv4, b[4:]
		case 0x8e:
			return etherIPv6, b[4:]
		}
	case pcapfile.SLIP:
		const header = 16
		if len(b) > header {
			return byVersion(b[header:]), b[header:]
		}
	case pcapfile.IEEE80211, pcapfile.Radiotap:
		return wifi(from)
	default: // is only counted
	}
	return 0, nil
}

func (p *packet) takeMAC(b []byte, length int) {
	if length == len(p.srcMAC) {
		p.hasMAC = true
		copy(p.srcMAC[:], b)
	}
}

// byVersion tells IPv4 from IPv6 where nothing else does.
func byVersion(b []byte) uint16 {
	if len(b) == 0 {
		return 0
	}
	switch b[0] >> 4 {
	case 4:
		return etherIPv4
	case 6:
		return etherIPv6
	}
	return 0
}

// byPPP is the EtherType for the number of a PPP protocol.
func byPPP(protocol uint16) uint16 {
	switch protocol {
	case 0x0021:
		return etherIPv4
	case 0x0057:
		return etherIPv6
	case 0x0281:
		return etherMPLS
	}
	return 0
}

// wifi finds what is behind the header of a data frame of 802.11 that is not encrypted. An
// address field for bridges (WDS) is not looked for.
func wifi(from *pcapfile.Packet) (uint16, []byte) {
	b := from.Data
	if from.LinkType == pcapfile.Radiotap {
		if len(b) < 4 {
			return 0, nil
		}
		n := int(binary.LittleEndian.Uint16(b[2:]))
		if n > len(b) {
			return 0, nil
		}
		b = b[n:]
	}
	const header, qos, llc = 24, 2, 8
	if len(b) < 2 || b[0]&0x0c != 0x08 || b[1]&0x40 != 0 { // data, and not protected
		return 0, nil
	}
	n := header
	if b[0]&0x80 != 0 {
		n += qos
	}
	// Some devices fill the header up to a multiple of four bytes.
	for _, at := range [2]int{n, (n + 3) &^ 3} {
		if len(b) >= at+llc && b[at] == 0xaa && b[at+1] == 0xaa && b[at+2] == 0x03 {
			return binary.BigEndian.Uint16(b[at+llc-2:]), b[at+llc:]
		}
	}
	return 0, nil
}
