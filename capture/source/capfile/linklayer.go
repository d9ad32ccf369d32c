package capfile

import (
	"encoding/binary"

	"pcapctl/capture/pcapfile"
	"pcapctl/filter"
)

// The link types that libpcap's filters can look into and Ethernet is not in
// are read here as libpcap does it (gencode.c), so that a filter takes what tcpdump
// takes by the same expression. It is told where libpcap does not read what the
// link type's description says.

// knowsLink tells whether packets of the link type can be looked into.
func knowsLink(l pcapfile.LinkType) bool {
	switch l {
	case pcapfile.Ethernet, pcapfile.SLL, pcapfile.SLL2, pcapfile.RawIP, pcapfile.RawIPBSD, pcapfile.RawIPOpen,
		pcapfile.RawIPv4, pcapfile.RawIPv6, pcapfile.Null, pcapfile.Loop,
		pcapfile.SLIP, pcapfile.PPP, pcapfile.PPPSerial, pcapfile.PPPEther, pcapfile.CiscoHDLC, pcapfile.FrameRelay,
		pcapfile.IEEE80211, pcapfile.Radiotap:
		return true
	default:
		return false
	}
}

// tellsDirection tells whether packets of the link type say which way they went.
func tellsDirection(l pcapfile.LinkType) bool {
	return l == pcapfile.SLL || l == pcapfile.SLL2 || l == pcapfile.SLIP
}

// EtherTypes, and numbers of PPP protocols.
const (
	etherIPv4  = 0x0800
	etherIPv6  = 0x86dd
	etherMPLS  = 0x8847
	etherPPPoE = 0x8864 // of a session
	pppIPv4    = 0x0021
	pppIPv6    = 0x0057
	pppMPLS    = 0x0281
)

// How many VLAN tags are looked through, as package filter does, and how many
// MPLS labels.
const (
	maxTags   = 3
	maxLabels = 16
)

// Lengths of headers in bytes.
const (
	ethernetLen   = 14
	pppLen        = 4 // address, control, protocol
	pppoeLen      = 6
	hdlcLen       = 4
	slipLen       = 16
	frameRelayLen = 4 // of an address of two bytes, control and NLPID
	wifiLen       = 24
	wifiQoSLen    = 2
	llcLen        = 8 // of LLC with SNAP
	labelLen      = 4
)

// ipBehind is what a packet is whose IP header is not where filters look for it
// by themselves: behind an EtherType that is not that of IP. found is false for
// everything else than PPPoE sessions and MPLS, also behind VLAN tags.
func ipBehind(etherType uint16, b []byte) (version byte, ip []byte, found bool) {
	etherType, b = untag(etherType, b)
	switch etherType {
	case etherPPPoE:
		if len(b) < pppoeLen+2 {
			return 0, nil, true
		}
		version, ip = ipInPPP(binary.BigEndian.Uint16(b[pppoeLen:]), b[pppoeLen+2:])
		return version, ip, true
	case etherMPLS:
		version, ip = ipInMPLS(b)
		return version, ip, true
	}
	return 0, nil, false
}

func untag(etherType uint16, b []byte) (uint16, []byte) {
	for range maxTags {
		if etherType != 0x8100 && etherType != 0x88a8 && etherType != 0x9100 || len(b) < 4 {
			break
		}
		etherType, b = binary.BigEndian.Uint16(b[2:]), b[4:]
	}
	return etherType, b
}

// ipInPPP finds the IP packet behind the number of a PPP protocol. version is 0
// when there is none.
func ipInPPP(protocol uint16, b []byte) (version byte, ip []byte) {
	switch protocol {
	case pppIPv4:
		return 4, b
	case pppIPv6:
		return 6, b
	case pppMPLS:
		return ipInMPLS(b)
	}
	return 0, nil
}

// ipInMPLS finds the IP packet behind a stack of labels, of which the last has
// the bottom bit. Nothing tells what is behind it but its first four bits.
func ipInMPLS(b []byte) (version byte, ip []byte) {
	for range maxLabels {
		if len(b) <= labelLen {
			return 0, nil
		}
		bottom := b[2]&1 != 0
		b = b[labelLen:]
		if bottom {
			return b[0] >> 4, b
		}
	}
	return 0, nil
}

// byEtherType lays out what is behind an EtherType for link types that have no
// framing of package filter's.
func byEtherType(to *filter.Packet, etherType uint16, b []byte) {
	if version, ip, found := ipBehind(etherType, b); found {
		onlyIP(to, ip, version)
		return
	}
	switch etherType, b = untag(etherType, b); etherType {
	case etherIPv4:
		onlyIP(to, b, 4)
	case etherIPv6:
		onlyIP(to, b, 6)
	default:
		onlyIP(to, nil, 0)
	}
}

// layOutSerial lays out the link types of lines between two ends.
func layOutSerial(p *pcapfile.Packet, to *filter.Packet) {
	b := p.Data
	to.Data = nil
	switch p.LinkType {
	case pcapfile.PPP, pcapfile.PPPSerial:
		// A header that is compressed is not looked for, as libpcap does not either.
		if len(b) >= pppLen {
			version, ip := ipInPPP(binary.BigEndian.Uint16(b[2:]), b[pppLen:])
			onlyIP(to, ip, version)
		}
	case pcapfile.PPPEther:
		if len(b) >= pppoeLen+2 {
			version, ip := ipInPPP(binary.BigEndian.Uint16(b[pppoeLen:]), b[pppoeLen+2:])
			onlyIP(to, ip, version)
		}
	case pcapfile.CiscoHDLC:
		if len(b) >= hdlcLen {
			byEtherType(to, binary.BigEndian.Uint16(b[2:]), b[hdlcLen:])
		}
	case pcapfile.FrameRelay:
		// RFC 2427: unnumbered information, then the NLPID. libpcap 1.10 knows IP by
		// these, too, but then takes its header to begin at the frame's first byte.
		if len(b) >= frameRelayLen {
			switch binary.BigEndian.Uint16(b[2:]) {
			case 0x03cc:
				onlyIP(to, b[frameRelayLen:], 4)
			case 0x038e:
				onlyIP(to, b[frameRelayLen:], 6)
			}
		}
	case pcapfile.SLIP:
		// libpcap 1.10 takes the version from the first byte, which is the direction,
		// and all else from behind the header.
		if len(b) > slipLen {
			onlyIP(to, b[slipLen:], b[slipLen]>>4)
			switch {
			case p.Direction != pcapfile.UnknownDirection: // taken already
			case b[0] == 0:
				to.Direction = filter.Incoming
			case b[0] == 1:
				to.Direction = filter.Outgoing
			}
		}
	default: // match calls it for no other
	}
}

// Bits of the first byte of an 802.11 header.
const (
	wifiData    = 0x08 // of the type: data, and together with the next bit what is not defined
	wifiControl = 0x04
	wifiQoS     = 0x80 // of the subtype of data
)

// layOutWiFi finds the IP packet in a data frame of 802.11. The fourth address
// of frames between access points is not looked for, nor is it by libpcap, and
// what is encrypted is not IP.
func layOutWiFi(p *pcapfile.Packet, to *filter.Packet) {
	b := p.Data
	to.Data = nil
	begin := 0
	if p.LinkType == pcapfile.Radiotap {
		if len(b) < 4 {
			return
		}
		begin = int(binary.LittleEndian.Uint16(b[2:]))
	}
	if begin >= len(b) || b[begin]&wifiData == 0 || b[begin]&wifiControl != 0 {
		return
	}
	end := begin + wifiLen
	if b[begin]&wifiQoS != 0 {
		end += wifiQoSLen
	}
	if p.LinkType == pcapfile.Radiotap {
		padded, ok := paddedByRadiotap(b)
		if !ok {
			return
		}
		if padded {
			end = (end + 3) &^ 3
		}
	}
	if len(b) >= end+llcLen {
		byEtherType(to, binary.BigEndian.Uint16(b[end+llcLen-2:]), b[end+llcLen:])
	}
}

// paddedByRadiotap reports whether a radiotap header says that the 802.11 header
// is filled up to a multiple of four bytes. ok is false when that is cut off.
func paddedByRadiotap(b []byte) (padded, ok bool) {
	const (
		hasTime  = 0x01 // TSFT, 8 bytes, in the first byte of what is present
		hasFlags = 0x02
		hasMore  = 0x80 // in the last: more words of what is present follow, so that the flags are further on
		pad      = 0x20 // in the flags
	)
	if len(b) < 8 {
		return false, false
	}
	if b[4]&hasFlags == 0 || b[7]&hasMore != 0 {
		return false, true
	}
	at := 8
	if b[4]&hasTime != 0 {
		at += 8
	}
	if len(b) <= at {
		return false, false
	}
	return b[at]&pad != 0, true
}
