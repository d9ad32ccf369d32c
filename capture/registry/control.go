package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"time"

	"pcapctl/capture/fault"
)

// Stop ends a session and returns when its file is closed and its record is
// complete. was is false when there was nothing to stop, which is no error.
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
	// A process that cannot be named, because it is in a container, still
	// holds its lock.
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
// Error classes: NotFound (it could not start and has gone), Forbidden,
// Internal; or the error of ctx.
func (r *Registry) WaitBegun(ctx context.Context, name string) (*Session, error) {
	for {
		s, err := r.Get(name)
		if err != nil || s.State != Starting {
			return s, err
		}
		if err := sleep(ctx, lockEvery); err != nil {
			return nil, err
		}
	}
}

// lockEvery is how often a lock is asked for that somebody holds. The end of
// the process, where the kernel tells it, is heard of at once.
const lockEvery = 50 * time.Millisecond

// wait returns when nobody holds the session. A process lets go of it before
// it ends, when the record is complete. p may be nil.
func (f *folder) wait(ctx context.Context, p *process) error {
	for {
		_, alive, err := holder(f.lock)
		if err != nil {
			return fault.Errorf(fault.Internal, "wait for session %q: %w", f.name, err)
		}
		if !alive {
			return nil
		}
		if p == nil || !p.pollable() {
			err = sleep(ctx, lockEvery)
		} else {
			p.waitExit(lockEvery)
			err = ctx.Err()
		}
		if err != nil {
			return err
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// Delete forgets a session that has ended and tells what it was. With stop it
// ends it first. The capture file stays.
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
	// Whoever takes a folder away holds this lock in it, so that it cannot be
	// gone, and another of the same name in its place, once we have it.
	for {
		ok, err := tryLock(f.lock, careByte)
		if err != nil {
			return nil, r.failed("write to", err)
		}
		if ok {
			break
		}
		if err := sleep(ctx, mendStep); err != nil {
			return nil, err
		}
	}
	return s, f.remove(s.Name)
}

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
	if err := root.Rename(f.name, gone); err != nil {
		return f.reg.failed("write to", err)
	}
	_ = syncFolder(root)
	_ = root.RemoveAll(gone) // what stays behind is swept away by a later claim
	return nil
}
