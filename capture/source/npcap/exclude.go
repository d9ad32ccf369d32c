package npcap

import (
	"time"

	"pcapctl/filter"
)

// exclusions are the flows that are left out. They change while packets are on their
// way to the packet loop, which may be half a second; so those of a moment ago are
// known, too: a packet is decided by what held when it was captured, or by what
// holds now. One is never changed.
type exclusions struct {
	now  filter.Exclusion
	past []pastExclusion
}

type pastExclusion struct {
	filter.Exclusion
	until int64 // nanoseconds of Unix time
}

// remember is how long past exclusions are known, and maxPast how many.
const (
	remember = 2 * time.Second
	maxPast  = 64
)

// replaced are the exclusions when others take the place of what holds now.
func (e *exclusions) replaced(flows []filter.Flow, at time.Time) *exclusions {
	next := &exclusions{now: filter.NewExclusion(flows)}
	if e == nil {
		return next
	}
	for _, p := range e.past {
		if p.until > at.Add(-remember).UnixNano() {
			next.past = append(next.past, p)
		}
	}
	next.past = append(next.past, pastExclusion{e.now, at.UnixNano()})
	next.past = next.past[max(0, len(next.past)-maxPast):]
	return next
}

// excludes reports whether a packet that was captured at a time is left out. It
// allocates nothing.
func (e *exclusions) excludes(p *filter.Packet, at int64) bool {
	if e == nil {
		return false
	}
	if e.now.Excludes(p) {
		return true
	}
	for n := range e.past {
		if at <= e.past[n].until && e.past[n].Excludes(p) {
			return true
		}
	}
	return false
}
