package pcapfile

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// What is done to the blocks of a pcapng file on their way into another one. They
// are those that a Reader gives, in the byte order of their section, which stays:
// a block of an unknown type could not be turned into another order.

// Addition is what is added to the section headers of a file.
type Addition struct {
	Application string // behind those that are named there
	Comment     string // "" for none
}

// IsSection tells a section header.
func IsSection(block []byte) bool {
	return len(block) >= blockHead+sectionBody && binary.LittleEndian.Uint32(block) == blockSection
}

// OrderOf is the byte order of a section, by its header.
func OrderOf(section []byte) binary.ByteOrder {
	if binary.BigEndian.Uint32(section[blockHead:]) == byteOrderMagic {
		return binary.BigEndian
	}
	return binary.LittleEndian
}

// AppendSectionOf appends a section header that says what another one says, and
// a. The section's length is left open.
func AppendSectionOf(b, section []byte, a *Addition) []byte {
	order, start := OrderOf(section), len(b)
	b = append(b, section[:blockHead+sectionBody]...)
	for i := range 8 {
		b[start+16+i] = 0xff
	}
	body, named := section[blockHead+sectionBody:len(section)-4], false
	for len(body) >= 4 {
		code, length := order.Uint16(body), int(order.Uint16(body[2:]))
		next := min(4+int(padded(uint32(length))), len(body))
		if code == optEnd {
			break
		}
		if code == optApplication && !named {
			named = true
			if name := strings.TrimRight(string(body[4:4+length]), "\x00"); len(name)+len(a.Application)+2 <= maxOption {
				if name != "" {
					name += "; "
				}
				b = appendOptionIn(b, order, code, name+a.Application)
				body = body[next:]
				continue
			}
		}
		b, body = append(b, body[:next]...), body[next:]
	}
	if !named {
		b = appendOptionIn(b, order, optApplication, a.Application)
	}
	if a.Comment != "" {
		b = appendOptionIn(b, order, optComment, a.Comment)
	}
	b = append(b, 0, 0, 0, 0, 0, 0, 0, 0) // the end of the options, and the length
	return sealIn(b, order, start)
}

// sealIn fills in the length of the block that begins at start, whose last four
// bytes are for it.
func sealIn(b []byte, order binary.ByteOrder, start int) []byte {
	length := uint32(len(b) - start)
	order.PutUint32(b[start+4:], length)
	order.PutUint32(b[len(b)-4:], length)
	return b
}

// appendOptionIn appends a text as an option. One that is too long is cut.
func appendOptionIn(b []byte, order binary.ByteOrder, code uint16, text string) []byte {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) > maxOption {
		cut := maxOption
		for !utf8.RuneStart(text[cut]) {
			cut--
		}
		text = text[:cut]
	}
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	order.PutUint16(b[at:], code)
	order.PutUint16(b[at+2:], uint16(len(text)))
	b = append(b, text...)
	return append(b, "\x00\x00\x00"[:padded(uint32(len(text)))-uint32(len(text))]...)
}

// AppendCutInterface appends a block that is not a packet. The description of an
// interface gets a snap length of at most snap bytes; other blocks stay.
func AppendCutInterface(b, block []byte, order binary.ByteOrder, snap uint32) []byte {
	start := len(b)
	b = append(b, block...)
	if order.Uint32(block) == blockInterface {
		if given := order.Uint32(block[12:]); given == 0 || given > snap {
			order.PutUint32(b[start+12:], snap)
		}
	}
	return b
}

// AppendPacketBlock appends the block of a packet, of whose bytes, data, it holds
// the first caplen. All else in it stays. The interface's description must have
// been cut alike, as a Simple Packet Block has no length of its own.
func AppendPacketBlock(b, block, data []byte, order binary.ByteOrder, caplen int) []byte {
	if caplen >= len(data) {
		return append(b, block...)
	}
	start, head := len(b), enhancedHeadLen
	if order.Uint32(block) == blockSimple {
		head = simpleHeadLen
	}
	b = append(b, block[:head]...)
	if head == enhancedHeadLen {
		order.PutUint32(b[start+capLenAt:], uint32(caplen))
		// Some writers have less on the wire than in the file.
		if order.Uint32(b[start+capLenAt+4:]) < uint32(caplen) {
			order.PutUint32(b[start+capLenAt+4:], uint32(len(data)))
		}
	}
	b = append(b, data[:caplen]...)
	b = append(b, "\x00\x00\x00"[:int(padded(uint32(caplen)))-caplen]...)
	b = append(b, block[head+int(padded(uint32(len(data)))):]...)
	return sealIn(b, order, start)
}

// AppendHeadersBlock is AppendPacketBlock for a length that is the packet's own. A Simple Packet Block has none, and becomes an
// Enhanced Packet Block of the section's first interface, which is the one that it belongs to; its time, which it does not
// have, is 0.
func AppendHeadersBlock(b, block, data []byte, order binary.ByteOrder, caplen int) []byte {
	if order.Uint32(block) != blockSimple {
		return AppendPacketBlock(b, block, data, order, caplen)
	}
	start := len(b)
	b = append(b, make([]byte, enhancedHeadLen)...)
	order.PutUint32(b[start:], blockEnhanced)
	order.PutUint32(b[start+capLenAt:], uint32(caplen))
	order.PutUint32(b[start+capLenAt+4:], order.Uint32(block[blockHead:]))
	b = append(b, data[:caplen]...)
	b = append(b, "\x00\x00\x00"[:int(padded(uint32(caplen)))-caplen]...)
	return sealIn(append(b, 0, 0, 0, 0), order, start)
}

// WholeBlocks counts what is in the whole blocks that b begins with: their
// packets, the bytes recorded of these packets, and the bytes of the blocks. b
// begins at a block of a section in either byte order.
func WholeBlocks(b []byte) (packets, data, size int) {
	packets, data, size = wholeIn(b, binary.LittleEndian)
	if p, d, s := wholeIn(b, binary.BigEndian); s > size { // the other order leads nowhere
		return p, d, s
	}
	return packets, data, size
}

func wholeIn(b []byte, order binary.ByteOrder) (packets, data, size int) {
	for len(b)-size >= blockOverhead {
		block := b[size:]
		if IsSection(block) {
			order = OrderOf(block)
		}
		length := order.Uint32(block[4:])
		if length < blockOverhead || length%4 != 0 || uint64(length) > uint64(len(block)) || order.Uint32(block[length-4:]) != length {
			break
		}
		switch kind := order.Uint32(block); {
		case (kind == blockEnhanced || kind == blockPacket) && length >= enhancedHeadLen+4:
			packets++
			data += int(min(order.Uint32(block[capLenAt:]), length))
		case kind == blockSimple && length >= simpleHeadLen+4:
			packets++
			data += int(min(order.Uint32(block[blockHead:]), length-simpleHeadLen-4))
		}
		size += int(length)
	}
	return packets, data, size
}
