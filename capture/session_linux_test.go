package capture_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"
	"go.uber.org/goleak"

	"pcapctl/capture"
	"pcapctl/capture/deliver"
	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/save"
	"pcapctl/capture/source"
	"pcapctl/capture/source/live"
	"pcapctl/capture/testnet"
	"pcapctl/storage"
)

func TestMain(m *testing.M) {
	if storage.GuardMain() {
		return
	}
	os.Exit(m.Run())
}

// rig is a namespace with v0 and v1 connected, and a captures folder.
type rig struct {
	*testnet.NS
	t      *testing.T
	dir    string
	output request.Output
	buffer int // bytes of the packet ring, 0 for the default
	adds   request.Additions
	cooked pcapfile.LinkType
}

func newRig(t *testing.T) *rig {
	t.Helper()
	testnet.NeedTools(t, "tcpdump", "capinfos")
	r := &rig{NS: testnet.New(t), t: t, dir: t.TempDir()}
	r.Veth("v0", "v1")
	return r
}

// plan makes a plan of the properties given in JSON, without target and
// storage location.
func (r *rig) plan(properties string, on ...string) *capture.Plan {
	r.t.Helper()
	p, err := r.tryPlan(properties, on...)
	if err != nil {
		r.t.Fatal(err)
	}
	return p
}

func (r *rig) tryPlan(properties string, on ...string) (p *capture.Plan, err error) {
	r.t.Helper()
	where := "filePath"
	if strings.Contains(properties, "continuousCapture") {
		where = "localPath"
	}
	body := fmt.Sprintf(`{"properties":{"target":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1",
		"storageLocation":{%q:"%s/{packetCaptureName}.cap"}%s}}`, where, r.dir, properties)
	req, err := request.Decode([]byte(body))
	if err != nil {
		r.t.Fatal(err)
	}
	c, err := request.NewConfig(req, request.Host{GOOS: "linux", Name: "host", CapturesDir: r.dir, Now: time.Now(), Output: r.output, Additions: r.adds, Application: "test"})
	if err != nil {
		r.t.Fatal(err)
	}
	r.Do(func() {
		var spec *live.Spec
		if spec, err = live.NewSpec(c, live.Options{Interfaces: on, Promiscuous: true, BufferSize: r.buffer, Cooked: r.cooked}); err == nil {
			p = capture.NewPlan(c, spec)
		}
	})
	return p, err
}

func (r *rig) start(p *capture.Plan) *capture.Session {
	r.t.Helper()
	return r.startWith(p, capture.Options{})
}

func (r *rig) startWith(p *capture.Plan, o capture.Options) *capture.Session {
	r.t.Helper()
	var s *capture.Session
	var err error
	o.Guard = "/proc/self/exe"
	r.Do(func() { s, err = capture.Start(p, o) })
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// capture runs a session, calls during when packets are being captured, and
// then ends it by its context.
func (r *rig) capture(p *capture.Plan, during func()) *capture.Result {
	r.t.Helper()
	return r.captureWith(p, capture.Options{}, during)
}

func (r *rig) captureWith(p *capture.Plan, o capture.Options, during func()) *capture.Result {
	r.t.Helper()
	s := r.startWith(p, o)
	ctx, cancel := context.WithCancel(r.t.Context())
	go func() {
		defer cancel()
		during()
	}()
	res, err := s.Run(ctx)
	if err != nil {
		r.t.Fatal(err)
	}
	return res
}

// runUnderTraffic runs a session that ends by itself, and sends what next makes until it has. No number of packets
// is enough for sure: a busy machine may drop any of them before the socket, and the session would wait for more.
func (r *rig) runUnderTraffic(s *capture.Session, next func() []byte) (*capture.Result, error) {
	r.t.Helper()
	ctx, cancel := context.WithCancel(r.t.Context())
	sender := r.Sender("v0")
	var sending sync.WaitGroup
	sending.Go(func() {
		defer cancel()
		for ctx.Err() == nil {
			sender.Send(next())
		}
	})
	res, err := s.Run(ctx)
	cancel()
	sending.Wait()
	return res, err
}

// always makes the same frame.
func always(frame []byte) func() []byte { return func() []byte { return frame } }

// frame is an Ethernet frame with what the layers make.
func frame(t testing.TB, parts ...gopacket.SerializableLayer) []byte {
	t.Helper()
	eth := &layers.Ethernet{
		SrcMAC: []byte{2, 0, 0, 0, 0, 1}, DstMAC: []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, EthernetType: layers.EthernetTypeIPv4,
	}
	if _, ok := parts[0].(*layers.IPv6); ok {
		eth.EthernetType = layers.EthernetTypeIPv6
	}
	// Checksums are right: a bridge looks at them when it has netfilter.
	if len(parts) > 1 {
		network, _ := parts[0].(gopacket.NetworkLayer)
		if l, ok := parts[1].(interface {
			SetNetworkLayerForChecksum(gopacket.NetworkLayer) error
		}); ok && network != nil {
			_ = l.SetNetworkLayerForChecksum(network)
		}
	}
	buf := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, append([]gopacket.SerializableLayer{eth}, parts...)...); err != nil {
		t.Fatal(err)
	}
	return bytes.Clone(buf.Bytes())
}

// tcp is a frame from one address and port to another, numbered in its
// payload of n bytes.
func tcp(t testing.TB, src, dst string, sport, dport uint16, n int, number uint32) []byte {
	t.Helper()
	body := make([]byte, n)
	binary.BigEndian.PutUint32(body, number)
	return frame(t,
		&layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: ip(src), DstIP: ip(dst)},
		&layers.TCP{SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(dport), DataOffset: 5, ACK: true},
		gopacket.Payload(body))
}

func udp(t testing.TB, src, dst string, sport, dport uint16, n int) []byte {
	t.Helper()
	return frame(t,
		&layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: ip(src), DstIP: ip(dst)},
		&layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)},
		gopacket.Payload(make([]byte, n)))
}

func ip(s string) []byte {
	var b [4]byte
	_, _ = fmt.Sscanf(s, "%d.%d.%d.%d", &b[0], &b[1], &b[2], &b[3])
	return b[:]
}

type packet struct {
	Data   []byte
	Length int
}

// readBack reads a file with an independent reader, and has tcpdump and
// capinfos read it to its end without a complaint.
func readBack(t *testing.T, path string) (packets []packet) {
	t.Helper()
	check(t, path)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	r, err := pcapgo.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for {
		data, info, err := r.ReadPacketData()
		if err != nil {
			if err.Error() != "EOF" {
				t.Fatal(err)
			}
			return packets
		}
		if since := time.Since(info.Timestamp); since < -time.Minute || since > time.Hour {
			t.Errorf("packet of %v", info.Timestamp)
		}
		packets = append(packets, packet{data, info.Length})
	}
}

func check(t *testing.T, path string) {
	t.Helper()
	for _, cmd := range [][]string{{"tcpdump", "-nr", path, "-w", "/dev/null"}, {"capinfos", path}} {
		out, err := exec.CommandContext(t.Context(), cmd[0], cmd[1:]...).CombinedOutput()
		if err != nil || strings.Contains(string(out), "truncated") || strings.Contains(string(out), "cut short") {
			t.Errorf("%s: %v\n%s", strings.Join(cmd, " "), err, out)
		}
	}
}

func whole(frames ...[]byte) (packets []packet) {
	for _, f := range frames {
		packets = append(packets, packet{f, len(f)})
	}
	return packets
}

func TestExactlyTheMatchingPackets(t *testing.T) {
	r := newRig(t)
	const vm, peer, other = "10.0.0.5", "10.0.0.9", "10.0.0.7"
	in := tcp(t, peer, vm, 40000, 8443, 100, 1)
	out := tcp(t, vm, peer, 8443, 40000, 1400, 2)
	// The client on this host to another host's 8443: the port is the remote one.
	clientOut := tcp(t, vm, other, 50000, 8443, 10, 3)
	clientIn := tcp(t, other, vm, 8443, 50000, 10, 4)
	dns := udp(t, vm, other, 1234, 53, 30)
	for _, test := range []struct {
		name, filters string
		want          [][]byte
	}{
		{"none", `[]`, [][]byte{in, out, clientOut, clientIn, dns}},
		{"localPort by direction", `[{"localPort":"8443"}]`, [][]byte{in, out}},
		{"remotePort by direction", `[{"protocol":"TCP","remotePort":"8443"}]`, [][]byte{clientOut, clientIn}},
		{"UDP", `[{"protocol":"UDP"}]`, [][]byte{dns}},
		{"either of two", `[{"remotePort":"53"},{"localPort":"8000-9000","remoteIPAddress":"10.0.0.8-10.0.0.10"}]`, [][]byte{in, out, dns}},
		{"address list", `[{"remoteIPAddress":"10.0.0.7;10.0.0.8"}]`, [][]byte{clientOut, clientIn, dns}},
		{"local address", `[{"localIPAddress":"10.0.0.9"}]`, [][]byte{in, out}},
		{"nothing", `[{"localIPAddress":"fd00::1"}]`, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &rig{NS: r.NS, t: t, dir: r.dir}
			near, far := r.Sender("v1"), r.Sender("v0")
			res := r.capture(r.plan(`,"filters":`+test.filters, "v1"), func() {
				far.Send(in)
				near.Send(out)
				near.Send(clientOut)
				far.Send(clientIn)
				near.Send(dns)
			})
			if diff := cmp.Diff(whole(test.want...), readBack(t, res.Files[0].Path)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if res.StopReason != capture.Manual || res.Packets != uint64(len(test.want)) || res.Received != res.Packets || res.Dropped.Total() != 0 {
				t.Errorf("result %+v", res)
			}
		})
	}
}

func TestSnapLength(t *testing.T) {
	r := newRig(t)
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 1000, 1)
	tagged := tag(f, 0x8100, 7)
	s := r.Sender("v0")
	res := r.capture(r.plan(`,"bytesToCapturePerPacket":"40"`, "v1"), func() { s.Send(f); s.Send(tagged) })
	want := []packet{{f[:40], len(f)}, {tagged[:40], len(tagged)}}
	if diff := cmp.Diff(want, readBack(t, res.Files[0].Path)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// tag puts VLAN tags into a frame, outermost first.
func tag(frame []byte, tags ...uint16) []byte {
	f := bytes.Clone(frame[:12])
	for _, t := range tags {
		f = binary.BigEndian.AppendUint16(f, t)
	}
	return append(f, frame[12:]...)
}

func TestTagsArePutBack(t *testing.T) {
	r := newRig(t)
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 1)
	frames := [][]byte{f, tag(f, 0x8100, 0x6005), tag(f, 0x88a8, 9, 0x8100, 10), tag(f, 0x8100, 0)}
	for _, dev := range []string{"v0", "v1"} { // sent and received
		t.Run(dev, func(t *testing.T) {
			r := &rig{NS: r.NS, t: t, dir: r.dir}
			s := r.Sender("v0")
			res := r.capture(r.plan(`,"filters":[{"protocol":"TCP"}]`, dev), func() {
				for _, f := range frames {
					s.Send(f)
				}
			})
			if diff := cmp.Diff(whole(frames...), readBack(t, res.Files[0].Path)); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// The file is as large as the limit allows and never larger, and the limit
// that is reached is the one that is named.
func TestByteLimit(t *testing.T) {
	r := newRig(t)
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 1)
	record := 16 + len(f)
	for _, test := range []struct{ limit, packets int }{
		{24 + 10*record, 10},
		{24 + 10*record - 1, 9},
		{24 + 10*record + 15, 10},
		{24, 0},
		{24 + 20_000*record, 20_000},
	} {
		t.Run(fmt.Sprint(test.limit), func(t *testing.T) {
			r := &rig{NS: r.NS, t: t, dir: r.dir}
			session := r.start(r.plan(fmt.Sprintf(`,"totalBytesPerSession":%d,"timeLimitInSeconds":30`, test.limit), "v1"))
			res, err := r.runUnderTraffic(session, always(f))
			if err != nil {
				t.Fatal(err)
			}
			got := readBack(t, res.Files[0].Path)
			st, _ := os.Stat(res.Files[0].Path)
			if len(got) != test.packets || int(st.Size()) != 24+test.packets*record || res.StopReason != capture.SizeExceeded {
				t.Errorf("%d packets in %d bytes, %s; want %d", len(got), st.Size(), res.StopReason, test.packets)
			}
			if res.Packets != uint64(test.packets) || res.Files[0].Size != st.Size() {
				t.Errorf("the result says %d packets, %d bytes", res.Packets, res.Files[0].Size)
			}
		})
	}
}

func TestTimeLimitOnAnIdleLink(t *testing.T) {
	r := newRig(t)
	session := r.start(r.plan(`,"timeLimitInSeconds":2`, "v1"))
	res, err := session.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	// Not the time of the test: a guard under the race detector takes a second
	// to end.
	if d := res.Elapsed; d < 2*time.Second || d > 2300*time.Millisecond {
		t.Errorf("ended after %v", d)
	}
	if res.StopReason != capture.TimeExceeded || res.Packets != 0 {
		t.Errorf("%+v", res)
	}
	readBack(t, res.Files[0].Path)
}

// A packet on a quiet link is in the file within a second.
func TestQuietPacketIsSoonInTheFile(t *testing.T) {
	r := newRig(t)
	p := r.plan(`,"timeLimitInSeconds":30`, "v1")
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 1)
	r.capture(p, func() {
		r.Sender("v0").Send(f)
		for from := time.Now(); ; time.Sleep(5 * time.Millisecond) {
			if st, err := os.Stat(p.Config.FilePath); err == nil && st.Size() == int64(24+16+len(f)) {
				return
			}
			// A second is what is promised on a machine that is not itself
			// short of processors, as the one that runs the tests may be.
			if time.Since(from) > 3*time.Second {
				t.Error("not in the file after three seconds")
				return
			}
		}
	})
}

func TestFullDisk(t *testing.T) {
	r := newRig(t)
	if err := syscall.Mount("none", r.dir, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal("mount a small tmpfs: ", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(r.dir, 0) })
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 1000, 1)
	session := r.startWith(r.plan(`,"timeLimitInSeconds":30`, "v1"), capture.Options{MinFree: new(int64)})
	next := uint32(0)
	res, err := r.runUnderTraffic(session, func() []byte {
		binary.BigEndian.PutUint32(f[len(f)-1000:], next)
		next++
		return f
	})
	if fault.ClassOf(err) != fault.LocalFile || !errors.Is(err, syscall.ENOSPC) || res.StopReason != capture.FileFailed {
		t.Errorf("%v", err)
	}
	got := readBack(t, res.Files[0].Path)
	if len(got) < 900 || uint64(len(got)) != res.Packets || res.Dropped.ByFile == 0 {
		t.Errorf("%d packets in the file, result %+v", len(got), res)
	}
	if res.Received != res.Packets+res.Dropped.ByKernel+res.Dropped.ByFile {
		t.Errorf("received %d, but %d in the file and dropped %+v", res.Received, res.Packets, res.Dropped)
	}
	for i, p := range got {
		if n := binary.BigEndian.Uint32(p.Data[len(p.Data)-1000:]); n != uint32(i) {
			t.Fatalf("packet %d is number %d", i, n)
		}
	}
	if res.Files[0].Size != int64(24+len(got)*(16+len(f))) {
		t.Errorf("size %d", res.Files[0].Size)
	}
}

// A file that somebody cuts while it is being written is not a complete capture.
func TestTamperedFile(t *testing.T) {
	r := newRig(t)
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 1000, 1)
	for name, tamper := range map[string]func(path string) error{
		"emptied": func(path string) error { return os.Truncate(path, 0) },
		"cut":     func(path string) error { return os.Truncate(path, 500) },
	} {
		t.Run(name, func(t *testing.T) {
			r := &rig{NS: r.NS, t: t, dir: r.dir}
			p := r.plan("", "v1")
			session := r.start(p)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				defer cancel()
				s := r.Sender("v0")
				s.Send(f)
				for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
					if st, err := os.Stat(p.Config.FilePath); err == nil && st.Size() > 1000 {
						break
					}
				}
				if err := tamper(p.Config.FilePath); err != nil {
					t.Error(err)
				}
				if name == "emptied" {
					s.Send(f) // leaves a hole, and a file of the right length
				}
			}()
			res, err := session.Run(ctx)
			if fault.ClassOf(err) != fault.LocalFile || !errors.Is(err, storage.ErrTampered) || res.StopReason != capture.FileFailed || strings.Contains(err.Error(), "kept") {
				t.Errorf("%v: %s", err, res.StopReason)
			}
		})
	}
}

// slow is a watcher that holds up the packet loop once.
type slow struct{ once sync.Once }

func (w *slow) Progress(p capture.Progress) {
	if p.Packets > 0 {
		w.once.Do(func() { time.Sleep(1500 * time.Millisecond) })
	}
}
func (*slow) Interfaces(time.Duration, []source.Link) {}
func (*slow) Upload(deliver.Progress)                 {}
func (*slow) File(save.File)                          {}

// Packets that come after the time limit are not recorded, however long the
// process could not look at the clock.
func TestTimeLimitByThePackets(t *testing.T) {
	r := newRig(t)
	p := r.plan(`,"timeLimitInSeconds":1`, "v1")
	var session *capture.Session
	var err error
	r.Do(func() { session, err = capture.Start(p, capture.Options{Watcher: new(slow)}) })
	if err != nil {
		t.Fatal(err)
	}
	var sending sync.WaitGroup
	defer sending.Wait()
	sending.Go(func() {
		s := r.Sender("v0")
		for i := range uint32(20) { // at 0 and 0.1 … 1.9 seconds
			s.Send(tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, i))
			time.Sleep(100*time.Millisecond - time.Since(session.Started)%(100*time.Millisecond))
		}
	})
	res, err := session.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if n := len(readBack(t, res.Files[0].Path)); n < 9 || n > 11 || res.StopReason != capture.TimeExceeded {
		t.Errorf("%d packets, %s; they came every 100 ms for 2 s, the limit is 1 s", n, res.StopReason)
	}
}

// A start that fails leaves nothing behind, neither file nor process nor
// descriptor nor goroutine.
func TestNothingIsLeftBehind(t *testing.T) {
	r := newRig(t)
	before := descriptors(t)
	ignore := goleak.IgnoreCurrent()

	// The name exists.
	p := r.plan("", "v1")
	if err := os.WriteFile(p.Config.FilePath, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.Do(func() {
		if _, err := capture.Start(p, capture.Options{Guard: "/proc/self/exe"}); fault.ClassOf(err) != fault.Conflict {
			t.Errorf("got %v", err)
		}
	})
	// The interface has gone since the plan was made.
	p = r.plan("", "v1")
	r.IP("link", "del", "v1")
	r.Do(func() {
		if _, err := capture.Start(p, capture.Options{Guard: "/proc/self/exe"}); fault.ClassOf(err) != fault.NotFound {
			t.Errorf("got %v", err)
		}
	})
	if _, err := os.Stat(p.Config.FilePath); !os.IsNotExist(err) {
		t.Errorf("the file of a capture that never began: %v", err)
	}
	r.capture(r.plan("", "lo"), func() {})

	left, _ := filepath.Glob(r.dir + "/*")
	if len(left) != 2 { // the planted one and that of the good capture
		t.Errorf("files: %v", left)
	}
	if diff := cmp.Diff(before, descriptors(t)); diff != "" {
		t.Errorf("descriptors: (-before +after)\n%s", diff)
	}
	goleak.VerifyNone(t, ignore)
}

func descriptors(t *testing.T) (list []string) {
	t.Helper()
	fds, err := filepath.Glob("/proc/self/fd/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if to, err := os.Readlink(fd); err == nil && !strings.HasPrefix(to, "anon_inode:[event") {
			list = append(list, to)
		}
	}
	return list
}

func TestUnknownInterface(t *testing.T) {
	r := newRig(t)
	_, err := r.tryPlan("", "v1", "eth7")
	if fault.ClassOf(err) != fault.NotFound || !strings.Contains(err.Error(), "eth7") || !strings.Contains(err.Error(), "v0") {
		t.Errorf("got %v", err)
	}
}

// A kernel with little room for filters (net.core.optmem_max is 20 KiB on many)
// gets a program that it can take, and packets are chosen as exactly as ever.
func TestLittleRoomForFilters(t *testing.T) {
	r := newRig(t)
	var err error
	r.Do(func() { err = os.WriteFile("/proc/sys/net/core/optmem_max", []byte("4096"), 0) })
	if err != nil {
		t.Skip("this kernel has one optmem_max for all namespaces: ", err)
	}
	var filters []string
	for i := range 100 {
		filters = append(filters, fmt.Sprintf(`{"remoteIPAddress":"10.1.%d.1","remotePort":"%d"}`, i, 1000+i*7))
	}
	p := r.plan(`,"filters":[`+strings.Join(filters, ",")+`]`, "v1")
	if !p.Source.(*live.Spec).Program.Exact {
		t.Fatal("this test needs a set that fits a program")
	}
	hit, miss := udp(t, "10.1.50.1", "10.0.0.2", 1350, 9, 50), udp(t, "10.1.50.1", "10.0.0.2", 1351, 9, 50)
	s := r.Sender("v0")
	res := r.capture(p, func() { s.Send(miss); s.Send(hit); s.Send(miss) })
	if diff := cmp.Diff(whole(hit), readBack(t, res.Files[0].Path)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if res.Source.FilterMode != "kernel+user" || res.Packets != 1 {
		t.Errorf("%+v", res)
	}
}
