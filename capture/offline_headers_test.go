package capture_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"runtime"
	"testing"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
	"pcapctl/capture/request"
	"pcapctl/capture/source/capfile"
)

// headersOf makes a capture of the headers of a file's packets.
func headersOf(t testing.TB, members, name string, in []byte) (packets []pcapfile.Packet, truncated uint64) {
	t.Helper()
	dir := t.TempDir()
	c := mustConfig(t, members+`,`+savedAs(dir, name), request.Host{
		GOOS: runtime.GOOS, CapturesDir: dir, Now: time.Now(), FromFile: true, Additions: request.Additions{HeadersOnly: true},
	})
	run, err := startFile(c, bytesSource(in))
	if err != nil {
		t.Fatal(err)
	}
	res, err := run.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if st := res.Resource().Properties.Statistics; !st.HeadersOnly {
		t.Error("the result does not tell that it has headers only")
	}
	out, err := os.ReadFile(c.FilePath)
	if err != nil {
		t.Fatal(err)
	}
	return packetsOf(t, out), res.Truncated
}

// With headers only each packet of a file is cut behind its last header, whatever the link type and the format of both
// files. Lengths stay what they were, and none of it is told as an accident.
func TestOfflineHeadersOnly(t *testing.T) {
	payload := bytes.Repeat([]byte("secret"), 10)
	udp := datagram(ipUDP, "10.0.0.1", "10.0.0.2", 1000, 53, payload...)
	udp[2], udp[3] = 0, byte(len(udp))
	tcp := datagram(ipTCP, "2001:db8::1", "2001:db8::2", 1000, 80, payload...)
	tcp[40+12] = 0x50
	for _, link := range []pcapfile.LinkType{pcapfile.Ethernet, pcapfile.SLL, pcapfile.SLL2, pcapfile.RawIP, pcapfile.Null, pcapfile.Loop} {
		for _, form := range pcaptest.Forms() {
			head := len(framed(link, false, form.Order, nil4)) - 1
			packets := counted(framed(link, false, form.Order, udp), framed(link, true, form.Order, tcp))
			for name, snap := range map[string]int{"x.cap": 0, "x.pcapng": 0, "short.cap": 30, "short.pcapng": 30} {
				members := ""
				if snap > 0 {
					members = `"bytesToCapturePerPacket":30`
				}
				got, truncated := headersOf(t, members, name, form.File(packets, link))
				want := []int{head + 20 + 8, head + 40 + 20}
				if len(got) != len(want) || truncated != 0 {
					t.Fatalf("%v, %v, %s: %d packets, %d truncated", link, form, name, len(got), truncated)
				}
				for i, p := range got {
					n := want[i]
					if snap > 0 {
						n = min(n, snap)
					}
					if !bytes.Equal(p.Data, packets[i].Data[:n]) || p.Length != len(packets[i].Data) {
						t.Errorf("%v, %v, %s: packet %d has %d bytes of %d, want %d of %d", link, form, name, i+1, len(p.Data), p.Length, n, len(packets[i].Data))
					}
				}
			}
		}
	}
}

// nil4 is the version of an IPv4 packet, without the packet.
var nil4 = []byte{0x45}

// A Simple Packet Block, which has no length of its own, is cut all the same.
func TestOfflineHeadersOfSimpleBlocks(t *testing.T) {
	for _, form := range pcaptest.Forms() {
		if !form.NG {
			continue
		}
		data := framed(pcapfile.Ethernet, false, form.Order, datagram(ipUDP, "10.0.0.1", "10.0.0.2", 1000, 53, make([]byte, 50)...))
		body := make([]byte, 4, 4+len(data)+3)
		form.Order.PutUint32(body, uint32(len(data)))
		body = append(body, data...)
		body = append(body, make([]byte, -len(body)&3)...)
		in := append(form.File(nil, pcapfile.Ethernet), form.Block(3, body)...)
		got, _ := headersOf(t, "", "x.pcapng", in)
		if len(got) != 1 || len(got[0].Data) != 14+20+8 || got[0].Length != len(data) {
			t.Errorf("%v: %+v", form, got)
		}
	}
}

// What cannot be looked into is not recorded as a whole: it could be all payload.
func TestOfflineHeadersOfOtherLinks(t *testing.T) {
	form := pcaptest.Form{Order: binary.LittleEndian}
	dir := t.TempDir()
	c := mustConfig(t, savedAs(dir, "x.cap"), request.Host{
		GOOS: runtime.GOOS, CapturesDir: dir, Now: time.Now(), FromFile: true, Additions: request.Additions{HeadersOnly: true},
	})
	_, err := startFile(c, bytesSource(form.File(counted([]byte{1, 2, 3}), pcapfile.LinkType(147))))
	if fault.ClassOf(err) != fault.Invalid {
		t.Errorf("%v, want a refusal", err)
	}
	noFiles(t, dir)
}

// HeaderLength of package capfile is not afraid of any link type.
func FuzzHeaderLength(f *testing.F) {
	for _, link := range []uint16{0, 1, 101, 105, 107, 108, 113, 127, 276, 8, 9, 50, 51, 104, 228, 229, 12, 14, 147} {
		f.Add(link, framed(pcapfile.Ethernet, false, binary.LittleEndian, datagram(ipUDP, "10.0.0.1", "10.0.0.2", 1000, 53)))
	}
	f.Fuzz(func(t *testing.T, link uint16, data []byte) {
		p := pcapfile.Packet{LinkType: pcapfile.LinkType(link), Data: data, Length: len(data)}
		n, ok := capfile.HeaderLength(&p)
		if n < 0 || n > len(data) || !ok && n != 0 {
			t.Fatalf("%d of %d bytes", n, len(data))
		}
		p.Data = data[:n]
		if again, _ := capfile.HeaderLength(&p); ok && again > n {
			t.Fatalf("%d of %d bytes, and %d of these", n, len(data), again)
		}
	})
}
