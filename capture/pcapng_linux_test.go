package capture_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/request"
	"pcapctl/capture/source/live"
	"pcapctl/capture/testnet"
)

// tshark lists the fields of the packets of a file, one packet a line.
func tshark(t *testing.T, path string, args ...string) []string {
	t.Helper()
	testnet.NeedTools(t, "tshark")
	cmd := exec.CommandContext(t.Context(), "tshark", append([]string{"-nr", path}, args...)...)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil || strings.Contains(errs.String(), "cut short") || strings.Contains(errs.String(), "damaged") {
		t.Fatalf("%v\n%s", err, &errs)
	}
	return strings.Split(strings.TrimRight(string(out), "\n"), "\n")
}

// Three interfaces of different kinds: the file tells of each its name, link
// type, filter and drops, and of each packet its interface and direction.
func TestPcapngOfThreeInterfaces(t *testing.T) {
	testnet.NeedTools(t, "tshark")
	r := newRig(t)
	r.output = request.Output{Format: request.FormatPcapng}
	r.IP("link", "set", "v1", "alias", "to the left, größer")
	tun := r.tun("tun0")
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 1)
	tagged := tag(f, 0x8100, 7)
	foreign := udp(t, "10.0.0.1", "10.0.0.2", 1, 2, 10)
	v0, v1, lo := r.Sender("v0"), r.Sender("v1"), r.Sender("lo")
	p := r.plan(`,"filters":[{"protocol":"TCP"}]`, "v1", "tun0", "lo")
	if !strings.HasSuffix(p.Config.FilePath, ".cap") {
		t.Fatal(p.Config.FilePath) // {packetCaptureName}.cap was asked for, and stays
	}
	res := r.capture(p, func() {
		v0.Send(f)
		v1.Send(f)
		v0.Send(tagged)
		v0.Send(foreign)
		if _, err := tun.Write(f[14:]); err != nil {
			t.Error(err)
		}
		lo.Send(f)
	})
	got := tshark(t, res.Files[0].Path, "-T", "fields", "-E", "separator=|",
		"-e", "frame.interface_name", "-e", "frame.interface_description", "-e", "frame.encap_type", "-e", "frame.packet_flags", "-e", "frame.len", "-e", "vlan.id")
	want := []string{
		fmt.Sprintf("v1|to the left, größer|1|0x0000000d|%d|", len(f)),
		fmt.Sprintf("v1|to the left, größer|1|0x00000002|%d|", len(f)),
		fmt.Sprintf("v1|to the left, größer|1|0x0000000d|%d|7", len(tagged)),
		fmt.Sprintf("tun0|%s|7|0x00000005|%d|", described(res, "tun0"), len(f)-14),
		fmt.Sprintf("lo|%s|1|0x00000009|%d|", described(res, "lo"), len(f)),
	}
	for i := range got {
		// What tshark shows of directions and of interfaces differs in form
		// between its versions, not in value.
		got[i] = strings.ReplaceAll(got[i], "\\303\\266\\303\\237", "öß")
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	out, err := exec.CommandContext(t.Context(), "capinfos", res.Files[0].Path).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{
		"pcapctl test", "Name = v1", "Name = tun0", "Name = lo", "Filter string = " + p.Config.Filters.String(),
		"Encapsulation = Ethernet (1 - ether)", "Encapsulation = Raw IP", "nanoseconds (9)", "host host, session", `"protocol":"TCP"`,
		"Number of stat entries = 1", "Number of packets = 3",
	} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// described is the description of an interface without an alias.
func described(r *capture.Result, name string) string {
	for _, i := range r.Source.Links {
		if i.Name == name {
			mtu := map[string]int{"lo": 65536}[name]
			if mtu == 0 {
				mtu = 1500
			}
			return fmt.Sprintf("interface %d, MTU %d", i.Index, mtu)
		}
	}
	return "?"
}

// The counts of what was dropped are those of the result, and the packets that
// are there are in order, with the interfaces that appeared on the way.
func TestPcapngDropsAndNewInterfaces(t *testing.T) {
	testnet.NeedTools(t, "tshark")
	r := newRig(t)
	r.output = request.Output{Format: request.FormatPcapng}
	r.buffer = live.MinBufferSize // small enough to overflow
	p := r.plan(`,"bytesToCapturePerPacket":80`, "any")
	const sent = 20_000
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 26, 1)
	res := r.captureWith(p, capture.Options{Watcher: &heldUp{by: 50 * time.Millisecond}}, func() {
		s := r.Sender("v0")
		for i := range uint32(sent) {
			binary.BigEndian.PutUint32(f[len(f)-26:], i)
			s.Send(f)
		}
		r.Veth("late0", "late1")
		r.Sender("late0").Send(f)
	})
	path := res.Files[0].Path
	check(t, path)
	if n := len(tshark(t, path, "-Y", "frame.interface_name == late1", "-T", "fields", "-e", "frame.number")); n != 1 {
		t.Errorf("%d packets of the interface that appeared", n)
	}
	if n := len(tshark(t, path, "-T", "fields", "-e", "frame.number")); uint64(n) != res.Packets {
		t.Errorf("%d packets in the file, %d in the result", n, res.Packets)
	}
	if got := isb(t, path); got[0].system != res.Dropped.ByKernel || got[0].received+got.rest() != res.Packets+res.Dropped.ByKernel {
		t.Errorf("%+v, result %+v", got, res.Dropped)
	}
	t.Logf("%d packets, %d dropped", res.Packets, res.Dropped.ByKernel)
}

type isbCounts struct{ received, dropped, system, delivered uint64 }

type isbList []isbCounts

func (l isbList) rest() (sum uint64) {
	for _, i := range l[1:] {
		sum += i.received
	}
	return sum
}

// isb reads the statistics blocks of a file.
func isb(t *testing.T, path string) (list isbList) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	for len(b) > 0 {
		n := le.Uint32(b[4:])
		if le.Uint32(b) == 5 {
			var c isbCounts
			for o := b[20:]; le.Uint16(o) != 0; o = o[4+le.Uint16(o[2:]):] {
				switch v := le.Uint64(o[4:]); le.Uint16(o) {
				case 4:
					c.received = v
				case 5:
					c.dropped = v
				case 7:
					c.system = v
				case 8:
					c.delivered = v
				}
			}
			list = append(list, c)
		}
		b = b[n:]
	}
	return list
}

// The file is never larger than the limit, with all that stands at its end.
func TestPcapngByteLimit(t *testing.T) {
	r := newRig(t)
	r.output = request.Output{Format: request.FormatPcapng}
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 1)
	empty := r.capture(r.plan("", "v1"), func() {}).Files[0].Size
	for _, extra := range []int64{0, 199, 200, 100_000} {
		limit := empty + extra
		p := r.plan(fmt.Sprintf(`,"totalBytesPerSession":%d`, limit), "v1")
		session := r.start(p)
		res, err := r.runUnderTraffic(session, always(f))
		if err != nil {
			t.Fatal(err)
		}
		// The comment holds the limit, in as many digits as it has.
		size := res.Files[0].Size
		if size > limit || limit-size > int64(len(f)+60+8) || res.StopReason != capture.SizeExceeded {
			t.Errorf("limit %d: %d bytes, %s", limit, size, res.StopReason)
		}
		check(t, res.Files[0].Path)
	}
	p := r.plan(`,"totalBytesPerSession":100`, "v1")
	r.Do(func() {
		if _, err := capture.Start(p, capture.Options{}); fault.ClassOf(err) != fault.Invalid || !strings.Contains(err.Error(), "is too small") {
			t.Errorf("%v", err)
		}
	})
	if _, err := os.Stat(p.Config.FilePath); !os.IsNotExist(err) {
		t.Error("a refused capture left its file")
	}
}

func TestNanoseconds(t *testing.T) {
	r := newRig(t)
	r.output = request.Output{Precision: request.PrecisionNano}
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 1)
	res := r.capture(r.plan("", "v1"), func() {
		s := r.Sender("v0")
		for range 20 {
			s.Send(f)
		}
	})
	if diff := cmp.Diff(20, len(readBack(t, res.Files[0].Path))); diff != "" {
		t.Error(diff)
	}
	fine := false
	for _, at := range tshark(t, res.Files[0].Path, "-T", "fields", "-e", "frame.time_epoch") {
		_, fraction, _ := strings.Cut(at, ".")
		n, err := strconv.Atoi(fraction)
		if err != nil || len(fraction) != 9 {
			t.Fatalf("time %s", at)
		}
		fine = fine || n%1000 != 0
	}
	if !fine {
		t.Error("no time is finer than a microsecond")
	}
	out, _ := exec.CommandContext(t.Context(), "capinfos", "-t", res.Files[0].Path).CombinedOutput()
	if !strings.Contains(string(out), "nanosecond") {
		t.Errorf("%s: %s", filepath.Base(res.Files[0].Path), out)
	}
}
