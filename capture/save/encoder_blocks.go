package save

import (
	"encoding/binary"
	"fmt"
	"math"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
)

// blockEncoder writes pcapng out of the blocks of a pcapng file. They stay as they
// are, in the byte order of their section: only packets are cut to the snap
// length, and a section header names pcapctl besides those that wrote it before.
type blockEncoder struct {
	head    []byte // section header
	snap    uint32 // bytes of a packet; math.MaxUint32 where none was asked for
	section pcapfile.Addition
	order   binary.ByteOrder // of the section that the packets are in
}

func newBlockEncoder(c *request.Config, src source.BlockSource) *blockEncoder {
	e := &blockEncoder{snap: math.MaxUint32, section: pcapfile.Addition{Application: application(c), Comment: carved(c)}}
	if c.SnapLen != 0 {
		e.snap = snapLen(c)
	}
	e.order = pcapfile.OrderOf(src.Section())
	e.head = pcapfile.AppendSectionOf(nil, src.Section(), &e.section)
	return e
}

// headersOnly is what a file says whose packets are cut behind their headers.
const headersOnly = "cut by pcapctl: each packet ends behind its last header"

// carved says what was taken of a file. It is "" for all of it. The machine where
// that was done is not told: the packets are not of it.
func carved(c *request.Config) string {
	text := ""
	if !c.Filters.RecordsAll() {
		text = "filtered by pcapctl: " + c.Filters.String()
	}
	if c.Additions.HeadersOnly {
		if text != "" {
			text += "; "
		}
		text += headersOnly
	}
	if c.SnapLen != 0 {
		if text != "" {
			text += "; "
		}
		text += fmt.Sprintf("cut by pcapctl: %d bytes of each packet", c.SnapLen)
	}
	return text
}

// Begin implements Encoder.
func (e *blockEncoder) Begin(b []byte) []byte { return append(b, e.head...) }

// Behind implements Encoder. Nothing is lost of a file that is read.
func (*blockEncoder) Behind(uint64) {}

// Append implements Encoder. A block that is not a packet may be larger than a
// record is otherwise, so that b may grow.
func (e *blockEncoder) Append(b []byte, p *source.Packet, batch source.Batch, mark int, room int64) (_ []byte, _ *source.Packet, n, data uint64) {
	if p == nil {
		p = batch.Next()
	}
	for ; p != nil; p = batch.Next() {
		if len(b) >= mark {
			break
		}
		at := len(b)
		caplen := 0
		if p.Apart {
			b = e.appendApart(b, p.Block)
		} else {
			caplen = min(len(p.Data), int(e.snap))
			if whole := caplen; p.Headers > 0 && p.Headers < whole {
				caplen = p.Headers
				b = pcapfile.AppendHeadersBlock(b, p.Block, p.Data, e.order, caplen)
			} else {
				b = pcapfile.AppendPacketBlock(b, p.Block, p.Data, e.order, caplen)
			}
		}
		if room -= int64(len(b) - at); room < 0 {
			b = b[:at]
			break
		}
		if !p.Apart {
			n++
			data += uint64(caplen)
		}
	}
	return b, p, n, data
}

// appendApart appends a block that is not a packet.
func (e *blockEncoder) appendApart(b, block []byte) []byte {
	switch {
	case pcapfile.IsSection(block):
		e.order = pcapfile.OrderOf(block)
		return pcapfile.AppendSectionOf(b, block, &e.section)
	case e.snap != math.MaxUint32:
		return pcapfile.AppendCutInterface(b, block, e.order, e.snap)
	}
	return append(b, block...)
}

// Cut implements Encoder. Packets of a file go into one file, and are not cut.
func (*blockEncoder) Cut(*source.Packet, int64) bool { return false }

// Least implements Encoder.
func (e *blockEncoder) Least() int64 { return int64(len(e.head)) }

// End implements Encoder. The statistics of the file that is read are among its
// blocks.
func (*blockEncoder) End() Trailer { return noTrailer{} }

// Whole implements Encoder.
func (*blockEncoder) Whole(b []byte) (packets, data, size int) { return pcapfile.WholeBlocks(b) }

// Truncated implements Encoder: packets are cut to a length that was asked for, and
// no further.
func (*blockEncoder) Truncated() uint64 { return 0 }
