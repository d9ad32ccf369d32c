package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"sync/atomic"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/storage"
)

// OfflineSession is a capture that is being made of a file.
type OfflineSession struct {
	Plan    *OfflinePlan
	Started time.Time

	file    *outFile
	guard   storage.Protector
	rec     *recorder
	stopped atomic.Bool
	packets atomic.Uint64 // read
	count   uint64        // the same; the packet loop's own
	matched uint64
	begin   int64             // time of the first packet that has one, in nanoseconds since 1970
	timed   bool              // there was one
	link    pcapfile.LinkType // of the packet before
	fileErr error             // the file that is written failed within a read
}

// startGuard starts the guard of the file that is written.
func (s *OfflineSession) startGuard(program string, file *storage.File) error {
	guard, err := storage.StartGuard(program)
	if err != nil {
		return err
	}
	s.guard = guard
	return guard.Protect(file)
}

// tellPackets is how many packets are read between two times that others are
// told of them.
const tellPackets = 256

// Start makes the file that is written. When it fails, nothing is left behind
// and the plan is still to be closed. guard is as in Options.
//
// Error classes: Conflict (the file exists), NotFound (its folder does not),
// Forbidden, Invalid, LocalFile.
func (p *OfflinePlan) Start(guard string) (_ *OfflineSession, err error) {
	s := &OfflineSession{Plan: p, link: p.LinkType, guard: storage.Unguarded{}}
	c := p.Config
	file, err := storage.Create(c.CapturesDir, c.FilePath)
	if err != nil {
		return nil, p.writeError(createError(c.CapturesDir, err))
	}
	if s.file, err = newOutFile(file, c.Compress); err != nil {
		return nil, fault.Errorf(fault.Internal, "%w", err)
	}
	defer func() {
		if err != nil {
			_ = s.file.Discard()
			s.guard.Close()
		}
	}()
	if guard != "" {
		if err := s.startGuard(guard, file); err != nil {
			p.Warnings = append(p.Warnings, unguarded(err))
		}
	}
	ng, err := p.sections()
	if err != nil {
		return nil, err
	}
	s.rec = newRecorder(c, p.header, ng)
	if s.rec.reserve, err = newReserve(c.CapturesDir, p.MinFree); err != nil {
		return nil, err
	}
	if err := s.rec.start(s.file); err != nil {
		return nil, startError(err)
	}
	if p.in.ahead != nil {
		// Whoever sends the packets through a pipe may be slow, and somebody may
		// be watching the file grow.
		p.in.ahead.idle = s.flush
	}
	s.Started = time.Now()
	return s, nil
}

func (s *OfflineSession) flush() error {
	s.rec.publish()
	s.packets.Store(s.count)
	if err := s.rec.flush(); err != nil {
		s.fileErr = err
		return err
	}
	return nil
}

// Run records until the file that is read ends, a limit is reached, ctx is done
// (stop reason Manual) or something fails, and closes both files. The Result is
// never nil: it tells what was recorded also when the error says that this is
// not all.
//
// Error classes: Failed (the file that is read is damaged or cannot be read
// on), LocalFile.
func (s *OfflineSession) Run(ctx context.Context) (*Result, error) {
	stop := context.AfterFunc(ctx, func() {
		s.stopped.Store(true)
		s.Plan.in.interrupt()
	})
	reason, err := s.loop()
	stop()
	return s.finish(reason, err)
}

// loop is the packet loop.
func (s *OfflineSession) loop() (StopReason, error) {
	if s.Plan.empty {
		return EndOfFile, nil
	}
	p := s.Plan.first
	for {
		if s.stopped.Load() {
			return Manual, nil
		}
		if reason, err := s.packet(&p); reason != "" || err != nil {
			return reason, err
		}
		if s.count%tellPackets == 0 {
			s.rec.publish()
			s.packets.Store(s.count)
		}
		switch err := s.Plan.reader.Next(&p); {
		case err == nil:
		case errors.Is(err, io.EOF):
			return EndOfFile, nil
		case errors.Is(err, errInterrupted):
			return Manual, nil
		case errors.Is(s.fileErr, errSpent):
			return MinFreeReached, s.rec.reserve.failure()
		case s.fileErr != nil:
			return FileFailed, fileError(s.fileErr)
		default:
			return CaptureBroken, s.readError(err)
		}
	}
}

// packet judges one packet. A limit that it goes beyond is told as the reason.
func (s *OfflineSession) packet(p *pcapfile.Packet) (StopReason, error) {
	if p.LinkType != s.link {
		if err := s.turnTo(p); err != nil {
			return CaptureBroken, err
		}
	}
	s.count++
	if s.late(p) {
		return TimeExceeded, nil
	}
	if !s.Plan.match.match(p) {
		return "", nil
	}
	s.matched++
	if ng := s.rec.ng; ng != nil {
		ng.flags = uint32(p.Direction)
	}
	full, err := s.rec.add(p.Sec, p.Nsec, nil, p.Data, p.Length)
	switch {
	case errors.Is(err, errSpent):
		return MinFreeReached, s.rec.reserve.failure()
	case err != nil:
		return FileFailed, fileError(err)
	case full:
		return SizeExceeded, nil
	}
	return "", nil
}

// turnTo prepares for packets of another link type than that of the one before.
func (s *OfflineSession) turnTo(p *pcapfile.Packet) error {
	if ng := s.rec.ng; ng != nil {
		if err := s.Plan.checkLink(p.LinkType); err != nil {
			return s.readError(&pcapfile.FormatError{Offset: p.Offset, Reason: err.Error()})
		}
		s.link = p.LinkType
		ng.turnTo(linkKey(p.LinkType))
		return nil
	}
	return s.readError(&pcapfile.FormatError{Offset: p.Offset, Reason: fmt.Sprintf(
		"a packet of %s, while those before are of %s, and a classic pcap file has one link type: write pcapng, with --format pcapng, or "+
			"take out the packets of one interface, as in `tshark -r FILE -Y 'frame.interface_id == 0' -w one.pcapng`, and read these", p.LinkType, s.link)})
}

// linkKey tells the interfaces of a pcapng file apart that is made of another
// file: there is one for each link type.
func linkKey(l pcapfile.LinkType) ngKey { return ngKey{index: int(l)} }

// sections makes the pcapng side of the session; nil for other formats.
func (p *OfflinePlan) sections() (*sections, error) {
	if p.Config.Format != pcapfile.NG {
		return nil, nil
	}
	describe := func(key ngKey) ngInterface {
		d := pcapfile.Interface{
			Name: filepath.Base(p.Name()), Description: "packets of a file", LinkType: pcapfile.LinkType(key.index), SnapLen: snapLenOf(p.Config),
			Filter: p.Config.Filters.String(),
		}
		return ngInterface{ngKey: key, link: d.LinkType, block: pcapfile.AppendInterface(nil, &d)}
	}
	hardware, system := describeMachine()
	n := newSections(sectionOf(p.Config, hardware, system), []ngInterface{describe(linkKey(p.LinkType))}, describe)
	return n, fits(p.Config, n)
}

// late reports whether a packet came after the time limit, which begins with
// the first packet of the file, whether that was recorded or not. The first one
// that is late ends the capture, as nothing says that earlier ones will follow;
// one that is earlier than the first is in time.
func (s *OfflineSession) late(p *pcapfile.Packet) bool {
	if !p.Timed {
		return false
	}
	at := int64(p.Sec)*int64(time.Second) + int64(p.Nsec) // up to 2106, which fits
	if !s.timed {
		s.begin, s.timed = at, true
	}
	limit := s.Plan.Config.MaxTime
	return limit > 0 && at-s.begin >= int64(limit)
}

// readError tells where the file that is read went wrong.
func (s *OfflineSession) readError(err error) error {
	e := fault.Errorf(fault.Failed, "%s: %w; what was recorded of the %d packets before it is kept and readable", s.Plan.Name(), err, s.count)
	e.Target = "--read-file"
	return e
}

// finish closes everything, whatever happened, and says what came of it.
func (s *OfflineSession) finish(reason StopReason, err error) (*Result, error) {
	s.rec.publish()
	s.packets.Store(s.count)
	if s.rec.ng != nil {
		e := ngEnd{start: s.Started, end: time.Now()}
		e.keys, e.packets = s.rec.ng.counts()
		s.rec.appendEnd(appendStatistics(nil, &e))
	}
	if ferr := notSpent(s.rec.flush()); ferr != nil && err == nil {
		reason, err = FileFailed, fileError(ferr)
	}
	if ferr := s.rec.endPacking(); ferr != nil && err == nil {
		reason, err = FileFailed, fileError(ferr)
	}
	if ferr := s.file.Finish(); ferr != nil && err == nil {
		reason, err = FileFailed, fileError(ferr)
	}
	s.guard.Close()
	_ = s.Plan.Close() // it was only read
	p := s.Plan
	now := s.Progress()
	res := &Result{
		Config:     p.Config,
		Started:    s.Started,
		Elapsed:    time.Since(s.Started),
		StopReason: reason,
		Err:        err,
		Packets:    now.Packets,
		Bytes:      s.rec.bytes.Load() - s.rec.lostBytes.Load(),
		Received:   s.matched,
		Dropped:    Drops{ByFile: s.rec.lost.Load()},
		LinkType:   p.LinkType,
		FilterMode: FilterModeUser,
		Files:      []SavedFile{{Path: s.file.Path(), Size: s.file.Size()}},
		ReadFile:   &ReadFileResult{Path: p.Path, PacketsRead: s.count},
	}
	var w warnings
	w.add(p.OnFile.run(&finished{
		path: s.file.Path(), size: s.file.Size(), packets: res.Packets, sequence: 1, started: s.Started,
		session: p.Config, reason: reason,
	}))
	res.Warnings = w.list()
	return res, err
}

// OfflineProgress is how far a capture that is made of a file has come.
type OfflineProgress struct {
	Read        int64  // bytes
	PacketsRead uint64 // of them
	Packets     uint64 // recorded
	Size        int64  // bytes of the file written
}

// Progress looks at a running session from another goroutine. It costs the
// packet loop nothing.
func (s *OfflineSession) Progress() OfflineProgress {
	return OfflineProgress{
		Read:        s.Plan.in.read.Load(),
		PacketsRead: s.packets.Load(),
		Packets:     s.rec.packets.Load() - s.rec.lost.Load(),
		Size:        s.rec.size.Load(),
	}
}
