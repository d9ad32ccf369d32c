package inspect_test

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"pcapctl/capture/inspect/netlab"
	"pcapctl/capture/testnet"
)

// TestRealStacks makes captures of conversations whose fault is known, and compares what
// is said of them with that and with tshark.
func TestRealStacks(t *testing.T) {
	testnet.Need(t, "ip", "nft", "tshark")
	dir := t.TempDir()
	if keep := os.Getenv("PCAPCTL_KEEP_SCENES"); keep != "" {
		dir = keep
	}
	// Scenes wait for timers of the kernel more than they work: t.Parallel would have
	// only as many of them run at the same time as there are processors.
	const atOnce = 16
	var wg sync.WaitGroup
	free := make(chan struct{}, atOnce)
	for _, s := range netlab.Scenes() {
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			t.Run(s.Name, func(t *testing.T) {
				path := filepath.Join(dir, s.Name+".pcap")
				c := play(t, s, path)
				got := inspectFile(t, path)
				t.Run("tshark", func(t *testing.T) {
					for _, d := range differences(c, got) {
						t.Error(d)
					}
				})
				t.Run("first failure", func(t *testing.T) {
					first := ""
					if len(got.report.Failures) > 0 {
						first = got.report.Failures[0].ID
					}
					if first != s.First {
						t.Errorf("the first failure is %q, want %q", first, s.First)
						for _, f := range got.report.Failures {
							t.Logf("%s: %s", f.ID, f.Title)
						}
					}
				})
			})
		})
	}
	wg.Wait()
}

// play makes the capture of a scene, and what tshark says of it. A machine that is
// busy for long makes another capture than it was meant to be; then it is made again.
func play(t *testing.T, s *netlab.Scene, path string) *netlab.Capture {
	const tries = 4
	for try := 1; ; try++ {
		if err := os.WriteFile(path, s.Make(t), 0o600); err != nil {
			t.Fatal(err)
		}
		c := netlab.Read(t, path)
		err := s.Check(c)
		if err == nil {
			return c
		}
		if try == tries {
			t.Fatalf("the capture is not what the scene is meant to be: %v", err)
		}
		t.Logf("try %d: the capture is not what the scene is meant to be: %v", try, err)
	}
}
