package pcapfile

// Oddity tells what of a packet or block is not taken as its file has it. It is
// the value of one packet that is strange, and not the file that is damaged.
type Oddity uint8

// The oddities.
const (
	// OddLength is a packet with more than MaxPacket bytes, of which the first
	// are given.
	OddLength Oddity = 1 << iota
	// OddOptions are options of a block that are not valid, or more than are held.
	// They are left out.
	OddOptions
	// OddClock is a packet of an interface whose resolution or offset of times is
	// not told in a valid way. It counts as microseconds since 1970.
	OddClock
	// OddBlock is a block larger than MaxBlock, which is left out.
	OddBlock
)

// longest is how many bytes a record of a pcap file may hold of a packet: as in
// libpcap (max_snaplen_for_dlt), which knows link types whose packets are longer
// than those of all networks.
func longest(l LinkType) uint32 {
	switch l.Kind() {
	case 189, 220, 231, 249, 266: // USB of Linux, mapped and not, D-Bus, USBPcap, USB of macOS
		return 128 << 20
	case 279: // EBHSCR
		return 8 << 20
	default:
		return MaxPacket
	}
}
