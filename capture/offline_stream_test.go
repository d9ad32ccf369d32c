package capture_test

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
	"pcapctl/capture/request"
	"pcapctl/capture/source/capfile"
)

// What comes slowly through a pipe is in the file before more comes, and
// Ctrl-C breaks off the wait.
func TestOfflineSlowPipe(t *testing.T) {
	dir := t.TempDir()
	c := mustConfig(t, savedAs(dir, "out.cap"), request.Host{GOOS: runtime.GOOS, CapturesDir: dir, Now: time.Now()})
	r, w := io.Pipe()
	file := littlePcap.File(counted(make([]byte, 10), make([]byte, 10)), 101)
	go func() { _, _ = w.Write(file) }()
	run, err := startFile(c, capfile.Options{Path: capfile.StandardInput, Stdin: r})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	type end struct {
		res *capture.Result
		err error
	}
	ended := make(chan end, 1)
	go func() {
		res, err := run.Run(ctx)
		ended <- end{res, err}
	}()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		if out, err := os.ReadFile(c.FilePath); err == nil && len(out) == len(file) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("what came is not in the file")
		}
	}
	if now := run.Progress(); now.BytesRead != int64(len(file)) || now.PacketsRead != 2 || now.Packets != 2 || run.Source().File.Size != -1 {
		t.Errorf("%+v of %+v", now, run.Source().File)
	}
	cancel()
	select {
	case e := <-ended:
		if e.err != nil || e.res.StopReason != capture.Manual || e.res.Packets != 2 {
			t.Errorf("%+v %v", e.res, e.err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it does not end")
	}
	_ = w.Close() // the goroutine that reads it ends
}

// Two hundred megabytes go through in the memory that a few take.
func TestOfflineFlatMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 200 MB")
	}
	const size = 200 << 20
	packet := framed(pcapfile.Ethernet, false, nil, append(datagram(ipUDP, "10.0.0.1", "10.0.0.2", 1, 2), make([]byte, 1300)...))
	for _, form := range []pcaptest.Form{littlePcap, littleNG} {
		path := filepath.Join(t.TempDir(), "in")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		head := form.File(nil, 1)
		many := bytes.Repeat(form.File([]pcaptest.Packet{{Data: packet, Sec: 7}}, 1)[len(head):], 1000)
		if _, err := f.Write(head); err != nil {
			t.Fatal(err)
		}
		total := uint64(0)
		for n := 0; n < size; n += len(many) {
			if _, err := f.Write(many); err != nil {
				t.Fatal(err)
			}
			total += 1000
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		for _, s := range []capfile.Options{{Path: path}, {Path: capfile.StandardInput, Stdin: openStream(t, path)}} {
			dir := t.TempDir()
			c := mustConfig(t, `"filters":[{"remotePort":"2"}],`+savedAs(dir, "out.cap"), request.Host{GOOS: runtime.GOOS, CapturesDir: dir, Now: time.Now()})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			run, err := startFile(c, s)
			if err != nil {
				t.Fatal(err)
			}
			res, err := run.Run(t.Context())
			runtime.ReadMemStats(&after)
			if err != nil || res.Packets != total || run.Progress().BytesRead < size {
				t.Fatalf("%d of %d packets: %v", res.Packets, total, err)
			}
			t.Logf("%s: %.0f MB/s", run.Source().File.Format, float64(size)/1e6/res.Elapsed.Seconds())
			if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
				t.Errorf("%d bytes were allocated", grown)
			}
		}
	}
}

// openStream hides that it is a file.
func openStream(t *testing.T, path string) io.Reader {
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return struct{ io.Reader }{f}
}

// FuzzOffline: whatever the bytes are, the whole way from them to a file ends,
// and what it leaves is a whole pcap file that holds what the result says.
func FuzzOffline(f *testing.F) {
	v4, v6 := datagram(ipTCP, "10.0.0.1", "10.0.0.2", 80, 2), datagram(ipUDP, "fd00::1", "fd00::2", 1, 80)
	for _, form := range pcaptest.Forms() {
		for _, link := range []pcapfile.LinkType{0, 1, 12, 14, 101, 108, 113, 127, 228, 229, 276} {
			file := form.File([]pcaptest.Packet{
				{Data: framed(link, true, form.Order, v4), Sec: 1, Direction: pcapfile.Outbound},
				{Data: framed(link, false, form.Order, v6), Sec: 2, Length: 1500},
				{Data: []byte{0x45}, Sec: 3},
			}, link)
			f.Add(file, byte(link))
		}
	}
	filters := []string{
		"", `"filters":[{"localPort":"80"}],"bytesToCapturePerPacket":30`,
		`"filters":[{"remoteIPAddress":"10.0.0.2"},{"protocol":"UDP"}],"timeLimitInSeconds":2`, `"totalBytesPerSession":100`,
	}
	f.Fuzz(func(t *testing.T, file []byte, how byte) {
		dir := t.TempDir()
		c, err := request.NewConfig(testRequest(t, filters[how%4]+`,`+savedAs(dir, "out.cap")), request.Host{
			GOOS: runtime.GOOS, CapturesDir: dir, Now: time.Now(), Output: []request.Output{{}, {Precision: request.PrecisionNano}, {Format: request.FormatPcapng}}[how>>3%3],
		})
		if err != nil {
			t.Fatal(err)
		}
		s := bytesSource(file)
		if how&4 != 0 {
			s.Local = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/31"), netip.MustParsePrefix("fd00::2/128")}
		}
		run, err := startFile(c, s)
		if err != nil { // also for a limit that is too little for a pcapng file
			if class := fault.ClassOf(err); class != fault.Invalid {
				t.Fatalf("%v: %v", class, err)
			}
			noFiles(t, dir)
			return
		}
		res, err := run.Run(t.Context())
		if err != nil && fault.ClassOf(err) != fault.Failed {
			t.Fatalf("%v: %v", fault.ClassOf(err), err)
		}
		out, err := os.ReadFile(c.FilePath)
		if err != nil {
			t.Fatal(err)
		}
		got := packetsOf(t, out)
		if uint64(len(got)) != res.Packets || res.Files[0].Size != int64(len(out)) ||
			res.Packets > res.Read || c.MaxBytes > 0 && int64(len(out)) > c.MaxBytes {
			t.Fatalf("%d packets in %d bytes, and the result says %+v", len(got), len(out), res)
		}
		if filters[how%4] == "" {
			samePackets(t, file, got)
		}
	})
}

// samePackets wants the packets that a file begins with, whole and in order.
func samePackets(t *testing.T, file []byte, got []pcapfile.Packet) {
	t.Helper()
	r, err := pcapfile.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	for i := range got {
		var p pcapfile.Packet
		if err := r.Next(&p); err != nil {
			t.Fatalf("%d packets, of which the file has %d: %v", len(got), i, err)
		}
		if !bytes.Equal(got[i].Data, p.Data[:min(len(p.Data), pcapfile.MaxSnapLen)]) || got[i].Length != p.Length {
			t.Fatalf("packet %d has %d bytes of %d, in the file %d of %d", i, len(got[i].Data), got[i].Length, len(p.Data), p.Length)
		}
	}
}
