package capfile

import (
	"bufio"
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
)

// input is the file that is read, as it is. It counts, and reading can be broken
// off between two reads.
type input struct {
	from io.Reader
	file *os.File // nil for a stream of somebody else's
	size int64    // bytes there are to read; -1 when not known
	read atomic.Int64
	// stream says that reading may have to wait, as that of a regular file never
	// has to.
	stream bool
	done   chan struct{} // closed by interrupt
	once   sync.Once
}

func openInput(o Options) (*input, error) {
	in := &input{from: o.Stdin, size: -1, stream: true, done: make(chan struct{})}
	f, isFile := o.Stdin.(*os.File)
	if o.Path != StandardInput {
		open := o.Open
		if open == nil {
			open = os.Open
		}
		var opened *os.File
		err := until(o.Done, func() error {
			f, err := open(o.Path)
			if err == nil {
				opened = f
			}
			return err
		})
		if err != nil {
			return nil, openInputError(err)
		}
		f, isFile, in.from, in.file = opened, true, opened, opened
	}
	if isFile {
		stat, err := f.Stat()
		if err != nil {
			return nil, errors.Join(openInputError(err), in.close())
		}
		if stat.IsDir() {
			return nil, errors.Join(&fault.Error{Class: fault.Invalid, Target: "--read-file", Message: inputName(o.Path) + " is a folder; allowed: a pcap or pcapng file"}, in.close())
		}
		if stat.Mode().IsRegular() {
			in.size, in.stream = stat.Size(), false
			if at, err := f.Seek(0, io.SeekCurrent); err == nil {
				in.size = max(0, in.size-at)
			}
		}
	}
	return in, nil
}

func openInputError(err error) error {
	class := fault.Failed
	switch {
	case errors.Is(err, fs.ErrNotExist):
		class = fault.NotFound
	case errors.Is(err, fs.ErrPermission):
		class = fault.Forbidden
	}
	return &fault.Error{Class: class, Target: "--read-file", Message: err.Error(), Err: err}
}

// Read implements io.Reader.
func (in *input) Read(p []byte) (int, error) {
	select {
	case <-in.done:
		return 0, errInterrupted
	default:
	}
	n, err := in.from.Read(p)
	in.read.Add(int64(n))
	return n, err
}

// interrupt breaks off the reads to come.
func (in *input) interrupt() { in.once.Do(func() { close(in.done) }) }

func (in *input) close() error {
	in.interrupt()
	if in.file == nil {
		return nil
	}
	return in.file.Close()
}

// errInterrupted is what a Read gives that was broken off.
var errInterrupted = errors.New("interrupted")

// content is the capture file that is in the input: the input itself, or what
// its compression holds.
type content struct {
	pcapfile.Pieces
	compressed string // how, or ""
	ahead      *ahead // nil for a regular file as it is, which makes nobody wait
}

// openContent reads the first bytes of the input.
//
// Errors: those of the input.
func openContent(in *input) (*content, error) {
	raw := &rawReader{input: in}
	from := bufio.NewReaderSize(raw, pipeSize)
	magic, err := from.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	c := compressionOf(magic)
	if c == nil && !in.stream {
		return &content{Pieces: pcapfile.PiecesOf(from)}, nil
	}
	a := newAhead(in.done)
	if c == nil {
		go a.run(func() error { return a.pass(from) })
		return &content{Pieces: a, ahead: a}, nil
	}
	go a.run(func() error { return c.expandTo(a, from, raw) })
	return &content{a, c.name, a}, nil
}

// ahead gives the bytes that a goroutine of its own reads: a read of a pipe cannot be broken
// off by other means on all systems, and expanding is work that goes well beside that of the decoder.
// Reading a file is not: the bytes would have to come from another processor's cache, which costs more than
// the copy in the kernel. The goroutine ends with the input, or at its next read or write after done.
type ahead struct {
	full  chan chunk
	empty chan []byte
	now   chunk // what is being consumed
	// idle is called before a Next waits. Its error is that of Next.
	idle func() error

	done  <-chan struct{}
	ended chan struct{} // closed behind the goroutine
}

// chunk is a piece of the file. It is in its memory behind room for what is left of the one before.
type chunk struct {
	memory []byte
	length int
	err    error // after it
}

// pipeSize is what a pipe holds, and all that one read of it can give.
const pipeSize = 64 << 10

// pieces is how many there are: one that is looked at, one that is ready and one that is read.
const pieces = 3

func newAhead(done <-chan struct{}) *ahead {
	a := &ahead{
		full: make(chan chunk, pieces-2), empty: make(chan []byte, pieces), idle: func() error { return nil },
		done: done, ended: make(chan struct{}),
	}
	for range cap(a.empty) {
		a.empty <- make([]byte, pcapfile.MaxRest+pipeSize)
	}
	return a
}

// run is the goroutine. The error of fill comes behind all that it gives.
func (a *ahead) run(fill func() error) {
	defer close(a.ended)
	_ = a.give(chunk{err: fill()})
}

// pass gives what is read.
func (a *ahead) pass(from io.Reader) error {
	for {
		b, err := a.room()
		if err != nil {
			return err
		}
		n, err := from.Read(b[pcapfile.MaxRest:])
		if err := a.give(chunk{memory: b, length: n}); err != nil {
			return err
		}
		if err != nil {
			return err
		}
	}
}

// Write gives what is written.
func (a *ahead) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		b, err := a.room()
		if err != nil {
			return len(p) - len(rest), err
		}
		n := copy(b[pcapfile.MaxRest:], rest)
		rest = rest[n:]
		if err := a.give(chunk{memory: b, length: n}); err != nil {
			return len(p) - len(rest), err
		}
	}
	return len(p), nil
}

func (a *ahead) room() ([]byte, error) {
	select {
	case b := <-a.empty:
		return b, nil
	case <-a.done:
		return nil, errInterrupted
	}
}

func (a *ahead) give(c chunk) error {
	select {
	case a.full <- c:
		return nil
	case <-a.done:
		return errInterrupted
	}
}

// Next implements pcapfile.Pieces.
func (a *ahead) Next(rest []byte) ([]byte, error) {
	for a.now.err == nil {
		before := a.now.memory
		if err := a.wait(); err != nil {
			return rest, err
		}
		if a.now.memory != nil {
			rest = a.now.memory[pcapfile.MaxRest-copy(a.now.memory[pcapfile.MaxRest-len(rest):], rest) : pcapfile.MaxRest+a.now.length]
		}
		if before != nil {
			a.empty <- before // there is room for all of them
		}
		if a.now.length > 0 {
			return rest, a.now.err
		}
	}
	return rest, a.now.err
}

// wait waits for the next chunk.
func (a *ahead) wait() error {
	select {
	case <-a.done:
		return errInterrupted
	case a.now = <-a.full:
		return nil
	default:
	}
	if err := a.idle(); err != nil {
		return err
	}
	select {
	case <-a.done:
		return errInterrupted
	case a.now = <-a.full:
		return nil
	}
}
