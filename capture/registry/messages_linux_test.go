package registry

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/storage"
)

// A full state folder is told by its own name, whatever a session's folder is called for the moment, and at the end of a
// session as at its beginning.
func TestMessagesNameNoHiddenFolder(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small tmpfs")
	}
	for inodes := range 8 { // the claim fails at one file after the other
		dir := t.TempDir()
		must(t, syscall.Mount("none", dir, "tmpfs", 0, "size=1m,nr_inodes="+string(rune('1'+inodes))))
		t.Cleanup(func() { _ = syscall.Unmount(dir, syscall.MNT_DETACH) })
		r := New(filepath.Join(dir, "state"))
		c, err := r.Claim(SampleRecord(t, "one"), true)
		if err == nil {
			c.Abandon()
			continue
		}
		if fault.ClassOf(err) != fault.LocalFile || strings.Contains(err.Error(), newPrefix) || !strings.Contains(err.Error(), "no space left on device") {
			t.Errorf("%v", err)
		}
	}
	_, c := claimOne(t, "two")
	must(t, c.spare.Close()) // whose name is still the one that it was made with
	res := &capture.Result{Config: SampleConfig(t, "two"), Started: time.Now()}
	c.Begin(res.Started, storage.FileID{})
	if err := c.End(res, nil); err == nil || strings.Contains(err.Error(), newPrefix) {
		t.Errorf("%v", err)
	}
}
