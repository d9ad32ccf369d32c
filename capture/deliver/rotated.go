package deliver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/request"
	"pcapctl/capture/save"
	"pcapctl/filter"
	"pcapctl/storage/azblob"
	"pcapctl/storage/azblob/bloburl"
)

// rotatedFiles brings the files of a rotation into blobs, one file after the
// other, each while it fills, and deletes the blobs of those that have been taken
// away. The rotation does not wait for it: a file that leaves before it was sent
// is not sent any more.
type rotatedFiles struct {
	sending        // to the target of the first file
	most     int64 // bytes of a file at the most
	metadata Metadata
	spool    bool // the local files are there for the sake of the blobs only

	idle chan struct{} // closed when all is done
	more chan struct{} // has one element when there is something to do
	wg   sync.WaitGroup

	mu      sync.Mutex
	files   map[int]*rotatedFile // those that have not left, by their sequence
	queue   []*rotatedFile       // to be sent, the oldest first
	left    []*rotatedFile       // whose blobs are to be deleted
	closed  bool                 // nothing more comes
	now     *azblob.Upload
	sent    Progress // of files that are done with
	skipped int      // files that left unsent
}

// rotatedFile is what is known of a file's way into its blob.
type rotatedFile struct {
	sequence int
	open     func() (*os.File, error)
	size     chan int64    // the last size that was told; has one element when that is news
	complete chan struct{} // closed when file is what the sink said in the end
	file     save.File
	gone     chan struct{}   // closed when the file leaves
	released chan struct{}   // closed when nobody reads the file any more
	address  bloburl.Address // of the blob, once it is complete
	made     string          // which tells it from another that takes its place
	err      error           // why it is not
}

func newRotated(c *request.Config, s Settings, t *Target) *rotatedFiles {
	return &rotatedFiles{
		sending: newSending(t, s.Grace), most: mostBytes(c), spool: c.FilePath == "",
		metadata: Metadata{Name: c.Name, Host: c.HostName, Target: c.Target.String(), Filters: c.Filters.String()},
		idle:     make(chan struct{}), more: make(chan struct{}, 1), files: map[int]*rotatedFile{},
	}
}

func (u *rotatedFiles) wake() {
	select {
	case u.more <- struct{}{}:
	default:
	}
}

// Begun implements save.Events.
func (u *rotatedFiles) Begun(f save.File, open func() (*os.File, error)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	r := &rotatedFile{
		sequence: f.Sequence, open: open, size: make(chan int64, 1),
		complete: make(chan struct{}), gone: make(chan struct{}), released: make(chan struct{}),
	}
	u.files[f.Sequence] = r
	u.queue = append(u.queue, r)
	u.wake()
}

func (u *rotatedFiles) file(sequence int) *rotatedFile {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.files[sequence]
}

// Grew implements save.Events. What was told before and nobody has looked at yet
// is forgotten.
func (u *rotatedFiles) Grew(sequence int, size int64) {
	r := u.file(sequence)
	select {
	case <-r.size:
	default:
	}
	select {
	case r.size <- size:
	default:
	}
}

// Complete implements save.Events.
func (u *rotatedFiles) Complete(f save.File) {
	r := u.file(f.Sequence)
	r.file = f
	close(r.complete)
}

// Leaving implements save.Events. It waits until the file is closed, which takes
// no time that depends on the network.
func (u *rotatedFiles) Leaving(f save.File) {
	u.mu.Lock()
	r := u.files[f.Sequence]
	delete(u.files, f.Sequence)
	close(r.gone)
	if at := slices.Index(u.queue, r); at >= 0 {
		u.queue = slices.Delete(u.queue, at, at+1)
		u.skipped++
		close(r.released)
	}
	u.mu.Unlock()
	<-r.released
	u.mu.Lock()
	defer u.mu.Unlock()
	if !r.address.IsZero() {
		u.left = append(u.left, r)
		u.wake()
	}
}

// Start implements Delivery.
func (u *rotatedFiles) Start(exclude func([]filter.Flow) error) error {
	if err := u.target.watchFlows(exclude); err != nil {
		return err
	}
	u.wg.Go(func() {
		for r := u.next(); r != nil; r = u.next() {
			err := u.send(r)
			u.mu.Lock()
			r.err = err
			u.mu.Unlock()
			close(r.released)
			u.deleteLeft()
		}
		u.deleteLeft()
		close(u.idle)
	})
	return nil
}

// CaptureEnded implements Delivery.
func (u *rotatedFiles) CaptureEnded() { u.target.client.StopWatchingFlows() }

// next is the next file to be sent, nil when there will be none.
func (u *rotatedFiles) next() *rotatedFile {
	for {
		u.mu.Lock()
		if len(u.queue) > 0 {
			r := u.queue[0]
			u.queue = slices.Delete(u.queue, 0, 1)
			u.mu.Unlock()
			return r
		}
		closed := u.closed
		u.mu.Unlock()
		if closed {
			return nil
		}
		<-u.more
		u.deleteLeft()
	}
}

// deleteLeft deletes the blobs of files that have left. What cannot be deleted
// now is tried again with the next one.
func (u *rotatedFiles) deleteLeft() {
	u.mu.Lock()
	left := u.left
	u.left = nil
	u.mu.Unlock()
	for i, r := range left {
		client, err := u.target.client.Sibling(r.address)
		if err == nil {
			err = client.Delete(u.ctx, r.made)
		}
		if err != nil {
			u.mu.Lock()
			u.left = slices.Concat(left[i:], u.left)
			u.mu.Unlock()
			return
		}
	}
}

// send brings one file into its blob.
func (u *rotatedFiles) send(r *rotatedFile) error {
	address := request.RotatedAddress(u.target.Address, r.sequence)
	client, err := u.target.client.Sibling(address)
	if err != nil {
		return err
	}
	file, err := r.open()
	if err != nil {
		return err
	}
	src := plainFile{File: file}
	defer func() { _ = src.Close() }()
	ctx, cancel := context.WithCancel(u.ctx)
	defer cancel()
	up := client.Upload(src, azblob.UploadOptions{BlockSize: azblob.BlockSize(u.most)})
	u.mu.Lock()
	u.now = up
	u.mu.Unlock()
	defer func() {
		up.Abort()
		u.account(up)
	}()
	if !r.follow(ctx, up) {
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
		case <-r.gone:
			cancel()
		case <-u.ending:
			// One that does not get on says enough of the others.
			watchProgress(done, u.grace, up, u.abandon)
		}
	}()
	m := u.metadata
	m.Sequence, m.Packets, m.StartTime = r.sequence, r.file.Packets, r.file.Started.UTC().Format(time.RFC3339Nano)
	_, err = up.Finish(ctx, r.file.Size, m.Map())
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case err == nil:
		r.address, r.made = address, up.Made()
	case isClosed(r.gone):
		u.skipped++
	}
	return err
}

var errLeft = errors.New("it left the ring before it was sent")

// follow tells the upload how far the file is written, until it is complete. It
// is false when the file has left before, or the upload was given up.
func (r *rotatedFile) follow(ctx context.Context, up *azblob.Upload) bool {
	for {
		select {
		case <-r.complete:
			return !isClosed(r.gone)
		case <-r.gone:
			return false
		case <-ctx.Done():
			return false
		case size := <-r.size:
			up.Grow(size)
		}
	}
}

// account adds up what has been sent.
func (u *rotatedFiles) account(up *azblob.Upload) {
	p := up.Progress()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.now = nil
	u.sent.Size += p.Staged
	u.sent.Staged += p.Staged
	u.sent.Retries += p.Retries
}

// Progress implements Delivery.
func (u *rotatedFiles) Progress() Progress {
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

// Resume implements Delivery. Each file has a blob of its own, so that a name
// does not tell which.
func (*rotatedFiles) Resume(string) string { return "`pcapctl upload FILE --storage-path URL`" }

// Discard implements Delivery.
func (u *rotatedFiles) Discard() {
	u.abandon()
	u.close()
	u.wg.Wait()
	u.target.Close()
}

// close says that no file comes any more.
func (u *rotatedFiles) close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	u.wake()
}

// Finish implements Delivery.
func (u *rotatedFiles) Finish(e Ended) Delivered {
	close(u.ending)
	u.close()
	for _, f := range e.Files {
		<-u.file(f.Sequence).released
	}
	// What is left to be deleted does not hold the session up for longer than a
	// file would.
	select {
	case <-u.idle:
	case <-time.After(u.grace):
	}
	beside := u.sendBeside(&e.Beside, u.spool)
	u.abandon()
	u.wg.Wait()
	u.target.Close()
	out := u.delivered(&e)
	out.Beside = beside
	if u.skipped > 0 {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%d files left the ring before they could be sent to the storage account", u.skipped))
	}
	if n := len(u.left); n > 0 {
		out.Warnings = append(out.Warnings, fmt.Sprintf("%d blobs that have left the ring could not be taken away, the first is %s", n, u.left[0].address))
	}
	return out
}

// delivered says which files have reached their blobs.
func (u *rotatedFiles) delivered(e *Ended) Delivered {
	var out Delivered
	var failed []save.File
	for _, f := range e.Files {
		r := u.files[f.Sequence]
		if r.address.IsZero() {
			failed = append(failed, f)
		} else {
			out.Blobs = append(out.Blobs, Blob{URL: r.address.String(), Size: f.Size, File: f})
			if u.spool && e.Remove(f) == nil {
				continue
			}
		}
		out.Files = append(out.Files, f)
	}
	if u.spool {
		_ = os.Remove(e.Folder) // when nobody else has something in it
	}
	p := u.Progress()
	out.Status = &Status{State: Complete, BytesStaged: p.Staged, Retries: p.Retries}
	if failed == nil {
		return out
	}
	out.Status.State = Failed
	for _, f := range failed {
		out.Status.BytesBehind += f.Size
	}
	first := failed[0]
	err := u.files[first.Sequence].err
	out.Status.Problem = fmt.Sprint(err)
	if first.Unreachable {
		out.Err = &fault.Error{Class: fault.Storage, Target: request.RotatedAddress(u.target.Address, first.Sequence).String(), Err: err, Message: fmt.Sprintf(
			"the upload is not complete, %d of the %d files of the ring are not in the storage account: %v", len(failed), len(e.Files), err)}
		return out
	}
	out.Err = &fault.Error{Class: fault.Storage, Target: request.RotatedAddress(u.target.Address, first.Sequence).String(), Err: err, Message: fmt.Sprintf(
		"the upload is not complete, %d of the %d files of the ring are not in the storage account: %v; they are kept, from %s on, and %s sends each of them",
		len(failed), len(e.Files), err, filepath.Clean(first.Path), u.Resume(""))}
	return out
}
