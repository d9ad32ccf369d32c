package capture

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"sync"
	"time"

	"pcapctl/capture/request"
	"pcapctl/storage"
)

// RingFile is one file of a ring.
type RingFile struct {
	Sequence int // from 1 on, never used twice in a session
	Path     string
	Started  time.Time
	Before   uint64 // packets that the session had recorded before it
	Packets  uint64
	Size     int64 // bytes; 0 while it is being written
	Complete bool
}

// rotation keeps the files of a ring. The packet loop fills one file. When that
// is full it says so and goes on into memory; two goroutines do the rest. The
// opener removes the oldest file and makes the next one, in this order, so that
// the ring never holds more bytes than it may. The finisher brings what is full
// safely to the disk.
//
// A file stays until it is finished. So when the disk cannot keep up, the
// opener waits for the finisher and the packet loop for the opener; packets
// wait in the kernel's ring, and those that find it full are counted.
type rotation struct {
	folder   string
	compress string
	first    string
	count    int
	guard    storage.Protector
	watcher  Watcher
	warn     func(string)
	sends    *ringUpload            // nil for a ring that stays on this machine
	trailer  func(*ringFile) []byte // what stands at the end of a file; nil for nothing
	onFile   func(*ringFile)        // when a file is finished

	turns  chan fullFile
	ready  chan nextFile
	finish chan *ringFile
	wg     sync.WaitGroup

	mu     sync.Mutex
	ring   []*ringFile // the oldest first
	failed error       // what the finisher could not do
}

// ringFile is a file in the ring.
type ringFile struct {
	RingFile
	file *outFile
	end  ngEnd
	blob *ringBlob     // of a ring that is sent to a storage account
	last bool          // the session ended with it
	done chan struct{} // closed when it is finished and may go
}

// fullFile is what the packet loop says of a file that is full, and what the
// next one begins with.
type fullFile struct {
	packets uint64 // recorded by the session so far
	end     ngEnd
	header  []byte
}

// nextFile is the answer.
type nextFile struct {
	file *outFile
	err  error
}

// finishQueue is how many full files wait to be finished: open files, and no
// memory to speak of.
const finishQueue = 8

func newRotation(p *Plan, guard storage.Protector, watcher Watcher) *rotation {
	folder, first := p.File()
	return &rotation{
		folder: folder, compress: p.Config.Compress, first: first, count: p.Config.Continuous.FileCount, guard: guard, watcher: watcher,
		turns: make(chan fullFile, 1), ready: make(chan nextFile, 1), finish: make(chan *ringFile, finishQueue),
	}
}

// begin makes the first file, with its header.
func (o *rotation) begin(header []byte) (*outFile, error) {
	return o.open(1, 0, header)
}

// run starts to turn the ring.
func (o *rotation) run() {
	o.wg.Go(func() {
		defer close(o.finish)
		for full := range o.turns {
			last := o.fill(&full)
			if o.count == 1 {
				o.finish <- last // it makes room itself
			}
			file, err := o.turn(last, &full)
			o.ready <- nextFile{file, err}
			if o.count > 1 {
				// Not before: while a file is synced, a file system such as ext4
				// removes none.
				o.finish <- last
			}
		}
	})
	o.wg.Go(func() {
		for f := range o.finish {
			o.complete(f)
		}
	})
}

// open makes a file of the ring and puts it under guard.
func (o *rotation) open(sequence int, before uint64, header []byte) (*outFile, error) {
	file, err := storage.CreateHidden(o.folder, request.RingPath(o.first, sequence))
	if err != nil {
		return nil, err
	}
	if err := o.guard.Protect(file); err != nil {
		o.warn(unguarded(err))
	}
	out, err := newOutFile(file, o.compress)
	if err == nil {
		_, err = out.Write(header)
	}
	if err == nil {
		err = file.Appear()
	}
	if err != nil {
		return nil, errors.Join(err, file.Discard())
	}
	f := &ringFile{
		RingFile: RingFile{Sequence: sequence, Path: file.Path(), Started: time.Now(), Before: before},
		file:     out, done: make(chan struct{}),
	}
	o.mu.Lock()
	o.ring = append(o.ring, f)
	o.mu.Unlock()
	if o.sends != nil {
		o.sends.add(f)
	}
	o.tell(f)
	return out, nil
}

func (o *rotation) tell(f *ringFile) {
	if o.watcher != nil {
		o.watcher.File(f.RingFile)
	}
}

// turn makes room and the file that comes after last.
func (o *rotation) turn(last *ringFile, full *fullFile) (*outFile, error) {
	// Before anything is given up for it. Nobody has a reason to have this name.
	next := request.RingPath(o.first, last.Sequence+1)
	if _, err := os.Lstat(next); err == nil {
		return nil, &fs.PathError{Op: "create", Path: next, Err: fs.ErrExist}
	}
	for len(o.ring) >= o.count { // only this goroutine changes it from here on
		oldest := o.ring[0]
		<-oldest.done
		if err := o.failure(); err != nil {
			return nil, err
		}
		if o.sends != nil {
			o.sends.remove(oldest)
		}
		if err := oldest.file.Remove(o.folder); errors.Is(err, storage.ErrReplaced) {
			o.warn(err.Error() + "; it was left alone")
		} else if err != nil {
			return nil, fmt.Errorf("remove the oldest file of the ring: %w", err)
		}
		o.mu.Lock()
		o.ring = slices.Delete(o.ring, 0, 1)
		o.mu.Unlock()
	}
	if err := o.failure(); err != nil {
		return nil, err
	}
	return o.open(last.Sequence+1, full.packets, full.header)
}

// fill notes what is in the file that was written last.
func (o *rotation) fill(full *fullFile) *ringFile {
	o.mu.Lock()
	defer o.mu.Unlock()
	last := o.ring[len(o.ring)-1]
	last.Packets, last.end = full.packets-last.Before, full.end
	return last
}

// complete brings a file to its end.
func (o *rotation) complete(f *ringFile) {
	defer close(f.done)
	var err error
	f.file.pending.Wait()
	if o.trailer != nil && !f.file.broken {
		_, err = f.file.Write(o.trailer(f))
	}
	ferr := f.file.Finish()
	if errors.Is(ferr, storage.ErrTampered) {
		// Whoever keeps a ring for weeks may lose one file of it to a tidy
		// neighbour; the others go on.
		o.warn(ferr.Error())
		ferr = nil
	}
	err = errors.Join(err, ferr)
	o.mu.Lock()
	f.Size, f.Complete = f.file.Size(), true
	if err != nil && o.failed == nil {
		o.failed = err
	}
	o.mu.Unlock()
	o.tell(f)
	o.onFile(f)
}

func (o *rotation) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failed
}

// end finishes all files, the one that was written last as full says. No turn
// may be under way.
func (o *rotation) end(full *fullFile) error {
	close(o.turns)
	o.wg.Wait()
	if last := o.ring[len(o.ring)-1]; !last.Complete { // else there is no next one
		last.last = true
		o.complete(o.fill(full))
	}
	return o.failure()
}

// discard takes away the file of a session that never began.
func (o *rotation) discard() {
	for _, f := range o.ring {
		_ = f.file.Discard()
	}
}

// files are those in the ring, the oldest first. The size of the one that is
// being written is not known here.
func (o *rotation) files() []RingFile {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := make([]RingFile, len(o.ring))
	for i, f := range o.ring {
		list[i] = f.RingFile
	}
	return list
}
