package npcap

import (
	"time"

	"pcapctl/capture/source"
)

// The driver counts what it drops, and tells neither when nor between which packets.
// What is known is the count at some moments, while the packets around it are
// still on their way. So drops are placed by time: those counted between two moments
// are missing somewhere between the last packet before the first moment and the
// first packet behind the second.

// maxGaps is how many wait for their place; more are put together.
const maxGaps = 16

// gapLog places drops. It belongs to the packet loop, and allocates nothing.
type gapLog struct {
	counted uint64 // drops that were noted
	looked  int64  // when the count was read last, nanoseconds of Unix time
	last    int64  // time of the packet given last
	before  int64  // and of the one given last when looked
	waiting [maxGaps]missing
	n       int
}

// missing are drops that were counted between two moments.
type missing struct {
	packets  uint64
	from, to int64
	after    int64 // time of the last packet known to be before them; 0 is none
}

// look notes how many were dropped up to now.
func (l *gapLog) look(dropped uint64, now int64) {
	if n := dropped - l.counted; dropped > l.counted {
		l.counted = dropped
		if l.n < maxGaps {
			l.waiting[l.n] = missing{packets: n, from: l.looked, to: now, after: l.before}
			l.n++
		} else {
			l.waiting[l.n-1].packets += n
			l.waiting[l.n-1].to = now
		}
	}
	l.looked, l.before = now, l.last
}

// due reports whether a gap comes before a packet of that time.
func (l *gapLog) due(at int64) bool { return l.n > 0 && at > l.waiting[0].to }

// take gives the gaps that come before a packet of that time, as one.
func (l *gapLog) take(at int64) source.Gap {
	if !l.due(at) {
		return source.Gap{}
	}
	g := source.Gap{After: timeOf(l.waiting[0].after), Before: timeOf(at)}
	for l.due(at) {
		g.Packets += l.waiting[0].packets
		l.n--
		copy(l.waiting[:l.n], l.waiting[1:])
	}
	return g
}

// rest gives all that wait, when there is no packet more.
func (l *gapLog) rest() (g source.Gap) {
	if l.n > 0 {
		g.After = timeOf(l.waiting[0].after)
	}
	for _, m := range l.waiting[:l.n] {
		g.Packets += m.packets
	}
	l.n = 0
	return g
}

// given notes that a packet was given.
func (l *gapLog) given(at int64) {
	l.last = max(l.last, at)
	for n := range l.waiting[:l.n] {
		if at <= l.waiting[n].from {
			l.waiting[n].after = max(l.waiting[n].after, at)
		}
	}
}

func timeOf(at int64) time.Time {
	if at == 0 {
		return time.Time{}
	}
	return time.Unix(0, at)
}
