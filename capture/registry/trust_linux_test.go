package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/request"
)

// ended is a registry with one session that has ended, and the folder of it.
func ended(t *testing.T, name string) (r *Registry, dir string) {
	t.Helper()
	r, c := claimOne(t, name)
	must(t, c.End(&capture.Result{Config: SampleConfig(t, name), Started: time.Now()}, nil))
	return r, filepath.Join(r.Dir(), name)
}

// chown gives a file to another user, which root alone can.
func chown(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("CI") != "" {
			t.Fatal("CI must run the tests as root")
		}
		t.Skip("needs root, to give a file to another user")
	}
	must(t, os.Lchown(path, 23001, 23001))
}

// What is not a file as pcapctl makes them is not read, whatever has put it there.
func TestFilesThatPcapctlHasNotMade(t *testing.T) {
	for what, spoil := range map[string]func(t *testing.T, path string){
		"a link": func(t *testing.T, path string) {
			must(t, os.Rename(path, path+".x"))
			must(t, os.Symlink(filepath.Base(path)+".x", path))
		},
		"two names":               func(t *testing.T, path string) { must(t, os.Link(path, path+".x")) },
		"a folder":                func(t *testing.T, path string) { must(t, os.Remove(path)); must(t, os.Mkdir(path, 0o700)) },
		"others may write to it":  func(t *testing.T, path string) { must(t, os.Chmod(path, 0o622)) },
		"it is another user's":    chown,
		"larger than it could be": func(t *testing.T, path string) { must(t, os.Truncate(path, maxRecord+1)) },
	} {
		for _, file := range []string{recordName, lockName} {
			t.Run(what+"/"+file, func(t *testing.T) {
				r, dir := ended(t, "one")
				spoil(t, filepath.Join(dir, file))
				s, err := r.Get("one")
				if file == lockName && what == "larger than it could be" {
					// The record is small, and the lock file is not read.
					must(t, err)
				}
				if err != nil || s.State != Unknown || s.Record != nil || s.Err == nil {
					t.Fatalf("%+v, %v", s, err)
				}
				if _, err := s.OpenFile(); fault.ClassOf(err) != fault.NotFound {
					t.Error(err)
				}
				if err := r.Check("one"); !errors.Is(err, ErrTaken) {
					t.Error(err)
				}
				_, err = r.Delete(t.Context(), "one", false)
				if left := what == "a link" || what == "two names"; left != (err != nil) {
					t.Error(err) // what was left beside it is not removed
				}
				if err := r.Check("one"); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// The capture file that a record names is opened as its owner made it, and is not
// another that has come to stand there.
func TestOpenFileIsTheSessionsOwn(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	must(t, os.WriteFile(victim, []byte("secret"), 0o600))
	for what, test := range map[string]struct {
		lay  func(t *testing.T, path string)
		want fault.Class
		says string
	}{
		"its own":        {func(t *testing.T, path string) { must(t, os.WriteFile(path, []byte("x"), 0o600)) }, fault.Internal, ""},
		"nothing":        {func(*testing.T, string) {}, fault.NotFound, "no such file"},
		"a link":         {func(t *testing.T, path string) { must(t, os.Symlink(victim, path)) }, fault.Forbidden, "a symbolic link has taken its place"},
		"a hard link":    {func(t *testing.T, path string) { must(t, os.Link(victim, path)) }, fault.Forbidden, "more than one name"},
		"a folder":       {func(t *testing.T, path string) { must(t, os.Mkdir(path, 0o700)) }, fault.Forbidden, "not a regular file"},
		"another user's": {func(t *testing.T, path string) { must(t, os.WriteFile(path, nil, 0o666)); chown(t, path) }, fault.Forbidden, "belongs to another user (user id 23001)"},
	} {
		t.Run(what, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "x.cap")
			test.lay(t, path)
			s := &Session{Name: "one", Record: &Record{Resource: &capture.Resource{Properties: capture.ResourceProperties{
				Statistics: &capture.Statistics{Files: []capture.FileResult{{Path: path}}},
			}}}}
			f, err := s.OpenFile()
			if test.says == "" {
				must(t, err)
				must(t, f.Close())
			} else if err == nil || fault.ClassOf(err) != test.want || !strings.Contains(err.Error(), test.says) {
				t.Errorf("%v", err)
			}
		})
	}
}

// A list reads a bounded number of records, whatever there is in the folder, and
// nothing of what another user has made.
func TestListIsBounded(t *testing.T) {
	r, _ := ended(t, "one")
	const most, more, foreign = 5, 3, maxOthers + 5
	for i := range most + more - 1 {
		must(t, os.Mkdir(filepath.Join(r.Dir(), fmt.Sprint("s", i)), 0o700))
	}
	for i := range foreign {
		dir := filepath.Join(r.Dir(), fmt.Sprint("t", i))
		must(t, os.Mkdir(dir, 0o700))
		if i > 0 { // the first is a folder that is not a session's
			must(t, os.WriteFile(filepath.Join(dir, lockName), nil, 0o600))
		}
		chown(t, dir)
	}
	root, err := r.root()
	must(t, err)
	defer func() { _ = root.Close() }()
	var l Listing
	own, err := l.scan(root, most)
	must(t, err)
	if len(own) != most || l.Left != more || l.Foreign != foreign-1 || len(l.Others) != maxOthers || l.Others[0].Owner != "user id 23001" {
		t.Errorf("%d own, %d left, %d foreign, %v", len(own), l.Left, l.Foreign, l.Others)
	}
	found, err := r.Look()
	must(t, err)
	if len(found.Sessions) != 1 || found.Left != 0 {
		t.Errorf("%+v", found) // what has no lock and no record is not a session
	}
}

// A session whose record could not be read later does not begin.
func TestClaimOfATooLargeRecord(t *testing.T) {
	r := New(filepath.Join(t.TempDir(), "state"))
	rec := SampleRecord(t, "one")
	rec.Resource.Properties.ContinuousCapture = new(true)
	rec.Resource.Properties.CaptureSettings = &request.CaptureSettings{FileCount: new(int64(10_000))}
	c, err := r.Claim(rec, false)
	must(t, err) // the most files, of paths as they are
	c.Abandon()
	rec.Resource.Properties.Statistics.Files[0].Path = "/" + strings.Repeat("long/", 800)
	_, err = r.Claim(rec, false)
	if fault.ClassOf(err) != fault.Invalid || !strings.Contains(err.Error(), "could have more than 8388608 bytes") {
		t.Errorf("%v", err)
	}
	if left, err := os.ReadDir(r.Dir()); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// What is being made or removed by a process that lives is not left over, however
// old: its name has upper case, and its lock tells.
func TestLeftoversOfTheLiving(t *testing.T) {
	r, _ := ended(t, "one")
	dir := filepath.Join(r.Dir(), newPrefix+"ABC")
	must(t, os.Mkdir(dir, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, lockName), nil, 0o600))
	root, err := r.root()
	must(t, err)
	defer func() { _ = root.Close() }()
	f, err := r.open(root, newPrefix+"ABC", "x")
	must(t, err)
	defer f.close()
	if f.name != newPrefix+"ABC" || f.lock == nil || f.problem != nil {
		t.Errorf("%+v", f)
	}
}

// Any bytes in the place of a record give a session that every verb can show, and
// that cannot make one wait, or be sent.
func FuzzSessionOfAnyRecord(f *testing.F) {
	rec := SampleRecord(f, "one")
	rec.Version, rec.Outcome = recordVersion, outcomeOf(errors.New("x\x1b[2J\u009b"))
	good, err := rec.encode()
	must(f, err)
	f.Add(good)
	f.Add([]byte(`{"version":1,"name":"one","resource":{"properties":{"statistics":{"files":[{}]}}}}`))
	f.Add([]byte(`{"version":1,"name":"ONE","resource":{"name":"\u001b[2J","properties":{"statistics":{}}}}`))
	dir := filepath.Join(f.TempDir(), "state")
	r := New(dir)
	must(f, os.MkdirAll(filepath.Join(dir, "one"), 0o700))
	must(f, os.WriteFile(filepath.Join(dir, "one", lockName), nil, 0o600))
	f.Fuzz(func(t *testing.T, text []byte) {
		must(t, os.WriteFile(filepath.Join(dir, "one", recordName), text, 0o600))
		list, err := r.List()
		if err != nil || len(list) != 1 {
			t.Fatalf("%v, %v", list, err)
		}
		s := list[0]
		if s.Alive || (s.Record == nil) != (s.State == Unknown) || (s.Err == nil) != (s.Record != nil) || !strings.EqualFold(s.Name, "one") {
			t.Errorf("%+v", s)
		}
		if shown, err := json.Marshal(s.Resource()); err != nil || len(shown) > 64*(len(text)+1<<10) {
			t.Errorf("%d bytes became %d: %v", len(text), len(shown), err)
		}
		if why := s.Failure(); why != nil && strings.ContainsFunc(why.Error(), func(r rune) bool { return r != '\n' && r != '\t' && fault.IsHidden(r) }) && s.Err == nil {
			t.Errorf("%q", why)
		}
		waited, err := r.Wait(t.Context(), "one")
		if err != nil || waited.State != s.State && waited.State != Lost {
			t.Errorf("%v, %v", waited, err)
		}
		if got, err := os.ReadFile(filepath.Join(dir, "one", recordName)); s.Err != nil && (err != nil || !bytes.Equal(got, text)) {
			t.Error("what cannot be read was changed")
		}
	})
}
