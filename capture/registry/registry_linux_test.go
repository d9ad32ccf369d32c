package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/storage"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func config(t testing.TB, name string) *request.Config {
	t.Helper()
	c, err := request.NewConfig(&request.Request{Name: &name, Properties: &request.Properties{
		Target:               new("/subscriptions/0/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1"),
		StorageLocation:      &request.StorageLocation{FilePath: new("/var/captures/" + name + ".cap")},
		TotalBytesPerSession: new(int64(1000)), TimeLimitInSeconds: new(int64(60)),
	}}, request.Host{Name: "h"})
	must(t, err)
	return c
}

func sample(t testing.TB, name string) Record {
	t.Helper()
	res := (&capture.Result{
		Config: config(t, name), Interfaces: []capture.LinkDrops{{Name: "eth0", Index: 2}, {Name: "eth1", Index: 3}},
		Files: []capture.SavedFile{{Path: "/var/captures/" + name + ".cap"}},
	}).Resource()
	return Record{Name: name, Created: time.Now(), Resource: res}
}

// claim claims a name in a registry of its own. The locks of one process do
// not keep it out itself, so that what others see is shown by the tests of the
// command line, which are processes.
func claim(t *testing.T, name string) (*Registry, *Claim) {
	t.Helper()
	r := New(filepath.Join(t.TempDir(), "state"))
	c, err := r.Claim(sample(t, name), true)
	must(t, err)
	return r, c
}

func TestClaimIsExclusiveAndWhole(t *testing.T) {
	r, c := claim(t, "One")
	if _, err := r.Claim(sample(t, "oNE"), false); !errors.Is(err, ErrTaken) || fault.ClassOf(err) != fault.Conflict {
		t.Errorf("got %v", err)
	}
	if err := r.Check("ONE"); !errors.Is(err, ErrTaken) {
		t.Errorf("got %v", err)
	}
	st, err := os.Stat(filepath.Join(r.Dir(), "one"))
	must(t, err)
	if st.Mode() != fs.ModeDir|0o700 {
		t.Errorf("mode %v", st.Mode())
	}
	for _, name := range []string{lockName, recordName, spareName, liveName, logName} {
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
		c, err := New(dir).Claim(sample(t, fmt.Sprint("s", i)), false)
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
	for _, name := range []string{"", ".", "..", "/", "one/", "one/../one", "../state/one", ".new-x", "file", "folder", "link", "no\x00ne", "two"} {
		_, err := r.Get(name)
		if !errors.Is(err, ErrUnknown) || fault.ClassOf(err) != fault.NotFound {
			t.Errorf("%q: %v", name, err)
		}
	}
	list, err := New("/does/not/exist").List()
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
		res := &capture.Result{Config: config(t, test.name), Started: time.Now(), Elapsed: 3 * time.Second, StopReason: capture.Manual, Packets: 7, Err: test.err}
		want := res.Resource()
		c.Begin(res.Started, "/nowhere")
		must(t, c.End(res, test.err))
		s, err := r.Get(test.name)
		must(t, err)
		if d := cmp.Diff(want, s.Resource()); d != "" {
			t.Error(d)
		}
		e, _ := errors.AsType[*fault.Error](s.Failure())
		if s.State != Ended || s.Alive || (e == nil) != (test.err == nil) {
			t.Errorf("%s: %+v, %v", test.name, s, e)
		}
		if e != nil && (e.Class != test.class || e.Code != test.code || len(e.Message) > maxMessage) {
			t.Errorf("%s: %+v", test.name, e)
		}
		if _, err := os.Stat(filepath.Join(r.Dir(), test.name, spareName)); !os.IsNotExist(err) {
			t.Error("the spare file is still there: ", err)
		}
	}
}

// A claim of nobody's does nothing, so that who captures need not ask.
func TestNilClaim(t *testing.T) {
	var c *Claim
	c.Begin(time.Now(), "")
	c.Progress(capture.Progress{})
	c.Interfaces(0, nil)
	c.Abandon()
	must(t, c.End(nil, nil))
}

func TestLiveCounters(t *testing.T) {
	r, c := claim(t, "live")
	defer c.Abandon()
	start := time.Now()
	c.Begin(start, filepath.Join(r.Dir(), "live", recordName))
	p := capture.Progress{
		Elapsed: 3 * time.Second, Packets: 1, Bytes: 2, Size: 3, Received: 4, Freezes: 5,
		Dropped: capture.Drops{ByKernel: 6, ByInterface: 9, ByFile: 8}, Written: capture.Written{Packets: 10, Bytes: 11, Size: 12},
	}
	if n := testing.AllocsPerRun(100, func() { c.Progress(p) }); n != 0 {
		t.Errorf("%v allocations for each block of packets", n)
	}
	c.Interfaces(3*time.Second, []capture.LinkDrops{{Name: "eth0", Index: 2, Dropped: 4}, {Name: "eth1", Index: 3, Dropped: 5}})
	text, err := os.ReadFile(filepath.Join(r.Dir(), "live", liveName))
	must(t, err)
	l := decodeLive((*[liveSize]byte)(text))
	if d := cmp.Diff(p, l.Progress); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[int]uint64{2: 4, 3: 5}, l.links); d != "" {
		t.Error(d)
	}
	if !l.start.Equal(start) || l.file.Inode == 0 {
		t.Errorf("%v, %v", l.start, l.file)
	}
	if d := time.Since(start) - (monotonic() - l.clock); d.Abs() > 50*time.Millisecond {
		t.Errorf("the clocks differ by %v", d)
	}
	// More interfaces than there is room for are counted all the same.
	many := make([]capture.LinkDrops, 1000)
	for i := range many {
		many[i] = capture.LinkDrops{Index: i, Dropped: 1}
	}
	c.Interfaces(0, many)
	text, err = os.ReadFile(filepath.Join(r.Dir(), "live", liveName))
	must(t, err)
	if l := decodeLive((*[liveSize]byte)(text)); len(l.links) != maxLinks || l.Dropped.ByInterface != 1000 {
		t.Errorf("%d interfaces, %d dropped", len(l.links), l.Dropped.ByInterface)
	}
}

// The disk below the counters goes away: the capture does not.
func TestCountersThatCannotBeWritten(t *testing.T) {
	r, c := claim(t, "fault")
	defer c.Abandon()
	must(t, os.Truncate(filepath.Join(r.Dir(), "fault", liveName), 0))
	c.Begin(time.Now(), "")
	c.Progress(capture.Progress{Packets: 1})
	c.Interfaces(0, nil)
	if !c.page.dead.Load() {
		t.Error("the stores went somewhere")
	}
}

func FuzzLive(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0x65, 0x76, 0x69, 0x6c, 1})
	f.Fuzz(func(_ *testing.T, data []byte) {
		var b [liveSize]byte
		copy(b[:], data)
		l := decodeLive(&b)
		l.fill(&capture.Statistics{Interfaces: make([]capture.InterfaceResult, 3)}, l.Size)
	})
}

// What is left behind half made, or half removed, goes with time.
func TestSweep(t *testing.T) {
	r, c := claim(t, "a")
	old := time.Now().Add(-2 * sweepAfter)
	for _, name := range []string{".new-1", ".old-1", ".new-2", ".other"} {
		dir := filepath.Join(r.Dir(), name)
		must(t, os.Mkdir(dir, 0o700))
		must(t, os.WriteFile(filepath.Join(dir, lockName), nil, 0o600))
		if name != ".new-2" {
			must(t, os.Chtimes(dir, old, old))
		}
	}
	b, err := r.Claim(sample(t, "b"), false)
	must(t, err)
	root, err := os.OpenRoot(r.Dir())
	must(t, err)
	got, err := entries(root)
	must(t, err)
	if d := cmp.Diff([]string{".new-2", ".other", "a", "b"}, got); d != "" {
		t.Error(d)
	}
	c.Abandon()
	b.Abandon()
}

func TestDecodeRecord(t *testing.T) {
	rec := sample(t, "x")
	rec.Version = recordVersion
	good, err := rec.encode()
	must(t, err)
	if _, err := decodeRecord(good); err != nil {
		t.Error(err)
	}
	// A member that this version does not know does no harm.
	if _, err := decodeRecord(bytes.Replace(good, []byte("{"), []byte(`{"tomorrow": [1],`), 1)); err != nil {
		t.Error(err)
	}
	for text, says := range map[string]string{
		"":                              "damaged",
		"null":                          "members are missing",
		"[]":                            "damaged",
		string(good[:len(good)/2]):      "damaged",
		`{"version": 1}`:                "members are missing",
		`{"version": 2}`:                "format 2, and this pcapctl reads up to 1",
		`{"version": 2, "resource": 1}`: "format 2",
		`{"version": 1, "name": 3}`:     "damaged",
		strings.Replace(string(good), `"version": 1`, `"version": 0`, 1): "members are missing",
	} {
		if _, err := decodeRecord([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60q: %v, want %q", text, err, says)
		}
	}
}

func FuzzRecord(f *testing.F) {
	rec := sample(f, "x")
	rec.Version, rec.Outcome = recordVersion, outcomeOf(errors.New("x"))
	good, err := rec.encode()
	must(f, err)
	f.Add(good)
	f.Add([]byte(`{"version":1,"name":"x","resource":{"properties":{"statistics":{"files":[{}]}}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		rec, err := decodeRecord(text)
		if err != nil {
			return
		}
		// Whatever a record says, it can be shown.
		s := &Session{Name: rec.Name, Record: rec, State: Running}
		_, _ = s.Status(), s.Failure()
		if _, err := json.Marshal(s.Resource()); err != nil {
			t.Error(err)
		}
		l := live{start: time.Now(), links: map[int]uint64{1: 1}}
		lost(rec, &l, capture.Written{})
		if _, err := rec.encode(); err != nil || len(rec.Where()) > len(text)*4 {
			t.Error(err)
		}
	})
}

func TestRemaining(t *testing.T) {
	rec := sample(t, "x")
	s := &Session{Name: "x", Record: &rec, State: Running, Elapsed: 20 * time.Second, size: 400}
	want := &Remaining{TotalBytesPerSession: new(int64(600)), TimeLimitInSeconds: new(40.0)}
	if d := cmp.Diff(want, s.Status().Remaining); d != "" {
		t.Error(d)
	}
	s.Elapsed, s.size = time.Hour, 5000
	want = &Remaining{TotalBytesPerSession: new(int64(0)), TimeLimitInSeconds: new(0.0)}
	if d := cmp.Diff(want, s.Status().Remaining); d != "" {
		t.Error(d)
	}
	p := &rec.Resource.Properties
	p.TotalBytesPerSession, p.TimeLimitInSeconds = new(int64(0)), new(int64(0))
	if d := cmp.Diff(&Remaining{}, s.Status().Remaining); d != "" {
		t.Error(d)
	}
	s.State = Ended
	if s.Status().Remaining != nil {
		t.Error("an ended session has something left")
	}
}

// capFile is a capture file with that many records of 100 bytes, and a tail.
func capFile(t *testing.T, records int, tail string) string {
	t.Helper()
	b := pcapfile.AppendHeader(nil, pcapfile.Micro, pcapfile.Ethernet, 0)
	for range records {
		b = append(b, make([]byte, pcapfile.RecordHeaderLen)...)
		pcapfile.PutRecordHeader(b[len(b)-pcapfile.RecordHeaderLen:], 1, 0, 100, 100)
		b = append(b, make([]byte, 100)...)
	}
	path := filepath.Join(t.TempDir(), "x.cap")
	must(t, os.WriteFile(path, append(b, tail...), 0o600))
	return path
}

func TestMend(t *testing.T) {
	at := func(n int) capture.Written {
		return capture.Written{Packets: uint64(n), Bytes: uint64(100 * n), Size: int64(24 + 116*n)}
	}
	garbage := strings.Repeat("\xff", 300)
	for _, test := range []struct {
		name    string
		records int
		tail    string
		known   capture.Written
		want    capture.Written
	}{
		{"whole", 5, "", at(5), at(5)},
		{"more than was known", 5, "", at(3), at(5)},
		{"cut in a header", 5, "\x01\x00\x00", at(3), at(5)},
		{"cut in a header, nothing more known", 5, "\x01\x00\x00", at(5), at(5)},
		{"garbage", 5, garbage, at(2), at(5)},
		{"nothing known", 5, garbage, capture.Written{}, at(5)},
		{"less than was known", 5, garbage, at(50), at(5)},
		{"many", 30_000, garbage, at(1), at(30_000)}, // several buffers
		{"none", 0, "", at(0), at(0)},
	} {
		path := capFile(t, test.records, test.tail)
		id, err := storage.IdentifyPath(path)
		must(t, err)
		got, final := mend(path, id, test.known)
		st, err := os.Stat(path)
		must(t, err)
		if d := cmp.Diff(test.want, got); d != "" || !final || st.Size() != test.want.Size {
			t.Errorf("%s: %d bytes, final %v %s", test.name, st.Size(), final, d)
		}
	}
}

func TestMendLeavesAlone(t *testing.T) {
	known := capture.Written{Packets: 1, Bytes: 100, Size: 140}
	path := capFile(t, 2, "tail")
	id, err := storage.IdentifyPath(path)
	must(t, err)
	unchanged := func(name string, wantFinal bool, file storage.FileID, path string) {
		t.Helper()
		before, _ := os.Stat(path)
		got, final := mend(path, file, known)
		after, _ := os.Stat(path)
		if got != known || final != wantFinal || before != nil && after.Size() != before.Size() {
			t.Errorf("%s: %+v, final %v", name, got, final)
		}
	}
	// Somebody writes to it, or is just about to cut it.
	f, err := os.Open(path)
	must(t, err)
	must(t, syscall.Flock(int(f.Fd()), syscall.LOCK_EX))
	unchanged("locked", false, id, path)
	must(t, f.Close())
	// Another file has come to stand there, even with the same inode.
	later := id
	later.Birth++
	unchanged("another file", true, later, path)
	unchanged("never begun", true, storage.FileID{}, path)
	link := path + ".link"
	must(t, os.Symlink(path, link))
	unchanged("link", true, id, link)
	unchanged("gone", true, id, path+".gone")
}
