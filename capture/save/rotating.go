package save

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"pcapctl/capture/request"
	"pcapctl/storage"
)

// heldSize is how many bytes of records wait in memory for the next file of a
// rotation, before the packet loop waits with them. Memory that is never written
// to takes no room.
const heldSize = 4<<20 - bufferSize

// rotating is the sink of a rotation. The packet loop fills one file. When
// that is full it says so and goes on into memory; two goroutines do the rest.
// The opener removes the oldest file and makes the next one, in this order, so
// that there are never more bytes than there may be. The finisher brings what is
// full safely to the disk.
//
// A file stays until it is finished. So when the disk cannot keep up, the
// opener waits for the finisher and the packet loop for the opener; packets
// wait in the kernel's ring, and those that find it full are counted.
type rotating struct {
	o Options

	// Of the packet loop.
	now     *rotated
	waiting bool  // the file that comes next is not there yet
	broken  error // it never will be

	fulls  chan Full
	ready  chan next
	finish chan *rotated
	wg     sync.WaitGroup

	mu     sync.Mutex
	list   []*rotated // the oldest first
	busy   []*rotated // that are to go, and another program keeps for itself
	failed error      // what the finisher could not do
	moved  bool       // the folder is not where it was, which has been told
}

// rotated is a file of a rotation.
type rotated struct {
	File
	file    file
	trailer Trailer
	away    *storage.Displaced // where it is in the end, if not where it was made
	done    chan struct{}      // closed when it is finished and may go
}

// next is the opener's answer.
type next struct {
	file *rotated
	err  error
}

// finishQueue is how many full files wait to be finished: open files, and no
// memory to speak of.
const finishQueue = 8

func newRotating(o Options) (*rotating, error) {
	r := &rotating{o: o, fulls: make(chan Full, 1), ready: make(chan next, 1), finish: make(chan *rotated, finishQueue)}
	var err error
	if r.now, err = r.open(1, 0, o.Header); err != nil {
		return nil, err
	}
	o.Counters.began(r.now.file.stored().Size())
	r.wg.Go(r.openFiles)
	r.wg.Go(func() {
		for f := range r.finish {
			r.complete(f)
		}
	})
	return r, nil
}

// openFiles makes room and the next file, again and again.
func (r *rotating) openFiles() {
	defer close(r.finish)
	for full := range r.fulls {
		last := r.fill(&full)
		if r.o.Files == 1 {
			r.finish <- last // it makes room itself
		}
		file, err := r.openNext(last, &full)
		r.ready <- next{file, err}
		if r.o.Files > 1 {
			// Not before: while a file is synced, a file system such as ext4
			// removes none.
			r.finish <- last
		}
	}
}

// open makes a file and puts it under guard. It appears with its header in it: a
// kill leaves no empty one.
func (r *rotating) open(sequence int, before uint64, header []byte) (*rotated, error) {
	f, err := r.o.Folder.Create(filepath.Base(request.RotatedPath(r.o.Path, sequence)))
	if err != nil {
		return nil, err
	}
	if err := r.o.Guard(f); err != nil {
		r.o.Events.Warn(Unguarded(err))
	}
	out, err := newFile(f, &r.o, header)
	if err == nil {
		err = f.Appear()
	}
	if err != nil {
		return nil, errors.Join(err, f.Discard())
	}
	t := &rotated{
		File: File{Sequence: sequence, Path: f.Path(), Started: time.Now(), Before: before, ID: f.ID()},
		file: out, done: make(chan struct{}),
	}
	r.mu.Lock()
	r.list = append(r.list, t)
	r.mu.Unlock()
	told := t.File
	told.Size = f.Size()
	r.o.Events.Begun(told, f.Open)
	return t, nil
}

// openNext makes room, and the file that comes after last.
func (r *rotating) openNext(last *rotated, full *Full) (*rotated, error) {
	// Before anything is given up for it. Nobody has a reason to have this name.
	path := request.RotatedPath(r.o.Path, last.Sequence+1)
	name := filepath.Base(path)
	if r.o.Folder.Has(name) {
		return nil, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist}
	}
	r.removeBusy()
	for len(r.list) >= r.o.Files { // only this goroutine changes it from here on
		oldest := r.list[0]
		<-oldest.done
		if err := r.failure(); err != nil {
			return nil, err
		}
		r.o.Events.Leaving(oldest.File)
		switch err := oldest.file.stored().Remove(); {
		case err == nil:
		case errors.Is(err, storage.ErrReplaced):
			r.o.Events.Warn(err.Error() + "; it was left alone")
		case storage.IsBusy(err):
			r.busy = append(r.busy, oldest)
			r.o.Events.Warn(fmt.Sprintf("%s is open in another program, and cannot be removed: it goes when that has closed it; until then the ring has more files than were asked for", oldest.Path))
		default:
			return nil, fmt.Errorf("remove the oldest file of the ring: %w", err)
		}
		r.mu.Lock()
		r.list = slices.Delete(r.list, 0, 1)
		r.mu.Unlock()
	}
	if err := r.failure(); err != nil {
		return nil, err
	}
	next, err := r.open(last.Sequence+1, full.Packets, full.Header)
	if err != nil {
		if d := r.o.Folder.Look(name); d != nil {
			err = d // the reason of it
		}
	}
	return next, err
}

// removeBusy removes what could not be removed before.
func (r *rotating) removeBusy() {
	r.busy = slices.DeleteFunc(r.busy, func(f *rotated) bool { return !storage.IsBusy(f.file.stored().Remove()) })
}

// fill notes what is in the file that was written last.
func (r *rotating) fill(full *Full) *rotated {
	r.mu.Lock()
	defer r.mu.Unlock()
	last := r.list[len(r.list)-1]
	last.Packets, last.trailer = full.Packets-last.Before, full.Trailer
	return last
}

// complete brings a file to its end.
func (r *rotating) complete(f *rotated) {
	defer close(f.done)
	losses := r.o.Losses()
	err := f.file.finish(f.trailer.Append(nil, &losses))
	// In weeks somebody else may have removed or changed one of the files; the
	// others go on. One that is not where it was made is an error in the end, if it
	// is one of those that are kept.
	away, displaced := errors.AsType[*storage.Displaced](err)
	if errors.Is(err, storage.ErrTampered) || displaced {
		if !displaced || !away.OfFolder() || !r.moved { // a folder is told once
			r.o.Events.Warn(err.Error())
		}
		err = nil
	}
	r.mu.Lock()
	if displaced {
		f.away, r.moved = away, r.moved || away.OfFolder()
		f.displaced(away)
		f.ID = f.file.stored().ID() // of the copy, if there is one
	}
	f.Size, f.Complete = f.file.stored().Size(), true
	if err != nil && r.failed == nil {
		r.failed = err
	}
	r.mu.Unlock()
	r.o.Events.Complete(f.File)
}

func (r *rotating) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}

// Buffer implements Sink.
func (*rotating) Buffer() []byte { return make([]byte, 0, heldSize+maxRecordSize) }

// Marks implements Sink: while the next file is being made there is some room in
// memory.
func (*rotating) Marks() (soft, hard int) { return bufferSize, heldSize }

// Ready implements Sink.
func (r *rotating) Ready() bool { return !r.waiting || len(r.ready) > 0 }

// Put implements Sink.
func (r *rotating) Put(c Chunk) ([]byte, error) {
	if err := r.await(); err != nil {
		r.o.Counters.lose(c, 0, r.o.Whole)
		return c.Buf[:0], err
	}
	return r.o.write(r.now.file, r.now.Sequence, c)
}

// await waits for the next file, if there is one to come.
func (r *rotating) await() error {
	if !r.waiting {
		return r.broken
	}
	n := <-r.ready
	r.waiting = false
	if n.err != nil {
		r.broken = n.err
		return n.err
	}
	r.now = n.file
	r.o.Counters.began(r.now.file.stored().Size())
	return nil
}

// Rotates implements Sink.
func (*rotating) Rotates() bool { return true }

// Rotate implements Sink. A file that has packets is there: Put has waited for it. One without, which ends by the clock,
// may have to be waited for; an error is told by the next Put, or in the end.
func (r *rotating) Rotate(f Full) {
	if r.await() != nil {
		return
	}
	r.fulls <- f // one at a time
	r.waiting = true
}

// Finish implements Sink.
func (r *rotating) Finish(f Full) error {
	err := r.await()
	close(r.fulls)
	r.wg.Wait()
	if last := r.list[len(r.list)-1]; !last.Complete { // else there is no next one
		last.Last = true
		r.complete(r.fill(&f))
	}
	r.removeBusy()
	for _, f := range r.busy {
		r.o.Events.Warn(fmt.Sprintf("%s could not be removed, as another program has it open: it is whole, and no more a file of this capture", f.Path))
	}
	r.relocate()
	return errors.Join(err, r.failure(), r.away())
}

// relocate says where the files are that were finished before their folder went
// away.
func (r *rotating) relocate() {
	dir, ok := r.o.Folder.Place()
	if ok && dir == r.o.Folder.Path() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, f := range r.list {
		name := filepath.Base(f.Path)
		switch {
		case f.away != nil: // it has been told
		case !ok:
			f.Unreachable = true
		case r.o.Folder.Has(name): // else it was moved, by a command for it, say
			f.Path = filepath.Join(dir, name)
		}
	}
}

// away is the error of files that are kept and are not where they were made.
func (r *rotating) away() error {
	var first *storage.Displaced
	n := 0
	for _, f := range r.list {
		if f.away != nil {
			first = cmp.Or(first, f.away)
			n++
		}
	}
	switch n {
	case 0:
		return nil
	case 1:
		return first
	}
	return fmt.Errorf("%w; so it is with %d of the %d files", first, n, len(r.list))
}

// Look implements Sink.
func (r *rotating) Look() *storage.Displaced {
	r.mu.Lock()
	var last *rotated
	if n := len(r.list); n > 0 {
		last = r.list[n-1]
	}
	r.mu.Unlock()
	if last == nil { // the only one has gone, and the next is being made
		return nil
	}
	return last.file.stored().Look()
}

// Discard implements Sink.
func (r *rotating) Discard() {
	close(r.fulls)
	r.wg.Wait()
	for _, f := range r.list {
		_ = f.file.stored().Discard()
	}
}

// Files implements Sink. The size of the file that is being written is not known
// here.
func (r *rotating) Files() []File {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]File, len(r.list))
	for i, f := range r.list {
		list[i] = f.File
	}
	return list
}

// Remove implements Sink.
func (r *rotating) Remove(f File) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range r.list {
		if t.Sequence == f.Sequence {
			return t.file.stored().Remove()
		}
	}
	return fs.ErrNotExist
}

// Where implements Sink.
func (r *rotating) Where() string { return "the files " + r.o.Path + " was split into" }
