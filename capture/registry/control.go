package registry

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"pcapctl/capture/fault"
)

// Stop ends a session and returns when its file is closed and its record is
// complete. was is false when it had ended before, which is not an error. Root may
// stop another user's session, of which the Session that is returned tells nothing
// but its owner.
//
// Error classes: NotFound, Forbidden, Conflict (ErrStranger), Internal. When ctx
// ends first, its error is returned; the session has been told to stop by then.
func (r *Registry) Stop(ctx context.Context, name string) (_ *Session, was bool, err error) {
	f, err := r.findAny(name)
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
	if f.problem != nil {
		return false, f.problem
	}
	p, alive, err := holdingProcess(f.lock)
	switch {
	case err != nil:
		return alive, fault.Errorf(fault.Internal, "stop session %q: %w", f.name, err)
	case !alive:
		return false, nil
	}
	defer p.close()
	switch err := f.checkHolder(p); {
	case errors.Is(err, os.ErrProcessDone):
		return true, f.wait(ctx, p) // it has just ended
	case err != nil:
		return true, err
	}
	if err := p.terminate(); err != nil {
		return true, fault.Errorf(fault.Forbidden, "stop session %q (process %d): %w", f.name, p.pid, err)
	}
	return true, f.wait(ctx, p)
}

// checkHolder makes sure that the process that holds the session is the one that
// captures for it. Whoever may write to the lock file can lock it: a signal must not
// go, for root above all, to whatever process has been led to do so.
//
// Of another user's session the process must be that user's altogether, so that
// root does no more than that user could. Of this user's, the record is believed,
// and tells which process it is. The error is os.ErrProcessDone when it has ended.
func (f *folder) checkHolder(p process) error {
	is, err := p.facts()
	switch {
	case errors.Is(err, os.ErrProcessDone):
		return err
	case err != nil:
		return fault.Errorf(fault.Internal, "session %q: %s does not tell what process %d is, which holds it: %w", f.name, tellsOfProcesses, p.pid, err)
	}
	stranger := func(why string, args ...any) error {
		return fault.Errorf(fault.Conflict, "session %q: %w: it is process %d (%s), %s; end that process by itself if it may",
			f.name, ErrStranger, p.pid, fault.Quote(is.command), fmt.Sprintf(why, args...))
	}
	const effective = 1
	if !f.own() {
		if slices.ContainsFunc(is.owners, func(id account) bool { return id != f.owner }) {
			return stranger("which is not that of the session's owner alone (%s)", userName(f.owner))
		}
		return nil
	}
	if is.owners[effective] != f.owner {
		return stranger("of another user (%s)", userName(is.owners[effective]))
	}
	// One that cannot be read is told by itself.
	if rec, err := f.record(); err == nil && rec.PID != is.inner {
		return stranger("and by its record process %d captures, which has ended", rec.PID)
	}
	return nil
}

// Wait returns when the session has ended.
//
// Error classes: NotFound, Forbidden, Conflict (ErrStranger), Internal; or the error
// of ctx.
func (r *Registry) Wait(ctx context.Context, name string) (*Session, error) {
	f, err := r.find(name)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if f.problem != nil {
		return f.session(), nil
	}
	// A process in a container may have an id that we do not see. Its lock is
	// seen all the same.
	p, alive, err := holdingProcess(f.lock)
	if err != nil && !alive {
		return nil, fault.Errorf(fault.Internal, "wait for session %q: %w", f.name, err)
	}
	if alive {
		defer p.close()
		// What is not the session's process may hold the lock for ever.
		if err == nil {
			if err := f.checkHolder(p); err != nil && !errors.Is(err, os.ErrProcessDone) {
				return nil, err
			}
		}
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
// that was. With stop it ends the session first. The capture file stays. Root may
// delete another user's, of which the Session tells nothing but its owner.
//
// Error classes: NotFound, Forbidden, Conflict (ErrRunning, ErrStranger), Internal;
// or the error of ctx.
func (r *Registry) Delete(ctx context.Context, name string, stop bool) (*Session, error) {
	f, err := r.findAny(name)
	if err != nil {
		return nil, err
	}
	defer f.close()
	if stop && f.problem == nil {
		if _, err := f.stop(ctx); err != nil {
			return nil, err
		}
	}
	s := f.session()
	switch {
	case f.problem != nil && (s.Alive || !f.own()):
		return nil, f.problem // which says what to do
	case s.Alive:
		return nil, fault.Errorf(fault.Conflict, "%q: %w; stop it first, or add --stop", s.Name, ErrRunning)
	}
	// Whoever removes a folder holds this lock in it. So once we have it, no
	// other process removes the folder.
	if err := f.lockForChange(ctx); err != nil {
		return nil, err
	}
	return s, f.remove(s)
}

// remove takes the folder away, unless another process has done so before we
// had the lock; there may be a new session of that name by now.
func (f *folder) remove(s *Session) error {
	root, err := f.reg.root()
	switch {
	case errors.Is(err, os.ErrNotExist):
		return unknown(s.Name)
	case err != nil:
		return err
	}
	defer func() { _ = root.Close() }()
	now, err1 := root.Lstat(f.name)
	here, err2 := f.root.Stat(".")
	if err := errors.Join(err1, err2); err != nil || !os.SameFile(now, here) {
		return unknown(s.Name)
	}
	gone := oldPrefix + rand.Text()
	if err := f.rename(root, gone); err != nil {
		return f.reg.failed("write to", err)
	}
	_ = syncFolder(root)
	if s.Record != nil {
		_ = root.RemoveAll(gone) // what stays is removed by a later claim
		return nil
	}
	// Without a record that is believed, only files that a session has are removed:
	// more in the folder is somebody's, or another user has put it there for root to
	// remove.
	for _, name := range []string{recordName, spareName, liveName, rotationName, logName, lockName} {
		_ = f.root.Remove(name)
	}
	if err := root.Remove(gone); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fault.Errorf(fault.Internal, "session %q is deleted, but there was more in its folder than pcapctl makes; it is left in %s: %w", s.Name, filepath.Join(f.reg.dir, gone), err)
	}
	return nil
}
