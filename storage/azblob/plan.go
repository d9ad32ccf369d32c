package azblob

import (
	"context"
	"crypto/md5" //nolint:gosec // G501: a checksum of the transport, which the service asks for
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
)

// job is a block to be staged.
type job struct {
	index         int
	start, length int64
	name          string
	md5           []byte
}

const hashBuffer = 256 << 10

// plan reads the file once, from its start, names its blocks and sends to jobs
// those that the service does not have.
func (u *Upload) plan(jobs chan<- job) error {
	if u.o.Resume {
		if err := u.resume(); err != nil {
			return err
		}
	}
	whole := sha256.New()
	buf := make([]byte, hashBuffer)
	for i := 0; ; i++ {
		start := int64(i) * u.o.BlockSize
		length, err := u.next(start)
		if err != nil {
			return err
		}
		if length == 0 {
			break
		}
		if i == maxBlocks {
			return errorf(Conflict, nil, "the file is longer than %d blocks of %d bytes, which is all that a blob can have", maxBlocks, u.o.BlockSize)
		}
		if i == 0 {
			if err := u.identify(); err != nil {
				return err
			}
		}
		j := job{index: i, start: start, length: length}
		if whole, err = u.name(&j, whole, buf); err != nil {
			return err
		}
		u.names = append(u.names, j.name)
		if err := u.queue(jobs, j); err != nil {
			return err
		}
	}
	u.sum = hex.EncodeToString(whole.Sum(nil))
	return u.compare()
}

// resume looks at what the service has of the file, whose end must be known.
func (u *Upload) resume() error {
	select {
	case <-u.ctx.Done():
		return u.ctx.Err()
	case <-u.finishing:
	}
	if err := u.identify(); err != nil {
		return err
	}
	if err := u.lookAt(); err != nil {
		return err
	}
	// The size of the blocks is the one of which there are the most.
	sizes := map[uint32]int{}
	most := 0
	count := func(name string) {
		n, ok := parseName(name)
		if !ok || n.file != u.file {
			return
		}
		sizes[n.size]++
		if sizes[n.size] > most && n.size%sha256.BlockSize == 0 {
			most, u.o.BlockSize = sizes[n.size], int64(n.size)
		}
	}
	for name := range u.existing.staged {
		count(name)
	}
	for _, name := range u.existing.committed {
		count(name)
	}
	return nil
}

// lookAt asks what the service has.
func (u *Upload) lookAt() error {
	return u.retry(0, func(ctx context.Context) error {
		l, err := u.c.list(ctx)
		if err != nil {
			return err
		}
		if l.committed == nil {
			// A blob that was written in one piece has no blocks.
			var there *Error
			if err := u.c.exists(ctx); errors.As(err, &there) && there.Kind == Conflict {
				l.committed = []string{}
			}
		}
		u.existing = l
		return nil
	})
}

// next waits until the block that starts at start is whole or the last, and
// gives its length; 0 is the end of the file.
func (u *Upload) next(start int64) (int64, error) {
	for {
		select {
		case <-u.finishing:
			return min(u.o.BlockSize, max(0, u.final.Load()-start)), u.ctx.Err()
		default:
		}
		if u.size.Load() >= start+u.o.BlockSize {
			return u.o.BlockSize, u.ctx.Err()
		}
		select {
		case <-u.ctx.Done():
			return 0, u.ctx.Err()
		case <-u.finishing:
		case <-u.grew:
		}
	}
}

// identify reads what distinguishes the file from others.
func (u *Upload) identify() error {
	length := int64(HeadLen)
	if u.ending() {
		length = min(length, u.final.Load())
	}
	head := make([]byte, length)
	if _, err := u.src.ReadAt(head, 0); err != nil {
		return errorf(Unavailable, err, "read the capture file: %v", err)
	}
	u.file = fileID(head)
	return nil
}

// name reads a block and names it. Of one that was given back to the disk the
// name is looked up.
func (u *Upload) name(j *job, whole hash.Hash, buf []byte) (hash.Hash, error) {
	if j.start < u.src.Given() {
		n, ok := u.lookUp(j)
		if !ok {
			return nil, errorf(Lost, nil, "the service does not have block %d any more, which was given back to the disk when it had it: "+
				"blocks are dropped a week after the last one, and when somebody else writes the blob", j.index)
		}
		j.name = n.String()
		return resumeHash(n.chain, j.start+j.length)
	}
	sum := md5.New() //nolint:gosec // G401: as above
	r := io.NewSectionReader(u.src, j.start, j.length)
	if n, err := io.CopyBuffer(io.MultiWriter(whole, sum), onlyReader{r}, buf); err != nil || n != j.length {
		return nil, errorf(Unavailable, err, "read the capture file at %d: %d of %d bytes", j.start, n, j.length)
	}
	j.md5 = sum.Sum(nil)
	n := blockName{file: u.file, index: uint32(j.index), size: uint32(u.o.BlockSize)}
	if j.length == u.o.BlockSize {
		c, err := chain(whole)
		if err != nil {
			return nil, err
		}
		n.chain = c
	} else {
		copy(n.chain[:], whole.Sum(nil))
	}
	j.name = n.String()
	return whole, nil
}

// onlyReader keeps io.CopyBuffer to its buffer.
type onlyReader struct{ io.Reader }

// lookUp finds the one block that the service has in a place of this file. Two
// would be of files that begin alike.
func (u *Upload) lookUp(j *job) (found blockName, ok bool) {
	matches := map[blockName]bool{}
	match := func(name string) {
		n, parsed := parseName(name)
		if parsed && n.file == u.file && int(n.index) == j.index && int64(n.size) == u.o.BlockSize {
			found, matches[n] = n, true
		}
	}
	for name := range u.existing.staged {
		match(name)
	}
	for _, name := range u.existing.committed {
		match(name)
	}
	// A block that ends within what was given back is of a file that a crash has
	// cut: where its hash would go on from is not known.
	return found, len(matches) == 1 && j.length == u.o.BlockSize
}

// queue passes a block to the goroutines that send, unless the service has it.
func (u *Upload) queue(jobs chan<- job, j job) error {
	if u.existing.committed != nil {
		if j.index >= len(u.existing.committed) || u.existing.committed[j.index] != j.name {
			return u.otherContent()
		}
		u.reuse(j)
		return nil
	}
	if n, ok := u.existing.staged[j.name]; ok && n == j.length {
		u.reuse(j)
		return nil
	}
	select {
	case jobs <- j:
		return nil
	case <-u.ctx.Done():
		return u.ctx.Err()
	}
}

func (u *Upload) reuse(j job) {
	u.reused.Add(j.length)
	u.markDone(j)
}

func (u *Upload) otherContent() error {
	return errorf(Conflict, nil, "the blob %s exists already with another content and was left as it is: name another one", u.c.address)
}

// compare settles, at the end of the file, whether a blob that was there
// already is this very file.
func (u *Upload) compare() error {
	if u.existing.committed == nil {
		return nil
	}
	if len(u.existing.committed) != len(u.names) {
		return u.otherContent()
	}
	u.complete = true
	return nil
}
