package capture

import (
	"time"

	"pcapctl/capture/ring"
)

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
	s.every(tellEvery, func() (more bool) {
		s.watcher.Interfaces(time.Since(s.Started), s.links.dropped())
		return true
	})
}

// every calls do again and again beside the packet loop, until it wants no
// more or the session has ended.
func (s *Session) every(d time.Duration, do func() (more bool)) {
	s.beat.Go(func() {
		tick := time.NewTicker(d)
		defer tick.Stop()
		for {
			select {
			case <-s.ended:
				return
			case <-tick.C:
			}
			if !do() {
				return
			}
		}
	})
}
