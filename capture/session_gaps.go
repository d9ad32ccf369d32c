package capture

import (
	"time"

	"pcapctl/capture/source"
)

// maxGaps is how many gaps a result lists.
const maxGaps = 100

// Gaps are where packets are missing: what found the kernel's ring full, between which packets. The sum of them is
// Drops.ByKernel, and what of Drops.AroundLimit they tell.
type Gaps struct {
	List []source.Gap // the first ones
	More int          // how many there are besides
	Lost uint64       // packets missing in those
}

func (g *Gaps) add(gap source.Gap) {
	if len(g.List) == maxGaps {
		g.More++
		g.Lost += gap.Packets
		return
	}
	g.List = append(g.List, gap)
}

// gapLog knows the gaps before the end of a capture. It belongs to the packet loop.
type gapLog struct {
	Gaps
	end    time.Time // of the capture, once a limit has ended it; packets that came later are not recorded
	before uint64    // packets missing, surely up to the end
	around uint64    // missing in a gap that the end lies in
}

// note takes a gap.
func (l *gapLog) note(gap source.Gap) {
	switch {
	case gap.Packets == 0:
	case l.end.IsZero() || !gap.Before.IsZero() && !gap.Before.After(l.end):
		l.before += gap.Packets
		l.add(gap)
	case gap.After.Before(l.end):
		l.around += gap.Packets
		l.add(gap)
	}
}

// split says of all that were dropped how many came before the end, of how many that is not known, and how many came
// after it. inTime and unknown are what readings of the kernel's counter tell (dropLog); where the gaps tell more, that
// counts.
func (l *gapLog) split(all, inTime, unknown uint64) (before, around, after uint64) {
	least, most := min(l.before, all), min(l.before+l.around, all)
	if l.end.IsZero() {
		most = all
	}
	before = min(max(inTime, least), most)
	around = min(max(inTime+unknown, before), most) - before
	return before, around, all - before - around
}
