package capture

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/storage"
)

// newBenchRecorder records into memory where there is a folder for that.
func newBenchRecorder(tb testing.TB) *recorder {
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
	file, err := storage.Create(dir, filepath.Join(dir, "x.cap"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = file.Close() })
	r := newRecorder(&request.Config{}, pcapfile.Ethernet, nil)
	if err := r.start(&outFile{File: file}); err != nil {
		tb.Fatal(err)
	}
	return r
}

// again begins the file anew, so that a bench needs no space.
func (r *recorder) again(tb testing.TB) {
	r.buf = r.buf[:0]
	if err := r.file.Cut(0); err != nil {
		tb.Fatal(err)
	}
	r.all.size = 0
}

func TestRecorderAllocatesNothing(t *testing.T) {
	r := newBenchRecorder(t)
	data := make([]byte, 1514)
	if n := testing.AllocsPerRun(2000, func() { // ten buffers and more
		if _, err := r.add(1, 2, nil, data, len(data)); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
	if r.file.Size() == 0 {
		t.Error("nothing was written")
	}
}

func BenchmarkRecord(b *testing.B) {
	for _, size := range []int{64, 1514} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			r := newBenchRecorder(b)
			data := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.add(1, 2, nil, data, len(data)); err != nil {
					b.Fatal(err)
				}
				if r.all.size > 64<<20 {
					r.again(b)
				}
			}
		})
	}
}
