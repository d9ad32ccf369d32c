package pcapfile

import (
	"encoding/binary"
	"strings"
	"time"
	"unicode/utf8"
)

// Format is a file format that can be written.
type Format uint8

// The formats. Those of classic pcap differ in the resolution of their times.
const (
	Micro Format = iota // classic pcap, microseconds
	Nano                // classic pcap, nanoseconds; magic 0xa1b23c4d
	NG                  // pcapng, nanoseconds
)

func (f Format) String() string {
	switch f {
	case Nano:
		return "pcap, nanoseconds"
	case NG:
		return "pcapng"
	case Micro:
	}
	return "pcap"
}

// More blocks and options of pcapng. draft-ietf-opsawg-pcapng, section 4.
const (
	blockStatistics = 5

	optComment = 1

	optHardware    = 2 // of sections
	optSystem      = 3
	optApplication = 4

	optName        = 2 // of interfaces
	optDescription = 3
	optFilter      = 11
	optIfSystem    = 12

	optStart        = 2 // of statistics
	optEndTime      = 3
	optReceived     = 4
	optDropped      = 5
	optAccepted     = 6
	optSystemDrops  = 7
	optDelivered    = 8
	filterText      = 0         // the filter's first byte: what follows is text
	nanoResolution  = 9         // 10^-9 of a second
	maxOption       = 1<<16 - 4 // an option can have 3 bytes more, but padded that is a number of 17 bits, which some readers take for 0
	enhancedHeadLen = 28        // up to the packet's bytes
	enhancedTailLen = 16        // flags, the end of the options, the length once more
)

// DropCountLen is how many bytes the count of packets takes that are missing before one, see PutDropCount.
const DropCountLen = 12

// StatisticsLen is the length of a statistics block in bytes.
const StatisticsLen = 112

// Section describes how a file came about. Empty texts are left out, and what
// is longer than an option can be is cut.
type Section struct {
	Hardware, System, Application string
	Comment                       string
}

// Interface describes an interface of a section. Empty texts are left out, and
// what is longer than an option can be is cut.
type Interface struct {
	Name, Description string
	Filter            string // in words
	System            string
	LinkType          LinkType
	SnapLen           uint32
}

// Statistics are the counts of an interface since the capture began.
type Statistics struct {
	Interface       uint32 // its number in the section
	At              time.Time
	Start, End      time.Time
	Received        uint64 // packets that passed the filter, those dropped by the system included
	Dropped         uint64 // by the interface
	DroppedBySystem uint64
	Recorded        uint64
}

// begin appends the head of a block, whose length end fills in.
func begin(b []byte, kind uint32) []byte {
	b = binary.LittleEndian.AppendUint32(b, kind)
	return append(b, 0, 0, 0, 0)
}

func end(b []byte, start int) []byte {
	length := uint32(len(b) - start + 4)
	binary.LittleEndian.PutUint32(b[start+4:], length)
	return binary.LittleEndian.AppendUint32(b, length)
}

func appendOption(b []byte, code uint16, value string) []byte {
	if len(value) > maxOption {
		// Not within a character. A longer text cannot be stored, and a wrong
		// length would make the rest of the file unreadable.
		cut := maxOption
		for cut > 0 && !utf8.RuneStart(value[cut]) {
			cut--
		}
		value = value[:cut]
	}
	b = binary.LittleEndian.AppendUint16(b, code)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(value)))
	b = append(b, value...)
	return append(b, "\x00\x00\x00"[:padded(uint32(len(value)))-uint32(len(value))]...)
}

func appendText(b []byte, code uint16, text string) []byte {
	if text == "" {
		return b
	}
	return appendOption(b, code, strings.ToValidUTF8(text, "\uFFFD"))
}

func appendEnd(b []byte) []byte { return append(b, 0, 0, 0, 0) }

// AppendSection appends a section header, with which a file begins. Little
// endian on every machine, the length of the section is left open.
func AppendSection(b []byte, s *Section) []byte {
	start := len(b)
	b = begin(b, blockSection)
	b = binary.LittleEndian.AppendUint32(b, byteOrderMagic)
	b = binary.LittleEndian.AppendUint16(b, 1)
	b = binary.LittleEndian.AppendUint16(b, 0)
	b = binary.LittleEndian.AppendUint64(b, ^uint64(0))
	b = appendText(b, optHardware, s.Hardware)
	b = appendText(b, optSystem, s.System)
	b = appendText(b, optApplication, s.Application)
	b = appendText(b, optComment, s.Comment)
	return end(appendEnd(b), start)
}

// AppendInterface appends the description of an interface. Interfaces are
// numbered from 0 in the order of their descriptions.
func AppendInterface(b []byte, i *Interface) []byte {
	start := len(b)
	b = begin(b, blockInterface)
	b = binary.LittleEndian.AppendUint16(b, uint16(i.LinkType))
	b = append(b, 0, 0)
	b = binary.LittleEndian.AppendUint32(b, i.SnapLen)
	b = appendText(b, optName, i.Name)
	b = appendText(b, optDescription, i.Description)
	b = appendOption(b, optTSResol, string([]byte{nanoResolution}))
	if i.Filter != "" {
		b = appendText(b, optFilter, string([]byte{filterText})+i.Filter)
	}
	b = appendText(b, optIfSystem, i.System)
	return end(appendEnd(b), start)
}

// EnhancedLen is the length in bytes of the block of a packet of which caplen
// bytes are recorded.
func EnhancedLen(caplen int) int {
	return enhancedHeadLen + int(padded(uint32(caplen))) + enhancedTailLen
}

// PutEnhanced writes all of a packet's block but the packet's bytes, of which
// caplen follow at the offset that it returns. flags are those of
// PacketFlags. sec is from 1970 on, up to the year 2554. b must have room for EnhancedLen(caplen) bytes.
func PutEnhanced(b []byte, iface, flags uint32, sec int64, nsec uint32, caplen, length int) int {
	size := EnhancedLen(caplen)
	b = b[:size:size]
	units := uint64(sec)*1e9 + uint64(nsec)
	le := binary.LittleEndian
	le.PutUint32(b[0:], blockEnhanced)
	le.PutUint32(b[4:], uint32(size))
	le.PutUint32(b[8:], iface)
	le.PutUint32(b[12:], uint32(units>>32))
	le.PutUint32(b[16:], uint32(units))
	le.PutUint32(b[20:], uint32(caplen))
	le.PutUint32(b[24:], uint32(length))
	clear(b[enhancedHeadLen+caplen : size-enhancedTailLen])
	tail := b[size-enhancedTailLen:]
	le.PutUint16(tail[0:], optFlags)
	le.PutUint16(tail[2:], 4)
	le.PutUint32(tail[4:], flags)
	le.PutUint32(tail[8:], 0)
	le.PutUint32(tail[12:], uint32(size))
	return enhancedHeadLen
}

// PutDropCount adds to the block of a packet that PutEnhanced has written how many packets are missing before it, which
// Wireshark shows as frame.drop_count. b is the block, and has DropCountLen bytes more.
func PutDropCount(b []byte, dropped uint64) {
	const behind = 8 // the end of the options, the length
	size := len(b)
	le := binary.LittleEndian
	at := b[size-DropCountLen-behind:]
	le.PutUint16(at[0:], optDropCount)
	le.PutUint16(at[2:], 8)
	le.PutUint64(at[4:], dropped)
	le.PutUint32(at[12:], 0)
	le.PutUint32(at[16:], uint32(size))
	le.PutUint32(b[4:], uint32(size))
}

// PacketFlags is the option epb_flags of a packet: its direction and how it was
// received, by its type of packet(7).
func PacketFlags(packetType uint8) uint32 {
	const inbound, outbound = 1, 2
	switch packetType {
	case 0: // PACKET_HOST
		return inbound | 1<<2 // unicast
	case 1: // PACKET_BROADCAST
		return inbound | 3<<2
	case 2: // PACKET_MULTICAST
		return inbound | 2<<2
	case 3: // PACKET_OTHERHOST
		return inbound | 4<<2 // promiscuous
	case 4: // PACKET_OUTGOING
		return outbound
	}
	return 0
}

// AppendStatistics appends the counts of an interface, StatisticsLen bytes.
func AppendStatistics(b []byte, s *Statistics) []byte {
	start := len(b)
	b = begin(b, blockStatistics)
	b = binary.LittleEndian.AppendUint32(b, s.Interface)
	b = appendTime(b, s.At)
	for _, t := range []struct {
		code uint16
		at   time.Time
	}{{optStart, s.Start}, {optEndTime, s.End}} {
		b = binary.LittleEndian.AppendUint16(b, t.code)
		b = binary.LittleEndian.AppendUint16(b, 8)
		b = appendTime(b, t.at)
	}
	for _, c := range []struct {
		code uint16
		n    uint64
	}{
		{optReceived, s.Received}, {optDropped, s.Dropped}, {optAccepted, s.Received},
		{optSystemDrops, s.DroppedBySystem}, {optDelivered, s.Recorded},
	} {
		b = binary.LittleEndian.AppendUint16(b, c.code)
		b = binary.LittleEndian.AppendUint16(b, 8)
		b = binary.LittleEndian.AppendUint64(b, c.n)
	}
	return end(appendEnd(b), start)
}

// appendTime appends a time as pcapng has it: the high half comes first,
// whatever the byte order.
func appendTime(b []byte, t time.Time) []byte {
	units := uint64(t.UnixNano())
	b = binary.LittleEndian.AppendUint32(b, uint32(units>>32))
	return binary.LittleEndian.AppendUint32(b, uint32(units))
}

// IsNG reports whether a file that begins with these bytes is pcapng.
func IsNG(magic [4]byte) bool { return binary.LittleEndian.Uint32(magic[:]) == blockSection }

// WholeNG counts what is in the whole blocks that b begins with: their packets,
// the bytes recorded of these packets, and the bytes of the blocks. b begins at
// a block of a section in little endian.
func WholeNG(b []byte) (packets, data, size int) {
	le := binary.LittleEndian
	for len(b)-size >= blockOverhead {
		length := le.Uint32(b[size+4:])
		if length < blockOverhead || length%4 != 0 || uint64(length) > uint64(len(b)-size) ||
			le.Uint32(b[size+int(length)-4:]) != length {
			break
		}
		if le.Uint32(b[size:]) == blockEnhanced && length >= enhancedHeadLen {
			packets++
			data += int(min(le.Uint32(b[size+20:]), length))
		}
		size += int(length)
	}
	return packets, data, size
}
