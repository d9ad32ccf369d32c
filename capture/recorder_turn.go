package capture

import (
	"time"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
)

// heldSize is how many bytes of records wait in memory for the next file of a
// ring, before the packet loop waits with them. Memory that is never written to
// takes no room.
const heldSize = 4<<20 - bufferSize

// turning makes a recorder go from file to file. Its own file is the first.
func (r *recorder) turning(o *rotation) {
	r.turn = o
	if o.compress != request.CompressNone {
		r.startPacking() // whose buffers are room enough
		return
	}
	r.buf = make([]byte, 0, heldSize+maxRecordSize)
}

// fileHeader is what the next file begins with.
func (r *recorder) fileHeader() []byte {
	if r.ng != nil {
		return r.ng.header(nil)
	}
	return pcapfile.AppendHeader(nil, r.format, r.link, uint32(r.snap))
}

// addToNext goes on to the next file with a packet that has no room in this
// one. What has no room in any file is cut, as by a snap length.
func (r *recorder) addToNext(sec, nsec uint32, prefix, data []byte, length int) (full bool, err error) {
	if r.all.size > r.header {
		if err := r.turnOver(); err != nil {
			return false, err
		}
	}
	room := r.limit - r.header
	if r.ng != nil {
		room -= r.ng.reserve() + int64(pcapfile.EnhancedLen(0)+len(r.ng.pending)+3) // up to a multiple of 4
	} else {
		room -= pcapfile.RecordHeaderLen
	}
	if room < int64(len(prefix)) {
		return true, nil // the interfaces alone fill the file
	}
	if len(prefix)+len(data) > int(room) {
		data = data[:int(room)-len(prefix)]
	}
	return r.add(sec, nsec, prefix, data, length)
}

// turnOver ends the file. All of it is written by now; what comes next waits in
// the buffer for the next file.
func (r *recorder) turnOver() error {
	if err := r.flush(); err != nil {
		return err
	}
	r.turn.turns <- r.full(time.Now()) // one at a time: flush has passed the gate
	r.gate, r.file = true, nil
	return nil
}

// full says what is in the file, and begins the next one.
func (r *recorder) full(now time.Time) fullFile {
	f := fullFile{packets: r.all.packets - r.lost.Load(), header: r.fileHeader()}
	if r.ng != nil {
		f.end.end = now
		f.end.keys, f.end.packets = r.ng.counts()
	}
	r.header = int64(len(f.header))
	r.all.size = r.header
	return f
}

// due reports whether a buffer that is full is to be written now: while the
// next file is being made there is some room behind it.
func (r *recorder) due() bool {
	return !r.gate || r.packer != nil || len(r.buf) >= heldSize || len(r.turn.ready) > 0
}

// pass waits for the next file, if there is one to come.
func (r *recorder) pass() error {
	if !r.gate {
		return nil
	}
	next := <-r.turn.ready
	r.gate = false
	if next.err != nil {
		return next.err
	}
	r.file = next.file
	if r.packer == nil {
		r.writtenSize.Store(r.file.Size())
	}
	r.total.Add(r.file.Size())
	return nil
}

// loseAll counts what is in the buffer as lost, for which there is no file.
func (r *recorder) loseAll(err error) error {
	packets, data, _ := r.whole(r.buf)
	r.lost.Add(uint64(packets))
	r.lostBytes.Add(uint64(data))
	r.buf = r.buf[:0]
	return err
}

// flushNow is flush at a moment that is only convenient: it does not wait.
func (r *recorder) flushNow() error {
	if r.gate && len(r.turn.ready) == 0 {
		return nil
	}
	return r.flush()
}
