package storage

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pcapctl/capture/testwine"
)

// A file that is being written can be renamed and removed by others, and is found, or copied. On Wine the handle of a file tells the
// name that it was opened by, so that all are copied.
func TestDisplaced(t *testing.T) {
	for _, test := range []struct {
		name         string
		happen       func(dir, path string) error
		now          string // relative to the parent of the captures folder
		copied, wine string // the copy, and that on Wine
	}{
		{name: "renamed", happen: func(_, path string) error { return os.Rename(path, path+".1") }, now: `c\x.cap.1`, wine: `c\x.cap`},
		{
			name: "moved into another folder", happen: func(dir, path string) error { return os.Rename(path, filepath.Join(filepath.Dir(dir), "y")) },
			now: "y", wine: `c\x.cap`,
		},
		{name: "removed", happen: func(_, path string) error { return os.Remove(path) }, copied: `c\x.cap`},
		{
			name: "replaced", happen: func(_, path string) error {
				return errors.Join(os.Rename(path, path+".1"), os.WriteFile(path, []byte("other"), 0o600))
			},
			now: `c\x.cap.1`, wine: `c\x-copy1.cap`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			says := "was renamed"
			if test.wine == "" {
				testwine.Broken(t, "a file that was removed keeps its name until it is closed, and nothing tells")
			}
			if testwine.Inside() {
				test.now, test.copied = "", test.wine
			}
			if test.copied != "" {
				says = "was removed"
			}
			top := t.TempDir()
			dir := filepath.Join(top, "c")
			path := filepath.Join(dir, "x.cap")
			f, err := createHere(t, dir, path)
			must(t, err)
			_, err = f.Write([]byte("abc"))
			must(t, err)
			if d := f.Look(); d != nil {
				t.Fatalf("before anything happened: %v", d)
			}
			must(t, test.happen(dir, path))
			seen := f.Look()
			if seen == nil || (seen.Now == "") != (test.now == "") || test.now != "" && !strings.EqualFold(seen.Now, filepath.Join(top, test.now)) {
				t.Fatalf("seen: %+v", seen)
			}
			_, err = f.Write([]byte("def"))
			must(t, err)
			err = f.Finish()
			d, ok := errors.AsType[*Displaced](err)
			if !ok || !strings.Contains(d.Error(), says) || d.Lost() {
				t.Fatalf("%v, %+v", err, d)
			}
			want := filepath.Join(top, test.now+test.copied)
			if got, err := os.ReadFile(d.Place()); !strings.EqualFold(d.Place(), want) || err != nil || string(got) != "abcdef" {
				t.Errorf("at %q: %q, %v; want %q", d.Place(), got, err, want)
			}
		})
	}
}

// The folder of an open file cannot be renamed or removed.
func TestFolderStays(t *testing.T) {
	testwine.Broken(t, "it renames folders of open files")
	dir := filepath.Join(t.TempDir(), "c")
	f, err := createHere(t, dir, filepath.Join(dir, "x.cap"))
	must(t, err)
	if os.Rename(dir, dir+"2") == nil || os.Remove(dir) == nil || f.Look() != nil {
		t.Errorf("the folder has gone: %v", f.Look())
	}
	must(t, f.Finish())
}

// What reads a file back does not move the place where the next record goes, and holds nothing up.
func TestOpenAgain(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.cap")
	f, err := createHere(t, dir, path)
	must(t, err)
	_, err = f.Write([]byte("abc"))
	must(t, err)
	again, err := f.Open()
	must(t, err)
	b := make([]byte, 2)
	_, err = again.ReadAt(b, 1)
	must(t, err)
	_, err = f.Write([]byte("def"))
	must(t, err)
	_, err = again.ReadAt(b, 4)
	must(t, err)
	if string(b) != "ef" {
		t.Errorf("read %q", b)
	}
	must(t, f.Finish())
	if got, err := os.ReadFile(path); err != nil || string(got) != "abcdef" {
		t.Errorf("%q, %v", got, err)
	}
	late, err := f.Open()
	must(t, err)
	must(t, f.Remove()) // although it is open, twice
	must(t, errors.Join(again.Close(), late.Close()))
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is still there: %v", err)
	}
	must(t, f.Remove())
}

// A file that another program keeps for itself is not removed, and the error says so.
func TestBusyFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.cap")
	f, err := createHere(t, dir, path)
	must(t, err)
	must(t, f.Finish())
	other, err := os.Open(path) // which does not share removal
	must(t, err)
	if err := f.Remove(); !IsBusy(err) {
		t.Errorf("removed while it was open: %v", err)
	}
	must(t, other.Close())
	must(t, f.Remove())
}

// What has taken a file's place is left alone.
func TestRemoveLeavesOthersAlone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "x.cap")
	f, err := createHere(t, dir, path)
	must(t, err)
	must(t, f.Finish())
	must(t, os.Rename(path, path+".1"))
	must(t, os.WriteFile(path, []byte("other"), 0o600))
	if err := f.Remove(); !errors.Is(err, ErrReplaced) {
		t.Errorf("removed: %v", err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != "other" {
		t.Errorf("%q, %v", got, err)
	}
}

func TestSpace(t *testing.T) {
	d, err := OpenFolder(t.TempDir(), "x")
	if err == nil {
		t.Fatal("a path elsewhere was taken")
	}
	dir := t.TempDir()
	d, err = OpenFolder(dir, filepath.Join(dir, "x"))
	must(t, err)
	t.Cleanup(func() { _ = d.Close() })
	free, total, ok := d.Space()
	if !ok || free <= 0 || total < free {
		t.Errorf("%d of %d, %v", free, total, ok)
	}
}

// A spool gives back what was sent where the file system can do that, and keeps all of it elsewhere.
func TestSpoolGivesBack(t *testing.T) {
	dir := t.TempDir()
	f, err := createHere(t, dir, filepath.Join(dir, "spool.cap"))
	must(t, err)
	const mib = 1 << 20
	content := bytes.Repeat([]byte("packets "), 4*mib/8)
	_, err = f.Write(content)
	must(t, err)
	again, err := f.Open()
	must(t, err)
	s := NewSpool(again, mib)
	for _, step := range []struct{ sent, given int64 }{{0, 0}, {spoolHead, 0}, {mib, mib}, {2*mib + 5, 2 * mib}, {4 * mib, 3 * mib}} {
		must(t, s.Release(step.sent))
		if s.Given() != step.given && (!s.off || s.Given() != 0) {
			t.Errorf("after %d were sent, %d were given, want %d", step.sent, s.Given(), step.given)
		}
	}
	t.Cleanup(func() { _ = errors.Join(s.Close(), f.Close()) })
	if s.off {
		testwine.Broken(t, "it has no sparse files: a spool keeps its space, which was tested")
		t.Error("no holes on this disk: run the tests with a folder on NTFS")
	}
	got := make([]byte, len(content))
	_, err = s.ReadAt(got, 0)
	must(t, err)
	if !bytes.Equal(got[:spoolHead], content[:spoolHead]) || !bytes.Equal(got[3*mib:], content[3*mib:]) || !bytes.Equal(got[spoolHead:3*mib], make([]byte, 3*mib-spoolHead)) {
		t.Error("what was kept differs")
	}
	if given, err := Given(again); err != nil || given != 3*mib {
		t.Errorf("found that %d were given, want %d: %v", given, 3*mib, err)
	}
	must(t, f.Finish())
}
