package registry

import (
	"encoding/binary"
	"io"
	"os"
	"slices"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/request"
	"pcapctl/capture/save"
	"pcapctl/storage"
)

// A session that rotates has a file that tells of its capture files, with one
// slot for each file that the rotation keeps at a time. A file's slot is its
// number modulo their count, so that a new file takes the slot of the one that
// is removed for it, and to tell of a file is one small write, however many
// there are. A slot lies within a page of memory, so that it is written
// completely or not at all.

const (
	slotSize  = 128
	slotWords = 9 // the rest of a slot is zero
)

// rotatedFile is what is known of one file of a rotation.
type rotatedFile struct {
	save.File
	id storage.FileID // zero when it could not be told
}

func (r *rotatedFile) encode() []byte {
	b := make([]byte, 0, slotSize)
	complete := uint64(0)
	if r.Complete {
		complete = 1
	}
	for _, w := range [slotWords]uint64{
		uint64(r.Sequence), uint64(r.Started.UnixNano()), r.Before, r.Packets, uint64(r.Size), complete,
		r.id.Device, r.id.Inode, uint64(r.id.Birth),
	} {
		b = binary.NativeEndian.AppendUint64(b, w)
	}
	return b
}

// decodeSlot reads a slot of any bytes; first is the path of the first file of
// the rotation. It is false for a slot without a file. Otherwise the number of
// the file is positive, and its size and time are not negative.
func decodeSlot(b []byte, first string) (r rotatedFile, ok bool) {
	word := func(i int) uint64 { return binary.NativeEndian.Uint64(b[8*i:]) }
	const most = 1 << 40 // more files than any session can have
	if word(0) == 0 || word(0) > most {
		return r, false
	}
	r.Sequence, r.Started = int(word(0)), time.Unix(0, notNegative(word(1)))
	r.Path = request.RotatedPath(first, r.Sequence)
	r.Before, r.Packets, r.Size, r.Complete = word(2), word(3), notNegative(word(4)), word(5) != 0
	r.id = storage.FileID{Device: word(6), Inode: word(7), Birth: int64(word(8))}
	return r, true
}

// rotationCount is how many files the rotation of a session keeps, 0 for a
// session without one.
func rotationCount(rec *Record) int64 {
	p := rec.Resource.Properties
	if p.ContinuousCapture == nil || !*p.ContinuousCapture || p.CaptureSettings == nil || p.CaptureSettings.FileCount == nil {
		return 0
	}
	return *p.CaptureSettings.FileCount
}

// fileNotes is where a claim notes the files that its session begins and
// completes.
type fileNotes interface {
	note(save.File)
}

// noFileNotes is for a session of one file, whose path is in the record.
type noFileNotes struct{}

func (noFileNotes) note(save.File) {}

// rotationNotes are the slots of a rotation.
type rotationNotes struct {
	file  *os.File
	count int64 // slots, at least 1
}

func (n rotationNotes) note(f save.File) {
	r := rotatedFile{File: f, id: f.ID} // without it a lost file is not repaired
	// When the state folder fails the list is lost, and the capture goes on.
	_, _ = n.file.WriteAt(r.encode(), int64(f.Sequence-1)%n.count*slotSize)
}

// rotatedFiles are the files of a rotation, the oldest first; nil for a session
// without one, or when they cannot be read.
func (f *folder) rotatedFiles(rec *Record) []rotatedFile {
	count, paths := rotationCount(rec), rec.files()
	if count <= 0 || len(paths) == 0 {
		return nil
	}
	file, err := f.file(rotationName, os.O_RDONLY, maxSlots)
	if err != nil {
		return nil
	}
	defer func() { _ = file.Close() }()
	text, err := io.ReadAll(io.LimitReader(file, min(count, maxSlots/slotSize)*slotSize))
	if err != nil {
		return nil
	}
	var list []rotatedFile
	for b := range slices.Chunk(text, slotSize) {
		if len(b) < slotSize {
			break
		}
		if r, ok := decodeSlot(b, paths[0]); ok {
			list = append(list, r)
		}
	}
	slices.SortFunc(list, func(a, b rotatedFile) int { return a.Sequence - b.Sequence })
	return list
}

// results are the files as statistics have them. Of the one that is being
// written the counters of the session tell more than its slot.
func results(list []rotatedFile, now save.Written) []capture.FileResult {
	files := make([]capture.FileResult, 0, len(list))
	for i, r := range list {
		if !r.Complete && i == len(list)-1 {
			r.Size, r.Packets = now.Size, now.Packets-min(now.Packets, r.Before)
		}
		files = append(files, capture.FileResultOf(r.File))
	}
	return files
}
