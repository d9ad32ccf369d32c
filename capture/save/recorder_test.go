package save

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
	"pcapctl/storage"
)

// benchDir is in memory where there is a folder for that.
func benchDir(tb testing.TB) string {
	tb.Helper()
	dir := "/dev/shm"
	if st, err := os.Stat(dir); err != nil || !st.IsDir() {
		dir = os.TempDir()
	}
	dir, err := os.MkdirTemp(dir, "pcapctl-") //nolint:usetesting // in memory, where tests have no folder
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// list is a batch that can be given again.
type list struct {
	packets []source.Packet
	given   int
	gap     source.Gap
}

func (l *list) Quiet() bool { return false }

func (l *list) Gap() source.Gap { return l.gap }

func (l *list) Next() *source.Packet {
	if l.given == len(l.packets) {
		l.given = 0
		return nil
	}
	l.given++
	return &l.packets[l.given-1]
}

// batchOf is a batch of 64 packets of size bytes, as the packet loop gets them.
func batchOf(size int) *list {
	packets := make([]source.Packet, 64)
	for i := range packets {
		packets[i] = source.Packet{Sec: 1, Nsec: 2, Timed: true, Data: make([]byte, size), Length: size}
	}
	return &list{packets: packets}
}

// benchRecorder records into one file of a format. again begins the file anew, so
// that a bench needs no space.
func benchRecorder(tb testing.TB, e Encoder, compress string) (r *Recorder, again func()) {
	tb.Helper()
	dir := benchDir(tb)
	folder, err := storage.OpenFolder(dir, filepath.Join(dir, "x.cap"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = folder.Close() })
	o := Options{
		Folder: folder, Path: filepath.Join(dir, "x.cap"), Compress: compress, Guard: func(*storage.File) error { return nil }, Events: &recorded{},
		Reserve: &Reserve{}, Losses: func() Losses { return Losses{} }, Header: e.Begin(nil), Whole: e.Whole, Counters: &Counters{},
	}
	s, err := OpenSink(o)
	if err != nil {
		tb.Fatal(err)
	}
	r = NewRecorder(e, s, o.Counters, 0, len(o.Header))
	return r, func() {
		r.buf = r.buf[:0]
		if err := s.(*single).file.stored().Cut(0); err != nil {
			tb.Fatal(err)
		}
		r.size = 0
	}
}

func encoders() map[string]Encoder {
	return map[string]Encoder{
		"pcap":   &pcapEncoder{link: pcapfile.Ethernet, cutter: newCutter(&request.Config{})},
		"pcapng": &ngEncoder{cutter: newCutter(&request.Config{}), ifaces: make([]ngInterface, 1), described: 1, tail: pcapfile.StatisticsLen},
	}
}

func TestRecorderAllocatesNothing(t *testing.T) {
	for name, e := range encoders() {
		r, _ := benchRecorder(t, e, request.CompressNone)
		packets := batchOf(1514)
		if n := testing.AllocsPerRun(100, func() { // thirty buffers and more
			if _, err := r.Add(packets); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations for a batch", name, n)
		}
		if r.counters.Count().Written.Packets == 0 {
			t.Errorf("%s: nothing was written", name)
		}
	}
}

func BenchmarkRecord(b *testing.B) {
	for name, e := range encoders() {
		for _, size := range []int{64, 1514} {
			b.Run(fmt.Sprint(name, size), func(b *testing.B) {
				r, again := benchRecorder(b, e, request.CompressNone)
				packets := batchOf(size)
				b.SetBytes(int64(size * len(packets.packets)))
				b.ReportAllocs()
				for b.Loop() {
					if _, err := r.Add(packets); err != nil {
						b.Fatal(err)
					}
					if r.size > 64<<20 {
						again()
					}
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(packets.packets)), "ns/packet")
			})
		}
	}
}
