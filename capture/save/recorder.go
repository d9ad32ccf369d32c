package save

import (
	"errors"
	"math"
	"time"

	"pcapctl/capture/source"
)

// Recorder brings packets into a sink, within the byte limit. It belongs to the
// packet loop; others look at it through the counters.
type Recorder struct {
	counters *Counters
	encoder  Encoder
	sink     Sink
	limit    int64  // bytes of a file; 0 for none
	buf      []byte // whole records that the sink does not have yet
	header   int64  // bytes that the file begins with
	size     int64  // of the file, with what is in buf
	packets  uint64 // recorded, those that were lost later included
	bytes    uint64 // of them
	failed   bool   // the disk takes no more: packets are only counted

	shortened uint64 // packets that were cut as they have no room in any file

	until time.Time // packets after this moment came too late; zero for none
	gate  gate      // of the packet limit, and of files that end by the clock
}

// NewRecorder makes the recorder of a sink whose first file begins with header
// bytes. limit is how many bytes a file may have, 0 for any.
func NewRecorder(e Encoder, s Sink, c *Counters, limit int64, header int) *Recorder {
	r := &Recorder{counters: c, encoder: e, sink: s, limit: limit, buf: s.Buffer(), header: int64(header), size: int64(header)}
	r.Publish()
	return r
}

// Until makes every packet that comes after t too late to be recorded.
func (r *Recorder) Until(t time.Time) { r.until = t }

// LimitPackets ends the capture behind n packets, which are counted from here on.
func (r *Recorder) LimitPackets(n uint64) { r.gate.limited, r.gate.left = true, n }

// RotateEvery goes on to another file at each boundary of the clock: where the time since 1970, in UTC, is a multiple of
// every, in whole seconds. What counts for a packet is its own time. now is the time at which the first file begins.
func (r *Recorder) RotateEvery(every time.Duration, now time.Time) {
	r.gate.every = int64(every / time.Second)
	r.gate.turns(now.Unix())
}

// Turn goes on to another file if the clock, which shows now, has come to a boundary, though no packet has. Where the
// next file is not there yet, it does nothing. The errors are those of Add.
func (r *Recorder) Turn(now time.Time) error {
	if r.gate.every == 0 || r.failed || !r.sink.Ready() || !r.gate.turns(now.Unix()) {
		return nil
	}
	return r.turn()
}

// WatchFor looks for the first packet that is marked as the event. after is how long packets are recorded from its time on; those
// that come later are counted as late. Below zero, that is for the source to know.
func (r *Recorder) WatchFor(after time.Duration) { r.gate.watch, r.gate.after = true, after }

// Event tells the packet that was looked for, once it has been recorded.
func (r *Recorder) Event() (e Event, seen bool) { return r.gate.event, r.gate.event.Number > 0 }

// Reached tells the packet that has reached the packet limit.
func (r *Recorder) Reached() (Last, bool) { return r.gate.last, r.gate.closed() }

// inTime are the packets of a batch that came up to a moment. The others are
// counted.
type inTime struct {
	source.Batch
	sec      int64
	nsec     uint32
	counters *Counters
}

// Next implements source.Batch.
func (b *inTime) Next() *source.Packet {
	for {
		p := b.Batch.Next()
		if p == nil || p.Sec < b.sec || p.Sec == b.sec && p.Nsec <= b.nsec {
			return p
		}
		if !p.Apart {
			b.counters.late.Add(1)
		}
	}
}

// Late counts a packet, if it is not nil, and those of a batch as having come after
// what ended the capture.
func (r *Recorder) Late(p *source.Packet, batch source.Batch) {
	r.counters.late.Add(countAll(p, batch))
}

// countAll is how many packets there are: p, if it is not nil, and those of a batch.
func countAll(p *source.Packet, batch source.Batch) (n uint64) {
	if p == nil {
		p = batch.Next()
	}
	for ; p != nil; p = batch.Next() {
		if !p.Apart {
			n++
		}
	}
	return n
}

// Add records the packets of a batch. When one would have taken the file over
// its limit, that is left, and the capture is at its end. When the disk fails,
// that packet and those behind it are counted as lost. The error is ErrSpent, or
// one of the disk.
//
// At the packet limit (see Reached) the rest of the batch is not asked for.
func (r *Recorder) Add(batch source.Batch) (left *source.Packet, err error) {
	if gap := batch.Gap(); gap.Packets > 0 {
		r.encoder.Behind(gap.Packets)
	}
	if !r.until.IsZero() {
		batch = &inTime{batch, r.until.Unix(), uint32(r.until.Nanosecond()), r.counters}
	}
	if !r.gate.limited && r.gate.every == 0 && !r.gate.watch {
		return r.add(nil, batch)
	}
	r.gate.Batch = batch
	for {
		more, aerr := r.add(r.gate.release(), &r.gate)
		if left = more; aerr != nil {
			err = aerr
		}
		if r.gate.held == nil {
			break
		}
		if terr := r.turn(); terr != nil {
			if err = terr; !r.failed {
				return r.gate.release(), err
			}
		}
	}
	if left != nil {
		r.gate.unsee()
	}
	r.counters.late.Add(r.gate.late)
	r.gate.late = 0
	if r.failed && r.gate.closed() {
		r.Late(nil, batch)
	}
	return left, err
}

// add is Add for a packet, if it is not nil, and those of a batch.
func (r *Recorder) add(left *source.Packet, batch source.Batch) (_ *source.Packet, err error) {
	soft, hard := r.sink.Marks()
	for {
		if r.failed {
			r.lose(left, batch)
			return nil, err
		}
		mark := soft
		if len(r.buf) >= soft {
			if r.sink.Ready() || len(r.buf) >= hard {
				if err = r.put(); noPlace(err) {
					return left, err
				}
				continue
			}
			mark = min(len(r.buf)+soft, hard)
		}
		if left = r.encode(left, batch, mark); left == nil {
			return nil, err
		}
		if len(r.buf) >= mark {
			continue
		}
		more, rerr := r.makeRoom(left)
		switch {
		case rerr != nil && r.failed:
			err = rerr
		case rerr != nil || !more:
			return left, rerr
		}
	}
}

// encode lays packets out in the buffer, until it has mark bytes or the file is
// full. What has no place any more is left.
func (r *Recorder) encode(p *source.Packet, batch source.Batch, mark int) (left *source.Packet) {
	room := int64(math.MaxInt64)
	if r.limit > 0 {
		room = r.limit - r.size
	}
	before := len(r.buf)
	var n, data uint64
	r.buf, left, n, data = r.encoder.Append(r.buf, p, batch, mark, room)
	r.packets += n
	r.bytes += data
	r.size += int64(len(r.buf) - before)
	return left
}

// makeRoom goes on to the next file, for a packet that has no room in this one.
// What has no room in any file is cut, as by a snap length. It is false when the
// limit ends the capture.
func (r *Recorder) makeRoom(p *source.Packet) (more bool, err error) {
	switch {
	case !r.sink.Rotates():
		return false, nil
	case r.size == r.header:
		if more = r.encoder.Cut(p, r.limit-r.header); more {
			r.shortened++
		}
		return more, nil
	}
	return true, r.turn()
}

// turn goes on to the next file.
func (r *Recorder) turn() error {
	if r.failed {
		return nil
	}
	// All of the file is written before the next one is begun.
	if err := r.put(); err != nil {
		return err
	}
	full := r.full()
	r.sink.Rotate(full)
	r.header = int64(len(full.Header))
	r.size = r.header
	return nil
}

// full says what is in the file, and what the next one begins with.
func (r *Recorder) full() Full {
	f := Full{Packets: r.packets - r.counters.gone(), Trailer: r.encoder.End()}
	f.Header = r.encoder.Begin(nil)
	return f
}

// lose counts a packet, if it is not nil, and those of a batch, which matched and
// cannot be recorded any more.
func (r *Recorder) lose(p *source.Packet, batch source.Batch) {
	n := countAll(p, batch)
	r.packets += n
	r.counters.lost.Add(n)
}

// noPlace tells an end of which the packets behind it have come too late: the disk reserve is reached, or the reader of a
// stream has left.
func noPlace(err error) bool { return errors.Is(err, ErrSpent) || errors.Is(err, ErrReaderLeft) }

// put gives the buffer to the sink.
func (r *Recorder) put() error {
	if len(r.buf) == 0 {
		return nil
	}
	buf, err := r.sink.Put(Chunk{Buf: r.buf, Packets: r.packets, Bytes: r.bytes})
	r.buf = buf[:0]
	if err != nil && !noPlace(err) {
		r.failed = true
	}
	return err
}

// Flush writes what is in memory, if it need not wait for a file to write to.
// The errors are those of Add.
func (r *Recorder) Flush() error {
	if !r.sink.Ready() {
		return nil
	}
	return r.put()
}

// Holds reports whether records wait in memory.
func (r *Recorder) Holds() bool { return len(r.buf) > 0 }

// Failed reports whether the disk takes no more. Packets are only counted then.
func (r *Recorder) Failed() bool { return r.failed }

// Truncated is how many packets were cut though more of them was asked for.
func (r *Recorder) Truncated() uint64 { return r.encoder.Truncated() + r.shortened }

// Publish tells the counters what was recorded so far.
func (r *Recorder) Publish() {
	r.counters.packets.Store(r.packets)
	r.counters.bytes.Store(r.bytes)
	r.counters.size.Store(r.size)
}

// Finish writes what is in memory and brings the files to their end. Only when
// it returns nil is all that was recorded, and not counted as lost, safely on
// the disk.
func (r *Recorder) Finish() error {
	err := r.put()
	if noPlace(err) {
		err = nil
	}
	r.Publish()
	return errors.Join(err, r.sink.Finish(r.full()))
}
