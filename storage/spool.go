package storage

import (
	"errors"
	"os"
	"sync"
	"sync/atomic"
)

// spoolHead is how many bytes of the start of a spool are never given back. They
// distinguish the file from others. It is a multiple of the block size of every file
// system, so that what is given back begins exactly behind it.
const spoolHead = 64 << 10

// Spool is the file of a capture that goes to a blob only: a second way to a
// File, from which it is read while it grows. What has been sent can be given
// back to the disk, which leaves a hole in the file and its size as it is.
//
// Where the hole ends is the only state there is, and it can be read from the file (Given), so that it is right whatever
// happened.
//
// It is safe for concurrent use.
type Spool struct {
	f     *os.File
	keep  int64
	given atomic.Int64
	mu    sync.Mutex // one Release at a time
	off   bool       // the file system makes no holes
}

// NewSpool makes the spool of a file of which nothing has been given back, which it reads and writes through f and closes.
// keep is how many bytes it may hold on the disk although they have been sent; what is more is given back, and also what
// would leave less free space than the file takes. Whatever is kept can be sent again if the service loses it.
func NewSpool(f *os.File, keep int64) *Spool { return &Spool{f: f, keep: keep} }

// Given is how far, in bytes, the spool f has been given back, as Spool.Given; 0
// for a file that has no hole where a spool has one.
func Given(f *os.File) (int64, error) { return holeEnd(f, spoolHead) }

// ReadAt is io.ReaderAt.
func (s *Spool) ReadAt(p []byte, off int64) (int, error) { return s.f.ReadAt(p, off) }

// Given is the offset before which all but the start of the file has been given
// back and reads as zeros; 0 when nothing has.
func (s *Spool) Given() int64 { return s.given.Load() }

// Size is the size of the file in bytes, with what has been given back.
func (s *Spool) Size() (int64, error) {
	st, err := s.f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// Release says that all before the offset sent is stored elsewhere, and gives
// back of it what may not be kept. It succeeds on a file system that does not
// support holes: the file then keeps its space.
func (s *Spool) Release(sent int64) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	size, err := s.Size()
	if err != nil || s.off {
		return err
	}
	keep := s.keep
	if free, _, ok := space(s.f); ok {
		keep = min(keep, free)
	}
	from := max(s.given.Load(), spoolHead)
	to := min(sent, size-keep) / spoolHead * spoolHead
	if to <= from {
		return nil
	}
	// The hole must be known before it is there: a reader that asks meanwhile
	// must not take its zeros for packets.
	before := s.given.Swap(to)
	err = punch(s.f, from, to-from)
	if err != nil {
		s.given.Store(before)
	}
	if errors.Is(err, errors.ErrUnsupported) {
		s.off, err = true, nil
	}
	return err
}

// Close closes the file.
func (s *Spool) Close() error { return s.f.Close() }
