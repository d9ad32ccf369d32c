package capfile

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"

	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/filter"
)

// matcher chooses the packets of a file.
type matcher struct {
	set filter.Set
	all bool // the set records everything
	// local finds the local addresses, nil when none were given: its filters
	// name them as remote ones, so that an incoming packet matches by its source
	// and an outgoing one by its destination. So the addresses are found by the
	// same reading of the packet as the filters use.
	local *filter.Set
	// foreign is what of the set may match a packet that has no local end, nil
	// when nothing may.
	foreign *filter.Set
	packet  filter.Packet
}

func newMatcher(set filter.Set, local []netip.Prefix) (*matcher, error) {
	m := &matcher{set: set, all: set.RecordsAll()}
	if len(local) == 0 || m.all {
		return m, nil
	}
	var ends []filter.Filter
	for _, p := range local {
		text := p.Addr().String()
		if !p.IsSingleIP() {
			text = p.Masked().Addr().String() + "-" + lastOf(p).String()
		}
		f, faults := filter.Parse(filter.Spec{RemoteIPAddress: &text})
		if faults != nil {
			return nil, &fault.Error{Class: fault.Invalid, Target: "--local-address", Message: fmt.Sprintf("%s: %s", p, faults[0].Reason)}
		}
		ends = append(ends, f)
	}
	m.local = new(filter.NewSet(ends...).WithICMPErrors(false))
	// What is left out of a set of no filters is left out of everything.
	if rest := slices.DeleteFunc(set.Filters(), asksForSide); len(rest) > 0 || set.Len() == 0 {
		excludes := slices.DeleteFunc(set.Excludes(), asksForSide)
		m.foreign = new(filter.NewSet(rest...).WithICMPErrors(set.ICMPErrors()).Without(excludes...))
	}
	return m, nil
}

// lastOf is the highest address of a prefix.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 1 << (7 - i%8)
	}
	last, _ := netip.AddrFromSlice(b)
	return last
}

// asksForSide tells a filter that has to know which end is the local one: it
// names something of either, and no local address that would say so.
func asksForSide(f filter.Filter) bool {
	s := f.Spec()
	return s.LocalIPAddress == nil && (s.LocalPort != nil || s.RemoteIPAddress != nil || s.RemotePort != nil)
}

// match reports whether a packet is wanted. It allocates nothing.
func (m *matcher) match(p *pcapfile.Packet) bool {
	if m.all {
		return true
	}
	layOut(p, &m.packet)
	set := &m.set
	if m.local != nil {
		m.packet.Direction = filter.Incoming
		source := m.local.Match(&m.packet)
		m.packet.Direction = filter.Outgoing
		destination := m.local.Match(&m.packet)
		switch {
		case source && destination:
			m.packet.Direction = filter.Either
		case source: // Outgoing, as it stands
		case destination:
			m.packet.Direction = filter.Incoming
		default:
			if set = m.foreign; set == nil {
				return false
			}
		}
	}
	return set.Match(&m.packet)
}

// headerLength is how many bytes of a packet, of a link type that can be looked into, are headers.
func (m *matcher) headerLength(p *pcapfile.Packet) int { return headerLength(p, &m.packet) }

// HeaderLength is how many bytes of a packet are headers, as far as it can be looked into; ok is false for another link type.
func HeaderLength(p *pcapfile.Packet) (n int, ok bool) {
	if !knowsLink(p.LinkType) {
		return 0, false
	}
	return headerLength(p, new(filter.Packet)), true
}

func headerLength(p *pcapfile.Packet, in *filter.Packet) int {
	layOut(p, in)
	link := len(p.Data) - len(in.Data)
	if in.Data == nil {
		return min(linkHeader(p), len(p.Data))
	}
	n := in.HeaderLength()
	if link > 0 && n == 1 { // which a live capture keeps where there is no link layer either
		n = 0
	}
	return link + n
}

// linkHeader is the length of the link layer's header of a packet in which no network layer was found.
func linkHeader(p *pcapfile.Packet) int {
	switch p.LinkType {
	case pcapfile.Ethernet:
		if len(p.Data) < ethernetLen {
			return ethernetLen
		}
		_, rest := untag(binary.BigEndian.Uint16(p.Data[ethernetLen-2:]), p.Data[ethernetLen:])
		return len(p.Data) - len(rest)
	case pcapfile.SLL:
		return pcapfile.SLLLen
	case pcapfile.SLL2:
		return pcapfile.SLL2Len
	case pcapfile.Null, pcapfile.Loop:
		return pcapfile.NullLen
	case pcapfile.PPP, pcapfile.PPPSerial:
		return pppLen
	case pcapfile.PPPEther:
		return pppoeLen + 2
	case pcapfile.CiscoHDLC:
		return hdlcLen
	case pcapfile.FrameRelay:
		return frameRelayLen
	case pcapfile.SLIP:
		return slipLen
	case pcapfile.IEEE80211:
		return wifiLen
	case pcapfile.Radiotap:
		if len(p.Data) < 4 {
			return len(p.Data)
		}
		return int(binary.LittleEndian.Uint16(p.Data[2:])) + wifiLen
	default: // raw IP that is none
		return 1
	}
}

// layOut finds the network layer of a packet, and which way it went. What
// cannot be looked into is left as a packet that is not IP.
func layOut(p *pcapfile.Packet, to *filter.Packet) {
	*to = filter.Packet{Data: p.Data, Framing: filter.Cooked}
	switch p.Direction {
	case pcapfile.Inbound:
		to.Direction = filter.Incoming
	case pcapfile.Outbound:
		to.Direction = filter.Outgoing
	case pcapfile.UnknownDirection:
	}
	b := p.Data
	switch p.LinkType {
	case pcapfile.Ethernet:
		to.Framing = filter.Ethernet
		if len(b) >= ethernetLen {
			tunnelled(to, binary.BigEndian.Uint16(b[ethernetLen-2:]), b[ethernetLen:])
		}
	case pcapfile.RawIP, pcapfile.RawIPBSD, pcapfile.RawIPOpen:
		to.Framing = filter.RawIP
	case pcapfile.RawIPv4:
		onlyIP(to, b, 4)
	case pcapfile.RawIPv6:
		onlyIP(to, b, 6)
	case pcapfile.Null, pcapfile.Loop:
		layOutLoopback(p, to)
	case pcapfile.SLL:
		if to.Data = nil; len(b) >= pcapfile.SLLLen {
			to.Data, to.Protocol = b[pcapfile.SLLLen:], binary.BigEndian.Uint16(b[14:])
			cookedDirection(to, p.Direction, binary.BigEndian.Uint16(b[2:]), binary.BigEndian.Uint16(b))
			tunnelled(to, to.Protocol, to.Data)
		}
	case pcapfile.SLL2:
		if to.Data = nil; len(b) >= pcapfile.SLL2Len {
			to.Data, to.Protocol = b[pcapfile.SLL2Len:], binary.BigEndian.Uint16(b)
			cookedDirection(to, p.Direction, binary.BigEndian.Uint16(b[8:]), uint16(b[10]))
			tunnelled(to, to.Protocol, to.Data)
		}
	case pcapfile.IEEE80211, pcapfile.Radiotap:
		layOutWiFi(p, to)
	case pcapfile.SLIP, pcapfile.PPP, pcapfile.PPPSerial, pcapfile.PPPEther, pcapfile.CiscoHDLC, pcapfile.FrameRelay:
		layOutSerial(p, to)
	default:
		to.Data = nil
	}
}

// tunnelled lays out an IP packet in a PPPoE session or behind MPLS labels, and
// leaves all others to the framing.
func tunnelled(to *filter.Packet, etherType uint16, b []byte) {
	if version, ip, found := ipBehind(etherType, b); found {
		onlyIP(to, ip, version)
	}
}

// onlyIP is an IP packet of a version that what is before it has told. One of
// another version is garbage. Version 0 is no IP packet.
func onlyIP(to *filter.Packet, b []byte, version byte) {
	to.Framing, to.Data = filter.RawIP, nil
	if len(b) > 0 && version != 0 && b[0]>>4 == version {
		to.Data = b
	}
}

// layOutLoopback reads the four bytes that BSD has before the IP header: the
// address family, in network byte order (Loop) or in that of the machine that
// captured (Null), which need not be the file's. Families are small numbers, so
// the order shows. AF_INET is 2 everywhere; AF_INET6 is 10 on Linux, 23 on
// Windows, 24 on NetBSD and OpenBSD, 28 on FreeBSD, 30 on macOS.
func layOutLoopback(p *pcapfile.Packet, to *filter.Packet) {
	to.Data, to.Direction = nil, filter.Either
	if len(p.Data) < pcapfile.NullLen {
		return
	}
	family := binary.BigEndian.Uint32(p.Data)
	if p.LinkType == pcapfile.Null && family > 0xffff {
		family = binary.LittleEndian.Uint32(p.Data)
	}
	rest := p.Data[pcapfile.NullLen:]
	switch family {
	case 2:
		onlyIP(to, rest, 4)
	case 10, 23, 24, 28, 30:
		onlyIP(to, rest, 6)
	}
}

// cookedDirection takes the direction from the packet type (PACKET_HOST …
// PACKET_OUTGOING, packet(7)) unless the file tells it beside the packet. On
// loopback either end is the local one.
func cookedDirection(to *filter.Packet, told pcapfile.Direction, hwType, packetType uint16) {
	switch {
	case hwType == pcapfile.LoopbackDevice:
		to.Direction = filter.Either
	case told != pcapfile.UnknownDirection: // taken already
	case packetType == pcapfile.PacketOutgoing:
		to.Direction = filter.Outgoing
	default:
		to.Direction = filter.Incoming
	}
}
