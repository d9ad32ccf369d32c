package capture

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"pcapctl/capture/netif"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/ring"
	"pcapctl/storage"
)

// StopReason says why a capture ended. The service's own are free strings;
// these are all that pcapctl uses.
type StopReason string

// The stop reasons. The first four end a complete capture, the others one
// that failed.
const (
	TimeExceeded     StopReason = "TimeExceeded"     // timeLimitInSeconds
	SizeExceeded     StopReason = "SizeExceeded"     // totalBytesPerSession
	Manual           StopReason = "Manual"           // a signal, or stop
	MinFreeReached   StopReason = "MinFreeReached"   // the disk would have less free space than --min-free
	InterfaceRemoved StopReason = "InterfaceRemoved" // every interface captured on is gone
	FileFailed       StopReason = "LocalFileFailed"  // the disk did not take the packets
	CaptureBroken    StopReason = "CaptureFailed"    // the kernel's socket failed
)

// flushTime is how long records may wait in the buffer when blocks come full
// and then nothing more comes at all.
const flushTime = 250 * time.Millisecond

// Session is a capture that is under way.
type Session struct {
	Plan    *Plan
	Started time.Time // wall clock and monotonic; packets are captured from here on

	ring  *ring.Ring
	file  *outFile  // nil for a ring of files
	turn  *rotation // nil for one file
	guard *storage.Guard

	onFile   OnFile
	reason   StopReason // when the files are brought to their end
	warnings warnings
	rec      *recorder
	links    *linkWatch
	// upload is nil when the capture goes to a file only.
	upload *upload
	sends  *ringUpload // of a ring, instead

	watcher Watcher
	stats   ring.Stats    // as the packet loop last saw them
	asked   time.Duration // when that was
	beat    sync.WaitGroup
	ended   chan struct{}
}

// Options are what a session needs besides its plan.
type Options struct {
	// Guard is the program to start as the guard of the files
	// (storage.StartGuard), "" for none.
	Guard string
	// Watcher is told how the session gets on; it may be nil.
	Watcher Watcher
	// Blob is where the capture goes besides; Plan.OpenBlob gives it, and nil
	// when the plan has no blob. A session that has begun closes it.
	Blob *BlobTarget
	// MinFree is how many bytes the disk of the capture files must keep free: 0
	// for no such limit, nil for the default.
	MinFree *int64
	// OnFile is run for every file that is finished, also for those that do not
	// stay in a ring.
	OnFile OnFile
}

// Watcher is told what a running session has come to, by the session itself,
// so that nobody else has to ask it.
type Watcher interface {
	// Progress is called by the packet loop after every block of packets. It
	// must neither wait for anything nor allocate.
	Progress(Progress)
	// Interfaces is called every few seconds, beside the packet loop. list is
	// the watcher's to keep.
	Interfaces(elapsed time.Duration, list []LinkDrops)
	// Upload is called every second, beside the packet loop, while the capture
	// is on its way to a blob; the last time when that is complete or given up.
	Upload(UploadProgress)
	// File is called when a file of a ring is begun and when it is complete,
	// beside the packet loop. With a file that is begun, the one that is
	// fileCount files older has gone.
	File(RingFile)
}

// Start opens the file and then the socket. When it returns, packets are being
// captured; when it fails, nothing is left behind.
//
// Error classes: Forbidden, Conflict (the file exists), NotFound (its folder
// does not), LocalFile, Internal.
func Start(p *Plan, o Options) (_ *Session, err error) {
	// Asked first so that a process without the privilege is told so, and not
	// of a folder that it may not write to either.
	if err := ring.Privileged(); err != nil {
		return nil, privilege(err)
	}
	s := &Session{Plan: p, watcher: o.Watcher, onFile: o.OnFile}
	var ng *sections
	if p.Config.Format == pcapfile.NG {
		ng = p.sections(func(index int) (netif.Interface, bool) { return s.links.lookUp(index) })
		if err := p.Config.fits(ng); err != nil {
			return nil, err
		}
	}
	if err := checkMinFree(o.MinFree); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			s.discard()
		}
	}()
	if o.Guard != "" {
		if s.guard, err = storage.StartGuard(o.Guard); err != nil {
			p.Warnings = append(p.Warnings, fmt.Sprintf("%v: a kill -9 may leave its last packet cut", err))
		}
	}
	path, err := s.openFile(ng)
	if err != nil {
		return nil, err
	}
	if s.rec.reserve, err = newReserve(filepath.Dir(path), o.MinFree); err != nil {
		return nil, err
	}
	// Only the sockets belong to the namespace; the file is written here.
	if err := netif.In(p.netns, func() error { return s.openSockets(o.Blob, path) }); err != nil {
		return nil, namespaceError(err)
	}
	s.Started = time.Now()
	s.keepTelling()
	s.watchDisk()
	if s.turn != nil {
		s.turn.run()
	}
	if s.sends != nil {
		s.sends.run(s.watcher)
	}
	if s.upload != nil {
		s.upload.follow(s.rec.writtenSize.Load, s.watcher)
	}
	return s, nil
}

// openFile makes the file that is written first, with its header.
func (s *Session) openFile(ng *sections) (path string, err error) {
	p := s.Plan
	folder, path := p.File()
	s.rec = newRecorder(p.Config, p.LinkType, ng)
	if p.Config.IsRing() {
		o := newRotation(p, s.guard, s.watcher)
		o.warn, o.onFile = s.warnings.add, s.ringFileDone
		file, err := o.begin(s.rec.fileHeader())
		if err != nil {
			return "", p.createError(folder, err)
		}
		s.turn, s.rec.file = o, file
		if ng != nil {
			o.trailer = s.trailer
		}
		s.rec.turning(o)
		s.rec.began()
		return path, nil
	}
	file, err := storage.Create(folder, path)
	if err != nil {
		return "", p.createError(folder, err)
	}
	if s.file, err = newOutFile(file, p.Config.Compress); err != nil {
		return "", Errorf(Internal, "%w", err)
	}
	if s.guard != nil {
		if err := s.file.Protect(s.guard); err != nil {
			p.Warnings = append(p.Warnings, fmt.Sprintf("%v: a kill -9 may leave its last packet cut", err))
		}
	}
	if err := s.rec.start(s.file); err != nil {
		return "", startError(err)
	}
	return path, nil
}

// discard takes away what there is of a session that never began.
func (s *Session) discard() {
	s.upload.discard()
	if s.rec != nil {
		_ = s.rec.endPacking()
	}
	if s.file != nil {
		_ = s.file.Discard()
	}
	if s.turn != nil {
		s.turn.discard()
	}
	s.guard.Close()
}

// where names the capture file, or the ring, for people.
func (s *Session) where() string {
	if s.turn != nil {
		return "the files " + s.Plan.Config.FilePath + " was split into"
	}
	return s.file.Path()
}

// openSockets opens everything that packets come from. When it returns, they
// are being captured.
func (s *Session) openSockets(blob *BlobTarget, path string) (err error) {
	s.ring, err = ring.Open(s.Plan.ringOptions())
	for errors.Is(err, ring.ErrFilterTooLarge) && s.Plan.shrinkFilter() {
		s.ring, err = ring.Open(s.Plan.ringOptions())
	}
	if err != nil {
		return openError(s.Plan, err)
	}
	if !s.Plan.Program.Exact {
		s.rec.user = &s.Plan.Config.Filters
	}
	// Before the first packet: the connections that looked at the blob are open
	// still, and the upload will use them.
	if err := s.beginUpload(blob, path); err != nil {
		return errors.Join(err, s.ring.Close())
	}
	if s.links, err = watchLinks(s.Plan, s.ring.Wake); err != nil {
		return errors.Join(Errorf(Internal, "%w", err), s.ring.Close())
	}
	if err := s.ring.Start(); err != nil {
		return errors.Join(openError(s.Plan, err), s.links.close(), s.ring.Close())
	}
	return nil
}

// openError tells an interface that went away since it was looked up from a
// missing privilege.
func openError(p *Plan, err error) error {
	if errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENXIO) {
		return Errorf(NotFound, "start capturing on %s: %w", p.On(), err)
	}
	return privilege(err)
}

// startError is that of a file whose beginning the disk does not take.
func startError(err error) error {
	return Errorf(LocalFile, "%w: free some space, or name another folder with --captures-dir", err)
}

func createError(folder string, err error) error {
	switch {
	case errors.Is(err, syscall.EROFS):
		return Errorf(LocalFile, "%w: name a folder that can be written to with --captures-dir", err)
	case errors.Is(err, fs.ErrExist):
		return Errorf(Conflict, "%w: nothing is overwritten; choose another filePath, or put {startTime} into it", err)
	case errors.Is(err, storage.ErrOutside):
		e := Errorf(Invalid, "%w (%s)", err, folder)
		e.Target = "properties.storageLocation.filePath"
		return e
	case errors.Is(err, fs.ErrNotExist):
		return Errorf(NotFound, "%w: only the captures folder itself (%s) is made when it is missing; make the one below it first", err, folder)
	case errors.Is(err, fs.ErrPermission):
		return Errorf(Forbidden, "%w: run pcapctl as a user who may write there, or name another folder with --captures-dir", err)
	default:
		return Errorf(LocalFile, "%w", err)
	}
}

// Run captures until a limit is reached, ctx is done (stop reason Manual) or
// something fails, and closes the file. The Result is never nil: it tells what
// is in the file also when the error says that this is not all.
//
// When the capture goes to a blob, Run returns when that is complete, too, or
// given up; ctx has no influence on it (see AbandonUpload).
//
// Error classes: Failed, LocalFile, Storage.
func (s *Session) Run(ctx context.Context) (*Result, error) {
	stop := context.AfterFunc(ctx, s.ring.Wake)
	reason, err := s.loop(ctx)
	stop()
	if err == nil {
		reason, err = s.drain(reason)
	}
	if s.rec.failed {
		s.countLost()
	}
	if err == nil && reason == MinFreeReached {
		err = s.rec.reserve.failure()
	}
	if err == nil && reason == InterfaceRemoved {
		err = Errorf(Failed, "%s was removed from this machine during the capture; what came before is in %s", s.Plan.On(), s.where())
	}
	return s.finish(reason, err)
}

// loop is the packet loop. It does nothing but move packets and look whether
// it is time to end.
func (s *Session) loop(ctx context.Context) (StopReason, error) {
	limit := s.Plan.Config.MaxTime
	for {
		// Looked at before the block and not behind it: whoever was held up, by
		// a disk or by SIGSTOP, finds packets in it that came too late.
		wait := time.Duration(-1)
		if limit > 0 {
			if wait = limit - time.Since(s.Started); wait <= 0 {
				// By the clock of the packets, as it stands now: it may have
				// been set since the start.
				s.rec.until(time.Now().Add(wait))
				return TimeExceeded, nil
			}
		}
		block, err := s.ring.Next()
		if err != nil {
			return CaptureBroken, Errorf(Failed, "%w", err)
		}
		if block != nil {
			if reason, err := s.record(block); reason != "" || err != nil {
				return reason, err
			}
		}
		select {
		case <-ctx.Done():
			return Manual, nil
		default:
		}
		if block != nil {
			continue
		}
		if reason, err := s.wait(wait); reason != "" || err != nil {
			return reason, err
		}
	}
}

// record takes the packets of a block. A block that the retire timer closed
// means slow traffic: there is time to write, and somebody may be watching the
// file grow.
func (s *Session) record(block *ring.Block) (StopReason, error) {
	full, err := s.rec.block(block)
	if err == nil && block.Idle() {
		err = s.rec.flushNow()
	}
	s.tell()
	switch {
	case errors.Is(err, errSpent):
		return MinFreeReached, nil
	case errors.Is(err, ring.ErrCorrupt):
		return CaptureBroken, Errorf(Failed, "%w", err)
	case err != nil:
		return FileFailed, fileError(err)
	case full:
		return SizeExceeded, nil
	}
	return "", nil
}

// wait sleeps until there are packets, for at most d if that is not negative.
func (s *Session) wait(d time.Duration) (StopReason, error) {
	flush := len(s.rec.buf) > 0
	if flush && (d < 0 || d > flushTime) {
		d = flushTime
	}
	from := time.Now()
	err := s.ring.Wait(d)
	switch {
	case s.links.gone():
		return InterfaceRemoved, nil
	case s.rec.reserve != nil && s.rec.reserve.spent.Load():
		return MinFreeReached, nil
	case errors.Is(err, ring.ErrInterfaceDown):
		// The kernel binds the socket again when the interface comes back; if
		// it is gone for good, the watch hears of it and wakes us.
	case err != nil:
		return CaptureBroken, Errorf(Failed, "%w", err)
	}
	if flush && time.Since(from) >= flushTime {
		err := s.rec.flushNow()
		switch {
		case errors.Is(err, errSpent):
			return MinFreeReached, nil
		case err != nil:
			return FileFailed, fileError(err)
		}
		s.tell()
	}
	return "", nil
}

// drain takes the packets that are in the ring still. They came before the
// end; if they take the file to its limit, that was reached first.
func (s *Session) drain(reason StopReason) (StopReason, error) {
	if err := s.ring.Detach(); err != nil {
		return CaptureBroken, Errorf(Failed, "%w", err)
	}
	if reason == SizeExceeded || reason == MinFreeReached {
		return reason, nil // there is no room for more
	}
	for {
		block, err := s.ring.Next()
		if err != nil {
			return CaptureBroken, Errorf(Failed, "%w", err)
		}
		if block == nil {
			return reason, nil
		}
		if now, err := s.record(block); now != "" || err != nil {
			return now, err
		}
	}
}

// countLost counts what is in the ring still when the disk takes no more.
func (s *Session) countLost() {
	if s.ring.Detach() != nil {
		return
	}
	for {
		block, err := s.ring.Next()
		if block == nil || err != nil {
			return
		}
		if _, err := s.rec.block(block); err != nil {
			return
		}
	}
}

// finish closes everything, whatever happened, and says what came of it.
func (s *Session) finish(reason StopReason, err error) (*Result, error) {
	end := time.Now()
	close(s.ended)
	s.beat.Wait()
	if err != nil {
		_ = s.ring.Detach() // so that the counters below are the last word
	}
	if s.upload != nil {
		_ = s.upload.target.client.WatchFlows(nil) // nobody captures any more
	}
	if s.sends != nil {
		_ = s.sends.target.client.WatchFlows(nil)
	}
	ferr := s.finishFiles(end, reason)
	if ferr != nil && err == nil {
		reason, err = FileFailed, fileError(ferr)
	}
	res := s.result(reason, end)
	if cerr := errors.Join(s.links.close(), s.ring.Close()); cerr != nil && err == nil {
		err = Errorf(Internal, "close the sockets: %w", cerr)
	}
	err = s.finishUpload(res, err)
	s.fileDone(res)
	res.Err = err
	return res, err
}

// finishFiles writes what is left to be written, and brings the files to their
// end.
func (s *Session) finishFiles(end time.Time, reason StopReason) error {
	defer s.guard.Close()
	if s.turn != nil {
		ferr := s.rec.flush()
		if perr := s.rec.endPacking(); perr != nil {
			ferr = perr
		}
		if notSpent(ferr) != nil {
			reason = FileFailed
		}
		s.reason = reason
		full := s.rec.full(end)
		if oerr := s.turn.end(&full); oerr != nil && (ferr == nil || errors.Is(ferr, errSpent)) {
			ferr = oerr
		}
		return notSpent(ferr)
	}
	if s.rec.ng != nil {
		e := ngEnd{end: end}
		e.keys, e.packets = s.rec.ng.counts()
		s.rec.appendEnd(s.statistics(&e))
	}
	ferr := notSpent(s.rec.flush())
	if perr := s.rec.endPacking(); perr != nil {
		ferr = perr
	}
	return errors.Join(ferr, s.file.Finish())
}

// notSpent is an error of writing; that the reserve is reached is none.
func notSpent(err error) error {
	if errors.Is(err, errSpent) {
		return nil
	}
	return err
}

// statistics are what stands behind the packets of a pcapng file.
func (s *Session) statistics(e *ngEnd) []byte {
	st, _ := s.ring.Stats()
	e.start, e.links, e.byKernel = s.Started, s.links.dropped(), st.Dropped
	return appendStatistics(nil, e)
}

func (s *Session) trailer(f *ringFile) []byte { return s.statistics(&f.end) }

// ringFileDone runs the command for a file of the ring. Those that were full
// before the session ended are told no stop reason.
func (s *Session) ringFileDone(f *ringFile) {
	done := finished{
		path: f.Path, size: f.Size, packets: f.Packets, sequence: f.Sequence, started: f.Started, session: s.Plan.Config,
	}
	if f.last {
		done.reason = s.reason
	}
	s.warnings.add(s.onFile.run(&done))
}

// fileDone runs the command for the one file of the session, if it is there
// still: a spool goes when its blob is complete.
func (s *Session) fileDone(res *Result) {
	if s.turn == nil && len(res.Files) == 1 {
		s.warnings.add(s.onFile.run(&finished{
			path: res.Files[0].Path, size: res.Files[0].Size, packets: res.Packets, sequence: 1, started: s.Started,
			session: s.Plan.Config, reason: res.StopReason,
		}))
	}
	for _, note := range s.links.notes() {
		s.warnings.add(note)
	}
	res.Warnings = s.warnings.list()
}

// files are what the session has written and not taken away again.
func (s *Session) files() []SavedFile {
	if s.turn == nil {
		return []SavedFile{{Path: s.file.Path(), Size: s.file.Size()}}
	}
	ring := s.turn.files()
	list := make([]SavedFile, len(ring))
	for i, f := range ring {
		list[i] = SavedFile{Path: f.Path, Size: f.Size, Ring: &ring[i]}
	}
	return list
}

func fileError(err error) error {
	hint := "what was written before is kept and readable"
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		hint = "free some space or set a smaller totalBytesPerSession; " + hint
	}
	return Errorf(LocalFile, "the capture file could not be completed: %w; %s", err, hint)
}

// Progress is what a capture has come to so far.
type Progress struct {
	Elapsed  time.Duration
	Packets  uint64 // recorded
	Bytes    uint64 // of packet data recorded
	Size     int64  // bytes of the file, with what is about to be written
	Received uint64 // passed the kernel's filter, those dropped included
	Freezes  uint64 // how often the kernel found the ring full
	Dropped  Drops
	Written  Written
	Upload   UploadProgress // zero when the capture goes to a file only
}

// Written is what is in the file already. A process that is killed loses
// nothing of it.
type Written struct {
	Packets uint64
	Bytes   uint64 // of packet data
	Size    int64  // bytes of the file; a packet ends here
}

// Progress looks at a running capture from another goroutine. It costs the
// packet loop nothing.
func (s *Session) Progress() Progress {
	// A socket that cannot be asked any more has dropped nothing since.
	st, _ := s.ring.Stats()
	s.links.look()
	p := s.progress(st)
	if s.upload != nil {
		p.Upload = s.upload.progress()
	}
	if s.sends != nil {
		p.Upload = s.sends.progress()
	}
	return p
}

func (s *Session) progress(st ring.Stats) Progress {
	return Progress{
		Elapsed:  time.Since(s.Started),
		Packets:  s.rec.packets.Load() - s.rec.lost.Load(),
		Bytes:    s.rec.bytes.Load() - s.rec.lostBytes.Load(),
		Size:     s.rec.size.Load(),
		Received: st.Received,
		Freezes:  st.Freezes,
		Dropped:  Drops{ByKernel: st.Dropped, ByInterface: s.links.total(), ByFile: s.rec.lost.Load()},
		Written: Written{
			Packets: s.rec.writtenPackets.Load(),
			Bytes:   s.rec.writtenBytes.Load(),
			Size:    s.rec.writtenSize.Load(),
		},
	}
}

// askEvery is how often the packet loop asks the kernel for its counters when
// somebody watches: it is a system call, and blocks may come by the thousand a
// second.
const askEvery = 100 * time.Millisecond

// tell tells the watcher. It belongs to the packet loop.
func (s *Session) tell() {
	if s.watcher == nil {
		return
	}
	if now := time.Since(s.Started); now-s.asked >= askEvery {
		s.asked = now
		s.stats, _ = s.ring.Stats()
	}
	s.watcher.Progress(s.progress(s.stats))
}

// tellEvery is how often the watcher hears of the interfaces, and by that also
// of a session without packets that it lives.
const tellEvery = 2 * time.Second

// keepTelling tells the watcher of the interfaces until the session has ended.
func (s *Session) keepTelling() {
	s.ended = make(chan struct{})
	if s.watcher == nil {
		return
	}
	s.tell()
	s.watcher.Interfaces(0, s.links.dropped())
	s.beat.Go(func() {
		tick := time.NewTicker(tellEvery)
		defer tick.Stop()
		for {
			select {
			case <-s.ended:
				return
			case <-tick.C:
				s.watcher.Interfaces(time.Since(s.Started), s.links.dropped())
			}
		}
	})
}

func (s *Session) result(reason StopReason, end time.Time) *Result {
	st, _ := s.ring.Stats()
	links := s.links.dropped()
	p := s.Plan
	return &Result{
		Config:       p.Config,
		Started:      s.Started,
		Elapsed:      end.Sub(s.Started),
		StopReason:   reason,
		Packets:      s.rec.packets.Load() - s.rec.lost.Load(),
		Bytes:        s.rec.bytes.Load() - s.rec.lostBytes.Load(),
		Received:     st.Received,
		Freezes:      st.Freezes,
		Dropped:      s.progress(st).Dropped,
		LinkType:     p.LinkType,
		FilterMode:   p.FilterMode(),
		Interfaces:   links,
		AnyInterface: p.Any,
		Files:        s.files(),
	}
}
