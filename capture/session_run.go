package capture

import (
	"context"
	"errors"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/ring"
)

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
		err = fault.Errorf(fault.Failed, "%s was removed from this machine during the capture; what came before is in %s", s.Plan.On(), s.where())
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
			return CaptureBroken, fault.Errorf(fault.Failed, "%w", err)
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
		return CaptureBroken, fault.Errorf(fault.Failed, "%w", err)
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
		return CaptureBroken, fault.Errorf(fault.Failed, "%w", err)
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
		return CaptureBroken, fault.Errorf(fault.Failed, "%w", err)
	}
	if reason == SizeExceeded || reason == MinFreeReached {
		return reason, nil // there is no room for more
	}
	for {
		block, err := s.ring.Next()
		if err != nil {
			return CaptureBroken, fault.Errorf(fault.Failed, "%w", err)
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
		s.upload.target.client.StopWatchingFlows() // nobody captures any more
	}
	if s.sends != nil {
		s.sends.target.client.StopWatchingFlows()
	}
	ferr := s.finishFiles(end, reason)
	if ferr != nil && err == nil {
		reason, err = FileFailed, fileError(ferr)
	}
	res := s.result(reason, end)
	if cerr := errors.Join(s.links.close(), s.ring.Close()); cerr != nil && err == nil {
		err = fault.Errorf(fault.Internal, "close the sockets: %w", cerr)
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
