package pcapfile_test

import (
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
)

// Every kind of pcap file that libpcap reads has its packets, whichever way
// round the lengths of a record stand. capture.TestOldFilesAsTcpdump compares
// them with libpcap itself.
func TestEveryOldForm(t *testing.T) {
	for _, order := range []pcaptest.Order{binary.LittleEndian, binary.BigEndian} {
		for _, old := range pcaptest.Olds(order) {
			t.Run(old.String(), func(t *testing.T) {
				got, err := readAll(old.File(some, pcapfile.SLL2))
				if err != nil {
					t.Fatal(err)
				}
				var want []pcapfile.Packet
				for i, p := range some {
					want = append(want, pcapfile.Packet{
						Data: slices.Clone(p.Data), Length: max(p.Length, len(p.Data)), LinkType: pcapfile.SLL2,
						Timed: true, Sec: int64(p.Sec), Nsec: p.Nsec - p.Nsec%1000, Offset: got[i].Offset,
					})
				}
				if diff := cmp.Diff(want, got); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// What libpcap does not read is refused with the version in words.
func TestVersionsThatNobodyReads(t *testing.T) {
	for _, v := range [][2]uint16{{1, 2}, {2, 5}, {3, 0}, {543, 1}, {0, 0}} {
		_, err := readAll(pcaptest.Old{Order: binary.LittleEndian, Major: v[0], Minor: v[1]}.File(nil, 1))
		if _, ok := errors.AsType[*pcapfile.FormatError](err); !ok || !strings.Contains(err.Error(), "allowed: 2.0 to 2.4, 543.0") {
			t.Errorf("%v: %v", v, err)
		}
	}
}

// The cut inside a record of each kind is told with the record's place.
func TestOldFileCutShort(t *testing.T) {
	for _, old := range pcaptest.Olds(binary.LittleEndian) {
		file := old.File(some[:2], 1)
		one := old.File(some[:1], 1)
		for _, cut := range []int{len(one) + 1, len(file) - 1} {
			packets, err := readAll(file[:cut])
			bad, ok := errors.AsType[*pcapfile.FormatError](err)
			if !ok || bad.Offset != int64(len(one)) || len(packets) != 1 {
				t.Errorf("%v cut at %d: %d packets, %v", old, cut, len(packets), err)
			}
		}
	}
}
