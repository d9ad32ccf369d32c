package pcapfile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/google/gopacket/pcapgo"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
)

// readAll reads a file to its end.
func readAll(file []byte) (packets []pcapfile.Packet, err error) {
	r, err := pcapfile.NewReader(bytes.NewReader(file))
	if err != nil {
		return nil, err
	}
	for {
		var p pcapfile.Packet
		if err := r.Next(&p); err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			return packets, err
		}
		p.Data = slices.Clone(p.Data)
		packets = append(packets, p)
	}
}

var some = []pcaptest.Packet{
	{Data: []byte("abc"), Length: 1500, Sec: 1_700_000_000, Nsec: 123_456_789},
	{Data: []byte{}, Sec: 1, Nsec: 999_999_999},
	{Data: bytes.Repeat([]byte{7}, 64), Sec: 1<<32 - 1},
	{Data: bytes.Repeat([]byte{8}, pcapfile.MaxSnapLen), Sec: 5},
	{Data: []byte("four"), Sec: 4, Direction: pcapfile.Outbound},
	{Data: []byte("fiv"), Sec: 4, Direction: pcapfile.Inbound},
}

func TestEveryForm(t *testing.T) {
	for _, form := range pcaptest.Forms() {
		t.Run(form.String(), func(t *testing.T) {
			got, err := readAll(form.File(some, pcapfile.SLL2))
			if err != nil {
				t.Fatal(err)
			}
			var want []pcapfile.Packet
			for i, p := range some {
				w := pcapfile.Packet{
					Data: slices.Clone(p.Data), Length: max(p.Length, len(p.Data)), LinkType: pcapfile.SLL2,
					Timed: true, Sec: int64(p.Sec), Nsec: p.Nsec, Offset: got[i].Offset,
				}
				if !form.Nano {
					w.Nsec -= w.Nsec % 1000
				}
				if form.NG {
					w.Direction = p.Direction
				}
				want = append(want, w)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What pcapgo can read is read as it reads it.
func TestAsPcapgo(t *testing.T) {
	for _, form := range pcaptest.Forms() {
		file := form.File(some, pcapfile.Ethernet)
		var next func() ([]byte, int64, int, error)
		if form.NG {
			r, err := pcapgo.NewNgReader(bytes.NewReader(file), pcapgo.DefaultNgReaderOptions)
			if err != nil {
				t.Fatal(err)
			}
			next = func() ([]byte, int64, int, error) {
				data, info, err := r.ReadPacketData()
				return data, info.Timestamp.UnixNano(), info.Length, err
			}
		} else {
			r, err := pcapgo.NewReader(bytes.NewReader(file))
			if err != nil {
				t.Fatal(err)
			}
			next = func() ([]byte, int64, int, error) {
				data, info, err := r.ReadPacketData()
				return data, info.Timestamp.UnixNano(), info.Length, err
			}
		}
		packets, err := readAll(file)
		if err != nil || len(packets) != len(some) {
			t.Fatal(len(packets), err)
		}
		for i, p := range packets {
			data, at, length, err := next()
			if err != nil || !bytes.Equal(data, p.Data) || length != p.Length || at != p.Sec*1e9+int64(p.Nsec) {
				t.Errorf("%v, packet %d: %d bytes of %d at %d: %v", form, i, len(data), length, at, err)
			}
		}
	}
}

// What only some writers do, and is well-formed.
func TestUnusualFiles(t *testing.T) {
	le := pcaptest.Form{Order: binary.LittleEndian, NG: true}
	be := pcaptest.Form{Order: binary.BigEndian, NG: true}
	classic := pcaptest.Form{Order: binary.LittleEndian}
	type brief struct {
		Data  string
		Sec   int64
		Nsec  uint32
		Timed bool
		Link  pcapfile.LinkType
	}
	resolution := func(b byte) []byte { return le.Option(9, []byte{b}) }
	eth := func(options []byte) []byte { return le.Interface(pcapfile.Ethernet, 0, options) }
	for _, test := range []struct {
		name string
		file []byte
		want []brief
	}{
		{"no packets", classic.File(nil, pcapfile.SLL), nil},
		{"no packets, pcapng", le.File(nil, pcapfile.SLL), nil},
		{"a snap length of 0 and an FCS length in the header", func() []byte {
			b := classic.File([]pcaptest.Packet{{Data: []byte("a"), Sec: 1}}, 0x2400_0001)
			copy(b[16:], "\x00\x00\x00\x00")
			return b
		}(), []brief{{"a", 1, 0, true, pcapfile.Ethernet}}},
		{"a fraction of more than a second", func() []byte {
			b := classic.File([]pcaptest.Packet{{Data: []byte("a"), Sec: 1}}, 1)
			binary.LittleEndian.PutUint32(b[28:], 2_500_000)
			return b
		}(), []brief{{"a", 3, 500_000_000, true, 1}}},
		{"less on the wire than in the record", func() []byte {
			b := classic.File([]pcaptest.Packet{{Data: []byte("a"), Sec: 1}}, 1)
			binary.LittleEndian.PutUint32(b[36:], 0)
			return b
		}(), []brief{{"a", 1, 0, true, 1}}},
		{"two sections of both orders, interfaces of two link types", slices.Concat(
			le.File([]pcaptest.Packet{{Data: []byte("a"), Interface: 1}}, pcapfile.Ethernet, pcapfile.SLL2),
			be.File([]pcaptest.Packet{{Data: []byte("b")}}, pcapfile.RawIP),
		), []brief{{"a", 0, 0, true, pcapfile.SLL2}, {"b", 0, 0, true, pcapfile.RawIP}}},
		{"blocks that are of no use", slices.Concat(
			le.Section(), le.Block(0xbad, []byte("custom!")), eth(nil), le.Block(5, make([]byte, 12)), le.Block(4, nil),
			le.Enhanced(0, 1, []byte("a"), 1, le.Option(1, []byte("a comment"))),
		), []brief{{"a", 0, 1000, true, 1}}},
		{"simple packets have no time, and the snap length", slices.Concat(
			le.Section(), le.Interface(1, 3, nil), le.Block(3, append([]byte{9, 0, 0, 0}, "abc"...)), le.Block(3, append([]byte{2, 0, 0, 0}, "ab"...)),
		), []brief{{"abc", 0, 0, false, 1}, {"ab", 0, 0, false, 1}}},
		{"the obsolete packet block", slices.Concat(
			le.Section(), eth(nil), le.Block(2, append([]byte{0, 0, 7, 0, 0, 0, 0, 0, 5, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0}, "ab"...)),
		), []brief{{"ab", 0, 5000, true, 1}}},
		{"resolutions", slices.Concat(
			le.Section(),
			eth(resolution(0)), eth(resolution(3)), eth(resolution(12)), eth(resolution(19)), eth(resolution(0x80|10)), eth(resolution(0x80|63)), eth(resolution(0x80)),
			le.Enhanced(0, 7, []byte("s"), 1, nil),
			le.Enhanced(1, 7_005, []byte("m"), 1, nil),
			le.Enhanced(2, 7_000_000_005_999, []byte("p"), 1, nil),
			le.Enhanced(3, 1.5e19, []byte("e"), 1, nil),
			le.Enhanced(4, 7<<10|512, []byte("b"), 1, nil),
			le.Enhanced(5, 1<<63|1<<62, []byte("B"), 1, nil),
			le.Enhanced(6, 7, []byte("1"), 1, nil),
		), []brief{
			{"s", 7, 0, true, 1}, {"m", 7, 5_000_000, true, 1}, {"p", 7, 5, true, 1}, {"e", 1, 500_000_000, true, 1},
			{"b", 7, 500_000_000, true, 1}, {"B", 1, 500_000_000, true, 1}, {"1", 7, 0, true, 1},
		}},
		{"offsets", slices.Concat(
			le.Section(),
			eth(le.Option(14, binary.LittleEndian.AppendUint64(nil, 100))),
			eth(le.Option(14, binary.LittleEndian.AppendUint64(nil, 1<<64-3))),
			le.Enhanced(0, 5_000_000, nil, 0, nil), le.Enhanced(1, 5_000_000, nil, 0, nil),
		), []brief{{"", 105, 0, true, 1}, {"", 2, 0, true, 1}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			packets, err := readAll(test.file)
			if err != nil {
				t.Fatal(err)
			}
			var got []brief
			for _, p := range packets {
				got = append(got, brief{string(p.Data), p.Sec, p.Nsec, p.Timed, p.LinkType})
				if p.Length < len(p.Data) {
					t.Errorf("%d bytes of a packet of %d", len(p.Data), p.Length)
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// What is not as the format has it ends reading, with the place and the reason.
func TestMalformed(t *testing.T) {
	le := pcaptest.Form{Order: binary.LittleEndian, NG: true}
	classic := pcaptest.Form{Order: binary.LittleEndian}
	one := classic.File([]pcaptest.Packet{{Data: []byte("abc"), Sec: 1}}, 1)
	patch := func(b []byte, at int, v uint32) []byte {
		b = slices.Clone(b)
		binary.LittleEndian.PutUint32(b[at:], v)
		return b
	}
	start := slices.Concat(le.Section(), le.Interface(1, 0, nil))
	huge := le.Enhanced(0, 0, []byte("abcd"), 4, nil)
	at := int64(len(start))
	for _, test := range []struct {
		name   string
		file   []byte
		offset int64
		reason string
		before int // packets
	}{
		{"nothing", nil, 0, "the file is empty", 0},
		{"three bytes", []byte("abc"), 0, "only 3 bytes", 0},
		{"text", []byte("hello, world"), 0, "begins with the bytes 68 65 6c 6c", 0},
		{"gzip", []byte("\x1f\x8b\x08\x00"), 0, "gunzip -c", 0},
		{"modified, half a header", []byte("\x34\xcd\xb2\xa1"), 0, "ends at byte 4", 0},
		{"half a header", one[:23], 0, "ends at byte 23", 0},
		{"version", patch(one, 4, 3), 0, "version 3.0", 0},
		{"half a record header", append(slices.Clone(one), 1, 2, 3), 43, "ends at byte 46", 1},
		{"half a record", one[:42], 24, "ends at byte 42", 0},
		{"a long record", patch(one, 32, pcapfile.MaxPacket+1), 24, "1048577 bytes", 0},
		{"the longest record", patch(one, 32, 1<<32-1), 24, "4294967295 bytes", 0},
		{"no byte order", patch(start, 8, 0), 0, "byte order", 0},
		{"section version", patch(start, 12, 2), 0, "version 2.0", 0},
		{"short section", patch(start, 4, 24), 0, "24 bytes; allowed: 28 or more", 0},
		{"half a section", start[:20], 0, "cut short", 0},
		{"block length 0", append(slices.Clone(start), 6, 0, 0, 0, 0, 0, 0, 0), at, "length of 0 bytes", 0},
		{"block length 13", append(slices.Clone(start), 6, 0, 0, 0, 13, 0, 0, 0), at, "divisible by 4", 0},
		{"huge unknown block", append(slices.Clone(start), 9, 0, 0, 0, 0xfc, 0xff, 0xff, 0xff), at, "cut short", 0},
		{"lengths that differ", patch(slices.Concat(start, huge), int(at)+len(huge)-4, 8), at, "at its end", 0},
		{"caplen beyond its block", patch(slices.Concat(start, huge), int(at)+20, 100), at, "too short", 0},
		{"caplen huge", patch(slices.Concat(start, huge), int(at)+20, 1<<32-1), at, "4294967295 bytes", 0},
		{"no such interface", patch(slices.Concat(start, huge), int(at)+8, 1), at, "interface 1, but the section has described 1", 0},
		{"packet before any interface", slices.Concat(le.Section(), huge), int64(len(le.Section())), "described 0", 0},
		{"simple packet before any interface", slices.Concat(le.Section(), le.Block(3, make([]byte, 8))), int64(len(le.Section())), "described 0", 0},
		{"short enhanced packet", slices.Concat(start, le.Block(6, make([]byte, 8))), at, "too short", 0},
		{"second section cut short", slices.Concat(start, huge, start[:9]), at + int64(len(huge)), "cut short", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			packets, err := readAll(test.file)
			bad, ok := errors.AsType[*pcapfile.FormatError](err)
			if !ok || bad.Offset != test.offset || !strings.Contains(bad.Reason, test.reason) || len(packets) != test.before {
				t.Errorf("%d packets, then %v; want %d, then byte %d: …%s…", len(packets), err, test.before, test.offset, test.reason)
			}
		})
	}
}

// A file that is cut anywhere is read up to the cut, and only a cut between two
// records is its end.
func TestCutAnywhere(t *testing.T) {
	packets := slices.Concat(some[:2], some[4:])
	for _, form := range pcaptest.Forms() {
		file := form.File(packets, 1)
		all, err := readAll(file)
		if err != nil {
			t.Fatal(err)
		}
		ends := map[int64]bool{int64(len(form.File(nil, 1))): true, int64(len(file)): true}
		for _, p := range all {
			ends[p.Offset] = true
		}
		if form.NG {
			ends[int64(len(form.Section()))] = true
		}
		for cut := 1; cut <= len(file); cut++ {
			got, err := readAll(file[:cut])
			if (err == nil) != ends[int64(cut)] {
				t.Fatalf("%v, cut at %d: %v", form, cut, err)
			}
			if diff := cmp.Diff(all[:len(got)], got, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("%v, cut at %d: %s", form, cut, diff)
			}
		}
	}
}

// An error of the underlying reader is returned as it is.
func TestReadErrors(t *testing.T) {
	for _, form := range pcaptest.Forms() {
		file := form.File(some[:3], 1)
		for _, at := range []int{0, 2, 20, 60, len(file) - 1} {
			r, err := pcapfile.NewReader(io.MultiReader(bytes.NewReader(file[:at]), iotest.ErrReader(os.ErrClosed)))
			for err == nil {
				err = r.Next(new(pcapfile.Packet))
			}
			if !errors.Is(err, os.ErrClosed) {
				t.Errorf("%v, at %d: %v", form, at, err)
			}
		}
	}
}

// Interfaces are remembered, so there is a bound.
func TestTooManyInterfaces(t *testing.T) {
	le := pcaptest.Form{Order: binary.LittleEndian, NG: true}
	_, err := readAll(append(le.Section(), bytes.Repeat(le.Interface(1, 0, nil), 1<<16+1)...))
	if err == nil || !strings.Contains(err.Error(), "more than 65536 interfaces") {
		t.Error(err)
	}
}

func TestNextAllocatesNothing(t *testing.T) {
	for _, form := range pcaptest.Forms() {
		packets := slices.Repeat([]pcaptest.Packet{{Data: make([]byte, 100), Direction: pcapfile.Inbound}}, 2000)
		r, err := pcapfile.NewReader(bytes.NewReader(form.File(packets, 1)))
		if err != nil {
			t.Fatal(err)
		}
		var p pcapfile.Packet
		if n := testing.AllocsPerRun(1000, func() {
			if err := r.Next(&p); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%v: %v allocations a packet", form, n)
		}
	}
}

// written are files of our own with the packets: a pcapng file, and a pcap file
// if all have one link type.
func written(packets []pcapfile.Packet) [][]byte {
	ng := pcapfile.AppendSection(nil, &pcapfile.Section{Application: "test"})
	ifaces := map[pcapfile.LinkType]uint32{}
	for _, p := range packets {
		if _, ok := ifaces[p.LinkType]; !ok {
			ifaces[p.LinkType] = uint32(len(ifaces))
			ng = pcapfile.AppendInterface(ng, &pcapfile.Interface{Name: "i", LinkType: p.LinkType, SnapLen: pcapfile.MaxSnapLen})
		}
	}
	var classic []byte
	for _, p := range packets {
		at := len(ng)
		ng = append(ng, make([]byte, pcapfile.EnhancedLen(len(p.Data)))...)
		n := pcapfile.PutEnhanced(ng[at:], ifaces[p.LinkType], uint32(p.Direction), p.Sec, p.Nsec, len(p.Data), p.Length)
		copy(ng[at+n:], p.Data)

		if classic == nil {
			classic = pcapfile.AppendHeader(nil, pcapfile.Nano, p.LinkType, pcapfile.MaxSnapLen)
		}
		at = len(classic)
		classic = append(classic, make([]byte, pcapfile.RecordHeaderLen)...)
		pcapfile.PutRecordHeader(classic[at:], uint32(p.Sec), p.Nsec, len(p.Data), p.Length)
		classic = append(classic, p.Data...)
	}
	if len(ifaces) != 1 {
		return [][]byte{ng}
	}
	return [][]byte{ng, classic}
}

// wantSameWhenWritten writes the packets that can be read of a file into files
// of our own, and wants to read the same packets there.
func wantSameWhenWritten(t *testing.T, file []byte) {
	t.Helper()
	packets, _ := readAll(file) // up to where the file is malformed
	// Other times cannot be written.
	packets = slices.DeleteFunc(packets, func(p pcapfile.Packet) bool { return p.Sec < 0 || p.Sec > math.MaxUint32 })
	for _, again := range written(packets) {
		got, err := readAll(again)
		if err != nil {
			t.Fatalf("a file of our own cannot be read: %v", err)
		}
		if len(got) != len(packets) {
			t.Fatalf("%d packets were written and %d are read", len(packets), len(got))
		}
		for i, want := range packets {
			p := got[i]
			if !pcapfile.IsNG([4]byte(again)) {
				p.Direction = want.Direction // pcap has none
			}
			if !bytes.Equal(p.Data, want.Data) || p.Length != want.Length || p.LinkType != want.LinkType ||
				p.Sec != want.Sec || p.Nsec != want.Nsec || p.Direction != want.Direction {
				t.Fatalf("packet %d: %+v became %+v", i, want, p)
			}
		}
	}
}

// wantSameWhenKept makes a file of the blocks of one, and wants to read the same
// packets there, and all of it to be valid.
func wantSameWhenKept(t *testing.T, file []byte) {
	t.Helper()
	r, err := pcapfile.NewReader(bytes.NewReader(file))
	if err != nil {
		return
	}
	section, _ := r.FirstSection()
	if section == nil {
		return
	}
	r.KeepBlocks()
	again, n := bytes.Clone(section), 0
	for {
		var p pcapfile.Packet
		if r.Next(&p) != nil {
			break
		}
		if !p.Apart {
			n++
		}
		again = append(again, p.Block...)
	}
	want, _ := readAll(file)
	got, err := readAll(again)
	if err != nil || n != len(want) {
		t.Fatalf("%d of %d packets kept, the file of them: %v", n, len(want), err)
	}
	for i := range got {
		got[i].Offset, got[i].Odd, want[i].Offset, want[i].Odd = 0, 0, 0, 0
		if want[i].Length > pcapfile.MaxPacket {
			got[i].Length = want[i].Length
		}
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
		t.Fatal(diff)
	}
	if packets, _, size := pcapfile.WholeBlocks(again); packets != n || size != len(again) {
		t.Fatalf("%d packets in %d bytes of %d; want %d", packets, size, len(again), n)
	}
}

// FuzzReader: whatever the bytes are, reading ends, in little memory, with
// packets that lie one behind the other within the file, and that read the same
// when they are written again, and in lists of what is in memory.
func FuzzReader(f *testing.F) {
	for _, form := range pcaptest.Forms() {
		for _, link := range []pcapfile.LinkType{
			pcapfile.Null, pcapfile.Ethernet, pcapfile.RawIP, pcapfile.Loop, pcapfile.SLL, pcapfile.SLL2,
		} {
			f.Add(form.File(slices.Concat(some[:3], some[4:]), link))
		}
		form.NG = true
		f.Add(slices.Concat(form.Section(), form.Block(4, nil), form.Interface(1, 64, form.Option(9, []byte{0x80 | 40})),
			form.Enhanced(0, 1<<40, []byte("abc"), 3, form.Option(1, []byte("x"))), form.Block(3, make([]byte, 12)), form.Block(2, make([]byte, 24))))
	}
	for _, order := range []pcaptest.Order{binary.LittleEndian, binary.BigEndian} {
		for _, old := range pcaptest.Olds(order) {
			f.Add(old.File(slices.Concat(some[:3], some[4:]), pcapfile.Ethernet))
		}
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		r, err := pcapfile.NewReader(bytes.NewReader(file))
		last := int64(0)
		for err == nil {
			var p pcapfile.Packet
			if err = r.Next(&p); err != nil {
				break
			}
			if p.Offset <= last || p.Offset+int64(len(p.Data)) > int64(len(file)) || p.Length < len(p.Data) || len(p.Data) > pcapfile.MaxPacket || p.Nsec >= 1e9 {
				t.Fatalf("byte %d of %d after %d: %d bytes of %d, %d ns", p.Offset, len(file), last, len(p.Data), p.Length, p.Nsec)
			}
			last = p.Offset
		}
		if bad, ok := errors.AsType[*pcapfile.FormatError](err); !ok && !errors.Is(err, io.EOF) || ok && (bad.Offset < 0 || bad.Offset > int64(len(file))) {
			t.Fatal(err)
		}
		runtime.ReadMemStats(&after)
		// The read-ahead, a packet of the greatest length in growing buffers, and
		// what interfaces are remembered by, of which each has 20 bytes in the file.
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20+uint64(len(file))*16 {
			t.Fatalf("%d bytes allocated for a file of %d", grown, len(file))
		}
		wantSameWhenWritten(t, file)
		wantSameWhenKept(t, file)
		single, _ := told(t, file, false, false)
		lists, _ := told(t, file, true, false)
		if diff := cmp.Diff(single, lists); diff != "" {
			t.Fatal(diff)
		}
	})
}
