package pcapfile

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
)

// Blocks of a pcapng file. draft-ietf-opsawg-pcapng, section 4.
const (
	blockSection   = 0x0a0d0d0a // the same in both byte orders
	blockInterface = 1
	blockPacket    = 2 // obsolete, but found
	blockSimple    = 3
	blockEnhanced  = 6

	byteOrderMagic = 0x1a2b3c4d
	blockHead      = 8  // type and length
	blockOverhead  = 12 // those, and the length once more at the end
	simpleHeadLen  = 12 // up to the packet's bytes
	capLenAt       = 20 // how many of a packet's bytes are there, in blocks other than simple ones; its length follows
	sectionBody    = 16 // byte order, version, section length
)

// Options. Their codes mean different things in different blocks.
const (
	optEnd      = 0
	optFlags    = 2  // of packets: epb_flags, pack_flags
	optTSResol  = 9  // of interfaces
	optTSOffset = 14 // of interfaces
)

// What of a block is held in memory at the most, in bytes; all are multiples of
// 4. A packet has its first bytes and a number of options; one option has up to
// 64 KiB.
const (
	maxOptions     = 256 << 10
	maxPacketBlock = enhancedHeadLen + MaxPacket + maxOptions
	maxDescription = 1 << 20 // of sections and interfaces
	// MaxBlock is the largest block that is kept, such as the secrets of TLS
	// sessions, which may be many.
	MaxBlock = 8 << 20
	// closing is what a block takes that is cut behind a whole option: the end of
	// the options, and the length once more.
	closing = 8
)

// maxInterfaces bounds what a section may describe. Real ones have a handful;
// each is remembered until the section ends.
const maxInterfaces = 1 << 16

// iface is what packets need to know of their interface.
type iface struct {
	link    LinkType
	snaplen uint32
	odd     bool  // what its times mean is not told in a valid way
	binary  bool  // units are 2^-exp of a second, else 10^-exp
	exp     uint8 // up to 127
	offset  int64 // seconds that are added to every time
	lost    counts
}

// block is what has been read of a block.
type block struct {
	kind   uint32
	length uint32
	// raw is the block from its start: all of it when whole, else as much as is
	// held.
	raw   []byte
	whole bool
}

// body is raw without the length at its end.
func (b *block) body() []byte {
	if b.whole {
		return b.raw[:len(b.raw)-4]
	}
	return b.raw
}

func (r *Reader) openNG() error {
	r.ng = true
	var b block
	if err := r.load(&b); err != nil {
		return err
	}
	var p Packet
	if err := r.section(&b, &p); err != nil {
		return err
	}
	r.first, r.odd = bytes.Clone(b.raw), p.Odd
	return nil
}

// KeepBlocks has Next give every block of a pcapng file as it stands, those that
// are not packets included; of a section that is the one behind the first, which
// FirstSection gives. It does nothing for a pcap file.
//
// What is given is a valid block in the section's byte order: options that are not
// valid are left out, with those behind them.
func (r *Reader) KeepBlocks() { r.keep = true }

// FirstSection is the section header that a pcapng file begins with, nil for a
// pcap file, and what is odd in it.
func (r *Reader) FirstSection() ([]byte, Oddity) { return r.first, r.odd }

// Move copies the bytes of the packet or block to other memory, unless that is too
// small.
func (p *Packet) Move(to []byte) {
	if p.Block == nil {
		if len(p.Data) <= len(to) {
			p.Data = to[:copy(to, p.Data)]
		}
		return
	}
	if len(p.Block) > len(to) {
		return
	}
	at := cap(p.Block) - cap(p.Data) // Data is a part of Block
	p.Block = to[:copy(to, p.Block)]
	if !p.Apart {
		p.Data = p.Block[at : at+len(p.Data)]
	}
}

// LinkTypes are those of the interfaces that the file has described so far, of a
// pcapng file in the section that is being read. Each is there once.
func (r *Reader) LinkTypes() []LinkType {
	if r.first == nil {
		return []LinkType{r.link.Kind()}
	}
	var list []LinkType
	for i := range r.ifaces {
		if link := r.ifaces[i].link; !slices.Contains(list, link) {
			list = append(list, link)
		}
	}
	return list
}

func (r *Reader) nextNG(p *Packet) error {
	for {
		var b block
		err := r.load(&b)
		if err != nil {
			return err
		}
		switch b.kind {
		case blockSection:
			err = r.section(&b, p)
		case blockInterface:
			err = r.describe(&b, p)
		case blockEnhanced, blockPacket:
			if err = r.packet(&b, p); err == nil {
				return nil
			}
		case blockSimple:
			if err = r.simple(&b, p); err == nil {
				return nil
			}
		default: // statistics, names, secrets and unknown blocks
			if b.kind == blockStatistics && b.whole {
				r.statistics(&b)
			}
			if !b.whole {
				b.raw, p.Odd = nil, OddBlock
			}
		}
		if err != nil {
			return err
		}
		if r.keep {
			p.Block, p.Apart, p.Offset = b.raw, true, r.at
			return nil
		}
		p.Odd = 0
	}
}

// packetHere reports whether a packet is next, and all of its block is in memory.
func (r *Reader) packetHere() bool {
	if len(r.window) < blockHead {
		return false
	}
	switch r.uint32(r.window) {
	case blockEnhanced, blockPacket, blockSimple:
		return int64(r.uint32(r.window[4:])) <= int64(min(len(r.window), MaxRest))
	}
	return false
}

// load reads a block, as much of it as is held, and passes over the rest. It
// looks whether the block ends where it said it would. A section header settles
// the byte order.
func (r *Reader) load(b *block) error {
	what := "the block"
	// The head is looked at where it stands, so that a block that is not large need not be copied.
	r.at = r.offset
	err := r.want(blockHead)
	switch {
	case err != nil && len(r.window) == 0:
		return err
	case err != nil:
		r.take(len(r.window))
		return r.cutShort(err, what)
	}
	least := uint32(blockOverhead)
	if binary.LittleEndian.Uint32(r.window) == blockSection {
		what, least = "the section header", blockOverhead+sectionBody
		if err := r.want(blockHead + 4); err != nil {
			r.take(len(r.window))
			return r.cutShort(err, what)
		}
		switch order := r.window[blockHead : blockHead+4]; {
		case binary.LittleEndian.Uint32(order) == byteOrderMagic:
			r.setOrder(binary.LittleEndian)
		case binary.BigEndian.Uint32(order) == byteOrderMagic:
			r.setOrder(binary.BigEndian)
		default:
			return r.malformed("the section header has an unknown byte order: % x", order)
		}
	}
	b.kind, b.length = r.uint32(r.window), r.uint32(r.window[4:])
	if b.length < least || b.length%4 != 0 {
		return r.malformed("the block claims a length of %d bytes; allowed: %d or more, divisible by 4", b.length, least)
	}
	hold := r.hold(b)
	b.whole = b.length == hold
	if b.raw, err = r.part(int(hold), closing, what); err != nil {
		return err
	}
	tail := r.word[:]
	if b.whole {
		tail = b.raw[hold-4:]
	} else {
		if err := r.skip(b.length-hold-4, what); err != nil {
			return err
		}
		if err := r.fill(tail, what); err != nil {
			return err
		}
	}
	if end := r.uint32(tail); end != b.length {
		return r.malformed("the block has a length of %d bytes at its start and of %d at its end", b.length, end)
	}
	return nil
}

// hold is how many bytes of a block are held: all, or as many as may be, or none
// of one that is of no use.
func (r *Reader) hold(b *block) uint32 {
	switch b.kind {
	case blockSection, blockInterface:
		return min(b.length, maxDescription)
	case blockEnhanced, blockPacket, blockSimple:
		return min(b.length, maxPacketBlock)
	}
	if r.keep && b.length <= MaxBlock || b.kind == blockStatistics && b.length <= maxDescription {
		return b.length
	}
	return 0
}

// tooShort is a block that has no room for what it must have.
func (r *Reader) tooShort(left, needed int) error {
	return r.malformed("the block is too short for what it claims to hold: %d bytes are left where %d are needed", left, needed)
}

// section reads a section header. Interfaces are counted from 0 again.
func (r *Reader) section(b *block, p *Packet) error {
	r.format = "pcapng, " + orderName(r.order)
	// 1.2 is what some writers made of 1.0; the draft has both read alike.
	if major, minor := r.order.Uint16(b.raw[12:]), r.order.Uint16(b.raw[14:]); major != 1 || minor != 0 && minor != 2 {
		return r.malformed("a pcapng section of version %d.%d; allowed: 1.0", major, minor)
	}
	// The section's length at 16 is of use only to those who skip sections.
	r.lost = r.Losses()
	r.ifaces = r.ifaces[:0]
	r.options(b, p, blockHead+sectionBody, func(uint16, []byte) {})
	return nil
}

func (r *Reader) describe(b *block, p *Packet) error {
	if len(r.ifaces) == maxInterfaces {
		return r.malformed("the section describes more than %d interfaces", maxInterfaces)
	}
	const head = 16
	if left := len(b.body()) - blockHead; left < head-blockHead {
		return r.tooShort(left, head-blockHead)
	}
	i := iface{link: LinkType(r.order.Uint16(b.raw[8:])), snaplen: r.order.Uint32(b.raw[12:]), exp: 6}
	r.options(b, p, head, func(code uint16, value []byte) {
		switch {
		case code == optTSResol && len(value) == 1:
			i.exp, i.binary = value[0]&0x7f, value[0]&0x80 != 0
		case code == optTSOffset && len(value) == 8:
			i.offset = int64(r.order.Uint64(value))
		case code == optTSResol || code == optTSOffset:
			i.odd = true
		}
	})
	i.odd = i.odd || p.Odd != 0
	if !r.known {
		r.link, r.known = i.link, true
	}
	r.ifaces = append(r.ifaces, i)
	return nil
}

// options calls see for each option of a block, which begin at a byte of it.
// Where they are not valid, or are more than is held, the block is cut behind
// the last good one.
func (r *Reader) options(b *block, p *Packet, at int, see func(code uint16, value []byte)) {
	body := b.body()
	for len(body)-at >= 4 {
		code, length := r.order.Uint16(body[at:]), int(r.order.Uint16(body[at+2:]))
		if code == optEnd {
			if !b.whole { // what follows means nothing
				r.cut(b, at)
			}
			return
		}
		next := at + 4 + int(padded(uint32(length)))
		if next > len(body) {
			break
		}
		see(code, body[at+4:at+4+length])
		at = next
	}
	if b.whole && at == len(body) {
		return
	}
	p.Odd |= OddOptions
	r.cut(b, at)
}

// cut ends the options of a block at a byte of it.
func (r *Reader) cut(b *block, at int) {
	if at+closing > cap(b.raw) { // another block follows there
		if r.here {
			r.data = nil // a packet may be in it
		}
		b.raw = append(r.memory(at + closing)[:0], b.raw[:at]...)
	}
	b.raw = b.raw[:at+closing]
	clear(b.raw[at : at+4])
	r.seal(b)
}

// seal gives a block that was cut its new length.
func (r *Reader) seal(b *block) {
	b.whole, b.length = true, uint32(len(b.raw))
	r.order.PutUint32(b.raw[4:], b.length)
	r.order.PutUint32(b.raw[b.length-4:], b.length)
}

func padded(n uint32) uint32 { return (n + 3) &^ 3 }

// packet reads an Enhanced Packet Block, or the Packet Block that came before it.
func (r *Reader) packet(b *block, p *Packet) error {
	if left := len(b.body()) - blockHead; left < enhancedHeadLen-blockHead {
		return r.tooShort(left, enhancedHeadLen-blockHead)
	}
	id := r.uint32(b.raw[8:])
	if b.kind == blockPacket {
		id = uint32(r.order.Uint16(b.raw[8:]))
	}
	i, err := r.iface(id)
	if err != nil {
		return err
	}
	p.LinkType, p.Timed = i.link, true
	p.Sec, p.Nsec = i.time(uint64(r.uint32(b.raw[12:]))<<32 | uint64(r.uint32(b.raw[16:])))
	if i.odd {
		p.Odd |= OddClock
	}
	caplen, length := r.uint32(b.raw[capLenAt:]), r.uint32(b.raw[capLenAt+4:])
	p.Length = int(max(length, caplen))
	switch room := b.length - enhancedHeadLen - 4; {
	case caplen > room && caplen > MaxPacket:
		return r.malformed("the block claims to hold %d bytes of a packet; allowed: up to %d", caplen, MaxPacket)
	case caplen > room:
		return r.tooShort(int(room), int(caplen))
	case caplen > MaxPacket:
		p.Odd |= OddLength
		caplen = MaxPacket
		b.raw = b.raw[:enhancedHeadLen+MaxPacket+4]
		r.order.PutUint32(b.raw[capLenAt:], caplen)
		r.seal(b)
	default:
		r.options(b, p, enhancedHeadLen+int(padded(caplen)), func(code uint16, value []byte) {
			switch {
			case code == optFlags && len(value) == 4:
				if d := Direction(r.uint32(value) & 3); d <= Outbound { // 3 means nothing
					p.Direction = d
				}
			case code == optDropCount && len(value) == 8:
				r.lost.BeforePacket += r.order.Uint64(value)
			}
		})
	}
	r.give(b, p, enhancedHeadLen, int(caplen))
	return nil
}

// simple is a packet of the first interface without a time. It does not say how
// much of it is there: all of it, or as much as the interface's snap length.
func (r *Reader) simple(b *block, p *Packet) error {
	i, err := r.iface(0)
	if err != nil {
		return err
	}
	if left := len(b.body()) - blockHead; left < simpleHeadLen-blockHead {
		return r.tooShort(left, simpleHeadLen-blockHead)
	}
	length := r.uint32(b.raw[blockHead:])
	caplen := length
	if i.snaplen != 0 {
		caplen = min(caplen, i.snaplen)
	}
	switch room := b.length - simpleHeadLen - 4; {
	case caplen > MaxPacket:
		return r.malformed("the block claims to hold %d bytes of a packet; allowed: up to %d", caplen, MaxPacket)
	case caplen > room:
		return r.tooShort(int(room), int(caplen))
	}
	p.LinkType, p.Length = i.link, int(length)
	if !b.whole { // what is behind the packet means nothing
		b.raw = b.raw[:simpleHeadLen+padded(caplen)+4]
		r.seal(b)
	}
	r.give(b, p, simpleHeadLen, int(caplen))
	return nil
}

// give gives a packet whose bytes begin at a byte of its block.
func (r *Reader) give(b *block, p *Packet, at, caplen int) {
	p.Data, p.Offset = b.raw[at:at+caplen], r.at
	if r.keep {
		p.Block = b.raw
	}
}

func (r *Reader) iface(id uint32) (*iface, error) {
	if uint64(id) >= uint64(len(r.ifaces)) {
		return nil, r.malformed("a packet of interface %d, but the section has described %d interfaces so far", id, len(r.ifaces))
	}
	return &r.ifaces[id], nil
}

// time is the packet's time since 1970. What is beyond all numbers becomes the
// last of them.
func (i *iface) time(units uint64) (sec int64, nsec uint32) {
	var whole, rest uint64
	switch {
	case i.binary:
		// The part of a second is below 2^exp, so that the product's upper half,
		// shifted, is what stays of it where exp is 64 or more.
		if i.exp < 64 {
			whole = units >> i.exp
			hi, lo := bits.Mul64(units&(1<<i.exp-1), 1e9)
			rest = lo>>i.exp | hi<<(64-i.exp)
		} else {
			hi, _ := bits.Mul64(units, 1e9)
			rest = hi >> (i.exp - 64)
		}
	case i.exp <= 9:
		one := powerOf10(i.exp)
		whole, rest = units/one, units%one*powerOf10(9-i.exp)
	case i.exp <= 19:
		one := powerOf10(i.exp)
		whole, rest = units/one, units%one/powerOf10(i.exp-9)
	case i.exp <= 19+9:
		rest = units / powerOf10(i.exp-9)
	}
	sec = int64(min(whole, math.MaxInt64))
	if i.offset > math.MaxInt64-sec {
		return math.MaxInt64, uint32(rest)
	}
	return sec + i.offset, uint32(rest)
}

func powerOf10(n uint8) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}
