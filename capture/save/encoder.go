// Package save brings packets into files: an [Encoder] lays them out as records
// of a format, a [Sink] brings the records to the disk, and a [Recorder] keeps
// both to the limits.
package save

import (
	"math"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
)

// Encoder lays packets out as records of a file's format. It belongs to one
// goroutine and allocates nothing for a packet.
type Encoder interface {
	// Begin appends what the next file begins with.
	Begin(b []byte) []byte
	// Behind says that n packets are missing before the next one that is appended.
	Behind(n uint64)
	// Append appends the records of p, if it is not nil, and of the packets of the
	// batch, until b has mark bytes or more, or the next packet would take more than
	// room bytes, those that End needs included. That packet is next, which is nil
	// when the batch is at its end. n is how many packets it took, and data how many
	// bytes of them. There is room in b for mark bytes and maxRecordSize more.
	Append(b []byte, p *source.Packet, batch source.Batch, mark int, room int64) (out []byte, next *source.Packet, n, data uint64)
	// Cut makes a packet so short that it has room in an empty file with room
	// bytes. It is false when no packet has.
	Cut(p *source.Packet, room int64) bool
	// Truncated is how many packets were cut though more of them was asked for, as
	// a record takes no more.
	Truncated() uint64
	// Least is how many bytes a file has without a packet.
	Least() int64
	// End is what the file ends with whose last packet has been appended.
	End() Trailer
	// Whole tells the packets that b begins with, their bytes, and the bytes of
	// their records. b begins at a record.
	Whole(b []byte) (packets, data, size int)
}

// Trailer is what stands behind the packets of a file. It does not change when
// the encoder goes on to the next one.
type Trailer interface {
	Append(b []byte, l *Losses) []byte
}

// maxRecordSize is how many bytes a record takes at the most, with what stands
// around the packet.
const maxRecordSize = 64 + maxNameOption + pcapfile.MaxPacket

// snapLen is the snap length as files have it, in bytes.
func snapLen(c *request.Config) uint32 {
	if c.SnapLen == 0 {
		return pcapfile.MaxSnapLen
	}
	return min(c.SnapLen, pcapfile.MaxPacket)
}

// NewEncoder makes the encoder of a config's format for the packets of a
// source.
func NewEncoder(c *request.Config, src source.Source) Encoder {
	if c.Format == pcapfile.NG {
		if blocks, ok := src.(source.BlockSource); ok {
			return newBlockEncoder(c, blocks)
		}
		if src.Report().File.Path != "" {
			return newCarvedEncoder(c, src)
		}
		return newNGEncoder(c, src)
	}
	return &pcapEncoder{link: src.Report().LinkType, nano: c.Format == pcapfile.Nano, cutter: newCutter(c)}
}

// cutter brings packets to the length that a record may have.
type cutter struct {
	snap      uint32 // bytes of a record
	asked     uint32 // bytes of a packet that were asked for
	truncated uint64
}

func newCutter(c *request.Config) cutter {
	k := cutter{snap: snapLen(c), asked: c.SnapLen}
	if k.asked == 0 {
		k.asked = math.MaxUint32
	}
	return k
}

// cut is for a packet that fills a record or has more bytes.
func (k *cutter) cut(p *source.Packet) int {
	if min(p.Length, int(k.asked)) > int(k.snap) {
		k.truncated++
	}
	return int(k.snap)
}

// Truncated implements Encoder.
func (k *cutter) Truncated() uint64 { return k.truncated }

// pcapEncoder writes classic pcap.
type pcapEncoder struct {
	link pcapfile.LinkType
	nano bool
	cutter
}

// Begin implements Encoder.
func (e *pcapEncoder) Begin(b []byte) []byte {
	format := pcapfile.Micro
	if e.nano {
		format = pcapfile.Nano
	}
	return pcapfile.AppendHeader(b, format, e.link, e.snap)
}

// Behind implements Encoder. A record has no place for it.
func (*pcapEncoder) Behind(uint64) {}

// Append implements Encoder.
func (e *pcapEncoder) Append(b []byte, p *source.Packet, batch source.Batch, mark int, room int64) (_ []byte, _ *source.Packet, n, data uint64) {
	if p == nil {
		p = batch.Next()
	}
	for ; p != nil; p = batch.Next() {
		caplen := len(p.Prefix) + len(p.Data)
		record := pcapfile.RecordHeaderLen + min(caplen, int(e.snap))
		if room -= int64(record); len(b) >= mark || room < 0 {
			break
		}
		if caplen >= int(e.snap) {
			caplen = e.cut(p)
		}
		at := len(b)
		b = b[:at+record]
		fraction := p.Nsec
		if !e.nano {
			fraction /= 1000
		}
		pcapfile.PutRecordHeader(b[at:], uint32(p.Sec), fraction, caplen, p.Length)
		body := b[at+pcapfile.RecordHeaderLen:]
		copy(body[copy(body, p.Prefix):], p.Data)
		n++
		data += uint64(caplen)
	}
	return b, p, n, data
}

// Least implements Encoder.
func (*pcapEncoder) Least() int64 { return pcapfile.HeaderLen }

// Cut implements Encoder.
func (*pcapEncoder) Cut(p *source.Packet, room int64) bool {
	return shorten(p, room-pcapfile.RecordHeaderLen)
}

// shorten makes a packet at most room bytes long.
func shorten(p *source.Packet, room int64) bool {
	if room < int64(len(p.Prefix)) {
		return false
	}
	p.Data = p.Data[:min(int64(len(p.Data)), room-int64(len(p.Prefix)))]
	return true
}

// End implements Encoder.
func (*pcapEncoder) End() Trailer { return noTrailer{} }

// Whole implements Encoder.
func (*pcapEncoder) Whole(b []byte) (packets, data, size int) {
	packets, size = pcapfile.Whole(b)
	return packets, size - packets*pcapfile.RecordHeaderLen, size
}

// noTrailer is the end of a format that has none.
type noTrailer struct{}

// Append implements Trailer.
func (noTrailer) Append(b []byte, _ *Losses) []byte { return b }
