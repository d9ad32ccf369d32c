package inspect

import (
	"bytes"
	"encoding/json"
	"io"
	"runtime"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/source/capfile"
)

// fuzzLinks are the link types that are looked into, and one that is not.
var fuzzLinks = []pcapfile.LinkType{
	pcapfile.Ethernet, pcapfile.SLL, pcapfile.SLL2, pcapfile.RawIP, pcapfile.RawIPv4, pcapfile.RawIPv6, pcapfile.Null, pcapfile.Loop,
	pcapfile.SLIP, pcapfile.PPP, pcapfile.PPPEther, pcapfile.CiscoHDLC, pcapfile.FrameRelay, pcapfile.IEEE80211, pcapfile.Radiotap, pcapfile.NFLOG,
}

// check holds what is true of every report.
func check(t *testing.T, r *Report) {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(text) {
		t.Fatal("not JSON")
	}
	if r.TCP.Retransmissions != r.TCP.Fast+r.TCP.Spurious+r.TCP.Timeouts || r.TCP.Connections != r.TCP.Begun+r.TCP.Joined {
		t.Fatalf("TCP does not add up: %+v", r.TCP.TCPCounts)
	}
	if r.DNS.Queries < r.DNS.Answers+r.DNS.Unanswered {
		t.Fatalf("DNS does not add up: %+v", r.DNS)
	}
	var packets uint64
	for _, s := range r.Timeline.Steps {
		packets += s.Packets
	}
	if packets > r.Packets.Count || len(r.Timeline.Steps) > maxSteps {
		t.Fatalf("%d packets over time of %d, in %d steps", packets, r.Packets.Count, len(r.Timeline.Steps))
	}
	for _, f := range r.Failures {
		if f.Count == 0 || f.LastPacket < f.FirstPacket || len(f.Endpoints) > maxEndpoints {
			t.Fatalf("%+v", f)
		}
	}
	for _, line := range r.Text(Style{Width: 80}) {
		if !utf8.ValidString(line) || strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Fatalf("%q", line)
		}
	}
	var page bytes.Buffer
	if err := r.HTML(&page); err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(page.Bytes(), []byte("<script")) {
		t.Fatal("a script on the page")
	}
}

// FuzzFile: whatever a file is, there is an error or a report whose numbers add up, in
// memory that has a bound.
func FuzzFile(f *testing.F) {
	f.Add([]byte{})
	f.Add(pcapfile.AppendHeader(nil, pcapfile.Micro, pcapfile.Ethernet, 1500))
	for _, p := range seedPackets() {
		b := pcapfile.AppendHeader(nil, pcapfile.Micro, pcapfile.Ethernet, 1500)
		for i := range 4 {
			head := make([]byte, pcapfile.RecordHeaderLen)
			pcapfile.PutRecordHeader(head, uint32(1000+i), 0, len(p), len(p)+i)
			b = append(append(b, head...), p...)
		}
		f.Add(b)
	}
	section := pcapfile.AppendSection(nil, &pcapfile.Section{})
	section = pcapfile.AppendInterface(section, &pcapfile.Interface{Name: "x", LinkType: pcapfile.SLL2})
	f.Add(pcapfile.AppendStatistics(section, &pcapfile.Statistics{Dropped: 5, DroppedBySystem: 7}))
	f.Fuzz(func(t *testing.T, file []byte) {
		c, err := Open([]string{"-"}, struct{ io.Reader }{bytes.NewReader(file)}, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close() }()
		r, err := c.Inspect(t.Context(), Options{MaxFlows: 16, Top: 1000})
		if r == nil {
			if err == nil {
				t.Fatal("neither a report nor an error")
			}
			return
		}
		if (err != nil) != (r.Input.Error != "") {
			t.Fatalf("%v, and the report says %q", err, r.Input.Error)
		}
		check(t, r)
	})
}

// FuzzPackets: any bytes of a packet, on any link, several times, are looked into without
// reading beyond them. The bytes are divided into packets by a length before each, and into lists by
// its upper bits; how they are divided into lists changes nothing.
func FuzzPackets(f *testing.F) {
	for i, p := range seedPackets() {
		var b []byte
		for range 3 {
			b = append(append(b, byte(len(p)>>8), byte(len(p))), p...)
		}
		f.Add(uint8(i%len(fuzzLinks)), b)
		f.Add(uint8(0), b)
	}
	f.Fuzz(func(t *testing.T, link uint8, b []byte) {
		lists, single := NewEngine(Options{MaxFlows: 8, Top: 1000}), NewEngine(Options{MaxFlows: 8, Top: 1000})
		var n, skipped uint64
		var list []pcapfile.Packet
		var kept uint32
		give := func() {
			lists.Packets(list, kept)
			list, kept = list[:0], 0
		}
		for len(b) >= 2 {
			head := uint16(b[0])<<8 | uint16(b[1])
			b = b[2:]
			size := min(int(head&0x1fff), len(b))
			data := bytes.Clone(b[:size]) // with nothing behind it, as the race of a read beyond it would find
			b = b[size:]
			n++
			p := pcapfile.Packet{
				Data: data[:size:size], Length: size + int(n%3), LinkType: fuzzLinks[int(link)%len(fuzzLinks)], Timed: n%5 > 0, Sec: int64(n), Nsec: uint32(n),
			}
			bit := uint32(1)
			if head&0xc000 == 0xc000 {
				bit = 0
				skipped++
			}
			kept |= bit << len(list)
			list = append(list, p)
			single.Packets([]pcapfile.Packet{p}, bit)
			if len(list) == capfile.MaxList || head&0x2000 != 0 {
				give()
			}
		}
		give()
		r := lists.Report()
		if r.Packets.Count != n-skipped || r.Packets.Skipped != skipped {
			t.Fatalf("%d packets and %d skipped, want %d", r.Packets.Count, r.Packets.Skipped, n)
		}
		check(t, r)
		got, err1 := json.Marshal(r)
		want, err2 := json.Marshal(single.Report())
		if err1 != nil || err2 != nil || !bytes.Equal(got, want) {
			t.Fatalf("in lists: %s\none by one: %s", got, want)
		}
	})
}

// FuzzDNS: a message that is taken has a name that is in it, within its bounds.
func FuzzDNS(f *testing.F) {
	f.Add([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07example\x03com\x00\x00\x01\x00\x01"))
	f.Add([]byte("\x00\x01\x81\x83\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x01"))
	f.Add([]byte("\x00\x01\x81\x83\x00\x01\x00\x00\x00\x00\x00\x00\xc0\x0c\x00\x01\x00\x01"))
	f.Add(append([]byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00"), bytes.Repeat([]byte("\x3fabcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyzabcdefghijk"), 5)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		buf := make([]byte, maxName+1)
		m, ok := parseDNS(b, buf)
		if len(m.name) > maxName {
			t.Fatalf("a name of %d bytes", len(m.name))
		}
		if !ok {
			return
		}
		if m.questions > 0 && len(m.name) == 0 {
			t.Fatal("no name")
		}
		again, ok := parseDNS(bytes.Clone(b), make([]byte, maxName+1))
		if !ok || again.id != m.id || !bytes.Equal(again.name, m.name) {
			t.Fatalf("%+v, and then %+v", m, again)
		}
	})
}

// FuzzHello: the name of a hello is a part of its bytes, and a whole hello reads the same
// whatever follows it.
func FuzzHello(f *testing.F) {
	f.Add([]byte{1, 0, 0, 4, 3, 3, 0, 0})
	hello := append([]byte{1, 0, 0, 60, 3, 3}, make([]byte, 32)...)
	hello = append(hello, 0, 0, 2, 0x13, 1, 1, 0, 0, 15, 0, 0, 0, 11, 0, 9, 0, 0, 6, 'a', '.', 't', 'e', 's', 't', 0, 0)
	f.Add(hello)
	server := append([]byte{2, 0, 0, 46, 3, 3}, make([]byte, 32)...)
	f.Add(append(server, 0, 0x13, 1, 0, 0, 6, 0, 43, 0, 2, 3, 4))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, whole := parseHello(slices.Clip(b))
		if len(h.name) > 0 && !bytes.Contains(b, h.name) {
			t.Fatalf("the name %q is not in %q", h.name, b)
		}
		if !whole {
			return
		}
		more, still := parseHello(append(bytes.Clone(b), "and something else"...))
		if !still || more.version != h.version || !bytes.Equal(more.name, h.name) {
			t.Fatalf("%+v, and with more behind it %+v", h, more)
		}
	})
}

// FuzzHTTP: a status has three digits, and a Host is a part of the head.
func FuzzHTTP(f *testing.F) {
	for _, s := range []string{
		"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n", "HTTP/1.1 404 Not Found\r\n", "HTTP/1.1 4x4 Not Found\r\n", "GET / HTTP/1.1\r\nhOST:", "PUT / HTTP/1.1\r\n\r\nHost: no",
		"HTTP/1.0 200", "POST x", "HTTP/1.1 999 y",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		status, host, ok := parseHTTP(slices.Clip(b))
		switch {
		case !ok && (status != 0 && status >= 100 || host != nil):
			t.Fatalf("not taken, and %d %q", status, host)
		case !ok:
		case status != 0 && (status < 100 || status > 999):
			t.Fatalf("a status of %d", status)
		case !bytes.Contains(b, host) || bytes.ContainsAny(host, "\r\n") && !bytes.Contains(host, []byte("\n")) && !bytes.Contains(host, []byte("\r")):
			t.Fatalf("the host %q is not in %q", host, b)
		case len(host) > maxHead:
			t.Fatalf("a host of %d bytes", len(host))
		}
	})
}

// seedPackets are packets of the protocols that are looked into, in tunnels as well.
func seedPackets() [][]byte {
	ether := func(t uint16, b ...byte) []byte {
		return append([]byte{2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, byte(t >> 8), byte(t)}, b...)
	}
	ip := func(proto byte, b ...byte) []byte {
		n := 20 + len(b)
		return append([]byte{0x45, 0, byte(n >> 8), byte(n), 0, 1, 0, 0, 64, proto, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2}, b...)
	}
	udp := func(sport, dport uint16, b ...byte) []byte {
		n := 8 + len(b)
		return append([]byte{byte(sport >> 8), byte(sport), byte(dport >> 8), byte(dport), byte(n >> 8), byte(n), 0, 0}, b...)
	}
	tcp := func(flags byte, b ...byte) []byte {
		return append([]byte{0x10, 0, 0, 80, 0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 1, 0, 0, 0, 0, 0}, b...)
	}
	inner := ether(0x0800, ip(6, tcp(2)...)...)
	list := [][]byte{
		ether(0x0800, ip(6, tcp(2)...)...), ether(0x0800, ip(6, tcp(4)...)...), ether(0x0800, ip(6, tcp(0x18, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")...)...)...),
		ether(0x0800, ip(6, tcp(0x18, 22, 3, 1, 0, 5, 1, 0, 0, 1, 3)...)...), ether(0x0800, ip(6, tcp(0x18, 21, 3, 3, 0, 2, 2, 40)...)...),
		ether(0x0800, ip(17, udp(5000, 53, []byte("\x00\x01\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x01a\x00\x00\x01\x00\x01")...)...)...),
		ether(0x0800, ip(17, udp(5000, portVXLAN, append([]byte{8, 0, 0, 0, 0, 0, 5, 0}, inner...)...)...)...),
		ether(0x0800, ip(17, udp(5000, portGeneve, append([]byte{1, 0, 0x65, 0x58, 0, 0, 5, 0, 0, 0, 0, 0}, inner...)...)...)...),
		ether(0x0800, ip(47, append([]byte{0x20, 0, 8, 0, 0, 0, 0, 1}, ip(6, tcp(2)...)...)...)...), ether(0x0800, ip(4, ip(17, udp(1, 2)...)...)...),
		ether(0x8100, append([]byte{0, 5, 8, 0}, ip(6, tcp(0x10)...)...)...), ether(0x8847, append([]byte{0, 1, 1, 64}, ip(1, 3, 4, 0, 0, 0, 0, 5, 0, 0x45)...)...),
		ether(0x8864, append([]byte{0x11, 0, 0, 1, 0, 30, 0, 0x21}, ip(6, tcp(2)...)...)...),
		ether(0x0806, 0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 1, 10, 0, 0, 1, 0, 0, 0, 0, 0, 0, 10, 0, 0, 2), ether(0x0800, ip(1, append([]byte{3, 3, 0, 0, 0, 0, 0, 0}, ip(17, udp(1, 53)...)...)...)...),
	}
	six := append([]byte{0x60, 0, 0, 0, 0, 24, 58, 255}, make([]byte, 32)...)
	six = append(six, append([]byte{135, 0, 0, 0, 0, 0, 0, 0}, make([]byte, 16)...)...)
	return append(list, ether(0x86dd, six...), six, ip(6, tcp(2)...))
}

// TestHostileFlood: packets that are all different, as a flood with forged addresses, DNS names,
// fragments and requests has, fill no more memory than the tables' bounds.
func TestHostileFlood(t *testing.T) {
	e := NewEngine(Options{MaxFlows: 2000})
	var before, after runtime.MemStats
	send := func(from, to int) {
		for i := from; i < to; i++ {
			for _, seed := range seedPackets() {
				p := bytes.Clone(seed)
				if len(p) < 34 {
					continue
				}
				p[len(p)-1] ^= byte(i)
				p[26], p[27], p[28], p[29] = byte(i>>24), byte(i>>16), byte(i>>8), byte(i)
				p[18], p[19] = byte(i>>8), byte(i) // identification of IPv4
				e.Packet(&pcapfile.Packet{Data: p, Length: len(p), LinkType: pcapfile.Ethernet, Timed: true, Sec: int64(i / 100)})
			}
		}
	}
	send(0, 20_000)
	runtime.GC()
	runtime.ReadMemStats(&before)
	send(20_000, 40_000)
	runtime.GC()
	runtime.ReadMemStats(&after)
	// Hosts go on up to their bound.
	if grown := int64(after.HeapAlloc) - int64(before.HeapAlloc); grown > 24<<20 {
		t.Errorf("the second half took %d bytes more", grown)
	}
	check(t, e.Report())
}
