package npcap

import (
	"encoding/binary"

	"pcapctl/capture/netif"
	"pcapctl/capture/pcapfile"
	"pcapctl/filter"
)

const (
	macAddrsLen = 12 // destination and source address, before the EtherType
	macAddrLen  = 6
	macLen      = 14
	// minEtherType is the least value that is a type; below it is the length of an
	// 802.3 frame, which cooked headers have as this protocol (LINUX_SLL_P_802_2).
	minEtherType = 0x600
	protocol8022 = 4
	etherIPv4    = 0x0800
	etherIPv6    = 0x86dd
)

// Types of packets as cooked headers have them, PACKET_… of packet(7).
const (
	packetHost      = 0
	packetBroadcast = 1
	packetMulticast = 2
	packetOther     = 3
	packetOutgoing  = 4
)

// layOut makes of an adapter's packet what the file's link type wants.
func (b *batch) layOut(a *adapter) {
	p, to := &a.head, &b.packet
	to.Sec, to.Nsec, to.Interface = int64(p.sec), p.nsec, a.id
	to.Prefix, to.Data, to.Length = nil, p.data, p.length
	if b.s.spec.perInterface() {
		to.Flags = 0
		if !a.own.EitherEnd { // else it may be either
			to.Flags = pcapfile.PacketFlags(a.packetType(p.data))
		}
	}
	if b.s.link == b.s.spec.cooked && len(b.s.adapters) > 1 && !b.s.each {
		b.cook(a)
	}
}

// packetType tells the direction of a packet, and whom it was sent to.
func (a *adapter) packetType(data []byte) uint8 {
	switch {
	case a.own.Direction(a.framing, data) == filter.Outgoing:
		return packetOutgoing
	case !a.mac || len(data) < macAddrsLen || a.own.EitherEnd:
		return packetHost
	case [macAddrLen]byte(data) == [macAddrLen]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}:
		return packetBroadcast
	case data[0]&1 != 0:
		return packetMulticast
	case [macAddrLen]byte(data) != a.own.MAC:
		return packetOther
	}
	return packetHost
}

// cook puts a cooked header in the place of the link layer's.
func (b *batch) cook(a *adapter) {
	p, to := &a.head, &b.packet
	h := pcapfile.SLL2Header{Interface: a.iface.Index, HWType: a.hardware(), Type: a.packetType(p.data)}
	cut := 0
	switch {
	case a.mac && len(p.data) >= macLen:
		// VLAN tags stay in the data, as Linux has them there.
		cut, h.Protocol = macLen, binary.BigEndian.Uint16(p.data[macAddrsLen:])
		if h.Protocol < minEtherType {
			h.Protocol = protocol8022
		}
		h.AddrLen = macAddrLen
		copy(h.Addr[:], p.data[macAddrLen:macAddrsLen])
	case a.link == pcapfile.Null:
		cut = min(pcapfile.NullLen, len(p.data))
	}
	if !a.mac && len(p.data) > cut {
		switch p.data[cut] >> 4 {
		case 4:
			h.Protocol = etherIPv4
		case 6:
			h.Protocol = etherIPv6
		}
	}
	if b.s.link == pcapfile.SLL {
		to.Prefix = b.prefix[:pcapfile.SLLLen]
		one := pcapfile.SLLHeader{Type: h.Type, HWType: h.HWType, AddrLen: h.AddrLen, Addr: h.Addr, Protocol: h.Protocol}
		one.Put(to.Prefix)
	} else {
		to.Prefix = b.prefix[:pcapfile.SLL2Len]
		h.Put(to.Prefix)
	}
	to.Data, to.Length = p.data[cut:], p.length-cut+len(to.Prefix)
}

// hardware is the type of device that cooked headers name. Loopback has to be told,
// as either of its ends is local.
func (a *adapter) hardware() uint16 {
	switch {
	case a.iface.Loopback:
		return uint16(netif.Loopback)
	case a.mac:
		return uint16(netif.Ethernet)
	}
	return uint16(netif.None)
}
