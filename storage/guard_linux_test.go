package storage

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The test binary runs as all three processes: the tests, a process that writes until it
// is killed, and the guard.
func TestMain(m *testing.M) {
	if GuardMain() {
		return
	}
	if path := os.Getenv("STORAGE_TEST_WRITE"); path != "" {
		writeForEver(path)
	}
	os.Exit(m.Run())
}

const recordSize = 100_003

func writeForEver(path string) {
	f, err := create(filepath.Dir(path), path)
	if err == nil {
		var g *Guard
		if g, err = StartGuard("/proc/self/exe"); err == nil {
			err = g.Protect(f)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	record := make([]byte, recordSize)
	for i := range record {
		record[i] = 'x'
	}
	for i := range 20_000 { // 2 GB at the most
		if _, err := f.Write(record); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		if i == 0 {
			fmt.Println("the first record is in the file")
		}
	}
	os.Exit(1)
}

// Without the guard about half of the kills leave a cut record.
func TestKillNineLeavesWholeRecords(t *testing.T) {
	dir := t.TempDir()
	for i := range 20 {
		path := filepath.Join(dir, fmt.Sprint(i))
		cmd := exec.CommandContext(t.Context(), "/proc/self/exe")
		cmd.Env = append(os.Environ(), "STORAGE_TEST_WRITE="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal("the writer wrote no record: ", err)
		}
		time.Sleep(time.Duration(10+i*3) * time.Millisecond)
		must(t, cmd.Process.Signal(syscall.SIGKILL))
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err == nil {
			t.Fatal("the writer ended by itself")
		}
		waitForNoGuard(t) // it ends when it has truncated the file
		st, err := os.Stat(path)
		must(t, err)
		if size := st.Size(); size == 0 || size%recordSize != 0 {
			t.Errorf("%d bytes are %d records and %d bytes", size, size/recordSize, size%recordSize)
		}
		must(t, os.Remove(path))
	}
}

func TestGuardEndsWithItsFiles(t *testing.T) {
	dir := t.TempDir()
	for _, end := range []func(*File) error{(*File).Finish, (*File).Close, (*File).Discard} {
		f, err := create(dir, filepath.Join(dir, "x.cap"))
		must(t, err)
		g, err := StartGuard("/proc/self/exe")
		must(t, err)
		must(t, g.Protect(f))
		_, err = f.Write([]byte("abc"))
		must(t, err)
		must(t, end(f))
		g.Close()
		_ = os.Remove(filepath.Join(dir, "x.cap"))
	}
	waitForNoGuard(t)
}

func TestGuardThatCannotStart(t *testing.T) {
	dir := t.TempDir()
	f, err := create(dir, filepath.Join(dir, "x.cap"))
	must(t, err)
	g, err := StartGuard("/does/not/exist")
	if !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
	if g != nil {
		t.Error("a guard that did not start")
	}
	_, err = f.Write([]byte("abc"))
	must(t, err)
	must(t, f.Finish())
}

// Without a guard a file is written the same, and a Protector can be closed
// twice.
func TestUnguarded(t *testing.T) {
	dir := t.TempDir()
	f, err := create(dir, filepath.Join(dir, "x.cap"))
	must(t, err)
	var p Protector = Unguarded{}
	must(t, p.Protect(f))
	_, err = f.Write([]byte("abc"))
	must(t, err)
	must(t, f.Finish())
	p.Close()
	p.Close()
	if text, _ := os.ReadFile(f.Path()); string(text) != "abc" {
		t.Errorf("the file holds %q", text)
	}
}

// waitForNoGuard waits until no guard of these tests runs any more. A minute is
// far more than a guard takes, also on a machine that does much else.
func waitForNoGuard(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		left := guards(t)
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("guards left behind: %v", left)
		}
	}
}

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

// One guard has many files, one after the other and several at once. When it is
// asked to, it has let go of a file before that is said to be closed.
func TestGuardOfManyFiles(t *testing.T) {
	dir := t.TempDir()
	g, err := StartGuard("/proc/self/exe")
	must(t, err)
	var open []*File
	for i := range 3 * guardSlots {
		f, err := create(dir, filepath.Join(dir, fmt.Sprint(i)))
		must(t, err)
		must(t, g.Protect(f))
		open = append(open, f)
		if len(open) == guardSlots {
			extra, err := create(dir, filepath.Join(dir, fmt.Sprint("extra", i)))
			must(t, err)
			if err := g.Protect(extra); err == nil {
				t.Error("more files than there are slots")
			}
			must(t, extra.Discard())
		}
		for len(open) == guardSlots {
			must(t, open[0].Finish())
			again, err := os.OpenFile(open[0].Path(), os.O_RDWR, 0)
			must(t, err)
			if err := syscall.Flock(int(again.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
				t.Errorf("the guard has file %s still: %v", open[0].Path(), err)
			}
			must(t, again.Close())
			open = open[1:]
		}
	}
	for _, f := range open {
		must(t, f.Close())
	}
	g.Close()
	g.Close()
	waitForNoGuard(t)
}

// A capture goes on when its guard was killed.
func TestGuardIsKilled(t *testing.T) {
	dir := t.TempDir()
	g, err := StartGuard("/proc/self/exe")
	must(t, err)
	f, err := create(dir, filepath.Join(dir, "x"))
	must(t, err)
	must(t, g.Protect(f))
	must(t, g.cmd.Process.Kill())
	_, err = g.cmd.Process.Wait()
	must(t, err)
	_, err = f.Write([]byte("abc"))
	must(t, err)
	must(t, f.Finish())
	f, err = create(dir, filepath.Join(dir, "y"))
	must(t, err)
	if err := g.Protect(f); err == nil {
		t.Error("a dead guard took a file")
	}
	must(t, f.Finish())
	g.Close()
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
