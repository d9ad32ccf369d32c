package capfile

import (
	"errors"
	"fmt"
	"io"
	"path/filepath"
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
	packets [batchLen]source.Packet
	length  int    // of packets
	given   int    // of them, by Next
	quiet   bool   // nothing more was there when it was handed over
	arena   []byte // what is left of it
	memory  []byte // all of it
	seen    uint64 // packets looked at, up to its end
	matched uint64 // of them
	err     error  // behind the packets; nothing follows
}

func (b *batch) reset() {
	b.length, b.given, b.quiet, b.arena, b.err = 0, 0, false, b.memory, nil
}

// Next implements source.Batch.
func (b *batch) Next() *source.Packet {
	if b.given == b.length {
		return nil
	}
	b.given++
	return &b.packets[b.given-1]
}

// Quiet implements source.Batch.
func (b *batch) Quiet() bool { return b.quiet }

// fileSource is the source of a capture of packets of a file.
type fileSource struct {
	spec     *Spec
	in       *input
	reader   *pcapfile.Reader
	header   pcapfile.LinkType // as it goes into the header of the file written
	warnings []string

	full  chan *batch
	free  chan *batch
	wake  chan struct{}
	done  chan struct{} // closed by Detach
	once  sync.Once
	wg    sync.WaitGroup
	match matcher

	// Of the decoder.
	now     *batch // is being filled
	turned  bool   // a batch was handed over while a packet was being read
	empty   bool
	first   pcapfile.Packet   // read already, unless empty
	link    pcapfile.LinkType // of the packet before
	id      int               // of its interface
	seen    uint64
	matched uint64
	begun   int64 // time of the first packet that has one, in nanoseconds since 1970
	timed   bool  // there was one

	mu     sync.Mutex
	ifaces []source.Interface

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
		b := &batch{memory: make([]byte, arenaSize)}
		b.reset()
		f.free <- b
	}
	return f
}

// begin reads the header and the first packet.
func (f *fileSource) begin() error {
	var err error
	if f.reader, err = pcapfile.NewReader(f.in); err != nil {
		return err
	}
	f.now = <-f.free
	f.reader.Buffer(f.now.arena)
	err = f.reader.Next(&f.first)
	f.empty = errors.Is(err, io.EOF)
	if err != nil && !f.empty {
		return err
	}
	link, known := f.reader.LinkType()
	switch {
	case !known:
		return &pcapfile.FormatError{Reason: "the file has no packets and describes no interface, so that it has no link type"}
	case f.empty || f.first.LinkType == link.Kind():
		f.header = link
	default: // of another interface than the first
		f.header = f.first.LinkType
	}
	f.link = f.header.Kind()
	f.turnTo(f.link)
	if w := f.spec.sideWarning(f.link, &f.first); w != "" {
		f.warnings = append(f.warnings, w)
	}
	return nil
}

// Open implements source.Source: the file is open.
func (*fileSource) Open() error { return nil }

// Start starts the decoder.
func (f *fileSource) Start() error {
	if f.in.ahead != nil {
		// Whoever sends the packets through a pipe may be slow, and somebody may
		// be watching the file grow.
		f.in.ahead.idle = func() error {
			f.now.quiet = true
			f.turned = true
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
	if f.empty {
		return io.EOF
	}
	p := f.first
	for {
		if err := f.packet(&p); err != nil {
			return err
		}
		if f.now.length == batchLen || len(f.now.arena) < pcapfile.MaxSnapLen {
			if err := f.handOver(); err != nil {
				return err
			}
		}
		f.turned = false
		f.reader.Buffer(f.now.arena)
		err := f.reader.Next(&p)
		switch {
		case errors.Is(err, io.EOF), errors.Is(err, errInterrupted):
			return err
		case err != nil:
			return f.readError(err)
		}
		if f.turned && len(p.Data) <= len(f.now.arena) {
			// Its bytes are in the memory of a batch that was handed over, and which
			// nobody writes to before this goroutine does.
			p.Data = f.now.arena[:copy(f.now.arena, p.Data)]
		}
	}
}

// packet takes one packet into the batch, if it is wanted.
func (f *fileSource) packet(p *pcapfile.Packet) error {
	if p.LinkType != f.link {
		if err := f.changeLink(p); err != nil {
			return err
		}
	}
	f.seen++
	if f.late(p) {
		return source.ErrLate
	}
	if !f.match.match(p) {
		return nil
	}
	f.matched++
	b := f.now
	b.packets[b.length] = source.Packet{
		Sec: int64(p.Sec), Nsec: p.Nsec, Flags: uint32(p.Direction), Interface: f.id, Length: p.Length, Data: p.Data,
		Timed: p.Timed, Number: f.seen,
	}
	b.length++
	if len(b.arena) >= len(p.Data) {
		b.arena = b.arena[len(p.Data):]
	}
	return nil
}

// end gives the last batch to the packet loop, and the error that comes behind
// it.
func (f *fileSource) end(err error) {
	f.now.seen, f.now.matched, f.now.err = f.seen, f.matched, err
	select {
	case f.full <- f.now:
	case <-f.done:
	}
}

// handOver gives the batch to the packet loop and takes an empty one.
func (f *fileSource) handOver() error {
	f.now.seen, f.now.matched = f.seen, f.matched
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
// that is earlier than the first is in time.
func (f *fileSource) late(p *pcapfile.Packet) bool {
	if !p.Timed {
		return false
	}
	at := int64(p.Sec)*int64(time.Second) + int64(p.Nsec) // up to 2106, which fits
	if !f.timed {
		f.begun, f.timed = at, true
	}
	limit := f.spec.config.MaxTime
	return limit > 0 && at-f.begun >= int64(limit)
}

// changeLink prepares for packets of another link type than that of the one
// before.
func (f *fileSource) changeLink(p *pcapfile.Packet) error {
	if f.spec.config.Format == pcapfile.NG {
		if err := f.spec.checkLink(p.LinkType); err != nil {
			return f.readError(&pcapfile.FormatError{Offset: p.Offset, Reason: err.Error()})
		}
		f.link = p.LinkType
		f.turnTo(p.LinkType)
		return nil
	}
	return f.readError(&pcapfile.FormatError{Offset: p.Offset, Reason: fmt.Sprintf(
		"a packet of %s, while those before are of %s, and a classic pcap file has one link type: write pcapng, with --format pcapng, or "+
			"take out the packets of one interface, as in `tshark -r FILE -Y 'frame.interface_id == 0' -w one.pcapng`, and read these", p.LinkType, f.link)})
}

// turnTo settles the interface of the packets that follow: there is one for each
// link type.
func (f *fileSource) turnTo(link pcapfile.LinkType) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range f.ifaces {
		if f.ifaces[i].LinkType == link {
			f.id = i
			return
		}
	}
	f.id = len(f.ifaces)
	f.ifaces = append(f.ifaces, source.Interface{Name: filepath.Base(f.spec.Name()), Description: "packets of a file", LinkType: link})
}

// readError says where the file that is read went wrong.
func (f *fileSource) readError(err error) error {
	e := fault.Errorf(fault.Failed, "%s: %w; what was recorded of the %d packets before it is kept and readable", f.spec.Name(), err, f.seen)
	e.Target = flag
	return e
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

// Describe implements source.Source.
func (f *fileSource) Describe(id int) source.Interface {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.ifaces[id]
}

// Timeline implements source.Source.
func (*fileSource) Timeline() source.Timeline { return source.PacketTime }

// Report implements source.Source.
func (f *fileSource) Report() source.Report {
	r := f.spec.Report()
	r.LinkType, r.File.Format, r.File.Size, r.Warnings = f.header, f.reader.Format(), f.in.size, f.warnings
	return r
}

// Close implements source.Source.
func (f *fileSource) Close() error {
	_ = f.Detach()
	_ = f.in.close() // it was only read
	return nil
}
