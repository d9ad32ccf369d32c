package capture

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"pcapctl/capture/request"
	"pcapctl/storage"
)

// outFile is a capture file, which may be compressed on its way to the disk. It
// belongs to one goroutine after the other: who makes it, the packet loop or
// the packer, and who finishes it.
type outFile struct {
	*storage.File
	coder   coder          // nil for a file that is not compressed
	pending sync.WaitGroup // what the packer has still to write
	written atomic.Int64   // Size, for others
	out     []byte
	broken  bool // something is missing, and what would follow cannot be read
}

// coder compresses a file piece by piece.
type coder interface {
	// encode appends a piece, which can be read when all up to it is there. It
	// does not keep it.
	encode(out, piece []byte) ([]byte, error)
	// end appends what ends the file.
	end(out []byte) ([]byte, error)
}

func newOutFile(f *storage.File, compress string) (*outFile, error) {
	o := &outFile{File: f}
	var err error
	switch compress {
	case request.CompressGzip:
		o.coder, err = newGzipCoder()
	case request.CompressZstd:
		o.coder, err = newZstdCoder()
	}
	return o, err
}

// Write appends p. Of a compressed file all of it is written or nothing.
func (f *outFile) Write(p []byte) (n int, err error) {
	defer func() { f.written.Store(f.Size()) }()
	if f.coder == nil {
		return f.File.Write(p)
	}
	if f.out, err = f.coder.encode(f.out[:0], p); err != nil {
		return 0, err
	}
	if err := f.put(f.out); err != nil {
		return 0, err
	}
	return len(p), nil
}

func (f *outFile) put(out []byte) error {
	if f.broken {
		return fmt.Errorf("write %s: %w", f.Path(), errBroken)
	}
	before := f.Size()
	if _, err := f.File.Write(out); err != nil {
		f.broken = true
		return errors.Join(err, f.Cut(before))
	}
	return nil
}

var errBroken = errors.New("an earlier piece of it is missing")

// Finish ends the file and brings it safely to the disk.
func (f *outFile) Finish() error {
	f.pending.Wait()
	var err error
	if f.coder != nil && !f.broken {
		if f.out, err = f.coder.end(f.out[:0]); err == nil && len(f.out) > 0 {
			err = f.put(f.out)
		}
	}
	return errors.Join(err, f.File.Finish())
}

// gzipCoder makes a gzip member of each piece: a file of several is one for all
// readers (RFC 1952, section 2.2), and one that was cut behind a member is good.
type gzipCoder struct {
	w   *gzip.Writer
	out bytes.Buffer
}

func newGzipCoder() (coder, error) {
	w, err := gzip.NewWriterLevel(nil, gzip.BestSpeed)
	return &gzipCoder{w: w}, err
}

func (c *gzipCoder) encode(out, piece []byte) ([]byte, error) {
	c.out = *bytes.NewBuffer(out)
	c.w.Reset(&c.out)
	if _, err := c.w.Write(piece); err != nil {
		return out, err
	}
	err := c.w.Close()
	return c.out.Bytes(), err
}

func (*gzipCoder) end(out []byte) ([]byte, error) { return out, nil }

// zstdCoder makes one frame of the whole file, of which each piece is flushed.
// A frame for each piece would be good also when the file is cut, but Wireshark
// 4.0 loses its way at the second frame of a file.
type zstdCoder struct {
	w   *zstd.Encoder
	out bytes.Buffer
}

func newZstdCoder() (coder, error) {
	c := &zstdCoder{}
	// The packer is a goroutine already; more would only take processors from
	// those whose packets are captured.
	w, err := zstd.NewWriter(&c.out, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(zstdWindow))
	c.w = w
	return c, err
}

// zstdWindow is as far as packets are alike; a larger one would cost memory.
const zstdWindow = 1 << 20

func (c *zstdCoder) encode(out, piece []byte) ([]byte, error) {
	c.out = *bytes.NewBuffer(out)
	if _, err := c.w.Write(piece); err != nil {
		return out, err
	}
	err := c.w.Flush()
	return c.out.Bytes(), err
}

func (c *zstdCoder) end(out []byte) ([]byte, error) {
	c.out = *bytes.NewBuffer(out)
	err := c.w.Close()
	return c.out.Bytes(), err
}

// packBuffers is how many buffers go round between the packet loop and the
// packer. When all are on their way, the loop waits, and packets wait in the
// kernel's ring.
const packBuffers = 12

// packer compresses and writes beside the packet loop.
type packer struct {
	r      *recorder
	jobs   chan packJob
	free   chan []byte
	wg     sync.WaitGroup
	failed atomic.Pointer[error]
}

// packJob is a buffer of whole records.
type packJob struct {
	buf            []byte
	file           *outFile
	packets, bytes uint64 // recorded by the session up to here
}

// startPacking makes the recorder write through a packer, which compresses.
func (r *recorder) startPacking() {
	p := &packer{r: r, jobs: make(chan packJob, packBuffers), free: make(chan []byte, packBuffers)}
	for range packBuffers - 1 { // one is the recorder's
		p.free <- make([]byte, 0, bufferSize+maxRecordSize)
	}
	p.wg.Go(func() {
		for j := range p.jobs {
			p.do(&j)
			j.file.pending.Done()
			p.free <- j.buf
		}
	})
	r.packer = p
}

func (p *packer) do(j *packJob) {
	r := p.r
	before, err := j.file.Size(), p.failure()
	if err == nil {
		_, err = j.file.Write(j.buf)
	}
	if err != nil {
		packets, data, _ := r.whole(j.buf)
		r.lost.Add(uint64(packets))
		r.lostBytes.Add(uint64(data))
		p.failed.CompareAndSwap(nil, &err)
	}
	r.writtenPackets.Store(j.packets - r.lost.Load())
	r.writtenBytes.Store(j.bytes - r.lostBytes.Load())
	r.writtenSize.Store(j.file.Size())
	_ = r.reserve.wrote(r.total.Add(j.file.Size() - before)) // the packet loop sees that it is spent
}

func (p *packer) failure() error {
	if err := p.failed.Load(); err != nil {
		return *err
	}
	return nil
}

// hand gives the buffer to the packer and takes an empty one.
func (r *recorder) hand() error {
	if err := r.packer.failure(); err != nil {
		return r.loseAll(err)
	}
	r.file.pending.Add(1)
	r.packer.jobs <- packJob{r.buf, r.file, r.all.packets, r.all.bytes}
	r.buf = (<-r.packer.free)[:0]
	if r.reserve != nil && r.reserve.spent.Load() {
		return errSpent
	}
	return nil
}

// endPacking waits until all is written. It may be called again.
func (r *recorder) endPacking() error {
	if r.packer == nil {
		return nil
	}
	p := r.packer
	r.packer = nil
	close(p.jobs)
	p.wg.Wait()
	return p.failure()
}

// mostBytes is how many bytes of the disk a file may take, 0 for no limit.
// Content that cannot be compressed takes a little more than it has.
func mostBytes(c *request.Config) int64 {
	if c.Compress == request.CompressNone {
		return c.MaxBytes
	}
	return c.MaxBytes + c.MaxBytes/100
}
