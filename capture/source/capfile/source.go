package capfile

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/source"
	"pcapctl/filter"
)

// The packets are read and chosen in a goroutine of its own, the decoder, beside
// the packet loop. A batch goes round between the two.
const (
	batches  = 3
	batchLen = 256 // packets at the most
	// arenaSize is how many bytes of packets a batch has; room for one of MaxSnapLen is
	// left when it is handed over. A longer one, which is rare, may have memory of its
	// own.
	arenaSize = 512 << 10
)

// batch is what goes from the decoder to the packet loop.
type batch struct {
	of      *fileSource
	packets [batchLen]source.Packet
	odd     [batchLen]odd
	length  int    // of packets, and of blocks beside them
	given   int    // of them, by Next
	quiet   bool   // nothing more was there when it was handed over
	arena   []byte // what is left of it
	memory  []byte // all of it
	beyond  int    // bytes of packets and blocks that had no room in it
	seen    uint64 // packets looked at, up to its end
	matched uint64 // of them
	blind   tally  // of them: could not be looked into
	err     error  // behind the packets; nothing follows
}

func (b *batch) reset() {
	b.length, b.given, b.quiet, b.arena, b.beyond, b.err = 0, 0, false, b.memory, 0, nil
}

// full reports whether the batch takes no more.
func (b *batch) full() bool {
	return b.length == batchLen || len(b.arena) < pcapfile.MaxSnapLen || b.beyond >= arenaSize
}

// keep moves a packet or block into memory of the batch's.
func (b *batch) keep(p *pcapfile.Packet) {
	size := max(len(p.Data), len(p.Block))
	if size > len(b.arena) {
		b.beyond += size
		p.Move(make([]byte, size))
		return
	}
	p.Move(b.arena[:size:size])
	b.arena = b.arena[size:]
}

// add adds a packet or block whose memory is the batch's.
func (b *batch) add(p source.Packet, o odd) {
	b.packets[b.length], b.odd[b.length] = p, o
	b.length++
}

// Next implements source.Batch.
func (b *batch) Next() *source.Packet {
	if b.given == b.length {
		return nil
	}
	b.given++
	p := &b.packets[b.given-1]
	if o := b.odd[b.given-1]; o != 0 {
		b.of.oddities.note(o, p.Number)
	}
	return p
}

// Quiet implements source.Batch.
func (b *batch) Quiet() bool { return b.quiet }

// Gap implements source.Batch.
func (*batch) Gap() source.Gap { return source.Gap{} }

// fileSource is the source of a capture of packets of a file.
type fileSource struct {
	spec     *Spec
	in       *input
	content  *content
	reader   *pcapfile.Reader
	header   pcapfile.LinkType // as it goes into the header of the file written
	format   string            // in words
	warnings []string

	full  chan *batch
	free  chan *batch
	wake  chan struct{}
	done  chan struct{} // closed by Detach
	once  sync.Once
	wg    sync.WaitGroup
	match matcher

	// Of the decoder.
	keep    bool            // the file's blocks go into the file written
	now     *batch          // is being filled
	first   pcapfile.Packet // read already, if read
	read    bool
	stop    error             // what ends the source, known from the start; nil for a file that has packets
	link    pcapfile.LinkType // of the packet before
	blind   bool              // filters cannot look into packets of it
	seen    uint64
	matched uint64
	unseen  tally // packets that filters could not look into
	event   bool  // the packet that ends the capture has come
	over    int64 // when the capture is over for that, in nanoseconds since 1970; 0 where that packet has no time
	begun   int64 // time of the first packet that has one, in nanoseconds since 1970
	timed   bool  // there was one

	oddities oddities

	// Of the packet loop, which others look at.
	cur   *batch // given by Next
	next  *batch // received by Wait
	ended error
	stats struct{ seen, matched atomic.Uint64 }
}

func newSource(s *Spec) *fileSource {
	f := &fileSource{
		spec: s, match: s.match, full: make(chan *batch, batches), free: make(chan *batch, batches),
		wake: make(chan struct{}, 1), done: make(chan struct{}),
	}
	for range batches {
		b := &batch{of: f, memory: make([]byte, arenaSize)}
		b.reset()
		f.free <- b
	}
	return f
}

// begin reads the header and the first packet.
func (f *fileSource) begin() error {
	var err error
	if f.content, err = openContent(f.in); err != nil {
		return err
	}
	if f.reader, err = pcapfile.NewReaderOf(f.content); err != nil {
		return f.inContent(err)
	}
	f.format = f.reader.Format()
	if f.content.compressed != "" {
		f.format += ", compressed by " + f.content.compressed
	}
	section, strange := f.reader.FirstSection()
	if f.keep = f.spec.config.Format == pcapfile.NG && section != nil; f.keep {
		f.reader.KeepBlocks()
		f.oddities.note(odd(strange), 1)
	}
	f.now = <-f.free
	if err := f.readFirst(); err != nil {
		return f.inContent(err)
	}
	link, known := f.reader.LinkType()
	switch {
	case !known && f.stop != nil:
		return &pcapfile.FormatError{Reason: "the file has no packets and describes no interface, so that it has no link type"}
	case !f.read || f.first.LinkType == link.Kind():
		f.header = link
	default: // of another interface than the first
		f.header = f.first.LinkType
	}
	if w := f.spec.sideWarning(f.header.Kind(), &f.first); w != "" {
		f.warnings = append(f.warnings, w)
	}
	return nil
}

// readFirst reads as far as the first packet. The blocks before it go into the
// first batch; if that is full before, a packet is not waited for.
//
// A classic pcap file has the link type of its packets in its header. Where the
// file that is read has several, that is the one of the first packet that is
// wanted.
func (f *fileSource) readFirst() error {
	for f.stop == nil && !f.read && !f.now.full() {
		err := f.reader.Next(&f.first)
		switch {
		case errors.Is(err, io.EOF):
			f.stop = err
		case err != nil && f.seen == 0:
			return err
		case err != nil:
			f.stop = f.readError(err)
		case f.first.Apart:
			f.block(&f.first)
		case f.spec.config.Format == pcapfile.NG || len(f.reader.LinkTypes()) == 1:
			f.read = true
		default:
			f.seen++
			if f.late(&f.first) {
				f.stop = source.ErrLate
			} else if f.wants(&f.first) {
				f.seen--
				f.read = true
			}
		}
	}
	return nil
}

// Open implements source.Source: the file is open.
func (*fileSource) Open() error { return nil }

// Start starts the decoder.
func (f *fileSource) Start() error {
	if f.in.stream {
		// Whoever sends the packets through a pipe may be slow, and somebody may
		// be watching the file grow.
		f.content.ahead.idle = func() error {
			f.now.quiet = true
			return f.handOver()
		}
	}
	f.wg.Go(func() {
		if err := f.decode(); !errors.Is(err, errInterrupted) {
			f.end(err)
		}
	})
	return nil
}

// decode fills batches until the file ends. Its error is what ends the source.
func (f *fileSource) decode() error {
	if f.stop != nil {
		return f.stop
	}
	p := f.first
	for read := f.read; ; read = true {
		switch {
		case !read: // the first batch is full, and has no packet
		case p.Apart:
			f.block(&p)
		default:
			if err := f.packet(&p); err != nil {
				return err
			}
		}
		if f.now.full() {
			if err := f.handOver(); err != nil {
				return err
			}
		}
		err := f.reader.Next(&p)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, errInterrupted):
			return err
		case err != nil:
			return f.readError(err)
		}
	}
}

// packet takes one packet into the batch, if it is wanted.
func (f *fileSource) packet(p *pcapfile.Packet) error {
	f.seen++
	if f.late(p) {
		return source.ErrLate
	}
	if f.over != 0 && p.Timed && !isOddTime(p) && nanoseconds(p) > f.over {
		return source.ErrEventOver
	}
	if !f.wants(p) {
		return nil
	}
	event := f.isEvent(p)
	if f.spec.config.Format != pcapfile.NG && p.LinkType != f.header.Kind() {
		return f.linkError(p)
	}
	f.matched++
	o := odd(p.Odd)
	if isOddTime(p) {
		o |= oddTime
		if f.spec.config.Format != pcapfile.NG {
			p.Sec, p.Nsec = nearestTime(p.Sec)
		}
	}
	headers := 0
	if f.spec.config.Additions.HeadersOnly {
		headers = f.match.headerLength(p)
		if p.Block == nil {
			p.Data, headers = p.Data[:headers], 0
		}
	}
	f.now.keep(p)
	f.now.add(source.Packet{
		Sec: p.Sec, Nsec: p.Nsec, Flags: uint32(p.Direction), Length: p.Length, Data: p.Data,
		Headers: headers, Event: event, Timed: p.Timed, Number: f.seen, Block: p.Block,
	}, o)
	return nil
}

// isEvent reports whether a packet that is recorded is the one that ends the capture, and notes when that is.
func (f *fileSource) isEvent(p *pcapfile.Packet) bool {
	if f.event || f.spec.others == nil || f.spec.others.match(p) {
		return false
	}
	f.event = true
	if p.Timed && !isOddTime(p) {
		f.over = nanoseconds(p) + int64(f.spec.config.Additions.StopAfter)
	}
	return true
}

// nanoseconds is the time of a packet that is not odd, since 1970. Up to 2106 that fits.
func nanoseconds(p *pcapfile.Packet) int64 { return p.Sec*int64(time.Second) + int64(p.Nsec) }

// block takes a block that is not a packet into the batch.
func (f *fileSource) block(p *pcapfile.Packet) {
	if p.Block == nil {
		f.oddities.note(odd(p.Odd), f.seen+1)
		return
	}
	f.now.keep(p)
	f.now.add(source.Packet{Apart: true, Block: p.Block, Number: f.seen + 1}, odd(p.Odd))
}

// wants reports whether a packet is to be recorded.
func (f *fileSource) wants(p *pcapfile.Packet) bool {
	if p.LinkType != f.link {
		f.link, f.blind = p.LinkType, f.spec.checkLink(p.LinkType) != nil
	}
	if f.blind {
		f.unseen.add(f.seen)
		return false
	}
	return f.match.match(p)
}

// end gives the last batch to the packet loop, and the error that comes behind
// it.
func (f *fileSource) end(err error) {
	f.now.seen, f.now.matched, f.now.blind, f.now.err = f.seen, f.matched, f.unseen, err
	select {
	case f.full <- f.now:
	case <-f.done:
	}
}

// handOver gives the batch to the packet loop and takes an empty one.
func (f *fileSource) handOver() error {
	f.now.seen, f.now.matched, f.now.blind = f.seen, f.matched, f.unseen
	select {
	case f.full <- f.now:
	case <-f.done:
		return errInterrupted
	}
	select {
	case f.now = <-f.free:
		return nil
	case <-f.done:
		return errInterrupted
	}
}

// late reports whether a packet came after the time limit, which begins with
// the first packet of the file, whether that matches or not. The first one that
// is late ends the capture, as nothing says that earlier ones will follow; one
// that is earlier than the first is in time, and one with an odd time does not
// count.
func (f *fileSource) late(p *pcapfile.Packet) bool {
	if !p.Timed || isOddTime(p) {
		return false
	}
	at := nanoseconds(p)
	if !f.timed {
		f.begun, f.timed = at, true
	}
	limit, after := f.spec.config.MaxTime, time.Duration(at-f.begun)
	if limit == 0 || after < limit {
		return false
	}
	if after >= leap {
		f.oddities.leapt(f.seen, after)
	}
	return true
}

// linkError is a packet that has no place in a classic pcap file.
func (f *fileSource) linkError(p *pcapfile.Packet) error {
	return f.readError(&pcapfile.FormatError{Offset: p.Offset, Reason: fmt.Sprintf(
		"a packet of %s, while those before are of %s, and a classic pcap file has one link type: write pcapng, with --format pcapng, or "+
			"take out the packets of one interface, as in `tshark -r FILE -Y 'frame.interface_id == 0' -w one.pcapng`, and read these", p.LinkType, f.header.Kind())})
}

// readError says where the file that is read went wrong.
func (f *fileSource) readError(err error) error {
	e := fault.Errorf(fault.Failed, "%s: %w; what was recorded of the %d packets before it is kept and readable", f.spec.Name(), f.inContent(err), f.seen)
	e.Target = flag
	return e
}

// inContent tells that the place in a compressed file's error is one of its
// content.
func (f *fileSource) inContent(err error) error {
	if _, ok := errors.AsType[*pcapfile.FormatError](err); ok && f.content.compressed != "" {
		return fmt.Errorf("in its content, without the compression: %w", err)
	}
	return err
}

// Next implements source.Source.
func (f *fileSource) Next() (source.Batch, error) {
	if f.cur != nil {
		f.cur.reset()
		f.free <- f.cur // there is room for all of them
		f.cur = nil
	}
	select {
	case <-f.done:
		return nil, nil
	default:
	}
	if f.ended != nil {
		return nil, f.ended
	}
	b := f.next
	f.next = nil
	if b == nil {
		select {
		case b = <-f.full:
		default:
			return nil, nil
		}
	}
	f.cur, f.ended = b, b.err
	f.stats.seen.Store(b.seen)
	f.stats.matched.Store(b.matched)
	f.oddities.cannotLookInto(b.blind)
	return b, nil
}

// Wait implements source.Source.
func (f *fileSource) Wait(d time.Duration) error {
	if f.next != nil || f.ended != nil {
		return nil
	}
	var over <-chan time.Time
	if d >= 0 {
		t := time.NewTimer(d)
		defer t.Stop()
		over = t.C
	}
	select {
	case f.next = <-f.full:
	case <-f.wake:
	case <-f.done:
	case <-over:
	}
	return nil
}

// Wake implements source.Source.
func (f *fileSource) Wake() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// Detach ends the decoder. What it has read ahead is given up: the file is still
// there.
func (f *fileSource) Detach() error {
	f.once.Do(func() {
		close(f.done)
		f.in.interrupt()
	})
	f.wg.Wait()
	if c := f.content; c != nil && c.ahead != nil && !f.in.stream {
		<-c.ahead.ended // before the file is closed
	}
	return nil
}

// Exclude implements source.Source: a file has no traffic of this machine's now.
func (*fileSource) Exclude([]filter.Flow) error { return nil }

// Stats implements source.Source.
func (f *fileSource) Stats() source.Stats {
	return source.Stats{Received: f.stats.matched.Load(), Seen: f.stats.seen.Load(), Read: f.in.read.Load()}
}

// Links implements source.Source.
func (*fileSource) Links() []source.Link { return nil }

// Interfaces implements source.Source.
func (*fileSource) Interfaces() int { return 1 }

// Describe implements source.Source. A file that is read as a whole has one
// interface; those of a blockSource are in its blocks.
func (f *fileSource) Describe(int) source.Interface {
	name := filepath.Base(f.spec.Name())
	return source.Interface{Name: name, Description: "packets of " + name, LinkType: f.header.Kind()}
}

// Timeline implements source.Source.
func (*fileSource) Timeline() source.Timeline { return source.PacketTime }

// Report implements source.Source. What was odd in the file is told when that has
// been read.
func (f *fileSource) Report() source.Report {
	r := f.spec.Report()
	r.LinkType, r.File.Format, r.File.Size, r.Warnings = f.header, f.format, f.in.size, f.warnings
	select {
	case <-f.done:
		r.Warnings = slices.Concat(f.warnings, f.oddities.warnings(f.spec.config.Format == pcapfile.NG, f.keep))
	default:
	}
	return r
}

// Close implements source.Source.
func (f *fileSource) Close() error {
	_ = f.Detach()
	_ = f.in.close() // it was only read
	return nil
}

// blockSource is the source of a pcapng file whose blocks go into another one.
type blockSource struct{ *fileSource }

// Section implements source.BlockSource.
func (b blockSource) Section() []byte {
	section, _ := b.reader.FirstSection()
	return section
}

// Tail implements source.Source.
func (*fileSource) Tail() source.Gap { return source.Gap{} }
