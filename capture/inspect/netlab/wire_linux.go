package netlab

import (
	"container/heap"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"
)

// End is one end of a wire.
type End int

// The ends. Scenes have the client at the left and the server at the right.
const (
	Left End = iota
	Right
)

// Other is the opposite end.
func (e End) Other() End { return 1 - e }

// Frame is what an interface sent. Its bytes do not change.
type Frame struct {
	Data    []byte
	From    End
	Decoded gopacket.Packet
}

// TCP is the frame's TCP header, nil if it has none.
func (f *Frame) TCP() *layers.TCP {
	t, _ := f.Decoded.Layer(layers.LayerTypeTCP).(*layers.TCP)
	return t
}

func newFrame(from End, data []byte) *Frame {
	return &Frame{Data: data, From: from, Decoded: gopacket.NewPacket(data, layers.LayerTypeEthernet, gopacket.DecodeOptions{NoCopy: true})}
}

// Fate is what becomes of a frame. The rules of a wire change it one after the other.
type Fate struct {
	Drop  bool
	Delay time.Duration
	// Overtaken lets later frames arrive before this one; otherwise a delay holds
	// up what comes behind.
	Overtaken bool
	Data      []byte   // what arrives instead of the frame, if not nil
	Copies    int      // how many more times it arrives
	Replies   [][]byte // frames that arrive at the end that sent this one
}

// Rule changes the fate of a frame. A wire calls its rules one at a time, in the
// order in which it reads frames; now is when it read this one.
type Rule func(f *Frame, now time.Time, fate *Fate)

// Wire carries frames between two TAP interfaces.
type Wire struct {
	t    testing.TB
	taps [2]*os.File
	wg   sync.WaitGroup

	rulesMu sync.Mutex
	rules   []Rule
	last    [2]time.Time // when the latest frame of a direction is due
	number  uint64       // of frames in queues, so that those due at the same time keep their order

	queues [2]queue // by the end that they go to

	mu       sync.Mutex // held while a frame is recorded and given to the interface
	changed  sync.Cond
	log      []event
	recorder *recorder
}

// event is something that happened to a frame.
type event struct {
	frame *Frame
	what  happening
}

type happening int

const (
	sent      happening = iota // the interface gave it to the wire
	delivered                  // the wire gave it to the other interface
)

// newWire makes the wire; left and right are open TAP interfaces.
func newWire(t testing.TB, left, right *os.File, r *recorder) *Wire {
	w := &Wire{t: t, taps: [2]*os.File{left, right}, recorder: r}
	w.changed.L = &w.mu
	for end := range w.queues {
		w.queues[end].init()
	}
	for _, end := range []End{Left, Right} {
		w.wg.Go(func() { w.read(end) })
		w.wg.Go(func() { w.deliver(end) })
	}
	t.Cleanup(w.close)
	return w
}

func (w *Wire) close() {
	for end := range w.taps {
		_ = w.taps[end].Close()
		w.queues[end].close()
	}
	w.wg.Wait()
}

// Apply adds rules behind those that the wire has.
func (w *Wire) Apply(rules ...Rule) {
	w.rulesMu.Lock()
	defer w.rulesMu.Unlock()
	w.rules = append(w.rules, rules...)
}

// Hold keeps what goes to an end in the wire, until Release.
func (w *Wire) Hold(to End) { w.queues[to].hold(true) }

// Release lets what was held arrive.
func (w *Wire) Release(to End) { w.queues[to].hold(false) }

// read takes what the interface at one end sends.
func (w *Wire) read(from End) {
	buf := make([]byte, 64<<10+64)
	for {
		n, err := w.taps[from].Read(buf)
		if err != nil {
			if !errors.Is(err, os.ErrClosed) {
				w.t.Errorf("read from the interface: %v", err)
			}
			return
		}
		f := newFrame(from, append([]byte(nil), buf[:n]...))
		w.mu.Lock()
		now := time.Now()
		w.recorder.record(f, from, now)
		w.note(f, sent)
		w.mu.Unlock()
		w.pass(f, now)
	}
}

// pass applies the rules, and puts what arrives into the queues.
func (w *Wire) pass(f *Frame, now time.Time) {
	w.rulesMu.Lock()
	defer w.rulesMu.Unlock()
	var fate Fate
	for _, r := range w.rules {
		r(f, now, &fate)
	}
	to := f.From.Other()
	for _, data := range fate.Replies {
		w.number++
		w.queues[f.From].put(item{frame: newFrame(to, data), due: now.Add(fate.Delay), number: w.number})
	}
	if fate.Drop {
		return
	}
	due := now.Add(fate.Delay)
	if !fate.Overtaken {
		if due.Before(w.last[to]) {
			due = w.last[to]
		}
		w.last[to] = due
	}
	if fate.Data != nil {
		f = newFrame(f.From, fate.Data)
	}
	for range 1 + fate.Copies {
		w.number++
		w.queues[to].put(item{frame: f, due: due, number: w.number})
	}
}

// deliver gives frames to the interface at one end when they are due.
func (w *Wire) deliver(to End) {
	for {
		f, ok := w.queues[to].take()
		if !ok {
			return
		}
		w.mu.Lock()
		w.recorder.record(f, to, time.Now())
		_, err := w.taps[to].Write(f.Data)
		w.note(f, delivered)
		w.mu.Unlock()
		if err != nil && !errors.Is(err, os.ErrClosed) && !errors.Is(err, unix.EIO) { // EIO: the interface is down
			w.t.Errorf("write to the interface: %v", err)
		}
	}
}

// note keeps what happened. w.mu is held.
func (w *Wire) note(f *Frame, what happening) {
	w.log = append(w.log, event{f, what})
	w.changed.Broadcast()
}

// awaitEvents waits until done says so; it is called with every event since the
// wire was made, in their order.
func (w *Wire) awaitEvents(what string, done func(event) bool) {
	w.t.Helper()
	deadline := time.Now().Add(90 * time.Second)
	expired := time.AfterFunc(time.Until(deadline), func() {
		w.mu.Lock() // a waiter is then either before its look at the time or asleep
		defer w.mu.Unlock()
		w.changed.Broadcast()
	})
	defer expired.Stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	for next := 0; ; {
		for ; next < len(w.log); next++ {
			if done(w.log[next]) {
				return
			}
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("waited 90 seconds for %s", what)
		}
		w.changed.Wait()
	}
}

// item is a frame on its way.
type item struct {
	frame  *Frame
	due    time.Time
	number uint64
}

// queue holds the frames that go to one end, by when they are due.
type queue struct {
	mu     sync.Mutex
	items  items
	held   bool
	closed bool
	wake   chan struct{} // has room for one: that there is something new to look at
}

func (q *queue) init() { q.wake = make(chan struct{}, 1) }

func (q *queue) change(f func()) {
	q.mu.Lock()
	f()
	q.mu.Unlock()
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *queue) put(i item)     { q.change(func() { heap.Push(&q.items, i) }) }
func (q *queue) hold(held bool) { q.change(func() { q.held = held }) }
func (q *queue) close()         { q.change(func() { q.closed = true }) }

// take waits for the next frame that is due. ok is false when the queue was closed.
func (q *queue) take() (f *Frame, ok bool) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		q.mu.Lock()
		wait := time.Hour
		switch {
		case q.closed:
			q.mu.Unlock()
			return nil, false
		case q.held || len(q.items) == 0:
		default:
			if wait = time.Until(q.items[0].due); wait <= 0 {
				f = heap.Pop(&q.items).(item).frame
				q.mu.Unlock()
				return f, true
			}
		}
		q.mu.Unlock()
		timer.Reset(wait)
		select {
		case <-q.wake:
		case <-timer.C:
		}
	}
}

type items []item

func (s items) Len() int { return len(s) }
func (s items) Less(i, j int) bool {
	if s[i].due.Equal(s[j].due) {
		return s[i].number < s[j].number
	}
	return s[i].due.Before(s[j].due)
}
func (s items) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s *items) Push(x any)   { *s = append(*s, x.(item)) }
func (s *items) Pop() any {
	old := *s
	last := old[len(old)-1]
	*s = old[:len(old)-1]
	return last
}

// openTAP makes a TAP interface in the network namespace of this thread. Reads
// give one frame each, and wait without holding a thread.
func openTAP(name string) (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("open /dev/net/tun: %w", err)
	}
	ifr, err := unix.NewIfreq(name)
	if err == nil {
		ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("make the interface %s: %w", name, err)
	}
	return os.NewFile(uintptr(fd), name), nil // after TUNSETIFF: the poller refuses a file that is not yet attached
}
