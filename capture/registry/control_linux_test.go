package registry_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pcapctl/capture"
	"pcapctl/capture/deliver"
	"pcapctl/capture/registry"
)

const holdEnv = "PCAPCTL_TEST_HOLD_LOCK"

// TestMain is another process, too, that holds a lock until its input ends.
func TestMain(m *testing.M) {
	path := os.Getenv(holdEnv)
	if path == "" {
		os.Exit(m.Run())
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err == nil {
		err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Start: 1, Len: 1})
	}
	if err != nil {
		panic(err)
	}
	_, _ = os.Stdout.WriteString("held\n")
	_, _ = io.Copy(io.Discard, os.Stdin)
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
