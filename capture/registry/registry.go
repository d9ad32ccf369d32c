// Package registry keeps the sessions of a machine: those that capture now and
// those that have ended, until they are deleted.
//
// The state folder has one folder for each session, named by the session's
// name in lower case. In it lie
//
//	lock         held by the capturing process for its whole life
//	record.json  what the session is, and in the end what came of it
//	record.next  space for the record's last version
//	live         counters, shared with the capturing process
//	ring         what is in its ring of files
//	log          what a background process has to say
//
// A session lives as long as its lock is held and no longer. Process ids are
// reused and outlive nothing, so they are never looked at; the lock ends with
// its process, however that ends. fcntl_locking(2).
//
// A folder appears whole: it is prepared under another name, with its lock
// held, and renamed. rename(2) replaces no folder that has something in it, so
// that of several who want one name exactly one gets it.
package registry

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"pcapctl/capture/fault"
)

// The errors that callers tell apart. Those returned wrap them and have a
// class of package capture.
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
	lockName   = "lock"
	recordName = "record.json"
	spareName  = "record.next"
	liveName   = "live"
	ringName   = "ring"
	logName    = "log"

	// Names that no session can have, for folders on their way in and out.
	newPrefix = ".new-"
	oldPrefix = ".old-"
)

// Registry is the registry in one state folder. It keeps nothing open.
type Registry struct{ dir string }

// New names the state folder, as an absolute path. Nothing is looked at yet.
func New(dir string) *Registry { return &Registry{dir: dir} }

// Dir is the state folder.
func (r *Registry) Dir() string { return r.dir }

// key is the name of a session's folder. ARM names know no letter case.
func key(name string) string { return strings.ToLower(name) }

// List gives all sessions that this user may see, the oldest first. One whose
// record cannot be read is among them and says why; it keeps nobody from
// seeing the others. A state folder that is not there yet has no sessions.
func (r *Registry) List() ([]*Session, error) {
	root, err := r.root()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, r.failed("read", err)
	}
	defer func() { _ = root.Close() }()
	names, err := entries(root)
	if err != nil {
		return nil, r.failed("read", err)
	}
	var list []*Session
	for _, name := range names {
		if strings.HasPrefix(name, ".") {
			continue
		}
		f, err := r.open(root, name)
		if err != nil {
			continue // somebody else's, deleted meanwhile, or no session at all
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

// Get looks at one session.
//
// Error classes: NotFound, Forbidden. A session whose record cannot be read is
// no error here: Session.Err tells.
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
	// Names come from the command line, and what is no name leads nowhere.
	if name == "" || strings.HasPrefix(name, ".") || !filepath.IsLocal(name) || filepath.Base(name) != name {
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

func entries(root *os.Root) ([]string, error) {
	d, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	defer func() { _ = d.Close() }()
	names, err := d.Readdirnames(-1)
	slices.Sort(names)
	return names, err
}

// failed says what to do about a state folder that does not work.
func (r *Registry) failed(what string, err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return fault.Errorf(fault.Forbidden, "cannot %s the state folder %s: %w; run pcapctl as its owner, or name another folder with --state-dir", what, r.dir, err)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fault.Errorf(fault.LocalFile, "cannot %s the state folder %s: %w; free some space, or name another folder with --state-dir", what, r.dir, err)
	case errors.Is(err, syscall.ENOTDIR), errors.Is(err, syscall.ELOOP), isFile(r.dir):
		return fault.Errorf(fault.Invalid, "cannot %s the state folder %s: %w; name another folder with --state-dir", what, r.dir, err)
	default:
		return fault.Errorf(fault.Internal, "cannot %s the state folder %s: %w", what, r.dir, err)
	}
}

// isFile tells what os.OpenRoot has no error to be known by for.
func isFile(path string) bool {
	st, err := os.Stat(path)
	return err == nil && !st.IsDir()
}

// trust refuses a state folder in which somebody else could replace what we
// put there. A folder for several users needs the sticky bit, as /tmp has it.
func (r *Registry) trust(root *os.Root) error {
	st, err := root.Stat(".")
	if err != nil {
		return r.failed("use", err)
	}
	owner := identify(st).owner
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

// folder is a session's folder, opened. Everything in it is reached through
// root and so cannot lead elsewhere.
type folder struct {
	reg   *Registry
	name  string // of the folder
	root  *os.Root
	lock  *os.File
	owner int
}

// open opens a folder of root, if it is a session that this user may see.
func (r *Registry) open(root *os.Root, name string) (_ *folder, err error) {
	f := &folder{reg: r, name: key(name)}
	if st, err := root.Lstat(f.name); err != nil || !st.IsDir() {
		return nil, unknown(name)
	}
	f.root, err = root.OpenRoot(f.name)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, foreign(name, root, f.name)
	case errors.Is(err, fs.ErrNotExist):
		return nil, unknown(name)
	case err != nil:
		return nil, r.failed("read", err)
	}
	defer func() {
		if err != nil {
			f.close()
		}
	}()
	st, err := f.root.Stat(".")
	if err != nil {
		return nil, r.failed("read", err)
	}
	// A folder that somebody else has left open for us may say anything. Root
	// may look at it, but believes nothing that reaches beyond it.
	if f.owner = identify(st).owner; f.owner != os.Geteuid() && os.Geteuid() != 0 {
		return nil, foreign(name, root, f.name)
	}
	// Without a lock to ask there is no telling whether it lives.
	f.lock, err = f.file(lockName, os.O_RDWR)
	if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) {
		f.lock, err = f.file(lockName, os.O_RDONLY)
	}
	if err != nil {
		return nil, unknown(name)
	}
	return f, nil
}

func foreign(name string, root *os.Root, folder string) error {
	owner := "another user"
	if st, err := root.Lstat(folder); err == nil {
		owner = userName(identify(st).owner)
	}
	return fault.Errorf(fault.Forbidden, "%q: %w user (%s)", name, ErrForeign, owner)
}

// maxFile bounds what is read of a session: a record holds a request of a
// mebibyte, and the paths of ten thousand files at the most.
const maxFile = 64 << 20

// file opens a file of the folder that the folder's owner has put there: no
// link, no pipe to hang on, nothing that somebody else has a hand in.
func (f *folder) file(name string, flag int) (*os.File, error) {
	file, err := f.root.OpenFile(name, flag|openSafely, 0)
	if err != nil {
		return nil, err
	}
	st, err := file.Stat()
	if err == nil {
		id := identify(st)
		if !st.Mode().IsRegular() || id.owner != f.owner || id.links != 1 || st.Size() > maxFile {
			err = fmt.Errorf("%s in %s is not a file that pcapctl has made", name, filepath.Join(f.reg.dir, f.name))
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
