package capture

import (
	"testing"
	"time"
)

// What was dropped is before or behind the end as far as readings of the counter tell, and else told as unknown.
func TestDropsAroundTheEnd(t *testing.T) {
	const s = time.Second
	type at struct {
		at time.Duration
		n  uint64
	}
	many := make([]at, 200) // more readings than are kept
	for i := range many {
		many[i] = at{time.Duration(i) * s / 10, uint64(i)}
	}
	for _, test := range []struct {
		name                   string
		readings               []at
		end                    time.Duration // 0: no limit has ended it
		now                    time.Duration
		all                    uint64
		before, unknown, after uint64
	}{
		{"no limit", []at{{s, 5}}, 0, 9 * s, 20, 20, 0, 0},
		{"none", nil, 3 * s, 3 * s, 0, 0, 0, 0},
		{"read in time, and at the end", []at{{1 * s, 5}, {2 * s, 7}, {3*s + s/1000, 9}}, 3 * s, 3*s + s/100, 9, 9, 0, 0},
		{"stopped over the end", []at{{1 * s, 5}, {5 * s, 15_226}}, 3 * s, 5*s + s/100, 15_230, 5, 15_221, 4},
		{"stopped, and none was read before", []at{{5 * s, 100}}, 3 * s, 5 * s, 100, 0, 100, 0},
		{"the packet loop is held up, the clock is not", []at{{1 * s, 5}, {3*s + s/50, 9}, {6 * s, 50}}, 3 * s, 6 * s, 50, 9, 0, 41},
		{"nothing new until long after the end", []at{{1 * s, 5}, {2 * s, 5}, {6 * s, 5}}, 3 * s, 6 * s, 12, 5, 0, 7},
		{"many readings", many, 15*s + s/20, 20 * s, 199, 151, 0, 48},
	} {
		t.Run(test.name, func(t *testing.T) {
			var l dropLog
			for _, r := range test.readings {
				l.read(r.at, r.n)
			}
			if test.end > 0 {
				l.endAt(test.end)
			}
			before, unknown, after := l.split(test.all, test.now)
			if before != test.before || unknown != test.unknown || after != test.after {
				t.Errorf("%d before, %d unknown, %d after", before, unknown, after)
			}
		})
	}
}

// Durations of a result are written as they are meant.
func TestSecondsAreWrittenAsMeant(t *testing.T) {
	for _, test := range []struct {
		d    time.Duration
		want float64
	}{
		{3812 * time.Millisecond, 3.812}, {1001*time.Millisecond + 499*time.Microsecond, 1.001}, {0, 0}, {-time.Second, -1}, {4 * time.Hour, 14400},
	} {
		if got := Seconds(test.d); got != test.want {
			t.Errorf("%v is %v, want %v", test.d, got, test.want)
		}
		st := Statistics{DurationInSeconds: Seconds(test.d)}
		if got := st.Duration(); got != test.d.Round(time.Millisecond) {
			t.Errorf("%v comes back as %v", test.d, got)
		}
	}
}
