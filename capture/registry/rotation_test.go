package registry

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture"
	"pcapctl/capture/save"
	"pcapctl/storage"
)

func TestSlotIsReadBack(t *testing.T) {
	const first = "/var/captures/x_20310203T140506.789Z_000001.cap.zst"
	want := rotatedFile{
		File: save.File{
			Sequence: 1_234_567, Path: "/var/captures/x_20310203T140506.789Z_1234567.cap.zst", Started: time.Unix(0, 1_700_000_000_123_456_789),
			Before: 5, Packets: 7, Size: 1 << 33, Complete: true,
		},
		id: storage.FileID{Device: 1, Inode: 2, Birth: 3},
	}
	b := want.encode()
	if len(b) > slotSize {
		t.Fatalf("%d bytes", len(b))
	}
	got, ok := decodeSlot(append(b, make([]byte, slotSize-len(b))...), first)
	if d := cmp.Diff(want, got, cmp.AllowUnexported(rotatedFile{})); !ok || d != "" {
		t.Error(d)
	}
	if _, ok := decodeSlot(make([]byte, slotSize), first); ok {
		t.Error("an empty slot holds a file")
	}
}

// Any bytes are read without harm and give values that can be, which are
// written as the same bytes again.
func FuzzSlot(f *testing.F) {
	f.Add(bytes.Repeat([]byte{1}, slotSize), "/x_000001.cap")
	f.Add(bytes.Repeat([]byte{0xff}, slotSize), "")
	f.Add(append([]byte{1, 0, 0, 0, 0, 0, 0, 0}, bytes.Repeat([]byte{0xff}, slotSize-8)...), "/x_000001.cap")
	f.Fuzz(func(t *testing.T, b []byte, first string) {
		if len(b) != slotSize {
			return
		}
		r, ok := decodeSlot(b, first)
		if !ok {
			return
		}
		if r.Sequence <= 0 || r.Path == "" || r.Size < 0 || r.Started.Year() < 1970 {
			t.Errorf("%+v", r)
		}
		_ = capture.FileResultOf(r.File)
		again, ok := decodeSlot(append(r.encode(), make([]byte, slotSize)...), first)
		if d := cmp.Diff(r, again, cmp.AllowUnexported(rotatedFile{})); !ok || d != "" {
			t.Error(d)
		}
	})
}
