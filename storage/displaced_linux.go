package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// tag tells where a file is: its descriptor was opened before the file had a name, so that /proc/self/fd tells none of it
// ever. This one has the name, and follows it (proc_pid_fd(5)). nil for a file without one.
type tag struct{ f *os.File }

func newTag(d *Folder, base string, id FileID) tag {
	// O_PATH needs no right to the file, and holds no lock or lease of it. open(2).
	var fd int
	err := Uninterrupted(func() (err error) {
		fd, err = unix.Openat(int(d.self.Fd()), base, unix.O_PATH|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return tag{}
	}
	f := os.NewFile(uintptr(fd), base)
	if now, err := IdentifyFile(f); err != nil || now != id {
		_ = f.Close()
		return tag{}
	}
	return tag{f}
}

func (t tag) close() {
	if t.f != nil {
		_ = t.f.Close()
	}
}

// look is five system calls.
func (f *File) look() *Displaced {
	if f.closed || f.id == (FileID{}) {
		return nil
	}
	links, ok := linksOf(f.f)
	if !ok {
		return nil
	}
	now, folder := f.folder.look()
	d := &Displaced{Path: f.path, what: folder}
	switch {
	case links == 0 && now == "":
		d.what = folderRemoved
		return d
	case links == 0:
		d.what = fileRemoved
		return d
	case now == "":
		if d.what == unmounted {
			d.memory = inMemory(f.f)
		}
		return d
	}
	there, err := statx(int(f.folder.self.Fd()), f.base, f.path, unix.AT_SYMLINK_NOFOLLOW)
	switch {
	case err == nil && there == f.id:
		if now == f.folder.path {
			return nil
		}
		d.what, d.Now = folderRenamed, filepath.Join(now, f.base)
		return d
	case err != nil && !errors.Is(err, unix.ENOENT):
		return nil
	}
	d.what = fileRemoved
	if f.tag.f == nil {
		return d
	}
	if path, err := linkOf(f.tag.f); err == nil {
		if there, err := IdentifyPath(path); err == nil && there == f.id {
			d.what, d.Now = fileRenamed, path
		}
	}
	return d
}

// look tells the path that leads to the folder, "" for none, and then why.
func (d *Folder) look() (now string, why displacement) {
	// Both as they are now: overlayfs changes what a folder is told apart by when it copies the folder up.
	id, err := IdentifyFile(d.self)
	if err != nil {
		return d.path, 0
	}
	there, err := statx(unix.AT_FDCWD, d.path, d.path, 0)
	absent := errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, unix.ELOOP)
	if err == nil && there == id || err != nil && !absent {
		return d.path, 0
	}
	if links, ok := linksOf(d.self); ok && links == 0 {
		return "", folderRemoved
	}
	path, err := linkOf(d.self)
	if err != nil {
		return d.path, 0 // it cannot be told
	}
	if there, err := IdentifyPath(path); err == nil && there == id {
		return path, folderRenamed
	}
	// What is mounted over a folder does not change where the kernel says that it is. Of one in a file system that is mounted
	// nowhere it tells the place in that file system.
	if path == d.real {
		return "", covered
	}
	return "", unmounted
}

// control calls do with the descriptor of f, which cannot be closed and used again meanwhile.
func control(f *os.File, do func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var failed error
	if err := conn.Control(func(fd uintptr) { failed = do(int(fd)) }); err != nil {
		return err
	}
	return failed
}

// linksOf is how many names f has; ok is false when that is not known.
func linksOf(f *os.File) (links uint64, ok bool) {
	var st unix.Stat_t
	err := control(f, func(fd int) error { return unix.Fstat(fd, &st) })
	return uint64(st.Nlink), err == nil //nolint:unconvert // 32 bits on some machines
}

func linkOf(f *os.File) (path string, err error) {
	err = control(f, func(fd int) error {
		path, err = os.Readlink(fmt.Sprintf("/proc/self/fd/%d", fd))
		return err
	})
	return path, err
}

// inMemory reports whether the file system of f ends with its last open file.
func inMemory(f *os.File) bool {
	var st unix.Statfs_t
	err := control(f, func(fd int) error { return unix.Fstatfs(fd, &st) })
	return err == nil && (st.Type == unix.TMPFS_MAGIC || st.Type == unix.RAMFS_MAGIC)
}
