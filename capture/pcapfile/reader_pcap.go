package pcapfile

import (
	"encoding/binary"
	"fmt"
)

// The numbers that pcap files begin with.
const (
	magicMicro    = 0xa1b2c3d4
	magicNano     = 0xa1b23c4d
	magicModified = 0xa1b2cd34 // Alexey Kuznetsov's patch of libpcap, which Red Hat Linux 6 and others had
)

func isPcapMagic(n uint32) bool { return n == magicMicro || n == magicNano || n == magicModified }

// modifiedHeaderLen is the length of a record's header in files of
// magicModified, in bytes. Behind the usual header it has the interface's index,
// the EtherType and the packet type, of which libpcap makes no use either.
const modifiedHeaderLen = 24

// pcapForm is what kind of pcap file is read.
type pcapForm struct {
	scale     uint32 // nanoseconds of one unit of a record's time
	headerLen int    // of a record, in bytes
	lengths   lengthOrder
}

// lengthOrder tells which of a record's two lengths comes first. Version 2.3
// exchanged them, and some programs wrote 2.3 and went on as before.
type lengthOrder uint8

const (
	capturedFirst lengthOrder = iota
	wireFirst
	smallerIsCaptured
)

// lengthOrders are the versions that libpcap reads. 543.0 is what tcpdump of
// DG/UX wrote. AIX writes 2.2.
var lengthOrders = map[[2]uint16]lengthOrder{
	{2, 0}: wireFirst, {2, 1}: wireFirst, {2, 2}: wireFirst, {2, 3}: smallerIsCaptured, {2, 4}: capturedFirst,
	{543, 0}: wireFirst,
}

func (r *Reader) openPcap(order binary.ByteOrder, magic uint32) error {
	r.setOrder(order)
	r.pcap = pcapForm{scale: 1000, headerLen: RecordHeaderLen}
	unit := "microseconds"
	switch magic {
	case magicNano:
		r.pcap.scale, unit = 1, "nanoseconds"
	case magicModified:
		r.pcap.headerLen = modifiedHeaderLen
	}
	head, err := r.part(HeaderLen, 0, "the file header")
	if err != nil {
		return err
	}
	version := [2]uint16{order.Uint16(head[4:]), order.Uint16(head[6:])}
	lengths, known := lengthOrders[version]
	if !known {
		return r.malformed("a pcap file of version %d.%d; allowed: 2.0 to 2.4, 543.0", version[0], version[1])
	}
	r.pcap.lengths = lengths
	r.format = "pcap"
	if version != [2]uint16{2, 4} {
		r.format = fmt.Sprintf("pcap of version %d.%d", version[0], version[1])
	}
	r.format += ", " + orderName(order) + ", " + unit
	if magic == magicModified {
		r.format += ", modified records"
	}
	// The snap length in the header does not bound the records: some writers
	// write longer packets, or 0 in the header, and libpcap accepts that.
	r.link, r.known = LinkType(order.Uint32(head[20:])), true
	return nil
}

func (r *Reader) nextPcap(p *Packet) error {
	const what = "the record"
	head, err := r.begin(r.pcap.headerLen, what)
	if err != nil {
		return err
	}
	p.LinkType, p.Offset, p.Timed = r.link.Kind(), r.at, true
	// A fraction of a second or more is not valid, but the sum is clear.
	sec, nsec := uint64(r.uint32(head)), uint64(r.uint32(head[4:]))*uint64(r.pcap.scale)
	if nsec >= 1e9 {
		sec, nsec = sec+nsec/1e9, nsec%1e9
	}
	p.Sec, p.Nsec = int64(sec), uint32(nsec)
	caplen, length := r.uint32(head[8:]), r.uint32(head[12:])
	if order := r.pcap.lengths; order == wireFirst || order == smallerIsCaptured && caplen > length {
		caplen, length = length, caplen
	}
	return r.body(p, caplen, length, what)
}
