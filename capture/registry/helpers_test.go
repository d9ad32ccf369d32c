//go:build linux || windows

package registry

import (
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/request"
	"pcapctl/capture/save"
	"pcapctl/capture/source"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// SampleConfig is a valid request of a session.
func SampleConfig(t testing.TB, name string) *request.Config {
	t.Helper()
	c, err := request.NewConfig(&request.Request{Name: &name, Properties: &request.Properties{
		Target:               new("/subscriptions/0/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1"),
		StorageLocation:      &request.StorageLocation{FilePath: new("/var/captures/" + name + ".cap")},
		TotalBytesPerSession: new(int64(1000)), TimeLimitInSeconds: new(int64(60)),
	}}, request.Host{Name: "h"})
	must(t, err)
	return c
}

// SampleRecord is the record of a session of two interfaces and one file.
func SampleRecord(t testing.TB, name string) Record {
	t.Helper()
	res := (&capture.Result{
		Config: SampleConfig(t, name), Source: source.Report{Links: []source.Link{{Name: "eth0", Index: 2}, {Name: "eth1", Index: 3}}},
		Files: []save.File{{Path: "/var/captures/" + name + ".cap"}},
	}).Resource()
	return Record{Name: name, Created: time.Now(), Resource: res}
}

// claimOne claims a name in a registry of its own.
func claimOne(t *testing.T, name string) (*Registry, *Claim) {
	t.Helper()
	r := New(filepath.Join(t.TempDir(), "state"))
	c, err := r.Claim(SampleRecord(t, name), true)
	must(t, err)
	t.Cleanup(func() { runtime.KeepAlive(c) }) // else its files are closed by the garbage collector, and its lock with them
	return r, c
}
