//go:build linux || windows

package registry_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"pcapctl/capture"
	"pcapctl/capture/deliver"
	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
	"pcapctl/capture/registry"
	"pcapctl/capture/request"
	"pcapctl/capture/save"
	"pcapctl/storage"
)

const (
	holdEnv  = "PCAPCTL_TEST_HOLD_LOCK"
	claimEnv = "PCAPCTL_TEST_CLAIM"
	ringEnv  = "PCAPCTL_TEST_RING"
)

// TestMain is another process, too, that holds a lock until its input ends.
func TestMain(m *testing.M) {
	path, dir := os.Getenv(holdEnv), os.Getenv(claimEnv)
	switch {
	case path != "":
		release, err := registry.HoldForChange(path)
		if err != nil {
			panic(err)
		}
		_, _ = os.Stdout.WriteString("held\n")
		_, _ = io.Copy(io.Discard, os.Stdin)
		release()
	case dir != "":
		capturing(dir)
	default:
		os.Exit(m.Run())
	}
}

// holdForChange has another process hold the lock of those who change a
// session, until release is called.
func holdForChange(t *testing.T, lock string) (release func()) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), holdEnv+"="+lock)
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	_, err = io.ReadFull(out, make([]byte, len("held\n")))
	must(t, err)
	return func() {
		must(t, in.Close())
		must(t, cmd.Wait())
	}
}

// While another process changes a session, those who want to change it as well
// wait, and no longer than they are told to.
func TestChangesWaitForEachOther(t *testing.T) {
	r, c := claim(t, "one")
	must(t, c.End(&capture.Result{Config: registry.SampleConfig(t, "one"), Started: time.Now()}, nil))
	file := capture.FileResult{Path: "https://x/y", SizeInBytes: 7}
	for name, change := range map[string]func(context.Context) error{
		"delete": func(ctx context.Context) error {
			_, err := r.Delete(ctx, "one", false)
			return err
		},
		"uploaded": func(ctx context.Context) error {
			return r.Uploaded(ctx, "one", file, nil, deliver.Status{State: deliver.Complete})
		},
	} {
		release := holdForChange(t, filepath.Join(r.Dir(), "one", "lock"))
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		if err := change(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		release()
	}
	must(t, r.Uploaded(t.Context(), "one", file, nil, deliver.Status{State: deliver.Complete}))
	s, err := r.Get("one")
	must(t, err)
	if blobs := s.Resource().Properties.Statistics.Blobs; len(blobs) != 1 || blobs[0].Path != file.Path {
		t.Errorf("%+v", blobs)
	}

	// One that waits goes on when the other is done.
	release := holdForChange(t, filepath.Join(r.Dir(), "one", "lock"))
	done := make(chan error)
	go func() {
		_, err := r.Delete(t.Context(), "one", false)
		done <- err
	}()
	select {
	case err := <-done:
		t.Errorf("it did not wait: %v", err)
	case <-time.After(30 * time.Millisecond):
	}
	release()
	must(t, <-done)
	if _, err := r.Get("one"); !errors.Is(err, registry.ErrUnknown) {
		t.Errorf("got %v", err)
	}
}

// capturing is a process that captures for the session "other", until it is told to end.
func capturing(dir string) {
	t := &failing{}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	rec := registry.SampleRecord(t, "other")
	ring := os.Getenv(ringEnv)
	if p := &rec.Resource.Properties; ring != "" {
		p.ContinuousCapture, p.CaptureSettings = new(true), &request.CaptureSettings{FileCount: new(int64(2))}
		p.Statistics.Files = []capture.FileResult{{Path: ring}}
	}
	c, err := registry.New(dir).Claim(rec, false)
	if errors.Is(err, registry.ErrTaken) {
		_, _ = os.Stdout.WriteString("none\n")
		return
	}
	if err != nil {
		panic(err)
	}
	start := time.Now()
	c.Begin(start, storage.FileID{})
	c.Progress(capture.Progress{Packets: 7})
	if ring != "" {
		turn(t, c, ring, start)
	}
	_, _ = os.Stdout.WriteString("held\n")
	select {
	case <-c.Asked():
	case <-signals:
	}
	if err := c.End(&capture.Result{Config: registry.SampleConfig(t, "other"), Started: start, StopReason: capture.Manual}, nil); err != nil {
		panic(err)
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // the process outlives its session
}

// turn makes three files of a rotation that keeps two, the last with a part of a packet at its end.
func turn(t testing.TB, c *registry.Claim, first string, start time.Time) {
	content := pcaptest.Forms()[0].File([]pcaptest.Packet{{Data: make([]byte, 60)}}, pcapfile.Ethernet)
	for i := range 3 {
		path := request.RotatedPath(first, i+1)
		must(t, os.WriteFile(path, append(slices.Clone(content), make([]byte, 3*(i/2))...), 0o600))
		id, err := storage.IdentifyPath(path)
		must(t, err)
		f := save.File{Path: path, Sequence: i + 1, Started: start, Before: uint64(i), ID: id}
		c.File(f)
		if i < 2 {
			f.Packets, f.Size, f.Complete = 1, int64(len(content)), true
			c.File(f)
		}
	}
	must(t, os.Remove(first))
}

// failing is what helpers of tests need in a process that has no test.
type failing struct{ testing.TB }

func (*failing) Helper()           {}
func (*failing) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

// captureElsewhere has another process capture for the session "other". end lets it end when its session has.
func captureElsewhere(t *testing.T, env ...string) (r *registry.Registry, cmd *exec.Cmd, end func()) {
	t.Helper()
	r = registry.New(filepath.Join(t.TempDir(), "state"))
	cmd = exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(append(os.Environ(), claimEnv+"="+r.Dir()), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	_, err = io.ReadFull(out, make([]byte, len("held\n")))
	must(t, err)
	return r, cmd, func() { _ = in.Close() }
}

// A session of another process is seen, kept from being deleted, and stopped; stop returns when its record is complete,
// though the process goes on.
func TestSessionOfAnotherProcess(t *testing.T) {
	r, cmd, end := captureElsewhere(t)
	s, err := r.Get("other")
	must(t, err)
	if p := s.Resource().Properties.Statistics; s.State != registry.Running || !s.Alive || p.PacketsCaptured != 7 || s.Record.PID != cmd.Process.Pid {
		t.Errorf("%+v, %+v", s, p)
	}
	if _, err := r.Delete(t.Context(), "other", false); !errors.Is(err, registry.ErrRunning) {
		t.Errorf("deleted: %v", err)
	}
	if err := r.Check("other"); !errors.Is(err, registry.ErrTaken) {
		t.Errorf("got %v", err)
	}
	waited := make(chan error, 1)
	go func() {
		s, err := r.Wait(t.Context(), "other")
		if err == nil && s.State != registry.Ended {
			err = fmt.Errorf("waited for, and %+v", s)
		}
		waited <- err
	}()
	s, was, err := r.Stop(t.Context(), "other")
	must(t, err)
	if !was || s.State != registry.Ended || s.Alive || s.Failure() != nil {
		t.Errorf("%v, %+v, %v", was, s, s.Failure())
	}
	must(t, <-waited)
	if _, was, err := r.Stop(t.Context(), "other"); err != nil || was {
		t.Errorf("stopped again: %v, %v", was, err)
	}
	_, err = r.Delete(t.Context(), "other", false)
	must(t, err)
	if _, err := r.Get("other"); !errors.Is(err, registry.ErrUnknown) {
		t.Errorf("got %v", err)
	}
	end()
	must(t, cmd.Wait())
	if left, err := os.ReadDir(r.Dir()); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

// Of several processes that want one name at the same time exactly one gets it, and its session is complete.
func TestOneOfSeveralClaims(t *testing.T) {
	const several = 6
	r := registry.New(filepath.Join(t.TempDir(), "state"))
	said := make(chan string, several)
	for range several {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), claimEnv+"="+r.Dir())
		cmd.Stderr = os.Stderr
		in, err := cmd.StdinPipe()
		must(t, err)
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		t.Cleanup(func() {
			_ = in.Close()
			_ = cmd.Wait()
		})
		go func() {
			b := make([]byte, len("held\n"))
			_, _ = io.ReadFull(out, b)
			said <- string(b)
		}()
	}
	count := map[string]int{}
	for range several {
		count[<-said]++
	}
	if count["held\n"] != 1 || count["none\n"] != several-1 {
		t.Errorf("%v", count)
	}
	s, _, err := r.Stop(t.Context(), "other")
	must(t, err)
	if s.State != registry.Ended {
		t.Errorf("%+v", s)
	}
	if left, err := os.ReadDir(r.Dir()); err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
}

// The session of a process that was killed is lost, and told so, by whoever looks.
func TestSessionOfAKilledProcess(t *testing.T) {
	for says, meanwhile := range map[string]func(t *testing.T, folder string){
		"was killed or has crashed":        func(*testing.T, string) {},
		"ended when the machine went down": startAgain,
	} {
		t.Run(says, func(t *testing.T) { lose(t, says, meanwhile) })
	}
}

// startAgain makes a record one of before a start of the machine.
func startAgain(t *testing.T, folder string) {
	t.Helper()
	path := filepath.Join(folder, "record.json")
	text, err := os.ReadFile(path)
	must(t, err)
	var rec map[string]any
	must(t, json.Unmarshal(text, &rec))
	if id, _ := rec["bootId"].(string); id == "" {
		t.Fatalf("no identity of the start in %s", text)
	}
	rec["bootId"] = "another"
	text, err = json.Marshal(rec)
	must(t, err)
	must(t, os.WriteFile(path, text, 0o600))
}

func lose(t *testing.T, says string, meanwhile func(t *testing.T, folder string)) {
	t.Helper()
	r, cmd, _ := captureElsewhere(t)
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // it says that it was killed
	meanwhile(t, filepath.Join(r.Dir(), "other"))
	s, err := r.Wait(t.Context(), "other")
	must(t, err)
	if s.State != registry.Lost || s.Alive || !strings.Contains(s.Failure().Error(), says) {
		t.Errorf("%+v: %v", s, s.Failure())
	}
	if status := s.Status(); status.PacketCaptureStatus != capture.StatusError || len(status.PacketCaptureError) != 1 || status.PacketCaptureError[0] != registry.CodeAgentStopped {
		t.Errorf("%+v", status)
	}
	s, was, err := r.Stop(t.Context(), "other")
	if err != nil || was || s.State != registry.Lost {
		t.Errorf("%+v, %v, %v", s, was, err)
	}
	_, err = r.Delete(t.Context(), "other", false)
	must(t, err)
}

// Of a rotation that was killed the files that it still had are told, repaired, and named: not the first, which has gone.
func TestRotationOfAKilledProcess(t *testing.T) {
	first := filepath.Join(t.TempDir(), "x_000001.cap")
	r, cmd, _ := captureElsewhere(t, ringEnv+"="+first)
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // it says that it was killed
	s, err := r.Get("other")
	must(t, err)
	st, err := os.Stat(request.RotatedPath(first, 2))
	must(t, err)
	var want []capture.FileResult
	for i := range 2 {
		want = append(want, capture.FileResult{Path: request.RotatedPath(first, i+2), SizeInBytes: st.Size(), Sequence: i + 2, Packets: new(uint64(1))})
	}
	got := s.Resource().Properties.Statistics.Files
	if d := cmp.Diff(want, got, cmpopts.IgnoreFields(capture.FileResult{}, "StartTime")); d != "" || s.Resource().Properties.Statistics.PacketsCaptured != 3 {
		t.Error(d)
	}
	if last, err := os.Stat(request.RotatedPath(first, 3)); err != nil || last.Size() != st.Size() {
		t.Errorf("the last file was not cut: %v, %v", last, err)
	}
	if text := s.Failure().Error(); strings.Contains(text, first) || !strings.Contains(text, want[0].Path) {
		t.Errorf("said %q", text)
	}
}

// A session whose lock file was taken away is told to be so, and which process to end; when that has ended it can be deleted.
func TestLockFileIsTakenAway(t *testing.T) {
	r, cmd, _ := captureElsewhere(t)
	lock := filepath.Join(r.Dir(), "other", "lock")
	must(t, os.Rename(lock, filepath.Join(t.TempDir(), "lock")))
	s, err := r.Get("other")
	must(t, err)
	if s.State != registry.Unknown || !s.Alive || !strings.Contains(s.Err.Error(), fmt.Sprintf("kill %d`", cmd.Process.Pid)) && !strings.Contains(s.Err.Error(), fmt.Sprintf("taskkill /F /PID %d`", cmd.Process.Pid)) {
		t.Errorf("%+v: %v", s, s.Err)
	}
	if _, err := r.Delete(t.Context(), "other", false); err == nil || !strings.Contains(err.Error(), "its process captures still") {
		t.Errorf("got %v", err)
	}
	must(t, cmd.Process.Kill())
	_ = cmd.Wait() // it says that it was killed
	s, err = r.Get("other")
	must(t, err)
	if s.State != registry.Unknown || s.Alive || !strings.Contains(s.Err.Error(), "nothing tells how it ended") {
		t.Errorf("%+v: %v", s, s.Err)
	}
	_, err = r.Delete(t.Context(), "other", false)
	must(t, err)
	if err := r.Check("other"); err != nil {
		t.Error(err)
	}
}

// The capture file of a session that has ended is opened, if it is the file of this user and has one name only.
func TestOpenOwn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.cap")
	if _, err := registry.OpenOwn("it", path); fault.ClassOf(err) != fault.NotFound {
		t.Errorf("none: %v", err)
	}
	must(t, os.WriteFile(path, []byte("x"), 0o600))
	f, err := registry.OpenOwn("it", path)
	must(t, err)
	must(t, f.Close())
	if _, err := registry.OpenOwn("it", filepath.Dir(path)); err == nil {
		t.Error("a folder")
	}
	if err := os.Link(path, path+".2"); err != nil {
		t.Skip("no second names: ", err)
	}
	if _, err := registry.OpenOwn("it", path); fault.ClassOf(err) != fault.Forbidden {
		t.Errorf("two names: %v", err)
	}
}
