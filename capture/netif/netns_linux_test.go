package netif_test

import (
	"errors"
	"io/fs"
	"os"
	"strconv"
	"testing"
	"time"

	"pcapctl/capture/netif"
	"pcapctl/capture/testnet"
)

func TestIn(t *testing.T) {
	ns := testnet.New(t)
	ns.Veth("inside0", "inside1")
	sleep := ns.Command("sleep", "60")
	if err := sleep.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sleep.Process.Kill(); _ = sleep.Wait() })

	names := func(where string) map[string]bool {
		t.Helper()
		found := map[string]bool{}
		err := netif.In(where, func() error {
			all, err := netif.List()
			for _, i := range all {
				found[i.Name] = true
			}
			return err
		})
		if err != nil {
			t.Fatalf("in %q: %v", where, err)
		}
		return found
	}
	for _, where := range []string{ns.Name, "/run/netns/" + ns.Name} {
		if !names(where)["inside0"] {
			t.Errorf("not inside %s", where)
		}
	}
	if names("")["inside0"] {
		t.Error("still inside")
	}
	// ip-netns has become the command by now, or becomes it soon.
	pid := strconv.Itoa(sleep.Process.Pid)
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		if comm, err := os.ReadFile("/proc/" + pid + "/comm"); err == nil && string(comm) == "sleep\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("sleep did not start")
		}
	}
	if !names(pid)["inside0"] {
		t.Errorf("not inside that of process %s", pid)
	}
	for _, wrong := range []string{"nosuch", "/nosuch", "999999999", "/dev/null"} {
		if err := netif.In(wrong, func() error { t.Error("called"); return nil }); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", wrong, err)
		}
	}
	mine := errors.New("mine")
	if err := netif.In(ns.Name, func() error { return mine }); !errors.Is(err, mine) {
		t.Errorf("got %v", err)
	}
}
