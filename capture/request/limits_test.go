package request_test

import (
	"strings"
	"testing"
	"time"

	"pcapctl/capture/request"
)

// The limits of the host are in the session, and given back; a ring's files are for a part of a day.
func TestOwnLimits(t *testing.T) {
	body := func(ring bool) *request.Request {
		r := &request.Request{Properties: &request.Properties{Target: new("/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1")}}
		if path := new("/var/captures/x.cap"); ring {
			r.Properties.ContinuousCapture, r.Properties.StorageLocation = new(true), &request.StorageLocation{LocalPath: path}
		} else {
			r.Properties.StorageLocation = &request.StorageLocation{FilePath: path}
		}
		return r
	}
	host := request.Host{GOOS: "linux", Name: "h", Now: time.Unix(1e9, 0)}
	for _, test := range []struct {
		limits request.Limits
		ring   bool
		want   request.Limits
		fault  string
	}{
		{request.Limits{}, true, request.Limits{}, ""},
		{request.Limits{Packets: 7}, false, request.Limits{Packets: 7}, ""},
		{request.Limits{Packets: 7, RotateEverySeconds: 3600}, true, request.Limits{Packets: 7, RotateEverySeconds: 3600}, ""},
		{request.Limits{RotateEverySeconds: 3600}, false, request.Limits{}, ""}, // of the host, for rings
		{request.Limits{RotateEverySeconds: 86400}, true, request.Limits{RotateEverySeconds: 86400}, ""},
		{request.Limits{RotateEverySeconds: 7 * 60}, true, request.Limits{}, "rotate-every: 420 seconds"},
		{request.Limits{RotateEverySeconds: 2 * 86400}, true, request.Limits{}, "a part of a day"},
		{request.Limits{RotateEverySeconds: -1}, true, request.Limits{}, "a part of a day"},
	} {
		host.Limits = test.limits
		c, err := request.NewConfig(body(test.ring), host)
		switch {
		case test.fault != "":
			if err == nil || !strings.Contains(err.Error(), test.fault) {
				t.Errorf("%+v: %v", test.limits, err)
			}
		case err != nil:
			t.Errorf("%+v: %v", test.limits, err)
		case c.Limits() != test.want || c.MaxPackets != test.want.Packets:
			t.Errorf("%+v: %+v", test.limits, c.Limits())
		}
	}
}
