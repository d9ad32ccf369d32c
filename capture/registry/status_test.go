//go:build linux || windows

package registry

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestRemaining(t *testing.T) {
	rec := SampleRecord(t, "x")
	s := &Session{Name: "x", Record: &rec, State: Running, Elapsed: 20 * time.Second, size: 400}
	want := &Remaining{TotalBytesPerSession: new(int64(600)), TimeLimitInSeconds: new(40.0)}
	if d := cmp.Diff(want, s.Status().Remaining); d != "" {
		t.Error(d)
	}
	s.Elapsed, s.size = time.Hour, 5000
	want = &Remaining{TotalBytesPerSession: new(int64(0)), TimeLimitInSeconds: new(0.0)}
	if d := cmp.Diff(want, s.Status().Remaining); d != "" {
		t.Error(d)
	}
	p := &rec.Resource.Properties
	p.TotalBytesPerSession, p.TimeLimitInSeconds = new(int64(0)), new(int64(0))
	if d := cmp.Diff(&Remaining{}, s.Status().Remaining); d != "" {
		t.Error(d)
	}
	s.State = Ended
	if s.Status().Remaining != nil {
		t.Error("an ended session has something left")
	}
}
