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

	until time.Time // packets after this moment came too late; zero for none
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

// inTime leaves out packets that came too late. It may reorder nothing.
func (r *Recorder) inTime(packets []source.Packet) []source.Packet {
	sec, nsec := r.until.Unix(), uint32(r.until.Nanosecond())
	in := packets[:0]
	for i := range packets {
		if p := &packets[i]; p.Sec < sec || p.Sec == sec && p.Nsec <= nsec {
			in = append(in, *p)
		}
	}
	return in
}

// Add records packets. n is how many of them it has dealt with; when that is not
// all, the next one would have taken the file over its limit, and the capture is
// at its end. When the disk fails, the packets behind are counted as lost. The
// error is ErrSpent, or one of the disk.
func (r *Recorder) Add(packets []source.Packet) (n int, err error) {
	late := 0
	if !r.until.IsZero() {
		all := len(packets)
		packets = r.inTime(packets)
		late = all - len(packets)
	}
	soft, hard := r.sink.Marks()
	for n < len(packets) {
		if r.failed {
			r.lose(len(packets) - n)
			n = len(packets)
			break
		}
		mark := soft
		if len(r.buf) >= soft {
			if r.sink.Ready() || len(r.buf) >= hard {
				if err = r.put(); errors.Is(err, ErrSpent) {
					return n, err
				}
				continue
			}
			mark = min(len(r.buf)+soft, hard)
		}
		n += r.encode(packets[n:], mark)
		if n == len(packets) || len(r.buf) >= mark {
			continue
		}
		more, rerr := r.makeRoom(&packets[n])
		switch {
		case rerr != nil && r.failed:
			err = rerr
		case rerr != nil || !more:
			return n, rerr
		}
	}
	return n + late, err
}

// encode lays packets out in the buffer, until it has mark bytes or the file is
// full.
func (r *Recorder) encode(packets []source.Packet, mark int) (did int) {
	room := int64(math.MaxInt64)
	if r.limit > 0 {
		room = r.limit - r.size
	}
	before := len(r.buf)
	var data uint64
	r.buf, did, data = r.encoder.Append(r.buf, packets, mark, room)
	r.packets += uint64(did)
	r.bytes += data
	r.size += int64(len(r.buf) - before)
	return did
}

// makeRoom goes on to the next file, for a packet that has no room in this one.
// What has no room in any file is cut, as by a snap length. It is false when the
// limit ends the capture.
func (r *Recorder) makeRoom(p *source.Packet) (more bool, err error) {
	switch {
	case !r.sink.Rotates():
		return false, nil
	case r.size == r.header:
		return r.encoder.Cut(p, r.limit-r.header), nil
	}
	// All of the file is written before the next one is begun.
	if err := r.put(); err != nil {
		return false, err
	}
	full := r.full()
	r.sink.Rotate(full)
	r.header = int64(len(full.Header))
	r.size = r.header
	return true, nil
}

// full says what is in the file, and what the next one begins with.
func (r *Recorder) full() Full {
	f := Full{Packets: r.packets - r.counters.lost.Load(), Trailer: r.encoder.End()}
	f.Header = r.encoder.Begin(nil)
	return f
}

// lose counts packets that matched and cannot be recorded any more.
func (r *Recorder) lose(n int) {
	r.packets += uint64(n)
	r.counters.lost.Add(uint64(n))
}

// put gives the buffer to the sink.
func (r *Recorder) put() error {
	if len(r.buf) == 0 {
		return nil
	}
	buf, err := r.sink.Put(Chunk{Buf: r.buf, Packets: r.packets, Bytes: r.bytes})
	r.buf = buf[:0]
	if err != nil && !errors.Is(err, ErrSpent) {
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
	if errors.Is(err, ErrSpent) {
		err = nil
	}
	r.Publish()
	return errors.Join(err, r.sink.Finish(r.full()))
}
