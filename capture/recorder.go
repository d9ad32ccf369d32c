package capture

import (
	"cmp"
	"encoding/binary"
	"errors"
	"sync/atomic"
	"time"

	"pcapctl/capture/netif"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/ring"
	"pcapctl/filter"
)

// bufferSize is how many bytes of records are held before they are written.
// One write of 256 KiB costs little more than one of 4 KiB, and more would
// only take memory. A record of the greatest length fits behind it.
const (
	bufferSize    = 256 << 10
	maxRecordSize = 64 + pcapfile.MaxSnapLen // with what stands around the packet
)

// recorder turns packets of the ring into records of the file. It belongs to
// the packet loop; others look at it through the counters.
type recorder struct {
	file    *outFile
	packer  *packer // of compressed files, else nil
	format  pcapfile.Format
	link    pcapfile.LinkType // of the next packet
	rawIP   bool              // all packets are raw IP
	ng      *sections         // of a pcapng file, else nil
	snap    int
	limit   int64       // bytes of the whole file; 0 is none
	user    *filter.Set // when the kernel's program lets too much through
	buf     []byte      // whole records that are not in the file yet
	reserve *reserve    // of the disk; nil for none
	failed  bool        // the disk takes no more: packets are only counted

	endSec, endNsec uint32 // packets after this moment came too late; 0 for none

	// Of a ring of files.
	turn   *rotation // nil otherwise
	gate   bool      // the file that comes next is not there yet
	header int64     // bytes that a file begins with

	prefix [pcapfile.SLL2Len + vlanTagLen]byte
	match  filter.Packet
	all    struct { // recorded so far; the packet loop's own, told through counters
		packets, bytes uint64
		size           int64
	}

	counters
}

// counters are written by the packet loop once a block and read by anyone.
type counters struct {
	packets atomic.Uint64 // recorded, those in the buffer included
	bytes   atomic.Uint64 // of packet data recorded
	size    atomic.Int64  // of the file, with what is in the buffer
	// What was recorded and then could not be written.
	lost, lostBytes atomic.Uint64
	// What is in the file.
	writtenPackets, writtenBytes atomic.Uint64
	writtenSize                  atomic.Int64
	total                        atomic.Int64 // bytes in all files of the session, those that are gone included
}

const (
	macAddrsLen = 12 // destination and source address, before the EtherType
	macLen      = 14
	vlanTagLen  = 4
)

// newRecorder makes the recorder of a capture of packets of a link type. ng is
// for pcapng files, and nil for others.
func newRecorder(c *request.Config, link pcapfile.LinkType, ng *sections) *recorder {
	r := &recorder{
		format: c.Format, link: link, rawIP: link == pcapfile.RawIP, ng: ng,
		snap: int(snapLenOf(c)), limit: c.MaxBytes,
	}
	r.buf = make([]byte, 0, bufferSize+maxRecordSize)
	if ng != nil {
		r.buf = ng.header(r.buf)
	} else {
		r.buf = pcapfile.AppendHeader(r.buf, r.format, link, uint32(r.snap))
	}
	r.header = int64(len(r.buf))
	r.all.size = r.header
	r.size.Store(r.all.size)
	return r
}

// start writes the file header, so that the file opens from the first moment.
func (r *recorder) start(file *outFile) error {
	r.file = file
	if _, err := r.file.Write(r.buf); err != nil {
		return err
	}
	r.began()
	if file.coder != nil {
		r.startPacking()
	}
	return nil
}

// began says that the header is in the file.
func (r *recorder) began() {
	r.buf = r.buf[:0]
	r.writtenSize.Store(r.file.Size())
	r.total.Store(r.file.Size())
}

// block records the packets of a block. full says that the next packet would
// have taken the file over its limit; it and all that follow are not recorded.
// When the disk fails, the packets behind are counted as lost.
func (r *recorder) block(b *ring.Block) (full bool, err error) {
	defer r.publish()
	var p ring.Packet
	var failure error
	for {
		ok, err := b.Next(&p)
		if !ok || err != nil {
			return false, cmp.Or(failure, err)
		}
		if r.user != nil && !r.matches(&p) || r.late(&p) {
			continue
		}
		if r.failed {
			r.lose()
			continue
		}
		if r.ng != nil {
			r.link = r.ng.choose(&p)
		}
		prefix, data, length := r.frame(&p)
		full, err := r.add(p.Sec, p.Nsec, prefix, data, length)
		switch {
		case err != nil && !errors.Is(err, errSpent):
			// This packet and those behind it matched, and will be in no file.
			r.failed = true
			r.lose()
			failure = err
		case full || err != nil:
			return full, err
		}
	}
}

// lose counts a packet that matched and cannot be recorded any more.
func (r *recorder) lose() {
	r.all.packets++
	r.lost.Add(1)
}

// until makes every packet that comes after t too late to be recorded.
func (r *recorder) until(t time.Time) {
	r.endSec, r.endNsec = uint32(t.Unix()), uint32(t.Nanosecond())
}

func (r *recorder) late(p *ring.Packet) bool {
	return r.endSec != 0 && (p.Sec > r.endSec || p.Sec == r.endSec && p.Nsec > r.endNsec)
}

// add records one packet: prefix and data follow each other, length is that of
// the whole on the wire. full says that it would have taken the file over its
// limit and is not recorded.
func (r *recorder) add(sec, nsec uint32, prefix, data []byte, length int) (full bool, err error) {
	if r.ng != nil {
		return r.addNG(sec, nsec, prefix, data, length)
	}
	caplen := min(len(prefix)+len(data), r.snap)
	record := pcapfile.RecordHeaderLen + caplen
	if r.limit > 0 && r.all.size+int64(record) > r.limit {
		if r.turn == nil {
			return true, nil
		}
		return r.addToNext(sec, nsec, prefix, data, length)
	}
	if len(r.buf) >= bufferSize && r.due() {
		if err := r.flush(); err != nil {
			return false, err
		}
	}
	at := len(r.buf)
	r.buf = r.buf[:at+record]
	if r.format == pcapfile.Micro {
		nsec /= 1000
	}
	pcapfile.PutRecordHeader(r.buf[at:], sec, nsec, caplen, length)
	body := r.buf[at+pcapfile.RecordHeaderLen:]
	copy(body[copy(body, prefix):], data)
	r.all.packets++
	r.all.bytes += uint64(caplen)
	r.all.size += int64(record)
	return false, nil
}

// publish tells what was recorded so far to those who look from outside.
func (r *recorder) publish() {
	r.packets.Store(r.all.packets)
	r.bytes.Store(r.all.bytes)
	r.size.Store(r.all.size)
}

// matches does what the kernel's program was too small for.
func (r *recorder) matches(p *ring.Packet) bool {
	m := &r.match
	m.Data, m.Protocol, m.Direction = p.Data, p.Protocol, filter.Incoming
	switch {
	case netif.HWType(p.HWType) == netif.Loopback:
		m.Direction = filter.Either
	case p.Type == ring.TypeOutgoing:
		m.Direction = filter.Outgoing
	}
	switch {
	case netif.HWType(p.HWType).HasMAC():
		m.Framing = filter.Ethernet
	case r.rawIP:
		m.Framing = filter.RawIP
	default:
		m.Framing = filter.Cooked
	}
	return r.user.Match(m)
}

// frame lays a packet out as the link type wants it: prefix and data follow
// each other in the record, length is that of the whole on the wire.
func (r *recorder) frame(p *ring.Packet) (prefix, data []byte, length int) {
	switch {
	case r.link == pcapfile.SLL2:
		return r.cooked(p)
	case p.Tagged && r.link == pcapfile.Ethernet && len(p.Data) >= macAddrsLen:
		// The kernel takes the outer tag out of received frames and hands it
		// over beside them (packet(7), PACKET_AUXDATA). It goes back where it
		// was.
		prefix = r.prefix[:macAddrsLen+vlanTagLen]
		copy(prefix, p.Data[:macAddrsLen])
		binary.BigEndian.PutUint16(prefix[macAddrsLen:], p.TPID)
		binary.BigEndian.PutUint16(prefix[macAddrsLen+2:], p.TCI)
		return prefix, p.Data[macAddrsLen:], p.Len + vlanTagLen
	default:
		return nil, p.Data, p.Len
	}
}

// cooked puts an SLL2 header in the place of the link layer's. A tag follows
// it as it follows the addresses in a MAC header: the header's protocol is the
// tag's type, the tag's content comes first in the data.
func (r *recorder) cooked(p *ring.Packet) (prefix, data []byte, length int) {
	h := pcapfile.SLL2Header{
		Protocol: p.Protocol, Interface: p.Interface, HWType: p.HWType,
		Type: p.Type, AddrLen: p.AddrLen, Addr: p.Addr,
	}
	cut := max(0, min(p.Net, len(p.Data)))
	if netif.HWType(p.HWType).HasMAC() && len(p.Data) >= macLen {
		// Tags that are still in the frame stay in the data. The kernel's idea
		// of the network header is behind them, and its protocol may be theirs
		// or the one behind them, depending on its version.
		cut = macLen
		if t := binary.BigEndian.Uint16(p.Data[macAddrsLen:]); t >= minEtherType {
			h.Protocol = t
		}
	}
	prefix = r.prefix[:pcapfile.SLL2Len]
	if p.Tagged {
		prefix = r.prefix[:pcapfile.SLL2Len+vlanTagLen]
		binary.BigEndian.PutUint16(prefix[pcapfile.SLL2Len:], p.TCI)
		binary.BigEndian.PutUint16(prefix[pcapfile.SLL2Len+2:], h.Protocol)
		h.Protocol = p.TPID
	}
	h.Put(prefix)
	return prefix, p.Data[cut:], p.Len - cut + len(prefix)
}

// minEtherType is the least value that is a type; below it is the length of
// an 802.3 frame.
const minEtherType = 0x600

// whole tells the packets that b begins with, their bytes, and their records'.
func (r *recorder) whole(b []byte) (packets, data, size int) {
	if r.ng != nil {
		return pcapfile.WholeNG(b)
	}
	packets, size = pcapfile.Whole(b)
	return packets, size - packets*pcapfile.RecordHeaderLen, size
}

// flush writes what is in the buffer. When it fails, the file ends behind the
// last whole record that the disk took, and the rest is counted as lost.
// errSpent says that all is in the file, and that it is time to end.
func (r *recorder) flush() error {
	if err := r.pass(); err != nil {
		r.failed = !errors.Is(err, errSpent)
		return r.loseAll(err)
	}
	if len(r.buf) == 0 {
		return nil
	}
	if r.packer != nil {
		return r.hand()
	}
	n, err := r.file.Write(r.buf)
	if err != nil {
		r.failed = true
		kept, keptBytes, size := r.whole(r.buf[:n])
		all, allBytes, _ := r.whole(r.buf)
		r.lost.Add(uint64(all - kept))
		r.lostBytes.Add(uint64(allBytes - keptBytes))
		if cutErr := r.file.Cut(r.file.Size() + int64(size)); cutErr != nil {
			err = cutErr
		}
	}
	r.buf = r.buf[:0]
	// The buffer is empty: all that was recorded is written, or lost.
	r.writtenPackets.Store(r.all.packets - r.lost.Load())
	r.writtenBytes.Store(r.all.bytes - r.lostBytes.Load())
	r.writtenSize.Store(r.file.Size())
	total := r.total.Add(int64(n))
	if err != nil {
		return err
	}
	return r.reserve.wrote(total)
}
