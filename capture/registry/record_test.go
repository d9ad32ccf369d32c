//go:build linux || windows

package registry

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/save"
)

func TestDecodeRecord(t *testing.T) {
	rec := SampleRecord(t, "x")
	rec.Version = recordVersion
	good, err := rec.encode()
	must(t, err)
	if _, err := decodeRecord(good); err != nil {
		t.Error(err)
	}
	// A member that this version does not know does no harm.
	if _, err := decodeRecord(bytes.Replace(good, []byte("{"), []byte(`{"tomorrow": [1],`), 1)); err != nil {
		t.Error(err)
	}
	for text, says := range map[string]string{
		"":                              "damaged",
		"null":                          "members are missing",
		"[]":                            "damaged",
		string(good[:len(good)/2]):      "damaged",
		`{"version": 1}`:                "members are missing",
		`{"version": 2}`:                "format 2, and this pcapctl reads up to 1",
		`{"version": 2, "resource": 1}`: "format 2",
		`{"version": 1, "name": 3}`:     "damaged",
		strings.Replace(string(good), `"version": 1`, `"version": 0`, 1): "members are missing",
	} {
		if _, err := decodeRecord([]byte(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%.60q: %v, want %q", text, err, says)
		}
	}
}

// Outcomes that older programs have written are read.
func TestOutcomesOfOlderPrograms(t *testing.T) {
	rec := SampleRecord(t, "x")
	rec.Version = recordVersion
	good, err := rec.encode()
	must(t, err)
	for outcome, want := range map[string]error{
		`{"class": ""}`: nil,
		`{"class": "CaptureFailed", "code": "AgentStopped", "message": "m"}`: &fault.Error{Class: fault.Failed, Code: CodeAgentStopped, Message: "m"},
		`{"class": "TimedOut", "message": "m", "target": "t"}`:               &fault.Error{Class: fault.TimedOut, Message: "m", Target: "t"},
	} {
		rec, err := decodeRecord(bytes.Replace(good, []byte("{"), []byte(`{"outcome": `+outcome+`,`), 1))
		must(t, err)
		if d := cmp.Diff(want, (&Session{Record: rec}).Failure()); d != "" {
			t.Errorf("%s: %s", outcome, d)
		}
	}
}

// What older programs have written is shown in today's shape: members that were
// not given are absent, filters are whole, times have no zeros at their end.
func TestRecordsOfOlderPrograms(t *testing.T) {
	const old = `{"version": 1, "name": "x", "resource": {"name": "x", "id": "/x", "etag": "W/\"old\"", "type": "t", "properties": {
		"target": "t", "storageLocation": {"storageId": "", "filePath": "/var/captures/x.cap"},
		"filters": [{"protocol": "TCP"}], "captureStartTime": "2031-02-03T04:05:06.1000000Z", "packetCaptureStatus": "Stopped", "statistics": {}}}}`
	rec, err := decodeRecord([]byte(old))
	must(t, err)
	res := rec.Resource
	text, err := json.Marshal(res.Properties)
	must(t, err)
	for _, part := range []string{
		`"storageLocation":{"storagePath":"","filePath":"/var/captures/x.cap"}`,
		`"filters":[{"protocol":"TCP","localIPAddress":"","localPort":"","remoteIPAddress":"","remotePort":""}]`,
		`"captureStartTime":"2031-02-03T04:05:06.1Z"`,
		`"packetCaptureError":[]`,
	} {
		if !strings.Contains(string(text), part) {
			t.Errorf("no %s in %s", part, text)
		}
	}
	again := *res
	again.Properties.PacketCaptureStatus, again.Properties.CaptureStartTime = capture.StatusError, ""
	again.AsPrinted()
	if again.Etag != res.Etag || len(res.Etag) < 30 {
		t.Errorf("etags %s and %s of one request", res.Etag, again.Etag)
	}
	again.Properties.TimeLimitInSeconds = new(int64(5))
	if again.AsPrinted(); again.Etag == res.Etag {
		t.Errorf("etag %s of two requests", res.Etag)
	}
}

func FuzzRecord(f *testing.F) {
	rec := SampleRecord(f, "x")
	rec.Version, rec.Outcome = recordVersion, outcomeOf(errors.New("x"))
	good, err := rec.encode()
	must(f, err)
	f.Add(good)
	f.Add([]byte(`{"version":1,"name":"x","resource":{"properties":{"statistics":{"files":[{}]}}}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		rec, err := decodeRecord(text)
		if err != nil {
			return
		}
		// A record that was read is written as the same one.
		text1, err := rec.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := decodeRecord(text1)
		if err != nil {
			t.Fatalf("%v: %s", err, text1)
		}
		if text2, err := again.encode(); err != nil || !bytes.Equal(text1, text2) {
			t.Errorf("%v: %s\nbecame %s", err, text1, text2)
		}
		// Whatever a record says, it can be shown.
		s := &Session{Name: rec.Name, Record: rec, State: Running}
		_, _ = s.Status(), s.Failure()
		if _, err := json.Marshal(s.Resource()); err != nil {
			t.Error(err)
		}
		c := counters{start: time.Now(), links: map[int]uint64{1: 1}}
		describeLost(rec, &c, save.Written{})
		if _, err := rec.encode(); err != nil || len(rec.Where()) > len(text)*4 {
			t.Error(err)
		}
	})
}
