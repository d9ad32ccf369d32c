package filter

import "encoding/binary"

// Framing is what a packet's bytes start with.
type Framing uint8

const (
	// Ethernet data starts at the MAC header: an AF_PACKET SOCK_RAW socket on Ethernet or loopback.
	Ethernet Framing = iota
	// RawIP data starts at the IP header, whose first four bits are the version: SOCK_RAW on a tun device.
	RawIP
	// Cooked data starts at the network header, and the EtherType is known beside it: SOCK_DGRAM.
	Cooked
	// Mixed is for programs only: one SOCK_RAW socket on interfaces of several kinds. Packets of Ethernet and
	// loopback devices are Ethernet, those of all others Cooked; the device type, which the program reads from the kernel, decides.
	Mixed
	// Null data starts with the address family, four bytes in the order of little-endian machines, and then the IP
	// header: Npcap's loopback adapter. Programs of it are for Npcap only.
	Null
)

// nullLen is the length of what comes before the IP header with Null.
const nullLen = 4

// The address families before packets of Null. Npcap has one of its own for IPv6: that of Windows means something else to others who
// read such files (DLTNULLTYPE_IPV6 of its source; libpcap's gencode.c). Wine's library, and other adapters of that link type, have that
// of Windows.
const (
	familyIPv4        = 2
	familyIPv6        = 24
	familyIPv6Windows = 23
)

// Direction is which way a packet went, and so which of its ends is the local one.
type Direction uint8

const (
	// Either end may be the local one: loopback, or a file that does not record the direction.
	Either Direction = iota
	// Incoming packets have the local end as their destination.
	Incoming
	// Outgoing packets have the local end as their source.
	Outgoing
)

// inverted is the direction of the packet that an ICMP error going this way complains about.
func (d Direction) inverted() Direction {
	switch d {
	case Incoming:
		return Outgoing
	case Outgoing:
		return Incoming
	default:
		return Either
	}
}

// Packet is what a Set is matched against.
type Packet struct {
	Data      []byte // from where Framing says; may be cut short, may be garbage
	Framing   Framing
	Protocol  uint16 // the EtherType from the socket or the file, beside the bytes; used with Cooked only
	Direction Direction
}

// How far a filter looks into a packet. The compiled program has the same bounds, as it cannot loop.
const (
	// maxTags is how many VLAN tags inside the frame are looked through. One more may have been stripped by
	// the kernel before.
	maxTags = 3
	// maxExtensions is how many IPv6 extension headers are looked through: as many as the order that RFC 8200,
	// section 4.1, recommends has before the transport header, ESP aside.
	maxExtensions = 6
)

// EtherTypes.
const (
	etherIPv4 = 0x0800
	etherIPv6 = 0x86dd
	etherARP  = 0x0806
	etherRARP = 0x8035
)

// tagTypes are the EtherTypes that announce a VLAN tag: 802.1Q, 802.1ad, and what came before 802.1ad.
var tagTypes = [...]uint16{0x8100, 0x88a8, 0x9100}

func isTag(etherType uint16) bool {
	return etherType == tagTypes[0] || etherType == tagTypes[1] || etherType == tagTypes[2]
}

// IP protocol numbers.
const (
	protoHopByHop    = 0
	protoICMP        = 1
	protoTCP         = 6
	protoUDP         = 17
	protoDCCP        = 33
	protoRouting     = 43
	protoFragment    = 44
	protoAH          = 51
	protoICMPv6      = 58
	protoDestination = 60
	protoSCTP        = 132
	protoUDPLite     = 136
)

// tcpFlagsAt is where the flags are in a TCP header (RFC 9293, section 3.1).
const tcpFlagsAt = 13

// protocolHasPorts reports whether a protocol has its two ports in its first four bytes.
func protocolHasPorts(protocol uint8) bool {
	switch protocol {
	case protoTCP, protoUDP, protoDCCP, protoSCTP, protoUDPLite:
		return true
	}
	return false
}

// isICMPv4Error reports whether an ICMP message quotes the packet it is about: unreachable, source quench,
// redirect, time exceeded, parameter problem (RFC 792).
func isICMPv4Error(kind uint8) bool {
	return kind == 3 || kind == 4 || kind == 5 || kind == 11 || kind == 12
}

// isICMPv6Error is the same for ICMPv6: unreachable, too big, time exceeded, parameter problem (RFC 4443).
func isICMPv6Error(kind uint8) bool { return kind >= 1 && kind <= 4 }

// networkLayer finds the IP header: its version (0: the packet is not IP) and the bytes from there on.
func networkLayer(p *Packet) (version int, data []byte) {
	switch etherType, data := linkLayer(p); etherType {
	case etherIPv4:
		return 4, data
	case etherIPv6:
		return 6, data
	default:
		return 0, nil
	}
}

// linkLayer finds what is behind the link layer and VLAN tags: its EtherType (0: not known) and the bytes from there on, the
// end of p.Data.
func linkLayer(p *Packet) (etherType uint16, data []byte) {
	data = p.Data
	switch p.Framing {
	case Ethernet:
		if len(data) < 14 {
			return 0, nil
		}
		return untag(binary.BigEndian.Uint16(data[12:]), data[14:])
	case RawIP:
		return typeOfVersion(rawVersion(data)), data
	case Cooked:
		etherType := p.Protocol
		switch version := rawVersion(data); {
		case etherType == etherIPv4 && version != 4, etherType == etherIPv6 && version != 6:
			// A received frame of which the kernel stripped one tag of several: newer kernels give a socket the
			// protocol behind all tags, though the data still starts with the rest of a tag.
			etherType = tagTypes[0]
		}
		if isTag(etherType) && (len(data) < 4 || !isIPOrTag(binary.BigEndian.Uint16(data[2:]))) {
			// A frame that the kernel tagged itself before sending it: the protocol is the tag's, while the data
			// starts with the IP header.
			return typeOfVersion(rawVersion(data)), data
		}
		return untag(etherType, data)
	case Null:
		if len(data) < nullLen {
			return 0, nil
		}
		switch binary.LittleEndian.Uint32(data) {
		case familyIPv4:
			return etherIPv4, data[nullLen:]
		case familyIPv6, familyIPv6Windows:
			return etherIPv6, data[nullLen:]
		}
		return 0, data[nullLen:]
	default:
		return 0, nil
	}
}

// typeOfVersion is the EtherType of an IP version; 0 for another.
func typeOfVersion(version int) uint16 {
	switch version {
	case 4:
		return etherIPv4
	case 6:
		return etherIPv6
	default:
		return 0
	}
}

func isIPOrTag(etherType uint16) bool {
	return etherType == etherIPv4 || etherType == etherIPv6 || isTag(etherType)
}

// untag looks through VLAN tags. After an EtherType that announces one come the tag's two bytes and the next
// EtherType.
func untag(etherType uint16, data []byte) (behind uint16, rest []byte) {
	for range maxTags {
		if !isTag(etherType) {
			break
		}
		if len(data) < 4 {
			return 0, nil
		}
		etherType, data = binary.BigEndian.Uint16(data[2:]), data[4:]
	}
	return etherType, data
}

// rawVersion is the version an IP header claims.
func rawVersion(data []byte) int {
	if len(data) == 0 {
		return 0
	}
	return int(data[0] >> 4)
}
