package save

import (
	"errors"
	"sync"
	"sync/atomic"
)

// besideBuffers is how many buffers go round between the packet loop and the
// goroutine that writes. When all are on their way, the loop waits, and packets
// wait in the kernel's ring.
const besideBuffers = 12

// beside is a sink that does the work of another one in a goroutine of its own,
// as compressing takes longer than the packet loop may.
type beside struct {
	Sink
	o      *Options
	jobs   chan job
	free   chan []byte
	wg     sync.WaitGroup
	failed atomic.Pointer[error]
}

// job is a chunk to be put, or the end of a file.
type job struct {
	chunk  Chunk
	rotate *Full
}

func newBeside(inner Sink, o Options) *beside {
	b := &beside{Sink: inner, o: &o, jobs: make(chan job, besideBuffers), free: make(chan []byte, besideBuffers)}
	for range besideBuffers - 1 { // one is the recorder's
		b.free <- b.Buffer()
	}
	b.wg.Go(func() {
		for j := range b.jobs {
			if j.rotate != nil {
				b.rotate(j.rotate)
				continue
			}
			b.put(j.chunk)
			b.free <- j.chunk.Buf[:0]
		}
	})
	return b
}

func (b *beside) put(c Chunk) {
	err := b.failure()
	if err != nil {
		b.o.Counters.lose(c, 0, b.o.Whole)
		return
	}
	if _, err = b.Sink.Put(c); err != nil && !errors.Is(err, ErrSpent) { // the packet loop sees for itself that the reserve is reached
		b.failed.Store(&err)
	}
}

func (b *beside) rotate(f *Full) {
	if b.failure() == nil {
		b.Sink.Rotate(*f)
	}
}

func (b *beside) failure() error {
	if err := b.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// Buffer implements Sink.
func (*beside) Buffer() []byte { return make([]byte, 0, bufferSize+maxRecordSize) }

// Marks implements Sink.
func (*beside) Marks() (soft, hard int) { return bufferSize, bufferSize }

// Ready implements Sink.
func (*beside) Ready() bool { return true }

// Put implements Sink. It hands the chunk over.
func (b *beside) Put(c Chunk) ([]byte, error) {
	if err := b.failure(); err != nil {
		b.o.Counters.lose(c, 0, b.o.Whole)
		return c.Buf[:0], err
	}
	if len(c.Buf) == 0 {
		return c.Buf, nil
	}
	b.jobs <- job{chunk: c}
	buf := <-b.free
	if b.o.Reserve.Spent() {
		return buf, ErrSpent
	}
	return buf, nil
}

// Rotate implements Sink.
func (b *beside) Rotate(f Full) { b.jobs <- job{rotate: &f} }

// Finish implements Sink.
func (b *beside) Finish(f Full) error {
	close(b.jobs)
	b.wg.Wait()
	err := b.Sink.Finish(f)
	if failed := b.failure(); failed != nil {
		return failed
	}
	return err
}

// Discard implements Sink.
func (b *beside) Discard() {
	close(b.jobs)
	b.wg.Wait()
	b.Sink.Discard()
}
