package capture

import (
	"time"

	"pcapctl/capture/source"
)

// SplitGaps is gapLog for tests.
func SplitGaps(gaps []source.Gap, end time.Time, all, inTime, unknown uint64) (before, around, after uint64, list Gaps) {
	l := gapLog{end: end}
	for _, g := range gaps {
		l.note(g)
	}
	before, around, after = l.split(all, inTime, unknown)
	return before, around, after, l.Gaps
}
