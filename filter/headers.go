package filter

import (
	"encoding/binary"
	"net/netip"
)

// portState is what is known of a packet's ports.
type portState uint8

const (
	noPorts       portState = iota // another protocol, or cut off
	knownPorts                     // they are in source and destination
	laterFragment                  // of a protocol with ports, which were in the first fragment
	portStates                     // how many there are
)

// noFlags stands for flags that are not there: of another protocol, or cut off.
const noFlags = 0x100

// headers is what filters look at in one IP packet.
type headers struct {
	source, destination         netip.Addr
	protocol                    uint8
	ports                       portState
	sourcePort, destinationPort port
	flags                       uint16 // of TCP; noFlags when they are not known
	quote                       []byte // the packet that an ICMP error quotes
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

// setPorts reads the ports and the flags, when the protocol has any and they are there.
func (h *headers) setPorts(payload []byte) {
	if protocolHasPorts(h.protocol) && len(payload) >= 4 {
		h.ports = knownPorts
		h.sourcePort = port(binary.BigEndian.Uint16(payload))
		h.destinationPort = port(binary.BigEndian.Uint16(payload[2:]))
	}
	h.flags = noFlags
	if h.protocol == protoTCP && len(payload) > tcpFlagsAt {
		h.flags = uint16(payload[tcpFlagsAt])
	}
}

// setLaterFragment notes that the ports, when the protocol has any, were in another fragment.
func (h *headers) setLaterFragment() {
	if protocolHasPorts(h.protocol) {
		h.ports = laterFragment
	}
}
