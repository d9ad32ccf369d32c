package filter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/net/bpf"
)

// Npcap's driver runs classic BPF with two differences to Linux (bpf_filter in win_bpf_filter.c of Npcap 1.87). It
// compares signed: 200.0.0.0 is less than 100.0.0.0 to it. And it knows nothing of a packet but its bytes and its
// VLAN tag; a program that asks for more is refused, whereupon libpcap runs it in user space without a word, and
// counts other packets than before.

// Adapter is what tells the direction of packets where the driver does not.
type Adapter struct {
	// EitherEnd says that either end may be the local one: loopback, or nothing below is known.
	EitherEnd bool
	// MAC is the adapter's own address. A frame that has it as its source is outgoing. For Ethernet.
	MAC [6]byte
	// Addresses are the adapter's own, without zones. A packet that has one of them as its source is outgoing. For RawIP.
	Addresses []netip.Addr
}

// ErrNpcap is for options that a program for Npcap cannot have.
var ErrNpcap = errors.New("not possible with Npcap")

// Direction is which way a packet went. It allocates nothing.
func (a *Adapter) Direction(framing Framing, data []byte) Direction {
	outgoing := false
	switch {
	case a.EitherEnd || framing == Null:
		return Either
	case framing == Ethernet:
		outgoing = len(data) >= 12 && [6]byte(data[6:12]) == a.MAC
	case framing == RawIP:
		h, ok := readHeaders(rawVersion(data), data)
		outgoing = ok && slices.Contains(a.Addresses, h.source)
	}
	if outgoing {
		return Outgoing
	}
	return Incoming
}

func (o *Options) checkFraming() error {
	switch {
	case o.Framing > Null, o.Framing == Null && o.Npcap == nil:
		return fmt.Errorf("%w: %d", ErrFraming, o.Framing)
	case o.Npcap == nil:
		return nil
	case o.Framing == Cooked, o.Framing == Mixed:
		return fmt.Errorf("%w: %w: %d", ErrNpcap, ErrFraming, o.Framing)
	case len(o.Interfaces) > 0:
		return fmt.Errorf("%w: a choice of interfaces", ErrNpcap)
	case o.Exclude != nil:
		return fmt.Errorf("%w: flows that are left out; see Exclusion", ErrNpcap)
	case o.Framing == Null && !o.Npcap.EitherEnd:
		return fmt.Errorf("%w: a direction on loopback", ErrNpcap)
	}
	return nil
}

// loadDirection puts packetOutgoing into A for a packet that is sent, another number for any other.
func (c *compiler) loadDirection() bpf.Instruction {
	if c.Npcap == nil {
		return bpf.LoadExtension{Num: bpf.ExtType}
	}
	c.directed = true
	return bpf.LoadScratch{Dst: bpf.RegA, N: slotDirection}
}

// setDirection writes what loadDirection finds.
func (c *compiler) setDirection(value uint32, next label) label {
	return c.seq(next, bpf.LoadConstant{Dst: bpf.RegA, Val: value}, bpf.StoreScratch{Src: bpf.RegA, N: slotDirection})
}

// npcapNetwork writes the search for the IP header, and what tells the direction by the source.
func (c *compiler) npcapNetwork(v4, v6 ipLabels) label {
	if c.Framing == RawIP {
		v4.fixed = c.sourceIsOwn(v4.fixed, ipv4, 12)
		v6.fixed = c.sourceIsOwn(v6.fixed, ipv6, 8)
		return c.rawVersion(v4, v6)
	}
	next := c.ethernet(v4, v6)
	incoming := c.setDirection(0, next)
	outgoing := c.setDirection(packetOutgoing, next)
	mac := c.Npcap.MAC
	next = c.test(bpf.JumpEqual, binary.BigEndian.Uint32(mac[:]), outgoing, incoming)
	next = c.seq(next, bpf.LoadAbsolute{Off: 6, Size: 4})
	next = c.test(bpf.JumpEqual, uint32(binary.BigEndian.Uint16(mac[4:])), next, incoming)
	return c.seq(next, bpf.LoadAbsolute{Off: 10, Size: 2})
}

// sourceIsOwn writes the test whether the source of an IP packet, which starts the data, is one of the adapter's
// addresses.
func (c *compiler) sourceIsOwn(next label, fam family, offset uint32) label {
	if next == c.reject {
		return next
	}
	incoming := c.setDirection(0, next)
	outgoing := c.setDirection(packetOutgoing, next)
	at := incoming
	for _, addr := range c.Npcap.Addresses {
		if addr.Is4() != (fam.version == 4) {
			continue
		}
		other, bytes := at, addr.AsSlice()
		at = outgoing
		for word := len(bytes) - 4; word >= 0; word -= 4 {
			at = c.test(bpf.JumpEqual, binary.BigEndian.Uint32(bytes[word:]), at, other)
			at = c.seq(at, bpf.LoadAbsolute{Off: offset + uint32(word), Size: 4})
		}
	}
	return at
}

// null writes the test of the address family. JumpEqual has no sign.
func (c *compiler) null(v4, v6 ipLabels) label {
	at6 := c.headerAt(nullLen, v6)
	next := c.test(bpf.JumpEqual, familyIPv6Windows<<24, at6, c.reject)
	next = c.test(bpf.JumpEqual, familyIPv6<<24, at6, next)
	next = c.test(bpf.JumpEqual, familyIPv4<<24, c.headerAt(nullLen, v4), next)
	return c.seq(next, bpf.LoadAbsolute{Off: 0, Size: 4})
}
