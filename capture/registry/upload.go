package registry

import (
	"context"

	"pcapctl/capture"
	"pcapctl/capture/deliver"
	"pcapctl/capture/fault"
)

// Uploaded writes down that the upload of a session that has ended is complete
// after all: the blob, and which files are left. A session that had failed for
// its upload alone is complete from now on; one that was lost stays lost.
//
// Error classes: NotFound, Forbidden, Conflict (ErrRunning), Internal; or the
// error of ctx.
func (r *Registry) Uploaded(ctx context.Context, name string, blob capture.FileResult, files []capture.FileResult, up deliver.Status) error {
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
	for {
		ok, err := tryLock(f.lock, careByte)
		if err != nil {
			return r.failed("write to", err)
		}
		if ok {
			break
		}
		if err := sleep(ctx, mendStep); err != nil {
			return err
		}
	}
	defer unlock(f.lock, careByte)
	rec, err := f.record()
	if err != nil {
		return err
	}
	p := &rec.Resource.Properties
	p.Statistics.Files, p.Statistics.Upload = files, &up
	p.Statistics.Blobs = []capture.FileResult{blob}
	if rec.Outcome != nil && rec.Outcome.Class == fault.Storage.Code() {
		rec.Outcome = &Outcome{}
		p.ProvisioningState, p.PacketCaptureStatus = capture.StateSucceeded, capture.StatusStopped
		p.PacketCaptureError = []string{}
	}
	rec.Resource.Seal()
	if err := replace(f.root, nil, rec); err != nil {
		return r.failed("write to", err)
	}
	return nil
}
