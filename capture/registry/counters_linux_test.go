package registry

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"pcapctl/capture"
	"pcapctl/storage"
)

// The disk below the counters goes away: the capture does not.
func TestCountersThatCannotBeWritten(t *testing.T) {
	r, c := claimOne(t, "fault")
	defer c.Abandon()
	must(t, os.Truncate(filepath.Join(r.Dir(), "fault", liveName), 0))
	c.Begin(time.Now(), storage.FileID{})
	c.Progress(capture.Progress{Packets: 1})
	c.Interfaces(0, nil)
	if !c.page.dead.Load() {
		t.Error("the stores went somewhere")
	}
}
