package npcap

import (
	"sync"
	"sync/atomic"
	"time"

	"pcapctl/capture/netif"
	"pcapctl/capture/pcapfile"
	"pcapctl/filter"
)

// adapter is one that is captured on.
type adapter struct {
	id      int // its place in the file
	iface   netif.Interface
	link    pcapfile.LinkType // of its packets
	framing filter.Framing
	own     filter.Adapter // tells the direction
	mac     bool           // packets begin with a MAC header
	program *filter.Program
	modest  bool // it does not take frames for other stations, though it was asked to
	snap    int  // bytes of a packet that are kept
	cut     bool // headers only, for which the program had no room

	handle handle
	queue  *queue
	ready  func() // wakes the packet loop

	begun atomic.Bool   // the reader was started
	done  chan struct{} // and has ended
	// lost says that it ended by itself, err by what.
	lost atomic.Bool
	err  error
	quit chan struct{} // closed when nothing more is wanted of it
	// until is when the capture was ended, nanoseconds of Unix time; 0 before.
	until atomic.Int64
	read  atomic.Uint64 // packets put into the queue

	mu        sync.Mutex
	closed    bool
	uncounted bool // the drops could not be read at the end
	dropped   counter

	// Of the packet loop.
	current *buffer
	at      int       // where in current the next packet is
	head    rawPacket // the next packet; valid when current is not nil
	waiting []*buffer // taken after current
	seen    uint64    // what was read when a reader that is to end was looked at last
	reached bool      // everything that the reader will ever give has been taken
}

// counter adds up one that has 32 bits and begins anew behind them.
type counter struct {
	last uint32
	sum  uint64
}

func (c *counter) add(now uint32) {
	c.sum += uint64(now - c.last)
	c.last = now
}

// start sets the filter and begins to read.
func (a *adapter) start() error {
	if err := a.handle.setFilter(a.program.Raw); err != nil {
		return err
	}
	a.begun.Store(true)
	go a.run()
	return nil
}

// run is the reader.
func (a *adapter) run() {
	defer func() {
		close(a.done)
		a.ready()
	}()
	var p rawPacket
	for {
		ending := a.until.Load() != 0 // before it is asked: what came until the end may have come behind an answer that there is nothing
		what, err := a.handle.next(&p)
		until := a.until.Load()
		switch {
		case what == failed:
			a.lose(err)
			return
		case what == taken && until != 0 && a.isLate(&p, until):
			return
		case what == taken:
			p.data = p.data[:min(len(p.data), a.snap)]
			if !a.queue.put(&p, a.quit, a.ready) {
				return
			}
			a.read.Add(1)
		case what == idle && ending:
			return // the driver's buffer is empty
		case what == woken:
			select {
			case <-a.quit:
				return
			default:
			}
			if until != 0 && a.handle.nonblocking() != nil {
				return
			}
		}
	}
}

// isLate reports whether a packet came after the end of the capture: by its own time
// if that is the system's, else by when it is read. A time that is still to come is of
// a clock that was set back meanwhile.
func (a *adapter) isLate(p *rawPacket, until int64) bool {
	now := systemTime().UnixNano()
	if a.handle.clock() && p.time() < now+int64(time.Second) {
		return p.time() > until
	}
	return now > until+int64(settle)
}

// lose notes what ended the reader, and what was counted up to then.
func (a *adapter) lose(err error) {
	if a.until.Load() != 0 {
		return // the capture was ended before
	}
	a.err = err
	a.mu.Lock()
	defer a.mu.Unlock()
	a.uncounted = !a.countLocked()
	a.lost.Store(true)
}

// ended reports whether the reader has ended, or was never started.
func (a *adapter) ended() bool {
	select {
	case <-a.done:
		return true
	default:
		return !a.begun.Load()
	}
}

// stats are the counters: what passed the filter is what was read, and what was
// dropped. After close they are the last. counted is false when the driver did not tell.
func (a *adapter) stats() (received, dropped uint64, counted bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed || !a.begun.Load() || a.lost.Load() || a.until.Load() != 0 {
		counted = !a.uncounted
	} else {
		counted = a.countLocked()
	}
	return a.read.Load() + a.dropped.sum, a.dropped.sum, counted
}

func (a *adapter) countLocked() bool {
	dropped, err := a.handle.dropped()
	if err == nil {
		a.dropped.add(dropped)
	}
	return err == nil
}

// detach ends the capture on it: what the driver has of earlier packets is still
// read. What it drops from now on is not lost.
func (a *adapter) detach(now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.until.Load() != 0 || !a.begun.Load() || a.lost.Load() || a.closed {
		return
	}
	a.uncounted = !a.countLocked()
	a.until.Store(now.UnixNano())
}

// close ends the reader and closes the adapter. It is false when the reader does not
// end; the adapter then stays open, as the library is still in it.
func (a *adapter) close(patience time.Duration) bool {
	a.mu.Lock()
	if a.closed {
		a.mu.Unlock()
		return true
	}
	if a.begun.Load() && a.until.Load() == 0 && !a.lost.Load() {
		a.countLocked()
	}
	a.closed = true
	a.mu.Unlock()
	if a.begun.Load() {
		close(a.quit)
		for begin, ended := time.Now(), false; !ended; {
			a.handle.wake()
			select {
			case <-a.done:
				ended = true
			case <-time.After(wakeAgain):
				if time.Since(begin) > patience {
					return false
				}
			}
		}
	}
	a.handle.close()
	return true
}

// wakeAgain is how long a reader may take to see that it was woken.
const wakeAgain = 50 * time.Millisecond

// Of the packet loop.

// fetch takes what the reader has ready.
func (a *adapter) fetch(now time.Time, end bool) {
	// In this order: what is put before the reader ends is taken.
	ended := a.ended()
	for {
		b := a.queue.take(now, end || ended)
		if b == nil {
			break
		}
		a.waiting = append(a.waiting, b)
	}
	a.reached = ended
	if a.current == nil {
		a.advance()
	}
}

// advance goes to the next packet. The data of the one before is gone.
func (a *adapter) advance() {
	for {
		if a.current != nil {
			var ok bool
			if a.at, ok = a.current.get(a.at, &a.head); ok {
				return
			}
			a.queue.giveBack(a.current)
			a.current = nil
		}
		if len(a.waiting) == 0 {
			return
		}
		a.current, a.at = a.waiting[0], 0
		a.waiting = append(a.waiting[:0], a.waiting[1:]...)
	}
}
