package inspect

import (
	"math/bits"
	"time"
)

// histogram counts durations. Its steps are 1/16 of an octave of microseconds, so that
// a percentile is off by 1/16 at the most.
type histogram struct {
	count    uint64
	min, max int64 // nanoseconds
	octaves  [maxOctaves]*[16]uint32
}

// maxOctaves reaches from microseconds to 12 days.
const maxOctaves = 40

func (h *histogram) add(d int64) {
	d = max(d, 0)
	if h.count == 0 || d < h.min {
		h.min = d
	}
	h.max = max(h.max, d)
	h.count++
	octave, step := place(d)
	if h.octaves[octave] == nil {
		h.octaves[octave] = new([16]uint32)
	}
	h.octaves[octave][step]++
}

// place is the octave and step of a duration: below 16 µs each microsecond has its own step.
func place(d int64) (octave, step int) {
	us := uint64(d) / 1000
	if us < 16 {
		return 0, int(us)
	}
	n := bits.Len64(us) - 5 // us>>n is from 16 to 31
	if n+1 >= maxOctaves {
		return maxOctaves - 1, 15
	}
	return n + 1, int(us>>n) - 16
}

// middle is the duration that stands for a step, in nanoseconds.
func middle(octave, step int) int64 {
	if octave == 0 {
		return int64(step)*1000 + 500
	}
	n := octave - 1
	return (int64(step+16)<<n + (int64(1)<<n)/2) * 1000
}

// percentile is the duration that a part of all durations is not longer than.
func (h *histogram) percentile(part float64) int64 {
	if h.count == 0 {
		return 0
	}
	rank := uint64(part*float64(h.count-1)) + 1
	if rank >= h.count {
		return h.max
	}
	var seen uint64
	for o := range h.octaves {
		if h.octaves[o] == nil {
			continue
		}
		for s, n := range h.octaves[o] {
			if seen += uint64(n); seen >= rank {
				return min(max(middle(o, s), h.min), h.max)
			}
		}
	}
	return h.max
}

func (h *histogram) latency() Latency {
	return Latency{
		Count: h.count, MinSeconds: seconds(h.min), P50Seconds: seconds(h.percentile(0.5)),
		P99Seconds: seconds(h.percentile(0.99)), MaxSeconds: seconds(h.max),
	}
}

// seconds is a number of nanoseconds in seconds.
func seconds(ns int64) float64 { return float64(ns) / float64(time.Second) }
