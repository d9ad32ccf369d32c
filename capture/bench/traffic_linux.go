package main

import (
	"bufio"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"

	"pcapctl/capture/pcapfile"
)

// Traffic for the cases without an interface: flows of TCP with timestamps, and every fourth of UDP, between clients
// and a few servers, in sizes of IMIX. Each packet is of a flow chosen by chance, so that nothing that is
// known of flows stays in a cache for long.
const (
	offlinePackets = 2_000_000
	offlineFlows   = 2000
	offlineServers = 8
	offlineStep    = 5000 // nanoseconds between two packets
	// offlinePort is the server's port that the filter asks for; one flow of offlineServers has it.
	offlinePort = 443
)

// offlineSizes are IMIX, 7:4:1. The small ones are what a packet of TCP with timestamps has
// without data.
var offlineSizes = []int{66, 594, 66, 594, 66, 66, 1514, 66, 594, 66, 594, 66}

// offlineFlow is a conversation of a file that is made.
type offlineFlow struct {
	client     uint32
	port       uint16
	server     int
	udp        bool
	seq        [2]uint32 // of what the client and the server send next
	id         [2]uint16
	handshakes int    // packets of the handshake that are done
	acked      uint32 // of the server's, by the client
}

// writeTraffic makes a classic pcap file of so many packets, always the same one.
func writeTraffic(path string, packets, flows int) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(f, 1<<20)
	_, err = w.Write(pcapfile.AppendHeader(nil, pcapfile.Nano, pcapfile.Ethernet, pcapfile.MaxSnapLen))
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // always the same file
	list := make([]offlineFlow, flows)
	for i := range list {
		list[i] = offlineFlow{
			client: 0x0a000000 | uint32(i+1), port: uint16(1024 + i%60000), server: i % offlineServers, udp: i%4 == 3,
			seq: [2]uint32{random.Uint32(), random.Uint32()},
		}
	}
	record := make([]byte, pcapfile.RecordHeaderLen+1514)
	for n := range packets {
		if err != nil {
			break
		}
		b := list[random.IntN(flows)].packet(record[pcapfile.RecordHeaderLen:], offlineSizes[n%len(offlineSizes)], uint32(n))
		at := uint64(n) * offlineStep
		pcapfile.PutRecordHeader(record, 1_700_000_000+uint32(at/1e9), uint32(at%1e9), len(b), len(b))
		_, err = w.Write(record[:pcapfile.RecordHeaderLen+len(b)])
	}
	return errors.Join(err, w.Flush(), f.Close())
}

// packet is the next packet of a flow, in b. Large packets are the server's.
func (f *offlineFlow) packet(b []byte, size int, stamp uint32) []byte {
	from := 0
	if size > 100 {
		from = 1
	}
	flags := byte(0x10)
	if !f.udp && f.handshakes < 3 { // SYN, SYN/ACK, ACK
		size = offlineSizes[0]
		from = f.handshakes % 2
		flags = [...]byte{0x02, 0x12, 0x10}[f.handshakes]
		f.handshakes++
	}
	const ethernet, ip, tcp, request = 14, 20, 32, 12
	if from == 0 && f.handshakes == 3 && f.acked == f.seq[1] {
		size += request // else it would be a duplicate ACK
	}
	f.acked = f.seq[1]
	b = b[:size]
	clear(b)
	copy(b, "\x02\x00\x00\x00\x00\x01\x02\x00\x00\x00\x00\x02\x08\x00")
	h := b[ethernet:]
	h[0], h[8], h[9] = 0x45, 64, 6
	binary.BigEndian.PutUint16(h[2:], uint16(size-ethernet))
	f.id[from]++
	binary.BigEndian.PutUint16(h[4:], f.id[from])
	server := 0xc0a80001 + uint32(f.server)
	ends, ports := [2]uint32{f.client, server}, [2]uint16{f.port, uint16(offlinePort + f.server)}
	binary.BigEndian.PutUint32(h[12:], ends[from])
	binary.BigEndian.PutUint32(h[16:], ends[1-from])
	t := h[ip:]
	binary.BigEndian.PutUint16(t, ports[from])
	binary.BigEndian.PutUint16(t[2:], ports[1-from])
	if f.udp {
		h[9] = 17
		binary.BigEndian.PutUint16(t[4:], uint16(size-ethernet-ip))
		return b // without a checksum, which is allowed
	}
	binary.BigEndian.PutUint32(t[4:], f.seq[from])
	if flags&0x10 != 0 {
		binary.BigEndian.PutUint32(t[8:], f.seq[1-from])
	}
	t[12], t[13], t[14], t[15] = tcp/4<<4, flags, 0xff, 0xff
	copy(t[20:], "\x01\x01\x08\x0a")
	binary.BigEndian.PutUint32(t[24:], stamp)
	f.seq[from] += uint32(size - ethernet - ip - tcp)
	if flags&0x02 != 0 {
		f.seq[from]++
	}
	sum := uint32(6) + uint32(len(t))
	for i := 12; i < len(h); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(h[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	binary.BigEndian.PutUint16(t[16:], ^uint16(sum))
	return b
}
