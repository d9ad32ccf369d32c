package save

import (
	"errors"
	"fmt"

	"pcapctl/capture/request"
	"pcapctl/storage"
)

// file is a capture file being written: plain or compressed. It belongs to one
// goroutine after the other: who makes it, who writes to it, who finishes it.
type file interface {
	// write appends whole records. When it fails, kept is how many bytes of them
	// are in the file, which ends behind a whole record.
	write(b []byte) (kept int, err error)
	// finish appends the trailer and brings the file safely to the disk.
	finish(trailer []byte) error
	// stored is the file on the disk.
	stored() *storage.File
}

// newFile makes a file of one on the disk that is empty, and writes its header.
func newFile(f *storage.File, o *Options, header []byte) (file, error) {
	plain := &plainFile{f, o.Whole}
	var out file = plain
	if o.Compress != request.CompressNone {
		c, err := newCodec(o.Compress)
		if err != nil {
			return nil, err
		}
		out = &packedFile{plain: plain, codec: c}
	}
	if _, err := out.write(header); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStart, err)
	}
	return out, nil
}

// plainFile is a file of records as they are.
type plainFile struct {
	f     *storage.File
	whole func([]byte) (packets, data, size int)
}

func (p *plainFile) stored() *storage.File { return p.f }

func (p *plainFile) write(b []byte) (kept int, err error) {
	n, err := p.f.Write(b)
	if err == nil {
		return n, nil
	}
	_, _, kept = p.whole(b[:n])
	if cutErr := p.f.Cut(p.f.Size() + int64(kept)); cutErr != nil {
		err = cutErr
	}
	return kept, err
}

func (p *plainFile) finish(trailer []byte) error {
	var err error
	if len(trailer) > 0 {
		_, err = p.write(trailer)
	}
	return errors.Join(err, p.f.Finish())
}

// packedFile is a file that is compressed on its way to the disk, piece by
// piece.
type packedFile struct {
	plain  *plainFile
	codec  codec
	out    []byte
	broken bool // something is missing, and what would follow cannot be read
}

func (p *packedFile) stored() *storage.File { return p.plain.f }

// write writes all of b or nothing.
func (p *packedFile) write(b []byte) (kept int, err error) {
	if p.out, err = p.codec.encode(p.out[:0], b); err != nil {
		return 0, err
	}
	if err := p.put(); err != nil {
		return 0, err
	}
	return len(b), nil
}

// put writes what was encoded.
func (p *packedFile) put() error {
	f := p.plain.f
	if p.broken {
		return fmt.Errorf("write %s: %w", f.Path(), errBroken)
	}
	before := f.Size()
	if _, err := f.Write(p.out); err != nil {
		p.broken = true
		return errors.Join(err, f.Cut(before))
	}
	return nil
}

var errBroken = errors.New("an earlier piece of it is missing")

func (p *packedFile) finish(trailer []byte) error {
	var err error
	if len(trailer) > 0 && !p.broken {
		_, err = p.write(trailer)
	}
	if !p.broken {
		var cerr error
		if p.out, cerr = p.codec.end(p.out[:0]); cerr == nil && len(p.out) > 0 {
			cerr = p.put()
		}
		err = errors.Join(err, cerr)
	}
	return errors.Join(err, p.plain.f.Finish())
}
