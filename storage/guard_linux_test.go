package storage

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// guards lists the processes of this test binary that run as guards.
func guards(t *testing.T) (pids []string) {
	t.Helper()
	self, err := os.Readlink("/proc/self/exe")
	must(t, err)
	all, err := filepath.Glob("/proc/[0-9]*")
	must(t, err)
	for _, p := range all {
		exe, _ := os.Readlink(p + "/exe")
		cmdline, _ := os.ReadFile(p + "/cmdline")
		if exe == self && strings.TrimRight(string(cmdline), "\x00") == guardName {
			pids = append(pids, filepath.Base(p))
		}
	}
	return pids
}

// A full disk ends a write in the middle; Cut brings the file back to where it
// may end.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small tmpfs")
	}
	dir := t.TempDir()
	if err := syscall.Mount("none", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatal("mount a small tmpfs: ", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(dir, 0) })
	f, err := create(dir, filepath.Join(dir, "x.cap"))
	must(t, err)
	t.Cleanup(func() { _ = f.folder.Close() })
	record := make([]byte, 10_000)
	for range 6 {
		_, err = f.Write(record)
		must(t, err)
	}
	n, err := f.Write(record)
	if !errors.Is(err, syscall.ENOSPC) || n != 64<<10-60_000 {
		t.Fatalf("%d bytes, %v", n, err)
	}
	must(t, f.Cut(f.Size()+2000))
	_, err = f.Write(record[:1000])
	must(t, err)
	must(t, f.Finish())
	st, err := os.Stat(f.Path())
	must(t, err)
	if st.Size() != 63_000 {
		t.Errorf("size %d", st.Size())
	}
}

// What has taken the place of a file stays, also where the path leads elsewhere by now: the folder is the one that was opened.
func TestRemoveTakesOnlyItsOwn(t *testing.T) {
	dir, outside := t.TempDir(), t.TempDir()
	victim := filepath.Join(outside, "x")
	must(t, os.WriteFile(victim, []byte("v"), 0o600))
	made := func() *File {
		f, err := create(dir, filepath.Join(dir, "sub", "x"))
		must(t, err)
		must(t, f.Finish())
		return f
	}
	must(t, os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	f := made()
	must(t, f.Remove())
	must(t, f.Remove()) // it is gone: as it should be

	f = made()
	replace(t, f)
	if err := f.Remove(); !errors.Is(err, ErrReplaced) {
		t.Errorf("another file in its place: %v", err)
	}
	must(t, os.Remove(f.Path()))
	must(t, os.Symlink(victim, f.Path()))
	if err := f.Remove(); err == nil {
		t.Errorf("a link in its place: %v", err)
	}
	must(t, os.Remove(f.Path()))
	f = made()
	must(t, os.Rename(filepath.Join(dir, "sub"), filepath.Join(dir, "moved")))
	must(t, os.Symlink(outside, filepath.Join(dir, "sub")))
	must(t, f.Remove())
	if _, err := os.Stat(victim); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "moved", "x")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its own file, in the folder that was renamed: %v", err)
	}
}

// replace puts another file in the place of f, which can be distinguished from
// it: times of birth are as fine as the kernel's tick, and the inode may be the
// same.
func replace(t *testing.T, f *File) {
	t.Helper()
	for range 10_000 {
		must(t, os.Remove(f.Path()))
		must(t, os.WriteFile(f.Path(), []byte("other"), 0o600))
		other, err := os.Open(f.Path())
		must(t, err)
		id, err := IdentifyFile(other)
		must(t, err)
		must(t, other.Close())
		if id != f.id {
			return
		}
	}
	t.Fatal("the other file cannot be distinguished: the file system keeps no times of birth")
}

// A hidden file is not in its folder before it appears, and replaces no other file.
func TestHiddenFileAppears(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "captures")
	path := filepath.Join(dir, "x.cap")
	must(t, os.Mkdir(dir, 0o700))
	f, err := createHidden(dir, path)
	must(t, err)
	_, err = f.Write([]byte("head"))
	must(t, err)
	if left, _ := os.ReadDir(dir); len(left) != 0 {
		t.Errorf("it is there already: %v", left)
	}
	must(t, f.Appear())
	_, err = f.Write([]byte("tail"))
	must(t, err)
	must(t, f.Finish())
	st, err := os.Stat(path)
	must(t, err)
	if text, _ := os.ReadFile(path); string(text) != "headtail" || st.Mode() != 0o600 {
		t.Errorf("%q, %v", text, st.Mode())
	}

	f, err = createHidden(dir, path)
	must(t, err)
	if err := f.Appear(); !errors.Is(err, os.ErrExist) {
		t.Errorf("got %v", err)
	}
	must(t, f.Discard())
	if text, _ := os.ReadFile(path); string(text) != "headtail" {
		t.Errorf("what was there: %q", text)
	}
	if err := f.Remove(); !errors.Is(err, ErrReplaced) {
		t.Errorf("it would have taken another file away: %v", err)
	}
}
