package capture_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
	"pcapctl/capture/source/capfile"
)

// Packets of any length that a record may have come through whole, however they
// fall on the memory of the batches, or are cut and counted.
func TestOfflineLargePackets(t *testing.T) {
	sizes := []int{60, 300_000, 200_000, pcapfile.MaxSnapLen, pcapfile.MaxSnapLen + 1, 600_000, 1, pcapfile.MaxPacket}
	var packets []pcaptest.Packet
	for n := range 80 {
		data := bytes.Repeat([]byte{byte(n), 1}, sizes[n%len(sizes)]/2+1)[:sizes[n%len(sizes)]]
		packets = append(packets, pcaptest.Packet{Data: data, Sec: uint32(n + 1)})
	}
	path := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(path, littlePcap.File(packets, pcapfile.Ethernet), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		members   string
		most      int
		truncated uint64
	}{
		{`"bytesToCapturePerPacket":1048576`, pcapfile.MaxPacket, 0},
		{`"bytesToCapturePerPacket":0`, pcapfile.MaxSnapLen, 40},
	} {
		res, out, err := carve(t, test.members, capfile.Options{Path: path})
		if err != nil || res.Packets != 80 || res.Truncated != test.truncated {
			t.Fatalf("%v: %+v", err, res)
		}
		r, err := pcapfile.NewReader(bytes.NewReader(out))
		if err != nil {
			t.Fatal(err)
		}
		var p pcapfile.Packet
		for n, want := range packets {
			if err := r.Next(&p); err != nil || p.Length != len(want.Data) || !bytes.Equal(p.Data, want.Data[:min(len(want.Data), test.most)]) {
				t.Fatalf("packet %d: %v, %d of %d bytes; want %d", n, err, len(p.Data), p.Length, len(want.Data))
			}
		}
	}
}
