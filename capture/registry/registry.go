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
// A folder appears complete: it is made under another name, with its lock held,
// and then renamed. rename(2) does not replace a folder that has something in
// it, so when several processes want one name, exactly one gets it.
package registry

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"unicode"
	"unicode/utf8"

	"pcapctl/capture/fault"
)

// The errors that callers tell apart. Those returned wrap them and have a
// class of package fault.
var (
	ErrUnknown = errors.New("no such session")                // class NotFound
	ErrTaken   = errors.New("a session of this name exists")  // class Conflict
	ErrRunning = errors.New("the session is still capturing") // class Conflict
	ErrForeign = errors.New("the session belongs to another") // class Forbidden
	// ErrUnsupported is the cause of every error on systems other than Linux.
	ErrUnsupported = errors.New("sessions are only kept on Linux in this build")
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

// List gives all sessions that this user may see, the oldest first. One whose
// record cannot be read is among them, and its Err says why. When the state
// folder is absent there are no sessions.
//
// Error classes: Forbidden, Invalid (the state folder is a file), Internal.
func (r *Registry) List() ([]*Session, error) {
	root, err := r.root()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, r.failed("read", err)
	}
	defer func() { _ = root.Close() }()
	names, err := fileNames(root)
	if err != nil {
		return nil, r.failed("read", err)
	}
	var list []*Session
	for _, name := range names {
		if !canBeSession(name) {
			continue
		}
		f, err := r.open(root, name)
		if err != nil {
			continue // another user's, deleted meanwhile, or not a session
		}
		list = append(list, f.session())
		f.close()
	}
	slices.SortStableFunc(list, func(a, b *Session) int {
		switch {
		case a.Record == nil || b.Record == nil:
			return strings.Compare(a.Name, b.Name)
		default:
			return a.Record.Created.Compare(b.Record.Created)
		}
	})
	return list, nil
}

// Others is how many sessions of other users are in the state folder, which List
// does not show. It is 0 for root, who sees them all, and when the folder cannot be
// read.
func (r *Registry) Others() int {
	root, err := r.root()
	if err != nil {
		return 0
	}
	defer func() { _ = root.Close() }()
	names, err := fileNames(root)
	if err != nil {
		return 0
	}
	n := 0
	for _, name := range names {
		if !canBeSession(name) {
			continue
		}
		f, err := r.open(root, name)
		if err == nil {
			f.close()
		} else if errors.Is(err, ErrForeign) {
			n++
		}
	}
	return n
}

// Get looks at one session.
//
// Error classes: NotFound, Forbidden, Invalid (the state folder is a file),
// Internal. A record that cannot be read is not an error of Get: see
// Session.Err.
func (r *Registry) Get(name string) (*Session, error) {
	f, err := r.find(name)
	if err != nil {
		return nil, err
	}
	defer f.close()
	return f.session(), nil
}

// find opens the folder of a session by its name.
func (r *Registry) find(name string) (*folder, error) {
	root, err := r.root()
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, unknown(name)
	case err != nil:
		return nil, r.failed("read", err)
	}
	defer func() { _ = root.Close() }()
	if !canBeSession(name) {
		return nil, unknown(name)
	}
	return r.open(root, name)
}

func (r *Registry) root() (*os.Root, error) {
	if err := supported(); err != nil {
		return nil, err
	}
	return os.OpenRoot(r.dir)
}

func unknown(name string) error {
	return fault.Errorf(fault.NotFound, "%q: %w", name, ErrUnknown)
}

// fileNames lists what is in a folder, sorted.
func fileNames(root *os.Root) ([]string, error) {
	d, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// failed makes the error of a state folder that cannot be used, and says what
// to do about it. what is a verb.
func (r *Registry) failed(what string, err error) error {
	err = withoutHidden(err)
	switch {
	case errors.Is(err, syscall.EROFS): // its owner could not write to it, either
		return fault.Errorf(fault.Forbidden, "cannot %s the state folder %s: %w; name another folder with --state-dir", what, r.dir, err)
	case errors.Is(err, fs.ErrPermission):
		return fault.Errorf(fault.Forbidden, "cannot %s the state folder %s: %w; run pcapctl as its owner, or name another folder with --state-dir", what, r.dir, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
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
	st, err := root.Stat(".")
	if err != nil {
		return r.failed("use", err)
	}
	owner := inodeOf(st).owner
	switch {
	case owner != os.Geteuid() && owner != 0:
		return fault.Errorf(fault.Forbidden, "the state folder %s belongs to another user (%s), who could replace what is in it; name another folder with --state-dir",
			r.dir, userName(owner))
	case st.Mode().Perm()&0o022 != 0 && st.Mode()&fs.ModeSticky == 0:
		return fault.Errorf(fault.Forbidden, "others than its owner may change the state folder %s; close it with `chmod go-w %s`, or share it safely with `chmod +t %s`",
			r.dir, r.dir, r.dir)
	}
	return nil
}
