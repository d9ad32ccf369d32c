package deliver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"pcapctl/capture/fault"
	"pcapctl/capture/request"
	"pcapctl/capture/save"
	"pcapctl/filter"
	"pcapctl/storage"
	"pcapctl/storage/azblob"
)

// single is the delivery of the one file of a session. It runs beside the packet
// loop, which knows nothing of it but the size of the file.
type single struct {
	sending
	keep  int64 // bytes of a spool that stay on the disk although they were sent
	spool bool  // the file is a spool, and goes when the blob is complete
	most  int64 // bytes that the file may have

	path   string
	size   int64 // at the start
	open   func() (*os.File, error)
	source uploadFile

	up *azblob.Upload // from Start on
}

// New makes the delivery of a session with one blob, whose target was checked.
func New(c *request.Config, s Settings, t *Target) Delivery {
	if c.Rotates() {
		return newRotated(c, s, t)
	}
	d := &single{sending: newSending(t, s.Grace), keep: s.SpoolSize, spool: c.FilePath == "", most: mostBytes(c)}
	return d
}

// Begun implements save.Events.
func (d *single) Begun(f save.File, open func() (*os.File, error)) {
	d.path, d.size, d.open = f.Path, f.Size, open
}

// Grew implements save.Events.
func (d *single) Grew(_ int, size int64) { d.up.Grow(size) }

// Start opens the file a second time and begins to send it. It is not opened by its path, which leads to whatever those who
// may write to the folder have put there.
func (d *single) Start(exclude func([]filter.Flow) error) error {
	o := azblob.UploadOptions{BlockSize: azblob.BlockSize(d.most)}
	f, err := d.open()
	if err != nil {
		return fault.Errorf(fault.LocalFile, "%w", err)
	}
	if d.spool {
		s := storage.NewSpool(f, d.keep)
		d.source = s
		// A disk that takes nothing back keeps what it has: no harm is done.
		o.Sent = func(offset int64) { _ = s.Release(offset) }
	} else {
		d.source = plainFile{File: f}
	}
	d.up = d.target.client.Upload(d.source, o)
	d.up.Grow(d.size)
	return d.target.watchFlows(exclude)
}

// CaptureEnded implements Delivery.
func (d *single) CaptureEnded() { d.target.client.StopWatchingFlows() }

// Progress implements Delivery.
func (d *single) Progress() Progress { return progressOf(d.up.Progress()) }

// Resume implements Delivery.
func (d *single) Resume(by string) string {
	if by == "" {
		return fmt.Sprintf("`pcapctl upload %s --storage-path %s`", d.path, d.target.Address)
	}
	return fmt.Sprintf("`pcapctl upload %s`", by)
}

// Discard implements Delivery.
func (d *single) Discard() {
	d.abandon()
	if d.up != nil { // it has begun
		d.up.Abort()
		_ = d.source.Close()
	}
	d.target.Close()
}

// Finish implements Delivery.
func (d *single) Finish(e Ended) Delivered {
	close(d.ending)
	size := e.Files[0].Size
	d.path = e.Files[0].Path // where it is in the end
	d.up.Grow(size)
	ctx, cancel := context.WithCancel(d.ctx)
	defer cancel()
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() { watchProgress(done, d.grace, d.up, cancel) })
	res, err := d.up.Finish(ctx, size, e.Metadata)
	close(done)
	wg.Wait()
	_ = d.source.Close()
	beside := BesideDone{Err: err} // a storage that does not take the one is not asked to take the other
	if err == nil {
		beside = d.sendBeside(&e.Beside, d.spool)
	}
	d.target.Close()

	p := d.Progress()
	out := Delivered{Files: e.Files, Status: &Status{State: Complete, BytesStaged: p.Staged, BytesBehind: max(0, size-p.Staged), Retries: p.Retries}, Beside: beside}
	if err != nil {
		out.Status.State, out.Status.Problem = Failed, err.Error()
		out.Err = d.failure(&e, err)
		return out
	}
	out.Blobs = []Blob{{URL: d.target.Address.String(), Size: res.Size, File: e.Files[0]}}
	if d.spool {
		if e.Remove(e.Files[0]) == nil {
			out.Files = nil
			_ = os.Remove(e.Folder) // when nobody else has something in it
		}
	}
	return out
}

// failure says why the blob is not complete, where the packets are, and how to
// go on.
func (d *single) failure(e *Ended, err error) error {
	if e.Files[0].Unreachable {
		return &fault.Error{Class: fault.Storage, Target: d.target.Address.String(), Err: err, Message: "the upload is not complete: " + err.Error()}
	}
	next := d.Resume(e.ResumeBy) + " goes on with it"
	if a, ok := errors.AsType[*azblob.Error](err); ok && a.Kind == azblob.Conflict {
		next = fmt.Sprintf("`pcapctl upload %s --storage-path URL` takes it to another blob", cmp.Or(e.ResumeBy, d.path))
	}
	return &fault.Error{Class: fault.Storage, Target: d.target.Address.String(), Err: err,
		Message: fmt.Sprintf("the upload is not complete: %s; the capture is kept in %s, and %s", err.Error(), d.path, next)}
}
