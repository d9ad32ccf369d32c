package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/storage"
)

// Stop ends a session and returns when its file is closed and its record is
// complete. was is false when it had ended before, which is not an error.
//
// Error classes: NotFound, Forbidden, Internal. When ctx ends first, its error
// is returned; the session has been told to stop by then.
func (r *Registry) Stop(ctx context.Context, name string) (_ *Session, was bool, err error) {
	f, err := r.find(name)
	if err != nil {
		return nil, false, err
	}
	defer f.close()
	was, err = f.stop(ctx)
	if err != nil {
		return nil, was, err
	}
	return f.session(), was, nil
}

// stop tells the process that holds the session to end, and waits for that.
func (f *folder) stop(ctx context.Context) (was bool, err error) {
	p, alive, err := holdingProcess(f.lock)
	switch {
	case err != nil:
		return alive, fault.Errorf(fault.Internal, "stop session %q: %w", f.name, err)
	case !alive:
		return false, nil
	}
	defer p.close()
	if err := p.terminate(); err != nil {
		return true, fault.Errorf(fault.Forbidden, "stop session %q (process %d): %w", f.name, p.pid, err)
	}
	return true, f.wait(ctx, p)
}

// Wait returns when the session has ended.
//
// Error classes: NotFound, Forbidden, Internal; or the error of ctx.
func (r *Registry) Wait(ctx context.Context, name string) (*Session, error) {
	f, err := r.find(name)
	if err != nil {
		return nil, err
	}
	defer f.close()
	// A process in a container may have an id that we do not see. Its lock is
	// seen all the same.
	p, alive, err := holdingProcess(f.lock)
	if err != nil && !alive {
		return nil, fault.Errorf(fault.Internal, "wait for session %q: %w", f.name, err)
	}
	if alive {
		defer p.close()
		if err := f.wait(ctx, p); err != nil {
			return nil, err
		}
	}
	return f.session(), nil
}

// WaitBegun returns when the session is not Starting any more.
//
// Error classes: NotFound (the capture could not start, and the session is gone
// again), Forbidden, Internal; or the error of ctx.
func (r *Registry) WaitBegun(ctx context.Context, name string) (*Session, error) {
	for {
		s, err := r.Get(name)
		if err != nil || s.State != Starting {
			return s, err
		}
		if err := sleep(ctx, lookEvery); err != nil {
			return nil, err
		}
	}
}

// lookEvery is how often a session is looked at that is waited for. Where the
// kernel tells of the end of a process, that is known at once.
const lookEvery = 50 * time.Millisecond

// wait returns when no process holds the session. The capturing process lets go
// of it when the record is complete, before it ends. p may be unknown.
func (f *folder) wait(ctx context.Context, p process) error {
	for {
		_, alive, err := holder(f.lock)
		if err != nil {
			return fault.Errorf(fault.Internal, "wait for session %q: %w", f.name, err)
		}
		if !alive {
			return nil
		}
		if !p.pollable() {
			err = sleep(ctx, lookEvery)
		} else {
			p.waitExit(lookEvery)
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

// Delete removes what is kept of a session that has ended, and returns what
// that was. With stop it ends the session first. The capture file stays.
//
// Error classes: NotFound, Forbidden, Conflict (ErrRunning), Internal; or the
// error of ctx.
func (r *Registry) Delete(ctx context.Context, name string, stop bool) (*Session, error) {
	f, err := r.find(name)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if stop {
		if _, err := f.stop(ctx); err != nil {
			return nil, err
		}
	}
	s := f.session()
	if s.Alive {
		return nil, fault.Errorf(fault.Conflict, "%q: %w; stop it first, or add --stop", s.Name, ErrRunning)
	}
	// Whoever removes a folder holds this lock in it. So once we have it, no
	// other process removes the folder.
	if err := f.lockForChange(ctx); err != nil {
		return nil, err
	}
	return s, f.remove(s.Name)
}

// remove takes the folder away, unless another process has done so before we
// had the lock; there may be a new session of that name by now.
func (f *folder) remove(name string) error {
	root, err := os.OpenRoot(f.reg.dir)
	if err != nil {
		return f.reg.failed("write to", err)
	}
	defer func() { _ = root.Close() }()
	now, err1 := root.Lstat(f.name)
	here, err2 := f.root.Stat(".")
	if err := errors.Join(err1, err2); err != nil || !os.SameFile(now, here) {
		return unknown(name)
	}
	gone := oldPrefix + rand.Text()
	if err := storage.Uninterrupted(func() error { return root.Rename(f.name, gone) }); err != nil {
		return f.reg.failed("write to", err)
	}
	_ = syncFolder(root)
	_ = root.RemoveAll(gone) // what stays is removed by a later claim
	return nil
}
