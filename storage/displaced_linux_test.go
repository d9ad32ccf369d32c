package storage

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A file that is being written is found wherever it goes: Look tells the place within a look, Finish in the end, and what
// leads nowhere any more is copied, or told to be lost. Nothing is made where the folder was.
func TestDisplaced(t *testing.T) {
	const sub = "sub"
	for _, test := range []struct {
		name   string
		below  bool // the file lies in a folder below the captures folder
		happen func(dir, path string) error
		now    string // relative to the parent of the captures folder
		copied string
		lost   bool
		says   string
	}{
		{name: "renamed", happen: func(_, path string) error { return os.Rename(path, path+".1") }, now: "c/x.cap.1", says: "was renamed"},
		{
			name: "moved into another folder", happen: func(dir, path string) error { return os.Rename(path, filepath.Join(filepath.Dir(dir), "y")) },
			now: "y", says: "was renamed",
		},
		{name: "removed", happen: func(_, path string) error { return os.Remove(path) }, copied: "c/x.cap", says: "was removed"},
		{
			name: "replaced", happen: func(_, path string) error {
				return errors.Join(os.Remove(path), os.WriteFile(path, []byte("other"), 0o600))
			},
			copied: "c/x-copy1.cap", says: "was removed",
		},
		{
			name: "renamed over", happen: func(_, path string) error {
				return errors.Join(os.WriteFile(path+".2", []byte("other"), 0o600), os.Rename(path+".2", path))
			},
			copied: "c/x-copy1.cap", says: "was removed",
		},
		{name: "folder renamed", happen: func(dir, _ string) error { return os.Rename(dir, dir+"2") }, now: "c2/x.cap", says: "the folder of"},
		{
			name: "folder renamed and another made", happen: func(dir, _ string) error { return errors.Join(os.Rename(dir, dir+"2"), os.Mkdir(dir, 0o700)) },
			now: "c2/x.cap", says: "the folder of",
		},
		{
			name: "folder above renamed", below: true, happen: func(dir, _ string) error { return os.Rename(dir, dir+"2") },
			now: "c2/sub/x.cap", says: "the folder of",
		},
		{
			name: "folder below the captures folder removed", below: true, happen: func(_, path string) error { return os.RemoveAll(filepath.Dir(path)) },
			copied: "c/x.cap", says: "the folder of",
		},
		{name: "captures folder removed", happen: func(dir, _ string) error { return os.RemoveAll(dir) }, lost: true, says: "is lost"},
		{
			name: "folder renamed, file removed", happen: func(dir, path string) error { return errors.Join(os.Rename(dir, dir+"2"), os.Remove(dir+"2/x.cap")) },
			copied: "c2/x.cap", says: "was removed",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			top := t.TempDir()
			dir := filepath.Join(top, "c")
			path := filepath.Join(dir, "x.cap")
			if test.below {
				path = filepath.Join(dir, sub, "x.cap")
			}
			must(t, os.MkdirAll(filepath.Dir(path), 0o700))
			f, err := create(dir, path)
			must(t, err)
			t.Cleanup(func() { _ = f.folder.Close() })
			_, err = f.Write([]byte("abc"))
			must(t, err)
			if d := f.Look(); d != nil {
				t.Fatalf("before anything happened: %v", d)
			}
			must(t, test.happen(dir, path))
			before := tree(t, top)
			seen := f.Look()
			if seen == nil || !strings.HasPrefix(strings.TrimPrefix(seen.Now, top), strings.TrimSuffix("/"+test.now, "/")) || (seen.Now == "") != (test.now == "") {
				t.Fatalf("seen: %+v", seen)
			}
			_, err = f.Write([]byte("def")) // it goes on
			must(t, err)
			err = f.Finish()
			d, ok := errors.AsType[*Displaced](err)
			if !ok || !strings.Contains(d.Error(), test.says) || d.Lost() != test.lost {
				t.Fatalf("%v, %+v", err, d)
			}
			want := ""
			if test.now+test.copied != "" {
				want = filepath.Join(top, test.now+test.copied)
			}
			if d.Place() != want {
				t.Fatalf("at %q, want %q", d.Place(), want)
			}
			if want != "" {
				if got, err := os.ReadFile(want); err != nil || string(got) != "abcdef" || !strings.Contains(d.Error(), want) {
					t.Errorf("%q, %v; %v", got, err, d)
				}
			}
			if after := tree(t, top); test.copied == "" && after != before {
				t.Errorf("made\n%s\nwhere there was\n%s", after, before)
			}
		})
	}
}

func tree(t *testing.T, top string) string {
	t.Helper()
	var b strings.Builder
	must(t, filepath.WalkDir(top, func(path string, _ fs.DirEntry, err error) error {
		b.WriteString(path + "\n")
		return err
	}))
	return b.String()
}

// A file system that goes away under a file is told by what became of it: unmounted, or covered by another one. No file is
// made on what is below it.
func TestUnmounted(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a file system")
	}
	for _, test := range []struct {
		name, says string
		lost       bool
		happen     func(dir string) error
	}{
		{"a lazy unmount", "was unmounted", true, func(dir string) error { return syscall.Unmount(dir, syscall.MNT_DETACH) }},
		{"a mount over it", "another file system was mounted over", false, func(dir string) error { return syscall.Mount("none", dir, "tmpfs", 0, "size=1m") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			must(t, syscall.Mount("none", dir, "tmpfs", 0, "size=1m"))
			t.Cleanup(func() {
				for syscall.Unmount(dir, syscall.MNT_DETACH) == nil { // as many as there are
					continue
				}
			})
			f, err := create(dir, filepath.Join(dir, "x.cap"))
			must(t, err)
			t.Cleanup(func() { _ = f.folder.Close() })
			must(t, test.happen(dir))
			if d := f.Look(); d == nil || !d.FolderGone() || !strings.Contains(d.Error(), test.says) {
				t.Fatalf("seen: %+v", d)
			}
			d, ok := errors.AsType[*Displaced](f.Finish())
			if !ok || d.Place() != "" || d.Lost() != test.lost {
				t.Errorf("%+v", d)
			}
			if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
				t.Errorf("made in what is there now: %v, %v", left, err)
			}
		})
	}
}

// The copy of a spool has the hole of what was given back, and takes none of the reserve.
func TestCopyOfASpool(t *testing.T) {
	dir := t.TempDir()
	f, err := create(dir, filepath.Join(dir, "x.cap"))
	must(t, err)
	t.Cleanup(func() { _ = f.folder.Close() })
	content := bytes.Repeat([]byte("packets "), 4<<20/8)
	_, err = f.Write(content)
	must(t, err)
	again, err := f.Open()
	must(t, err)
	s := NewSpool(again, 0)
	must(t, s.Release(2<<20))
	must(t, os.Remove(f.Path()))
	d, ok := errors.AsType[*Displaced](f.Finish())
	must(t, s.Close())
	if !ok || d.Copy != f.Path() {
		t.Fatalf("%+v", d)
	}
	c, err := os.Open(d.Copy)
	must(t, err)
	defer func() { _ = c.Close() }()
	given, err := Given(c)
	must(t, err)
	got, err := os.ReadFile(d.Copy)
	must(t, err)
	if given != 2<<20 || len(got) != len(content) || !bytes.Equal(got[:spoolHead], content[:spoolHead]) || !bytes.Equal(got[given:], content[given:]) {
		t.Errorf("%d bytes, of which %d were given back", len(got), given)
	}

	f, err = create(dir, filepath.Join(dir, "y.cap"))
	must(t, err)
	_, err = f.Write(content)
	must(t, err)
	must(t, os.Remove(f.Path()))
	free, _, _ := f.folder.Space()
	f.folder.Reserve(free - int64(len(content))/2)
	if d, ok := errors.AsType[*Displaced](f.Finish()); !ok || !d.Lost() || !strings.Contains(d.Error(), "no room") {
		t.Errorf("%+v", d)
	}
}

// What is read back is the file that was written, also when its name leads to another one by then.
func TestOpenIsTheFileThatWasMade(t *testing.T) {
	dir := t.TempDir()
	secret := filepath.Join(t.TempDir(), "secret")
	must(t, os.WriteFile(secret, []byte("secret"), 0o600))
	f, err := create(dir, filepath.Join(dir, "x.cap"))
	must(t, err)
	t.Cleanup(func() { _ = f.folder.Close() })
	_, err = f.Write([]byte("packet"))
	must(t, err)
	must(t, os.Rename(f.Path(), f.Path()+".old"))
	must(t, os.Symlink(secret, f.Path()))
	read := func() string {
		again, err := f.Open()
		must(t, err)
		defer func() { _ = again.Close() }()
		b := make([]byte, 6)
		_, err = again.ReadAt(b, 0)
		must(t, err)
		return string(b)
	}
	if got := read(); got != "packet" {
		t.Errorf("while it is written: %q", got)
	}
	must(t, f.Close())
	if again, err := f.Open(); err == nil {
		t.Errorf("a link in its place: opened %s", again.Name())
	}
	must(t, os.Remove(f.Path()))
	must(t, os.WriteFile(f.Path(), []byte("foreig"), 0o600))
	if _, err := f.Open(); !errors.Is(err, ErrReplaced) {
		t.Errorf("another file in its place: %v", err)
	}
	must(t, os.Rename(f.Path()+".old", f.Path()))
	if got := read(); got != "packet" {
		t.Errorf("afterwards: %q", got)
	}
}
