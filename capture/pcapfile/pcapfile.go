// Package pcapfile writes and reads capture files: classic pcap, with
// microseconds or nanoseconds, and pcapng.
//
// Writing works on byte slices: functions append or put headers, records and
// blocks in little endian, so that a caller's buffer holds whole packets only
// and a file can end on a packet boundary. Whole and WholeNG measure how much of
// a file that was cut is whole. A Reader reads files of any writer, in both byte
// orders, and treats their contents as hostile.
//
// Formats: draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng; link types: the
// LINKTYPE_ registry of draft-ietf-opsawg-pcaplinktype.
package pcapfile

import (
	"encoding/binary"
	"fmt"
)

// Sizes in bytes.
const (
	HeaderLen       = 24
	RecordHeaderLen = 16
	// MaxSnapLen is the longest record that readers accept (MAXIMUM_SNAPLEN of
	// libpcap and WTAP_MAX_PACKET_SIZE_STANDARD of Wireshark). It is also what
	// "whole packets" means in the file header.
	MaxSnapLen = 262144
	// MaxPacket is the longest record that pcapctl writes when one is asked for,
	// and reads. The packets of the kernel's segmentation offload (BIG TCP) have up
	// to some 524,000 bytes; most other readers refuse them.
	MaxPacket = 1 << 20
)

// LinkType says what a record begins with.
type LinkType uint32

// The link types that pcapctl knows. A capture of its own is written with
// Ethernet, RawIP, SLL2 or SLL; one that is made of a file keeps the file's.
const (
	Null       LinkType = 0 // BSD loopback, address family in the byte order of the machine
	Ethernet   LinkType = 1
	SLIP       LinkType = 8
	PPP        LinkType = 9
	RawIPBSD   LinkType = 12 // DLT_RAW of most systems, found in files although LINKTYPE_RAW is meant
	RawIPOpen  LinkType = 14 // DLT_RAW of OpenBSD, the same
	PPPSerial  LinkType = 50
	PPPEther   LinkType = 51 // a PPPoE session without the Ethernet header
	RawIP      LinkType = 101
	CiscoHDLC  LinkType = 104
	IEEE80211  LinkType = 105
	FrameRelay LinkType = 107
	Loop       LinkType = 108 // OpenBSD loopback, address family in network byte order
	SLL        LinkType = 113
	Radiotap   LinkType = 127 // 802.11 behind a radiotap header
	RawIPv4    LinkType = 228
	RawIPv6    LinkType = 229
	NFLOG      LinkType = 239
	IPoIB      LinkType = 242
	InfiniBand LinkType = 247
	SLL2       LinkType = 276
)

// Kind is the link type without what a file header may say beside it, in the
// bits above the lower 16: how long a frame check sequence the packets have.
func (l LinkType) Kind() LinkType { return l & 0xffff }

// Lengths of the headers that stand before the network layer, in bytes.
const (
	SLLLen  = 16
	SLL2Len = 20
	NullLen = 4 // of Null and of Loop
)

func (l LinkType) String() string {
	switch l.Kind() {
	case Null:
		return "NULL (BSD loopback)"
	case Ethernet:
		return "EN10MB (Ethernet)"
	case RawIP, RawIPBSD, RawIPOpen:
		return "RAW (raw IP)"
	case Loop:
		return "LOOP (OpenBSD loopback)"
	case SLL:
		return "LINUX_SLL (Linux cooked v1)"
	case RawIPv4:
		return "IPV4 (raw IPv4)"
	case RawIPv6:
		return "IPV6 (raw IPv6)"
	case SLL2:
		return "LINUX_SLL2 (Linux cooked v2)"
	case SLIP:
		return "SLIP (SLIP)"
	case PPP:
		return "PPP (PPP)"
	case PPPSerial:
		return "PPP_SERIAL (PPP over serial)"
	case PPPEther:
		return "PPP_ETHER (PPPoE)"
	case CiscoHDLC:
		return "C_HDLC (Cisco HDLC)"
	case IEEE80211:
		return "IEEE802_11 (802.11)"
	case FrameRelay:
		return "FRELAY (Frame Relay)"
	case Radiotap:
		return "IEEE802_11_RADIO (802.11 plus radiotap header)"
	case NFLOG:
		return "NFLOG (Linux netfilter log messages)"
	case IPoIB:
		return "IPOIB (IP over InfiniBand)"
	case InfiniBand:
		return "INFINIBAND (InfiniBand)"
	}
	return fmt.Sprintf("link type %d", uint32(l.Kind()))
}

// AppendHeader appends the file header of classic pcap: version 2.4, little
// endian on every machine, so that the same packets make the same file.
func AppendHeader(b []byte, f Format, link LinkType, snaplen uint32) []byte {
	magic := uint32(0xa1b2c3d4)
	if f == Nano {
		magic = 0xa1b23c4d
	}
	b = binary.LittleEndian.AppendUint32(b, magic)
	b = binary.LittleEndian.AppendUint16(b, 2)
	b = binary.LittleEndian.AppendUint16(b, 4)
	b = binary.LittleEndian.AppendUint64(b, 0) // two members that were never used
	b = binary.LittleEndian.AppendUint32(b, snaplen)
	return binary.LittleEndian.AppendUint32(b, uint32(link))
}

// PutRecordHeader writes the header of a record with caplen bytes of a packet
// that had length bytes. b must have room for RecordHeaderLen bytes. fraction
// is the part of the second in the units of the file's format.
func PutRecordHeader(b []byte, sec, fraction uint32, caplen, length int) {
	h := b[:RecordHeaderLen:RecordHeaderLen]
	binary.LittleEndian.PutUint32(h[0:], sec)
	binary.LittleEndian.PutUint32(h[4:], fraction)
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

// What cooked headers say of a packet that pcapctl goes by: the packet type of
// packet(7), and the device type, ARPHRD_* of include/uapi/linux/if_arp.h.
const (
	PacketOutgoing = 4
	LoopbackDevice = 772
)

// SLLHeader is the cooked header of the first version, which tells no interface.
// LINKTYPE_LINUX_SLL; read by libpcap since 0.6 and by every Wireshark.
type SLLHeader struct {
	Type     uint8 // PACKET_HOST … PACKET_OUTGOING
	HWType   uint16
	AddrLen  uint8
	Addr     [8]byte
	Protocol uint16
}

// Put writes the header. b must have room for SLLLen bytes.
func (h *SLLHeader) Put(b []byte) {
	b = b[:SLLLen:SLLLen]
	binary.BigEndian.PutUint16(b[0:], uint16(h.Type))
	binary.BigEndian.PutUint16(b[2:], h.HWType)
	binary.BigEndian.PutUint16(b[4:], uint16(h.AddrLen))
	copy(b[6:], h.Addr[:])
	binary.BigEndian.PutUint16(b[14:], h.Protocol)
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
