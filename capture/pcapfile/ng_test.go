package pcapfile

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket/pcapgo"
)

// enhanced is a whole packet block.
func enhanced(iface, flags, sec, nsec uint32, data string, length int) []byte {
	b := bytes.Repeat([]byte{0xaa}, EnhancedLen(len(data)))
	copy(b[PutEnhanced(b, iface, flags, int64(sec), nsec, len(data), length):], data)
	return b
}

func ngFile(comment string) []byte {
	b := AppendSection(nil, &Section{Hardware: "amd64", System: "Linux", Application: "pcapctl", Comment: comment})
	b = AppendInterface(b, &Interface{Name: "eth0", Description: "first", Filter: "TCP port 80", System: "Linux", LinkType: Ethernet, SnapLen: MaxSnapLen})
	b = AppendInterface(b, &Interface{Name: "wg0", LinkType: RawIP, SnapLen: 96})
	b = append(b, enhanced(0, PacketFlags(4), 1_700_000_000, 123_456_789, "abc", 1500)...)
	b = append(b, enhanced(1, PacketFlags(0), 1_700_000_001, 999_999_999, "abcd", 4)...)
	at := time.Unix(1_700_000_002, 5)
	for i := range uint32(2) {
		b = AppendStatistics(b, &Statistics{Interface: i, At: at, Start: at.Add(-2 * time.Second), End: at, Received: 10, Dropped: 3, DroppedBySystem: 2, Recorded: 8})
	}
	return b
}

func TestNGIsReadBack(t *testing.T) {
	r, err := pcapgo.NewNgReader(bytes.NewReader(ngFile("a comment")), pcapgo.NgReaderOptions{WantMixedLinkType: true})
	if err != nil {
		t.Fatal(err)
	}
	if s := r.SectionInfo(); s.Hardware != "amd64" || s.Comment != "a comment" || s.Application != "pcapctl" || s.OS != "Linux" {
		t.Errorf("section %+v", s)
	}
	type packet struct {
		Data   string
		Length int
		Iface  int
		At     time.Time
	}
	var got []packet
	for {
		data, ci, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, packet{string(data), ci.Length, ci.InterfaceIndex, ci.Timestamp.UTC()})
	}
	want := []packet{
		{"abc", 1500, 0, time.Unix(1_700_000_000, 123_456_789).UTC()},
		{"abcd", 4, 1, time.Unix(1_700_000_001, 999_999_999).UTC()},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	i, err := r.Interface(0)
	if err != nil || i.Name != "eth0" || i.Description != "first" || !strings.Contains(i.Filter, "TCP port 80") || i.OS != "Linux" || i.SnapLength != MaxSnapLen {
		t.Errorf("interface %+v, %v", i, err)
	}
	if st := i.Statistics; st.PacketsReceived != 10 || st.PacketsDropped != 3 {
		t.Errorf("statistics %+v", st)
	}
}

func TestStatisticsLen(t *testing.T) {
	if n := len(AppendStatistics(nil, &Statistics{At: time.Now(), Start: time.Now(), End: time.Now()})); n != StatisticsLen {
		t.Errorf("%d bytes", n)
	}
}

// Texts that no option can hold are cut between two characters, and the file
// stays good.
func TestLongTextsAreCut(t *testing.T) {
	long := "x" + strings.Repeat("ü", 50_000)
	b := AppendSection(nil, &Section{Comment: long, Hardware: "\xff\xfe"})
	b = AppendInterface(b, &Interface{Name: "e", Filter: long, Description: long, LinkType: Ethernet, SnapLen: 1})
	b = append(b, enhanced(0, 0, 1, 2, "abc", 3)...)
	r, err := pcapgo.NewNgReader(bytes.NewReader(b), pcapgo.DefaultNgReaderOptions)
	if err != nil {
		t.Fatal(err)
	}
	if c := r.SectionInfo().Comment; !strings.HasPrefix(long, c) || len(c) < maxOption-2 || !utf8.ValidString(c) {
		t.Errorf("a comment of %d bytes", len(c))
	}
	if data, _, err := r.ReadPacketData(); err != nil || string(data) != "abc" {
		t.Errorf("%q, %v", data, err)
	}
}

func TestToolsReadNG(t *testing.T) {
	for _, tool := range []string{"capinfos", "tshark"} {
		if _, err := exec.LookPath(tool); err != nil {
			if os.Getenv("CI") != "" {
				t.Fatal(err)
			}
			t.Skip("needs tshark and wireshark-common")
		}
	}
	path := filepath.Join(t.TempDir(), "x.pcapng")
	if err := os.WriteFile(path, ngFile(strings.Repeat("long ", 20_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), "capinfos", path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"nanoseconds (9)", "Name = eth0", "Name = wg0", "Filter string = TCP port 80", "Number of packets:   2", "pcapctl", "Capture length = 96"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%.3000s", want, out)
		}
	}
}

func TestWholeNG(t *testing.T) {
	b := ngFile("c")
	var ends []int
	for size := 0; size < len(b); {
		size += int(b[size+4]) | int(b[size+5])<<8
		ends = append(ends, size)
	}
	for cut := range len(b) + 1 {
		want := 0
		for _, e := range ends {
			if e <= cut {
				want = e
			}
		}
		packets, data, size := WholeNG(b[:cut])
		wantPackets := 0
		for i, e := range ends {
			if e <= cut && (i == 3 || i == 4) {
				wantPackets++
			}
		}
		if size != want || packets != wantPackets || data != []int{0, 3, 7}[wantPackets] {
			t.Fatalf("cut at %d: %d packets of %d bytes in %d, want %d in %d", cut, packets, data, size, wantPackets, want)
		}
	}
}

func FuzzWholeNG(f *testing.F) {
	f.Add(ngFile("c"))
	f.Add(bytes.Repeat([]byte{0xff}, 100))
	f.Fuzz(func(t *testing.T, b []byte) {
		packets, data, size := WholeNG(b)
		if size > len(b) || packets*enhancedHeadLen > size || data < 0 {
			t.Errorf("%d packets of %d bytes in %d of %d", packets, data, size, len(b))
		}
		if p, d, s := WholeNG(b[:size]); p != packets || d != data || s != size {
			t.Errorf("again: %d packets of %d bytes in %d", p, d, s)
		}
	})
}
