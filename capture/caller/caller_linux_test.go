package caller

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// The test binary is run again for what changes a whole process.
func TestMain(m *testing.M) {
	if what := os.Getenv("CALLER_TEST"); what != "" {
		if err := change(what); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("CI must run the tests as root")
		}
		t.Skip("needs root")
	}
}

var alice = &User{Name: "alice", uid: 54321, gid: 54322, groups: []int{54323}}

// threads are the ids and capabilities of every thread, as the kernel tells them.
func threads() (map[string]bool, error) {
	dirs, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, path := range dirs {
		text, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended meanwhile
		}
		if err != nil {
			return nil, err
		}
		var lines []string
		for line := range strings.Lines(string(text)) {
			for _, of := range []string{"Uid:", "Gid:", "Groups:", "CapEff:", "CapPrm:"} {
				if strings.HasPrefix(line, of) {
					lines = append(lines, strings.Join(strings.Fields(line), " "))
				}
			}
		}
		seen[strings.Join(lines, "; ")] = true
	}
	return seen, nil
}

const noCaps = "0000000000000000"

// change does to this process what the test asks for, and looks at what it is then.
func change(what string) error {
	only := func(part string) error {
		seen, err := threads()
		if err != nil {
			return err
		}
		for s := range seen {
			if !strings.Contains(s, part) {
				return fmt.Errorf("a thread is %s, want %s", s, part)
			}
		}
		if n, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0); n != 0 || err != nil {
			return fmt.Errorf("it can be dumped: %d, %w", n, err)
		}
		return nil
	}
	switch what {
	case "give up":
		if err := alice.GiveUp(); err != nil {
			return err
		}
		if unix.Setresuid(-1, 0, -1) == nil || unix.Setresgid(-1, 0, -1) == nil {
			return errors.New("root's rights came back")
		}
		return only("Uid: 54321 54321 54321 54321; Gid: 54322 54322 54322 54322; Groups: 54323; CapPrm: " + noCaps + "; CapEff: " + noCaps)
	case "lower":
		if err := alice.Lower(); err != nil {
			return err
		}
		const lowered = "Uid: 0 54321 0 54321; Gid: 0 54322 0 54322; Groups: 54323; CapPrm: "
		if err := only(lowered); err != nil {
			return err
		}
		for range 50 {
			if err := alice.Raised(func() error {
				if unix.Geteuid() != 0 || unix.Getegid() != 0 {
					return fmt.Errorf("raised: %d, %d", unix.Geteuid(), unix.Getegid())
				}
				return nil
			}); err != nil {
				return err
			}
			if err := only(lowered); err != nil {
				return err
			}
		}
		if err := alice.Restore(); err != nil {
			return err
		}
		return only("Uid: 0 0 0 0; Gid: 0 0 0 0; Groups: 54323")
	case "do":
		for range 50 {
			if err := alice.Do(func() error {
				if unix.Getuid() != 54321 || setIDs(unix.SYS_SETRESUID, [3]int{keep, 0, keep}) == nil {
					return errors.New("not the user's rights")
				}
				return nil
			}); err != nil {
				return err
			}
			if err := only("Uid: 0 0 0 0; Gid: 0 0 0 0"); err != nil {
				return err
			}
		}
		return alice.GiveUp() // fatal when a thread of another user is still there
	}
	return fmt.Errorf("%q is not a change", what)
}

// The change of user reaches every thread, or the one that it is meant for, and what
// is given up does not come back.
func TestChangeOfUser(t *testing.T) {
	needRoot(t)
	for _, what := range []string{"give up", "lower", "do"} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "CALLER_TEST="+what)
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// What the user may not read is not read for it, also by way of a folder, a link or a
// group.
func TestDoHasTheRightsOfTheUser(t *testing.T) {
	needRoot(t)
	dir := open(t, t.TempDir())
	for name, mode := range map[string]fs.FileMode{"private": 0o600, "public": 0o644, "group": 0o640} {
		if err := errors.Join(os.WriteFile(filepath.Join(dir, name), []byte("x"), mode), os.Chmod(filepath.Join(dir, name), mode)); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.Chown(filepath.Join(dir, "group"), 0, 54323), os.Symlink("private", filepath.Join(dir, "link"))); err != nil {
		t.Fatal(err)
	}
	for name, may := range map[string]bool{"private": false, "link": false, "public": true, "group": true} {
		err := alice.Do(func() error {
			f, err := os.Open(filepath.Join(dir, name))
			if err == nil {
				err = f.Close()
			}
			return err
		})
		if (err == nil) != may || !may && !errors.Is(err, fs.ErrPermission) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// open lets everybody into a folder of a test.
func open(t *testing.T, dir string) string {
	t.Helper()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// A file that somebody else could have written is not opened, wherever on the way he
// could have done it.
func TestTrustedFiles(t *testing.T) {
	needRoot(t)
	made := func(t *testing.T) string {
		dir := open(t, t.TempDir())
		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "a/b"), 0o755), os.WriteFile(filepath.Join(dir, "a/b/file"), []byte("x"), 0o644)); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	for _, test := range []struct {
		name   string
		change func(dir string) error
		path   string
		want   error // nil: it is opened
	}{
		{"root's", func(string) error { return nil }, "a/b/file", nil},
		{"the owner's", func(d string) error { return os.Chown(d+"/a/b/file", 1234, 0) }, "a/b/file", nil},
		{"another's file", func(d string) error { return os.Chown(d+"/a/b/file", 54321, 0) }, "a/b/file", ErrUntrusted},
		{"another's folder", func(d string) error { return os.Chown(d+"/a", 54321, 0) }, "a/b/file", ErrUntrusted},
		{"written by everybody", func(d string) error { return os.Chmod(d+"/a/b/file", 0o646) }, "a/b/file", ErrUntrusted},
		{"written by the group", func(d string) error { return os.Chmod(d+"/a/b/file", 0o664) }, "a/b/file", ErrUntrusted},
		{"a folder written by the group", func(d string) error { return os.Chmod(d+"/a", 0o775) }, "a/b/file", ErrUntrusted},
		{"a sticky folder", func(d string) error { return os.Chmod(d+"/a", 0o777|fs.ModeSticky) }, "a/b/file", nil},
		{"another's in a sticky folder", func(d string) error {
			return errors.Join(os.Chmod(d+"/a", 0o777|fs.ModeSticky), os.Chown(d+"/a/b", 54321, 0))
		}, "a/b/file", ErrUntrusted},
		{"a sticky file", func(d string) error { return os.Chmod(d+"/a/b/file", 0o666|fs.ModeSticky) }, "a/b/file", ErrUntrusted},
		{"a link", func(d string) error { return os.Symlink("b/file", d+"/a/link") }, "a/link", nil},
		{"a link to a folder, by the root", func(d string) error { return os.Symlink(d+"/a", d+"/link") }, "link/b/file", nil},
		{"a link up", func(d string) error { return os.Symlink("../b/file", d+"/a/b/link") }, "a/b/link", nil},
		{"another's link", func(d string) error {
			return errors.Join(os.Symlink("b/file", d+"/a/link"), os.Lchown(d+"/a/link", 54321, 0))
		}, "a/link", ErrUntrusted},
		{"a link through another's folder", func(d string) error {
			return errors.Join(os.Mkdir(d+"/c", 0o755), os.Chown(d+"/c", 54321, 0), os.Symlink(d+"/c/../a/b/file", d+"/link"))
		}, "link", ErrUntrusted},
		{"a link in a circle", func(d string) error { return os.Symlink("link", d+"/link") }, "link", unix.ELOOP},
		{"absent", func(string) error { return nil }, "a/x", fs.ErrNotExist},
		{"a folder", func(string) error { return nil }, "a/b", unix.EISDIR},
		{"below a file", func(string) error { return nil }, "a/b/file/x", unix.ENOTDIR},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := made(t)
			if err := test.change(dir); err != nil {
				t.Fatal(err)
			}
			f, err := OpenTrusted(filepath.Join(dir, test.path), 1234)
			if err == nil {
				_ = f.Close()
			}
			if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
	t.Run("a pipe", func(t *testing.T) {
		path := filepath.Join(open(t, t.TempDir()), "pipe")
		if err := unix.Mkfifo(path, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenTrusted(path); err == nil || !strings.Contains(err.Error(), "regular") {
			t.Errorf("%v", err)
		}
	})
}

// A walk leaves no descriptor behind, however it ends.
func TestTrustedFilesAreClosed(t *testing.T) {
	dir := t.TempDir()
	count := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if err := os.WriteFile(dir+"/f", bytes.Repeat([]byte("x"), 10), 0o600); err != nil {
		t.Fatal(err)
	}
	before := count()
	for _, path := range []string{"f", "x", "x/y", "f/y", "."} {
		if f, err := OpenTrusted(filepath.Join(dir, path), os.Getuid()); err == nil {
			_ = f.Close()
		}
	}
	if after := count(); after != before {
		t.Errorf("%d descriptors before, %d after", before, after)
	}
}
