package save

import (
	"bytes"
	"errors"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
)

// streamEnds makes both ends of what a stream may go to.
var streamEnds = map[string]func(t *testing.T) (out, in *os.File){
	"pipe": func(t *testing.T) (*os.File, *os.File) {
		t.Helper()
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		return out, in
	},
	"socket": func(t *testing.T) (*os.File, *os.File) {
		t.Helper()
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return os.NewFile(uintptr(fds[0]), "out"), os.NewFile(uintptr(fds[1]), "in")
	},
}

type streamFixture struct {
	*Recorder
	stream   *Stream
	counters *Counters
	left     atomic.Int32
	out, in  *os.File
}

func openStream(t *testing.T, kind string) *streamFixture {
	t.Helper()
	f := &streamFixture{counters: &Counters{}}
	f.out, f.in = streamEnds[kind](t)
	t.Cleanup(func() { _, _ = f.out.Close(), f.in.Close() })
	o, err := OpenOutlet(f.out)
	if err != nil {
		t.Fatal(err)
	}
	e := &pcapEncoder{link: pcapfile.Ethernet, cutter: newCutter(&request.Config{})}
	header := e.Begin(nil)
	f.stream = NewStream(StreamOptions{
		Outlet: o, Name: kind, Header: header, Whole: e.Whole, Losses: func() Losses { return Losses{} },
		Left: func() { f.left.Add(1) }, Counters: f.counters,
	})
	f.Recorder = NewRecorder(e, f.stream, f.counters, 0, len(header))
	return f
}

// received are the numbers of the packets that come out of a stream.
func received(r io.Reader) (list []int, err error) {
	p, err := pcapfile.NewReader(r)
	var packet pcapfile.Packet
	for err == nil {
		if err = p.Next(&packet); err == nil {
			list = append(list, int(packet.Data[0])<<24|int(packet.Data[1])<<16|int(packet.Data[2])<<8|int(packet.Data[3]))
		}
	}
	return list, err
}

func TestStreams(t *testing.T) {
	for kind := range streamEnds {
		t.Run(kind, func(t *testing.T) {
			defer goleak.VerifyNone(t)
			t.Run("everything comes out", func(t *testing.T) { streamGivesEverything(t, kind) })
			t.Run("a reader that leaves", func(t *testing.T) { streamWithoutReader(t, kind) })
			t.Run("a reader that leaves while nothing is written", func(t *testing.T) { quietStreamWithoutReader(t, kind) })
			t.Run("a reader that stalls", func(t *testing.T) { stalledStream(t, kind) })
			t.Run("discard", func(t *testing.T) { discardedStream(t, kind) })
		})
	}
}

// A slow reader gets everything, the header before the first packet, and the counters tell it.
func streamGivesEverything(t *testing.T, kind string) {
	f := openStream(t, kind)
	f.stream.Begin()
	head := make([]byte, pcapfile.HeaderLen)
	if _, err := io.ReadFull(f.in, head); err != nil {
		t.Fatal(err)
	}
	type got struct {
		list []int
		err  error
	}
	done := make(chan got)
	go func() {
		list, err := received(io.MultiReader(bytes.NewReader(head), f.in))
		done <- got{list, err}
	}()
	const n = 4000
	for from := 0; from < n; from += 100 {
		if left, err := f.Add(numbered(from, 100, 1000)); left != nil || err != nil {
			t.Fatal(left, err)
		}
	}
	if err := f.Finish(); err != nil {
		t.Fatal(err)
	}
	_ = f.out.Close()
	g := <-done
	c := f.counters.Count()
	if !errors.Is(g.err, io.EOF) || !slices.Equal(g.list, count(n)) || c.Packets != n || c.Lost+c.Late != 0 || c.Written.Packets != n ||
		c.Written.Size != pcapfile.HeaderLen+n*(1000+pcapfile.RecordHeaderLen) || f.left.Load() != 0 || f.stream.Left() {
		t.Errorf("%d packets, %v, %+v", len(g.list), g.err, c)
	}
}

// What a reader that has left did not take has come too late.
func streamWithoutReader(t *testing.T, kind string) {
	f := openStream(t, kind)
	f.stream.Begin()
	if _, err := io.ReadFull(f.in, make([]byte, pcapfile.HeaderLen)); err != nil {
		t.Fatal(err)
	}
	_ = f.in.Close()
	var err error
	n := 0
	for err == nil && n < 100_000 {
		batch := numbered(n, 100, 1000)
		n += 100
		left, aerr := f.Add(batch)
		if err = aerr; left != nil { // else the batch is at its end, and would begin anew
			f.Late(left, batch)
		}
	}
	ferr := f.Finish()
	c := f.counters.Count()
	if !errors.Is(err, ErrReaderLeft) || ferr != nil || c.Lost != 0 || c.Packets+c.Late != uint64(n) || !f.stream.Left() || f.left.Load() != 1 {
		t.Errorf("%v, %v, %d given, %+v", err, ferr, n, c)
	}
}

func quietStreamWithoutReader(t *testing.T, kind string) {
	f := openStream(t, kind)
	f.stream.Begin()
	_ = f.in.Close()
	for deadline := time.Now().Add(10 * time.Second); f.left.Load() == 0 || !f.stream.Left(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("nobody has noticed")
		}
	}
	if err := f.Finish(); err != nil {
		t.Error(err)
	}
}

// A reader that stalls is waited for until the capture is to end. What it has not taken then is lost, and counted.
func stalledStream(t *testing.T, kind string) {
	f := openStream(t, kind)
	f.stream.Begin()
	const n = 20_000 // more than pipe and buffers hold
	var from time.Time
	hurry := time.AfterFunc(300*time.Millisecond, func() {
		from = time.Now()
		f.stream.Hasten()
	})
	defer hurry.Stop()
	var err error
	for at := 0; at < n; at += 100 {
		_, aerr := f.Add(numbered(at, 100, 1000))
		err = errors.Join(err, aerr)
	}
	err = errors.Join(err, f.Finish())
	took := time.Since(from)
	_ = f.out.Close()
	list, rerr := received(f.in)
	c := f.counters.Count()
	if !errors.Is(err, ErrStalled) || took > 8*time.Second || c.Lost == 0 || c.Packets+c.Lost != n || uint64(len(list)) != c.Packets || !slices.Equal(list, count(len(list))) {
		t.Errorf("%v after %v, %d packets came out (%v), %+v", err, took, len(list), rerr, c)
	}
}

// Nothing comes out of a stream whose capture could not begin.
func discardedStream(t *testing.T, kind string) {
	f := openStream(t, kind)
	f.stream.Discard()
	_ = f.out.Close()
	if b, err := io.ReadAll(f.in); len(b) > 0 || err != nil {
		t.Errorf("%q, %v", b, err)
	}
}

// What cannot be written to is refused; what is not a file of the system takes everything.
func TestOutlets(t *testing.T) {
	in, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenOutlet(in); err == nil {
		t.Error("a file that is open for reading only")
	}
	_ = in.Close()
	if _, err := OpenOutlet(in); err == nil {
		t.Error("a file that is closed")
	}
	var b bytes.Buffer
	o, err := OpenOutlet(&b)
	if err != nil {
		t.Fatal(err)
	}
	if n, err := o.Write([]byte("abc"), 0); n != 3 || err != nil || o.Left() || b.String() != "abc" {
		t.Errorf("%d, %v", n, err)
	}
	r, w := io.Pipe()
	_ = r.Close()
	o, _ = OpenOutlet(w)
	if _, err := o.Write([]byte("abc"), 0); !errors.Is(err, ErrReaderLeft) {
		t.Error(err)
	}
}
