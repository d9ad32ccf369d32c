package registry

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/storage"
)

// Claim is a session of this process: a name that is ours, held by a lock. It
// is the session's capture.Watcher. A nil Claim is one that could not be had
// and that nobody needs; its methods do nothing.
//
// The process must not open the files of the session by other means: closing
// any descriptor of the lock gives the lock away. fcntl_locking(2).
type Claim struct {
	reg    *Registry
	rec    Record
	parent *os.Root
	root   *os.Root
	lock   *os.File
	spare  *os.File // space for the last version of the record
	page   *page
	ring   *os.File // what is in the ring of files; nil for none
	log    *os.File
}

// Check tells whether a name can be claimed, as far as that can be seen
// without doing it.
//
// Error classes: Conflict, Forbidden, Internal.
func (r *Registry) Check(name string) error {
	root, err := r.root()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return r.failed("read", err)
	}
	defer func() { _ = root.Close() }()
	if _, err := root.Lstat(key(name)); err == nil {
		return taken(name)
	}
	return nil
}

func taken(name string) error {
	return &fault.Error{
		Class: fault.Conflict, Code: CodeTaken, Target: "name", Err: ErrTaken,
		Message: fmt.Sprintf("a session %q exists; choose another name, or remove that one with `pcapctl delete %s`", name, name),
	}
}

// Claim takes the record's name for this process. The state folder is made
// when it is absent. withLog makes the file for Log.
//
// Error classes: Conflict (the name is taken: ErrTaken), Forbidden (the folder
// may not be written to, or others could replace what is in it), LocalFile (it
// is full), Internal.
func (r *Registry) Claim(rec Record, withLog bool) (c *Claim, err error) {
	if err := supported(); err != nil {
		return nil, fault.Errorf(fault.Internal, "%w", err)
	}
	// Who is refused takes the folder away again if it is empty and new, maybe
	// just when we have opened it.
	for range 10 {
		if c, err = r.claim(rec, withLog); !errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	return c, err
}

func (r *Registry) claim(rec Record, withLog bool) (_ *Claim, err error) {
	if err := os.MkdirAll(r.dir, 0o700); err != nil {
		return nil, r.failed("make", err)
	}
	c := &Claim{reg: r, rec: rec}
	if c.parent, err = os.OpenRoot(r.dir); err != nil {
		return nil, r.failed("open", err)
	}
	temp := newPrefix + rand.Text()
	defer func() {
		if err != nil {
			c.close()
			_ = c.parent.RemoveAll(temp)
			_ = c.parent.Close()
		}
	}()
	if err := r.trust(c.parent); err != nil {
		return nil, err
	}
	if _, err := c.parent.Lstat(key(rec.Name)); err == nil {
		return nil, taken(rec.Name)
	}
	r.sweep(c.parent)
	if err := c.prepare(temp, withLog); err != nil {
		return nil, r.failed("write to", err)
	}
	// From here on the name is ours, if it is nobody else's.
	err = c.parent.Rename(temp, key(rec.Name))
	switch {
	case errors.Is(err, fs.ErrExist), errors.Is(err, syscall.ENOTEMPTY), errors.Is(err, syscall.ENOTDIR):
		return nil, taken(rec.Name)
	case err != nil:
		return nil, r.failed("write to", err)
	}
	_ = syncFolder(c.parent) // a claim that a power failure undoes harms nobody
	return c, nil
}

// prepare makes the session's folder, with all that is in it, under the name
// temp.
func (c *Claim) prepare(temp string, withLog bool) (err error) {
	if err := c.parent.Mkdir(temp, 0o700); err != nil {
		return err
	}
	if c.root, err = c.parent.OpenRoot(temp); err != nil {
		return err
	}
	if c.lock, err = c.create(lockName, 0); err != nil {
		return err
	}
	if ok, err := tryLock(c.lock, lifeByte); err != nil || !ok {
		return fmt.Errorf("lock a file of our own: %w", errors.Join(err, fs.ErrInvalid))
	}
	if withLog {
		if c.log, err = c.create(logName, os.O_APPEND); err != nil {
			return err
		}
	}
	if err := c.prepareLive(); err != nil {
		return err
	}
	if err := c.prepareRing(); err != nil {
		return err
	}
	return c.prepareRecord()
}

func (c *Claim) create(name string, flag int) (*os.File, error) {
	return c.root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_RDWR|openSafely|flag, 0o600)
}

func (c *Claim) prepareLive() error {
	f, err := c.create(liveName, 0)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if err := allocate(f, liveSize); err != nil {
		return err
	}
	mem, err := mapShared(f, liveSize)
	if err != nil {
		return err
	}
	c.page = &page{mem: mem}
	c.page.set(wordFormat, liveFormat)
	return nil
}

func (c *Claim) prepareRecord() error {
	c.rec.Version, c.rec.PID, c.rec.BootID = recordVersion, os.Getpid(), bootID()
	text, err := c.rec.encode()
	if err != nil {
		return err
	}
	f, err := c.create(recordName, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	// A state folder that is full in the end must not make a complete capture
	// look as if its process had died.
	if c.spare, err = c.create(spareName, 0); err != nil {
		return err
	}
	if err := allocate(c.spare, spareSize(&c.rec, len(text))); err != nil {
		return err
	}
	return syncFolder(c.root)
}

// sweepAfter is how old a folder under a passing name must be to be taken for
// left behind.
const sweepAfter = time.Minute

// sweep takes away what processes that were killed have left half made or half
// removed.
func (r *Registry) sweep(root *os.Root) {
	names, err := entries(root)
	if err != nil {
		return
	}
	for _, name := range names {
		if !strings.HasPrefix(name, newPrefix) && !strings.HasPrefix(name, oldPrefix) {
			continue
		}
		st, err := root.Lstat(name)
		if err != nil || identify(st).owner != os.Geteuid() || time.Since(st.ModTime()) < sweepAfter {
			continue
		}
		if f, err := r.open(root, name); err == nil {
			_, alive, err := holder(f.lock)
			f.close()
			if alive || err != nil {
				continue
			}
		}
		_ = root.RemoveAll(name)
	}
}

// Log is the session's log file, if it was asked for.
func (c *Claim) Log() *os.File { return c.log }

// Begin says that packets are being captured since start, into the file path.
func (c *Claim) Begin(start time.Time, path string) {
	if c == nil {
		return
	}
	id, _ := storage.IdentifyPath(path) // without it the file is left as its guard leaves it
	c.page.begin(start, monotonic()-time.Since(start), id)
}

// Progress is capture.Watcher's.
func (c *Claim) Progress(now capture.Progress) {
	if c != nil {
		c.page.progress(&now)
	}
}

// Interfaces is capture.Watcher's.
func (c *Claim) Interfaces(elapsed time.Duration, list []capture.LinkDrops) {
	if c != nil {
		c.page.links(elapsed, list)
	}
}

// Upload is capture.Watcher's.
func (c *Claim) Upload(now capture.UploadProgress) {
	if c != nil {
		c.page.upload(now)
	}
}

// Resource is the session as the API's answer to its creation, once it has
// begun.
func (c *Claim) Resource(start time.Time) *capture.Resource {
	res := *c.rec.Resource
	res.Properties.PacketCaptureStatus = capture.StatusRunning
	res.SetStart(start)
	res.Seal()
	return &res
}

// End writes down what came of the session and lets go of it; err is what the
// session ended with, nil for a complete capture. When End returns, those who
// wait for the session go on.
func (c *Claim) End(res *capture.Result, err error) error {
	if c == nil {
		return nil
	}
	c.rec.Resource, c.rec.Outcome = res.Resource(), outcomeOf(err)
	err = replace(c.root, c.spare, &c.rec)
	c.close() // the lock last: who finds it free finds the record complete
	_ = c.parent.Close()
	if err != nil {
		return c.reg.failed("write the end of the session into", err)
	}
	return nil
}

// Abandon gives the name back, for a session that never began.
func (c *Claim) Abandon() {
	if c == nil {
		return
	}
	// Nobody else takes the folder away while its lock is held.
	gone := oldPrefix + rand.Text()
	if err := c.parent.Rename(key(c.rec.Name), gone); err == nil {
		_ = c.parent.RemoveAll(gone)
	}
	c.close()
	_ = c.parent.Close()
}

func (c *Claim) close() {
	if c.page != nil {
		c.page.dead.Store(true)
		unmap(c.page.mem)
	}
	for _, f := range []*os.File{c.spare, c.log, c.ring} {
		if f != nil {
			_ = f.Close()
		}
	}
	if c.root != nil {
		_ = c.root.Close()
	}
	if c.lock != nil {
		_ = c.lock.Close()
	}
}

// LogFile is the path of the session's log file.
func (c *Claim) LogFile() string { return filepath.Join(c.reg.dir, key(c.rec.Name), logName) }
