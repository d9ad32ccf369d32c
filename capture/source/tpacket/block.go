package tpacket

import (
	"encoding/binary"
	"errors"
)

// Packet is one packet in the ring. Data points into memory that belongs to
// the kernel again after Release.
type Packet struct {
	Data []byte // from the link-layer header on, at most as long as the filter allowed
	Len  int    // length in bytes on the wire, without a tag that the kernel took out
	Sec  uint32 // time of capture, Unix seconds
	Nsec uint32

	// Net is the offset of the network header in Data, which the kernel knows
	// even where we do not know the link layer.
	Net int

	Interface int    // interface index
	HWType    uint16 // device type, ARPHRD_*
	Protocol  uint16 // EtherType in host order
	Type      uint8  // PACKET_HOST … PACKET_OUTGOING, packet(7)
	AddrLen   uint8
	Addr      [8]byte // link-layer address of the sender

	// Tagged says that the kernel took a VLAN tag out of the frame, which
	// TPID and TCI tell.
	Tagged bool
	TPID   uint16
	TCI    uint16
}

// TypeOutgoing is the type of a packet that this machine sends, packet(7). All
// others are incoming.
const TypeOutgoing = 4

// Layout of a block and of a packet in it: struct tpacket_block_desc and
// struct tpacket3_hdr of include/uapi/linux/if_packet.h, followed by a struct
// sockaddr_ll at the next multiple of 16.
const (
	offBlockStatus = 8
	offNumPackets  = 12
	offFirstPacket = 16
	blockHeaderLen = 48

	offNext     = 0
	offSec      = 4
	offNsec     = 8
	offSnapLen  = 12
	offLen      = 16
	offStatus   = 20
	offMac      = 24
	offNet      = 26
	offTCI      = 32
	offTPID     = 36
	offAddr     = 48
	packetHdLen = offAddr + 20

	statusUser      = 1 << 0
	statusVLAN      = 1 << 4
	statusTimedOut  = 1 << 5 // of a block: handed over by the retire timer
	statusVLANTPID  = 1 << 6
	defaultTPID     = 0x8100
	sockaddrProto   = offAddr + 2
	sockaddrIndex   = offAddr + 4
	sockaddrHWType  = offAddr + 8
	sockaddrType    = offAddr + 10
	sockaddrAddrLen = offAddr + 11
	sockaddrAddr    = offAddr + 12
)

// ErrCorrupt means that the shared memory does not hold what the kernel's ABI
// says. It is checked because walking on would read foreign memory.
var ErrCorrupt = errors.New("the kernel's packet ring is not in the expected format")

// Block is a block that the kernel has handed over.
type Block struct {
	mem     []byte
	left    uint32
	off     uint32
	idle    bool
	dropped uint64
}

// Dropped is how many packets found the ring full between the block before and this one.
func (b *Block) Dropped() uint64 { return b.dropped }

// First is when the first packet of the block was captured, false where it has none. It is asked for before Next.
func (b *Block) First() (sec, nsec uint32, ok bool) {
	if b.left == 0 || uint64(b.off)+packetHdLen > uint64(len(b.mem)) {
		return 0, 0, false
	}
	h, n := b.mem[b.off:], binary.NativeEndian
	return n.Uint32(h[offSec:]), n.Uint32(h[offNsec:]), true
}

// Idle says that the block came by the retire timer and not because it was
// full: traffic is slow, and now is a good moment to write out what is held.
func (b *Block) Idle() bool { return b.idle }

func (b *Block) open(mem []byte, status uint32) error {
	if len(mem) < blockHeaderLen {
		return ErrCorrupt
	}
	b.mem = mem
	b.left = binary.NativeEndian.Uint32(mem[offNumPackets:])
	b.off = binary.NativeEndian.Uint32(mem[offFirstPacket:])
	b.idle = status&statusTimedOut != 0
	return nil
}

// Next fills p with the next packet of the block. It is false at the block's
// end. It allocates nothing.
func (b *Block) Next(p *Packet) (bool, error) {
	if b.left == 0 {
		return false, nil
	}
	if uint64(b.off)+packetHdLen > uint64(len(b.mem)) {
		return false, ErrCorrupt
	}
	m := b.mem[b.off:]
	h := m[:packetHdLen:packetHdLen]
	n := binary.NativeEndian

	mac, snap := uint32(n.Uint16(h[offMac:])), n.Uint32(h[offSnapLen:])
	if uint64(mac)+uint64(snap) > uint64(len(m)) {
		return false, ErrCorrupt
	}
	p.Data = m[mac : mac+snap : mac+snap]
	p.Len = int(n.Uint32(h[offLen:]))
	p.Net = int(n.Uint16(h[offNet:])) - int(mac)
	p.Sec, p.Nsec = n.Uint32(h[offSec:]), n.Uint32(h[offNsec:])

	status := n.Uint32(h[offStatus:])
	p.Tagged = status&statusVLAN != 0
	if p.Tagged {
		p.TCI = uint16(n.Uint32(h[offTCI:]))
		p.TPID = defaultTPID
		if status&statusVLANTPID != 0 {
			p.TPID = n.Uint16(h[offTPID:])
		}
	}

	// sll_protocol is the one member in network order.
	p.Protocol = binary.BigEndian.Uint16(h[sockaddrProto:])
	p.Interface = int(int32(n.Uint32(h[sockaddrIndex:])))
	p.HWType = n.Uint16(h[sockaddrHWType:])
	p.Type = h[sockaddrType]
	p.AddrLen = h[sockaddrAddrLen]
	p.Addr = [8]byte(h[sockaddrAddr:])

	// The last packet of a closed block has no next one, and one that is still
	// open has none yet either, so that the count rules, not the chain.
	b.left--
	b.off += n.Uint32(h[offNext:])
	return true, nil
}
