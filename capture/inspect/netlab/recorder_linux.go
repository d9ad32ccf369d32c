package netlab

import (
	"encoding/binary"
	"math/rand/v2"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"pcapctl/capture/pcapfile"
)

// Recording is how a wire records. The zero value records every frame of the left
// end as it is, in classic pcap with microseconds.
type Recording struct {
	At     End
	Format pcapfile.Format
	Link   pcapfile.LinkType // 0 is Ethernet
	Snap   int               // bytes of a packet that are kept; 0 is all
	// Records makes the records of a frame: none, one or several. nil records it as it is.
	Records func(f *Frame) [][]byte
}

// recorder records frames into memory.
type recorder struct {
	Recording
	file   []byte
	paused bool
	clock  time.Duration // by how much the recorder's clock is wrong
}

func (r *recorder) begin(how Recording) {
	r.Recording = how
	if r.Link == 0 {
		r.Link = pcapfile.Ethernet
	}
	if r.Snap == 0 {
		r.Snap = pcapfile.MaxSnapLen
	}
	if r.Format == pcapfile.NG {
		r.file = pcapfile.AppendSection(nil, &pcapfile.Section{Application: "netlab"})
		r.file = pcapfile.AppendInterface(r.file, &pcapfile.Interface{Name: "eth0", LinkType: r.Link, SnapLen: uint32(r.Snap)})
		return
	}
	r.file = pcapfile.AppendHeader(nil, r.Format, r.Link, uint32(r.Snap))
}

// record records a frame that the interface at an end sent or received.
func (r *recorder) record(f *Frame, end End, at time.Time) {
	if r.paused || end != r.At {
		return
	}
	at = at.Add(r.clock)
	if r.Records == nil {
		r.write(f.Data, f.From == end, at)
		return
	}
	for _, data := range r.Records(f) {
		r.write(data, f.From == end, at)
	}
}

func (r *recorder) write(data []byte, outgoing bool, at time.Time) {
	kept := min(len(data), r.Snap)
	if r.Format == pcapfile.NG {
		packetType := uint8(0) // PACKET_HOST
		if outgoing {
			packetType = pcapfile.PacketOutgoing
		}
		start := len(r.file)
		r.file = append(r.file, make([]byte, pcapfile.EnhancedLen(kept))...)
		n := pcapfile.PutEnhanced(r.file[start:], 0, pcapfile.PacketFlags(packetType), at.Unix(), uint32(at.Nanosecond()), kept, len(data))
		copy(r.file[start+n:], data[:kept])
		return
	}
	fraction := uint32(at.Nanosecond())
	if r.Format == pcapfile.Micro {
		fraction /= 1000
	}
	start := len(r.file)
	r.file = append(r.file, make([]byte, pcapfile.RecordHeaderLen)...)
	pcapfile.PutRecordHeader(r.file[start:], uint32(at.Unix()), fraction, kept, len(data))
	r.file = append(r.file, data[:kept]...)
}

// Ways to record a frame, for Recording.Records.

// once is a frame as one record, of other bytes.
func once(change func(f *Frame) []byte) func(f *Frame) [][]byte {
	return func(f *Frame) [][]byte { return [][]byte{change(f)} }
}

// only records what matches.
func only(m Match) func(f *Frame) [][]byte {
	return func(f *Frame) [][]byte {
		if !m(f) {
			return nil
		}
		return [][]byte{f.Data}
	}
}

// losing is a capture that itself loses packets.
func losing(probability float64, seed uint64) func(f *Frame) [][]byte {
	random := rand.New(rand.NewPCG(seed, 4)) //nolint:gosec // it has to come out the same again
	return func(f *Frame) [][]byte {
		if random.Float64() < probability {
			return nil
		}
		return [][]byte{f.Data}
	}
}

// twice records every frame two times, as a capture on a bridge and its port does.
func twice(f *Frame) [][]byte { return [][]byte{f.Data, f.Data} }

// rawIP is the IP packet of a frame alone; ARP has none.
func rawIP(f *Frame) [][]byte {
	if f.Decoded.NetworkLayer() == nil {
		return nil
	}
	return [][]byte{f.Data[14:]}
}

// tagged puts a VLAN tag into a frame.
func tagged(ids ...uint16) func(f *Frame) [][]byte {
	return once(func(f *Frame) []byte {
		b := append([]byte(nil), f.Data[:12]...)
		for i, id := range ids {
			tpid := uint16(0x8100)
			if i < len(ids)-1 {
				tpid = 0x88a8 // IEEE 802.1ad: the outer one
			}
			b = binary.BigEndian.AppendUint16(b, tpid)
			b = binary.BigEndian.AppendUint16(b, id)
		}
		return append(b, f.Data[12:]...)
	})
}

// cooked is a frame with the header of LINKTYPE_LINUX_SLL or LINKTYPE_LINUX_SLL2
// instead of the Ethernet header.
func cooked(link pcapfile.LinkType, at End) func(f *Frame) [][]byte {
	return once(func(f *Frame) []byte {
		packetType := byte(0)
		if f.From == at {
			packetType = pcapfile.PacketOutgoing
		}
		protocol, source := f.Data[12:14], f.Data[6:12]
		var b []byte
		if link == pcapfile.SLL {
			b = append(b, 0, packetType, 0, 1, 0, 6) // ARPHRD_ETHER, an address of 6 bytes
			b = append(b, source...)
			b = append(b, 0, 0)
			b = append(b, protocol...)
		} else {
			b = append(b, protocol...)
			b = append(b, 0, 0, 0, 0, 0, 2, 0, 1, packetType, 6) // interface 2
			b = append(b, source...)
			b = append(b, 0, 0)
		}
		return append(b, f.Data[14:]...)
	})
}

// Tunnels: the frame as it is seen between the tunnel's ends.

// outer is what a tunnel puts before what it carries, for one direction.
func outer(f *Frame, protocol layers.IPProtocol) (*layers.Ethernet, *layers.IPv4) {
	ends := [2][]byte{{192, 0, 2, 1}, {192, 0, 2, 2}}
	macs := [2][]byte{{2, 0, 0, 0, 9, 1}, {2, 0, 0, 0, 9, 2}}
	to := f.From.Other()
	return &layers.Ethernet{SrcMAC: macs[f.From], DstMAC: macs[to], EthernetType: layers.EthernetTypeIPv4},
		&layers.IPv4{Version: 4, TTL: 64, Protocol: protocol, SrcIP: ends[f.From], DstIP: ends[to]}
}

// inUDP is a frame behind UDP to a port and a tunnel's header.
func inUDP(port layers.UDPPort, header []byte) func(f *Frame) [][]byte {
	return once(func(f *Frame) []byte {
		eth, ip := outer(f, layers.IPProtocolUDP)
		udp := &layers.UDP{SrcPort: 50000, DstPort: port}
		_ = udp.SetNetworkLayerForChecksum(ip) // never fails for IPv4
		return serialize(eth, ip, udp, gopacket.Payload(header), gopacket.Payload(f.Data))
	})
}

// inVXLAN is RFC 7348 with the network identifier 7.
func inVXLAN() func(f *Frame) [][]byte { return inUDP(4789, []byte{8, 0, 0, 0, 0, 0, 7, 0}) }

// inGeneve is RFC 8926 with the network identifier 7, a frame inside, and one option.
func inGeneve() func(f *Frame) [][]byte {
	return inUDP(6081, []byte{2, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 2, 3, 1, 0, 0, 0, 9})
}

// inGRE is RFC 2784 and 2890: an IP packet behind a header with a key.
func inGRE(f *Frame) [][]byte {
	if f.Decoded.NetworkLayer() == nil {
		return nil
	}
	eth, ip := outer(f, layers.IPProtocolGRE)
	header := append([]byte{0x20, 0}, f.Data[12:14]...)
	header = append(header, 0, 0, 0, 7)
	return [][]byte{serialize(eth, ip, gopacket.Payload(header), gopacket.Payload(f.Data[14:]))}
}

// inIPIP is RFC 2003: an IPv4 packet in an IPv4 packet.
func inIPIP(f *Frame) [][]byte {
	if f.Decoded.Layer(layers.LayerTypeIPv4) == nil {
		return nil
	}
	eth, ip := outer(f, layers.IPProtocolIPv4)
	return [][]byte{serialize(eth, ip, gopacket.Payload(f.Data[14:]))}
}
