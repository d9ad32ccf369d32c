package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
)

// makeCapture is the program `mkpcap FILE KIND COUNT`: UDP datagrams of 70
// bytes with their headers from 10.0.0.1:1000, 1001, … to 10.0.0.2:9, one a
// second. KIND is ethernet, a pcap file; hourly, one with a packet an hour; or
// mixed, a pcapng file in which every second packet is of an interface with raw
// IP. It exists only for the scripts.
func makeCapture() {
	if err := writeCapture(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fmt.Fprintln(os.Stderr, "mkpcap:", err)
		os.Exit(1)
	}
}

func writeCapture(path, kind, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	var packets []pcaptest.Packet
	for i := range n {
		frame := make([]byte, 70)
		copy(frame, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00\x45\x00\x00\x38")
		copy(frame[22:], "\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02")
		binary.BigEndian.PutUint16(frame[34:], uint16(1000+i))
		frame[37], frame[39] = 9, 36
		p := pcaptest.Packet{Data: frame, Sec: 1_700_000_000 + uint32(i)}
		if kind == "hourly" {
			p.Sec = 1_700_000_000 + uint32(i)*3600
		}
		if kind == "syn" { // tries to connect, all from one port, that nobody answers
			frame[23] = 6
			copy(frame[34:], "\x0f\xa0\x15\x38\x00\x00\x00\x07\x00\x00\x00\x00\x90\x02\x01\x00")
		}
		if kind == "mixed" && i%2 == 1 {
			p.Data, p.Interface = frame[14:], 1
		}
		packets = append(packets, p)
	}
	file := pcaptest.Form{Order: binary.LittleEndian}.File(packets, pcapfile.Ethernet)
	if kind == "mixed" {
		file = pcaptest.Form{Order: binary.BigEndian, NG: true}.File(packets, pcapfile.Ethernet, pcapfile.RawIP)
	}
	return os.WriteFile(path, file, 0o600)
}
