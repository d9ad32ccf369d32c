package pcapfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
)

// Packet is a packet of a file.
type Packet struct {
	Data   []byte // valid until the next call of Next; at most MaxPacket bytes
	Length int    // on the wire; never less than len(Data)

	// LinkType says what Data begins with.
	LinkType LinkType
	// Timed is false when the file has no time for the packet, which a pcapng
	// Simple Packet Block has not. Sec and Nsec are zero then.
	Timed bool
	Sec   int64  // since 1970; a pcapng file may have any time, also before that
	Nsec  uint32 // below 1e9

	Direction Direction
	Offset    int64 // of the packet's record or block in the file
	Odd       Oddity

	// Block is the block that the packet stands in, of a pcapng file whose blocks
	// are kept (KeepBlocks), nil otherwise. It is valid as long as Data.
	Block []byte
	// Apart says that this is not a packet, but another block of such a file. Of
	// the other fields only Offset and Odd are set.
	Apart bool
}

// Direction is which way a packet went, as far as the file says it beside the
// packet's own bytes.
type Direction uint8

// The directions, with the values of the pcapng option epb_flags. A file that
// does not record it has UnknownDirection.
const (
	UnknownDirection Direction = iota
	Inbound
	Outbound
)

// FormatError is a file that is not as its format has it.
type FormatError struct {
	Offset int64 // of the record, block or header at fault
	Reason string
}

// Error gives the position and the reason.
func (e *FormatError) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Reason) }

// Reader reads the packets of a pcap or pcapng file that may hold anything. It
// allocates little more than one packet of MaxPacket bytes and the pieces that it
// reads, whatever lengths the file claims (with KeepBlocks, one block of MaxBlock
// bytes), gives packets where they are read to,, and returns an error at the first thing after which it cannot know where
// the next packet begins or what it is. A value that is only strange does not end
// it: see Oddity.
//
// Formats: draft-ietf-opsawg-pcap (versions 2.0 to 2.4 and 543.0, microseconds
// and nanoseconds, records of the modified form, both byte orders) and
// draft-ietf-opsawg-pcapng (version 1.0 and 1.2, several sections, both byte
// orders).
//
// gopacket's pcapgo does not do for this: its link types end at 255, so that
// SLL2 reads as another; it does not return epb_flags; it divides by zero for
// some resolutions of time and allocates whatever length a file claims; and its
// errors have no position.
type Reader struct {
	in     Pieces
	window []byte // what was given and is not used yet
	ended  error  // what comes behind it
	offset int64  // of what is read next
	at     int64  // of the record or block that is being read
	order  binary.ByteOrder
	big    bool // order is binary.BigEndian
	format string
	data   []byte // of what is larger than MaxRest
	word   [4]byte
	here   bool // nothing may be read, and nothing that was given be written over

	ng    bool
	link  LinkType // as LinkType gives it
	known bool     // link is set
	pcap  pcapForm // of a pcap file
	// Of a pcapng file.
	ifaces []iface
	keep   bool
	first  []byte // the section header that the file begins with
	odd    Oddity // of that
	lost   Losses // of the sections before, and of packets
}

// NewReader reads the header of a file.
//
// Errors: *FormatError, and those of in.
func NewReader(in io.Reader) (*Reader, error) { return NewReaderOf(PiecesOf(in)) }

// NewReaderOf is NewReader for a file that comes in pieces.
func NewReaderOf(in Pieces) (*Reader, error) {
	r := &Reader{in: in}
	err := r.want(4)
	magic := r.window[:min(4, len(r.window))]
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		return nil, err
	case len(magic) == 0:
		return nil, r.malformed("the file is empty: not even a header is there")
	case len(magic) < 4:
		return nil, r.malformed("the file has only %d bytes", len(magic))
	}
	little, big := binary.LittleEndian.Uint32(magic), binary.BigEndian.Uint32(magic)
	switch {
	case little == blockSection: // reads the same both ways
		err = r.openNG()
	case isPcapMagic(little):
		err = r.openPcap(binary.LittleEndian, little)
	case isPcapMagic(big):
		err = r.openPcap(binary.BigEndian, big)
	default:
		err = r.malformed("neither a pcap nor a pcapng file: %s", whatElse(magic))
	}
	if err != nil {
		return nil, err
	}
	return r, nil
}

// whatElse names the kinds of files that are mistaken for captures.
func whatElse(magic []byte) string {
	for _, known := range []struct{ begins, is string }{
		{"\x1f\x8b", "it is compressed by gzip; give it to --read-file - through `gunzip -c`"},
		{"\x28\xb5\x2f\xfd", "it is compressed by zstd; give it to --read-file - through `zstd -dc`"},
		{"\xfd7zX", "it is compressed by xz; give it to --read-file - through `xz -dc`"},
		{"\x04\x22\x4d\x18", "it is compressed by lz4; give it to --read-file - through `lz4 -dc`"},
		{"snoo", "it is a snoop file; convert it with `editcap -F pcap`"},
	} {
		if bytes.HasPrefix(magic, []byte(known.begins)) {
			return known.is
		}
	}
	return fmt.Sprintf("it begins with the bytes % x", magic)
}

// Format says in words what the file is, such as "pcap, little-endian,
// microseconds".
func (r *Reader) Format() string { return r.format }

// LinkType is that of the whole pcap file, or of the first interface of a
// pcapng file. ok is false when no interface has been described so far.
//
// In a pcap file it is the header's member as it stands: above the link type,
// in its lower 16 bits, it may say how long a frame check sequence the packets
// have. Kind takes that away.
func (r *Reader) LinkType() (link LinkType, ok bool) { return r.link, r.known }

// Next reads the next packet. Its error is io.EOF at the end of the file, and
// then only when the file ends behind a whole record. After an error there is
// nothing more to be read.
//
// Errors: *FormatError, io.EOF, and those of the reader below.
func (r *Reader) Next(p *Packet) error {
	*p = Packet{}
	if r.ng {
		return r.nextNG(p)
	}
	return r.nextPcap(p)
}

// body reads the caplen bytes of a packet.
func (r *Reader) body(p *Packet, caplen, length uint32, what string) error {
	if most := max(longest(p.LinkType), MaxPacket); caplen > most {
		return r.malformed("%s claims to hold %d bytes of a packet; allowed: up to %d", what, caplen, most)
	}
	p.Length = int(max(length, caplen))
	rest := caplen - min(caplen, MaxPacket)
	if rest > 0 {
		p.Odd |= OddLength
		caplen = MaxPacket
	}
	var err error
	if p.Data, err = r.part(int(caplen), 0, what); err != nil || rest == 0 {
		return err
	}
	return r.skip(rest, what)
}

// NextHere is Next for a packet that is in memory already: what Next and NextHere gave since stays
// valid. It is false, and nothing has happened, when the next packet is not, or when there is an error;
// Next tells.
func (r *Reader) NextHere(p *Packet) bool {
	if r.ng && !r.packetHere() {
		return false
	}
	window, offset := r.window, r.offset
	r.here = true
	err := r.Next(p)
	r.here = false
	if err != nil {
		r.window, r.offset = window, offset
	}
	return err == nil
}

// errNotHere is that NextHere needs more than is in memory.
var errNotHere = errors.New("not in memory")

// uint32 is a number of the file.
func (r *Reader) uint32(b []byte) uint32 {
	n := binary.LittleEndian.Uint32(b)
	if r.big {
		return bits.ReverseBytes32(n)
	}
	return n
}

// setOrder settles the byte order.
func (r *Reader) setOrder(order binary.ByteOrder) { r.order, r.big = order, order == binary.BigEndian }

func orderName(o binary.ByteOrder) string {
	if o == binary.LittleEndian {
		return "little-endian"
	}
	return "big-endian"
}
