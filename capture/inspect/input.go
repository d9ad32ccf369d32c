package inspect

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync/atomic"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/source/capfile"
)

// Captures are capture files that are open, and are read one after the other.
type Captures struct {
	files []*capfile.Opened
	paths []string
	size  int64 // -1 when that of one is not known
	count atomic.Uint64
}

// Open opens all files before any is read, so that nothing has to be opened once hostile
// bytes are looked at. A path "-" is stdin; open opens the others, nil for os.Open.
//
// Errors are *fault.Error: NotFound, Forbidden, Invalid (a folder), Failed.
func Open(paths []string, stdin io.Reader, open func(path string) (*os.File, error)) (*Captures, error) {
	c := &Captures{paths: paths}
	for _, path := range paths {
		f, err := capfile.Open(capfile.Options{Path: path, Stdin: stdin, Open: open})
		if err != nil {
			_ = c.Close()
			return nil, err
		}
		c.files = append(c.files, f)
		if n := f.Size(); n < 0 || c.size < 0 {
			c.size = -1
		} else {
			c.size += n
		}
	}
	return c, nil
}

// Close closes what is open.
func (c *Captures) Close() error {
	var err error
	for _, f := range c.files {
		err = errors.Join(err, f.Close())
	}
	return err
}

// Progress is how far Inspect has come: bytes of the files as they are stored, of how
// many (-1 is not known), and packets. It may be called by any goroutine.
func (c *Captures) Progress() (read, size int64, packets uint64) {
	for _, f := range c.files {
		read += f.Read()
	}
	return read, c.size, c.count.Load()
}

// tellEvery is how many packets go by between two looks at what others ask for.
const tellEvery = 1024

// Inspect reads the files, in their order, as one capture. When ctx ends, the report is of what was
// read until then and says so. There is a report also with an error that comes behind the
// first file's header.
//
// Errors are *fault.Error: Invalid (not a capture file), Failed (a file is damaged).
func (c *Captures) Inspect(ctx context.Context, o Options) (*Report, error) {
	stop := context.AfterFunc(ctx, func() {
		for _, f := range c.files {
			f.Interrupt()
		}
	})
	defer stop()
	e := NewEngine(o)
	var in Input
	var failed error
	for i, f := range c.files {
		told, err := c.inspect(ctx, e, f, o)
		if told != nil {
			told.Path = c.paths[i]
			in.Files = append(in.Files, *told)
		}
		if errors.Is(err, capfile.ErrInterrupted) || ctx.Err() != nil {
			in.Interrupted = true
			break
		}
		if err != nil {
			if i == 0 && told == nil {
				return nil, err
			}
			failed = err
			in.Error = err.Error()
			break
		}
	}
	r := e.Report()
	r.Input = in
	r.endedEarly(in)
	if r.Input.Files == nil {
		r.Input.Files = []InputFile{}
	}
	if o.Filter.Len() > 0 {
		r.Input.Filter = o.Filter.String()
	}
	return r, failed
}

// inspect reads one file. The first result is nil when its header could not be read.
func (c *Captures) inspect(ctx context.Context, e *Engine, f *capfile.Opened, o Options) (*InputFile, error) {
	packets, err := begin(ctx, f, o)
	if err != nil {
		return nil, err
	}
	defer func() { _ = packets.Close() }() // it was only read
	told := &InputFile{Format: packets.Format(), LinkTypes: []string{}}
	var links []pcapfile.LinkType
	list := make([]pcapfile.Packet, capfile.MaxList)
	last := ^pcapfile.LinkType(0)
	for next := uint64(0); ; {
		n, kept, err := packets.Next(list)
		if err != nil {
			if len(links) == 0 {
				links = packets.LinkTypes()
			}
			for _, l := range links {
				told.LinkTypes = append(told.LinkTypes, l.String())
			}
			told.Packets, told.Bytes = packets.Count(), f.Read()
			c.count.Store(e.number)
			e.losses.add(packets.Losses())
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return told, err
		}
		for i := range list[:n] {
			if link := list[i].LinkType; link != last {
				if last = link; !slices.Contains(links, last) {
					links = append(links, last)
				}
			}
		}
		e.Packets(list[:n], kept)
		if e.number >= next {
			c.count.Store(e.number)
			next = e.number + tellEvery
		}
	}
}

// begin reads the header of a file. The first bytes of a pipe may never come, and a read of it
// cannot be broken off: it is then left to itself.
func begin(ctx context.Context, f *capfile.Opened, o Options) (*capfile.Packets, error) {
	type begun struct {
		packets *capfile.Packets
		err     error
	}
	done := make(chan begun)
	go func() {
		packets, err := f.Packets(o.Filter)
		select {
		case done <- begun{packets, err}:
		case <-ctx.Done():
			if err == nil {
				_ = packets.Close()
			}
		}
	}()
	select {
	case b := <-done:
		return b.packets, b.err
	case <-ctx.Done():
		return nil, capfile.ErrInterrupted
	}
}

func (l *losses) add(more pcapfile.Losses) {
	l.byInterface += more.ByInterface
	l.bySystem += more.BySystem
	l.beforePacket += more.BeforePacket
}

// losses are what the files tell of packets that they do not have.
type losses struct{ byInterface, bySystem, beforePacket uint64 }
