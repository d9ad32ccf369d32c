package pcapfile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
)

// One value of the first packet, or of its interface, is
// strange. A second packet follows, which must be read in any case.
func TestOneOddValueIsNotADamagedFile(t *testing.T) {
	le := pcaptest.Form{Order: binary.LittleEndian, NG: true}
	classic := pcaptest.Form{Order: binary.LittleEndian}
	flags := le.Option(2, []byte{2, 0, 0, 0})
	offset := func(n int64) []byte { return le.Option(14, binary.LittleEndian.AppendUint64(nil, uint64(n))) }
	type brief struct {
		Length    int
		Sec       int64
		Nsec      uint32
		Direction pcapfile.Direction
		Odd       pcapfile.Oddity
	}
	good := brief{Length: 4, Sec: 5}
	ng := func(options []byte, units uint64, data []byte, length uint32, of []byte) []byte {
		return slices.Concat(le.Section(), le.Interface(1, 0, options), le.Interface(1, 0, nil),
			le.Enhanced(0, units, data, length, of), le.Enhanced(1, 5e6, []byte("good"), 4, nil))
	}
	word := []byte("word")
	long := make([]byte, pcapfile.MaxPacket+5)
	for _, test := range []struct {
		name string
		file []byte
		want brief
	}{
		{"classic pcap, after 2106", classic.File([]pcaptest.Packet{{Data: word, Sec: math.MaxUint32, Nsec: 3.5e9}, {Data: word, Sec: 5}}, 1), brief{4, math.MaxUint32 + 3, 5e8, 0, 0}},
		{"after 2106", ng(nil, 1<<63, word, 4, nil), brief{4, 9223372036854, 775808000, 0, 0}},
		{"before 1970", ng(offset(-1), 0, word, 4, nil), brief{4, -1, 0, 0, 0}},
		{"the first second of all", ng(offset(math.MinInt64), 0, word, 4, nil), brief{4, math.MinInt64, 0, 0, 0}},
		{"beyond the last second", ng(offset(math.MaxInt64), 1<<63, word, 4, nil), brief{4, math.MaxInt64, 775808000, 0, 0}},
		{"the finest resolutions, 2^-64", ng(le.Option(9, []byte{0x80 | 64}), 1<<63, word, 4, nil), brief{4, 0, 5e8, 0, 0}},
		{"2^-66", ng(le.Option(9, []byte{0x80 | 66}), 1<<63, word, 4, nil), brief{4, 0, 125e6, 0, 0}},
		{"2^-127", ng(le.Option(9, []byte{0x80 | 127}), 1<<63, word, 4, nil), brief{4, 0, 0, 0, 0}},
		{"10^-20", ng(le.Option(9, []byte{20}), 1e19, word, 4, nil), brief{4, 0, 1e8, 0, 0}},
		{"10^-28", ng(le.Option(9, []byte{28}), 1.5e19, word, 4, nil), brief{4, 0, 1, 0, 0}},
		{"10^-127", ng(le.Option(9, []byte{127}), 1e19, word, 4, nil), brief{4, 0, 0, 0, 0}},
		{"a resolution of no bytes", ng(le.Option(9, nil), 7e6, word, 4, nil), brief{4, 7, 0, 0, pcapfile.OddClock}},
		{"an offset of four bytes", ng(le.Option(14, word), 7e6, word, 4, nil), brief{4, 7, 0, 0, pcapfile.OddClock}},
		{"an option of the interface beyond its block", ng([]byte{2, 0, 200, 0}, 7e6, word, 4, nil), brief{4, 7, 0, 0, pcapfile.OddClock}},
		{"an option beyond its block", ng(nil, 7e6, word, 4, append(slices.Clone(flags), 1, 0, 200, 0)), brief{4, 7, 0, pcapfile.Outbound, pcapfile.OddOptions}},
		{"options without an end", ng(nil, 7e6, word, 4, flags), brief{4, 7, 0, pcapfile.Outbound, 0}},
		{"options without bound", ng(nil, 7e6, word, 4, append(slices.Clone(flags), bytes.Repeat(le.Option(1, make([]byte, 65000)), 40)...)), brief{4, 7, 0, pcapfile.Outbound, pcapfile.OddOptions}},
		{"a longer packet than others read", ng(nil, 7e6, long, uint32(len(long)), flags), brief{len(long), 7, 0, 0, pcapfile.OddLength}},
		{"shorter on the wire than in the file", ng(nil, 7e6, word, 1, nil), brief{4, 7, 0, 0, 0}},
		{"a long packet of USB", classic.File([]pcaptest.Packet{{Data: long, Sec: 7}, {Data: word, Sec: 5}}, 220), brief{len(long), 7, 0, 0, pcapfile.OddLength}},
	} {
		for _, keep := range []bool{false, true} {
			t.Run(test.name, func(t *testing.T) {
				r, err := pcapfile.NewReader(bytes.NewReader(test.file))
				if err != nil {
					t.Fatal(err)
				}
				if keep {
					r.KeepBlocks()
				}
				var got []brief
				for {
					var p pcapfile.Packet
					err := r.Next(&p)
					if errors.Is(err, io.EOF) {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					if p.Block != nil && !wellFormed(p.Block) {
						t.Errorf("not a valid block: % x", p.Block[:min(len(p.Block), 100)])
					}
					if !p.Apart {
						got = append(got, brief{p.Length, p.Sec, p.Nsec, p.Direction, p.Odd})
						if want := min(p.Length, pcapfile.MaxPacket); len(p.Data) != want {
							t.Errorf("%d bytes, want %d", len(p.Data), want)
						}
					}
				}
				if diff := cmp.Diff([]brief{test.want, good}, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// wellFormed looks whether a block of a little-endian section has its length at
// either end, and options that end within it.
func wellFormed(b []byte) bool {
	le := binary.LittleEndian
	if int(le.Uint32(b[4:])) != len(b) || int(le.Uint32(b[len(b)-4:])) != len(b) {
		return false
	}
	at := 16
	if le.Uint32(b) == 6 {
		at = 28 + (int(le.Uint32(b[20:]))+3)&^3
	}
	body := b[at : len(b)-4]
	for len(body) > 0 && le.Uint16(body) != 0 {
		n := 4 + (int(le.Uint16(body[2:]))+3)&^3
		if n > len(body) {
			return false
		}
		body = body[n:]
	}
	return true
}

// Blocks are given as they stand, in their order, whatever is in them, in both
// byte orders and several sections; one that is too large is left out.
func TestKeepBlocks(t *testing.T) {
	var file []byte
	var want [][]byte
	add := func(b []byte) {
		file, want = append(file, b...), append(want, b)
	}
	for _, order := range []pcaptest.Order{binary.LittleEndian, binary.BigEndian} {
		f := pcaptest.Form{Order: order, NG: true}
		add(f.Section())
		add(f.Interface(1, 0, f.Option(2, []byte("eth0"))))
		add(f.Block(10, []byte("secrets")))
		add(f.Enhanced(0, 1, []byte("abc"), 3, slices.Concat(f.Option(1, []byte("a comment")), f.Option(0x8123, []byte("unknown")), f.Option(0, nil))))
		add(f.Block(4, []byte("names")))
		add(f.Block(0xbad, bytes.Repeat([]byte("custom"), 100_000)))
		add(f.Interface(101, 0, nil))
		add(f.Block(3, append(order.AppendUint32(nil, 2), "ab"...)))
		add(f.Block(2, append(make([]byte, 20), f.Option(1, []byte("obsolete"))...)))
		add(f.Block(9, nil))
		file = append(file, f.Block(9, make([]byte, pcapfile.MaxBlock))...)
		want = append(want, nil)
		add(f.Block(5, make([]byte, 12)))
	}
	r, err := pcapfile.NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	r.KeepBlocks()
	first, _ := r.FirstSection()
	got := [][]byte{first}
	for {
		var p pcapfile.Packet
		err := r.Next(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if (p.Block == nil) != (p.Odd == pcapfile.OddBlock) {
			t.Errorf("%d bytes, oddity %d", len(p.Block), p.Odd)
		}
		got = append(got, bytes.Clone(p.Block))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What was read can be moved to other memory, with its packet, unless that is too
// small.
func TestMove(t *testing.T) {
	for _, form := range []pcaptest.Form{{Order: binary.LittleEndian}, {Order: binary.LittleEndian, NG: true}} {
		file := form.File([]pcaptest.Packet{{Data: []byte("the packet")}}, 1)
		for _, keep := range []bool{false, true} {
			for _, room := range []int{5, 4096} {
				r, err := pcapfile.NewReader(bytes.NewReader(file))
				if err != nil {
					t.Fatal(err)
				}
				if keep {
					r.KeepBlocks()
				}
				for {
					other := make([]byte, room)
					var p pcapfile.Packet
					if err := r.Next(&p); err != nil {
						break
					}
					block, data := bytes.Clone(p.Block), bytes.Clone(p.Data)
					p.Move(other)
					if !bytes.Equal(p.Data, data) || !bytes.Equal(p.Block, block) || bytes.Count(other, []byte{0}) == len(other) != (room == 5) {
						t.Errorf("ng %v, kept %v, room %d: %q in %q", form.NG, keep, room, p.Data, p.Block)
					}
				}
			}
		}
	}
}
