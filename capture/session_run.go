package capture

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"pcapctl/capture/deliver"
	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/save"
	"pcapctl/capture/source"
	"pcapctl/storage"
)

// flushTime is how long records may wait in the buffer when blocks come full
// and then nothing more comes at all.
const flushTime = 250 * time.Millisecond

// Run captures until a limit is reached, the source ends, ctx is done (stop
// reason Manual) or something fails, and closes the files. The Result is never
// nil: it tells what is in the files also when the error says that this is not
// all.
//
// When the capture goes to a blob, Run returns when that is complete, too, or
// given up; ctx has no influence on it (see AbandonUpload).
//
// Error classes: Failed, LocalFile, Storage.
func (s *Session) Run(ctx context.Context) (*Result, error) {
	ctx, end := context.WithCancel(ctx)
	defer end()
	s.beat.Go(func() { s.watchFile(end) })
	s.beat.Go(s.watchGuard)
	stop := context.AfterFunc(ctx, s.src.Wake)
	defer context.AfterFunc(ctx, s.reader.Hasten)()
	limit := s.timeLimit()
	if limit > 0 {
		timer := time.AfterFunc(time.Until(s.Started.Add(limit)), s.overLimit)
		defer timer.Stop()
	}
	reason, err := s.loop(ctx, limit)
	stop()
	if t := s.event.timer; t != nil {
		t.Stop()
	}
	s.readDrops()
	switch {
	case err == nil:
		reason, err = s.drain(reason)
	case reason == CaptureBroken:
		_, _ = s.drain(reason) // what came before is whole
	}
	s.gaps.note(s.src.Tail())
	switch {
	case err != nil:
	case reason == TimeExceeded && limit > 0:
		s.drops.endAt(limit)
	case reason == EventSeen && !s.event.due.IsZero():
		s.drops.endAt(s.event.due.Sub(s.Started))
	case reason.takesNoMore() && !s.limit.came.IsZero():
		s.drops.endAt(s.limit.came.Sub(s.Started))
	}
	if s.rec.Failed() {
		s.countLost()
	}
	if rerr := s.options.Rights.regain(); err == nil && rerr != nil {
		reason, err = FileFailed, rerr
	}
	if err == nil && reason == MinFreeReached {
		err = s.reserve.Failure()
	}
	if err == nil {
		reason, err = s.lookForSource(reason)
	}
	return s.finish(reason, err)
}

// lookForSource says that there was nothing to capture on, when the capture ended
// or at all.
func (s *Session) lookForSource(reason StopReason) (StopReason, error) {
	switch reason {
	case Manual, TimeExceeded, InterfaceRemoved, NamespaceRemoved:
	default:
		return reason, nil
	}
	switch absent := s.src.Report().Absent; {
	case reason == NamespaceRemoved, errors.Is(absent, source.ErrNamespaceGone):
		return NamespaceRemoved, fault.Errorf(fault.Failed, "the network namespace of %s was deleted during the capture; what came before is in %s", s.Plan.Source.Name(), s.sink.Where())
	case reason == InterfaceRemoved, errors.Is(absent, source.ErrGone):
		return InterfaceRemoved, fault.Errorf(fault.Failed, "%s was removed from this machine during the capture; what came before is in %s", s.Plan.Source.Name(), s.sink.Where())
	case errors.Is(absent, source.ErrNoInterface):
		return reason, fault.Errorf(fault.Failed, "no interface but loopback came up during the capture: nothing was captured; bring one up, or name one with --interface, as --interface lo")
	}
	return reason, nil
}

// timeLimit is the time limit if it goes by this machine's clock; else 0.
func (s *Session) timeLimit() time.Duration {
	if s.src.Timeline() == source.RealTime {
		return s.Plan.Config.MaxTime
	}
	return 0
}

// overLimit is called when a limit of time is over, beside the packet loop, which a disk or a reader may hold up.
func (s *Session) overLimit() {
	s.readDrops()
	s.reader.Hasten()
}

// loop is the packet loop. It does nothing but move packets and look whether
// it is time to end.
func (s *Session) loop(ctx context.Context, limit time.Duration) (StopReason, error) {
	for {
		// Looked at before the packets and not behind them: a loop that was held up, by
		// a disk or by SIGSTOP, finds packets that came too late.
		wait, why := s.due(limit)
		switch {
		case why == "" || wait > 0:
		case why == EventSeen:
			s.gaps.end = s.event.last
			return EventSeen, nil
		default:
			// By the clock of the packets, as it stands now: it may have
			// been set since the start.
			s.gaps.end = time.Now().Add(wait)
			s.rec.Until(s.gaps.end)
			return TimeExceeded, nil
		}
		got, reason, err := s.take()
		if reason != "" || err != nil {
			return reason, err
		}
		s.noteEvent()
		select {
		case <-ctx.Done():
			return Manual, nil
		default:
		}
		if got {
			continue
		}
		if every := s.Plan.Config.RotateEvery(); every > 0 {
			now := time.Now().Add(-turnBehind)
			if err := s.rec.Turn(now); err != nil {
				return s.fileReason(err)
			}
			if next := untilTurn(now, every); wait < 0 || wait > next {
				wait = next
			}
		}
		if reason, err := s.wait(wait); reason != "" || err != nil {
			return reason, err
		}
	}
}

const (
	// lookAtClock is how often a ring of files by time looks at the clock while no packet comes. A timer would not do: the
	// clock may be set, and timers stand still while the machine sleeps.
	lookAtClock = time.Second
	// turnBehind is how long behind a boundary such a ring goes on to the next file without a packet. Those that came
	// before it may be in a block of the kernel's ring that is not full.
	turnBehind = time.Second
)

// untilTurn is how long to wait at the most for the next boundary of the clock.
func untilTurn(now time.Time, every time.Duration) time.Duration {
	return min(every-time.Duration(now.UnixNano()%int64(every)), lookAtClock)
}

// take records what the source hands over together. got is false when there was
// nothing.
func (s *Session) take() (got bool, reason StopReason, err error) {
	batch, err := s.src.Next()
	switch {
	case errors.Is(err, io.EOF):
		return false, EndOfFile, nil
	case errors.Is(err, source.ErrLate):
		return false, TimeExceeded, nil
	case errors.Is(err, source.ErrEventOver):
		return false, EventSeen, nil
	case err != nil:
		return false, CaptureBroken, err
	case batch == nil:
		return false, "", nil
	}
	s.gaps.note(batch.Gap())
	left, err := s.rec.Add(batch)
	if err == nil && batch.Quiet() {
		err = s.rec.Flush()
	}
	s.tell()
	switch {
	case err != nil:
		reason, err = s.fileReason(err)
	case left != nil:
		reason, s.limit = SizeExceeded, limitAt(left)
	default:
		if last, reached := s.rec.Reached(); reached {
			reason, s.limit = PacketLimitReached, limitBehind(last)
		}
	}
	if !s.limit.came.IsZero() {
		s.gaps.end = s.limit.came
	}
	if reason.takesNoMore() && s.src.Timeline() == source.RealTime {
		s.rec.Late(left, batch)
	}
	return true, reason, err
}

// fileReason is the end of a capture whose files take no more.
func (s *Session) fileReason(err error) (StopReason, error) {
	switch {
	case errors.Is(err, save.ErrSpent):
		return MinFreeReached, nil
	case errors.Is(err, save.ErrReaderLeft):
		return ReaderLeft, nil
	}
	return FileFailed, save.FileError(s.Plan.Config, err)
}

// wait sleeps until there are packets, for at most d if that is not negative.
func (s *Session) wait(d time.Duration) (StopReason, error) {
	flush := s.rec.Holds()
	if flush && (d < 0 || d > flushTime) {
		d = flushTime
	}
	from := time.Now()
	err := s.src.Wait(d)
	switch {
	case errors.Is(err, source.ErrGone):
		return InterfaceRemoved, nil
	case errors.Is(err, source.ErrNamespaceGone):
		return NamespaceRemoved, nil
	case s.reserve.Spent():
		return MinFreeReached, nil
	case s.reader.Left():
		return ReaderLeft, nil
	case err != nil:
		return CaptureBroken, err
	}
	if flush && time.Since(from) >= flushTime {
		if err := s.rec.Flush(); err != nil {
			return s.fileReason(err)
		}
		s.tell()
	}
	return "", nil
}

// drain takes the packets that the source has still. They came before the end;
// if they take the file to its limit, that was reached first.
func (s *Session) drain(reason StopReason) (StopReason, error) {
	if err := s.src.Detach(); err != nil {
		return CaptureBroken, err
	}
	if reason.takesNoMore() {
		return reason, s.countLate()
	}
	for {
		got, now, err := s.take()
		if err == nil && now.takesNoMore() {
			err = s.countLate()
		}
		if now != "" || err != nil {
			return now, err
		}
		if !got {
			return reason, nil
		}
	}
}

// countLate counts what the source has still when a limit has ended the capture.
// A file that is read is not read to its end for that.
func (s *Session) countLate() error {
	if s.src.Timeline() != source.RealTime {
		return nil
	}
	for {
		batch, err := s.src.Next()
		if batch == nil || err != nil {
			return err
		}
		s.gaps.note(batch.Gap())
		s.rec.Late(nil, batch)
	}
}

// countLost counts what the source has still when the disk takes no more.
func (s *Session) countLost() {
	if s.src.Detach() != nil {
		return
	}
	for {
		batch, err := s.src.Next()
		if batch == nil || err != nil {
			return
		}
		s.gaps.note(batch.Gap())
		if _, err := s.rec.Add(batch); err != nil {
			return
		}
	}
}

// finish closes everything, whatever happened, and says what came of it.
func (s *Session) finish(reason StopReason, err error) (*Result, error) {
	end := time.Now()
	close(s.ended)
	s.context.ended()
	s.beat.Wait()
	if err != nil {
		_ = s.src.Detach() // so that the counters below are the last word
	}
	s.delivery.CaptureEnded()
	s.reason = reason
	if s.rec.Failed() {
		s.reason = FileFailed
	}
	ferr := s.rec.Finish()
	if err == nil && reason != MinFreeReached && reason != ReaderLeft && s.counters.Spent() {
		// The last of what was in memory had no room, or no reader.
		if reason = ReaderLeft; !s.reader.Left() {
			reason, err = MinFreeReached, s.reserve.Failure()
		}
		s.reason = reason
	}
	if ferr != nil && err == nil {
		if d, ok := errors.AsType[*storage.Displaced](ferr); !ok || s.endsBy(d) {
			reason = FileFailed
		}
		err = save.FileError(s.Plan.Config, ferr)
		s.reason = reason
	}
	// Whoever repairs the file of a session whose record cannot be written must not
	// take its end for a part of a write.
	s.tell()
	s.guard.Close()
	s.tellLostGuard()
	res := s.result(reason, end)
	for _, text := range res.Source.Warnings {
		if !slices.Contains(s.Warnings, text) { // told at the start
			s.notes.add(text)
		}
	}
	s.notes.add(s.truncated(res.Truncated))
	if n := res.Dropped.AroundLimit; n > 0 {
		s.notes.add(fmt.Sprintf("the capture was held up over its limit: of %d packets that the kernel dropped it is not known whether they came before or after it", n))
	}
	if cerr := s.src.Close(); cerr != nil && err == nil {
		err = cerr
	}
	res.Err = err
	res.Context = s.finishContext()
	err = s.finishDelivery(res)
	for _, f := range res.Files {
		if f.Sequence == 0 {
			s.runOnFile(f)
		}
	}
	if s.folder != nil {
		_ = s.folder.Close()
	}
	s.commands.runner.Close()
	res.Warnings, res.Err = s.notes.list(), err
	return res, err
}

// truncated tells of packets that are cut in the file though they were asked for
// whole.
func (s *Session) truncated(n uint64) string {
	c := s.Plan.Config
	longer, verb := "packets are longer", "they are"
	if n == 1 {
		longer, verb = "packet is longer", "it is"
	}
	switch {
	case n == 0:
		return ""
	case c.Rotates() && c.MaxBytes <= pcapfile.MaxSnapLen:
		return fmt.Sprintf("%d %s than a file of fileSizeInBytes, %d bytes: %s cut in the file", n, longer, c.MaxBytes, verb)
	case c.SnapLen == 0:
		return fmt.Sprintf("%d %s than %d bytes, the most that other programs read: %s cut in the file; set bytesToCapturePerPacket to as many bytes as you want, up to %d, to have them whole",
			n, longer, pcapfile.MaxSnapLen, verb, pcapfile.MaxPacket)
	}
	return fmt.Sprintf("%d %s than %d bytes, the most that pcapctl records: %s cut in the file", n, longer, pcapfile.MaxPacket, verb)
}

// finishDelivery sends what is left of the files.
func (s *Session) finishDelivery(res *Result) error {
	err := res.Err
	folder, _ := s.Plan.File()
	done := s.delivery.Finish(deliver.Ended{
		Files: res.Files, Remove: s.sink.Remove, Folder: folder, Metadata: res.Resource().Metadata(),
		ResumeBy: s.resumeBy(), Beside: s.context.beside(res.Context),
	})
	s.contextDelivered(res.Context, done)
	close(s.delivered)
	s.telling.Wait()
	s.watcher.Upload(s.delivery.Progress())
	res.Files = slices.DeleteFunc(done.Files, func(f save.File) bool { return f.Unreachable })
	res.Blobs, res.Upload = done.Blobs, done.Status
	for _, text := range done.Warnings {
		s.notes.add(text)
	}
	switch {
	case done.Err == nil:
		return err
	case err == nil:
		return done.Err
	}
	return fault.Errorf(fault.ClassOf(err), "%w; and %s", err, done.Err)
}

// resumeBy is the name by which `pcapctl upload` finds the session, or "".
func (s *Session) resumeBy() string {
	if s.options.Listed {
		return s.Plan.Config.Name
	}
	return ""
}

// ResumeUpload is the command, in backquotes, that goes on with an upload that is
// ended early.
func (s *Session) ResumeUpload() string {
	return s.delivery.Resume(s.resumeBy())
}

// Uploading is closed when the capture has ended and what is left of it is
// being sent; nil for a capture that goes to a file only.
func (s *Session) Uploading() <-chan struct{} { return s.delivery.Ending() }

// AbandonUpload ends the upload without waiting any longer. What was sent stays
// with the service, and `pcapctl upload` goes on with it. It is false when there
// is none to end: before the capture has ended the file is not complete.
func (s *Session) AbandonUpload() bool { return s.delivery.Abandon() }
