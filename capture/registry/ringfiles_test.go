package registry

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture"
	"pcapctl/storage"
)

func TestPlaceIsReadBack(t *testing.T) {
	const first = "/var/captures/x_20310203T140506.789Z_000001.cap.zst"
	want := place{
		RingFile: capture.RingFile{
			Sequence: 1_234_567, Path: "/var/captures/x_20310203T140506.789Z_1234567.cap.zst", Started: time.Unix(0, 1_700_000_000_123_456_789),
			Before: 5, Packets: 7, Size: 1 << 33, Complete: true,
		},
		id: storage.FileID{Device: 1, Inode: 2, Birth: 3},
	}
	b := want.encode()
	if len(b) > placeSize {
		t.Fatalf("%d bytes", len(b))
	}
	got, ok := decodePlace(append(b, make([]byte, placeSize-len(b))...), first)
	if d := cmp.Diff(want, got, cmp.AllowUnexported(place{})); !ok || d != "" {
		t.Error(d)
	}
	if _, ok := decodePlace(make([]byte, placeSize), first); ok {
		t.Error("an empty place holds a file")
	}
}

func FuzzPlace(f *testing.F) {
	f.Add(bytes.Repeat([]byte{1}, placeSize), "/x_000001.cap")
	f.Add(bytes.Repeat([]byte{0xff}, placeSize), "")
	f.Fuzz(func(t *testing.T, b []byte, first string) {
		if len(b) != placeSize {
			return
		}
		p, ok := decodePlace(b, first)
		if ok && (p.Sequence <= 0 || p.Path == "") {
			t.Errorf("%+v", p)
		}
		_ = p.Result()
	})
}
