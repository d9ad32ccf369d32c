package azblob

import (
	"context"
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
)

// Source is a file that is being uploaded. Bytes before the size passed to Grow
// never change, except those that were given back.
type Source interface {
	io.ReaderAt
	// Given is the offset before which all but the first HeadLen bytes have
	// been given back to the disk and read as zeros. Only what is before
	// the offset passed to Sent may be given back. It is called from several goroutines.
	Given() int64
}

// UploadOptions say how a file is uploaded.
type UploadOptions struct {
	// BlockSize is the size of the blocks in bytes, a multiple of 64 and at
	// least HeadLen. An upload that was cut off goes on with the size it had.
	BlockSize int64
	// Resume looks for blocks that an earlier process has staged. It begins
	// when Finish is called, as the file is complete.
	Resume bool
	// Sent is called, one call at a time, when the service has all before an
	// offset. nil: nobody needs to know.
	Sent func(offset int64)
}

// Upload is a file on its way. Its methods are safe for concurrent use.
type Upload struct {
	c      *Client
	src    Source
	o      UploadOptions
	ctx    context.Context // ends with the upload: the life of the goroutines
	cancel context.CancelFunc
	wg     sync.WaitGroup

	size      atomic.Int64
	grew      chan struct{} // has one element when size may have grown
	final     atomic.Int64  // the size at the end, valid when finishing is closed
	finishing chan struct{}
	finish    sync.Once

	// Of the planner, and of Finish when that has ended.
	file     [8]byte
	names    []string
	sum      string // hexadecimal
	existing blocks
	etag     *azcore.ETag
	complete bool // the blob was there already, with these very blocks

	mu     sync.Mutex
	done   []bool // by block
	sent   int    // blocks done from the first on without a gap
	failed error

	staged, reused, retries atomic.Int64
	problem                 atomic.Pointer[Error]
}

// Progress is how far an upload is.
type Progress struct {
	Size    int64  // bytes that the file is known to have
	Staged  int64  // bytes that the service has, those of an earlier process included
	Retries int64  // requests that failed and were or will be repeated
	Problem string // why the last request failed; "" when one has succeeded since
}

// Upload starts an upload. It goes on until Finish or Abort, whatever happens;
// Grow never waits for it.
//
// Memory: each of a few connections has a buffer of 64 KiB, and one of 256 KiB
// is for hashing; blocks are read from the file while they are sent. 100 bytes a
// block are kept.
func (c *Client) Upload(src Source, o UploadOptions) *Upload {
	if o.Sent == nil {
		o.Sent = func(int64) {}
	}
	u := &Upload{c: c, src: src, o: o, grew: make(chan struct{}, 1), finishing: make(chan struct{})}
	u.ctx, u.cancel = context.WithCancel(context.Background())
	jobs := make(chan job)
	u.wg.Go(func() {
		defer close(jobs)
		u.fail(u.plan(jobs))
	})
	for range inFlight {
		u.wg.Go(func() {
			for j := range jobs {
				u.fail(u.stage(j))
			}
		})
	}
	return u
}

// Grow says that the file is complete up to size bytes. It never blocks.
func (u *Upload) Grow(size int64) {
	u.size.Store(size)
	select {
	case u.grew <- struct{}{}:
	default:
	}
}

// Progress looks at the upload.
func (u *Upload) Progress() Progress {
	p := Progress{Staged: u.staged.Load(), Retries: u.retries.Load(), Size: u.size.Load()}
	p.Size = max(p.Size, p.Staged)
	if e := u.problem.Load(); e != nil {
		p.Problem = e.Message
	}
	return p
}

// Abort gives the upload up. What was staged stays, for a later Resume.
func (u *Upload) Abort() {
	u.cancel()
	u.wg.Wait()
}

// Result is a complete blob.
type Result struct {
	Size   int64
	Blocks int
	Reused int64  // bytes that an earlier process had sent
	SHA256 string // hexadecimal
}

// Finish says that the file is complete with size bytes, waits until all of it
// has been staged, and makes the blob of it, if there is none. Until ctx ends
// it repeats what fails in a way that may pass, and everything else once.
//
// metadata is put on the blob, with the file's SHA-256. Characters that a
// header cannot carry are percent-encoded, and long values cut.
//
// When it fails, what was staged stays, and the error, an *Error, says why.
func (u *Upload) Finish(ctx context.Context, size int64, metadata map[string]string) (*Result, error) {
	u.finish.Do(func() {
		u.final.Store(size)
		u.Grow(size)
		close(u.finishing)
	})
	stop := context.AfterFunc(ctx, u.cancel)
	defer stop()
	defer u.cancel()
	u.wg.Wait()
	u.mu.Lock()
	err := u.failed
	u.mu.Unlock()
	if err == nil && u.ctx.Err() != nil {
		err = u.ctx.Err()
	}
	if err == nil && !u.complete {
		err = u.commit(metadata)
	}
	if err != nil {
		return nil, u.explainEnd(err)
	}
	return &Result{Size: size, Blocks: len(u.names), Reused: u.reused.Load(), SHA256: u.sum}, nil
}

// explainEnd gives the reason of the last failure when time ran out.
func (u *Upload) explainEnd(err error) *Error {
	if !errors.Is(err, context.Canceled) {
		return explain(err, u.c.how)
	}
	if e := u.problem.Load(); e != nil {
		return e
	}
	return errorf(Unavailable, err, "there was no time left for it")
}

// fail ends the upload for good.
func (u *Upload) fail(err error) {
	if err == nil {
		return
	}
	u.mu.Lock()
	if u.failed == nil {
		u.failed = err
	}
	u.mu.Unlock()
	if e := explain(err, u.c.how); !errors.Is(err, context.Canceled) {
		u.problem.Store(e)
	}
	u.cancel()
}

// stage sends a block.
func (u *Upload) stage(j job) error {
	err := u.retry(j.length, func(ctx context.Context) error { return u.send(ctx, j) })
	if err == nil {
		u.markDone(j)
	}
	return err
}

func (u *Upload) send(ctx context.Context, j job) error {
	body := streaming.NopCloser(io.NewSectionReader(u.src, j.start, j.length))
	_, err := u.c.blob.StageBlock(ctx, j.name, body, &blockblob.StageBlockOptions{
		TransactionalValidation: blob.TransferValidationTypeMD5(j.md5),
	})
	return err
}

func (u *Upload) markDone(j job) {
	u.staged.Add(j.length)
	u.mu.Lock()
	defer u.mu.Unlock()
	if j.length < u.o.BlockSize {
		return // the last one, which is not full: there is nothing to give back any more
	}
	for len(u.done) <= j.index {
		u.done = append(u.done, false)
	}
	u.done[j.index] = true
	before := u.sent
	for u.sent < len(u.done) && u.done[u.sent] {
		u.sent++
	}
	if u.sent > before {
		u.o.Sent(int64(u.sent) * u.o.BlockSize)
	}
}

// retry does something until it succeeds or a retry cannot help. As
// long as the capture runs, everything but a conflict may pass: somebody may
// grant a permission or repair a firewall. Once it has ended somebody waits, and
// what is not known to pass gets one more chance.
func (u *Upload) retry(length int64, do func(context.Context) error) error {
	var lastChance bool
	for try := 0; ; try++ {
		if u.ctx.Err() != nil {
			return u.ctx.Err()
		}
		ending := u.ending()
		ctx, cancel := context.WithTimeout(u.ctx, 2*u.c.stall+time.Duration(length/slowestRate)*time.Second)
		err := do(ctx)
		cancel()
		if err == nil {
			u.problem.Store(nil)
			return nil
		}
		if u.ctx.Err() != nil {
			return u.ctx.Err()
		}
		e := explain(err, u.c.how)
		u.problem.Store(e)
		switch e.Kind {
		case Conflict, Invalid, Lost:
			return e
		case Unavailable, Forbidden, NotFound:
		}
		if ending && !e.Temporary {
			if lastChance {
				return e
			}
			lastChance = true
		}
		u.retries.Add(1)
		early := u.finishing
		if ending {
			early = nil
		}
		if !sleep(u.ctx, max(u.c.wait(try), e.retryAfter), early) {
			return u.ctx.Err()
		}
		if !ending && u.ending() {
			try = -1 // somebody waits now: begin with short waits again
		}
	}
}

func (u *Upload) ending() bool {
	select {
	case <-u.finishing:
		return true
	default:
		return false
	}
}
