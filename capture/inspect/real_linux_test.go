package inspect_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"

	"pcapctl/capture/inspect/netlab"
	"pcapctl/capture/testnet"
)

// atOnce is how many captures are made at the same time. They wait for timers of the
// kernel more than they work: t.Parallel would run as many as there are processors.
const atOnce = 16

// sceneFolder is where captures of scenes are written.
func sceneFolder(t *testing.T) string {
	if keep := os.Getenv("PCAPCTL_KEEP_SCENES"); keep != "" {
		return keep
	}
	return t.TempDir()
}

// TestRealStacks makes captures of conversations of the kernel whose fault is known, and
// compares what is said of them with that and with tshark.
func TestRealStacks(t *testing.T) {
	testnet.Need(t, "ip", "nft", "tshark")
	dir := sceneFolder(t)
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
				checkDifferences(t, s, differences(c, got))
				first := ""
				if len(got.report.Failures) > 0 {
					first = got.report.Failures[0].ID
				}
				if first != s.First {
					t.Errorf("%s: the first failure is %q, want %q", s.How, first, s.First)
					for _, f := range got.report.Failures {
						t.Logf("%s: %s", f.ID, f.Title)
					}
				}
			})
		})
	}
	wg.Wait()
}

// checkDifferences wants no differences from tshark, or those that docs/inspect.md explains.
func checkDifferences(t *testing.T, s *netlab.Scene, all []string) {
	t.Helper()
	if s.Differs == "" {
		for _, d := range all {
			t.Errorf("differs from tshark: %s", d)
		}
		return
	}
	if len(all) == 0 {
		t.Errorf("tshark says the same, though %q", s.Differs)
	}
	docs, err := os.ReadFile("../../docs/inspect.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(docs), "\n| "+s.Differs) {
		t.Errorf("no row of docs/inspect.md begins with %q", s.Differs)
	}
	t.Logf("%s: %s", s.Differs, strings.Join(all, "; "))
}

// play makes the capture of a scene, and what tshark says of it. A machine that is busy for
// long makes another capture than it was meant to be; then it is made again.
func play(t *testing.T, s *netlab.Scene, path string) *netlab.Capture {
	t.Helper()
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
			t.Fatalf("the capture is not what the scene is meant to be (%s): %v", s.How, err)
		}
		t.Logf("try %d: the capture is not what the scene is meant to be: %v", try, err)
	}
}

// TestRealStacksRandom compares marks and totals with tshark where the kernel's TCP meets
// loss, reordering and the like by chance.
func TestRealStacksRandom(t *testing.T) {
	testnet.Need(t, "ip", "tshark")
	cases, seed := 6, rand.Uint64()
	for name, to := range map[string]func(n uint64){
		"PCAPCTL_PROPERTY_CASES": func(n uint64) { cases = int(n) },
		"PCAPCTL_PROPERTY_SEED":  func(n uint64) { seed = n },
	} {
		if text := os.Getenv(name); text != "" {
			n, err := strconv.ParseUint(text, 10, 64)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			to(n)
		}
	}
	t.Logf("PCAPCTL_PROPERTY_SEED=%d", seed)
	dir := sceneFolder(t)
	var wg sync.WaitGroup
	free := make(chan struct{}, atOnce)
	for i := range cases {
		free <- struct{}{}
		wg.Go(func() {
			defer func() { <-free }()
			s := netlab.Random(seed + uint64(i))
			t.Run(s.Name, func(t *testing.T) {
				path := filepath.Join(dir, s.Name+".pcap")
				if err := os.WriteFile(path, s.Make(t), 0o600); err != nil {
					t.Fatal(err)
				}
				for _, d := range differences(netlab.Read(t, path), inspectFile(t, path)) {
					t.Errorf("differs from tshark: %s", d)
				}
			})
		})
	}
	wg.Wait()
}
