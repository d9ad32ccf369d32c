package capture_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
	"pcapctl/capture/request"
	"pcapctl/capture/source/capfile"
	"pcapctl/capture/testnet"
)

// traffic is packets of few addresses and ports, so that filters take some of
// them and not the others.
func traffic(link pcapfile.LinkType, form pcaptest.Form) []pcaptest.Packet {
	rnd := rand.New(rand.NewPCG(1, uint64(link)))
	v4 := []string{"10.0.0.1", "10.0.0.2", "10.0.0.5", "192.168.0.1"}
	v6 := []string{"fd00::1", "fd00::2", "fd00::ff"}
	var list []pcaptest.Packet
	for i := range 400 {
		hosts := v4
		if link != pcapfile.RawIPv4 && (link == pcapfile.RawIPv6 || i%2 == 1) {
			hosts = v6
		}
		ip := datagram([]byte{ipTCP, ipUDP, ipUDP, 47}[rnd.IntN(4)], hosts[rnd.IntN(len(hosts))], hosts[rnd.IntN(len(hosts))],
			uint16(80+rnd.IntN(8)), uint16(80+rnd.IntN(8)), make([]byte, rnd.IntN(100))...)
		outbound := rnd.IntN(2) == 0
		p := pcaptest.Packet{Data: framed(link, outbound, form.Order, ip), Sec: 1_700_000_000 + uint32(i), Nsec: rnd.Uint32N(1e9)}
		p.Length = len(p.Data) + rnd.IntN(2)*1000
		list = append(list, p)
	}
	return list
}

// Where a check is right.
type where uint8

const (
	anywhere where = iota
	untold         // where the link type does not tell the direction
	cooked         // where it does
)

// checks is how tcpdump says the same. Its "and" and "or" bind alike.
var checks = []struct {
	filters string
	local   string
	expr    string // "" takes what the filter gives as the equivalent one
	where   where
}{
	{"", "", " ", anywhere},
	{`{"protocol":"TCP"}`, "", "tcp", anywhere},
	{`{"protocol":"UDP","remotePort":"80-83"}`, "", "udp portrange 80-83", untold},
	{`{"localIPAddress":"10.0.0.1;fd00::ff"},{"protocol":"TCP","localPort":"85"}`, "", "host 10.0.0.1 or host fd00::ff or (tcp port 85)", untold},
	{`{"remoteIPAddress":"10.0.0.1-10.0.0.3","remotePort":"80"}`, "", "((src net 10.0.0.1/32 or src net 10.0.0.2/31) and src port 80) or ((dst net 10.0.0.1/32 or dst net 10.0.0.2/31) and dst port 80)", untold},
	{`{"localPort":"80;84"}`, "10.0.0.0/30", "(src net 10.0.0.0/30 and (src port 80 or src port 84)) or (dst net 10.0.0.0/30 and (dst port 80 or dst port 84))", anywhere},
	{`{"remotePort":"80"}`, "fd00::ff/128", "(src host fd00::ff and dst port 80) or (dst host fd00::ff and src port 80)", anywhere},
	{`{"localIPAddress":"10.0.0.1;10.0.0.5"},{"localIPAddress":"fd00::2","remotePort":"81"}`, "", "host 10.0.0.1 or host 10.0.0.5 or (src host fd00::2 and dst port 81) or (dst host fd00::2 and src port 81)", anywhere},
	{`{"localPort":"80-82"}`, "", "", cooked},
	{`{"protocol":"UDP","remoteIPAddress":"10.0.0.1","remotePort":"81"}`, "", "", cooked},
}

// tcpdump, with an expression that says the same, takes the same packets from
// files of every link type and form; capinfos finds the files good.
func TestOfflineAsTcpdump(t *testing.T) {
	testnet.NeedTools(t, "tcpdump", "capinfos")
	links := []pcapfile.LinkType{0, 1, 12, 101, 108, 113, 228, 229, 276}
	for i, link := range links {
		side := untold
		if link == pcapfile.SLL || link == pcapfile.SLL2 {
			side = cooked
		}
		for j, form := range pcaptest.Forms() {
			for k, check := range checks {
				// Every check on every link type, every form with some of them:
				// tcpdump takes its time to start.
				if check.where != anywhere && check.where != side || j != 0 && (i+j+k)%5 != 0 {
					continue
				}
				t.Run(fmt.Sprintf("%d/%v/%d", link, form, k), func(t *testing.T) {
					t.Parallel()
					asTcpdump(t, form.File(traffic(link, form), link), check.filters, check.local, check.expr)
				})
			}
		}
	}
}

func asTcpdump(t *testing.T, file []byte, filters, local, expr string) {
	t.Helper()
	s := fileSource(t, file)
	if local != "" {
		s.Local = []netip.Prefix{netip.MustParsePrefix(local)}
	}
	dir := t.TempDir()
	c := mustConfig(t, `"timeLimitInSeconds":0,"filters":[`+filters+`],`+savedAs(dir, "out.cap"), request.Host{GOOS: "linux", CapturesDir: dir, Now: time.Now()})
	if expr == "" {
		var ok bool
		if expr, ok = c.Filters.Filters()[0].PcapExpression(); !ok {
			t.Fatal("no expression")
		}
	}
	run, err := startFile(c, s)
	if err != nil {
		t.Fatal(err)
	}
	res, err := run.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out, err := os.ReadFile(c.FilePath)
	if err != nil {
		t.Fatal(err)
	}
	ours, others := packetsOf(t, out), tcpdump(t, s.Path, strings.TrimSpace(expr))
	if len(others) == 0 && !strings.Contains(expr, "host") && !strings.Contains(expr, "net") {
		t.Fatalf("%q takes nothing: nothing is shown", expr)
	}
	for i := range others {
		others[i].LinkType = res.Source.LinkType // 12 is written as 101
	}
	if diff := cmp.Diff(others, ours); diff != "" {
		t.Errorf("%q: %s", expr, diff)
	}
	info, err := exec.Command("capinfos", "-c", "-M", c.FilePath).CombinedOutput()
	if err != nil || !bytes.HasSuffix(bytes.TrimSpace(info), fmt.Appendf(nil, " %d", res.Packets)) || bytes.Contains(info, []byte("short")) {
		t.Errorf("want %d packets: %v\n%s", res.Packets, err, info)
	}
}

func tcpdump(t *testing.T, file, expr string) []pcapfile.Packet {
	t.Helper()
	theirs := filepath.Join(t.TempDir(), "theirs.pcap")
	msg, err := exec.Command("tcpdump", "--micro", "-r", file, "-w", theirs, expr).CombinedOutput()
	switch {
	case bytes.Contains(msg, []byte("expression rejects all packets")):
		return nil // of a link type that is of the other IP version only
	case err != nil:
		t.Fatalf("tcpdump %q: %v\n%s", expr, err, msg)
	}
	want, err := os.ReadFile(theirs)
	if err != nil {
		t.Fatal(err)
	}
	return packetsOf(t, want)
}

// tshark sees the same in a pcapng file before and after: interfaces, comments,
// resolved names, secrets, unknown blocks, and statistics. Only the section's
// application and the positions differ.
func TestOfflinePcapngAsTshark(t *testing.T) {
	testnet.NeedTools(t, "tshark", "capinfos")
	for name, blocks := range sections("Dumpcap") {
		file := join(blocks)
		_, out, err := carveNG(t, "", file)
		if err != nil {
			t.Fatal(err)
		}
		_, filtered, err := carveNG(t, `"filters":[{"protocol":"TCP"}]`, file)
		if err != nil {
			t.Fatal(err)
		}
		tshark := func(file []byte, args ...string) string {
			path := filepath.Join(t.TempDir(), "x.pcapng")
			if err := os.WriteFile(path, file, 0o600); err != nil {
				t.Fatal(err)
			}
			text, err := exec.Command("tshark", append([]string{"-r", path, "-N", "n"}, args...)...).Output()
			if err != nil {
				t.Fatalf("%v\n%s", err, text)
			}
			return string(text)
		}
		before := tshark(file, "-V")
		if diff := cmp.Diff(before, tshark(out, "-V")); diff != "" {
			t.Error(diff)
		}
		for _, want := range []string{"db.example", "first", "of the tunnel", "eth0", "wg0", "uplink"} {
			if !strings.Contains(before, want) {
				t.Errorf("%s: tshark shows nothing of %q: nothing is shown", name, want)
			}
		}
		fields := []string{"-Y", "tcp", "-T", "fields", "-e", "frame.interface_name", "-e", "frame.comment", "-e", "ip.src_host", "-e", "frame.time_epoch"}
		if got, want := tshark(filtered, fields...), tshark(file, fields...); got != want || !strings.Contains(got, "wg0\tof the tunnel\tdb.example") {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
		path := filepath.Join(t.TempDir(), "x.pcapng")
		if err := os.WriteFile(path, filtered, 0o600); err != nil {
			t.Fatal(err)
		}
		text, err := exec.Command("capinfos", path).CombinedOutput()
		for _, want := range []string{"a processor", "an OS", "Dumpcap; pcapctl 9.9", "a comment of the section", "Name = eth0", "Name = wg0"} {
			if err != nil || !bytes.Contains(text, []byte(want)) {
				t.Errorf("%s: capinfos does not say %q: %v\n%s", name, want, err, text)
			}
		}
	}
}

// What the message for a file of several link types tells to do, works.
func TestOfflineMixedCure(t *testing.T) {
	testnet.NeedTools(t, "tshark")
	ip := datagram(ipUDP, "10.0.0.1", "10.0.0.2", 1, 2)
	s := fileSource(t, littleNG.File([]pcaptest.Packet{
		{Data: framed(1, false, nil, ip), Sec: 1}, {Data: ip, Sec: 2, Interface: 1}, {Data: framed(1, false, nil, ip), Sec: 3},
	}, pcapfile.Ethernet, pcapfile.RawIP))
	if _, _, err := carve(t, "", s); err == nil || !strings.Contains(err.Error(), "-Y 'frame.interface_id == 0' -w one.pcapng") {
		t.Fatal(err)
	}
	for i, want := range [][]int{{1, 3}, {2}} {
		one := filepath.Join(t.TempDir(), "one.pcapng")
		if msg, err := exec.Command("tshark", "-r", s.Path, "-Y", fmt.Sprintf("frame.interface_id == %d", i), "-w", one).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, msg)
		}
		_, out, err := carve(t, `"filters":[{"protocol":"UDP"}]`, capfile.Options{Path: one})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, numbers(t, out)); diff != "" {
			t.Error(diff)
		}
	}
}
