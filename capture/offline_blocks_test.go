package capture_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
	"pcapctl/capture/request"
	"pcapctl/capture/source/capfile"
)

// carveNG is carve into a pcapng file, on a machine with a name.
func carveNG(t testing.TB, members string, file []byte) (*capture.Result, []byte, error) {
	t.Helper()
	return carveNGFrom(t, members, bytesSource(file))
}

func carveNGFrom(t testing.TB, members string, from capfile.Options) (*capture.Result, []byte, error) {
	t.Helper()
	dir := t.TempDir()
	c := mustConfig(t, members+`,`+savedAs(dir, "out.pcapng"),
		request.Host{GOOS: runtime.GOOS, Name: "thishost", CapturesDir: dir, Now: time.Now(), FromFile: true, Application: "9.9"})
	run, err := startFile(c, from)
	if err != nil {
		t.Fatal(err)
	}
	res, err := run.Run(t.Context())
	out, rerr := os.ReadFile(c.FilePath)
	if rerr != nil {
		t.Fatal(rerr)
	}
	if bytes.Contains(out, []byte("thishost")) || bytes.Contains(out, []byte("/out.pcapng")) {
		t.Error("the file tells where it was carved")
	}
	return res, out, err
}

// ngBlock is a block of a file that the tests make, and what it is for them.
type ngBlock struct {
	bytes  []byte
	packet string // what the filter takes: "udp", "tcp"; "" for a block apart
}

// rich is a pcapng file with all that there is, of which application are the
// applications that its sections name.
func rich(f pcaptest.Form, application string) (list []ngBlock) {
	add := func(b []byte) { list = append(list, ngBlock{bytes: b}) }
	packet := func(what string, b []byte) { list = append(list, ngBlock{b, what}) }
	option := func(code uint16, text string) []byte { return f.Option(code, []byte(text)) }
	end := f.Option(0, nil)
	word := func(v uint32) []byte { return f.Order.AppendUint32(nil, v) }
	udp, tcp := datagram(ipUDP, "10.0.0.1", "10.0.0.2", 1000, 9), datagram(ipTCP, "10.0.0.1", "10.0.0.2", 1000, 9)
	head := f.Order.AppendUint32(nil, 0x1a2b3c4d)
	head = f.Order.AppendUint16(head, 1)
	head = f.Order.AppendUint16(head, 0)
	head = f.Order.AppendUint64(head, 1<<64-1)
	add(f.Block(0x0a0d0d0a, slices.Concat(head, option(2, "a processor"), option(3, "an OS"), option(4, application),
		option(1, "a comment of the section"), option(0x8001, "an unknown option"), end)))
	add(f.Interface(pcapfile.Ethernet, 96, slices.Concat(option(2, "eth0"), option(3, "uplink"), option(6, "\x02\x00\x00\x00\x00\x01"),
		option(9, "\x06"), option(11, "\x00tcp or udp"), option(12, "its OS"), f.Option(14, f.Order.AppendUint64(nil, 1_000_000)), option(1, "a comment"), end)))
	add(f.Interface(pcapfile.RawIP, 0, slices.Concat(option(2, "wg0"), option(9, "\x09"), end)))
	add(f.Block(10, slices.Concat(word(0x544c534b), word(12), []byte("CLIENT_RANDO"))))
	add(f.Block(4, slices.Concat(option(1, "\x0a\x00\x00\x01db.example\x00"), end)))
	packet("udp", f.Enhanced(0, 7_000_001, framed(1, false, f.Order, udp), 1500, slices.Concat(option(1, "first"), option(1, "second"), f.Option(2, word(1)),
		option(3, "\x02hash"), f.Option(4, make([]byte, 8)), option(0x8777, "odd"), end)))
	add(f.Block(0xbad, slices.Concat(word(32473), []byte("custom, may be copied"))))
	packet("tcp", f.Enhanced(1, 7_000_000_000_000_001, tcp, 40, slices.Concat(option(1, "of the tunnel"), end)))
	add(f.Block(0x40000bad, slices.Concat(word(32473), []byte("custom, should not be copied"))))
	packet("udp", f.Enhanced(1, 1<<63, udp, 40, option(1, "without an end")))
	add(f.Block(9, []byte("__CURSOR=1\nMESSAGE=of the journal\n")))
	packet("udp", f.Block(3, slices.Concat(word(54), framed(1, false, f.Order, udp))))
	packet("udp", f.Block(2, slices.Concat(f.Order.AppendUint16(nil, 1), f.Order.AppendUint16(nil, 77), word(0), word(5), word(40), word(41), udp, option(1, "of old"), end)))
	add(f.Block(0x12345, []byte("a block of a type of tomorrow")))
	for i := range uint32(2) {
		add(f.Block(5, slices.Concat(word(i), word(0), word(1), f.Option(4, f.Order.AppendUint64(nil, 1000)), end)))
	}
	return list
}

// sections are files of one section in either byte order, and of both.
func sections(application string) map[string][]ngBlock {
	little, big := pcaptest.Form{Order: binary.LittleEndian, NG: true}, pcaptest.Form{Order: binary.BigEndian, NG: true}
	return map[string][]ngBlock{
		"little": rich(little, application), "big": rich(big, application),
		"both": slices.Concat(rich(big, application), rich(little, application)),
	}
}

func join(blocks []ngBlock) (file []byte) {
	for _, b := range blocks {
		file = append(file, b.bytes...)
	}
	return file
}

// A pcapng file with everything goes through block by block. The section names
// pcapctl besides the program that captured, and nothing names this machine.
func TestPcapngGoesThroughUnchanged(t *testing.T) {
	want := sections("Dumpcap; pcapctl 9.9")
	for name, blocks := range sections("Dumpcap") {
		res, out, err := carveNG(t, "", join(blocks))
		if err != nil {
			t.Fatal(err)
		}
		wantBlocks(t, name, want[name], out)
		packets := slices.DeleteFunc(slices.Clone(blocks), func(b ngBlock) bool { return b.packet == "" })
		if int(res.Packets) != len(packets) || res.Packets != res.Received || res.Packets != res.Read || res.StopReason != capture.EndOfFile {
			t.Errorf("%s: %+v", name, res)
		}
		if list, want := res.Warnings, "a time outside 1970 to 2106"; len(list) != 1 || !strings.Contains(list[0], want) || !strings.Contains(list[0], "the first is packet 3") {
			t.Errorf("%s: %q", name, list)
		}
	}
}

// wantBlocks compares a file with the blocks that it should have, one by one.
func wantBlocks(t *testing.T, name string, want []ngBlock, out []byte) {
	t.Helper()
	for i, b := range want {
		if !bytes.HasPrefix(out, b.bytes) {
			t.Fatalf("%s, block %d:\n%q\nwant\n%q", name, i, out[:min(len(out), len(b.bytes)+100)], b.bytes)
		}
		out = out[len(b.bytes):]
	}
	if len(out) > 0 {
		t.Errorf("%s: then %q", name, out)
	}
}

// A filter takes packets out, and no other block.
func TestPcapngFilterTakesOnlyPacketsOut(t *testing.T) {
	for name, blocks := range sections("Dumpcap") {
		for i, b := range blocks { // the section says what was asked
			f := pcaptest.Form{Order: binary.LittleEndian, NG: true}
			if b.bytes[8] == 0x1a {
				f.Order = binary.BigEndian
			}
			if binary.LittleEndian.Uint32(b.bytes) == 0x0a0d0d0a {
				section := rich(f, "Dumpcap; pcapctl 9.9")[0].bytes
				blocks[i].bytes = f.Block(0x0a0d0d0a, slices.Concat(section[8:len(section)-8],
					f.Option(1, []byte("filtered by pcapctl: TCP")), f.Option(0, nil)))
			}
		}
		want := slices.DeleteFunc(slices.Clone(blocks), func(b ngBlock) bool { return b.packet == "udp" })
		res, out, err := carveNG(t, `"filters":[{"protocol":"TCP"}]`, join(sections("Dumpcap")[name]))
		if err != nil {
			t.Fatal(err)
		}
		wantBlocks(t, name, want, out)
		if len(res.Warnings) != 0 { // the packets with the odd times are not wanted
			t.Errorf("%q", res.Warnings)
		}
	}
}

// The snap length cuts packets, their options stay, and interfaces tell it.
func TestPcapngSnapLength(t *testing.T) {
	for name, blocks := range sections("Dumpcap") {
		file := join(blocks)
		_, out, err := carveNG(t, `"bytesToCapturePerPacket":15`, file)
		if err != nil {
			t.Fatal(err)
		}
		want := packetsOf(t, file)
		for i := range want {
			want[i].Data = want[i].Data[:15]
		}
		if diff := cmp.Diff(want, packetsOf(t, out)); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
		for _, text := range []string{"first", "second", "of the tunnel", "of old", "cut by pcapctl: 15 bytes of each packet", "CLIENT_RANDO"} {
			if !bytes.Contains(out, []byte(text)) {
				t.Errorf("%s: %q is gone", name, text)
			}
		}
	}
}

// The byte limit is exact, whether a packet or another block has no room.
func TestPcapngBlocksKeepTheByteLimit(t *testing.T) {
	blocks := sections("Dumpcap")["little"]
	file := join(blocks)
	_, whole, err := carveNG(t, "", file)
	if err != nil {
		t.Fatal(err)
	}
	grown := len(whole) - len(file)
	size, packets := 0, 0
	for i, b := range blocks {
		if i > 0 {
			res, out, err := carveNG(t, `"totalBytesPerSession":`+strconv.Itoa(size+grown+len(b.bytes)-1), file)
			read := packets
			if b.packet != "" {
				read++
			}
			if err != nil || len(out) != size+grown || !bytes.HasPrefix(whole, out) || res.StopReason != capture.SizeExceeded ||
				res.Packets != uint64(packets) || res.Read != uint64(read) || res.Received != uint64(read) {
				t.Errorf("before block %d: %v, %d bytes, want %d, %s after %d of %d", i, err, len(out), size+grown, res.StopReason, res.Packets, res.Read)
			}
		}
		if size += len(b.bytes); b.packet != "" {
			packets++
		}
	}
	res, out, err := carveNG(t, `"totalBytesPerSession":`+strconv.Itoa(len(whole)), file)
	if err != nil || !bytes.Equal(out, whole) || res.StopReason != capture.EndOfFile {
		t.Errorf("%v, %s", err, res.StopReason)
	}
}

// Thousands of blocks apart, before and between packets and behind them, and very
// large ones, pass in bounded memory and in order.
func TestPcapngManyBlocks(t *testing.T) {
	blocks := sections("Dumpcap; pcapctl 9.9")["little"][:3]
	add := func(n, size int) {
		for i := range n {
			blocks = append(blocks, ngBlock{bytes: littleNG.Block(9, binary.LittleEndian.AppendUint32(make([]byte, size), uint32(i)))})
		}
	}
	packet := ngBlock{littleNG.Enhanced(0, 1, []byte("abc"), 3, littleNG.Option(1, bytes.Repeat([]byte("long"), 10_000))), "udp"}
	add(1000, 8)
	add(3, 700_000)
	blocks = append(blocks, packet, packet)
	add(3, 5<<20)
	blocks = append(blocks, packet)
	add(1000, 3000)
	file := sections("Dumpcap")["little"][:1]
	res, out, err := carveNG(t, "", join(append(file, blocks[1:]...)))
	if err != nil || res.Packets != 3 || len(res.Warnings) != 0 {
		t.Errorf("%v, %d packets, %q", err, res.Packets, res.Warnings)
	}
	wantBlocks(t, "many", blocks, out)
}

// trickle gives a file in small pieces, and makes whoever reads it wait.
type trickle struct {
	rest []byte
	n    int
}

func (r *trickle) Read(p []byte) (int, error) {
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	if r.n++; r.n%8 == 0 {
		time.Sleep(time.Millisecond)
	}
	n := copy(p, r.rest[:min(len(r.rest), 1+r.n*7%61)])
	r.rest = r.rest[n:]
	return n, nil
}

// A pipe that gives little at a time: what has come is handed over while a block
// is being read.
func TestPcapngThroughASlowPipe(t *testing.T) {
	want := sections("Dumpcap; pcapctl 9.9")
	for name, blocks := range sections("Dumpcap") {
		_, out, err := carveNGFrom(t, "", capfile.Options{Path: capfile.StandardInput, Stdin: &trickle{rest: join(blocks)}})
		if err != nil {
			t.Fatal(err)
		}
		wantBlocks(t, name, want[name], out)
	}
}

// What is over a bound is left out and told, and the rest goes through.
func TestPcapngOverBounds(t *testing.T) {
	f := littleNG
	long := bytes.Repeat(f.Option(1, make([]byte, 65000)), 40)
	section := rich(f, "Dumpcap")[0].bytes
	section = f.Block(0x0a0d0d0a, slices.Concat(section[8:len(section)-8], long))
	packet := f.Enhanced(0, 1, []byte("abc"), 3, nil)
	file := slices.Concat(section, f.Interface(1, 0, long), f.Block(9, make([]byte, pcapfile.MaxBlock)), packet,
		f.Enhanced(0, 1, []byte("abc"), 3, long), f.Enhanced(0, 1, make([]byte, pcapfile.MaxPacket+1), pcapfile.MaxPacket+1, nil), packet)
	res, out, err := carveNG(t, "", file)
	if err != nil || res.Packets != 4 {
		t.Fatalf("%v, %d packets", err, res.Packets)
	}
	list := packetsOf(t, out)
	if len(list) != 4 || len(list[2].Data) != pcapfile.MaxPacket || list[2].Length != pcapfile.MaxPacket+1 || string(list[3].Data) != "abc" {
		t.Errorf("%d packets", len(list))
	}
	want := []string{
		"1 packet has more than 1048576 bytes: the first 1048576 are recorded; the first is packet 3",
		"options of 3 packets or other blocks are not valid, or too many to be kept: what is valid before them is kept; the first is packet 1",
		"4 packets have an interface whose description is not valid, so that its times may be wrong: they are read as microseconds since 1970 where it does not tell otherwise; the first is packet 1",
		"1 block larger than 8 MiB that stood before packets left out; the first is packet 1",
	}
	if diff := cmp.Diff(want, res.Warnings); diff != "" {
		t.Error(diff)
	}
}

// A classic pcap file that becomes pcapng says nothing of this machine either, and
// has no statistics that nobody counted.
func TestClassicBecomesPcapng(t *testing.T) {
	ip := datagram(ipUDP, "10.0.0.1", "10.0.0.2", 1, 2)
	_, out, err := carveNG(t, "", littlePcap.File(counted(ip, ip), 101))
	if err != nil {
		t.Fatal(err)
	}
	want := pcapfile.AppendSection(nil, &pcapfile.Section{Application: "pcapctl 9.9"})
	want = pcapfile.AppendInterface(want, &pcapfile.Interface{Description: "packets of standard input", LinkType: pcapfile.RawIP, SnapLen: pcapfile.MaxSnapLen})
	if !bytes.HasPrefix(out, want) || len(out) != len(want)+2*pcapfile.EnhancedLen(len(ip)) {
		t.Errorf("%q\nwant\n%q", out, want)
	}
}

// A time that classic pcap cannot hold is written as the nearest one, with a
// warning; of packets that no filter takes, and with a time limit, too.
func TestOddTimesAreNotADamagedFile(t *testing.T) {
	udp, tcp := datagram(ipUDP, "10.0.0.1", "10.0.0.2", 1, 2), datagram(ipTCP, "10.0.0.1", "10.0.0.2", 1, 2)
	early := littleNG.Interface(pcapfile.RawIP, 0, littleNG.Option(14, binary.LittleEndian.AppendUint64(nil, math.MaxUint64-99)))
	file := slices.Concat(littleNG.Section(), littleNG.Interface(pcapfile.RawIP, 0, nil), early,
		littleNG.Enhanced(0, 1<<62, udp, 40, nil), littleNG.Enhanced(0, 5e6, udp, 40, nil), littleNG.Enhanced(1, 5e6, udp, 40, nil),
		littleNG.Enhanced(0, 1<<62, tcp, 40, nil), littleNG.Enhanced(0, 7e6, tcp, 40, nil), littleNG.Enhanced(0, 8e6, udp, 40, nil))
	for _, test := range []struct {
		name, members string
		want          []int64
		warnings      []string
	}{
		{"all", "", []int64{math.MaxUint32, 5, 0, math.MaxUint32, 7, 8}, []string{"3 packets have a time outside 1970 to 2106: the file has the nearest time that classic pcap can hold; the first is packet 1"}},
		{"filtered", `"filters":[{"protocol":"UDP"}]`, []int64{math.MaxUint32, 5, 0, 8}, []string{"2 packets have a time outside 1970 to 2106: the file has the nearest time that classic pcap can hold; the first is packet 1"}},
		{"they are not measured by a time limit", `"timeLimitInSeconds":3,"filters":[{"protocol":"TCP"}]`, []int64{math.MaxUint32, 7}, []string{"1 packet has a time outside 1970 to 2106: the file has the nearest time that classic pcap can hold; the first is packet 4"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			res, out, err := carve(t, test.members, bytesSource(file))
			if err != nil {
				t.Fatal(err)
			}
			var got []int64
			for _, p := range packetsOf(t, out) {
				got = append(got, p.Sec)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(test.warnings, res.Warnings); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A clock that was set while packets were captured ends a time limit at once:
// that is said.
func TestTimeLimitOverALeapOfTheClock(t *testing.T) {
	ip := datagram(ipUDP, "10.0.0.1", "10.0.0.2", 1, 2)
	file := littlePcap.File([]pcaptest.Packet{{Data: ip, Sec: 5}, {Data: ip, Sec: 1_700_000_000}, {Data: ip, Sec: 1_700_000_001}}, 101)
	res, _, err := carve(t, `"timeLimitInSeconds":60`, bytesSource(file))
	if err != nil || res.StopReason != capture.TimeExceeded || len(res.Warnings) != 1 || !strings.Contains(res.Warnings[0], "packet 2, with which the time limit ended the capture, is 19675 days later") {
		t.Errorf("%v, %s, %q", err, res.StopReason, res.Warnings)
	}
}

// Packets of another link type end a capture into classic pcap only where the
// filters want them; the header has the link type of those that they want.
func TestOddLinkTypesOfUnwantedPackets(t *testing.T) {
	udp, tcp := datagram(ipUDP, "10.0.0.1", "10.0.0.2", 1, 2), datagram(ipTCP, "10.0.0.1", "10.0.0.2", 1, 2)
	eth := func(ip []byte) []byte { return framed(pcapfile.Ethernet, false, nil, ip) }
	const usb = pcapfile.LinkType(220)
	file := func(packets ...pcaptest.Packet) []byte {
		for i := range packets {
			packets[i].Sec = uint32(i + 1)
		}
		return littleNG.File(packets, pcapfile.RawIP, pcapfile.Ethernet, usb)
	}
	raw := func(ip []byte) pcaptest.Packet { return pcaptest.Packet{Data: ip} }
	cable := func(ip []byte) pcaptest.Packet { return pcaptest.Packet{Data: eth(ip), Interface: 1} }
	device := pcaptest.Packet{Data: make([]byte, 64), Interface: 2}
	for _, test := range []struct {
		name     string
		file     []byte
		want     []int
		link     pcapfile.LinkType
		fault    string
		warnings []string
	}{
		{"one between", file(cable(udp), raw(tcp), cable(udp)), []int{1, 3}, pcapfile.Ethernet, "", nil},
		{"the first ones", file(raw(tcp), raw(tcp), cable(udp)), []int{3}, pcapfile.Ethernet, "", nil},
		{"one that is wanted", file(cable(udp), raw(tcp), raw(udp)), []int{1}, pcapfile.Ethernet, "a packet of RAW", nil},
		{"none is wanted", file(raw(tcp), cable(tcp)), []int{}, pcapfile.RawIP, "", nil},
		{"filters cannot look into some", file(cable(udp), device, device, cable(udp)), []int{1, 4}, pcapfile.Ethernet, "",
			[]string{"2 packets are of link types that filters cannot look into: left out; the first is packet 2"}},
		{"nor into the first", file(device, cable(udp)), []int{2}, pcapfile.Ethernet, "",
			[]string{"1 packet is of link types that filters cannot look into: left out; the first is packet 1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			res, out, err := carve(t, `"filters":[{"protocol":"UDP"}]`, bytesSource(test.file))
			if (err != nil) != (test.fault != "") || err != nil && !strings.Contains(err.Error(), test.fault) {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, numbers(t, out)); diff != "" || res.Source.LinkType != test.link {
				t.Errorf("%s, %s", res.Source.LinkType, diff)
			}
			if diff := cmp.Diff(test.warnings, res.Warnings); diff != "" {
				t.Error(diff)
			}
		})
	}
}
