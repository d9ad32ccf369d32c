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

func (g *gate) count(p *source.Packet) {
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
