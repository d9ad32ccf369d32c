package private_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"pcapctl/storage/private"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func openRoot(t *testing.T, dir string) *os.Root {
	t.Helper()
	root, err := os.OpenRoot(dir)
	must(t, err)
	t.Cleanup(func() { _ = root.Close() })
	return root
}

// What is made can be written and read back, is of its owner alone, and overwrites nothing.
func TestCreate(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	for name, create := range map[string]func(flag int) (*os.File, error){
		"in a root": func(flag int) (*os.File, error) { return private.Create(root, "in a root", flag) },
		"by path":   func(flag int) (*os.File, error) { return private.CreateFile(filepath.Join(dir, "by path"), flag) },
	} {
		f, err := create(os.O_RDWR)
		must(t, err)
		_, err = f.WriteString("abc")
		must(t, err)
		got := begin(t, f)
		if got != "abc" || f.Name() != filepath.Join(dir, name) {
			t.Errorf("%s: %q in %s", name, got, f.Name())
		}
		wantPrivate(t, f.Name(), false)
		must(t, f.Close())
		for _, flag := range []int{os.O_RDWR, os.O_WRONLY} {
			f, err := create(flag)
			if f != nil || !errors.Is(err, fs.ErrExist) {
				t.Errorf("%s again: %v", name, err)
			}
		}
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != "abc" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
	}
	if _, err := private.CreateFile(filepath.Join(dir, "absent", "x"), os.O_WRONLY); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("in a folder that is absent: %v", err)
	}
}

func begin(t *testing.T, f *os.File) string {
	t.Helper()
	b := make([]byte, 3)
	_, err := f.ReadAt(b, 0)
	must(t, err)
	return string(b)
}

// A file that is appended to has its end found at every write, whoever else writes.
func TestAppend(t *testing.T) {
	root := openRoot(t, t.TempDir())
	f, err := private.Create(root, "log", os.O_RDWR|os.O_APPEND)
	must(t, err)
	other, err := root.OpenFile("log", os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteString("one ")
	must(t, err)
	_, err = other.WriteString("two three ")
	must(t, err)
	_, err = f.WriteString("four")
	must(t, err)
	must(t, errors.Join(f.Close(), other.Close()))
	if text, err := root.ReadFile("log"); err != nil || string(text) != "two three four" {
		t.Errorf("%q, %v", text, err)
	}
}

func TestMkdir(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	must(t, private.Mkdir(root, "a"))
	wantPrivate(t, filepath.Join(dir, "a"), true)
	if err := private.Mkdir(root, "a"); !errors.Is(err, fs.ErrExist) {
		t.Errorf("again: %v", err)
	}
	deep := filepath.Join(dir, "b", "c", "d")
	must(t, private.MkdirAll(deep))
	must(t, private.MkdirAll(deep))
	wantPrivate(t, filepath.Dir(deep), true)
	wantPrivate(t, deep, true)
	must(t, os.WriteFile(filepath.Join(deep, "file"), nil, 0o600))
	if err := private.MkdirAll(filepath.Join(deep, "file")); err == nil {
		t.Error("a file was taken for a folder")
	}
	if err := private.MkdirAll(filepath.Join(deep, "file", "e")); err == nil {
		t.Error("a folder was made in a file")
	}
}

// What is not the name of a file in the folder is refused on every system, and nothing is made.
func TestNames(t *testing.T) {
	dir := t.TempDir()
	root := openRoot(t, dir)
	for _, name := range []string{"", ".", "..", "a/b", `a\b`, "a:stream", "/a", `C:a`} {
		f, err := private.Create(root, name, os.O_WRONLY)
		if f != nil || !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("file %q: %v", name, err)
		}
		if err := private.Mkdir(root, name); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("folder %q: %v", name, err)
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 0 {
		t.Errorf("left: %v, %v", left, err)
	}
}
