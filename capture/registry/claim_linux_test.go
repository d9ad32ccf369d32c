package registry_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture"
	"pcapctl/capture/deliver"
	"pcapctl/capture/fault"
	"pcapctl/capture/registry"
	"pcapctl/capture/save"
	"pcapctl/storage"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// claim claims a name in a registry of its own. The locks of one process do
// not keep it out itself, so what others see is shown by the tests of the
// command line, which are processes.
func claim(t *testing.T, name string) (*registry.Registry, *registry.Claim) {
	t.Helper()
	r := registry.New(filepath.Join(t.TempDir(), "state"))
	c, err := r.Claim(registry.SampleRecord(t, name), true)
	must(t, err)
	return r, c
}

func TestClaimIsExclusiveAndWhole(t *testing.T) {
	r, c := claim(t, "One")
	if _, err := r.Claim(registry.SampleRecord(t, "oNE"), false); !errors.Is(err, registry.ErrTaken) || fault.ClassOf(err) != fault.Conflict {
		t.Errorf("got %v", err)
	}
	if err := r.Check("ONE"); !errors.Is(err, registry.ErrTaken) {
		t.Errorf("got %v", err)
	}
	st, err := os.Stat(filepath.Join(r.Dir(), "one"))
	must(t, err)
	if st.Mode() != fs.ModeDir|0o700 {
		t.Errorf("mode %v", st.Mode())
	}
	for _, name := range []string{"lock", "record.json", "record.next", "live", "log"} {
		if st, err := os.Stat(filepath.Join(r.Dir(), "one", name)); err != nil || st.Mode() != 0o600 {
			t.Errorf("%s: %v, %v", name, st.Mode(), err)
		}
	}
	c.Abandon()
	if err := r.Check("one"); err != nil {
		t.Errorf("got %v", err)
	}
	if left, err := os.ReadDir(r.Dir()); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// A create that is refused takes the new state folder away again while others
// make their sessions in it.
func TestClaimWhileTheFolderComesAndGoes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	stop := make(chan struct{})
	var refused sync.WaitGroup
	removed := 0
	refused.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				if os.Remove(dir) == nil { // only when it is empty
					removed++
				}
				time.Sleep(20 * time.Microsecond)
			}
		}
	})
	for i := range 200 {
		c, err := registry.New(dir).Claim(registry.SampleRecord(t, fmt.Sprint("s", i)), false)
		if err != nil {
			t.Fatal(err)
		}
		c.Abandon()
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	}
	close(stop)
	refused.Wait()
	t.Logf("the folder was taken away %d times", removed)
}

func TestNamesLeadNowhere(t *testing.T) {
	r, c := claim(t, "one")
	defer c.Abandon()
	must(t, os.WriteFile(filepath.Join(r.Dir(), "file"), nil, 0o600))
	must(t, os.Mkdir(filepath.Join(r.Dir(), "folder"), 0o700))
	must(t, os.Symlink("/etc", filepath.Join(r.Dir(), "link")))
	for _, name := range []string{"", ".", "..", "/", "one/", "one/../one", "../state/one", ".new-x", "file", "folder", "link", "no\x00ne", "\x1b[2j", "two"} {
		_, err := r.Get(name)
		if !errors.Is(err, registry.ErrUnknown) || fault.ClassOf(err) != fault.NotFound {
			t.Errorf("%q: %v", name, err)
		}
	}
	// Nor are they shown, when another user has made a folder of such a name.
	must(t, os.Mkdir(filepath.Join(r.Dir(), "\x1b[2j"), 0o700))
	must(t, os.WriteFile(filepath.Join(r.Dir(), "\x1b[2j", "lock"), nil, 0o600))
	list, err := r.List()
	for _, s := range list {
		if s.Name != "one" {
			t.Errorf("%q is listed", s.Name)
		}
	}
	must(t, err)
	list, err = registry.New("/does/not/exist").List()
	if len(list) > 0 || err != nil {
		t.Errorf("%v, %v", list, err)
	}
}

func TestEnd(t *testing.T) {
	for _, test := range []struct {
		name, code string
		err        error
		class      fault.Class
	}{
		{"complete", "", nil, 0},
		{"broken", "", fault.Errorf(fault.Failed, "the socket: %w", fs.ErrClosed), fault.Failed},
		{"disk", "Special", &fault.Error{Class: fault.LocalFile, Code: "Special", Message: "disk full"}, fault.LocalFile},
		{"dropped", "", fault.Errorf(fault.Dropped, "3 packets"), fault.Dropped},
		{"unknown", "", errors.New("something"), fault.Internal},
		{"long", "", errors.New(strings.Repeat("x", 1<<20)), fault.Internal},
	} {
		r, c := claim(t, test.name)
		res := &capture.Result{Config: registry.SampleConfig(t, test.name), Started: time.Now(), Elapsed: 3 * time.Second, StopReason: capture.Manual, Packets: 7, Err: test.err}
		want := res.Resource()
		c.Begin(res.Started, storage.FileID{})
		must(t, c.End(res, test.err))
		s, err := r.Get(test.name)
		must(t, err)
		if d := cmp.Diff(want, s.Resource()); d != "" {
			t.Error(d)
		}
		e, _ := errors.AsType[*fault.Error](s.Failure())
		if s.State != registry.Ended || s.Alive || (e == nil) != (test.err == nil) {
			t.Errorf("%s: %+v, %v", test.name, s, e)
		}
		if e != nil && (e.Class != test.class || e.Code != test.code || len(e.Message) > 4<<10) {
			t.Errorf("%s: %+v", test.name, e)
		}
		if _, err := os.Stat(filepath.Join(r.Dir(), test.name, "record.next")); !os.IsNotExist(err) {
			t.Error("the spare file is still there: ", err)
		}
	}
}

// A capture that is in no list needs no registry, and is told apart.
func TestUnlisted(t *testing.T) {
	var u registry.Unlisted
	var w capture.Watcher = u
	w.Progress(capture.Progress{})
	w.Interfaces(0, nil)
	w.Upload(deliver.Progress{})
	w.File(save.File{})
	u.Begin(time.Now(), storage.FileID{})
	u.Abandon()
	must(t, u.End(nil, errors.New("of the session, which the registry does not check")))
	_, c := claim(t, "one")
	defer c.Abandon()
	if u.Listed() || !c.Listed() {
		t.Errorf("listed: %v, and a claim: %v", u.Listed(), c.Listed())
	}
}

// What is left behind half made, or half removed, goes with time.
func TestLeftoversAreRemoved(t *testing.T) {
	r, c := claim(t, "a")
	old := time.Now().Add(-2 * time.Minute)
	for _, name := range []string{".new-1", ".old-1", ".new-2", ".other"} {
		dir := filepath.Join(r.Dir(), name)
		must(t, os.Mkdir(dir, 0o700))
		must(t, os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600))
		if name != ".new-2" {
			must(t, os.Chtimes(dir, old, old))
		}
	}
	b, err := r.Claim(registry.SampleRecord(t, "b"), false)
	must(t, err)
	left, err := os.ReadDir(r.Dir())
	must(t, err)
	var got []string
	for _, e := range left {
		got = append(got, e.Name())
	}
	if d := cmp.Diff([]string{".new-2", ".other", "a", "b"}, got); d != "" {
		t.Error(d)
	}
	c.Abandon()
	b.Abandon()
}
