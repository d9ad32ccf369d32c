package pcapfile

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
)

// Blocks of a pcapng file. draft-ietf-opsawg-pcapng, section 4.
const (
	blockSection   = 0x0a0d0d0a // the same in both byte orders
	blockInterface = 1
	blockPacket    = 2 // obsolete, but found
	blockSimple    = 3
	blockEnhanced  = 6

	byteOrderMagic = 0x1a2b3c4d
	blockOverhead  = 12 // type, and the length at either end
	sectionBody    = 16 // byte order, version, section length
)

// Options. Their codes mean different things in different blocks.
const (
	optEnd      = 0
	optFlags    = 2  // of packets: epb_flags, pack_flags
	optTSResol  = 9  // of interfaces
	optTSOffset = 14 // of interfaces
)

// maxInterfaces bounds what a section may describe. Real ones have a handful;
// each is remembered until the section ends.
const maxInterfaces = 1 << 16

// iface is what packets need to know of their interface.
type iface struct {
	link    LinkType
	snaplen uint32
	binary  bool  // units are 2^-exp of a second, else 10^-exp
	exp     uint8 // up to 63 or 19, so that a second's units fit 64 bits
	offset  int64 // seconds that are added to every time
}

func (r *Reader) openNG() error {
	r.next = r.nextNG
	head := r.word[:8]
	if err := r.begin(head, "the section header"); err != nil {
		return err
	}
	return r.section(head[4:])
}

func (r *Reader) nextNG(p *Packet) error {
	for {
		head := r.word[:8]
		if err := r.begin(head, "the block"); err != nil {
			return err
		}
		if binary.LittleEndian.Uint32(head) == blockSection {
			if err := r.section(head[4:]); err != nil {
				return err
			}
			continue
		}
		kind, length := r.order.Uint32(head), r.order.Uint32(head[4:])
		if err := r.enter(length, 0); err != nil {
			return err
		}
		found, err := r.block(kind, p)
		if err != nil {
			return err
		}
		if err := r.leave(length); err != nil {
			return err
		}
		if found {
			p.Offset = r.at
			return nil
		}
	}
}

// enter begins the body of a block that is said to have length bytes, of which
// least are needed.
func (r *Reader) enter(length, least uint32) error {
	if length < blockOverhead+least || length%4 != 0 {
		return r.malformed("the block claims a length of %d bytes; allowed: %d or more, divisible by 4", length, blockOverhead+least)
	}
	r.left = length - blockOverhead
	return nil
}

// leave passes over what is left of a block and looks whether it ends where it
// said it would.
func (r *Reader) leave(length uint32) error {
	if err := r.pass(r.left); err != nil {
		return err
	}
	tail := r.word[:4]
	if err := r.fill(tail, "the block"); err != nil {
		return err
	}
	if end := r.order.Uint32(tail); end != length {
		return r.malformed("the block has a length of %d bytes at its start and of %d at its end", length, end)
	}
	return nil
}

// take reads all of b from the block.
func (r *Reader) take(b []byte) error {
	if err := r.claim(uint32(len(b))); err != nil {
		return err
	}
	return r.fill(b, "the block")
}

// pass passes over n bytes of the block.
func (r *Reader) pass(n uint32) error {
	if err := r.claim(n); err != nil {
		return err
	}
	return r.skip(n, "the block")
}

// claim takes n bytes from what is left of the block.
func (r *Reader) claim(n uint32) error {
	if n > r.left {
		return r.malformed("the block is too short for what it claims to hold: %d bytes are left where %d are needed", r.left, n)
	}
	r.left -= n
	return nil
}

// section reads a section header behind its type. From here on the byte order
// may be another one, and interfaces are counted from 0 again.
func (r *Reader) section(length []byte) error {
	body := r.head[:sectionBody]
	if err := r.fill(body, "the section header"); err != nil {
		return err
	}
	switch {
	case binary.LittleEndian.Uint32(body) == byteOrderMagic:
		r.order = binary.LittleEndian
	case binary.BigEndian.Uint32(body) == byteOrderMagic:
		r.order = binary.BigEndian
	default:
		return r.malformed("the section header has an unknown byte order: % x", body[:4])
	}
	r.format = "pcapng, " + orderName(r.order)
	// 1.2 is what some writers made of 1.0; the draft has both read alike.
	if major, minor := r.order.Uint16(body[4:]), r.order.Uint16(body[6:]); major != 1 || minor != 0 && minor != 2 {
		return r.malformed("a pcapng section of version %d.%d; allowed: 1.0", major, minor)
	}
	// The section's length at 8 is of use only to those who skip sections.
	size := r.order.Uint32(length)
	if err := r.enter(size, sectionBody); err != nil {
		return err
	}
	r.left -= sectionBody
	r.ifaces = r.ifaces[:0]
	return r.leave(size)
}

// block reads what it needs of a block's body. found says that it is a packet.
func (r *Reader) block(kind uint32, p *Packet) (found bool, err error) {
	switch kind {
	case blockInterface:
		return false, r.describe()
	case blockEnhanced:
		return true, r.enhanced(p)
	case blockPacket:
		return true, r.obsolete(p)
	case blockSimple:
		return true, r.simple(p)
	}
	return false, nil // statistics, names, secrets and unknown blocks
}

func (r *Reader) describe() error {
	if len(r.ifaces) == maxInterfaces {
		return r.malformed("the section describes more than %d interfaces", maxInterfaces)
	}
	head := r.head[:8]
	if err := r.take(head); err != nil {
		return err
	}
	i := iface{link: LinkType(r.order.Uint16(head)), snaplen: r.order.Uint32(head[4:]), exp: 6}
	err := r.options(func(code, length uint16, value uint64) error {
		switch {
		case code == optTSResol && length == 1:
			i.exp, i.binary = uint8(value)&0x7f, value&0x80 != 0
			if i.binary && i.exp > 63 || !i.binary && i.exp > 19 {
				return r.malformed("the interface's times have a resolution of %s; allowed: down to 10^-19 and 2^-63 of a second", i.resolution())
			}
		case code == optTSOffset && length == 8:
			i.offset = int64(value)
		case code == optTSResol || code == optTSOffset:
			return r.malformed("option %d of the interface has %d bytes, which is not its length", code, length)
		}
		return nil
	})
	if err != nil {
		return err
	}
	if !r.known {
		r.link, r.known = i.link, true
	}
	r.ifaces = append(r.ifaces, i)
	return nil
}

func (i *iface) resolution() string {
	if i.binary {
		return fmt.Sprintf("2^-%d", i.exp)
	}
	return fmt.Sprintf("10^-%d", i.exp)
}

// options calls see for each option of the rest of the block. value is what an
// option of 1, 2, 4 or 8 bytes holds; of other lengths it is 0.
func (r *Reader) options(see func(code, length uint16, value uint64) error) error {
	for r.left >= 4 {
		head := r.word[:4]
		if err := r.take(head); err != nil {
			return err
		}
		code, length := r.order.Uint16(head), r.order.Uint16(head[2:])
		if code == optEnd {
			return nil
		}
		var value uint64
		rest := padded(uint32(length))
		if length == 1 || length == 2 || length == 4 || length == 8 {
			b := r.head[:rest]
			if err := r.take(b); err != nil {
				return err
			}
			rest = 0
			switch length {
			case 1:
				value = uint64(b[0])
			case 2:
				value = uint64(r.order.Uint16(b))
			case 4:
				value = uint64(r.order.Uint32(b))
			case 8:
				value = r.order.Uint64(b)
			}
		}
		if err := r.pass(rest); err != nil {
			return err
		}
		if err := see(code, length, value); err != nil {
			return err
		}
	}
	return nil
}

func padded(n uint32) uint32 { return (n + 3) &^ 3 }

func (r *Reader) enhanced(p *Packet) error {
	head := r.head[:20]
	if err := r.take(head); err != nil {
		return err
	}
	return r.packet(p, r.order.Uint32(head), head[4:])
}

// obsolete is the Packet Block, which came before the enhanced one.
func (r *Reader) obsolete(p *Packet) error {
	head := r.head[:20]
	if err := r.take(head); err != nil {
		return err
	}
	return r.packet(p, uint32(r.order.Uint16(head)), head[4:])
}

// packet reads what both of them have from the time on.
func (r *Reader) packet(p *Packet, id uint32, head []byte) error {
	i, err := r.iface(id)
	if err != nil {
		return err
	}
	units := uint64(r.order.Uint32(head))<<32 | uint64(r.order.Uint32(head[4:]))
	caplen, length := r.order.Uint32(head[8:]), r.order.Uint32(head[12:])
	p.LinkType, p.Timed = i.link, true
	sec, nsec := i.time(units)
	if err := r.setTime(p, sec, nsec); err != nil {
		return err
	}
	if err := r.content(p, caplen, length); err != nil {
		return err
	}
	return r.options(func(code, length uint16, value uint64) error {
		if code == optFlags && length == 4 {
			if d := Direction(value & 3); d <= Outbound { // 3 means nothing
				p.Direction = d
			}
		}
		return nil
	})
}

// simple is a packet of the first interface without a time. It does not say how
// much of it is there: all of it, or as much as the interface's snap length.
func (r *Reader) simple(p *Packet) error {
	i, err := r.iface(0)
	if err != nil {
		return err
	}
	head := r.head[:4]
	if err := r.take(head); err != nil {
		return err
	}
	length := r.order.Uint32(head)
	caplen := length
	if i.snaplen != 0 {
		caplen = min(caplen, i.snaplen)
	}
	p.LinkType = i.link
	return r.content(p, caplen, length)
}

// content reads the bytes of a packet and what fills them up to a multiple of 4.
func (r *Reader) content(p *Packet, caplen, length uint32) error {
	if caplen <= MaxPacket { // body says what is wrong otherwise
		if err := r.claim(caplen); err != nil {
			return err
		}
	}
	if err := r.body(p, caplen, length, "the block"); err != nil {
		return err
	}
	return r.pass(padded(caplen) - caplen)
}

func (r *Reader) iface(id uint32) (*iface, error) {
	if uint64(id) >= uint64(len(r.ifaces)) {
		return nil, r.malformed("a packet of interface %d, but the section has described %d interfaces so far", id, len(r.ifaces))
	}
	return &r.ifaces[id], nil
}

// time is the packet's time since 1970. What does not fit becomes a number of
// seconds that setTime refuses.
func (i *iface) time(units uint64) (sec, nsec uint64) {
	if i.binary {
		sec = units >> i.exp
		// frac is below 2^63, the product below 2^93: the high half, shifted,
		// is what stays of it.
		hi, lo := bits.Mul64(units&(1<<i.exp-1), 1e9)
		nsec = lo>>i.exp | hi<<(64-i.exp)
	} else {
		one := powerOf10(i.exp)
		sec, nsec = units/one, units%one
		if i.exp <= 9 {
			nsec *= powerOf10(9 - i.exp)
		} else {
			nsec /= powerOf10(i.exp - 9)
		}
	}
	if i.offset >= 0 {
		var carry uint64
		if sec, carry = bits.Add64(sec, uint64(i.offset), 0); carry != 0 {
			sec = math.MaxInt64
		}
		return sec, nsec
	}
	// Below 1970 it wraps and is out of range by that.
	return sec - uint64(-i.offset), nsec
}

func powerOf10(n uint8) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}
