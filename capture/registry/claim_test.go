//go:build linux || windows

package registry_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
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
	modes := runtime.GOOS != "windows" // what stands for them there is held by the tests of package private
	if !st.IsDir() || modes && st.Mode() != fs.ModeDir|0o700 {
		t.Errorf("mode %v", st.Mode())
	}
	for _, name := range []string{"lock", "record.json", "record.next", "live", "log"} {
		if st, err := os.Stat(filepath.Join(r.Dir(), "one", name)); err != nil || modes && st.Mode() != 0o600 {
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
