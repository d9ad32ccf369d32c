package capture

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/filter"
	"pcapctl/storage"
	"pcapctl/storage/azblob"
)

// upload is the way of a session's file into its blob. It runs beside the
// packet loop, which knows nothing of it but the size of the file.
type upload struct {
	target *BlobTarget
	path   string
	source source
	up     *azblob.Upload
	grace  time.Duration
	spool  bool // the file is a spool, and goes when the blob is complete

	stop    chan struct{} // ends following the file
	wg      sync.WaitGroup
	ending  chan struct{} // closed when the capture has ended and the rest is being sent
	abandon context.CancelFunc
	ctx     context.Context //nolint:containedctx // ends the upload, from wherever
}

// source is a file that is read beside the one who writes it.
type source interface {
	azblob.Source
	Close() error
}

// plainFile is a file of which nothing is given back any more.
type plainFile struct {
	*os.File
	given int64
}

// Given is azblob.Source's.
func (f plainFile) Given() int64 { return f.given }

// How often the upload looks whether the file has grown, and how often the
// watcher hears of it. Blocks have megabytes.
const (
	followEvery    = 50 * time.Millisecond
	tellUploadEach = time.Second
)

// startUpload opens the file a second time and begins to send it.
func startUpload(p *Plan, t *BlobTarget, path string) (*upload, error) {
	u := &upload{target: t, path: path, grace: p.upload.Grace, spool: p.Config.FilePath == "", stop: make(chan struct{}), ending: make(chan struct{})}
	o := azblob.UploadOptions{BlockSize: azblob.BlockSize(mostBytes(p.Config))}
	if u.spool {
		s, err := storage.OpenSpool(path, p.upload.SpoolSize)
		if err != nil {
			return nil, fault.Errorf(fault.LocalFile, "%w", err)
		}
		u.source = s
		// A disk that takes nothing back keeps what it has: no harm is done.
		o.Sent = func(offset int64) { _ = s.Release(offset) }
	} else {
		f, err := os.Open(path)
		if err != nil {
			return nil, fault.Errorf(fault.LocalFile, "%w", err)
		}
		u.source = plainFile{File: f}
	}
	u.ctx, u.abandon = context.WithCancel(context.Background())
	u.up = t.client.Upload(u.source, o)
	return u, nil
}

// beginUpload starts the upload of the session, if it has one.
func (s *Session) beginUpload(t *BlobTarget, path string) (err error) {
	switch {
	case s.Plan.Config.Blob == nil:
		return nil
	case t == nil:
		return fault.Errorf(fault.Internal, "the blob was not opened")
	case s.turn != nil:
		return s.beginRing(t)
	}
	if s.upload, err = startUpload(s.Plan, t, path); err != nil {
		return err
	}
	if err := s.leaveOut(t); err != nil {
		return fault.Errorf(fault.Internal, "%w", err)
	}
	return nil
}

// follow tells the upload how far the file is written, and the watcher how far
// the upload is.
func (u *upload) follow(written func() int64, w Watcher) {
	u.wg.Go(func() {
		tick := time.NewTicker(followEvery)
		defer tick.Stop()
		told := time.Time{}
		for {
			select {
			case <-u.stop:
				return
			case <-tick.C:
				u.up.Grow(written())
				if w != nil && time.Since(told) >= tellUploadEach {
					told = time.Now()
					w.Upload(u.progress())
				}
			}
		}
	})
}

func (u *upload) progress() UploadProgress {
	p := u.up.Progress()
	return UploadProgress{Size: p.Size, Staged: p.Staged, Retries: p.Retries, Problem: p.Problem}
}

// discard gives up an upload of a session that never began.
func (u *upload) discard() {
	if u == nil {
		return
	}
	u.abandon()
	u.up.Abort()
	_ = u.source.Close()
}

// leaveOut keeps the upload's connections out of what is captured: the filter
// is made anew whenever one comes or has gone, before its first packet.
func (s *Session) leaveOut(t *BlobTarget) error {
	p := s.Plan
	return t.client.WatchFlows(func(flows []azblob.Flow) error {
		o := p.options
		o.Exclude = make([]filter.Flow, len(flows))
		for i, f := range flows {
			o.Exclude[i] = filter.Flow(f)
		}
		program, err := p.Config.Filters.Compile(o)
		if err == nil && program.Exact != p.Program.Exact {
			err = errTooManyToLeaveOut // the recorder goes by what the first program was
		}
		if err == nil {
			err = s.ring.SetFilter(program.Raw)
		}
		if err != nil {
			return fmt.Errorf("leave the upload's own connection out of the capture: %w", err)
		}
		return nil
	})
}

var errTooManyToLeaveOut = errors.New("the filters and all its connections do not fit in one program")

// finish sends what is left of a file that has size bytes and makes the blob.
// It takes as long as there is progress, and the grace after that.
func (u *upload) finish(size int64, metadata map[string]string, w Watcher) (*azblob.Result, error) {
	close(u.ending)
	u.up.Grow(size)
	ctx, cancel := context.WithCancel(u.ctx)
	defer cancel()
	done := make(chan struct{})
	u.wg.Go(func() {
		watchProgress(done, u.grace, u.up, func() {
			if w != nil {
				w.Upload(u.progress())
			}
		}, cancel)
	})
	res, err := u.up.Finish(ctx, size, metadata)
	close(done)
	close(u.stop)
	u.wg.Wait()
	if w != nil {
		w.Upload(u.progress())
	}
	_ = u.source.Close()
	u.target.Close()
	return res, err
}

// watchProgress calls giveUp when the upload has come no further for as long as
// grace.
func watchProgress(done <-chan struct{}, grace time.Duration, up *azblob.Upload, tell, giveUp func()) {
	tick := time.NewTicker(min(tellUploadEach, max(grace/4, time.Millisecond)))
	defer tick.Stop()
	last, since := up.Progress().Staged, time.Now()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		tell()
		if now := up.Progress().Staged; now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) >= grace {
			giveUp()
		}
	}
}

// uploadError says why the blob is not complete, where the packets are, and how
// to go on.
func (s *Session) uploadError(err error) error {
	path, url := s.upload.path, s.upload.target.Address.String()
	what, to := s.Plan.Config.Name, ""
	if !s.listed {
		what, to = path, " --storage-path "+url
	}
	next := fmt.Sprintf("`pcapctl upload %s%s` goes on with it", what, to)
	if e, ok := errors.AsType[*azblob.Error](err); ok && e.Kind == azblob.Conflict {
		next = fmt.Sprintf("`pcapctl upload %s --storage-path URL` takes it to another blob", what)
	}
	return &fault.Error{Class: fault.Storage, Target: url, Err: err,
		Message: fmt.Sprintf("the upload is not complete: %s; the capture is kept in %s, and %s", err.Error(), path, next)}
}

// finishUpload is the last part of a session: what is left of the file is sent.
// err is what the capture itself ended with.
func (s *Session) finishUpload(res *Result, err error) error {
	if s.sends != nil {
		return s.finishRing(res, err)
	}
	u := s.upload
	if u == nil {
		return err
	}
	res.Err = err
	size := s.file.Size()
	done, uerr := u.finish(size, res.Resource().Metadata(), s.watcher)
	res.Upload = u.result(size, uerr)
	if uerr != nil {
		uerr = s.uploadError(uerr)
		if err == nil {
			return uerr
		}
		return fault.Errorf(fault.ClassOf(err), "%w; and %s", err, uerr)
	}
	res.Blobs = []SavedFile{{Path: u.target.Address.String(), Size: done.Size}}
	if u.spool {
		if rerr := os.Remove(u.path); rerr == nil {
			res.Files = nil
			_ = os.Remove(filepath.Dir(u.path)) // when nobody else has something in it
		}
	}
	return err
}

// States of an upload.
const (
	UploadRunning  = "Uploading"
	UploadComplete = "Complete"
	UploadFailed   = "Failed"
)

func (u *upload) result(size int64, err error) *UploadResult {
	p := u.progress()
	r := &UploadResult{State: UploadComplete, BytesStaged: p.Staged, BytesBehind: max(0, size-p.Staged), Retries: p.Retries}
	if err != nil {
		r.State, r.Problem = UploadFailed, err.Error()
	}
	return r
}

// Uploading is closed when the capture has ended and what is left of it is
// being sent; nil for a capture that goes to a file only.
func (s *Session) Uploading() <-chan struct{} {
	switch {
	case s.sends != nil:
		return s.sends.ending
	case s.upload == nil:
		return nil
	}
	return s.upload.ending
}

// AbandonUpload ends the upload without waiting any longer. What was sent stays
// with the service, and `pcapctl upload` goes on with it. It is false when there
// is none to end: before the capture has ended the file is not complete.
func (s *Session) AbandonUpload() bool {
	switch {
	case s.Uploading() == nil || !isClosed(s.Uploading()):
		return false
	case s.sends != nil:
		s.sends.abandon()
	default:
		s.upload.abandon()
	}
	return true
}
