package capture

import (
	"time"

	"pcapctl/capture/source"
)

// eventEnd is the end of a capture behind the packet that it was told to end at. It belongs to the packet loop; the zero
// value is for a capture that looks for none, or has not seen it.
type eventEnd struct {
	seen  bool
	last  time.Time   // by the clock of packets: what comes later is not recorded
	due   time.Time   // the same by the monotonic clock; zero for a file, whose packets tell the time
	timer *time.Timer // looks beside the packet loop then
}

// watchForEvent has the recorder look for the event, if there is one to look for.
func (s *Session) watchForEvent() {
	c := s.Plan.Config
	switch {
	case c.StopWhen.IsZero():
	case s.src.Timeline() == source.RealTime:
		s.rec.WatchFor(c.Additions.StopAfter)
	default:
		s.rec.WatchFor(-1)
	}
}

// noteEvent is called behind each batch of the packet loop.
func (s *Session) noteEvent() {
	e, seen := s.rec.Event()
	if !seen || s.event.seen {
		return
	}
	s.event.seen = true
	if e.At.IsZero() || s.src.Timeline() != source.RealTime {
		return
	}
	after := s.Plan.Config.Additions.StopAfter
	s.event.last = e.At.Add(after)
	// The packet may have waited in the ring. A clock that was set since cannot make the time longer.
	now := time.Now()
	left := min(s.event.last.Sub(now.Round(0)), after)
	s.event.due = now.Add(left)
	s.event.timer = time.AfterFunc(left, s.overLimit)
}

// due is how long the packet loop may go on until a limit of time ends the capture, which is why. Without a limit, why is
// "".
func (s *Session) due(limit time.Duration) (left time.Duration, why StopReason) {
	left = -1
	if limit > 0 {
		left, why = limit-time.Since(s.Started), TimeExceeded
	}
	if !s.event.due.IsZero() {
		if d := time.Until(s.event.due); why == "" || d < left {
			left, why = d, EventSeen
		}
	}
	return left, why
}
