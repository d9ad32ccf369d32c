package save

import (
	"errors"
	"io/fs"
	"sync"
	"sync/atomic"
	"time"

	"pcapctl/storage"
)

const (
	// streamBuffers is how many buffers go round between the packet loop and the goroutine that writes a stream. When all
	// are on their way, the loop waits, and packets wait in the kernel's ring.
	streamBuffers = 4
	// lookAtReader is how often it is looked whether anybody reads a stream on which nothing is written, and how long a
	// write waits before it is looked whether the capture is to end.
	lookAtReader = 100 * time.Millisecond
	// readerPatience is how long the end of a capture waits for a reader that takes nothing, and mostPatience for one that
	// takes a little at a time.
	readerPatience = time.Second
	mostPatience   = 5 * time.Second
)

// ErrStalled means that the reader of a stream has not taken the rest of a capture that was to end.
var ErrStalled = errors.New("the reader of the stream does not take the rest of the packets")

// StreamOptions are what a Stream needs.
type StreamOptions struct {
	Outlet Outlet
	Name   string // for people
	Header []byte
	Whole  func([]byte) (packets, data, size int)
	Losses func() Losses
	// Left is called once, beside the packet loop, when the reader has left.
	Left     func()
	Counters *Counters
}

// Stream is the sink of a capture that makes no file: its records go to somebody who reads them as they come. A
// goroutine writes them. A reader that is slow has packets wait in the kernel's ring. A reader that leaves ends the
// capture: what it has not taken counts as having come too late. What one that stalls has not taken when the capture is to
// end is lost.
type Stream struct {
	o    StreamOptions
	jobs chan Chunk
	free chan []byte
	over chan struct{} // closed when nothing more is written
	why  error         // valid when over is closed
	wg   sync.WaitGroup

	hurried atomic.Int64 // when Hasten was called first, Unix nanoseconds; else 0
	last    Chunk        // the newest that was put, without its bytes

	// Of the goroutine.
	size int64     // bytes of the stream
	took time.Time // when something was taken last
}

// NewStream makes the sink of a stream. Nothing is written before Begin.
func NewStream(o StreamOptions) *Stream {
	s := &Stream{
		o: o, jobs: make(chan Chunk, streamBuffers+1), free: make(chan []byte, streamBuffers+1),
		over: make(chan struct{}),
	}
	for range streamBuffers - 1 { // one is the recorder's
		s.free <- s.Buffer()
	}
	return s
}

// Begin writes the header: packets are being captured.
func (s *Stream) Begin() { s.wg.Go(s.run) }

// Hasten says that the capture is to end: from now on nobody waits for a reader that takes nothing. It may be called from
// other goroutines, and again.
func (s *Stream) Hasten() { s.hurried.CompareAndSwap(0, time.Now().UnixNano()) }

// Left reports whether the reader has left. It may be called from other goroutines.
func (s *Stream) Left() bool {
	select {
	case <-s.over:
		return errors.Is(s.why, ErrReaderLeft)
	default:
		return false
	}
}

func (s *Stream) run() {
	s.o.Counters.began(int64(s.send(s.o.Header)))
	tick := time.NewTicker(lookAtReader)
	defer tick.Stop()
	for {
		select {
		case c, ok := <-s.jobs:
			if !ok {
				return
			}
			s.write(c)
			s.free <- c.Buf[:0] // there is room for every buffer
		case <-tick.C:
			if !s.isOver() && s.o.Outlet.Left() {
				s.end(ErrReaderLeft)
			}
		}
	}
}

func (s *Stream) isOver() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

// end writes nothing more.
func (s *Stream) end(why error) {
	s.why = why
	close(s.over)
	if errors.Is(why, ErrReaderLeft) {
		s.o.Left()
	}
}

// write writes a chunk, and counts it.
func (s *Stream) write(c Chunk) {
	n := s.send(c.Buf)
	if n < len(c.Buf) {
		s.drop(c, n)
	}
	s.o.Counters.wrote(c, s.size, int64(n))
}

// send writes bytes, for as long as the reader may take, and tells how many were taken.
func (s *Stream) send(b []byte) (at int) {
	defer func() { s.size += int64(at) }()
	for at < len(b) && !s.isOver() {
		n, err := s.o.Outlet.Write(b[at:], lookAtReader)
		at += n
		switch {
		case err != nil:
			s.end(err)
		case n > 0:
			s.took = time.Now()
		}
		if from := s.hurried.Load(); from != 0 && err == nil && at < len(b) {
			asked := time.Unix(0, from)
			since := asked
			if s.took.After(asked) {
				since = s.took
			}
			if time.Since(since) > readerPatience || time.Since(asked) > mostPatience {
				s.end(ErrStalled)
			}
		}
	}
	return at
}

// drop counts what of a chunk is not in the stream, of which the first n bytes were taken.
func (s *Stream) drop(c Chunk, n int) {
	_, _, kept := s.o.Whole(c.Buf[:n])
	if errors.Is(s.why, ErrReaderLeft) {
		s.o.Counters.cut(c, kept, s.o.Whole)
	} else {
		s.o.Counters.lose(c, kept, s.o.Whole)
	}
}

// Buffer implements Sink.
func (*Stream) Buffer() []byte { return make([]byte, 0, bufferSize+maxRecordSize) }

// Marks implements Sink.
func (*Stream) Marks() (soft, hard int) { return bufferSize, bufferSize }

// Ready implements Sink.
func (s *Stream) Ready() bool { return len(s.free) > 0 || s.isOver() }

// Put implements Sink. It hands the chunk over, and waits while all buffers are on their way. The error is ErrReaderLeft
// or ErrStalled as well.
func (s *Stream) Put(c Chunk) ([]byte, error) {
	if len(c.Buf) == 0 {
		return c.Buf, nil
	}
	if s.isOver() {
		s.drop(c, 0)
		return c.Buf[:0], s.why
	}
	s.last = Chunk{Packets: c.Packets, Bytes: c.Bytes}
	s.jobs <- c
	select {
	case buf := <-s.free:
		return buf, nil
	case <-s.over:
		return s.Buffer(), s.why
	}
}

// Rotates implements Sink.
func (*Stream) Rotates() bool { return false }

// Rotate implements Sink. Nobody calls it.
func (*Stream) Rotate(Full) {}

// Look implements Sink.
func (*Stream) Look() *storage.Displaced { return nil }

// Finish implements Sink. A reader that is slow is waited for, until Hasten.
func (s *Stream) Finish(f Full) error {
	losses := s.o.Losses()
	if end := f.Trailer.Append(nil, &losses); len(end) > 0 && !s.isOver() {
		s.jobs <- Chunk{Buf: end, Packets: s.last.Packets, Bytes: s.last.Bytes}
	}
	close(s.jobs)
	s.wg.Wait()
	err := s.o.Outlet.Close()
	if s.isOver() && !errors.Is(s.why, ErrReaderLeft) {
		return s.why
	}
	return err
}

// Discard implements Sink.
func (s *Stream) Discard() {
	close(s.jobs)
	s.wg.Wait()
	_ = s.o.Outlet.Close()
}

// Files implements Sink.
func (*Stream) Files() []File { return nil }

// Remove implements Sink.
func (*Stream) Remove(File) error { return fs.ErrNotExist }

// Where implements Sink.
func (s *Stream) Where() string { return s.o.Name }
