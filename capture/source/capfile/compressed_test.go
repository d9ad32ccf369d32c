package capfile

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
)

var little = pcaptest.Form{Order: binary.LittleEndian}

// manyPackets are packets that do not compress to nothing.
func manyPackets(n int) []pcaptest.Packet {
	list := make([]pcaptest.Packet, n)
	x := uint32(1)
	for i := range list {
		data := make([]byte, 1000)
		for j := range data {
			x = x*1664525 + 1013904223
			data[j] = byte(x >> 28)
		}
		list[i] = pcaptest.Packet{Data: data, Sec: uint32(i + 1)}
	}
	return list
}

func open(t *testing.T, o Options) (source.Source, error) {
	t.Helper()
	spec, err := NewSpec(&request.Config{CapturesDir: "/var/captures", FilePath: "/var/captures/x.cap"}, o)
	if err != nil {
		t.Fatal(err)
	}
	src, err := spec.Prepare(func() error { return nil })
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() { _ = src.Close() })
	if err := src.Start(); err != nil {
		t.Fatal(err)
	}
	return src, nil
}

// drain counts the packets up to the end, and gives what ended them.
func drain(t *testing.T, src source.Source) (int, error) {
	t.Helper()
	n := 0
	for {
		b, err := src.Next()
		if err != nil {
			return n, err
		}
		if b == nil {
			if err := src.Wait(10 * time.Second); err != nil {
				t.Fatal(err)
			}
			continue
		}
		for b.Next() != nil {
			n++
		}
	}
}

func optionsFor(t *testing.T, file []byte, stream bool) Options {
	t.Helper()
	if stream {
		return Options{Path: StandardInput, Stdin: bytes.NewReader(file)}
	}
	path := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	return Options{Path: path}
}

// The packets of a compressed file are those of the file, and the result says
// what it was; also of files that were put one behind the other, as compressed
// files may be.
func TestCompressedFiles(t *testing.T) {
	file := little.File(manyPackets(3000), pcapfile.Ethernet)
	for _, how := range pcaptest.Compressions() {
		half := bytes.Join([][]byte{pcaptest.Compress(how, file[:1_000_007]), pcaptest.Compress(how, file[1_000_007:])}, nil)
		for name, data := range map[string][]byte{"one": pcaptest.Compress(how, file), "two": half} {
			for _, stream := range []bool{false, true} {
				src, err := open(t, optionsFor(t, data, stream))
				if err != nil {
					t.Fatal(how, name, err)
				}
				n, err := drain(t, src)
				r := src.Report()
				if n != 3000 || !errors.Is(err, io.EOF) || r.File.Format != "pcap, little-endian, microseconds, compressed by "+how || src.Stats().Read != int64(len(data)) {
					t.Errorf("%s %s %v: %d packets, %v, %+v, %d of %d read", how, name, stream, n, err, r.File, src.Stats().Read, len(data))
				}
			}
		}
	}
}

// What the programs write that people compress by, with their options.
func TestCompressedByPrograms(t *testing.T) {
	file := little.File(manyPackets(800), pcapfile.Ethernet)
	plain := filepath.Join(t.TempDir(), "in.cap")
	if err := os.WriteFile(plain, file, 0o600); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, command := range []string{
		"gzip -9 -c", "gzip -1 -c", "zstd -q -c", "zstd -q -19 -c", "zstd -q --long=27 -c", "zstd -q --fast=5 --no-check -c", "pzstd -q -c", "pigz -c",
		"lz4 -q -c", "lz4 -q -9 -B4 -c", "lz4 -q -BD -c", "lz4 -q -BX --content-size -c", "lz4 -q --no-frame-crc -c", "lz4 -q -l -c",
	} {
		words := strings.Fields(command)
		if _, err := exec.LookPath(words[0]); err != nil {
			continue
		}
		ran++
		data, err := exec.CommandContext(t.Context(), words[0], append(words[1:], plain)...).Output()
		if err != nil {
			t.Fatal(command, err)
		}
		src, err := open(t, optionsFor(t, data, false))
		if err != nil {
			t.Errorf("%s: %v", command, err)
			continue
		}
		if n, err := drain(t, src); n != 800 || !errors.Is(err, io.EOF) {
			t.Errorf("%s: %d packets, %v", command, n, err)
		}
	}
	if ran == 0 {
		t.Skip("install gzip, zstd or lz4")
	}
}

// What a compressed file holds that lacks its end is read, as far as its blocks
// are whole, and then it is told. The same for a pipe that ends early.
func TestCompressedCutShort(t *testing.T) {
	const n = 6000
	file := little.File(manyPackets(n), pcapfile.Ethernet)
	// What a block may hold, and so what is lost at most.
	block := map[string]int{"gzip": 64 << 10, "zstd": 128 << 10, "lz4": 4 << 20}
	for _, how := range pcaptest.Compressions() {
		data := pcaptest.Compress(how, file)
		for _, cut := range []int{1, 5, 9, len(data) / 50, len(data) / 3, len(data) - 1000, len(data) - 9, len(data) - 1} {
			for _, stream := range []bool{false, true} {
				src, err := open(t, optionsFor(t, data[:cut], stream))
				if err != nil { // no packet was there
					var f *fault.Error
					if !errors.As(err, &f) || f.Class != fault.Invalid || cut > 100 && len(file)*cut/len(data) > 2*block[how] {
						t.Errorf("%s cut at %d of %d: %v", how, cut, len(data), err)
					}
					continue
				}
				got, err := drain(t, src)
				if err == nil || !strings.Contains(err.Error(), "the file is cut short: its "+how+" data ends at byte ") || !strings.Contains(err.Error(), "is kept and readable") {
					t.Errorf("%s cut at %d of %d: %v", how, cut, len(data), err)
				}
				least := (len(file)*cut/len(data) - 2*block[how]) / 1016
				if cut == len(data)-1 && how != "lz4" {
					least = n
				}
				if got < least || got > n {
					t.Errorf("%s cut at %d of %d: %d packets, want %d or more", how, cut, len(data), got, least)
				}
			}
		}
	}
}

// What a writer has flushed is there when it was killed before its end, as in our
// own files: every packet of it is read, and the missing end is told.
func TestCompressedNeverEnded(t *testing.T) {
	file := little.File(manyPackets(3000), pcapfile.Ethernet)
	for _, how := range pcaptest.Compressions() {
		var b bytes.Buffer
		w := pcaptest.Compressor(how, &b)
		for part := range slices.Chunk(file, 256<<10) {
			_, err := w.Write(part)
			if err = errors.Join(err, w.Flush()); err != nil {
				t.Fatal(err)
			}
		}
		for _, stream := range []bool{false, true} {
			src, err := open(t, optionsFor(t, b.Bytes(), stream))
			if err != nil {
				t.Fatal(how, err)
			}
			if n, err := drain(t, src); n != 3000 || !strings.Contains(err.Error(), "the file is cut short: its "+how+" data ends") {
				t.Errorf("%s: %d packets, %v", how, n, err)
			}
		}
	}
}

// Damage is never a good end, and is told with the compression's name.
func TestCompressedDamaged(t *testing.T) {
	file := little.File(manyPackets(3000), pcapfile.Ethernet)
	for _, how := range pcaptest.Compressions() {
		data := pcaptest.Compress(how, file)
		for at := 3; at < len(data); at += len(data) / 40 {
			bad := bytes.Clone(data)
			bad[at] ^= 0x55
			src, err := open(t, optionsFor(t, bad, false))
			if err == nil {
				_, err = drain(t, src)
			}
			// The header of gzip holds a name, a time and flags that change nothing.
			if errors.Is(err, io.EOF) && (how != "gzip" || at >= 10) {
				t.Errorf("%s with another byte %d of %d: read to its end", how, at, len(data))
			}
		}
		// Junk behind the end.
		src, err := open(t, optionsFor(t, append(bytes.Clone(data), "something else"...), false))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := drain(t, src); n != 3000 || err == nil || !strings.Contains(err.Error(), "its "+how+" data is damaged") {
			t.Errorf("%s with junk behind it: %d packets, %v", how, n, err)
		}
	}
}

// A fault of the capture file within has its place in the content, and says so.
func TestCompressedContentDamaged(t *testing.T) {
	file := little.File(manyPackets(10), pcapfile.Ethernet)
	for _, how := range pcaptest.Compressions() {
		src, err := open(t, optionsFor(t, pcaptest.Compress(how, file[:len(file)-1]), false))
		if err != nil {
			t.Fatal(err)
		}
		if n, err := drain(t, src); n != 9 || !strings.Contains(err.Error(), "in its content, without the compression: byte 9168: the file is cut short") {
			t.Errorf("%s: %d packets, %v", how, n, err)
		}
		if _, err = open(t, optionsFor(t, pcaptest.Compress(how, []byte("hello, world")), false)); err == nil || !strings.Contains(err.Error(), "neither a pcap nor a pcapng file") {
			t.Errorf("%s of text: %v", how, err)
		}
		twice := pcaptest.Compress(how, pcaptest.Compress(how, file))
		if _, err = open(t, optionsFor(t, twice, false)); err == nil || !strings.Contains(err.Error(), "it is compressed by "+how) {
			t.Errorf("%s twice: %v", how, err)
		}
	}
}

// A small file that holds a lot takes no more memory than its window, and can
// be broken off at any time: here within one block of pcapng that claims 4 GB.
func TestCompressedBomb(t *testing.T) {
	ng := pcaptest.Form{Order: binary.LittleEndian, NG: true}
	head := ng.File([]pcaptest.Packet{{Data: []byte("abcd"), Sec: 1}}, 1)
	head = binary.LittleEndian.AppendUint32(head, 0x0bad)
	head = binary.LittleEndian.AppendUint32(head, 1<<32-4)
	for _, how := range pcaptest.Compressions() {
		path := filepath.Join(t.TempDir(), "in")
		f, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		w := pcaptest.Compressor(how, f)
		_, err = w.Write(head)
		for range 300 {
			_, werr := w.Write(make([]byte, 1<<20))
			err = errors.Join(err, werr)
		}
		if err = errors.Join(err, w.Close(), f.Close()); err != nil {
			t.Fatal(err)
		}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		src, err := open(t, Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		n, err := drain(t, src)
		runtime.ReadMemStats(&after)
		if n != 1 || err == nil || !strings.Contains(err.Error(), "cut short") {
			t.Errorf("%s: %d packets, %v", how, n, err)
		}
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 40<<20 {
			t.Errorf("%s: %d bytes were allocated", how, grown)
		}

		if src, err = open(t, Options{Path: path}); err != nil {
			t.Fatal(err)
		}
		from := time.Now()
		if err := src.Close(); err != nil || time.Since(from) > 5*time.Second {
			t.Errorf("%s: %v after %v", how, err, time.Since(from))
		}
	}
}

// Also a file as it is can be broken off within one block, which claims 4 GB here
// and has them.
func TestInterruptedWithinBlock(t *testing.T) {
	ng := pcaptest.Form{Order: binary.LittleEndian, NG: true}
	head := ng.File([]pcaptest.Packet{{Data: []byte("abcd"), Sec: 1}}, 1)
	head = binary.LittleEndian.AppendUint32(head, 0x0bad)
	head = binary.LittleEndian.AppendUint32(head, 1<<32-4)
	o := optionsFor(t, head, false)
	if err := os.Truncate(o.Path, 1<<32); err != nil { // takes no room on the disk
		t.Skip(err)
	}
	src, err := open(t, o)
	if err != nil {
		t.Fatal(err)
	}
	if err := src.Close(); err != nil {
		t.Fatal(err)
	}
	if read := src.Stats().Read; read > 1<<31 {
		t.Errorf("Close waited until %d bytes were read", read)
	}
}

// A window that would take more memory than is allowed is refused, with what to
// do.
func TestCompressedWindowTooLarge(t *testing.T) {
	// Magic, a frame header that has a window of 2^31 bytes and nothing else.
	file := []byte{0x28, 0xb5, 0x2f, 0xfd, 0, (31 - 10) << 3, 1, 0, 0}
	_, err := open(t, optionsFor(t, file, false))
	if err == nil || !strings.Contains(err.Error(), "window of more than 128 MiB") || !strings.Contains(err.Error(), "zstd -dc --long=31") {
		t.Error(err)
	}
}

// What comes slowly through a pipe is given before more comes, and a wait for
// more can be broken off.
func TestCompressedSlowPipe(t *testing.T) {
	for _, how := range pcaptest.Compressions() {
		r, w := io.Pipe()
		go func() {
			c := pcaptest.Compressor(how, w)
			_, _ = c.Write(little.File(manyPackets(3), 1))
			_ = c.Flush()
		}()
		src, err := open(t, Options{Path: StandardInput, Stdin: r})
		if err != nil {
			t.Fatal(err)
		}
		n, quiet := 0, false
		for deadline := time.Now().Add(20 * time.Second); n < 3; {
			b, err := src.Next()
			if err != nil || time.Now().After(deadline) {
				t.Fatalf("%s: %d packets, %v", how, n, err)
			}
			if b == nil {
				_ = src.Wait(100 * time.Millisecond)
				continue
			}
			for b.Next() != nil {
				n++
			}
			quiet = b.Quiet()
		}
		if !quiet {
			t.Errorf("%s: the packet loop is not told that nothing more is there", how)
		}
		from := time.Now()
		if err := src.Detach(); err != nil || time.Since(from) > 5*time.Second {
			t.Errorf("%s: %v after %v", how, err, time.Since(from))
		}
		_ = w.Close() // the goroutine that reads it ends
	}
}

// A skippable frame may come before the first one.
func TestCompressedSkippableFrame(t *testing.T) {
	skip := append([]byte{0x51, 0x2a, 0x4d, 0x18, 3, 0, 0, 0}, "abc"...)
	enc, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	src, err := open(t, optionsFor(t, enc.EncodeAll(little.File(manyPackets(2), 1), skip), false))
	if err != nil {
		t.Fatal(err)
	}
	if n, err := drain(t, src); n != 2 || !errors.Is(err, io.EOF) {
		t.Errorf("%d packets, %v", n, err)
	}
	_ = enc.Close()
}
