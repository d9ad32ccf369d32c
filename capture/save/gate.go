package save

import (
	"time"

	"pcapctl/capture/source"
)

// gate gives the packets of a batch up to where they end though the file has room: behind the last packet that is to be
// recorded, and at a boundary of the clock. The Recorder has one and gives it batch after batch, so that it allocates
// nothing. The zero gate lets everything through.
type gate struct {
	source.Batch
	limited bool
	left    uint64 // packets that may come still, when limited
	every   int64  // seconds of a file; 0 for no boundaries
	period  int64  // that the file belongs to; see periodOf
	placed  bool   // period is known
	held    *source.Packet
	last    Last

	watch  bool          // an event is looked for
	after  time.Duration // how long packets are recorded after it; below zero for as long as there are
	until  time.Time     // the end of that; zero while it was not seen
	passed uint64        // packets let through
	event  Event
	late   uint64 // packets that came after until, not yet counted
}

// Event is the packet that was looked for.
type Event struct {
	Number uint64    // counts the packets recorded from 1 on; 0 is for none
	At     time.Time // the packet's time; zero when it has none
}

// Last is the packet that reached the packet limit.
type Last struct {
	Number uint64    // of a file that is read, else 0
	Came   time.Time // of an interface, else zero
}

// closed reports whether no further packet is recorded.
func (g *gate) closed() bool { return g.limited && g.left == 0 }

// Next implements source.Batch.
func (g *gate) Next() *source.Packet {
	if g.closed() {
		return nil
	}
	p := g.Batch.Next()
	for p != nil && !g.until.IsZero() && !p.Apart && isLater(p, g.until) {
		g.late++
		p = g.Batch.Next()
	}
	if p == nil || p.Apart {
		return p
	}
	if g.every > 0 && g.turns(p.Sec) {
		g.held = p
		return nil
	}
	g.count(p)
	return p
}

// release gives the packet that was held at a boundary, nil for none.
func (g *gate) release() *source.Packet {
	p := g.held
	if g.held = nil; p != nil {
		g.count(p)
	}
	return p
}

// isLater reports whether a packet came after a moment.
func isLater(p *source.Packet, than time.Time) bool {
	sec := than.Unix()
	return p.Sec > sec || p.Sec == sec && int64(p.Nsec) > int64(than.Nanosecond())
}

// see notes the event.
func (g *gate) see(p *source.Packet) {
	g.event.Number = g.passed
	if !p.Timed {
		return
	}
	g.event.At = time.Unix(p.Sec, int64(p.Nsec))
	if g.after >= 0 {
		g.until = g.event.At.Add(g.after)
	}
}

// unsee forgets the event if it is the packet that was let through last, which has no place in the file.
func (g *gate) unsee() {
	if g.event.Number == g.passed {
		g.event, g.until = Event{}, time.Time{}
	}
}

func (g *gate) count(p *source.Packet) {
	g.passed++
	if g.watch && p.Event && g.event.Number == 0 {
		g.see(p)
	}
	if !g.limited {
		return
	}
	if g.left--; g.left == 0 {
		g.last = Last{Number: p.Number}
		if p.Number == 0 {
			g.last.Came = time.Unix(p.Sec, int64(p.Nsec))
		}
	}
}

// periodOf is the number of the period that a second lies in. They are counted from 1970 on, in UTC, so that those of an
// hour begin with the hour.
func (g *gate) periodOf(sec int64) int64 {
	n := sec / g.every
	if sec%g.every < 0 {
		n--
	}
	return n
}

// turns reports whether the next file begins at a second, and notes that it does. Of a clock that is set forward, or of
// a machine that slept, it makes one new file, whatever passed meanwhile. A clock that is set back by less than a period
// has the boundary come a second time, at which no file begins; one that is set back further begins a new file, as the
// file would otherwise go on until the clock has come to where it was.
func (g *gate) turns(sec int64) bool {
	now := g.periodOf(sec)
	if !g.placed {
		g.period, g.placed = now, true
		return false
	}
	if now == g.period || now == g.period-1 {
		return false
	}
	g.period = now
	return true
}
