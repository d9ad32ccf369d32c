package inspect

import (
	"slices"
	"time"
)

// maxSteps is how many steps a timeline has. When the packets reach further, two steps become
// one.
const maxSteps = 240

// timeline counts by time in memory that does not grow.
type timeline struct {
	start int64 // of the first step; 0 until a packet has a time
	step  int64 // nanoseconds
	used  int
	steps [maxSteps]Step
}

// firstStep is how long a step is at first, in nanoseconds.
const firstStep = int64(time.Millisecond)

// at is the step of a time. One before the first packet is in the first step.
func (t *timeline) at(at int64) *Step {
	if t.start == 0 {
		t.start, t.step = at, firstStep
	}
	i := (at - t.start) / t.step
	if i < 0 || at < t.start {
		i = 0
	}
	for i >= maxSteps {
		t.halve()
		i = (at - t.start) / t.step
	}
	t.used = max(t.used, int(i)+1)
	return &t.steps[i]
}

func (t *timeline) halve() {
	for i := range maxSteps / 2 {
		a, b := t.steps[2*i], t.steps[2*i+1]
		t.steps[i] = Step{
			Packets: a.Packets + b.Packets, Bytes: a.Bytes + b.Bytes,
			Retransmissions: a.Retransmissions + b.Retransmissions, Failures: a.Failures + b.Failures,
		}
	}
	clear(t.steps[maxSteps/2:])
	t.used = (t.used + 1) / 2
	t.step *= 2
}

func (t *timeline) report() Timeline {
	if t.start == 0 {
		return Timeline{Steps: []Step{}}
	}
	return Timeline{Start: timeOf(t.start), StepSeconds: seconds(t.step), Steps: slices.Clone(t.steps[:t.used])}
}

// timeOf is a number of nanoseconds since 1970 as a time; 0 is none.
func timeOf(ns int64) time.Time {
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns).UTC()
}
