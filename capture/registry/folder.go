package registry

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/storage"
)

// folder is a session's folder, opened. Everything in it is opened through
// root, so that no link in it leads out of it.
type folder struct {
	reg   *Registry
	name  string // of the folder
	root  *os.Root
	owner account
	lock  *os.File // nil when it is lost, or is not what pcapctl has made
	// problem says why nothing in the folder is believed, although it is this
	// user's; nil when it is.
	problem error
}

// own tells whether the folder is this user's. Of all others nothing is believed,
// by root neither: the owner may have written anything into it.
func (f *folder) own() bool { return isOwn(f.owner) }

// open opens the folder name of root, which errors call by the name shown. Whose it
// is the caller has to look at.
// Only what is in a folder of this user's own, or, for root, the lock of
// another's, is opened.
//
// The errors are those of a session that is unknown (ErrUnknown) or of another
// user, whose folder this one may not enter (ErrForeign).
func (r *Registry) open(root *os.Root, name, shown string) (_ *folder, err error) {
	f := &folder{reg: r, name: name}
	named, err := root.Lstat(name)
	if err != nil || !named.IsDir() {
		return nil, unknown(shown)
	}
	f.owner = inodeIn(root, name, named).owner
	f.root, err = uninterrupted(func() (*os.Root, error) { return root.OpenRoot(name) })
	switch {
	case errors.Is(err, fs.ErrPermission) && !f.own():
		return nil, foreign(shown, f.owner)
	case errors.Is(err, fs.ErrNotExist):
		return nil, unknown(shown)
	case err != nil:
		return nil, r.failed("read", err)
	}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	// A Root follows links within it. What was opened must be the folder itself, and
	// not what a link led to that has taken its place meanwhile.
	st, err := uninterrupted(func() (fs.FileInfo, error) { return f.root.Stat(".") })
	if err != nil {
		return nil, r.failed("read", err)
	}
	if !os.SameFile(named, st) {
		return nil, unknown(shown)
	}
	is := inodeIn(f.root, ".", st)
	if f.owner = is.owner; !f.own() && !isSuper() {
		return nil, foreign(shown, f.owner)
	}
	if err := f.openLock(shown); err != nil {
		return nil, err
	}
	if f.problem == nil && f.own() && is.open {
		f.problem = fault.Errorf(fault.Forbidden, "session %q: others than its owner may change what is in %s; close it with `%s`", name, f.path(), closing(f.path()))
	}
	return f, nil
}

func (f *folder) path() string { return filepath.Join(f.reg.dir, f.name) }

// openLock opens the lock file. When it is lost, or another file has its place,
// the session is still one, if there is a record of it. A folder without either is
// somebody's, and not of a session.
func (f *folder) openLock(shown string) (err error) {
	f.lock, err = f.file(lockName, os.O_RDWR, maxLock)
	if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) {
		f.lock, err = f.file(lockName, os.O_RDONLY, maxLock)
	}
	if err == nil {
		return nil
	}
	lost := "its lock file is lost"
	if !errors.Is(err, fs.ErrNotExist) {
		lost = "its lock file is not one that pcapctl has made"
	}
	if !f.own() {
		if _, err := f.root.Lstat(recordName); err != nil {
			return notSession(shown, f.path())
		}
		f.problem = fault.Errorf(fault.Forbidden, "session %q of another user (%s): %s, so that nothing tells whether it captures; its owner can delete it", f.name, userName(f.owner), lost)
		return nil
	}
	rec, err := f.record()
	if err != nil {
		return notSession(shown, f.path())
	}
	if f.mayBeHeldBy(rec) {
		f.problem = fault.Errorf(fault.Internal, "session %q: %s, and its process captures still; end it with `%s %d`, then `pcapctl delete %s`", f.name, lost, killCommand, rec.PID, f.name)
		return nil
	}
	f.problem = fault.Errorf(fault.Internal, "session %q: %s, so that nothing tells how it ended; `pcapctl delete %s` forgets it and leaves its capture file", f.name, lost, f.name)
	return nil
}

// mayBeHeldBy tells whether the process that a record of this user's names holds
// the lock of a session, for a session whose lock file cannot be asked.
func (f *folder) mayBeHeldBy(rec *Record) bool {
	return rec.PID > 0 && rec.BootID == bootID() && holdsSomeSession(rec.PID)
}

// alive tells whether a process holds the session.
func (f *folder) alive() (bool, error) {
	if f.lock == nil {
		rec, err := f.record()
		return err == nil && f.own() && f.mayBeHeldBy(rec), nil
	}
	_, alive, err := holder(f.lock)
	return alive, err
}

// foreign is the error of a session that belongs to another user.
func foreign(name string, owner account) error {
	hint := ": run pcapctl as that user"
	if isSuper() {
		hint = "; " + superUser + " does not trust what other users wrote: run pcapctl as that user; stop and delete work as " + superUser
	}
	return fault.Errorf(fault.Forbidden, "%q: %w user (%s)%s", name, ErrForeign, userName(owner), hint)
}

// notSession is the error of a folder that is in the way of a session's name.
func notSession(name, path string) error {
	return fault.Errorf(fault.NotFound, "%q: %w: %s is not the folder of one; remove it if the name is to be used", name, ErrUnknown, path)
}

// The sizes, in bytes, up to which files of a session are read.
const (
	// maxRecord is more than a record of ten thousand files with paths of 500 bytes.
	// A claim whose record could become larger is refused.
	maxRecord = 8 << 20
	// maxSlots is the slots of the largest rotation.
	maxSlots = 10_000 * slotSize
)

// file opens a file of the folder that has up to most bytes. It must be a regular
// file of the folder's owner, which no other user may write to, and of no other
// name: a link could lead to another file, and opening a pipe could block.
func (f *folder) file(name string, flag int, most int64) (*os.File, error) {
	notOurs := func() error { return fmt.Errorf("%s in %s is not a file that pcapctl has made", name, f.path()) }
	named, err := f.root.Lstat(name)
	if err == nil && !named.Mode().IsRegular() {
		err = notOurs()
	}
	if err != nil {
		return nil, err
	}
	file, err := f.root.OpenFile(name, flag|withinSafely, 0)
	if err != nil {
		return nil, err
	}
	st, err := file.Stat()
	if err == nil {
		id := inodeOf(file, st)
		switch {
		// As for the folder: a Root follows links within it.
		case !st.Mode().IsRegular(), !os.SameFile(named, st), id.owner != f.owner, id.links != 1, id.open:
			err = notOurs()
		case st.Size() > most:
			err = fmt.Errorf("%s in %s has %d bytes, and pcapctl makes none of more than %d", name, f.path(), st.Size(), most)
		}
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return file, nil
}

func (f *folder) close() {
	if f.lock != nil {
		_ = f.lock.Close()
	}
	_ = f.root.Close()
}

// retryEvery is how often a lock is tried again that is held for moments only, and
// changeWait for how long.
const (
	retryEvery = 10 * time.Millisecond
	changeWait = 10 * time.Second
)

// lockForChange takes the lock that a process holds while it repairs, changes
// or removes a session that has ended. While another process has it,
// lockForChange tries again, until ctx ends; then it returns the error of ctx. It
// gives up after changeWait, with class Conflict. There is nothing to take when
// the lock file is lost.
func (f *folder) lockForChange(ctx context.Context) error {
	if f.lock == nil {
		return nil
	}
	for deadline := time.Now().Add(changeWait); ; {
		ok, err := tryLock(f.lock, changeLock)
		switch {
		case err != nil:
			return f.reg.failed("write to", err)
		case ok:
			return nil
		case time.Now().After(deadline):
			return fault.Errorf(fault.Conflict, "session %q has been changed by another process%s for %s: try again when that has ended", f.name, changer(f.lock), changeWait)
		}
		if err := sleep(ctx, retryEvery); err != nil {
			return err
		}
	}
}

func (f *folder) unlockForChange() { unlock(f.lock, changeLock) }

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

// uninterrupted is storage.Uninterrupted for what gives a value: os.Root looks at folders without it.
func uninterrupted[T any](fn func() (T, error)) (v T, err error) {
	err = storage.Uninterrupted(func() (err error) {
		v, err = fn()
		return err
	})
	return v, err
}
