package capture_test

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/save"
	"pcapctl/capture/source/live"
	"pcapctl/filter"
)

// streamed is a session whose packets go into a pipe.
type streamed struct {
	*capture.Session
	in      *os.File
	out     *os.File
	packets atomic.Uint64 // that came out
	last    atomic.Uint32 // number of the newest
	ended   chan error    // of reading
}

// stream starts a session of v1 that streams.
func (r *rig) stream(members string) *streamed {
	r.t.Helper()
	c := mustConfig(r.t, `"storageLocation":{"filePath":"-"}`+members, request.Host{GOOS: "linux", Name: "host", CapturesDir: r.dir, Now: time.Now(), Output: r.output, Additions: r.adds})
	in, out, err := os.Pipe()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _, _ = in.Close(), out.Close() })
	outlet, err := save.OpenOutlet(out)
	if err != nil {
		r.t.Fatal(err)
	}
	var spec *live.Spec
	r.Do(func() { spec, err = live.NewSpec(c, live.Options{Interfaces: []string{"v1"}, BufferSize: r.buffer}) })
	if err != nil {
		r.t.Fatal(err)
	}
	return &streamed{Session: r.startWith(capture.NewPlan(c, spec), capture.Options{Outlet: outlet}), in: in, out: out, ended: make(chan error, 1)}
}

// read reads what comes out; came is called for each packet.
func (s *streamed) read(came func(*pcapfile.Packet)) {
	go func() {
		r, err := pcapfile.NewReader(s.in)
		var p pcapfile.Packet
		for err == nil {
			if err = r.Next(&p); err == nil {
				s.last.Store(binary.BigEndian.Uint32(p.Data[len(p.Data)-4:]))
				s.packets.Add(1)
				came(&p)
			}
		}
		s.ended <- err
	}()
}

// done runs a session to its end, and tells how the stream ended.
func (s *streamed) done(ctx context.Context) (*capture.Result, error, error) {
	res, err := s.Run(ctx)
	_ = s.out.Close()
	return res, err, <-s.ended
}

// A packet of a quiet link comes out within 300 ms, in either format.
func TestStreamOfAQuietLink(t *testing.T) {
	for _, format := range []string{request.FormatPcap, request.FormatPcapng} {
		r := newRig(t)
		r.output.Format = format
		s := r.stream("")
		came := make(chan time.Time, 1)
		s.read(func(*pcapfile.Packet) { came <- time.Now() })
		ctx, cancel := context.WithCancel(t.Context())
		send := r.sendsNumbered("v0", tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 0))
		go func() {
			defer cancel()
			fastest := time.Hour // of several: the machine may be busy
			for i := range uint32(5) {
				from := time.Now()
				send(i)
				fastest = min(fastest, (<-came).Sub(from))
			}
			if fastest > 300*time.Millisecond {
				t.Errorf("%s: %v", format, fastest)
			}
			t.Logf("%s: %v", format, fastest)
		}()
		res, err, rerr := s.done(ctx)
		if err != nil || !errors.Is(rerr, io.EOF) || res.StopReason != capture.Manual || res.Packets != 5 || s.packets.Load() != 5 || len(res.Files) != 0 {
			t.Errorf("%v, %v, %+v", err, rerr, res)
		}
		if left, _ := os.ReadDir(r.dir); len(left) != 0 {
			t.Errorf("files were made: %v", left)
		}
	}
}

// A flood comes out, or is counted: with a reader that keeps up, and with one that is slow.
func TestStreamUnderFlood(t *testing.T) {
	for _, slow := range []bool{false, true} {
		r := newRig(t)
		r.buffer = live.MinBufferSize
		s := r.stream("")
		s.read(func(*pcapfile.Packet) {
			if slow && s.packets.Load()%1000 == 0 {
				time.Sleep(20 * time.Millisecond)
			}
		})
		const sent = 60_000
		send := r.sendsNumbered("v0", tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 300, 0))
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for i := range uint32(sent) {
				send(i)
			}
			cancel()
		}()
		res, err, rerr := s.done(ctx)
		if err != nil || !errors.Is(rerr, io.EOF) || res.Packets != s.packets.Load() || res.Packets+res.Dropped.ByKernel != sent {
			t.Errorf("slow %v: %v, %v, %d came out, %+v", slow, err, rerr, s.packets.Load(), res)
		}
		t.Logf("slow %v: %d of %d came out, %d dropped by the kernel", slow, s.packets.Load(), sent, res.Dropped.ByKernel)
	}
}

// A reader that leaves ends the capture in good order, whether packets come or not.
func TestStreamWhoseReaderLeaves(t *testing.T) {
	for _, quiet := range []bool{true, false} {
		r := newRig(t)
		s := r.stream("")
		send := r.sendsNumbered("v0", tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 300, 0))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		stop, stopped, sent := make(chan struct{}), make(chan struct{}), uint32(0)
		go func() {
			defer close(stopped)
			for ; !quiet; sent++ {
				select {
				case <-stop:
					return
				default:
					send(sent)
				}
			}
		}()
		go func() {
			_, _ = io.ReadFull(s.in, make([]byte, pcapfile.HeaderLen))
			_ = s.in.Close()
		}()
		res, err := s.Run(ctx)
		close(stop)
		<-stopped
		if err != nil || res.StopReason != capture.ReaderLeft || res.Dropped.Total() != 0 || res.Received != res.Packets+res.AfterLimit {
			t.Errorf("quiet %v: %v, %+v", quiet, err, res)
		}
		if res.Received > uint64(sent) || !quiet && res.Received == 0 {
			t.Errorf("quiet %v: %d sent, %d received", quiet, sent, res.Received)
		}
	}
}

// A reader that stalls holds up neither a time limit nor Ctrl-C; every packet came out or is counted.
func TestStreamWhoseReaderStalls(t *testing.T) {
	for _, limited := range []bool{true, false} {
		r := newRig(t)
		r.buffer = live.MinBufferSize
		members := ""
		if limited {
			members = `,"timeLimitInSeconds":2`
		}
		s := r.stream(members)
		send := r.sendsNumbered("v0", tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 1200, 0))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		const sent = 6_000 // more than the pipe, the buffers and the ring hold
		from := time.Now().Add(2 * time.Second)
		all := make(chan struct{})
		go func() {
			defer close(all)
			for i := range uint32(sent) {
				send(i)
			}
			if !limited {
				from = time.Now()
				cancel()
			}
		}()
		res, err := s.Run(ctx)
		<-all
		took := time.Since(from)
		_ = s.out.Close()
		s.read(func(*pcapfile.Packet) {})
		rerr := <-s.ended
		if fault.ClassOf(err) != fault.LocalFile || !errors.Is(err, save.ErrStalled) || took > 8*time.Second || res.StopReason != capture.FileFailed {
			t.Errorf("limited %v: %v after %v, %s", limited, err, took, res.StopReason)
		}
		if res.Dropped.ByFile == 0 || res.Packets != s.packets.Load() || res.Packets+res.Dropped.Total()+res.AfterLimit != res.Received || res.Received > sent || !limited && res.Received != sent {
			t.Errorf("limited %v: %d came out (%v), %+v", limited, s.packets.Load(), rerr, res)
		}
	}
}

// The byte limit counts what comes out, to the byte.
func TestStreamUpToTheByteLimit(t *testing.T) {
	r := newRig(t)
	var numbers []uint32
	s := r.stream(`,"totalBytesPerSession":100000`)
	s.read(func(p *pcapfile.Packet) { numbers = append(numbers, binary.BigEndian.Uint32(p.Data[len(p.Data)-4:])) })
	send := r.sendsNumbered("v0", tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 300, 0))
	for i := range uint32(1000) {
		send(i)
	}
	res, err, rerr := s.done(t.Context())
	want := make([]uint32, res.Packets)
	for i := range want {
		want[i] = uint32(i)
	}
	if err != nil || !errors.Is(rerr, io.EOF) || res.StopReason != capture.SizeExceeded || !slices.Equal(numbers, want) || res.Packets+res.AfterLimit != 1000 {
		t.Errorf("%v, %v, %+v", err, rerr, res)
	}
}

// A stream ends at its event, too, also when its reader has stalled behind it.
func TestStreamUpToTheEvent(t *testing.T) {
	for _, stalls := range []bool{false, true} {
		r := newRig(t)
		r.buffer = live.MinBufferSize
		r.adds = request.Additions{StopWhen: []filter.Spec{{RemotePort: new("7")}}, StopAfter: time.Second}
		s := r.stream("")
		usual := r.sendsNumbered("v0", tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 1200, 0))
		event := r.sendsNumbered("v0", tcp(t, "10.0.0.1", "10.0.0.2", 7, 2, 1200, 0))
		if !stalls {
			s.read(func(*pcapfile.Packet) {})
		}
		usual(0)
		event(1)
		all := make(chan struct{})
		go func() {
			defer close(all)
			for i := range uint32(6000) { // more than the pipe, the buffers and the ring hold
				usual(2 + i)
				if !stalls && i == 10 {
					break
				}
			}
		}()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		res, err := s.Run(ctx)
		if ctx.Err() != nil || res.Event.Number != 2 {
			t.Errorf("stalls %v: the event is %+v, and the capture ended by %s", stalls, res.Event, res.StopReason)
		}
		cancel()
		<-all
		_ = s.out.Close()
		if stalls {
			s.read(func(*pcapfile.Packet) {})
		}
		rerr := <-s.ended
		switch {
		case stalls && !errors.Is(err, save.ErrStalled), !stalls && (err != nil || !errors.Is(rerr, io.EOF) || res.StopReason != capture.EventSeen), res.Packets != s.packets.Load():
			t.Errorf("stalls %v: %v, %v, %d came out, %+v", stalls, err, rerr, s.packets.Load(), res)
		}
	}
}
