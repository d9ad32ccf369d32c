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

// The test binary plays all parts: the tests, a process that writes until it
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
	f, err := Create(filepath.Dir(path), path)
	if err == nil {
		err = f.Protect("/proc/self/exe")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	record := make([]byte, recordSize)
	for i := range record {
		record[i] = 'x'
	}
	fmt.Println("writing")
	for range 20_000 { // 2 GB at the most
		if _, err := f.Write(record); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
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
			t.Fatal("the writer did not start: ", err)
		}
		time.Sleep(time.Duration(10+i*3) * time.Millisecond)
		must(t, cmd.Process.Signal(syscall.SIGKILL))
		_, _ = io.Copy(io.Discard, out)
		if err := cmd.Wait(); err == nil {
			t.Fatal("the writer ended by itself")
		}
		size := settled(t, path)
		if size == 0 || size%recordSize != 0 {
			t.Errorf("%d bytes are %d records and %d bytes", size, size/recordSize, size%recordSize)
		}
		must(t, os.Remove(path))
	}
	waitForNoGuard(t)
}

// settled is the size of a file whose guard has had time to act. The guard is
// woken by the end of the process and needs no time of its own to decide, so
// that what is not mended soon never will be.
func settled(t *testing.T, path string) int64 {
	t.Helper()
	var size int64
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(time.Millisecond) {
		st, err := os.Stat(path)
		must(t, err)
		if size = st.Size(); size > 0 && size%recordSize == 0 || time.Now().After(deadline) {
			return size
		}
	}
}

func TestGuardGoesHome(t *testing.T) {
	dir := t.TempDir()
	for _, end := range []func(*File) error{(*File).Finish, (*File).Close, (*File).Discard} {
		f, err := Create(dir, filepath.Join(dir, "x.cap"))
		must(t, err)
		must(t, f.Protect("/proc/self/exe"))
		_, err = f.Write([]byte("abc"))
		must(t, err)
		must(t, end(f))
		_ = os.Remove(filepath.Join(dir, "x.cap"))
	}
	waitForNoGuard(t)
}

func TestGuardThatCannotStart(t *testing.T) {
	dir := t.TempDir()
	f, err := Create(dir, filepath.Join(dir, "x.cap"))
	must(t, err)
	if err := f.Protect("/does/not/exist"); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("got %v", err)
	}
	_, err = f.Write([]byte("abc"))
	must(t, err)
	must(t, f.Finish())
}

func waitForNoGuard(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(5 * time.Millisecond) {
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
		if exe == self && strings.TrimRight(string(cmdline), "\x00") == GuardName {
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
	f, err := Create(dir, filepath.Join(dir, "x.cap"))
	must(t, err)
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
