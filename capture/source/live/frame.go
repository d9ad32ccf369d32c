package live

import (
	"encoding/binary"

	"pcapctl/capture/netif"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/source"
	"pcapctl/capture/source/tpacket"
	"pcapctl/filter"
)

const (
	macAddrsLen = 12 // destination and source address, before the EtherType
	macLen      = 14
	vlanTagLen  = 4
	prefixLen   = pcapfile.SLL2Len + vlanTagLen // the longest there is
	// minEtherType is the least value that is a type; below it is the length of
	// an 802.3 frame.
	minEtherType = 0x600
)

// lookInto does what the kernel's program does not, and reports whether the packet is wanted.
func (b *batch) lookInto() bool {
	p, m := &b.raw, &b.match
	m.Data, m.Protocol, m.Direction = p.Data, p.Protocol, filter.Incoming
	switch {
	case netif.HWType(p.HWType) == netif.Loopback:
		m.Direction = filter.Either
	case p.Type == tpacket.TypeOutgoing:
		m.Direction = filter.Outgoing
	}
	switch {
	case netif.HWType(p.HWType).HasMAC():
		m.Framing = filter.Ethernet
	case b.link == pcapfile.RawIP:
		m.Framing = filter.RawIP
	default:
		m.Framing = filter.Cooked
	}
	if b.coarse && !b.s.spec.config.Filters.Match(m) {
		return false
	}
	b.packet.Event = b.event && b.s.spec.config.StopWhen.Match(m)
	if b.uncut {
		p.Data = p.Data[:m.HeaderLength()]
	}
	return true
}

// layOut makes of a packet of the ring what the file's link type wants.
func (b *batch) layOut() {
	p, to := &b.raw, &b.packet
	to.Sec, to.Nsec = int64(p.Sec), p.Nsec
	link := b.link
	if b.own {
		to.Interface, link = b.s.ports.of(p)
		to.Flags = pcapfile.PacketFlags(p.Type)
	}
	switch {
	case link == pcapfile.SLL2, link == pcapfile.SLL:
		cooked(p, to, &b.prefix, link)
	case p.Tagged && link == pcapfile.Ethernet && len(p.Data) >= macAddrsLen:
		// The kernel takes the outer tag out of received frames and hands it
		// over beside them (packet(7), PACKET_AUXDATA). It goes back where it
		// was.
		to.Prefix = b.prefix[:macAddrsLen+vlanTagLen]
		copy(to.Prefix, p.Data[:macAddrsLen])
		binary.BigEndian.PutUint16(to.Prefix[macAddrsLen:], p.TPID)
		binary.BigEndian.PutUint16(to.Prefix[macAddrsLen+2:], p.TCI)
		to.Data, to.Length = p.Data[macAddrsLen:], p.Len+vlanTagLen
	default:
		to.Prefix, to.Data, to.Length = nil, p.Data, p.Len
	}
}

// cooked puts a cooked header, SLL2 or SLL, in the place of the link layer's. A
// tag follows it as it follows the addresses in a MAC header: the header's
// protocol is the tag's type, the tag's content comes first in the data.
func cooked(p *tpacket.Packet, to *source.Packet, prefix *[prefixLen]byte, link pcapfile.LinkType) {
	protocol, length := p.Protocol, pcapfile.SLL2Len
	if link == pcapfile.SLL {
		length = pcapfile.SLLLen
	}
	cut := max(0, min(p.Net, len(p.Data)))
	if netif.HWType(p.HWType).HasMAC() && len(p.Data) >= macLen {
		// Tags that are still in the frame stay in the data. The kernel's idea
		// of the network header is behind them, and its protocol may be theirs
		// or the one behind them, depending on its version.
		cut = macLen
		if t := binary.BigEndian.Uint16(p.Data[macAddrsLen:]); t >= minEtherType {
			protocol = t
		}
	}
	to.Prefix = prefix[:length]
	if p.Tagged {
		to.Prefix = prefix[:length+vlanTagLen]
		binary.BigEndian.PutUint16(prefix[length:], p.TCI)
		binary.BigEndian.PutUint16(prefix[length+2:], protocol)
		protocol = p.TPID
	}
	if link == pcapfile.SLL {
		h := pcapfile.SLLHeader{Type: p.Type, HWType: p.HWType, AddrLen: p.AddrLen, Addr: p.Addr, Protocol: protocol}
		h.Put(to.Prefix)
	} else {
		h := pcapfile.SLL2Header{
			Protocol: protocol, Interface: p.Interface, HWType: p.HWType,
			Type: p.Type, AddrLen: p.AddrLen, Addr: p.Addr,
		}
		h.Put(to.Prefix)
	}
	to.Data, to.Length = p.Data[cut:], p.Len-cut+len(to.Prefix)
}
