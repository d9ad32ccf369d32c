package save

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"go.uber.org/goleak"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
	"pcapctl/storage"
)

// recorded notes the events of a sink.
type recorded struct {
	mu    sync.Mutex
	lines []string
	grew  map[int]int64
	warns []string
}

func (r *recorded) note(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

func (r *recorded) Begun(f File, _ func() (*os.File, error)) { r.note("begun %d", f.Sequence) }

func (r *recorded) Complete(f File) { r.note("complete %d", f.Sequence) }
func (r *recorded) Leaving(f File)  { r.note("leaving %d", f.Sequence) }
func (r *recorded) Warn(text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.warns = append(r.warns, text)
}

func (r *recorded) Grew(sequence int, size int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.grew == nil {
		r.grew = map[int]int64{}
	}
	r.grew[sequence] = size
}

// variant is a kind of sink, which the suite below is held against.
type variant struct {
	name     string
	compress string
	files    int // of a rotation
}

func variants() []variant {
	return []variant{
		{"plain", request.CompressNone, 0},
		{"gzip", request.CompressGzip, 0},
		{"zstd", request.CompressZstd, 0},
		{"rotating", request.CompressNone, 3},
		{"rotating, one file", request.CompressNone, 1},
		{"rotating zstd", request.CompressZstd, 3},
		{"rotating gzip", request.CompressGzip, 2},
	}
}

// fixture is a sink with a recorder on it.
type fixture struct {
	*Recorder
	o      Options
	events *recorded
}

func openFixture(t *testing.T, v variant, dir string, limit int64) *fixture {
	t.Helper()
	f := openWith(t, v, dir, func(*storage.File) error { return nil })
	f.Recorder = NewRecorder(f.encoder, f.sink, f.o.Counters, limit, len(f.o.Header))
	return f
}

// openWith opens a sink whose files guard is told of; it has no recorder yet.
func openWith(t *testing.T, v variant, dir string, guard func(*storage.File) error) *fixture {
	t.Helper()
	e := &pcapEncoder{link: pcapfile.Ethernet, cutter: newCutter(&request.Config{})}
	f := &fixture{events: &recorded{}}
	folder, err := storage.OpenFolder(dir, filepath.Join(dir, "x.cap"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = folder.Close() })
	f.o = Options{
		Folder: folder, Path: filepath.Join(dir, "x.cap"), Compress: v.compress, Files: v.files, Guard: guard,
		Events: f.events, Reserve: &Reserve{}, Losses: func() Losses { return Losses{} }, Header: e.Begin(nil), Whole: e.Whole, Counters: &Counters{},
	}
	if v.files > 0 {
		f.o.Path = filepath.Join(dir, "x_s_000001.cap")
	}
	s, err := OpenSink(f.o)
	if err != nil {
		t.Fatal(err)
	}
	f.Recorder = &Recorder{encoder: e, sink: s}
	return f
}

// numbered gives packets their numbers, and content that does not compress.
func numbered(from, n, size int) *list {
	packets := make([]source.Packet, n)
	x := uint64(from + 1)
	for i := range packets {
		data := make([]byte, size)
		for at := 4; at+8 <= size; at += 8 {
			x ^= x << 13
			x ^= x >> 7
			x ^= x << 17
			binary.LittleEndian.PutUint64(data[at:], x)
		}
		binary.BigEndian.PutUint32(data, uint32(from+i))
		packets[i] = source.Packet{Sec: 1, Data: data, Length: size, Timed: true}
	}
	return &list{packets: packets}
}

// unpack reads a file, compressed or not. Of one that is cut it gives what there
// is.
func unpack(t *testing.T, path, compress string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var r io.Reader = bytes.NewReader(raw)
	switch compress {
	case request.CompressGzip:
		if r, err = gzip.NewReader(r); err != nil {
			t.Fatal(err)
		}
	case request.CompressZstd:
		d, err := zstd.NewReader(r)
		if err != nil {
			t.Fatal(err)
		}
		defer d.Close()
		r = d
	}
	b, _ := io.ReadAll(r)
	return b
}

// numbersIn are the numbers of the packets of a file, which must be whole
// records.
func numbersIn(t *testing.T, path, compress string) (list []int) {
	t.Helper()
	r, err := pcapfile.NewReader(bytes.NewReader(unpack(t, path, compress)))
	var p pcapfile.Packet
	for err == nil {
		if err = r.Next(&p); err == nil {
			list = append(list, int(binary.BigEndian.Uint32(p.Data)))
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatalf("%s: %v", path, err)
	}
	return list
}

func count(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

// TestSinks holds every sink to the contract of Sink.
func TestSinks(t *testing.T) {
	for _, v := range variants() {
		t.Run(v.name, func(t *testing.T) {
			defer goleak.VerifyNone(t)
			t.Run("everything is in the files", func(t *testing.T) { sinkKeepsEverything(t, v) })
			t.Run("the byte limit", func(t *testing.T) { sinkKeepsToTheLimit(t, v) })
			t.Run("a full disk", func(t *testing.T) { sinkOnAFullDisk(t, v) })
			t.Run("discard", func(t *testing.T) { sinkIsDiscarded(t, v) })
			t.Run("nothing is overwritten", func(t *testing.T) { sinkOverwritesNothing(t, v) })
			t.Run("remove", func(t *testing.T) { sinkRemoves(t, v) })
		})
	}
}

// Without a limit every packet is in the one file, in its order, and the
// counters and events say so.
func sinkKeepsEverything(t *testing.T, v variant) {
	f := openFixture(t, v, t.TempDir(), 0)
	const n = 3000
	for from := 0; from < n; from += 100 {
		if left, err := f.Add(numbered(from, 100, 1000)); left != nil || err != nil {
			t.Fatal(left, err)
		}
	}
	if err := f.Finish(); err != nil {
		t.Fatal(err)
	}
	files := f.sink.Files()
	if len(files) != 1 || !slices.Equal(numbersIn(t, files[0].Path, v.compress), count(n)) {
		t.Fatalf("%+v", files)
	}
	st, err := os.Stat(files[0].Path)
	got := f.counters.Count()
	if err != nil || st.Size() != files[0].Size || got.Packets != n || got.Bytes != n*1000 || got.Lost != 0 || got.Written.Packets != n || got.Written.Bytes != n*1000 {
		t.Errorf("%v: %d bytes on the disk, %+v, %+v", err, st.Size(), files, got)
	}
	sequence := files[0].Sequence
	want := []string{fmt.Sprint("begun ", sequence), fmt.Sprint("complete ", sequence)}
	if (sequence > 0) != (v.files > 0) || !slices.Equal(f.events.lines, want) || f.events.grew[sequence] == 0 || f.events.warns != nil {
		t.Errorf("events %q, grew %v, warnings %q", f.events.lines, f.events.grew, f.events.warns)
	}
}

// A sink of one file ends at the limit, to the byte; a rotation goes on, and
// keeps as many files as it may, each within the limit.
func sinkKeepsToTheLimit(t *testing.T, v variant) {
	const size, limit = 1000, 100_000
	const perFile = (limit - pcapfile.HeaderLen) / (pcapfile.RecordHeaderLen + size)
	f := openFixture(t, v, t.TempDir(), limit)
	const n = 10 * perFile
	packets := numbered(0, n, size)
	left, err := f.Add(packets)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Finish(); err != nil {
		t.Fatal(err)
	}
	files := f.sink.Files()
	if v.files == 0 {
		if did := packets.given - 1; left == nil || did != perFile || !slices.Equal(numbersIn(t, files[0].Path, v.compress), count(perFile)) {
			t.Errorf("%d packets taken, %d have room", packets.given-1, perFile)
		}
		return
	}
	if left != nil || len(files) != v.files {
		t.Fatalf("left %v, %+v", left, files)
	}
	var all []int
	for i, file := range files {
		if got := len(unpack(t, file.Path, v.compress)); got > limit || file.Packets != perFile || !file.Complete || file.Last != (i == len(files)-1) {
			t.Errorf("%d bytes, %+v", got, file)
		}
		all = append(all, numbersIn(t, file.Path, v.compress)...)
	}
	if want := count(n)[n-v.files*perFile:]; !slices.Equal(all, want) {
		t.Errorf("packets %d to %d", all[0], all[len(all)-1])
	}
	if left, _ := os.ReadDir(f.o.Folder.Path()); len(left) != v.files {
		t.Errorf("left in the folder: %v", left)
	}
	begun, complete, leaving := 0, 0, 0
	for _, line := range f.events.lines {
		var at int
		switch {
		case scan(line, "begun %d", &at):
			begun++
		case scan(line, "complete %d", &at):
			complete++
		case scan(line, "leaving %d", &at):
			leaving++
			if begun-leaving >= v.files {
				t.Errorf("%d files left only after %d had begun", leaving, begun)
			}
		}
	}
	if begun != 10 || complete != 10 || leaving != 10-v.files {
		t.Errorf("%d begun, %d complete, %d leaving", begun, complete, leaving)
	}
}

func scan(line, format string, at *int) bool {
	_, err := fmt.Sscanf(line, format, at)
	return err == nil
}

// When the disk is full, every packet is in a file or counted as lost, and the
// files end behind a whole record.
func sinkOnAFullDisk(t *testing.T, v variant) {
	f := openFixture(t, v, smallDisk(t), 0)
	const n = 6000
	var failed error
	for from := 0; from < n; from += 100 {
		left, err := f.Add(numbered(from, 100, 1000))
		if left != nil {
			t.Fatal(left, err)
		}
		failed = errors.Join(failed, err)
	}
	failed = errors.Join(failed, f.Finish())
	if !storage.IsFull(failed) {
		t.Errorf("%v", failed)
	}
	files := f.sink.Files()
	got := f.counters.Count()
	var kept []int
	if v.compress == "" {
		kept = numbersIn(t, files[0].Path, "")
	} else { // what of a compressed file that lacks its end is readable is whole
		b := unpack(t, files[0].Path, v.compress)
		packets, size := pcapfile.Whole(b[pcapfile.HeaderLen:])
		if size+pcapfile.HeaderLen != len(b) {
			t.Errorf("cut: %d of %d bytes", size, len(b))
		}
		kept = count(packets)
	}
	if uint64(len(kept)) != got.Packets || got.Packets+got.Lost != n || len(kept) < 1000 || !slices.Equal(kept, count(len(kept))) {
		t.Errorf("%d in the file, %+v", len(kept), got)
	}
}

func sinkIsDiscarded(t *testing.T, v variant) {
	f := openFixture(t, v, t.TempDir(), 0)
	f.sink.Discard()
	if left, err := os.ReadDir(f.o.Folder.Path()); err != nil || len(left) != 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func sinkOverwritesNothing(t *testing.T, v variant) {
	dir := t.TempDir()
	f := openFixture(t, v, dir, 0)
	if _, err := OpenSink(f.o); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second one: %v", err)
	}
	if _, err := f.Add(numbered(0, 10, 100)); err != nil {
		t.Fatal(err)
	}
	if err := f.Finish(); err != nil {
		t.Fatal(err)
	}
	if got := numbersIn(t, f.o.Path, v.compress); len(got) != 10 {
		t.Errorf("%d packets", len(got))
	}
}

// A complete file is removed, and what another has put in its place is left.
func sinkRemoves(t *testing.T, v variant) {
	for _, replaced := range []bool{false, true} {
		f := openFixture(t, v, t.TempDir(), 0)
		if err := f.Finish(); err != nil {
			t.Fatal(err)
		}
		file := f.sink.Files()[0]
		if replaced {
			if err := errors.Join(os.Rename(file.Path, file.Path+".old"), os.WriteFile(file.Path, []byte("other"), 0o600)); err != nil {
				t.Fatal(err)
			}
		}
		err := f.sink.Remove(file)
		_, there := os.Lstat(file.Path)
		if replaced != errors.Is(err, storage.ErrReplaced) || replaced == errors.Is(there, os.ErrNotExist) {
			t.Errorf("replaced %v: %v, %v", replaced, err, there)
		}
	}
}
