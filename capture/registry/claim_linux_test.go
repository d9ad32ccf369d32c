package registry_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/registry"
)

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
