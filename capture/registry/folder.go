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
)

// folder is a session's folder, opened. Everything in it is opened through
// root, so that no link in it leads out of it.
type folder struct {
	reg   *Registry
	name  string // of the folder
	root  *os.Root
	lock  *os.File
	owner int // user id
}

// open opens a folder of root, if it is a session that this user may see.
func (r *Registry) open(root *os.Root, name string) (_ *folder, err error) {
	f := &folder{reg: r, name: folderName(name)}
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
	// What is in a folder of another user may be forged. Root may look at it, and
	// touches nothing outside the folder that it names.
	if f.owner = inodeOf(st).owner; f.owner != os.Geteuid() && os.Geteuid() != 0 {
		return nil, foreign(name, root, f.name)
	}
	// Without the lock file nothing tells whether the session runs.
	f.lock, err = f.file(lockName, os.O_RDWR)
	if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) {
		f.lock, err = f.file(lockName, os.O_RDONLY)
	}
	if err != nil {
		return nil, unknown(name)
	}
	return f, nil
}

// foreign is the error of a session that belongs to another user.
func foreign(name string, root *os.Root, folder string) error {
	owner := "another user"
	if st, err := root.Lstat(folder); err == nil {
		owner = userName(inodeOf(st).owner)
	}
	return fault.Errorf(fault.Forbidden, "%q: %w user (%s)", name, ErrForeign, owner)
}

// maxFile bounds what is read of a session: a record holds a request of a
// mebibyte, and the paths of ten thousand files at the most.
const maxFile = 64 << 20

// file opens a file of the folder. It must be a regular file of the folder's
// owner and of no other name: a link could lead to another file, and opening a
// pipe could block.
func (f *folder) file(name string, flag int) (*os.File, error) {
	file, err := f.root.OpenFile(name, flag|openSafely, 0)
	if err != nil {
		return nil, err
	}
	st, err := file.Stat()
	if err == nil {
		id := inodeOf(st)
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
	_ = f.lock.Close() // an error for a folder without one, which changes nothing
	_ = f.root.Close()
}

// retryEvery is how often a lock is tried again that is held for moments only.
const retryEvery = 10 * time.Millisecond

// lockForChange takes the lock that a process holds while it repairs, changes
// or removes a session that has ended. While another process has it,
// lockForChange tries again, until ctx ends; then it returns the error of ctx.
func (f *folder) lockForChange(ctx context.Context) error {
	for {
		ok, err := tryLock(f.lock, changeLock)
		switch {
		case err != nil:
			return f.reg.failed("write to", err)
		case ok:
			return nil
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

// syncFolder brings the names in a folder to the disk.
func syncFolder(root *os.Root) error {
	d, err := root.Open(".")
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, errors.ErrUnsupported) || isInvalid(err) {
		err = nil // some file systems do not sync folders, and say so
	}
	return errors.Join(err, d.Close())
}
