package capfile

import (
	"errors"
	"fmt"
	"io"
	"net/netip"

	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/filter"
)

// ErrInterrupted is what Packets.Next gives after Opened.Interrupt.
var ErrInterrupted = errInterrupted

// Packets reads the packets of a file for somebody who only looks at them,
// without copies. It is for one goroutine.
type Packets struct {
	name    string
	in      *input
	content *content
	reader  *pcapfile.Reader
	match   matcher
	count   uint64
}

// Opened is a file that is open and not yet read.
type Opened struct {
	name  string
	local []netip.Prefix
	in    *input
}

// Open opens a file, and reads nothing of it.
//
// Errors are *fault.Error without a target: NotFound, Forbidden, Invalid (a folder), Failed.
func Open(o Options) (*Opened, error) {
	in, err := openInput(o)
	if err != nil {
		if e, ok := errors.AsType[*fault.Error](err); ok {
			e.Target = ""
		}
		return nil, err
	}
	return &Opened{inputName(o.Path), o.Local, in}, nil
}

// Packets reads the header of the file, which may be compressed. Next gives those of its
// packets that the set matches; local addresses in the options of Open go with the set.
// The file is closed by the Packets, also when this fails.
//
// Errors are ErrInterrupted, or *fault.Error: Invalid for what is not a capture file, Failed.
func (f *Opened) Packets(set filter.Set) (*Packets, error) {
	p := &Packets{name: f.name, in: f.in}
	match, err := newMatcher(set, f.local)
	if err != nil {
		_ = f.Close()
		return nil, err
	}
	p.match = *match
	if err = p.begin(); err == nil {
		return p, nil
	}
	_ = p.Close()
	if errors.Is(err, errInterrupted) {
		return nil, err
	}
	class := fault.Failed
	if isDamage(err) {
		class = fault.Invalid
	}
	return nil, fault.Errorf(class, "%s: %w", p.name, err)
}

// Name is the file for people.
func (f *Opened) Name() string { return f.name }

// Interrupt breaks off reading, also one that waits for a pipe. It may be called by any
// goroutine.
func (f *Opened) Interrupt() { f.in.interrupt() }

// Read is how many bytes of the file, as it is stored, were read.
func (f *Opened) Read() int64 { return f.in.read.Load() }

// Size is how many bytes there are to read, -1 when that is not known.
func (f *Opened) Size() int64 { return f.in.size }

// Close closes the file.
func (f *Opened) Close() error { return f.in.close() }

func (p *Packets) begin() (err error) {
	if p.content, err = openContent(p.in); err != nil {
		return err
	}
	p.reader, err = pcapfile.NewReaderOf(p.content)
	return err
}

// isDamage tells what is wrong with the file from what is wrong with reading it.
func isDamage(err error) bool {
	if _, ok := errors.AsType[*pcapfile.FormatError](err); ok {
		return true
	}
	_, ok := errors.AsType[*compressedError](err)
	return ok
}

// MaxList is how many packets Next gives at the most.
const MaxList = 16

// Next reads the next packets into list, as many as there are without a wait, and up to MaxList: n of them, which
// are valid until the next call. The bits of kept say whether the set matches them. The error is io.EOF at the end,
// ErrInterrupted, or a *fault.Error of the class Failed for a file that is damaged, or that cannot be
// read further; n is 0 then, and there is nothing more to be read.
func (p *Packets) Next(list []pcapfile.Packet) (n int, kept uint32, err error) {
	list = list[:min(len(list), MaxList)]
	err = p.reader.Next(&list[0])
	switch {
	case err == nil:
		for n = 1; n < len(list) && p.reader.NextHere(&list[n]); n++ {
		}
		for i := range list[:n] {
			if p.match.match(&list[i]) {
				kept |= 1 << i
			}
		}
		p.count += uint64(n)
		return n, kept, nil
	case errors.Is(err, io.EOF), errors.Is(err, errInterrupted):
		return 0, 0, err
	}
	if p.content.compressed != "" {
		if _, ok := errors.AsType[*pcapfile.FormatError](err); ok {
			err = fmt.Errorf("in its content, without the compression: %w", err)
		}
	}
	return 0, 0, fault.Errorf(fault.Failed, "%s: %w; the %d packets before it were read", p.name, err, p.count)
}

// Format is the file's format in words.
func (p *Packets) Format() string {
	if p.content.compressed != "" {
		return p.reader.Format() + ", in " + p.content.compressed
	}
	return p.reader.Format()
}

// LinkTypes are those that the file has described so far.
func (p *Packets) LinkTypes() []pcapfile.LinkType { return p.reader.LinkTypes() }

// Losses is what the file says was lost, as far as it has been read.
func (p *Packets) Losses() pcapfile.Losses { return p.reader.Losses() }

// Count is how many packets were read.
func (p *Packets) Count() uint64 { return p.count }

// Close closes the file.
func (p *Packets) Close() error {
	p.in.interrupt()
	if c := p.content; c != nil && c.ahead != nil && !p.in.stream {
		<-c.ahead.ended // before the file is closed
	}
	return p.in.close()
}
