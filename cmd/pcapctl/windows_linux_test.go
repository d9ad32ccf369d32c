package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"github.com/google/gopacket/pcapgo"

	"pcapctl/capture"
	"pcapctl/capture/testnet"
	"pcapctl/capture/testwine"
	"pcapctl/storage/azblob/blobtest"
)

// pair is pcapctl for Linux and for Windows on one machine, both with the interface v1.
type pair struct {
	*host
	wine *testwine.Prefix
	exe  string
	out  *testnet.Sender // into v0: v1 receives it
	back *testnet.Sender // into v1: v1 sends it
}

func newPair(t *testing.T) *pair {
	t.Helper()
	h := newHost(t)
	p := &pair{host: h, wine: testwine.New(t, h.Command), exe: h.path("pcapctl.exe"), out: h.Sender("v0"), back: h.Sender("v1")}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", p.exe, ".")
	build.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build pcapctl.exe: %v\n%s", err, out)
	}
	return p
}

// windows is a command of the program for Windows.
func (p *pair) windows(args ...string) *exec.Cmd {
	return p.wine.Command(p.exe, args...)
}

// run runs a command for Windows to its end. It writes to files: with Wine a background process keeps the pipes open that
// the one which started it writes to.
func (p *pair) run(t *testing.T, args ...string) outcome {
	t.Helper()
	var files [2]*os.File
	for i := range files {
		var err error
		files[i], err = os.CreateTemp(t.TempDir(), "")
		must(t, err)
		defer func() { _ = files[i].Close() }()
	}
	cmd := p.windows(args...)
	cmd.Stdout, cmd.Stderr = files[0], files[1]
	must(t, cmd.Start())
	timer := time.AfterFunc(90*time.Second, func() { _ = cmd.Process.Kill() })
	_ = cmd.Wait() // the exit code says what came of it
	timer.Stop()
	var texts [2]string
	for i, f := range files {
		text, err := os.ReadFile(f.Name())
		must(t, err)
		texts[i] = string(text)
	}
	return outcome{cmd.ProcessState.ExitCode(), texts[0], texts[1]}
}

// started is a capture that captures.
type started struct {
	t        *testing.T
	cmd      *exec.Cmd
	out, err lockedBuffer
	done     chan struct{}
}

func begin(t *testing.T, cmd *exec.Cmd) *started {
	t.Helper()
	s := &started{t: t, cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &s.out, &s.err
	must(t, cmd.Start())
	go func() {
		defer close(s.done)
		_ = cmd.Wait()
	}()
	return s
}

// captures waits until it captures.
func (s *started) captures() *started {
	s.t.Helper()
	until(s.t, "a capture to begin", func() bool {
		select {
		case <-s.done:
			s.t.Fatalf("%s: ended: %s%s", s.cmd, &s.err, &s.out)
		default:
		}
		return strings.Contains(s.err.String(), "capturing on")
	})
	return s
}

// saysSomething waits until it has said something, or has ended, and tells which.
func (s *started) saysSomething() bool {
	s.t.Helper()
	ended := false
	until(s.t, "a program to say something", func() bool {
		select {
		case <-s.done:
			ended = true
		default:
		}
		return ended || s.err.String() != "" || s.out.String() != ""
	})
	return !ended || s.err.String() != "" || s.out.String() != ""
}

// ends wants it to end with an exit code, and gives back the result.
func (s *started) ends(code int) *capture.Resource {
	s.t.Helper()
	select {
	case <-s.done:
	case <-time.After(60 * time.Second):
		_ = s.cmd.Process.Kill()
		s.t.Fatalf("%s does not end: %s", s.cmd, &s.err)
	}
	if got := s.cmd.ProcessState.ExitCode(); got != code {
		s.t.Fatalf("%s: exit code %d, want %d: %s%s", s.cmd, got, code, &s.err, &s.out)
	}
	res := &capture.Resource{}
	if err := json.Unmarshal([]byte(s.out.String()), res); err != nil || res.Properties.Statistics == nil {
		s.t.Fatalf("no resource: %v: %s", err, &s.out)
	}
	return res
}

// both starts a capture of the same name and flags by both programs, and waits until both capture.
func (p *pair) both(t *testing.T, name string, args ...string) (linux, windows *started) {
	t.Helper()
	args = append([]string{"create", "-o", "json", "-n", name, "-i", "v1", "--buffer-size", "2MiB"}, args...)
	linux, windows = begin(t, p.command(args...)), begin(t, p.windows(args...))
	linux.captures()
	// Wine 8 itself breaks now and then, when many programs start at once: such a program ends without a word.
	for try := 1; try < 3 && !windows.saysSomething(); try++ {
		t.Logf("%s: ended without a word (%v); started again", windows.cmd, windows.cmd.ProcessState)
		windows = begin(t, p.windows(args...))
	}
	windows.captures()
	return linux, windows
}

// files are what both have captured, frame by frame.
func (p *pair) files(t *testing.T, name string) (linux, windows [][]byte) {
	t.Helper()
	return framesOf(t, p.path("captures/"+name)), framesOf(t, p.wine.C("Captures/"+name))
}

// framesOf reads a file of either format by a reader that is not ours, to its end.
func framesOf(t *testing.T, path string) (frames [][]byte) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer func() { _ = f.Close() }()
	var r gopacket.PacketDataSource
	if strings.HasSuffix(path, ".pcapng") {
		r, err = pcapgo.NewNgReader(f, pcapgo.DefaultNgReaderOptions)
	} else {
		r, err = pcapgo.NewReader(f)
	}
	must(t, err)
	for {
		data, _, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) {
			return frames
		}
		if err != nil {
			t.Fatalf("%s: packet %d: %v", path, len(frames), err)
		}
		frames = append(frames, data)
	}
}

// TestWindowsBesideLinux has pcapctl for Windows, under Wine, and pcapctl for Linux do the same at the same time.
func TestWindowsBesideLinux(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("builds a program, and takes half a minute")
	}
	p := newPair(t)
	for _, one := range []struct {
		name string
		test func(*testing.T, *pair)
	}{
		{"interfaces", sameInterfaces}, {"filters", samePackets}, {"byte limit", sameByteLimit}, {"time limit", sameTimeLimit}, {"pcapng", sameBlocks},
		{"Ctrl-C", windowsInterrupted}, {"kill", windowsKilled}, {"session", windowsSession}, {"upload", windowsUpload},
	} {
		t.Run(one.name, func(t *testing.T) { one.test(t, p) })
	}
}

func sameInterfaces(t *testing.T, p *pair) {
	type adapter struct {
		Name, MACAddress, State, Framing string
		Index, MTU                       int
		Addresses                        []string
	}
	p.IP("addr", "add", "10.9.0.1/24", "dev", "v1")
	list := func(o outcome) map[string]adapter {
		var all []adapter
		o.want(t, 0, "v1")
		must(t, json.Unmarshal([]byte(o.out), &all))
		byName := map[string]adapter{}
		for _, one := range all {
			slices.Sort(one.Addresses)
			byName[one.Name] = one
		}
		return byName
	}
	linux, windows := list(p.host.run("interfaces", "-o", "json")), list(p.run(t, "interfaces", "-o", "json"))
	for _, name := range []string{"v0", "v1", "lo"} {
		mac, err := p.mac(name)
		must(t, err)
		one := linux[name]
		one.MACAddress = mac.String() // which is not told there
		linux[name] = one
		if got, want := fmt.Sprint(windows[name]), fmt.Sprint(linux[name]); got != want {
			t.Errorf("on Windows %s is\n%s, on Linux\n%s", name, got, want)
		}
	}
}

// samePackets: the same frames for the same filters, in the same order. 128.0.0.0 is where a signed comparison goes wrong.
func samePackets(t *testing.T, p *pair) {
	filters := [][]string{
		{},
		{"--port", "443"},
		{"--port", "443", "--icmp-errors=false"},
		{"--host", "100.0.0.0-200.0.0.0"},
		{"--filter", "remoteIPAddress=100.0.0.0-200.0.0.0"},
		{"--filter", "remoteIPAddress=128.0.0.0-255.255.255.255"},
		{"--filter", "remoteIPAddress=0.0.0.0-127.255.255.255"},
		{"--filter", "remoteIPAddress=127.255.255.255-128.0.0.0"},
		{"--filter", "remoteIPAddress=99.255.255.255,128.0.0.0,200.0.0.1"},
		{"--filter", "protocol=TCP,remotePort=53,8080"},
		{"--filter", "protocol=UDP,localPort=50000"},
		{"--filter", "remotePort=443-8080"},
		{"--host", "2001:db8::1"},
		{"--filter", "remoteIPAddress=7000::-9000::"},
		{"--filter", "protocol=UDP,remoteIPAddress=150.1.2.3"},
		{"--filter", "remotePort=53", "--filter", "localPort=443,remoteIPAddress=128.0.0.0-199.255.255.255"},
		// Not less: libpcap, which is Wine's Npcap, filters the first packets of a capture again, when they have been cut.
		{"--capture-size", "66", "--port", "40000"},
	}
	linux, windows := make([]*started, len(filters)), make([]*started, len(filters))
	var group sync.WaitGroup
	for i, args := range filters {
		group.Go(func() { linux[i], windows[i] = p.both(t, fmt.Sprintf("f%d", i), args...) })
	}
	group.Wait()
	if t.Failed() {
		return
	}
	device, err := p.mac("v1")
	must(t, err)
	frames := sideFrames(t, device)
	for _, f := range frames {
		if f.sent {
			p.back.Send(f.data)
		} else {
			p.out.Send(f.data)
		}
	}
	p.run(t, "stop", "--all").want(t, 0, "")
	p.host.run("stop", "--all").want(t, 0, "")
	for i, args := range filters {
		linuxStats := linux[i].ends(0).Properties.Statistics
		stats := windows[i].ends(0).Properties.Statistics
		want, got := p.files(t, fmt.Sprintf("f%d.cap", i))
		if len(args) == 0 && len(want) != len(frames) || len(args) > 0 && (len(want) == 0 || len(want) == len(frames)) {
			t.Errorf("%v: %d of %d frames on Linux: the filter tests nothing", args, len(want), len(frames))
		}
		if stats.PacketsCaptured != uint64(len(got)) || stats.PacketsReceived != uint64(len(got)) || stats.FilterMode != "kernel" {
			t.Errorf("%v: %d packets in the file, and %d, %d in the result, filtered by the %s", args, len(got), stats.PacketsCaptured, stats.PacketsReceived, stats.FilterMode)
		}
		dropped, droppedThere := linuxStats.PacketsDroppedByKernel, stats.PacketsDroppedByKernel
		if dropped+droppedThere > 0 && uint64(len(want))+dropped == uint64(len(got))+droppedThere {
			t.Logf("%v: a kernel without time dropped packets, and said so: %d on Linux, %d on Windows", args, dropped, droppedThere)
		} else if !slices.EqualFunc(want, got, bytes.Equal) {
			t.Errorf("%v: %d frames on Linux, %d dropped; %d on Windows, %d dropped; or others%.200s", args,
				len(want), dropped, len(got), droppedThere, firstDifference(want, got))
		}
	}
}

func firstDifference(want, got [][]byte) string {
	for i := range max(len(want), len(got)) {
		switch {
		case i >= len(want):
			return fmt.Sprintf("; too much: % x", got[i])
		case i >= len(got):
			return fmt.Sprintf("; missing: % x", want[i])
		case !bytes.Equal(want[i], got[i]):
			return fmt.Sprintf("; %d: want % x, got % x", i, want[i], got[i])
		}
	}
	return ""
}

func sameByteLimit(t *testing.T, p *pair) {
	linux, windows := p.both(t, "bytes", "--capture-limit", "5000")
	for i := range 100 {
		p.out.Send(numbered(i))
	}
	for _, one := range []*started{linux, windows} {
		if res := one.ends(0); res.Properties.StopReason != "SizeExceeded" {
			t.Errorf("%s: ended by %s", one.cmd, res.Properties.StopReason)
		}
	}
	want, got := p.files(t, "bytes.cap")
	if len(want) != (5000-24)/(16+64) || !slices.EqualFunc(want, got, bytes.Equal) {
		t.Errorf("%d packets on Linux, %d on Windows%s", len(want), len(got), firstDifference(want, got))
	}
}

// sameTimeLimit: also on a link where nothing comes.
func sameTimeLimit(t *testing.T, p *pair) {
	linux, windows := p.both(t, "time", "--time-limit", "1")
	for _, one := range []*started{linux, windows} {
		res := one.ends(0)
		if d := res.Properties.Statistics.DurationInSeconds; res.Properties.StopReason != "TimeExceeded" || d < 0.99 {
			t.Errorf("%s: ended by %s after %v s", one.cmd, res.Properties.StopReason, d)
		}
	}
}

func sameBlocks(t *testing.T, p *pair) {
	linux, windows := p.both(t, "ng", "--format", "pcapng", "--file-path", "ng.pcapng")
	p.sendNumbered(100)
	p.run(t, "stop", "ng").want(t, 0, "")
	p.host.run("stop", "ng").want(t, 0, "")
	linux.ends(0)
	windows.ends(0)
	want, got := p.files(t, "ng.pcapng")
	if len(want) != 100 || !slices.EqualFunc(want, got, bytes.Equal) {
		t.Errorf("%d packets on Linux, %d on Windows%s", len(want), len(got), firstDifference(want, got))
	}
	out, err := exec.CommandContext(t.Context(), "capinfos", p.wine.C("Captures/ng.pcapng")).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("Name = v1")) || !bytes.Contains(out, []byte("windows")) {
		t.Errorf("capinfos: %v\n%s", err, out)
	}
}

// sendNumbered sends into v0 by the sender that there is.
func (p *pair) sendNumbered(n int) {
	for i := range n {
		p.out.Send(numbered(i))
	}
}

// windowsInterrupted: Wine makes a Ctrl-C of a SIGINT.
func windowsInterrupted(t *testing.T, p *pair) {
	windows := begin(t, p.windows("create", "-o", "json", "-n", "ctrl", "-i", "v1")).captures()
	p.sendNumbered(100)
	must(t, windows.cmd.Process.Signal(os.Interrupt))
	if res := windows.ends(0); res.Properties.StopReason != "Manual" {
		t.Errorf("ended by %s", res.Properties.StopReason)
	}
	numbers(t, p.wine.C("Captures/ctrl.cap"), 100)
}

// windowsKilled: what is in the file after a kill under load ends with a whole packet, and the session is told to be lost.
func windowsKilled(t *testing.T, p *pair) {
	windows := begin(t, p.windows("create", "-o", "json", "-n", "killed", "-i", "v1", "--buffer-size", "2MiB")).captures()
	path := p.wine.C("Captures/killed.cap")
	stop, sent := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(sent)
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
				p.out.Send(numbered(i))
			}
		}
	}()
	until(t, "the file to grow", func() bool {
		info, err := os.Stat(path)
		return err == nil && info.Size() > 1<<20
	})
	must(t, windows.cmd.Process.Signal(syscall.SIGKILL))
	<-windows.done
	close(stop)
	<-sent
	o := p.run(t, "show-status", "killed", "-o", "json").want(t, 0, "AgentStopped")
	var status struct {
		Statistics struct{ PacketsCaptured int }
	}
	must(t, json.Unmarshal([]byte(o.out), &status))
	if frames := framesOf(t, path); len(frames) == 0 || len(frames) != status.Statistics.PacketsCaptured {
		t.Errorf("%d whole packets in the file, %d in the record", len(frames), status.Statistics.PacketsCaptured)
	}
}

func windowsSession(t *testing.T, p *pair) {
	p.run(t, "create", "--no-wait", "-n", "web", "-i", "v1").want(t, 0, `"Running"`)
	p.run(t, "create", "--no-wait", "-n", "WEB", "-i", "v1").want(t, 5, "PacketCaptureExistingAlready")
	p.sendNumbered(100)
	until(t, "100 packets to be counted", func() bool {
		o := p.run(t, "show-status", "web", "--query", "statistics.packetsCaptured")
		return strings.TrimSpace(o.out) == "100"
	})
	p.run(t, "list", "--running", "-o", "table").want(t, 0, "web")
	p.run(t, "stop", "web").want(t, 0, "stopped web (Manual): 100 packets")
	numbers(t, p.wine.C("Captures/web.cap"), 100)
	p.run(t, "wait", "web").want(t, 0, "")
	p.run(t, "delete", "web").want(t, 0, "")
	p.run(t, "show", "web").want(t, 4, "no such session")
	if _, err := os.Stat(p.wine.C("Captures/web.cap")); err != nil {
		t.Errorf("delete has taken the file: %v", err)
	}
}

// windowsUpload: the blob is the file, byte for byte, and none of the upload's own packets is in it.
func windowsUpload(t *testing.T, p *pair) {
	azurite := blobtest.Start(t)
	var l net.Listener
	var err error
	p.Do(func() { l, err = net.Listen("tcp", "127.0.0.1:0") })
	must(t, err)
	proxy := blobtest.NewProxy(t, azurite, l, nil)
	azurite.Container("captures")
	cmd := p.windows("create", "-o", "json", "-n", "up", "-i", "v1", "-i", "lo", "--file-path", "up.cap", "--storage-account", testAccountID,
		"--storage-path", azurite.Endpoint(proxy.Addr)+"/captures/up.cap")
	cmd.Env = append(cmd.Env, "PCAPCTL_BLOB_ENDPOINT="+azurite.Endpoint(proxy.Addr), "AZURE_STORAGE_KEY="+azurite.Key, "AZURE_STORAGE_SAS_TOKEN=", "AZURE_STORAGE_CONNECTION_STRING=")
	windows := begin(t, cmd).captures()
	p.sendNumbered(1000)
	p.run(t, "stop", "up").want(t, 0, "")
	res := windows.ends(0)
	if n := res.Properties.Statistics.PacketsCaptured; n != 1000 {
		t.Errorf("%d packets instead of 1000", n)
	}
	blob, _ := azurite.Get("captures/up.cap")
	file, err := os.ReadFile(p.wine.C("Captures/up.cap"))
	must(t, err)
	if len(file) == 0 || !bytes.Equal(blob, file) {
		t.Errorf("the blob has %d bytes and is not the file of %d", len(blob), len(file))
	}
}

func (p *pair) mac(name string) (mac net.HardwareAddr, err error) {
	p.Do(func() {
		var one *net.Interface
		if one, err = net.InterfaceByName(name); err == nil {
			mac = one.HardwareAddr
		}
	})
	return mac, err
}

// sideFrame is a frame that v1 sends or receives.
type sideFrame struct {
	data []byte
	sent bool
}

// sideFrames are frames of a machine with the addresses 10.9.0.1 and 2001:db8::9, and of others.
func sideFrames(t *testing.T, own net.HardwareAddr) (all []sideFrame) {
	t.Helper()
	other := net.HardwareAddr{2, 0, 0, 0, 0, 9}
	add := func(sent bool, tag uint16, kind layers.EthernetType, rest ...gopacket.SerializableLayer) {
		eth := &layers.Ethernet{SrcMAC: other, DstMAC: own, EthernetType: kind}
		if sent {
			eth.SrcMAC, eth.DstMAC = own, other
		}
		stack := []gopacket.SerializableLayer{eth}
		if tag != 0 {
			eth.EthernetType = layers.EthernetTypeDot1Q
			stack = append(stack, &layers.Dot1Q{VLANIdentifier: tag, Type: kind})
		}
		b := gopacket.NewSerializeBuffer()
		must(t, gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true}, append(stack, rest...)...))
		all = append(all, sideFrame{slices.Concat(b.Bytes(), make([]byte, max(0, 64-len(b.Bytes())))), sent})
	}
	// A packet between this machine and a remote address, and its transport header.
	ip := func(sent bool, remote string, protocol layers.IPProtocol) (layers.EthernetType, gopacket.SerializableLayer) {
		from, to := netip.MustParseAddr(remote), netip.MustParseAddr("10.9.0.1")
		if from.Is6() {
			to = netip.MustParseAddr("2001:db8::9")
		}
		if sent {
			from, to = to, from
		}
		if from.Is6() {
			return layers.EthernetTypeIPv6, &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: protocol, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
		}
		return layers.EthernetTypeIPv4, &layers.IPv4{Version: 4, TTL: 64, Protocol: protocol, SrcIP: from.AsSlice(), DstIP: to.AsSlice()}
	}
	transport := func(sent bool, protocol layers.IPProtocol, local, remote uint16) gopacket.SerializableLayer {
		from, to := remote, local
		if sent {
			from, to = to, from
		}
		if protocol == layers.IPProtocolTCP {
			return &layers.TCP{SrcPort: layers.TCPPort(from), DstPort: layers.TCPPort(to), DataOffset: 5, ACK: true}
		}
		return &layers.UDP{SrcPort: layers.UDPPort(from), DstPort: layers.UDPPort(to)}
	}
	remotes := []string{"99.255.255.255", "100.0.0.0", "100.0.0.1", "127.255.255.255", "128.0.0.0", "150.1.2.3", "200.0.0.0", "200.0.0.1", "223.255.255.255",
		"2001:db8::1", "7fff:ffff::1", "8000::1", "fe80::5"}
	for i, remote := range remotes {
		for j, port := range []uint16{53, 443, 8080, 40000} {
			for _, protocol := range []layers.IPProtocol{layers.IPProtocolUDP, layers.IPProtocolTCP} {
				for _, sent := range []bool{false, true} {
					kind, header := ip(sent, remote, protocol)
					local := []uint16{443, 50000}[(i+j)%2]
					tag := uint16(0)
					if (i+j)%5 == 0 {
						tag = 100
					}
					add(sent, tag, kind, header, transport(sent, protocol, local, port), gopacket.Payload(fmt.Sprint(i, j)))
				}
			}
		}
	}
	for _, sent := range []bool{false, true} {
		for _, remote := range []string{"150.1.2.3", "99.255.255.255"} {
			// The first fragment has the ports, the others have only addresses.
			kind, header := ip(sent, remote, layers.IPProtocolUDP)
			first := *header.(*layers.IPv4)
			first.Flags, first.Id = layers.IPv4MoreFragments, 7
			later := first
			later.Flags, later.FragOffset = 0, 100
			add(sent, 0, kind, &first, transport(sent, layers.IPProtocolUDP, 443, 443), gopacket.Payload(make([]byte, 792)))
			add(sent, 0, kind, &later, gopacket.Payload(make([]byte, 200)))
			// An error about a packet of the other direction.
			_, quoted := ip(!sent, remote, layers.IPProtocolUDP)
			inner := gopacket.NewSerializeBuffer()
			must(t, gopacket.SerializeLayers(inner, gopacket.SerializeOptions{FixLengths: true}, quoted, transport(!sent, layers.IPProtocolUDP, 50000, 443)))
			kind, header = ip(sent, remote, layers.IPProtocolICMPv4)
			add(sent, 0, kind, header, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, 3)}, gopacket.Payload(inner.Bytes()))
			add(sent, 100, kind, header, &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeEchoRequest, 0)})
		}
		add(sent, 0, 0x88b5, gopacket.Payload("neither"))
		add(sent, 0, layers.EthernetTypeIPv4, gopacket.Payload("\x4f\x00")) // its header ends behind the packet
	}
	return all
}
