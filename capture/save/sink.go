package save

import (
	"errors"
	"fmt"
	"os"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/request"
	"pcapctl/storage"
)

// bufferSize is how many bytes of records are held before they are written.
// One write of 256 KiB costs little more than one of 4 KiB, and more would
// only take memory.
const bufferSize = 256 << 10

// Chunk is a buffer of whole records on its way to a file.
type Chunk struct {
	Buf            []byte
	Packets, Bytes uint64 // recorded by the session up to its end
}

// Full is what there is to say of a file that takes no more packets.
type Full struct {
	Packets uint64  // recorded by the session so far, and not lost
	Trailer Trailer // what the file ends with
	Header  []byte  // what the next file begins with
}

// Sink brings records into one file, or into one file after the other.
//
// One goroutine calls its methods: Buffer, then Put, Ready and Rotate again and
// again, then Finish; or Discard at any time before. Files may be called from
// others. Whatever a sink could not write it has counted as lost, and its files
// end behind a whole record.
type Sink interface {
	// Buffer is the first buffer to be filled.
	Buffer() []byte
	// Marks tell after how many bytes of records a buffer is given to Put: soft
	// when that need not wait (Ready), and hard whether it does or not.
	Marks() (soft, hard int)
	// Put writes a chunk and gives an empty buffer for the next one. The error is
	// ErrSpent when the disk reserve is reached: what has no room any more is not
	// written, and counted as late. Else it is one of the disk, also of an earlier
	// chunk.
	Put(c Chunk) ([]byte, error)
	// Ready reports whether Put would write now, and not wait until there is a file
	// to write to.
	Ready() bool
	// Rotates reports whether the sink goes on to another file when one is full.
	// Else its byte limit ends the capture.
	Rotates() bool
	// Rotate ends the file, all of which was put, and begins the next.
	Rotate(f Full)
	// Look tells what has become of the file that is being written, when it is not
	// where it was made; else nil. It may be called from another goroutine.
	Look() *storage.Displaced
	// Finish brings everything safely to the disk. Only when it returns nil are
	// the files complete, and where they were made. What Files tells after that is
	// where they are.
	Finish(f Full) error
	// Discard takes away what there is of a session that never began.
	Discard()
	// Files are what was written and not taken away again, the oldest first. The
	// sizes of those that are being written are not told.
	Files() []File
	// Remove takes one of the files away when all are complete, unless another has
	// come to stand in its place.
	Remove(f File) error
	// Where names the files for people.
	Where() string
}

// File is a capture file of a session.
type File struct {
	Sequence int // of a rotation, from 1 on and never used twice; 0 for the one file of a session
	Path     string
	Started  time.Time
	Before   uint64 // packets that the session had recorded before it
	Packets  uint64
	Size     int64 // bytes; 0 while it is being written
	Complete bool
	Last     bool // the session ended with it
	// Unreachable says that no path leads to it any more: Path is where it was made.
	Unreachable bool
	ID          storage.FileID // tells it from whatever else has its name
}

// Events are told of the files of a sink. Each is called from one goroutine at a
// time; those of one file come in this order.
type Events interface {
	// Begun is called when a file is there, with its header, of which Size tells
	// the length. open opens it a second time, to be read back by ReadAt: the very
	// file, and not what its path leads to by then (see storage.File.Open).
	Begun(f File, open func() (*os.File, error))
	// Grew is called when a file is good up to size bytes. It must not wait.
	Grew(sequence int, size int64)
	// Complete is called when a file is safely on the disk.
	Complete(f File)
	// Leaving is called before a file is taken away. When it returns, nobody reads
	// the file any more.
	Leaving(f File)
	// Warn tells of trouble that does no harm to the packets.
	Warn(text string)
}

// Options are what a sink needs.
type Options struct {
	Folder   *storage.Folder // that all files lie in
	Path     string          // of the only file, or of the first of a rotation
	Compress string          // as in request.Config
	Files    int             // how many a rotation keeps; 0 for one file and no rotation
	Guard    func(*storage.File) error
	Events   Events
	Reserve  *Reserve
	Losses   func() Losses // as they stand now
	Header   []byte        // what the first file begins with
	Whole    func([]byte) (packets, data, size int)
	Counters *Counters
}

// OpenSink makes the first file, with its header.
//
// errors.Is tells fs.ErrExist, fs.ErrNotExist, fs.ErrPermission and
// storage.ErrOutside of a file that could not be made; ErrStart that it could
// not be begun.
func OpenSink(o Options) (Sink, error) {
	var s Sink
	var err error
	if o.Files > 0 {
		s, err = newRotating(o)
	} else {
		s, err = newSingle(o)
	}
	if err != nil || o.Compress == request.CompressNone {
		return s, err
	}
	return newBeside(s, o), nil
}

// ErrStart means that a file was made and the disk does not take its beginning.
var ErrStart = errors.New("the file could not be begun")

// Unguarded warns of a file that has no guard.
func Unguarded(err error) string {
	return fmt.Sprintf("%v: a kill -9 may leave its last packet cut", err)
}

// FileError is the error of a session whose files could not be completed, or are
// not where they were made. The config tells by which member less is written.
func FileError(c *request.Config, err error) error {
	switch {
	case errors.Is(err, ErrStalled):
		return fault.Errorf(fault.LocalFile, "%w: it may end within a packet, and packetsNotWritten counts what is missing", err)
	case c.Stream:
		return fault.Errorf(fault.LocalFile, "the stream could not be completed: %w", err)
	}
	if d, ok := errors.AsType[*storage.Displaced](err); ok {
		if d.Place() != "" {
			return fault.Errorf(fault.LocalFile, "%w; make sure that nothing moves or removes files there while a capture runs, or name another folder with --captures-dir", err)
		}
		return fault.Errorf(fault.LocalFile, "%w", err)
	}
	if errors.Is(err, storage.ErrTampered) {
		return fault.Errorf(fault.LocalFile, "the capture file is not complete: %w; make sure that nothing moves or removes files there while a capture runs, or name another folder with --captures-dir", err)
	}
	hint := "what was written before is kept and readable"
	if storage.IsFull(err) {
		member := "totalBytesPerSession"
		switch {
		case c.Rotates():
			member = "captureSettings.fileCount or fileSizeInBytes"
		case c.Continuous != nil:
			member = "captureSettings.fileSizeInBytes"
		}
		hint = "free some space or set a smaller " + member + "; " + hint
	}
	return fault.Errorf(fault.LocalFile, "the capture file could not be completed: %w; %s", err, hint)
}
