package capture_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/testnet"
)

// unpack unpacks a file with the tool of its format. whole says that the tool
// must not complain.
func unpack(t *testing.T, path string, whole bool) []byte {
	t.Helper()
	tool := "zstd"
	if strings.HasSuffix(path, ".gz") {
		tool = "gzip"
	}
	testnet.NeedTools(t, tool)
	cmd := exec.CommandContext(t.Context(), tool, "-dc", path)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && whole {
		t.Fatalf("%s: %v\n%s", tool, err, &errs)
	}
	return out.Bytes()
}

// unpackCut unpacks as far as it goes, as Wireshark does. The zstd tool throws
// away up to 128 KiB before an end that it misses.
func unpackCut(t *testing.T, path string) []byte {
	t.Helper()
	if strings.HasSuffix(path, ".gz") {
		return unpack(t, path, true)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	r, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the end is not missing: %v", err)
	}
	return b
}

// packed is a rig that compresses.
func packed(r *rig, compress, format string) *rig {
	return &rig{NS: r.NS, t: r.t, dir: r.t.TempDir(), output: request.Output{Compress: compress, Format: format}}
}

// A compressed file holds what the plain one would, and Wireshark opens it.
func TestCompressed(t *testing.T) {
	testnet.NeedTools(t, "tshark", "zstd", "gzip")
	base := newRig(t)
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 1000, 1)
	for _, test := range []struct{ compress, format, ext string }{
		{request.CompressZstd, request.FormatPcap, ".cap.zst"}, {request.CompressGzip, request.FormatPcap, ".cap.gz"}, {request.CompressZstd, request.FormatPcapng, ".cap.zst"}, {request.CompressGzip, request.FormatPcapng, ".cap.gz"},
	} {
		r := packed(base, test.compress, test.format)
		limit := int64(4 << 20) // of uncompressed bytes, not reached by 4000 packets
		session := r.start(r.plan(fmt.Sprintf(`,"totalBytesPerSession":%d`, limit), "v1"))
		next := uint32(0)
		res, err := r.runUnderTraffic(session, func() []byte {
			binary.BigEndian.PutUint32(f[len(f)-1000:], next)
			next++
			return f
		})
		if err != nil || res.StopReason != capture.SizeExceeded {
			t.Fatalf("%v: %+v", err, res)
		}
		path := res.Files[0].Path
		if !strings.HasSuffix(path, test.ext) {
			t.Errorf("compressed into %s", path)
		}
		plain := unpack(t, path, true)
		st, err := os.Stat(path)
		if err != nil || st.Size() != res.Files[0].Size || st.Size() > limit/4 || int64(len(plain)) > limit || int64(len(plain)) < limit-2000 {
			t.Errorf("%s: %d bytes, %d in the result, unpacked %d", path, st.Size(), res.Files[0].Size, len(plain))
		}
		if lines := tshark(t, path, "-T", "fields", "-e", "frame.number"); uint64(len(lines)) != res.Packets {
			t.Errorf("tshark reads %d packets of %s, there are %d", len(lines), path, res.Packets)
		}
		if test.format == request.FormatPcap {
			for i, n := range numbersIn(t, plain, 1000) {
				if n != uint32(i) {
					t.Fatalf("packet %d is number %d", i, n)
				}
			}
		}
	}
}

// numbersIn reads the numbers in the packets of a pcap file.
func numbersIn(t *testing.T, file []byte, payload int) (list []uint32) {
	t.Helper()
	r, err := pcapfile.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	var p pcapfile.Packet
	for r.Next(&p) == nil {
		list = append(list, binary.BigEndian.Uint32(p.Data[len(p.Data)-payload:]))
	}
	return list
}

// A rotation of compressed files: each is whole by itself, and no packet is lost
// between two.
func TestRotationOfCompressed(t *testing.T) {
	testnet.NeedTools(t, "zstd", "gzip")
	base := newRig(t)
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 1000, 1)
	for _, compress := range []string{request.CompressZstd, request.CompressGzip} {
		r := packed(base, compress, "")
		const sent = 5000
		k := &keeper{t: t, dir: t.TempDir()}
		session := r.startWith(r.plan(`,"continuousCapture":true,"captureSettings":{"fileCount":3,"fileSizeInBytes":300000}`, "v1"), capture.Options{Watcher: k})
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			defer cancel()
			s := r.Sender("v0")
			for i := range uint32(sent) {
				binary.BigEndian.PutUint32(f[len(f)-1000:], i)
				s.Send(f)
			}
		}()
		res, err := session.Run(ctx)
		if err != nil || len(res.Files) != 3 {
			t.Fatalf("%v: %+v", err, res)
		}
		_, all := onDisk(t, k.dir)
		last, n := int64(-1), 0
		for i, name := range all {
			if !strings.HasSuffix(name, fmt.Sprintf("_%06d.cap%s", i+1, request.Compressions[compress])) {
				t.Errorf("file %d is %s", i, name)
			}
			plain := unpack(t, k.dir+"/"+name, true)
			if len(plain) > 300000 {
				t.Errorf("%s: unpacked %d bytes", name, len(plain))
			}
			for _, number := range numbersIn(t, plain, 1000) {
				if int64(number) <= last {
					t.Fatalf("%s: %d after %d", name, number, last)
				}
				last = int64(number)
				n++
			}
		}
		if uint64(n) != res.Packets || res.Packets+res.Dropped.ByKernel != sent || len(all) < 15 {
			t.Errorf("%d packets in %d files, %+v", n, len(all), res)
		}
	}
}

// A full disk: what was before it can be read.
func TestCompressedFullDisk(t *testing.T) {
	base := newRig(t)
	for _, compress := range []string{request.CompressZstd, request.CompressGzip} {
		r := packed(base, compress, "")
		r.smallDisk("2m")
		session := r.startWith(r.plan(`,"timeLimitInSeconds":30`, "v1"), capture.Options{MinFree: new(int64)})
		done := make(chan struct{})
		go func() {
			s := r.Sender("v0")
			f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 1000, 1)
			noise := uint64(1)
			for i := uint32(0); ; i++ {
				select {
				case <-done:
					return
				default:
				}
				for at := len(f) - 996; at+8 <= len(f); at += 8 { // what cannot be compressed
					noise ^= noise << 13
					noise ^= noise >> 7
					noise ^= noise << 17
					binary.BigEndian.PutUint64(f[at:], noise)
				}
				binary.BigEndian.PutUint32(f[len(f)-1000:], i)
				s.Send(f)
				if i%10 == 0 {
					time.Sleep(time.Millisecond)
				}
			}
		}()
		res, err := session.Run(t.Context())
		close(done)
		if fault.ClassOf(err) != fault.LocalFile || !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("%v", err)
		}
		got := numbersIn(t, unpackCut(t, res.Files[0].Path), 1000)
		if uint64(len(got)) != res.Packets || len(got) < 1000 || res.Dropped.ByFile == 0 {
			t.Errorf("%s: %d packets in the file, %+v", compress, len(got), res)
		}
		for i, n := range got {
			if int(n) != i {
				t.Fatalf("packet %d is number %d", i, n)
			}
		}
	}
}
