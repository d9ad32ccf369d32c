package pcapfile_test

import (
	"bytes"
	"encoding/hex"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/pcapgo"

	"pcapctl/capture/pcapfile"
)

func TestHeaderToTheByte(t *testing.T) {
	got := hex.EncodeToString(pcapfile.AppendHeader(nil, pcapfile.Micro, pcapfile.SLL2, 40))
	// magic, version 2.4, two unused words, snap length, link type
	if want := "d4c3b2a1" + "02000400" + "0000000000000000" + "28000000" + "14010000"; got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
}

func TestRecordIsReadBack(t *testing.T) {
	file := pcapfile.AppendHeader(nil, pcapfile.Micro, pcapfile.Ethernet, pcapfile.MaxSnapLen)
	record := make([]byte, pcapfile.RecordHeaderLen+3)
	pcapfile.PutRecordHeader(record, 1_700_000_000, 999_999, 3, 1500)
	copy(record[pcapfile.RecordHeaderLen:], "abc")
	r, err := pcapgo.NewReader(bytes.NewReader(append(file, record...)))
	if err != nil {
		t.Fatal(err)
	}
	data, info, err := r.ReadPacketData()
	if err != nil {
		t.Fatal(err)
	}
	if want := time.Unix(1_700_000_000, 999_999_000).UTC(); !info.Timestamp.Equal(want) || info.Length != 1500 || string(data) != "abc" {
		t.Errorf("%+v %q", info, data)
	}
}

func TestSLL2HeaderToTheByte(t *testing.T) {
	h := pcapfile.SLL2Header{Protocol: 0x0800, Interface: 0x01020304, HWType: 1, Type: 4, AddrLen: 6, Addr: [8]byte{1, 2, 3, 4, 5, 6}}
	b := bytes.Repeat([]byte{0xff}, pcapfile.SLL2Len)
	h.Put(b)
	want := "0800" + "0000" + "01020304" + "0001" + "04" + "06" + "0102030405060000"
	if diff := cmp.Diff(want, hex.EncodeToString(b)); diff != "" {
		t.Error(diff)
	}
}

func TestSLLHeaderToTheByte(t *testing.T) {
	h := pcapfile.SLLHeader{Protocol: 0x0800, HWType: 1, Type: 4, AddrLen: 6, Addr: [8]byte{1, 2, 3, 4, 5, 6}}
	b := bytes.Repeat([]byte{0xff}, pcapfile.SLLLen)
	h.Put(b)
	want := "0004" + "0001" + "0006" + "0102030405060000" + "0800"
	if diff := cmp.Diff(want, hex.EncodeToString(b)); diff != "" {
		t.Error(diff)
	}
}

func TestWhole(t *testing.T) {
	var b []byte
	ends := []int{0}
	for _, n := range []int{0, 1, 60, 1514} {
		record := make([]byte, pcapfile.RecordHeaderLen+n)
		pcapfile.PutRecordHeader(record, 1, 2, n, n)
		b = append(b, record...)
		ends = append(ends, len(b))
	}
	for cut := range len(b) + 1 {
		records, size := pcapfile.Whole(b[:cut])
		want := 0
		for want+1 < len(ends) && ends[want+1] <= cut {
			want++
		}
		if records != want || size != ends[want] {
			t.Fatalf("cut at %d: %d records in %d bytes, want %d in %d", cut, records, size, want, ends[want])
		}
	}
}

func FuzzWhole(f *testing.F) {
	f.Add(bytes.Repeat([]byte{0xff}, 100))
	f.Add(make([]byte, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		records, size := pcapfile.Whole(b)
		if size < records*pcapfile.RecordHeaderLen || size > len(b) {
			t.Errorf("%d records in %d of %d bytes", records, size, len(b))
		}
		if again, same := pcapfile.Whole(b[:size]); again != records || same != size {
			t.Errorf("%d records in %d bytes, then %d in %d", records, size, again, same)
		}
	})
}
