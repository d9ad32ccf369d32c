package filter

import (
	"encoding/binary"
	"net/netip"
)

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

// portState is what is known of a packet's ports.
type portState uint8

const (
	noPorts       portState = iota // another protocol, or cut off
	knownPorts                     // they are in source and destination
	laterFragment                  // of a protocol with ports, which were in the first fragment
)

// headers is what filters look at in one IP packet.
type headers struct {
	source, destination         netip.Addr
	protocol                    uint8
	ports                       portState
	sourcePort, destinationPort port
	quote                       []byte // the packet that an ICMP error quotes
}

// Match reports whether the set records the packet. It allocates nothing. It does not look at the interface,
// and does not drop the second copy of what runs over loopback: the kernel program does both.
func (s Set) Match(p *Packet) bool {
	if s.recordsAll() {
		return true
	}
	version, data := networkLayer(p)
	h, ok := readHeaders(version, data)
	if !ok {
		return false
	}
	if s.matchesHeaders(&h, p.Direction) {
		return true
	}
	if s.noErrors || h.quote == nil {
		return false
	}
	quoted, ok := readHeaders(version, h.quote)
	return ok && s.matchesHeaders(&quoted, p.Direction.inverted())
}

// networkLayer finds the IP header: its version (0: the packet is not IP) and the bytes from there on.
func networkLayer(p *Packet) (version int, data []byte) {
	data = p.Data
	switch p.Framing {
	case Ethernet:
		if len(data) < 14 {
			return 0, nil
		}
		return untag(binary.BigEndian.Uint16(data[12:]), data[14:])
	case RawIP:
		return rawVersion(data), data
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
			return rawVersion(data), data
		}
		return untag(etherType, data)
	default:
		return 0, nil
	}
}

func isIPOrTag(etherType uint16) bool {
	return etherType == etherIPv4 || etherType == etherIPv6 || isTag(etherType)
}

// untag looks through VLAN tags. After an EtherType that announces one come the tag's two bytes and the next
// EtherType.
func untag(etherType uint16, data []byte) (version int, rest []byte) {
	for range maxTags {
		if !isTag(etherType) {
			break
		}
		if len(data) < 4 {
			return 0, nil
		}
		etherType, data = binary.BigEndian.Uint16(data[2:]), data[4:]
	}
	switch etherType {
	case etherIPv4:
		return 4, data
	case etherIPv6:
		return 6, data
	default:
		return 0, nil
	}
}

// rawVersion is the version an IP header claims.
func rawVersion(data []byte) int {
	if len(data) == 0 {
		return 0
	}
	return int(data[0] >> 4)
}

// readHeaders reads an IP packet. ok is false when the data does not start with a whole, well-formed IP header of
// that version.
func readHeaders(version int, data []byte) (h headers, ok bool) {
	switch version {
	case 4:
		return readIPv4(data)
	case 6:
		return readIPv6(data)
	default:
		return headers{}, false
	}
}

func readIPv4(data []byte) (h headers, ok bool) {
	if len(data) < 20 || data[0]>>4 != 4 || data[0]&15 < 5 {
		return headers{}, false
	}
	h.source = netip.AddrFrom4([4]byte(data[12:]))
	h.destination = netip.AddrFrom4([4]byte(data[16:]))
	h.protocol = data[9]
	if binary.BigEndian.Uint16(data[6:])&0x1fff != 0 {
		h.setLaterFragment()
		return h, true
	}
	length := int(data[0]&15) * 4
	if length > len(data) {
		return h, true
	}
	payload := data[length:]
	h.setPorts(payload)
	if h.protocol == protoICMP && len(payload) >= 8 && isICMPv4Error(payload[0]) {
		h.quote = payload[8:]
	}
	return h, true
}

func readIPv6(data []byte) (h headers, ok bool) {
	if len(data) < 40 || data[0]>>4 != 6 {
		return headers{}, false
	}
	h.source = netip.AddrFrom16([16]byte(data[8:]))
	h.destination = netip.AddrFrom16([16]byte(data[24:]))
	h.protocol = data[6]
	payload := data[40:]
	for range maxExtensions {
		length := extensionLength(h.protocol, payload)
		if length == 0 {
			break
		}
		fragment := h.protocol == protoFragment
		h.protocol = payload[0]
		if fragment && binary.BigEndian.Uint16(payload[2:])&0xfff8 != 0 {
			h.setLaterFragment()
			return h, true
		}
		payload = payload[min(length, len(payload)):]
	}
	h.setPorts(payload)
	if h.protocol == protoICMPv6 && len(payload) >= 8 && isICMPv6Error(payload[0]) {
		h.quote = payload[8:]
	}
	return h, true
}

// extensionLength is the length of an IPv6 extension header in bytes; 0 when there is nothing to look through: another
// protocol follows, or the header is cut off, which leaves it as the last protocol known.
func extensionLength(protocol uint8, data []byte) int {
	switch {
	case protocol == protoFragment && len(data) >= 4:
		return 8
	case protocol == protoFragment || len(data) < 2:
		return 0
	case protocol == protoHopByHop || protocol == protoRouting || protocol == protoDestination:
		return (int(data[1]) + 1) * 8
	case protocol == protoAH:
		return (int(data[1]) + 2) * 4 // RFC 4302, section 2.2
	default:
		return 0
	}
}

// setPorts reads the ports, when the protocol has any and they are there.
func (h *headers) setPorts(payload []byte) {
	if protocolHasPorts(h.protocol) && len(payload) >= 4 {
		h.ports = knownPorts
		h.sourcePort = port(binary.BigEndian.Uint16(payload))
		h.destinationPort = port(binary.BigEndian.Uint16(payload[2:]))
	}
}

// setLaterFragment notes that the ports, when the protocol has any, were in another fragment.
func (h *headers) setLaterFragment() {
	if protocolHasPorts(h.protocol) {
		h.ports = laterFragment
	}
}

func (s Set) matchesHeaders(h *headers, d Direction) bool {
	for i := range s.filters {
		if s.filters[i].matchesHeaders(h, d) {
			return true
		}
	}
	return false
}

// matchesHeaders tries f with the source as the local end, with the destination, or with both.
func (f *Filter) matchesHeaders(h *headers, d Direction) bool {
	if f.protocol != anyProtocol && h.protocol != f.protocol.number() {
		return false
	}
	if h.ports == noPorts && f.hasPorts() {
		return false
	}
	named := f.addressDecides()
	if (named || d != Incoming) && f.local.fits(h, h.source, h.sourcePort) &&
		f.remote.fits(h, h.destination, h.destinationPort) {
		return true
	}
	return (named || d != Outgoing) && f.local.fits(h, h.destination, h.destinationPort) &&
		f.remote.fits(h, h.source, h.sourcePort)
}

// fits reports whether an end of the packet is one that e names. Ports that were in another fragment fit.
func (e *end) fits(h *headers, a netip.Addr, p port) bool {
	return (e.addrs == nil || e.addrs.contains(a)) &&
		(e.ports == nil || h.ports == laterFragment || e.ports.contains(p))
}
