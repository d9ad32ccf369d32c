package save

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/netif"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
)

// ngEncoder writes pcapng.
type ngEncoder struct {
	src    source.Source
	filter string // in words
	cutter
	head   []byte        // section header
	ifaces []ngInterface // by their numbers
	// pending are the descriptions of interfaces that have appeared, until their
	// first packet is recorded. Those before described are in the file.
	pending   []byte
	described int
	tail      int64  // bytes that each interface takes at the end of the file
	missing   uint64 // packets before the next one
}

type ngInterface struct {
	index   int    // of this machine
	block   []byte // its description
	packets uint64 // recorded
}

func newNGEncoder(c *request.Config, src source.Source) *ngEncoder {
	e := &ngEncoder{src: src, cutter: newCutter(c), tail: pcapfile.StatisticsLen}
	if !c.Filters.RecordsAll() {
		e.filter = c.Filters.String()
	}
	hardware, system := netif.Machine()
	e.head = pcapfile.AppendSection(nil, sectionOf(c, hardware, system))
	for range src.Interfaces() {
		e.add()
	}
	return e
}

// carvedEncoder writes pcapng of the packets of a file that says nothing of where
// they come from. So this file says nothing either: the machine that made it out of
// the other has not seen the packets, and has no statistics of an interface.
type carvedEncoder struct{ ngEncoder }

func newCarvedEncoder(c *request.Config, src source.Source) *carvedEncoder {
	i := src.Describe(0)
	section := pcapfile.Section{Application: application(c), Comment: carved(c)}
	d := pcapfile.Interface{Description: i.Description, LinkType: i.LinkType, SnapLen: snapLen(c)}
	return &carvedEncoder{ngEncoder{
		src: src, cutter: newCutter(c),
		head:   pcapfile.AppendSection(nil, &section),
		ifaces: []ngInterface{{block: pcapfile.AppendInterface(nil, &d)}},
	}}
}

// End implements Encoder.
func (*carvedEncoder) End() Trailer { return noTrailer{} }

// application is the program as files name it.
func application(c *request.Config) string { return strings.TrimSpace("pcapctl " + c.Application) }

// sectionOf tells a file's readers where it comes from. There is no secret in
// the request that a Config gives back.
func sectionOf(c *request.Config, hardware, system string) *pcapfile.Section {
	s := &pcapfile.Section{Hardware: hardware, System: system, Application: application(c)}
	s.Comment = fmt.Sprintf("host %s, session %s", c.HostName, c.Name)
	if text, err := json.Marshal(c.Request()); err == nil {
		s.Comment += ", request " + string(text)
	}
	if c.Additions.HeadersOnly {
		s.Comment += ", " + headersOnly
	}
	return s
}

// add describes the next interface of the source.
func (e *ngEncoder) add() {
	i := e.src.Describe(len(e.ifaces))
	d := pcapfile.Interface{Name: i.Name, Description: i.Description, System: i.System, LinkType: i.LinkType, SnapLen: e.snap, Filter: e.filter}
	e.ifaces = append(e.ifaces, ngInterface{index: i.Index, block: pcapfile.AppendInterface(nil, &d)})
}

// Begin implements Encoder.
func (e *ngEncoder) Begin(b []byte) []byte {
	b = append(b, e.head...)
	for i := range e.ifaces {
		b = append(b, e.ifaces[i].block...)
	}
	e.pending, e.described = nil, len(e.ifaces)
	return b
}

// Least implements Encoder.
func (e *ngEncoder) Least() int64 {
	n := int64(len(e.head)) + e.endSize()
	for i := range e.ifaces {
		n += int64(len(e.ifaces[i].block))
	}
	return n
}

// endSize is how many bytes End takes.
func (e *ngEncoder) endSize() int64 { return int64(len(e.ifaces)) * e.tail }

// Behind implements Encoder.
func (e *ngEncoder) Behind(n uint64) { e.missing += n }

// missingSize is how many bytes the next packet has more, as some are missing before it.
func (e *ngEncoder) missingSize() int {
	if e.missing == 0 {
		return 0
	}
	return pcapfile.DropCountLen
}

// Append implements Encoder.
func (e *ngEncoder) Append(b []byte, p *source.Packet, batch source.Batch, mark int, room int64) (_ []byte, _ *source.Packet, n, data uint64) {
	if p == nil {
		p = batch.Next()
	}
	more := e.missingSize()
	for ; p != nil; p = batch.Next() {
		for p.Interface >= len(e.ifaces) {
			e.add()
			e.pending = append(e.pending, e.ifaces[len(e.ifaces)-1].block...)
		}
		caplen := len(p.Prefix) + len(p.Data)
		record := pcapfile.EnhancedLen(min(caplen, int(e.snap))) + more
		if room -= int64(record + len(e.pending)); len(b) >= mark || room < e.endSize() {
			break
		}
		if caplen >= int(e.snap) {
			caplen = e.cut(p)
		}
		if len(e.pending) > 0 {
			b = append(b, e.pending...)
			e.pending, e.described = e.pending[:0], len(e.ifaces)
			b = slices.Grow(b, max(record, mark+maxRecordSize-len(b)))
		}
		at := len(b)
		b = b[:at+record]
		body := b[at:]
		body = body[pcapfile.PutEnhanced(body, uint32(p.Interface), p.Flags, p.Sec, p.Nsec, caplen, p.Length):][:caplen]
		copy(body[copy(body, p.Prefix):], p.Data)
		if more > 0 {
			pcapfile.PutDropCount(b[at:], e.missing)
			more, e.missing = 0, 0
		}
		e.ifaces[p.Interface].packets++
		n++
		data += uint64(caplen)
	}
	return b, p, n, data
}

// Cut implements Encoder.
func (e *ngEncoder) Cut(p *source.Packet, room int64) bool {
	const padding = 3 // up to a multiple of 4
	return shorten(p, room-e.endSize()-int64(pcapfile.EnhancedLen(0)+e.missingSize()+len(e.pending)+padding))
}

// Whole implements Encoder.
func (*ngEncoder) Whole(b []byte) (packets, data, size int) { return pcapfile.WholeNG(b) }

// End implements Encoder: the statistics of the interfaces that the file
// describes.
func (e *ngEncoder) End() Trailer {
	return &ngTrailer{at: time.Now(), ifaces: slices.Clone(e.ifaces[:e.described])}
}

// ngTrailer are the statistics of the interfaces, up to the end of a file.
type ngTrailer struct {
	at     time.Time
	ifaces []ngInterface
}

// Losses are what the statistics of a pcapng file are made of besides its
// packets.
type Losses struct {
	Start    time.Time // of the capture
	Links    []source.Link
	ByKernel uint64 // packets
}

// Append implements Trailer. The kernel counts the packets that found its ring
// full for the socket and not for each interface; they stand with the first.
func (t *ngTrailer) Append(b []byte, l *Losses) []byte {
	for id := range t.ifaces {
		i := &t.ifaces[id]
		s := pcapfile.Statistics{
			Interface: uint32(id), At: t.at, Start: l.Start, End: t.at, Received: i.packets, Recorded: i.packets,
		}
		if id == 0 {
			s.DroppedBySystem = l.ByKernel
			s.Received += l.ByKernel
		}
		if at := slices.IndexFunc(l.Links, func(k source.Link) bool { return k.Index == i.index }); at >= 0 {
			s.Dropped = l.Links[at].Dropped
		}
		b = pcapfile.AppendStatistics(b, &s)
	}
	return b
}

// CheckLimit refuses a byte limit that has no room for what a file holds besides
// packets.
//
// Error class: Invalid.
func CheckLimit(c *request.Config, e Encoder) error {
	least := e.Least()
	if c.MaxBytes == 0 || least <= c.MaxBytes {
		return nil
	}
	f := &fault.Error{Class: fault.Invalid, Code: fault.CodeInvalidValue, Target: "properties.totalBytesPerSession"}
	if c.Continuous != nil {
		f.Target = "properties.captureSettings.fileSizeInBytes"
	}
	f.Message = fmt.Sprintf("%d is too small, a pcapng file of this capture has %d bytes without a packet; write a larger number", c.MaxBytes, least)
	return f
}
