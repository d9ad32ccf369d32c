package capture_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
	"pcapctl/capture/request"
	"pcapctl/capture/source/capfile"
)

var (
	littlePcap = pcaptest.Form{Order: binary.LittleEndian}
	littleNG   = pcaptest.Form{Order: binary.LittleEndian, NG: true}
)

// datagram is an IP packet with the numbers of a protocol and of ports, and a
// payload.
func datagram(protocol byte, source, destination string, sourcePort, destinationPort uint16, payload ...byte) []byte {
	s, d := netip.MustParseAddr(source), netip.MustParseAddr(destination)
	body := binary.BigEndian.AppendUint16(nil, sourcePort)
	body = binary.BigEndian.AppendUint16(body, destinationPort)
	body = append(append(body, make([]byte, 16)...), payload...)
	if s.Is4() {
		b := []byte{0x45, 0, 0, byte(20 + len(body)), 0, 0, 0, 0, 64, protocol, 0, 0}
		return slices.Concat(b, s.AsSlice(), d.AsSlice(), body)
	}
	b := []byte{0x60, 0, 0, 0, 0, byte(len(body)), protocol, 64}
	return slices.Concat(b, s.AsSlice(), d.AsSlice(), body)
}

const (
	ipTCP, ipUDP = 6, 17
	outgoing     = 4
)

// framed puts an IP packet behind the header of a link type.
func framed(link pcapfile.LinkType, outbound bool, order binary.ByteOrder, ip []byte) []byte {
	etherType, family := uint16(0x0800), uint32(2)
	if ip[0]>>4 == 6 {
		etherType, family = 0x86dd, 24 // AF_INET6 of OpenBSD, which libpcap looks for in files
	}
	packetType := byte(0)
	if outbound {
		packetType = outgoing
	}
	var b []byte
	switch link {
	case pcapfile.Ethernet:
		b = append(b, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01"...)
		b = binary.BigEndian.AppendUint16(b, etherType)
	case pcapfile.SLL:
		b = append(b, 0, packetType, 0, 1, 0, 6, 2, 0, 0, 0, 0, 1, 0, 0)
		b = binary.BigEndian.AppendUint16(b, etherType)
	case pcapfile.SLL2:
		h := pcapfile.SLL2Header{Protocol: etherType, Interface: 3, HWType: 1, Type: packetType, AddrLen: 6}
		b = make([]byte, pcapfile.SLL2Len)
		h.Put(b)
	case pcapfile.Null:
		b = make([]byte, 4)
		order.PutUint32(b, family)
	case pcapfile.Loop:
		b = binary.BigEndian.AppendUint32(b, family)
	default: // raw IP
	}
	return append(b, ip...)
}

// carve is the whole way from the bytes of a file to the bytes of the file that
// is made of it.
func carve(t testing.TB, members string, s capfile.Options) (*capture.Result, []byte, error) {
	t.Helper()
	dir := t.TempDir()
	c := mustConfig(t, members+`,`+savedAs(dir, "out.cap"), request.Host{GOOS: runtime.GOOS, CapturesDir: dir, Now: time.Now(), FromFile: true})
	run, err := startFile(c, s)
	if err != nil {
		noFiles(t, dir)
		return nil, nil, err
	}
	res, err := run.Run(t.Context())
	out, rerr := os.ReadFile(c.FilePath)
	if rerr != nil {
		t.Fatal(rerr)
	}
	if len(res.Files) != 1 || res.Files[0].Size != int64(len(out)) || !errors.Is(res.Err, err) {
		t.Errorf("%+v, but the file has %d bytes", res.Files, len(out))
	}
	return res, out, err
}

// startFile begins to make a capture of a file.
func startFile(c *request.Config, o capfile.Options) (*capture.Session, error) {
	spec, err := capfile.NewSpec(c, o)
	if err != nil {
		return nil, err
	}
	return capture.Start(capture.NewPlan(c, spec), capture.Options{})
}

func noFiles(t testing.TB, dir string) {
	t.Helper()
	if list, err := os.ReadDir(dir); err != nil || len(list) != 0 {
		t.Errorf("left behind: %v %v", list, err)
	}
}

func bytesSource(b []byte) capfile.Options {
	return capfile.Options{Path: capfile.StandardInput, Stdin: bytes.NewReader(b)}
}

func fileSource(t testing.TB, b []byte) capfile.Options {
	t.Helper()
	path := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return capfile.Options{Path: path}
}

// packetsOf reads a file that was made, which must be whole.
func packetsOf(t testing.TB, file []byte) []pcapfile.Packet {
	t.Helper()
	var list []pcapfile.Packet
	r, err := pcapfile.NewReader(bytes.NewReader(file))
	for err == nil {
		var p pcapfile.Packet
		if err = r.Next(&p); err == nil {
			p.Data, p.Offset = slices.Clone(p.Data), 0
			list = append(list, p)
		}
	}
	if !errors.Is(err, io.EOF) {
		t.Fatal(err)
	}
	return list
}

// numbers tells packets by their second, which the tests count.
func numbers(t testing.TB, file []byte) []int {
	t.Helper()
	list := []int{}
	for _, p := range packetsOf(t, file) {
		list = append(list, int(p.Sec))
	}
	return list
}

// counted gives packets the times 1 s, 2 s, …
func counted(data ...[]byte) []pcaptest.Packet {
	list := make([]pcaptest.Packet, len(data))
	for i, b := range data {
		list[i] = pcaptest.Packet{Data: b, Sec: uint32(i + 1)}
	}
	return list
}

// Without filters a file of whatever link type passes as it is, only that it is
// a pcap file of microseconds now.
func TestOfflinePassesAll(t *testing.T) {
	packets := []pcaptest.Packet{
		{Data: []byte("abc"), Length: 99, Sec: 1_700_000_000, Nsec: 123_456_789}, {Data: []byte{}}, {Data: make([]byte, 70_000), Sec: 5},
	}
	for _, form := range pcaptest.Forms() {
		for _, link := range []pcapfile.LinkType{0, 1, 12, 14, 101, 108, 113, 127, 228, 229, 276, 65535} {
			for _, s := range []capfile.Options{fileSource(t, form.File(packets, link)), bytesSource(form.File(packets, link))} {
				res, out, err := carve(t, "", s)
				want := littlePcap.File(packets, link)
				if err != nil || !bytes.Equal(out, want) {
					t.Fatalf("%v, link type %d: %v, %d bytes, want %d", form, link, err, len(out), len(want))
				}
				if res.StopReason != capture.EndOfFile || res.Packets != 3 || res.Received != 3 || res.Source.LinkType != link || res.Source.FilterMode != "user" ||
					*res.Resource().Properties.Statistics.ReadFile != (capture.ReadFileResult{Path: s.Path, PacketsRead: 3}) {
					t.Fatalf("%+v", res)
				}
			}
		}
	}
}

func TestOfflineStatistics(t *testing.T) {
	res, _, err := carve(t, `"filters":[{"protocol":"TCP"}]`, bytesSource(littlePcap.File(counted(
		datagram(ipTCP, "10.0.0.1", "10.0.0.2", 1, 2), datagram(ipUDP, "10.0.0.1", "10.0.0.2", 1, 2)), pcapfile.RawIP)))
	if err != nil {
		t.Fatal(err)
	}
	got := res.Resource().Properties.Statistics
	got.DurationInSeconds = 0
	want := &capture.Statistics{
		PacketsCaptured: 1, BytesCaptured: 40, PacketsReceived: 1, FilterMode: "user", LinkType: "RAW (raw IP)",
		Interfaces: []capture.InterfaceResult{}, Files: got.Files, Blobs: []capture.FileResult{}, ReadFile: &capture.ReadFileResult{"-", 2},
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got.Files) != 1 {
		t.Error(diff)
	}
}

// Which end is the local one, by each way there is to tell.
func TestOfflineSides(t *testing.T) {
	// 1 and 2 are a client's from port 8443 of another host, 3 and 4 a server's.
	ips := [][]byte{
		datagram(ipTCP, "10.0.0.1", "10.0.0.9", 5000, 8443), datagram(ipTCP, "10.0.0.9", "10.0.0.1", 8443, 5000),
		datagram(ipTCP, "10.0.0.7", "10.0.0.1", 6000, 8443), datagram(ipTCP, "10.0.0.1", "10.0.0.7", 8443, 6000),
	}
	outbound := []bool{true, false, false, true}
	file := func(form pcaptest.Form, link pcapfile.LinkType, directions bool) []byte {
		var list [][]byte
		for i, ip := range ips {
			list = append(list, framed(link, outbound[i], form.Order, ip))
		}
		packets := counted(list...)
		for i := range packets {
			if packets[i].Direction = pcapfile.Inbound; outbound[i] {
				packets[i].Direction = pcapfile.Outbound
			}
			if !directions {
				packets[i].Direction = pcapfile.UnknownDirection
			}
		}
		return form.File(packets, link)
	}
	loopback := bytes.ReplaceAll(file(littlePcap, pcapfile.SLL, false), []byte{0, 1, 0, 6, 2}, []byte{0x03, 0x04, 0, 6, 2})
	local := func(text ...string) (list []netip.Prefix) {
		for _, s := range text {
			list = append(list, netip.MustParsePrefix(s))
		}
		return list
	}
	server := `"filters":[{"localPort":"8443"}]`
	for _, test := range []struct {
		name, filters string
		file          []byte
		local         []netip.Prefix
		want          []int
	}{
		{"cooked", server, file(littlePcap, pcapfile.SLL, false), nil, []int{3, 4}},
		{"cooked v2", server, file(littlePcap, pcapfile.SLL2, false), nil, []int{3, 4}},
		{"loopback is either's", server, loopback, nil, []int{1, 2, 3, 4}},
		{"flags of pcapng", server, file(littleNG, pcapfile.Ethernet, true), nil, []int{3, 4}},
		{"flags, big-endian", server, file(pcaptest.Form{Order: binary.BigEndian, NG: true}, pcapfile.RawIP, true), nil, []int{3, 4}},
		{"untold is either's", server, file(littleNG, pcapfile.Ethernet, false), nil, []int{1, 2, 3, 4}},
		{"pcap of Ethernet does not tell", server, file(littlePcap, pcapfile.Ethernet, true), nil, []int{1, 2, 3, 4}},
		{"an address", server, file(littlePcap, pcapfile.Ethernet, false), local("10.0.0.1/32"), []int{3, 4}},
		{"the address goes before the file", server, file(littlePcap, pcapfile.SLL, false), local("10.0.0.9/32"), []int{1, 2}},
		{"several", server, file(littlePcap, pcapfile.RawIP, false), local("10.0.0.9/32", "10.0.0.1/32"), []int{1, 2, 3, 4}},
		{"a prefix that holds both ends", server, file(littlePcap, pcapfile.RawIP, false), local("10.0.0.128/24"), []int{1, 2, 3, 4}},
		{"a prefix", `"filters":[{"remotePort":"8443"}]`, file(littlePcap, pcapfile.RawIP, false), local("10.0.0.0/30"), []int{1, 2}},
		{"neither end is local", server, file(littlePcap, pcapfile.RawIP, false), local("10.0.0.7/32"), []int{}},
		{"neither end, and the filter does not ask", `"filters":[{"protocol":"TCP"}]`, file(littlePcap, pcapfile.RawIP, false), local("fd00::/8"), []int{1, 2, 3, 4}},
		{"the filter's own address decides", `"filters":[{"localIPAddress":"10.0.0.7","localPort":"8443"},{"localIPAddress":"10.0.0.1","localPort":"8443"}]`,
			file(littlePcap, pcapfile.SLL, false), local("10.0.0.9/32"), []int{3, 4}},
		{"remote address, as the file tells", `"filters":[{"remoteIPAddress":"10.0.0.7"}]`, file(littlePcap, pcapfile.SLL2, false), nil, []int{3, 4}},
		{"local everything", `"filters":[{"remoteIPAddress":"10.0.0.9"}]`, file(littlePcap, pcapfile.Ethernet, false), local("0.0.0.0/0"), []int{1, 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := bytesSource(test.file)
			s.Local = test.local
			_, out, err := carve(t, test.filters, s)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, numbers(t, out)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The four bytes before the IP header on BSD loopback, as every system writes
// them, and what cannot be looked into.
func TestOfflineLinkLayers(t *testing.T) {
	v4, v6 := datagram(ipTCP, "10.0.0.1", "10.0.0.2", 1, 2), datagram(ipTCP, "fd00::1", "fd00::2", 1, 2)
	with := func(head string, ip []byte) []byte { return append([]byte(head), ip...) }
	for _, test := range []struct {
		link   pcapfile.LinkType
		data   [][]byte
		wanted []int // of 1, 2, …
	}{
		{pcapfile.Null, [][]byte{
			with("\x02\x00\x00\x00", v4), with("\x00\x00\x00\x02", v4),
			with("\x0a\x00\x00\x00", v6), with("\x17\x00\x00\x00", v6), with("\x18\x00\x00\x00", v6), with("\x1c\x00\x00\x00", v6), with("\x00\x00\x00\x1e", v6),
			with("\x02\x00\x00\x00", v6), with("\x1e\x00\x00\x00", v4), with("\x07\x00\x00\x00", v4), {2, 0, 0}, {},
		}, []int{1, 2, 3, 4, 5, 6, 7}},
		{pcapfile.Loop, [][]byte{with("\x00\x00\x00\x02", v4), with("\x00\x00\x00\x18", v6), with("\x02\x00\x00\x00", v4)}, []int{1, 2}},
		{pcapfile.RawIP, [][]byte{v4, v6, {}, {0x50}}, []int{1, 2}},
		{pcapfile.RawIPBSD, [][]byte{v4, v6}, []int{1, 2}},
		{pcapfile.RawIPOpen, [][]byte{v4, v6}, []int{1, 2}},
		{pcapfile.RawIPv4, [][]byte{v4, v6, {}}, []int{1}},
		{pcapfile.RawIPv6, [][]byte{v4, v6, {}}, []int{2}},
		{pcapfile.Ethernet, [][]byte{
			framed(pcapfile.Ethernet, false, nil, v4),
			with("\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x81\x00\x00\x05\x86\xdd", v6), make([]byte, 13),
		}, []int{1, 2}},
		{pcapfile.SLL, [][]byte{framed(pcapfile.SLL, true, nil, v4), framed(pcapfile.SLL, true, nil, v6)[:15]}, []int{1}},
		{pcapfile.SLL2, [][]byte{
			framed(pcapfile.SLL2, true, nil, v4), framed(pcapfile.SLL2, true, nil, v6)[:19],
			// A tag: its type in the header, the rest of it in the data.
			slices.Concat([]byte{0x81, 0}, framed(pcapfile.SLL2, true, nil, v4)[2:20], []byte{0, 5, 8, 0}, v4),
		}, []int{1, 3}},
	} {
		_, out, err := carve(t, `"filters":[{"protocol":"TCP"}]`, bytesSource(littlePcap.File(counted(test.data...), test.link)))
		if err != nil {
			t.Errorf("%s: %v", test.link, err)
			continue
		}
		if diff := cmp.Diff(test.wanted, numbers(t, out)); diff != "" {
			t.Errorf("%s: %s", test.link, diff)
		}
	}
}

func TestOfflineLimits(t *testing.T) {
	packets := func(secs ...uint32) (list []pcaptest.Packet) {
		for _, s := range secs {
			list = append(list, pcaptest.Packet{Data: datagram(ipUDP, "10.0.0.1", "10.0.0.2", 1, 2), Sec: s})
		}
		return list
	}
	simple := slices.Concat(littleNG.Section(), littleNG.Interface(pcapfile.RawIP, 0, nil),
		littleNG.Block(3, append([]byte{40, 0, 0, 0}, datagram(ipUDP, "10.0.0.1", "10.0.0.2", 1, 2)...)),
		littleNG.File(packets(1000, 1001, 1010), pcapfile.RawIP))
	for _, test := range []struct {
		name, members string
		file          []byte
		reason        capture.StopReason
		want          []int
		read          uint64
	}{
		{"time", `"timeLimitInSeconds":3`, littlePcap.File(packets(100, 101, 102, 103, 104), 101), capture.TimeExceeded, []int{100, 101, 102}, 4},
		{"time counts from a packet that no filter takes", `"timeLimitInSeconds":3,"filters":[{"protocol":"UDP"}]`,
			littlePcap.File(slices.Concat(counted(datagram(ipTCP, "10.0.0.1", "10.0.0.2", 1, 2)), packets(2, 3, 4)), 101), capture.TimeExceeded, []int{2, 3}, 4},
		{"earlier than the first is in time", `"timeLimitInSeconds":3`, littlePcap.File(packets(100, 5, 102, 200, 101), 101), capture.TimeExceeded, []int{100, 5, 102}, 4},
		{"no limit", `"timeLimitInSeconds":0`, littlePcap.File(packets(1, 1<<32-1), 101), capture.EndOfFile, []int{1, 1<<32 - 1}, 2},
		{"packets without a time are never late", `"timeLimitInSeconds":3`, simple, capture.TimeExceeded, []int{0, 1000, 1001}, 4},
		{"no limit was given", "", littlePcap.File(packets(1, 1<<32-1), 101), capture.EndOfFile, []int{1, 1<<32 - 1}, 2},
		{"bytes", `"totalBytesPerSession":136`, littlePcap.File(packets(1, 2, 3), 101), capture.SizeExceeded, []int{1, 2}, 3},
		{"bytes, exactly", `"totalBytesPerSession":192`, littlePcap.File(packets(1, 2, 3), 101), capture.EndOfFile, []int{1, 2, 3}, 3},
		{"not even one", `"totalBytesPerSession":24`, littlePcap.File(packets(1), 101), capture.SizeExceeded, []int{}, 1},
		{"no packets", "", littlePcap.File(nil, 101), capture.EndOfFile, []int{}, 0},
		{"no packets, pcapng", "", littleNG.File(nil, 101), capture.EndOfFile, []int{}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			res, out, err := carve(t, test.members, bytesSource(test.file))
			if err != nil || res.StopReason != test.reason || res.Read != test.read || res.Packets != uint64(len(test.want)) {
				t.Errorf("%s after %d packets: %v", res.StopReason, res.Read, err)
			}
			if diff := cmp.Diff(test.want, numbers(t, out)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// The snap length cuts what is recorded, not what the filters see, and the
// length on the wire stays.
func TestOfflineSnapLength(t *testing.T) {
	ip := datagram(ipUDP, "10.0.0.1", "10.0.0.2", 1, 2)
	_, out, err := carve(t, `"bytesToCapturePerPacket":5,"filters":[{"remotePort":"2"}]`, bytesSource(littlePcap.File([]pcaptest.Packet{
		{Data: ip, Length: 1500, Sec: 1}, {Data: ip[:3], Length: 1500}, {Data: ip, Sec: 2},
	}, pcapfile.RawIP)))
	if err != nil {
		t.Fatal(err)
	}
	want := []pcapfile.Packet{
		{Data: ip[:5], Length: 1500, LinkType: pcapfile.RawIP, Timed: true, Sec: 1},
		{Data: ip[:5], Length: 40, LinkType: pcapfile.RawIP, Timed: true, Sec: 2},
	}
	if diff := cmp.Diff(want, packetsOf(t, out)); diff != "" || binary.LittleEndian.Uint32(out[16:]) != 5 {
		t.Error(diff)
	}
}
