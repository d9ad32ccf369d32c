// Package pcapfile is the classic pcap file format, as far as a capture that
// must end on a packet boundary needs it: records are laid out in a buffer
// that only ever holds whole ones, and a cut file can be measured.
//
// Format: draft-ietf-opsawg-pcap; link types: the LINKTYPE_ registry of
// draft-ietf-opsawg-pcaplinktype.
package pcapfile

import "encoding/binary"

// Sizes in bytes.
const (
	HeaderLen       = 24
	RecordHeaderLen = 16
	// MaxSnapLen is the longest record that readers accept (MAXIMUM_SNAPLEN of
	// libpcap and WTAP_MAX_PACKET_SIZE_STANDARD of Wireshark). It is also what
	// "whole packets" means in the file header.
	MaxSnapLen = 262144
)

// LinkType says what a record begins with.
type LinkType uint32

// The link types that pcapctl writes.
const (
	Ethernet LinkType = 1
	RawIP    LinkType = 101
	SLL2     LinkType = 276
)

// SLL2Len is the length of the cooked header in bytes.
const SLL2Len = 20

func (l LinkType) String() string {
	switch l {
	case Ethernet:
		return "EN10MB (Ethernet)"
	case RawIP:
		return "RAW (raw IP)"
	case SLL2:
		return "LINUX_SLL2 (Linux cooked v2)"
	}
	return "unknown"
}

// AppendHeader appends the file header: microseconds, version 2.4, little
// endian on every machine, so that the same packets make the same file.
func AppendHeader(b []byte, link LinkType, snaplen uint32) []byte {
	b = binary.LittleEndian.AppendUint32(b, 0xa1b2c3d4)
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = binary.LittleEndian.AppendUint64(b, 0) // two members that were never used
	b = binary.LittleEndian.AppendUint32(b, snaplen)
	return binary.LittleEndian.AppendUint32(b, uint32(link))
}

// PutRecordHeader writes the header of a record with caplen bytes of a packet
// that had length bytes. b must have room for RecordHeaderLen bytes.
func PutRecordHeader(b []byte, sec, nsec uint32, caplen, length int) {
	h := b[:RecordHeaderLen:RecordHeaderLen]
	binary.LittleEndian.PutUint32(h[0:], sec)
	binary.LittleEndian.PutUint32(h[4:], nsec/1000)
	binary.LittleEndian.PutUint32(h[8:], uint32(caplen))
	binary.LittleEndian.PutUint32(h[12:], uint32(length))
}

// Whole gives how many whole records b begins with, and their bytes. b begins
// at a record as PutRecordHeader wrote it.
func Whole(b []byte) (records, size int) {
	for len(b)-size >= RecordHeaderLen {
		caplen := int(binary.LittleEndian.Uint32(b[size+8:]))
		if caplen > len(b)-size-RecordHeaderLen {
			break
		}
		size += RecordHeaderLen + caplen
		records++
	}
	return records, size
}

// SLL2Header is the cooked header that takes the place of the link layer where
// packets of several interfaces share a file. LINKTYPE_LINUX_SLL2.
type SLL2Header struct {
	Protocol  uint16
	Interface int
	HWType    uint16
	Type      uint8 // PACKET_HOST … PACKET_OUTGOING
	AddrLen   uint8
	Addr      [8]byte
}

// Put writes the header. b must have room for SLL2Len bytes.
func (h *SLL2Header) Put(b []byte) {
	b = b[:SLL2Len:SLL2Len]
	binary.BigEndian.PutUint16(b[0:], h.Protocol)
	binary.BigEndian.PutUint16(b[2:], 0)
	binary.BigEndian.PutUint32(b[4:], uint32(h.Interface))
	binary.BigEndian.PutUint16(b[8:], h.HWType)
	b[10] = h.Type
	b[11] = h.AddrLen
	copy(b[12:], h.Addr[:])
}
