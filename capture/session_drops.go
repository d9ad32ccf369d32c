package capture

import (
	"sync"
	"time"
)

// dropLog tells which of the packets that the kernel dropped came before the end of the capture. The kernel has a counter,
// and no times (packet(7), PACKET_STATISTICS): a process that is held up over its limit, by a disk or by SIGSTOP, finds
// what was dropped before and behind it in one sum. What is known is the sum at some moments. It is safe for concurrent
// use, and allocates nothing.
type dropLog struct {
	mu       sync.Mutex
	readings [64]reading // the newest n, in a ring
	n        int
	limited  bool
	end      time.Duration // of the capture, since its start; valid when limited
}

// reading is the counter's value from a first to a last moment.
type reading struct {
	from, to time.Duration
	dropped  uint64
}

// placed is how exactly drops are told to be before or behind the end.
const placed = 100 * time.Millisecond

// read notes the counter's value at a moment since the start.
func (l *dropLog) read(at time.Duration, dropped uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last := &l.readings[(l.n+len(l.readings)-1)%len(l.readings)]; l.n > 0 && last.dropped == dropped {
		last.to = max(last.to, at)
		return
	}
	l.readings[l.n%len(l.readings)] = reading{at, at, dropped}
	l.n++
}

// endAt says that a limit has ended the capture, at a moment since its start that may have passed a while ago.
func (l *dropLog) endAt(at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.limited, l.end = true, at
}

// split says of all that were dropped, up to the moment now, how many came before the end of the capture, how many after
// it, and of how many that is not known. Those within a tenth of a second after it count as before.
func (l *dropLog) split(all uint64, now time.Duration) (before, unknown, after uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.limited {
		return all, 0, 0
	}
	least, most, at := uint64(0), all, now
	for i := max(0, l.n-len(l.readings)); i < l.n; i++ {
		r := &l.readings[i%len(l.readings)]
		if r.from <= l.end {
			least = max(least, r.dropped)
		}
		if r.to >= l.end && r.dropped <= most {
			// From the first moment behind the end that has the value.
			most, at = r.dropped, max(r.from, l.end)
			break
		}
	}
	if at-l.end <= placed {
		least = most
	}
	return least, most - least, all - most
}
