package capture

import (
	"time"

	"pcapctl/capture/deliver"
	"pcapctl/capture/save"
	"pcapctl/capture/source"
)

// Progress is what a capture has come to so far.
type Progress struct {
	Elapsed  time.Duration
	Packets  uint64 // recorded
	Bytes    uint64 // of packet data recorded
	Size     int64  // bytes of the file, with what is about to be written
	Received uint64 // passed the filter of the source, those dropped included
	Freezes  uint64 // how often the kernel found the ring full
	Dropped  Drops
	Written  save.Written
	Upload   deliver.Progress // zero when the capture goes to a file only
	// Of a file that is read: packets looked at, and bytes.
	PacketsRead uint64
	BytesRead   int64
}

// Progress looks at a running capture from another goroutine. It costs the
// packet loop nothing.
func (s *Session) Progress() Progress {
	s.src.Links() // asks the interfaces; Stats has the sum
	p := s.progress(s.src.Stats())
	p.Upload = s.delivery.Progress()
	return p
}

func (s *Session) progress(st source.Stats) Progress {
	n := s.counters.Count()
	return Progress{
		Elapsed:     time.Since(s.Started),
		Packets:     n.Packets,
		Bytes:       n.Bytes,
		Size:        n.Size,
		Received:    st.Received,
		Freezes:     st.Freezes,
		Dropped:     Drops{ByKernel: st.Dropped, ByInterface: st.Lost, ByFile: n.Lost},
		Written:     n.Written,
		PacketsRead: st.Seen,
		BytesRead:   st.Read,
	}
}

// askEvery is how often the packet loop asks the kernel for its counters when
// somebody watches: it is a system call, and blocks may come by the thousand a
// second.
const askEvery = 100 * time.Millisecond

// tell tells the counters and the watcher. It belongs to the packet loop.
func (s *Session) tell() {
	s.rec.Publish()
	if now := time.Since(s.Started); now-s.asked >= askEvery {
		s.asked = now
		s.stats = s.readDrops()
	}
	s.watcher.Progress(s.progress(s.stats))
}

// readDrops asks the source for its counters, and notes the drops for the account in the end.
func (s *Session) readDrops() source.Stats {
	st := s.src.Stats()
	s.drops.read(time.Since(s.Started), st.Dropped)
	return st
}

// How often the watcher hears of the interfaces, and by that also of a session
// without packets that it lives; and of the upload.
const (
	tellEvery       = 2 * time.Second
	tellUploadEvery = time.Second
)

// beginTelling tells the watcher of the interfaces until the session has ended,
// and of the delivery until that has.
func (s *Session) beginTelling() {
	s.tell()
	s.watcher.Interfaces(0, s.src.Links())
	s.beat.Go(func() {
		every(tellEvery, s.ended, func() { s.watcher.Interfaces(time.Since(s.Started), s.src.Links()) })
	})
	if s.delivery.Ending() != nil {
		s.telling.Go(func() { every(tellUploadEvery, s.delivered, func() { s.watcher.Upload(s.delivery.Progress()) }) })
	}
}

// every calls do again and again until done is closed.
func every(d time.Duration, done <-chan struct{}, do func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			do()
		}
	}
}
