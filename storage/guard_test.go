//go:build linux || windows

package storage

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"pcapctl/capture/testwine"
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
	program, err := os.Executable()
	var f *File
	if err == nil {
		f, err = create(filepath.Dir(path), path)
	}
	if err == nil {
		var g *Guard
		if g, err = StartGuard(program); err == nil {
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
func TestKillLeavesWholeRecords(t *testing.T) {
	dir := t.TempDir()
	kills := 20
	if testwine.Inside() {
		kills = 5 // where to start two programs takes a second
	}
	for i := range kills {
		path := filepath.Join(dir, fmt.Sprint(i))
		cmd := exec.CommandContext(t.Context(), self(t))
		cmd.Env = append(os.Environ(), "STORAGE_TEST_WRITE="+path)
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
			t.Fatal("the writer wrote no record: ", err)
		}
		time.Sleep(time.Duration(10+i*3) * time.Millisecond)
		must(t, cmd.Process.Kill())
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
		f := made(t, dir, filepath.Join(dir, "x.cap"))
		g, err := StartGuard(self(t))
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
	f := made(t, dir, filepath.Join(dir, "x.cap"))
	g, err := StartGuard(filepath.Join(dir, "absent"))
	if !errors.Is(err, os.ErrNotExist) && !errors.Is(err, exec.ErrNotFound) { // which Windows has for it
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
	f := made(t, dir, filepath.Join(dir, "x.cap"))
	var p Protector = Unguarded{}
	must(t, p.Protect(f))
	_, err := f.Write([]byte("abc"))
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

// One guard has many files, one after the other and several at once. When it is
// asked to, it has let go of a file before that is said to be closed.
func TestGuardOfManyFiles(t *testing.T) {
	dir := t.TempDir()
	g, err := StartGuard(self(t))
	must(t, err)
	var open []*File
	for i := range 3 * guardSlots {
		f := made(t, dir, filepath.Join(dir, fmt.Sprint(i)))
		must(t, g.Protect(f))
		open = append(open, f)
		if len(open) == guardSlots {
			extra := made(t, dir, filepath.Join(dir, fmt.Sprint("extra", i)))
			if err := g.Protect(extra); err == nil {
				t.Error("more files than there are slots")
			}
			must(t, extra.Discard())
		}
		for len(open) == guardSlots {
			must(t, open[0].Finish())
			again, err := os.OpenFile(open[0].Path(), os.O_RDWR, 0)
			must(t, err)
			if written, err := Writers(again); err != nil || written {
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
	g, err := StartGuard(self(t))
	must(t, err)
	f := made(t, dir, filepath.Join(dir, "x"))
	must(t, g.Protect(f))
	must(t, g.cmd.Process.Kill())
	_, err = g.cmd.Process.Wait()
	must(t, err)
	_, err = f.Write([]byte("abc"))
	must(t, err)
	must(t, f.Finish())
	f = made(t, dir, filepath.Join(dir, "y"))
	if err := g.Protect(f); err == nil {
		t.Error("a dead guard took a file")
	}
	must(t, f.Finish())
	g.Close()
}

// What is still written by the process or its guard is told from what is not.
func TestWriters(t *testing.T) {
	dir := t.TempDir()
	f := made(t, dir, filepath.Join(dir, "x"))
	g, err := StartGuard(self(t))
	must(t, err)
	must(t, g.Protect(f))
	other, err := os.OpenFile(f.Path(), os.O_RDWR, 0)
	must(t, err)
	if written, err := Writers(other); err != nil || !written {
		t.Errorf("while it is written: %v, %v", written, err)
	}
	must(t, f.Finish())
	if written, err := Writers(other); err != nil || written {
		t.Errorf("afterwards: %v, %v", written, err)
	}
	must(t, other.Close())
	g.Close()
}

// made is create, whose folder is closed when the test ends: Windows removes none that is open.
func made(t *testing.T, dir, path string) *File {
	t.Helper()
	f, err := create(dir, path)
	must(t, err)
	t.Cleanup(func() { _ = f.folder.Close() })
	return f
}

func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	must(t, err)
	return path
}
