package capture_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
	"pcapctl/capture/request"
	"pcapctl/capture/source/capfile"
)

// What is wrong before the first packet is refused, and nothing is made. What is
// wrong behind it ends the capture, and what was recorded is kept.
func TestOfflineFaults(t *testing.T) {
	ip := datagram(ipUDP, "10.0.0.1", "10.0.0.2", 1, 2)
	good := littlePcap.File(counted(ip, ip), 101)
	mixed := littleNG.File([]pcaptest.Packet{{Data: ip, Sec: 1}, {Data: ip, Sec: 2, Interface: 1}}, pcapfile.RawIP, pcapfile.SLL)
	second := littleNG.File([]pcaptest.Packet{{Data: ip, Sec: 1, Interface: 1}}, pcapfile.SLL, pcapfile.RawIP)
	for _, test := range []struct {
		name, members string
		file          []byte
		class         fault.Class
		message       string
		kept          int // packets; -1 when refused
	}{
		{"empty", "", nil, fault.Invalid, "byte 0: the file is empty", -1},
		{"text", "", []byte("no capture"), fault.Invalid, "neither a pcap nor a pcapng file", -1},
		{"half a header", "", good[:20], fault.Invalid, "ends at byte 20", -1},
		{"half a packet", "", good[:60], fault.Invalid, "byte 24: the file is cut short: it ends at byte 60", -1},
		{"an unknown link type with filters", `"filters":[{"protocol":"UDP"}]`, littlePcap.File(counted(ip), 239), fault.Invalid, "packets of NFLOG (Linux netfilter log messages); allowed: Ethernet", -1},
		{"an unknown link type with a filter of everything", `"filters":[{}]`, littlePcap.File(counted(ip), 239), fault.Internal, "", 1},
		{"a section and nothing else", "", littleNG.Section(), fault.Invalid, "no link type", -1},
		{"to a blob", `"storageLocation":{"storageId":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Storage/storageAccounts/account1","filePath":"/var/captures/x"}`,
			good, fault.Invalid, "not saved to a storage account", -1},
		{"half the second packet", "", good[:100], fault.Failed, "byte 80: the file is cut short: it ends at byte 100", 1},
		{"garbage behind", "", append(slices.Clone(good), bytes.Repeat([]byte{0xff}, 64)...), fault.Failed, "byte 136", 2},
		{"mixed link types", "", mixed, fault.Failed, "a packet of LINUX_SLL (Linux cooked v1), while those before are of RAW (raw IP)", 1},
		{"only packets of the second link type", `"filters":[{"protocol":"UDP"}]`, second, fault.Internal, "", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			var res *capture.Result
			var out []byte
			var err error
			if strings.Contains(test.members, "storageId") {
				c := mustConfig(t, test.members, testHost())
				_, err = startFile(c, bytesSource(test.file))
			} else {
				res, out, err = carve(t, test.members, bytesSource(test.file))
			}
			if test.message == "" {
				if err != nil {
					t.Fatal(err)
				}
			} else if err == nil || fault.ClassOf(err) != test.class || !strings.Contains(err.Error(), test.message) {
				t.Fatalf("%v: %v", fault.ClassOf(err), err)
			}
			if (res == nil) != (test.kept < 0) {
				t.Fatalf("%+v", res)
			}
			if res == nil {
				return
			}
			if got := len(packetsOf(t, out)); got != test.kept || res.Packets != uint64(test.kept) || (err != nil) != (res.StopReason == capture.CaptureBroken) {
				t.Errorf("%s, %d packets", res.StopReason, got)
			}
		})
	}
}

// Other formats than classic pcap in microseconds: nanoseconds are kept, and
// pcapng keeps directions and holds packets of several link types.
func TestOfflineFormats(t *testing.T) {
	ip := datagram(ipUDP, "10.0.0.1", "10.0.0.2", 1, 2)
	from := pcaptest.Form{Order: binary.BigEndian, NG: true, Nano: true}
	file := from.File([]pcaptest.Packet{
		{Data: framed(pcapfile.SLL, true, nil, ip), Sec: 1, Nsec: 123_456_789, Direction: pcapfile.Outbound},
		{Data: ip, Sec: 2, Nsec: 1, Interface: 1, Direction: pcapfile.Inbound},
		{Data: ip[1:], Sec: 3, Interface: 1},
		{Data: framed(pcapfile.SLL, true, nil, ip), Sec: 4, Length: 1500},
	}, pcapfile.SLL, pcapfile.RawIP)
	for _, test := range []struct {
		name   string
		output request.Output
		file   []byte
		want   []int
		fault  string
	}{
		{"several link types", request.Output{Format: request.FormatPcapng}, file, []int{1, 2, 4}, ""},
		{"one of them is unknown", request.Output{Format: request.FormatPcapng}, bytes.ReplaceAll(file, from.Interface(101, 0, from.Option(9, []byte{9})), from.Interface(239, 0, from.Option(9, []byte{9}))), []int{1, 4}, ""},
		{"nanoseconds", request.Output{Precision: request.PrecisionNano}, from.File([]pcaptest.Packet{{Data: ip, Sec: 1, Nsec: 123_456_789}}, pcapfile.RawIP), []int{1}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			c, err := request.NewConfig(testRequest(t, `"filters":[{"protocol":"UDP"}],`+savedAs(dir, "out.cap")), request.Host{GOOS: runtime.GOOS, CapturesDir: dir, Now: time.Now(), Output: test.output})
			if err != nil {
				t.Fatal(err)
			}
			run, err := startFile(c, bytesSource(test.file))
			if err != nil {
				t.Fatal(err)
			}
			_, err = run.Run(t.Context())
			if test.fault == "" && err != nil || test.fault != "" && (fault.ClassOf(err) != fault.Failed || !strings.Contains(err.Error(), test.fault)) {
				t.Fatal(err)
			}
			out, err := os.ReadFile(c.FilePath)
			if err != nil {
				t.Fatal(err)
			}
			var want []pcapfile.Packet
			for _, w := range packetsOf(t, test.file) {
				if slices.Contains(test.want, int(w.Sec)) {
					want = append(want, w)
				}
			}
			if diff := cmp.Diff(want, packetsOf(t, out)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestOfflineFiles(t *testing.T) {
	dir := t.TempDir()
	in := filepath.Join(dir, "in.cap")
	if err := os.WriteFile(in, littlePcap.File(nil, 1), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(in, filepath.Join(dir, "link.cap")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "there.cap"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, in, out string
		class         fault.Class
		message       string
	}{
		{"no such file", dir + "/nosuch", "x.cap", fault.NotFound, "nosuch"},
		{"a folder", dir, "x.cap", fault.Invalid, "is a folder"},
		{"itself", in, "in.cap", fault.Conflict, "is the file that is read"},
		{"itself by another name", in, "link.cap", fault.Conflict, "is the file that is read"},
		{"one that exists", in, "there.cap", fault.Conflict, "nothing is overwritten"},
		{"a missing folder", in, "sub/x.cap", fault.NotFound, "captures folder"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := mustConfig(t, savedAs(dir, test.out), request.Host{GOOS: runtime.GOOS, CapturesDir: dir, Now: time.Now()})
			spec, err := capfile.NewSpec(c, capfile.Options{Path: test.in})
			if err != nil {
				t.Fatal(err)
			}
			p := capture.NewPlan(c, spec)
			if in, perr := p.Source.Prepare(func() error { return nil }); perr == nil {
				if p.CheckFile() == nil {
					t.Error("CheckFile finds nothing")
				}
				_ = in.Close()
			}
			_, err = capture.Start(p, capture.Options{})
			if fault.ClassOf(err) != test.class || err == nil || !strings.Contains(err.Error(), test.message) {
				t.Errorf("%v: %v", fault.ClassOf(err), err)
			}
		})
	}
	if after, err := os.ReadFile(in); err != nil || !bytes.Equal(after, littlePcap.File(nil, 1)) {
		t.Errorf("the file that was read: %d bytes, %v", len(after), err)
	}
}
