package capture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/request"
	"pcapctl/storage/azblob"
	"pcapctl/storage/azblob/bloburl"
)

// ringUpload brings the files of a ring into blobs, one file after the other,
// each while it fills, and takes the blobs of those away that have left the
// ring. The ring does not wait for it: a file that leaves the ring before it
// was sent is not sent any more.
type ringUpload struct {
	target *BlobTarget // of the first file
	grace  time.Duration
	size   int64 // of a file at the most
	config *request.Config
	spool  bool // the local files are there for the sake of the blobs only
	warn   func(string)

	ctx     context.Context //nolint:containedctx // ends the upload, from wherever
	abandon context.CancelFunc
	ending  chan struct{} // closed when the capture has ended and the rest is being sent
	idle    chan struct{} // closed when all is done
	more    chan struct{} // has one element when there is something to do
	wg      sync.WaitGroup

	mu      sync.Mutex
	queue   []*ringFile // to be sent, the oldest first
	doomed  []*ringBlob // to be taken away
	closed  bool        // nothing more comes
	now     *azblob.Upload
	sent    UploadProgress // of files that are done with
	skipped int            // files that left the ring unsent
}

// ringBlob is what is known of a file's way into its blob.
type ringBlob struct {
	gone     chan struct{}   // closed when the file leaves the ring
	released chan struct{}   // closed when nobody reads the file any more
	address  bloburl.Address // of the blob, once it is complete
	made     string          // which tells it from another that takes its place
	err      error           // why it is not
}

func newRingUpload(p *Plan, t *BlobTarget, warn func(string)) *ringUpload {
	u := &ringUpload{
		target: t, grace: p.upload.Grace, size: mostBytes(p.Config), config: p.Config, spool: p.Config.FilePath == "", warn: warn,
		ending: make(chan struct{}), idle: make(chan struct{}), more: make(chan struct{}, 1),
	}
	u.ctx, u.abandon = context.WithCancel(context.Background())
	return u
}

func (u *ringUpload) wake() {
	select {
	case u.more <- struct{}{}:
	default:
	}
}

// add takes up a file that has been begun.
func (u *ringUpload) add(f *ringFile) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f.blob = &ringBlob{gone: make(chan struct{}), released: make(chan struct{})}
	u.queue = append(u.queue, f)
	u.wake()
}

// remove lets go of a file that leaves the ring, and of its blob. It waits until
// the file is closed, which takes no time that the network has a hand in.
func (u *ringUpload) remove(f *ringFile) {
	u.mu.Lock()
	close(f.blob.gone)
	if at := slices.Index(u.queue, f); at >= 0 {
		u.queue = slices.Delete(u.queue, at, at+1)
		u.skipped++
		close(f.blob.released)
	}
	u.mu.Unlock()
	<-f.blob.released
	u.mu.Lock()
	defer u.mu.Unlock()
	if !f.blob.address.IsZero() {
		u.doomed = append(u.doomed, f.blob)
		u.wake()
	}
}

// run starts to send, and to take away.
func (u *ringUpload) run(w Watcher) {
	u.wg.Go(func() {
		for f := u.next(); f != nil; f = u.next() {
			err := u.send(f)
			u.mu.Lock()
			f.blob.err = err
			u.mu.Unlock()
			close(f.blob.released)
			u.clear()
		}
		u.clear()
		close(u.idle)
	})
	if w == nil {
		return
	}
	u.wg.Go(func() {
		tick := time.NewTicker(tellUploadEach)
		defer tick.Stop()
		for {
			select {
			case <-u.ctx.Done():
				return
			case <-tick.C:
				w.Upload(u.progress())
			}
		}
	})
}

// next is the next file to be sent, nil when there will be none.
func (u *ringUpload) next() *ringFile {
	for {
		u.mu.Lock()
		if len(u.queue) > 0 {
			f := u.queue[0]
			u.queue = slices.Delete(u.queue, 0, 1)
			u.mu.Unlock()
			return f
		}
		closed := u.closed
		u.mu.Unlock()
		if closed {
			return nil
		}
		<-u.more
		u.clear()
	}
}

// clear takes blobs away that have left the ring. What cannot be taken away now
// is tried again with the next one.
func (u *ringUpload) clear() {
	u.mu.Lock()
	doomed := u.doomed
	u.doomed = nil
	u.mu.Unlock()
	for i, b := range doomed {
		client, err := u.target.client.Sibling(b.address)
		if err == nil {
			err = client.Delete(u.ctx, b.made)
		}
		if err != nil {
			u.mu.Lock()
			u.doomed = slices.Concat(doomed[i:], u.doomed)
			u.mu.Unlock()
			return
		}
	}
}

// send brings one file into its blob.
func (u *ringUpload) send(f *ringFile) error {
	address := request.RingAddress(u.target.Address, f.Sequence)
	client, err := u.target.client.Sibling(address)
	if err != nil {
		return err
	}
	file, err := os.Open(f.Path)
	if err != nil {
		return err
	}
	src := plainFile{File: file}
	defer func() { _ = src.Close() }()
	ctx, cancel := context.WithCancel(u.ctx)
	defer cancel()
	up := client.Upload(src, azblob.UploadOptions{BlockSize: azblob.BlockSize(u.size)})
	u.mu.Lock()
	u.now = up
	u.mu.Unlock()
	defer func() {
		up.Abort()
		u.account(up)
	}()
	if !follow(ctx, f, up) {
		if err := ctx.Err(); err != nil {
			return err
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		u.skipped++
		return errLeft
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		select {
		case <-done:
		case <-f.blob.gone:
			cancel()
		case <-u.ending:
			// One that does not get on says enough of the others.
			watchProgress(done, u.grace, up, func() {}, u.abandon)
		}
	}()
	_, err = up.Finish(ctx, f.Size, f.metadata(u.config))
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case err == nil:
		f.blob.address, f.blob.made = address, up.Made()
	case isClosed(f.blob.gone):
		u.skipped++
	}
	return err
}

var errLeft = errors.New("it left the ring before it was sent")

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// follow tells the upload how far the file is written, until it is complete. It
// is false when the file has left the ring before, or the upload was given up.
func follow(ctx context.Context, f *ringFile, up *azblob.Upload) bool {
	tick := time.NewTicker(followEvery)
	defer tick.Stop()
	for {
		select {
		case <-f.done:
			return !isClosed(f.blob.gone)
		case <-f.blob.gone:
			return false
		case <-ctx.Done():
			return false
		case <-tick.C:
			up.Grow(f.file.written.Load())
		}
	}
}

// account adds up what has been sent.
func (u *ringUpload) account(up *azblob.Upload) {
	p := up.Progress()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.now = nil
	u.sent.Size += p.Staged
	u.sent.Staged += p.Staged
	u.sent.Retries += p.Retries
}

func (u *ringUpload) progress() UploadProgress {
	u.mu.Lock()
	defer u.mu.Unlock()
	sum := u.sent
	if u.now != nil {
		p := u.now.Progress()
		sum.Size += p.Size
		sum.Staged += p.Staged
		sum.Retries += p.Retries
		sum.Problem = p.Problem
	}
	return sum
}

// metadata is what the blob says of the file.
func (f *ringFile) metadata(c *request.Config) map[string]string {
	return map[string]string{
		"name": c.Name, "host": c.HostName, "target": c.Target.String(), "filters": c.Filters.String(),
		"sequence": strconv.Itoa(f.Sequence), "packets": strconv.FormatUint(f.Packets, 10), "starttime": f.Started.UTC().Format(time.RFC3339Nano),
	}
}

// beginRing takes the first file up, and keeps the connections of the upload
// out of the capture.
func (s *Session) beginRing(t *BlobTarget) error {
	s.sends = newRingUpload(s.Plan, t, s.warnings.add)
	s.turn.sends = s.sends
	s.sends.add(s.turn.ring[0])
	if err := s.leaveOut(t); err != nil {
		return fault.Errorf(fault.Internal, "%w", err)
	}
	return nil
}

// finishRing sends what is left. err is what the capture itself ended with.
func (s *Session) finishRing(res *Result, err error) error {
	u := s.sends
	close(u.ending)
	u.mu.Lock()
	u.closed = true
	u.wake()
	u.mu.Unlock()
	files := slices.Clone(s.turn.ring)
	for _, f := range files {
		<-f.blob.released
	}
	// What is left to be taken away does not hold the session up for longer than
	// a file would.
	select {
	case <-u.idle:
	case <-time.After(u.grace):
	}
	u.abandon()
	u.wg.Wait()
	u.target.Close()
	if u.skipped > 0 {
		u.warn(fmt.Sprintf("%d files left the ring before they could be sent to the storage account", u.skipped))
	}
	if n := len(u.doomed); n > 0 {
		u.warn(fmt.Sprintf("%d blobs that have left the ring could not be taken away, the first is %s", n, u.doomed[0].address))
	}
	return s.ringResult(res, files, err)
}

// ringResult says which files of the ring have reached their blobs.
func (s *Session) ringResult(res *Result, files []*ringFile, err error) error {
	u := s.sends
	var failed []*ringFile
	res.Blobs, res.Files = nil, nil
	for _, f := range files {
		if f.blob.address.IsZero() {
			failed = append(failed, f)
		} else {
			res.Blobs = append(res.Blobs, SavedFile{Path: f.blob.address.String(), Size: f.Size, Ring: &f.RingFile})
			if u.spool && f.file.Remove(s.turn.folder) == nil {
				continue
			}
		}
		res.Files = append(res.Files, SavedFile{Path: f.Path, Size: f.Size, Ring: &f.RingFile})
	}
	if u.spool {
		_ = os.Remove(s.turn.folder) // when nobody else has something in it
	}
	p := u.progress()
	res.Upload = &UploadResult{State: UploadComplete, BytesStaged: p.Staged, Retries: p.Retries}
	if failed == nil {
		return err
	}
	res.Upload.State = UploadFailed
	for _, f := range failed {
		res.Upload.BytesBehind += f.Size
	}
	first := failed[0]
	res.Upload.Problem = fmt.Sprint(first.blob.err)
	uerr := &fault.Error{Class: fault.Storage, Target: request.RingAddress(u.target.Address, first.Sequence).String(), Err: first.blob.err, Message: fmt.Sprintf(
		"the upload is not complete, %d of the %d files of the ring are not in the storage account: %v; they are kept, from %s on, and `pcapctl upload FILE --storage-path URL` sends each of them",
		len(failed), len(files), first.blob.err, filepath.Clean(first.Path))}
	if err == nil {
		return uerr
	}
	return fault.Errorf(fault.ClassOf(err), "%w; and %s", err, uerr)
}
