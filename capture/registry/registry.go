// Package registry keeps the sessions of a machine: those that capture now and
// those that have ended, until they are deleted.
//
// The state folder has one folder for each session, named by the session's
// name in lower case. In it lie
//
//	lock         locked by the capturing process until the session has ended
//	record.json  what the session is, and how it ended
//	record.next  space for the last version of the record
//	live         counters, shared with the capturing process
//	ring         the files that a rotation has now; absent for a single file
//	log          stderr of a background process; absent in the foreground
//
// A session runs for as long as its lock is held. The process id in a record
// does not count, because the system gives ids to new processes; the kernel
// drops the lock when its process ends, however it ends. fcntl_locking(2).
//
// Nothing that another user could have written is believed: a session is its
// owner's, root sees no more of others than their names, and a state folder in
// which others could exchange what is there is refused. docs/sessions.md has the
// table of what each verb may do.
//
// A folder appears complete: it is made under another name, with its lock held,
// and then renamed. rename(2) does not replace a folder that has something in
// it, so when several processes want one name, exactly one gets it.
package registry

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"pcapctl/capture/fault"
	"pcapctl/storage"
)

// The errors that callers tell apart. Those returned wrap them and have a
// class of package fault.
var (
	ErrUnknown = errors.New("no such session")                // class NotFound
	ErrTaken   = errors.New("a session of this name exists")  // class Conflict
	ErrRunning = errors.New("the session is still capturing") // class Conflict
	ErrForeign = errors.New("the session belongs to another") // class Forbidden
	// ErrStranger is the error of a session whose lock another process has than the
	// one that captures for it; class Conflict.
	ErrStranger = errors.New("its lock is held by a process that is not its own")
	// ErrUnsupported is the cause of every error on systems other than Linux and Windows.
	ErrUnsupported = errors.New("sessions are only kept on Linux and Windows")
)

// CodeTaken is the API's code for a name that is taken.
const CodeTaken = "PacketCaptureExistingAlready"

// The names in a session's folder.
const (
	lockName     = "lock"
	recordName   = "record.json"
	spareName    = "record.next"
	liveName     = "live"
	rotationName = "ring"
	logName      = "log"

	// No session can have a name that begins so: they are for folders that are
	// being made or removed.
	newPrefix = ".new-"
	oldPrefix = ".old-"
)

// Registry is the registry in one state folder. It keeps nothing open, and is
// safe for concurrent use.
type Registry struct{ dir string }

// New makes the registry of a state folder, which is given as an absolute path.
// It does not touch the disk.
func New(dir string) *Registry { return &Registry{dir: dir} }

// Dir is the state folder.
func (r *Registry) Dir() string { return r.dir }

// folderName is the name of a session's folder. Upper and lower case are the
// same in names of ARM.
func folderName(session string) string { return strings.ToLower(session) }

// canBeSession tells whether a session can have the name: it comes from the
// command line, or from a folder that others may write to, and is opened and
// shown.
func canBeSession(name string) bool {
	return name != "" && !strings.HasPrefix(name, ".") && filepath.IsLocal(name) && filepath.Base(name) == name &&
		!strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsGraphic(r) || r == utf8.RuneError })
}

// Listing is what a state folder has.
type Listing struct {
	Sessions []*Session // this user's, the oldest first
	Others   []Other    // up to maxOthers of those of other users
	Foreign  int        // how many of other users there are
	Left     int        // how many of this user's are not in Sessions: there are more than maxListed
}

// Other is a session of another user. More is not known of it: what is in its
// folder may be anything.
type Other struct{ Name, Owner string }

// How many sessions are read for a list, and how many of other users are named.
const (
	maxListed = 10_000
	maxOthers = 20
)

// Look looks at all sessions of this user, and at the names of those of others.
// One whose record cannot be read is among them, and its Err says why. When the
// state folder is absent there are no sessions.
//
// Error classes: Forbidden (this user may not read the folder, or others may
// change it), Invalid (the state folder is a file), Internal.
func (r *Registry) Look() (*Listing, error) {
	l := &Listing{}
	root, err := r.root()
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }()
	own, err := l.scan(root, maxListed)
	if err != nil {
		return nil, r.failed("read", err)
	}
	for _, name := range own {
		f, err := r.open(root, name, name)
		if err != nil {
			continue // deleted meanwhile, or not a session
		}
		if f.own() {
			l.Sessions = append(l.Sessions, f.session())
		}
		f.close()
	}
	slices.SortStableFunc(l.Sessions, func(a, b *Session) int {
		switch {
		case a.Record == nil || b.Record == nil:
			return strings.Compare(a.Name, b.Name)
		default:
			return a.Record.Created.Compare(b.Record.Created)
		}
	})
	return l, nil
}

// scan reads the names in the state folder, of which another user may have made
// any number: it opens nothing, and keeps only the names of this user's folders,
// up to most, which it gives back sorted, and some of the others.
func (l *Listing) scan(root *os.Root, most int) (own []string, err error) {
	err = eachName(root, func(name string) {
		if !canBeSession(name) {
			return
		}
		st, err := root.Lstat(name)
		if err != nil || !st.IsDir() {
			return
		}
		switch owner := inodeIn(root, name, st).owner; {
		case !isOwn(owner):
			if _, err := root.Lstat(filepath.Join(name, lockName)); errors.Is(err, fs.ErrNotExist) {
				return // somebody's folder
			}
			if l.Foreign++; len(l.Others) < maxOthers {
				l.Others = append(l.Others, Other{name, userName(owner)})
			}
		case len(own) == most:
			l.Left++
		default:
			own = append(own, name)
		}
	})
	slices.Sort(own)
	slices.SortFunc(l.Others, func(a, b Other) int { return strings.Compare(a.Name, b.Name) })
	return own, err
}

// List gives this user's sessions, the oldest first: Listing.Sessions.
func (r *Registry) List() ([]*Session, error) {
	l, err := r.Look()
	if err != nil {
		return nil, err
	}
	return l.Sessions, nil
}

// Get looks at one session of this user's.
//
// Error classes: NotFound, Forbidden (it is another user's: ErrForeign; or others
// may change the state folder), Invalid (the state folder is a file), Internal. A
// record that cannot be read is not an error of Get: see Session.Err.
func (r *Registry) Get(name string) (*Session, error) {
	f, err := r.find(name)
	if err != nil {
		return nil, err
	}
	defer f.close()
	return f.session(), nil
}

// Known tells whether there is a session that Stop and Delete take: this user's, or
// for root anybody's. The errors are those of Get.
func (r *Registry) Known(name string) error {
	f, err := r.findAny(name)
	if err == nil {
		f.close()
	}
	return err
}

// find opens the folder of a session of this user's by its name.
func (r *Registry) find(name string) (*folder, error) {
	f, err := r.findAny(name)
	if err == nil && !f.own() {
		f.close()
		return nil, foreign(name, f.owner)
	}
	return f, err
}

// findAny opens the folder of a session by its name. For root it may be another
// user's.
func (r *Registry) findAny(name string) (*folder, error) {
	root, err := r.root()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, unknown(name)
	case err != nil:
		return nil, err
	}
	defer func() { _ = root.Close() }()
	if !canBeSession(name) {
		return nil, unknown(name)
	}
	return r.open(root, folderName(name), name)
}

// root opens the state folder, if nobody else can exchange what is in it. The
// error is fs.ErrNotExist, or one for the user.
func (r *Registry) root() (*os.Root, error) {
	if err := supported(); err != nil {
		return nil, r.failed("read", err)
	}
	root, err := uninterrupted(func() (*os.Root, error) { return os.OpenRoot(r.dir) })
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, err
	case err != nil:
		return nil, r.failed("read", err)
	}
	if err := r.checkTrusted(root); err != nil {
		_ = root.Close()
		return nil, err
	}
	return root, nil
}

func unknown(name string) error {
	return fault.Errorf(fault.NotFound, "%q: %w", name, ErrUnknown)
}

// eachName calls do for every name in a folder, in no order.
func eachName(root *os.Root, do func(name string)) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	for {
		const some = 1024
		names, err := d.Readdirnames(some)
		for _, name := range names {
			do(name)
		}
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

// failed makes the error of a state folder that cannot be used, and says what
// to do about it. what is a verb.
func (r *Registry) failed(what string, err error) error {
	err = withoutHidden(err)
	switch {
	case storage.IsReadOnly(err): // its owner could not write to it, either
		return fault.Errorf(fault.Forbidden, "cannot %s the state folder %s: %w; name another folder with --state-dir", what, r.dir, err)
	case errors.Is(err, fs.ErrPermission):
		return fault.Errorf(fault.Forbidden, "cannot %s the state folder %s: %w; run pcapctl as its owner, or name another folder with --state-dir", what, r.dir, err)
	case storage.IsFull(err):
		return fault.Errorf(fault.LocalFile, "cannot %s the state folder %s: %w; free some space, or name another folder with --state-dir", what, r.dir, err)
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP), isFile(r.dir):
		return fault.Errorf(fault.Invalid, "cannot %s the state folder %s: %w; name another folder with --state-dir", what, r.dir, err)
	default:
		return fault.Errorf(fault.Internal, "cannot %s the state folder %s: %w", what, r.dir, err)
	}
}

// withoutHidden is err without the name that a session's folder has while it is made or removed: it tells nobody anything,
// and is gone when it is read. Files of the folder keep that name for as long as they are open.
func withoutHidden(err error) error {
	if text := err.Error(); !strings.Contains(text, newPrefix) && !strings.Contains(text, oldPrefix) {
		return err
	}
	if p, ok := errors.AsType[*fs.PathError](err); ok {
		return p.Err
	}
	if l, ok := errors.AsType[*os.LinkError](err); ok {
		return l.Err
	}
	return err
}

// isFile tells of a path that is not a folder: the error of os.OpenRoot for it
// cannot be recognized.
func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && !st.IsDir()
}

// checkTrusted refuses a state folder in which another user could replace what
// we put there. A folder for several users needs the sticky bit, as /tmp has it.
func (r *Registry) checkTrusted(root *os.Root) error {
	st, err := uninterrupted(func() (fs.FileInfo, error) { return root.Stat(".") })
	if err != nil {
		return r.failed("use", err)
	}
	is := inodeIn(root, ".", st)
	switch {
	case !isOwn(is.owner) && !isTrusted(is.owner):
		return fault.Errorf(fault.Forbidden, "the state folder %s belongs to another user (%s), who could replace what is in it; name another folder with --state-dir",
			r.dir, userName(is.owner))
	case is.open && st.Mode()&fs.ModeSticky == 0:
		return fault.Errorf(fault.Forbidden, "others than its owner may change the state folder %s; close it with `%s`%s",
			r.dir, closing(r.dir), sharing(r.dir))
	}
	return nil
}
