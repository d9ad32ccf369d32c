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

func TestSpoolGivesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool.cap")
	content := bytes.Repeat([]byte("packets "), 4<<20/8)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	const mib = 1 << 20
	s, err := OpenSpool(path, mib)
	if err != nil {
		t.Fatal(err)
	}
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
	s, err = OpenSpool(path, mib)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if s.Given() != 3*mib {
		t.Errorf("found that %d were given, want %d", s.Given(), 3*mib)
	}
}

func TestSpoolKeepsWhatFits(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool.cap")
	if err := os.WriteFile(path, make([]byte, 1<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := OpenSpool(path, 1<<30)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Release(1 << 20); err != nil || s.Given() != 0 {
		t.Errorf("%d given, %v", s.Given(), err)
	}
}

func TestSpoolOfNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "spool.cap")
	if _, err := OpenSpool(path, 0); !os.IsNotExist(err) {
		t.Errorf("opened: %v", err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := OpenSpool(path, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Release(0); err != nil || s.Given() != 0 {
		t.Errorf("%d given, %v", s.Given(), err)
	}
}
