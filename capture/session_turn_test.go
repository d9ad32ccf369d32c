package capture

import (
	"testing"
	"time"
)

// The wait for a boundary of the clock ends at the boundary, and is never longer than the clock goes unlooked at: it may be
// set meanwhile, and a timer stands still while the machine sleeps.
func TestUntilTurn(t *testing.T) {
	noon := time.Date(2030, 1, 2, 12, 0, 0, 0, time.UTC)
	for _, test := range []struct {
		now   time.Time
		every time.Duration
		want  time.Duration
	}{
		{noon, time.Hour, lookAtClock},
		{noon.Add(-time.Minute), time.Hour, lookAtClock},
		{noon.Add(-300 * time.Millisecond), time.Hour, 300 * time.Millisecond},
		{noon.Add(-1), 24 * time.Hour, lookAtClock},
		{time.Date(2030, 1, 2, 23, 59, 59, 999_000_000, time.UTC), 24 * time.Hour, time.Millisecond},
		{noon.Add(-1), time.Second, 1},
		{noon, time.Second, time.Second},
		{time.Unix(-1, 500_000_000), time.Second, lookAtClock}, // before 1970
	} {
		if got := untilTurn(test.now, test.every); got != test.want {
			t.Errorf("%v, every %v: %v, want %v", test.now, test.every, got, test.want)
		}
	}
}
