package capfile

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"pcapctl/capture/fault"
)

// input is the stream that is read. It counts, and a read that waits for a pipe
// or a terminal can be broken off.
type input struct {
	from  io.Reader
	file  *os.File    // nil for a stream of somebody else's
	stat  fs.FileInfo // nil when it is not a file
	size  int64       // bytes there are to read; -1 when not known
	read  atomic.Int64
	ahead *ahead // nil for a regular file, which never makes anybody wait
}

func openInput(o Options) (*input, error) {
	in := &input{from: o.Stdin, size: -1}
	f, isFile := o.Stdin.(*os.File)
	if o.Path != StandardInput {
		opened, err := os.Open(o.Path)
		if err != nil {
			return nil, openInputError(err)
		}
		f, isFile, in.from, in.file = opened, true, opened, opened
	}
	if isFile {
		var err error
		if in.stat, err = f.Stat(); err != nil {
			return nil, errors.Join(openInputError(err), in.close())
		}
		if in.stat.IsDir() {
			return nil, errors.Join(&fault.Error{Class: fault.Invalid, Target: "--read-file", Message: inputName(o.Path) + " is a folder; allowed: a pcap or pcapng file"}, in.close())
		}
		if in.stat.Mode().IsRegular() {
			in.size = in.stat.Size()
			if at, err := f.Seek(0, io.SeekCurrent); err == nil {
				in.size = max(0, in.size-at)
			}
			return in, nil
		}
	}
	in.ahead = readAhead(in.from)
	in.from = in.ahead
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
	n, err := in.from.Read(p)
	in.read.Add(int64(n))
	return n, err
}

// interrupt breaks off a Read that waits, and those to come.
func (in *input) interrupt() {
	if in.ahead != nil {
		in.ahead.interrupt()
	}
}

func (in *input) close() error {
	in.interrupt()
	if in.file == nil {
		return nil
	}
	return in.file.Close()
}

// errInterrupted is what a Read gives that was broken off.
var errInterrupted = errors.New("interrupted")

// ahead reads a stream in a goroutine of its own, as a read of a pipe cannot be
// broken off by other means on all systems. The goroutine ends with the stream,
// or at its next byte after interrupt.
type ahead struct {
	full  chan chunk
	empty chan []byte
	now   chunk  // what is being consumed
	rest  []byte // of now
	// idle is called before a Read waits. Its error is the Read's.
	idle func() error

	done chan struct{}
	once sync.Once
}

type chunk struct {
	data []byte // from the start of a buffer
	err  error  // after data
}

// aheadSize is what a pipe holds, and all that one read of it can give.
const aheadSize = 64 << 10

func readAhead(from io.Reader) *ahead {
	a := &ahead{full: make(chan chunk, 1), empty: make(chan []byte, 2), done: make(chan struct{}), idle: func() error { return nil }}
	for range cap(a.empty) {
		a.empty <- make([]byte, aheadSize)
	}
	go a.run(from)
	return a
}

func (a *ahead) run(from io.Reader) {
	for {
		var c chunk
		select {
		case c.data = <-a.empty:
		case <-a.done:
			return
		}
		var n int
		n, c.err = from.Read(c.data)
		c.data = c.data[:n]
		select {
		case a.full <- c:
		case <-a.done:
			return
		}
		if c.err != nil {
			return
		}
	}
}

func (a *ahead) interrupt() { a.once.Do(func() { close(a.done) }) }

// Read implements io.Reader.
func (a *ahead) Read(p []byte) (int, error) {
	for len(a.rest) == 0 {
		if a.now.err != nil {
			return 0, a.now.err
		}
		if err := a.refill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

func (a *ahead) refill() error {
	if a.now.data != nil {
		a.empty <- a.now.data[:cap(a.now.data)]
		a.now.data = nil
	}
	select {
	case <-a.done:
		return errInterrupted
	case a.now = <-a.full:
		a.rest = a.now.data
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
		a.rest = a.now.data
		return nil
	}
}
