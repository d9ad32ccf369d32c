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

// matches does what the kernel's program was too small for.
func (l *liveSource) matches() bool {
	p, m := &l.raw, &l.match
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
	case l.link == pcapfile.RawIP:
		m.Framing = filter.RawIP
	default:
		m.Framing = filter.Cooked
	}
	return l.spec.config.Filters.Match(m)
}

// layOut makes of a packet of the ring what the file's link type wants.
func (l *liveSource) layOut(to *source.Packet, prefix *[prefixLen]byte) {
	p := &l.raw
	to.Sec, to.Nsec = int64(p.Sec), p.Nsec
	link := l.link
	if l.own {
		to.Interface, link = l.ports.of(p)
		to.Flags = pcapfile.PacketFlags(p.Type)
	}
	switch {
	case link == pcapfile.SLL2:
		cooked(p, to, prefix)
	case p.Tagged && link == pcapfile.Ethernet && len(p.Data) >= macAddrsLen:
		// The kernel takes the outer tag out of received frames and hands it
		// over beside them (packet(7), PACKET_AUXDATA). It goes back where it
		// was.
		to.Prefix = prefix[:macAddrsLen+vlanTagLen]
		copy(to.Prefix, p.Data[:macAddrsLen])
		binary.BigEndian.PutUint16(to.Prefix[macAddrsLen:], p.TPID)
		binary.BigEndian.PutUint16(to.Prefix[macAddrsLen+2:], p.TCI)
		to.Data, to.Length = p.Data[macAddrsLen:], p.Len+vlanTagLen
	default:
		to.Prefix, to.Data, to.Length = nil, p.Data, p.Len
	}
}

// cooked puts an SLL2 header in the place of the link layer's. A tag follows
// it as it follows the addresses in a MAC header: the header's protocol is the
// tag's type, the tag's content comes first in the data.
func cooked(p *tpacket.Packet, to *source.Packet, prefix *[prefixLen]byte) {
	h := pcapfile.SLL2Header{
		Protocol: p.Protocol, Interface: p.Interface, HWType: p.HWType,
		Type: p.Type, AddrLen: p.AddrLen, Addr: p.Addr,
	}
	cut := max(0, min(p.Net, len(p.Data)))
	if netif.HWType(p.HWType).HasMAC() && len(p.Data) >= macLen {
		// Tags that are still in the frame stay in the data. The kernel's idea
		// of the network header is behind them, and its protocol may be theirs
		// or the one behind them, depending on its version.
		cut = macLen
		if t := binary.BigEndian.Uint16(p.Data[macAddrsLen:]); t >= minEtherType {
			h.Protocol = t
		}
	}
	to.Prefix = prefix[:pcapfile.SLL2Len]
	if p.Tagged {
		to.Prefix = prefix[:prefixLen]
		binary.BigEndian.PutUint16(prefix[pcapfile.SLL2Len:], p.TCI)
		binary.BigEndian.PutUint16(prefix[pcapfile.SLL2Len+2:], h.Protocol)
		h.Protocol = p.TPID
	}
	h.Put(to.Prefix)
	to.Data, to.Length = p.Data[cut:], p.Len-cut+len(to.Prefix)
}
