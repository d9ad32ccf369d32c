//go:build linux || windows

package registry

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture"
	"pcapctl/capture/deliver"
	"pcapctl/capture/save"
	"pcapctl/capture/source"
	"pcapctl/storage"
)

func TestLiveCounters(t *testing.T) {
	r, c := claimOne(t, "live")
	defer c.Abandon()
	start := time.Now()
	made, err := storage.IdentifyPath(filepath.Join(r.Dir(), "live", recordName))
	must(t, err)
	c.Begin(start, made)
	p := capture.Progress{
		Elapsed: 3 * time.Second, Packets: 1, Bytes: 2, Size: 3, Received: 4, Freezes: 5,
		Dropped: capture.Drops{ByKernel: 6, ByInterface: 9, ByFile: 8}, Written: save.Written{Packets: 10, Bytes: 11, Size: 12},
	}
	if n := testing.AllocsPerRun(100, func() { c.Progress(p) }); n != 0 {
		t.Errorf("%v allocations for each block of packets", n)
	}
	c.Interfaces(3*time.Second, []source.Link{{Name: "eth0", Index: 2, Dropped: 4}, {Name: "eth1", Index: 3, Dropped: 5}})
	text, err := os.ReadFile(filepath.Join(r.Dir(), "live", liveName))
	must(t, err)
	l := decodeCounters((*[liveSize]byte)(text))
	if d := cmp.Diff(p, l.Progress); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff(map[int]uint64{2: 4, 3: 5}, l.links); d != "" {
		t.Error(d)
	}
	if !l.start.Equal(start) || l.file.Inode == 0 {
		t.Errorf("%v, %v", l.start, l.file)
	}
	if d := time.Since(start) - (monotonic() - l.clock); d.Abs() > 50*time.Millisecond {
		t.Errorf("the clocks differ by %v", d)
	}
	// More interfaces than there is room for are counted all the same.
	many := make([]source.Link, 1000)
	for i := range many {
		many[i] = source.Link{Index: i, Dropped: 1}
	}
	c.Interfaces(0, many)
	text, err = os.ReadFile(filepath.Join(r.Dir(), "live", liveName))
	must(t, err)
	if l := decodeCounters((*[liveSize]byte)(text)); len(l.links) != maxLinks || l.Dropped.ByInterface != 1000 {
		t.Errorf("%d interfaces, %d dropped", len(l.links), l.Dropped.ByInterface)
	}
}

// What the capturing process stores is what others read.
func FuzzCountersAreReadBack(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8, 9})
	f.Add(bytes.Repeat([]byte{0x7f}, 8*64))
	f.Fuzz(func(t *testing.T, data []byte) {
		next := func() uint64 {
			var b [8]byte
			data = data[copy(b[:], data):]
			return binary.LittleEndian.Uint64(b[:])
		}
		positive := func() int64 { return int64(next() >> 1) }
		want := counters{
			start: time.Unix(0, max(1, positive())), clock: time.Duration(positive()),
			file: storage.FileID{Device: next(), Inode: next(), Birth: int64(next())}, links: map[int]uint64{},
		}
		want.Progress = capture.Progress{
			Elapsed: time.Duration(positive()), Packets: next(), Bytes: next(), Size: positive(), Received: next(), Freezes: next(),
			Dropped: capture.Drops{ByKernel: next(), ByFile: next()},
			Written: save.Written{Packets: next(), Bytes: next(), Size: positive()},
			Upload:  deliver.Progress{Staged: positive(), Retries: positive()},
		}
		var links []source.Link
		for i := range min(len(data)/8, 2*maxLinks) {
			l := source.Link{Index: i + 1, Dropped: next()}
			links = append(links, l)
			want.Dropped.ByInterface += l.Dropped
			if i < maxLinks {
				want.links[l.Index] = l.Dropped
			}
		}
		var b [liveSize]byte
		p := &page{mem: b[:]}
		p.set(wordFormat, liveFormat)
		p.begin(want.start, want.clock, want.file)
		p.progress(&want.Progress)
		p.links(want.Elapsed, links)
		p.upload(want.Upload)
		if d := cmp.Diff(want, decodeCounters(&b), cmp.AllowUnexported(counters{})); d != "" {
			t.Error(d)
		}
	})
}

// Any bytes are read without harm, and give values that can be.
func FuzzCounters(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 0x65, 0x76, 0x69, 0x6c, 1})
	f.Add(append([]byte{1, 0, 0, 0, 0x65, 0x76, 0x69, 0x6c}, bytes.Repeat([]byte{0xff}, liveSize-8)...))
	f.Fuzz(func(t *testing.T, data []byte) {
		var b [liveSize]byte
		copy(b[:], data)
		c := decodeCounters(&b)
		if min(c.Size, c.Written.Size, c.Upload.Staged, c.Upload.Retries, int64(c.Elapsed), int64(c.clock)) < 0 || len(c.links) > maxLinks ||
			!c.start.IsZero() && c.start.Year() < 1970 {
			t.Errorf("%+v", c)
		}
		st := &capture.Statistics{Interfaces: make([]capture.InterfaceResult, 3), Files: make([]capture.FileResult, 1), Upload: &deliver.Status{}}
		c.fill(st, c.Size)
		if st.DurationInSeconds < 0 || st.Files[0].SizeInBytes < 0 || st.Upload.BytesBehind < 0 {
			t.Errorf("%+v", st)
		}
	})
}
