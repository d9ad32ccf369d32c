package registry

import (
	"context"

	"pcapctl/capture"
	"pcapctl/capture/deliver"
	"pcapctl/capture/fault"
)

// Uploaded writes into the record that the upload of a session that has ended
// was completed later: the blob, and which files are left. A session that had
// failed only because of its upload is complete from now on; one that was lost
// stays lost.
//
// Error classes: NotFound, Forbidden, Conflict (ErrRunning), Internal; or the
// error of ctx.
func (r *Registry) Uploaded(ctx context.Context, name string, blob capture.FileResult, files []capture.FileResult, up deliver.Status) error {
	return r.change(ctx, name, func(rec *Record) {
		p := &rec.Resource.Properties
		p.Statistics.Files, p.Statistics.Upload = files, &up
		p.Statistics.Blobs = []capture.FileResult{blob}
		if rec.Outcome != nil && rec.Outcome.Class == fault.Storage.Code() {
			rec.Outcome = &fault.Report{}
			p.ProvisioningState, p.PacketCaptureStatus = capture.StateSucceeded, capture.StatusStopped
			p.PacketCaptureError = []string{}
		}
	})
}

// UploadedContext writes into the record that the context of a session that has ended was
// sent later. Error classes are those of Uploaded.
func (r *Registry) UploadedContext(ctx context.Context, name string, c *capture.ContextResult) error {
	return r.change(ctx, name, func(rec *Record) { rec.Resource.Properties.Statistics.Context = c })
}

// change writes a new version of the record of a session that has ended.
func (r *Registry) change(ctx context.Context, name string, what func(*Record)) error {
	f, err := r.find(name)
	if err != nil {
		return err
	}
	defer f.close()
	if s := f.session(); s.Alive {
		return fault.Errorf(fault.Conflict, "%q: %w", s.Name, ErrRunning)
	} else if s.Err != nil {
		return s.Err
	}
	if err := f.lockForChange(ctx); err != nil {
		return err
	}
	defer f.unlockForChange()
	rec, err := f.record()
	if err != nil {
		return err
	}
	what(rec)
	if err := f.rewrite(rec); err != nil {
		return r.failed("write to", err)
	}
	return nil
}
