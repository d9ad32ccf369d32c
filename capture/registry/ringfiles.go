package registry

import (
	"encoding/binary"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/request"
	"pcapctl/storage"
)

// What is in a ring of files is told in a file of its own, with one place for
// each file that the ring can hold. A file's place is its number modulo their
// count, so that the file that comes takes the place of the one that has gone,
// and to tell of a file is one small write, however many there are. A place
// lies within a page and so is written whole or not at all.

const (
	placeSize  = 128
	placeWords = 9
)

// place is what is known of a file of a ring.
type place struct {
	capture.RingFile
	id storage.FileID
}

func (p *place) encode() []byte {
	b := make([]byte, 0, placeSize)
	complete := uint64(0)
	if p.Complete {
		complete = 1
	}
	for _, w := range [placeWords]uint64{
		uint64(p.Sequence), uint64(p.Started.UnixNano()), p.Before, p.Packets, uint64(p.Size), complete,
		p.id.Device, p.id.Inode, uint64(p.id.Birth),
	} {
		b = binary.NativeEndian.AppendUint64(b, w)
	}
	return b
}

func decodePlace(b []byte, first string) (p place, ok bool) {
	word := func(i int) uint64 { return binary.NativeEndian.Uint64(b[8*i:]) }
	if word(0) == 0 || word(0) > 1<<40 {
		return p, false
	}
	p.Sequence, p.Started = int(word(0)), time.Unix(0, int64(word(1)))
	p.Path = request.RingPath(first, p.Sequence)
	p.Before, p.Packets, p.Size, p.Complete = word(2), word(3), int64(word(4)), word(5) != 0
	p.id = storage.FileID{Device: word(6), Inode: word(7), Birth: int64(word(8))}
	return p, true
}

// ringCount is how many files the ring of a session can hold, 0 when it has
// none.
func ringCount(rec *Record) int64 {
	p := rec.Resource.Properties
	if p.ContinuousCapture == nil || !*p.ContinuousCapture || p.CaptureSettings == nil || p.CaptureSettings.FileCount == nil {
		return 0
	}
	return *p.CaptureSettings.FileCount
}

func (c *Claim) prepareRing() (err error) {
	n := ringCount(&c.rec)
	if n == 0 {
		return nil
	}
	if c.ring, err = c.create(ringName, 0); err != nil {
		return err
	}
	return allocate(c.ring, n*placeSize)
}

// File is capture.Watcher's.
func (c *Claim) File(f capture.RingFile) {
	if c == nil || c.ring == nil {
		return
	}
	p := place{RingFile: f}
	p.id, _ = storage.IdentifyPath(f.Path) // without it the file is left as its guard leaves it
	// A state folder that fails loses the list, and not the capture.
	_, _ = c.ring.WriteAt(p.encode(), int64(f.Sequence-1)%ringCount(&c.rec)*placeSize)
}

// places are the files of a ring, the oldest first.
func (f *folder) places(rec *Record) []place {
	count, paths := ringCount(rec), rec.files()
	if count <= 0 || len(paths) == 0 {
		return nil
	}
	file, err := f.file(ringName, os.O_RDONLY)
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, count*placeSize))
	if err != nil {
		return nil
	}
	var list []place
	for b := range slices.Chunk(text, placeSize) {
		if len(b) < placeSize {
			break
		}
		if p, ok := decodePlace(b, paths[0]); ok {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b place) int { return a.Sequence - b.Sequence })
	return list
}

// results are the files as statistics have them. Of the one that is being
// written the counters tell more than its place.
func results(list []place, now capture.Written) []capture.FileResult {
	files := make([]capture.FileResult, 0, len(list))
	for i, p := range list {
		if !p.Complete && i == len(list)-1 {
			p.Size, p.Packets = now.Size, now.Packets-min(now.Packets, p.Before)
		}
		files = append(files, p.Result())
	}
	return files
}

// settleRing brings the files of a ring in order whose process was killed, and
// tells what is in them. final is false when somebody has one of them still.
func settleRing(list []place, now capture.Written) (files []capture.FileResult, packets uint64, final bool) {
	final = true
	for _, p := range list {
		if _, err := os.Lstat(p.Path); errors.Is(err, fs.ErrNotExist) {
			continue // it left the ring, or was taken away since
		}
		if !p.Complete {
			kept, done := mend(p.Path, p.id, capture.Written{})
			p.Packets, p.Size = kept.Packets, kept.Size
			if kept.Packets == 0 && p.Sequence == list[len(list)-1].Sequence {
				p.Packets = now.Packets - min(now.Packets, p.Before) // compressed: as far as it was told
			}
			final = final && done
		}
		packets = p.Before + p.Packets
		files = append(files, p.Result())
	}
	return files, packets, final
}
