package save

import (
	"errors"
	"path/filepath"
	"time"

	"pcapctl/storage"
)

// single is the sink of a session with one file.
type single struct {
	o    Options
	file file
	told File
}

func newSingle(o Options) (*single, error) {
	f, err := o.Folder.Create(filepath.Base(o.Path))
	if err != nil {
		return nil, err
	}
	if err := o.Guard(f); err != nil {
		o.Events.Warn(Unguarded(err))
	}
	s := &single{o: o, told: File{Path: f.Path(), Started: time.Now(), ID: f.ID()}}
	// It appears with its header in it: a kill leaves no empty one, that has the name.
	if s.file, err = newFile(f, &o, o.Header); err == nil {
		err = f.Appear()
	}
	if err != nil {
		return nil, errors.Join(err, f.Discard())
	}
	o.Counters.began(f.Size())
	s.told.Size = f.Size()
	o.Events.Begun(s.told, f.Open)
	return s, nil
}

// Buffer implements Sink.
func (*single) Buffer() []byte { return make([]byte, 0, bufferSize+maxRecordSize) }

// Marks implements Sink.
func (*single) Marks() (soft, hard int) { return bufferSize, bufferSize }

// Ready implements Sink.
func (*single) Ready() bool { return true }

// Rotates implements Sink.
func (*single) Rotates() bool { return false }

// Rotate implements Sink. Nobody calls it.
func (*single) Rotate(Full) {}

// Put implements Sink.
func (s *single) Put(c Chunk) ([]byte, error) { return s.o.write(s.file, 0, c) }

// write writes a chunk to a file, counts it, and tells how far the file is good.
func (o *Options) write(f file, sequence int, c Chunk) ([]byte, error) {
	if len(c.Buf) == 0 {
		return c.Buf, nil
	}
	buf := c.Buf
	room := o.Reserve.room(o.Counters.total.Load(), int64(len(buf)))
	if room < int64(len(buf)) {
		_, _, fit := o.Whole(buf[:room])
		o.Counters.cut(c, fit, o.Whole)
		buf = buf[:fit]
	}
	before := f.stored().Size()
	kept, err := f.write(buf)
	if err != nil {
		o.Counters.lose(Chunk{Buf: buf}, kept, o.Whole)
	}
	size := f.stored().Size()
	o.Counters.wrote(c, size, size-before)
	o.Events.Grew(sequence, size)
	if err == nil && o.Reserve.Spent() {
		err = ErrSpent
	}
	return c.Buf[:0], err
}

// Finish implements Sink.
func (s *single) Finish(f Full) error {
	losses := s.o.Losses()
	err := s.file.finish(f.Trailer.Append(nil, &losses))
	if d, ok := errors.AsType[*storage.Displaced](err); ok {
		s.told.displaced(d)
		s.told.ID = s.file.stored().ID() // of the copy, if there is one
		if d.Lost() {
			s.o.Counters.loseAll()
			f.Packets = 0
		}
	}
	s.o.Counters.writtenSize.Store(s.file.stored().Size())
	s.told.Size, s.told.Packets, s.told.Complete, s.told.Last = s.file.stored().Size(), f.Packets, true, true
	s.o.Events.Complete(s.told)
	return err
}

// displaced says where the file is.
func (f *File) displaced(d *storage.Displaced) {
	if place := d.Place(); place != "" {
		f.Path = place
	} else {
		f.Unreachable = true
	}
}

// Look implements Sink.
func (s *single) Look() *storage.Displaced { return s.file.stored().Look() }

// Discard implements Sink.
func (s *single) Discard() { _ = s.file.stored().Discard() }

// Files implements Sink.
func (s *single) Files() []File { return []File{s.told} }

// Remove implements Sink.
func (s *single) Remove(File) error { return s.file.stored().Remove() }

// Where implements Sink.
func (s *single) Where() string { return s.told.Path }
