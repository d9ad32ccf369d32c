package npcap

import (
	"encoding/binary"
	"sync"
	"time"
)

// Sizes of the buffers between an adapter's reader and the packet loop, in bytes.
const (
	bufferLen = 512 << 10
	// wakeAt is how full a buffer gets before the packet loop is woken for it.
	wakeAt     = 128 << 10
	minBuffers = 4
	maxBuffers = 64
)

// hold is how long packets may stay in a buffer that does not fill.
const hold = 100 * time.Millisecond

// Layout of a packet in a buffer: time, length on the wire, length of the data,
// the data, filled up to a multiple of 4.
const (
	entrySec    = 0
	entryNsec   = 4
	entryLength = 8
	entryCaplen = 12
	entryHeader = 16
)

// maxData is the most of a packet that a buffer holds.
const maxData = bufferLen - entryHeader

// buffer holds packets of one adapter in the order in which they came.
type buffer struct {
	mem  [bufferLen]byte
	size int
	// first is when the first packet came in, last when the buffer was handed over.
	first, last time.Time
	full        bool
}

// put adds a packet. It is false when there is no room.
func (b *buffer) put(p *rawPacket) bool {
	data := p.data[:min(len(p.data), maxData)]
	need := entryHeader + (len(data)+3)&^3
	if b.size+need > len(b.mem) {
		return false
	}
	m := b.mem[b.size : b.size+need]
	binary.NativeEndian.PutUint32(m[entrySec:], p.sec)
	binary.NativeEndian.PutUint32(m[entryNsec:], p.nsec)
	binary.NativeEndian.PutUint32(m[entryLength:], uint32(p.length))
	binary.NativeEndian.PutUint32(m[entryCaplen:], uint32(len(data)))
	copy(m[entryHeader:], data)
	b.size += need
	return true
}

// get reads the packet at an offset, and gives the offset of the next. It is false
// at the end.
func (b *buffer) get(at int, p *rawPacket) (next int, ok bool) {
	if at >= b.size {
		return at, false
	}
	m := b.mem[at:b.size]
	n := int(binary.NativeEndian.Uint32(m[entryCaplen:]))
	p.sec, p.nsec = binary.NativeEndian.Uint32(m[entrySec:]), binary.NativeEndian.Uint32(m[entryNsec:])
	p.length = int(binary.NativeEndian.Uint32(m[entryLength:]))
	p.data = m[entryHeader : entryHeader+n : entryHeader+n]
	return at + entryHeader + (n+3)&^3, true
}

// queue is what a reader has read and the packet loop has not taken. The buffers go
// round between the two, so that nothing is allocated on the way.
type queue struct {
	free  chan *buffer // as many as there are buffers
	total int

	mu   sync.Mutex
	fill *buffer   // is being filled; nil when the reader has none
	done []*buffer // full ones, oldest first
}

// newQueue has room for about size bytes of packets.
func newQueue(size int) *queue {
	n := max(minBuffers, min(size/bufferLen, maxBuffers))
	q := &queue{free: make(chan *buffer, n), total: n, done: make([]*buffer, 0, n)}
	for range n {
		q.free <- new(buffer)
	}
	return q
}

// put adds a packet. stop ends a wait for a free buffer: put is then false. ready is
// called when the packet loop has reason to look.
func (q *queue) put(p *rawPacket, stop <-chan struct{}, ready func()) bool {
	for {
		q.mu.Lock()
		if b := q.fill; b != nil {
			before := b.size
			if before == 0 {
				b.first = time.Now()
			}
			if b.put(p) {
				tell := before == 0 || before < wakeAt && b.size >= wakeAt
				q.mu.Unlock()
				if tell {
					ready()
				}
				return true
			}
			b.full, b.last = true, time.Now()
			q.done, q.fill = append(q.done, b), nil
		}
		q.mu.Unlock()
		var next *buffer
		select {
		case next = <-q.free:
		default:
			ready() // all are full
			select {
			case next = <-q.free:
			case <-stop:
				return false
			}
		}
		next.size, next.full = 0, false
		q.mu.Lock()
		q.fill = next
		q.mu.Unlock()
	}
}

// take gives the oldest buffer that is full, or has been filled for long enough; in
// the end every one that is not empty.
func (q *queue) take(now time.Time, end bool) *buffer {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.done) > 0 {
		b := q.done[0]
		q.done = append(q.done[:0], q.done[1:]...)
		return b
	}
	b := q.fill
	if b == nil || b.size == 0 || !end && b.size < wakeAt && now.Sub(b.first) < hold {
		return nil
	}
	b.last, q.fill = now, nil
	return b
}

// due is when take will give something; ok is false when nothing is there.
func (q *queue) due() (at time.Time, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch b := q.fill; {
	case len(q.done) > 0:
		return time.Time{}, true
	case b == nil || b.size == 0:
		return time.Time{}, false
	case b.size >= wakeAt:
		return time.Time{}, true
	default:
		return b.first.Add(hold), true
	}
}

// stalled says that no buffer is free for the reader.
func (q *queue) stalled() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.fill == nil && len(q.free) == 0
}

// giveBack returns a buffer that was taken.
func (q *queue) giveBack(b *buffer) { q.free <- b }
