package storage

import (
	"bytes"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func onDisk(t *testing.T, path string) int64 {
	t.Helper()
	var st syscall.Stat_t
	if err := syscall.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func openSpool(t *testing.T, path string, keep int64) *Spool {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	return NewSpool(f, keep)
}

func TestSpoolGivesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool.cap")
	content := bytes.Repeat([]byte("packets "), 4<<20/8)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	const mib = 1 << 20
	s := openSpool(t, path, mib)
	if s.Given() != 0 {
		t.Fatalf("%d given of a whole file", s.Given())
	}
	for _, step := range []struct{ sent, given int64 }{
		{0, 0}, {spoolHead, 0}, {mib, mib}, {mib, mib}, {2*mib + 5, 2 * mib}, {4 * mib, 3 * mib},
	} {
		if err := s.Release(step.sent); err != nil {
			t.Fatal(err)
		}
		if s.Given() != step.given {
			t.Fatalf("after %d were sent, %d were given, want %d", step.sent, s.Given(), step.given)
		}
	}
	if got := onDisk(t, path); got > mib+2*spoolHead {
		t.Errorf("takes %d bytes on the disk", got)
	}
	if size, err := s.Size(); err != nil || size != 4*mib {
		t.Errorf("size %d, %v", size, err)
	}
	got := make([]byte, len(content))
	if _, err := s.ReadAt(got, 0); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got[:spoolHead], content[:spoolHead]) || !bytes.Equal(got[3*mib:], content[3*mib:]) {
		t.Error("what was kept differs")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	// Another process finds what was given back.
	f, err := os.Open(path)
	must(t, err)
	defer func() { _ = f.Close() }()
	if given, err := Given(f); err != nil || given != 3*mib {
		t.Errorf("found that %d were given, want %d: %v", given, 3*mib, err)
	}
}

func TestSpoolKeepsWhatFits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool.cap")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s := openSpool(t, path, 1<<30)
	defer func() { _ = s.Close() }()
	if err := s.Release(1 << 20); err != nil || s.Given() != 0 {
		t.Errorf("%d given, %v", s.Given(), err)
	}
}

func TestSpoolOfNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool.cap")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := openSpool(t, path, 0)
	defer func() { _ = s.Close() }()
	if err := s.Release(0); err != nil || s.Given() != 0 {
		t.Errorf("%d given, %v", s.Given(), err)
	}
}
