package registry

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/deliver"
	"pcapctl/capture/fault"
	"pcapctl/capture/save"
	"pcapctl/capture/source"
	"pcapctl/storage"
	"pcapctl/storage/private"
)

// Claim is a session of this process: its name is taken, and a lock says that
// the process has it. It is the capture.Watcher of the session.
//
// The process must not open the lock file a second time: to close any
// descriptor of it gives the lock away. fcntl_locking(2).
type Claim struct {
	reg     *Registry
	rec     Record
	parent  *os.Root // the state folder
	root    *os.Root // the session's folder
	lock    *os.File
	spare   *os.File // space for the last version of the record
	page    *page
	files   fileNotes
	log     *os.File // nil when it was not asked for
	release []func() // closes the session's files, from the last to the first
	asks    asks     // by which stop tells this process to end, where that is not a signal
}

// Check tells whether a name is free, without claiming it. By the time of a
// Claim it may be taken.
//
// Error classes: Conflict (ErrTaken), Forbidden, Invalid (the state folder is a
// file), Internal.
func (r *Registry) Check(name string) error {
	root, err := r.root()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	}
	defer func() { _ = root.Close() }()
	if _, err := root.Lstat(folderName(name)); err == nil {
		return r.taken(root, name)
	}
	return nil
}

// taken is the error of a name that is taken. It says the same of what has the name
// as the other verbs do.
func (r *Registry) taken(root *os.Root, name string) error {
	message := fmt.Sprintf("a session %q exists; choose another name, or remove that one with `pcapctl delete %s`", name, name)
	f, err := r.open(root, folderName(name), name)
	switch {
	case errors.Is(err, ErrForeign) || err == nil && !f.own():
		owner := "another user"
		if st, err := root.Lstat(folderName(name)); err == nil {
			owner = userName(inodeIn(root, folderName(name), st).owner)
		}
		message = fmt.Sprintf("a session %q of another user (%s) exists; choose another name", name, owner)
	case errors.Is(err, ErrUnknown):
		message = fmt.Sprintf("the name %q is taken by %s, which is not the folder of a session; choose another name, or remove it", name, filepath.Join(r.dir, folderName(name)))
	}
	if err == nil {
		f.close()
	}
	return &fault.Error{Class: fault.Conflict, Code: CodeTaken, Target: "name", Err: ErrTaken, Message: message}
}

// Claim takes the record's name for this process. The state folder is made when
// it is absent. withLog makes the file for Log and LogFile.
//
// Error classes: Conflict (the name is taken: ErrTaken), Forbidden (the folder
// may not be written to, or others could replace what is in it), Invalid (it is
// a file, or the record would be too large), LocalFile (the disk is full), Internal.
func (r *Registry) Claim(rec Record, withLog bool) (c *Claim, err error) {
	if err := supported(); err != nil {
		return nil, fault.Errorf(fault.Internal, "%w", err)
	}
	// A process whose claim is refused removes the state folder if it is empty and
	// new, perhaps just after we have opened it.
	for range 10 {
		if c, err = r.tryClaim(rec, withLog); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return c, err
}

func (r *Registry) tryClaim(rec Record, withLog bool) (_ *Claim, err error) {
	if err := makeStateDir(r.dir); err != nil {
		return nil, r.failed("make", err)
	}
	c := &Claim{reg: r, rec: rec, files: noFileNotes{}}
	if c.parent, err = uninterrupted(func() (*os.Root, error) { return os.OpenRoot(r.dir) }); err != nil {
		return nil, r.failed("open", err)
	}
	temp := newPrefix + rand.Text()
	defer func() {
		if err != nil {
			c.closeFiles()
			_ = c.parent.RemoveAll(temp)
			c.close()
		}
	}()
	if err := r.checkTrusted(c.parent); err != nil {
		return nil, err
	}
	if _, err := c.parent.Lstat(folderName(rec.Name)); err == nil {
		return nil, r.taken(c.parent, rec.Name)
	}
	r.removeLeftovers(c.parent)
	if err := c.asks.open(); err != nil {
		return nil, fault.Errorf(fault.Internal, "session %q: %w", rec.Name, err)
	}
	switch err := c.prepare(temp, withLog); {
	case errors.Is(err, errTooLarge):
		return nil, fault.Errorf(fault.Invalid, "session %q: %w; use fewer filters, or shorter paths for fewer files", rec.Name, err)
	case err != nil:
		return nil, r.failed("write to", err)
	}
	// This takes the name, unless another session has it.
	err = c.takeName(temp, folderName(rec.Name))
	switch {
	case errors.Is(err, errNameTaken):
		return nil, r.taken(c.parent, rec.Name)
	case err != nil:
		return nil, r.failed("write to", err)
	}
	_ = syncFolder(c.parent) // after a power failure the session may be gone, with nothing captured
	return c, nil
}

// errTooLarge is the error of a session that could not be read later.
var errTooLarge = fmt.Errorf("its record could have more than %d bytes", maxRecord)

// prepare makes the session's folder, with all that is in it, under the name
// temp.
func (c *Claim) prepare(temp string, withLog bool) (err error) {
	if err := private.Mkdir(c.parent, temp); err != nil {
		return err
	}
	if c.root, err = uninterrupted(func() (*os.Root, error) { return c.parent.OpenRoot(temp) }); err != nil {
		return err
	}
	c.onClose(c.root.Close)
	if c.lock, err = c.keep(lockName, 0); err != nil {
		return err
	}
	if err := c.hold(); err != nil {
		return err
	}
	if withLog {
		if c.log, err = c.keep(logName, os.O_APPEND); err != nil {
			return err
		}
	}
	if err := c.prepareCounters(); err != nil {
		return err
	}
	if err := c.prepareRotation(); err != nil {
		return err
	}
	return c.prepareRecord()
}

func (c *Claim) create(name string, flag int) (*os.File, error) {
	return private.Create(c.root, name, os.O_RDWR|withinSafely|flag)
}

// keep creates a file that stays open for as long as the claim.
func (c *Claim) keep(name string, flag int) (*os.File, error) {
	f, err := c.create(name, flag)
	if err == nil {
		c.onClose(f.Close)
	}
	return f, err
}

func (c *Claim) prepareCounters() error {
	f, err := c.create(liveName, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := allocate(f, liveSize); err != nil {
		return err
	}
	if err := c.mapCounters(f); err != nil {
		return err
	}
	c.page.set(wordFormat, liveFormat)
	return nil
}

// mapCounters maps the file of the counters.
func (c *Claim) mapCounters(f *os.File) error {
	mem, err := mapShared(f, liveSize)
	if err != nil {
		return err
	}
	c.page = &page{mem: mem}
	c.onClose(func() error {
		c.page.dead.Store(true)
		unmap(mem)
		return nil
	})
	return nil
}

func (c *Claim) prepareRotation() error {
	n := rotationCount(&c.rec)
	if n == 0 {
		return nil
	}
	f, err := c.keep(rotationName, 0)
	if err != nil {
		return err
	}
	c.files = rotationNotes{f, n}
	return allocate(f, n*slotSize)
}

func (c *Claim) prepareRecord() error {
	c.rec.Version, c.rec.PID, c.rec.BootID = recordVersion, os.Getpid(), bootID()
	text, err := c.rec.encode()
	if err != nil {
		return err
	}
	last := spareSize(&c.rec, len(text))
	if last > maxRecord {
		return errTooLarge
	}
	f, err := c.create(recordName, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	// Without space for the outcome, a complete capture would look like one whose
	// process was killed.
	if c.spare, err = c.keep(spareName, 0); err != nil {
		return err
	}
	if err := allocate(c.spare, last); err != nil {
		return err
	}
	return syncFolder(c.root)
}

// hold locks the session for this process.
func (c *Claim) hold() error {
	if ok, err := tryLock(c.lock, sessionLock); err != nil || !ok {
		return fmt.Errorf("lock a file of our own: %w", errors.Join(err, fs.ErrInvalid))
	}
	return nil
}

// errNameTaken is why a folder cannot be given its name.
var errNameTaken = errors.New("the name is taken")

// Asked is closed when stop has told this process to end the session. It is nil where it is told by a signal.
func (c *Claim) Asked() <-chan struct{} { return c.asks.asked() }

// Log is the session's log file, nil if it was not asked for.
func (c *Claim) Log() *os.File { return c.log }

// LogFile is the path of Log.
func (c *Claim) LogFile() string { return filepath.Join(c.reg.dir, folderName(c.rec.Name), logName) }

// Listed is always true: the session is in the registry.
func (c *Claim) Listed() bool { return true }

// Begin says that packets are being captured since start, into the file made. Without that the file of a lost session is not
// repaired. It is as the one who made the file knows it: at its path may be another by now, which is not ours to cut.
func (c *Claim) Begin(start time.Time, made storage.FileID) {
	c.page.begin(start, monotonic()-time.Since(start), made)
}

// Progress is a method of capture.Watcher.
func (c *Claim) Progress(now capture.Progress) { c.page.progress(&now) }

// Interfaces is a method of capture.Watcher.
func (c *Claim) Interfaces(elapsed time.Duration, list []source.Link) {
	c.page.links(elapsed, list)
}

// Upload is a method of capture.Watcher.
func (c *Claim) Upload(now deliver.Progress) { c.page.upload(now) }

// File is a method of capture.Watcher.
func (c *Claim) File(f save.File) { c.files.note(f) }

// Resource is the API's answer to the creation of a session that has begun to
// capture at start.
func (c *Claim) Resource(start time.Time) *capture.Resource {
	res := *c.rec.Resource
	res.Properties.PacketCaptureStatus = capture.StatusRunning
	res.SetStart(start)
	return &res
}

// End writes the outcome of the session into its record and lets go of it; err
// is what the session ended with, nil for a complete capture. When End returns,
// those who wait for the session go on.
//
// Error classes: Forbidden, LocalFile (the disk of the state folder is full),
// Internal. The session is over in any case.
func (c *Claim) End(res *capture.Result, err error) error {
	c.rec.Resource, c.rec.Outcome = res.Resource(), outcomeOf(err)
	err = replace(c.root, c.spare, &c.rec)
	c.letGo() // after the record: who finds the lock free finds the record complete
	c.close()
	if err != nil {
		return c.reg.failed("write the end of the session into", err)
	}
	return nil
}

// Abandon gives the name back, for a session that never began.
func (c *Claim) Abandon() {
	gone := oldPrefix + rand.Text()
	if c.loseName(folderName(c.rec.Name), gone) == nil {
		_ = c.parent.RemoveAll(gone)
	}
	c.close()
}

func (c *Claim) onClose(f func() error) {
	c.release = append(c.release, func() { _ = f() })
}

// closeFiles closes the session's files, of which the lock is the last.
func (c *Claim) closeFiles() {
	for _, f := range slices.Backward(c.release) {
		f()
	}
	c.release = nil
}

// close closes everything.
func (c *Claim) close() {
	c.closeFiles()
	c.asks.close()
	_ = c.parent.Close()
}
