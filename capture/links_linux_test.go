package capture_test

import (
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
	"pcapctl/capture/source/live"
	"pcapctl/capture/testnet"
)

// oneLink is a rig whose only interface besides loopback is v1; v0 is in the
// namespace of far.
func oneLink(t *testing.T) (r, far *rig) {
	t.Helper()
	r, far = newRig(t), &rig{NS: testnet.New(t), t: t}
	r.IP("link", "set", "v0", "netns", far.Name)
	far.IP("link", "set", "v0", "arp", "off", "multicast", "off", "up")
	far.WaitUntilUp("v0")
	r.WaitUntilUp("v1")
	return r, far
}

// captured waits until the session captures on an interface of this name, the
// wanted number of them.
func (r *rig) captured(s *capture.Session, name string, want int) {
	r.t.Helper()
	r.until("capturing on "+name, func() bool {
		n := 0
		for _, l := range s.Source().Links {
			if l.Name == name {
				n++
			}
		}
		return n == want
	})
}

func (r *rig) until(what string, done func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatal("never: ", what)
		}
	}
}

// run runs a session in the background until end is called.
func (r *rig) run(s *capture.Session) (end func() (*capture.Result, error)) {
	type outcome struct {
		res *capture.Result
		err error
	}
	done := make(chan outcome, 1)
	stop := make(chan struct{})
	go func() {
		ctx, cancel := context.WithCancel(context.Background())
		go func() {
			<-stop
			cancel()
		}()
		res, err := s.Run(ctx)
		done <- outcome{res, err}
	}()
	return func() (*capture.Result, error) {
		close(stop)
		o := <-done
		return o.res, o.err
	}
}

// told fails the test unless each of the texts is in one of the sentences.
func told(t *testing.T, sentences []string, wants ...string) {
	t.Helper()
	for _, want := range wants {
		if !slices.ContainsFunc(sentences, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("it is not told that %s:\n%s", want, strings.Join(sentences, "\n"))
		}
	}
}

// notTold fails the test if the text is in one of the sentences.
func notTold(t *testing.T, sentences []string, text string) {
	t.Helper()
	if slices.ContainsFunc(sentences, func(s string) bool { return strings.Contains(s, text) }) {
		t.Errorf("it is told that %s:\n%s", text, strings.Join(sentences, "\n"))
	}
}

// sourcesOf are the names of the interfaces of SLL2 records, in order.
func sourcesOf(t *testing.T, res *capture.Result) (names []string) {
	t.Helper()
	for _, p := range readBack(t, res.Files[0].Path) {
		index := int(binary.BigEndian.Uint32(p.Data[4:]))
		at := slices.IndexFunc(res.Source.Links, func(l source.Link) bool { return l.Index == index })
		if at < 0 {
			t.Fatalf("interface %d is not in the result", index)
		}
		names = append(names, res.Source.Links[at].Name)
	}
	return names
}

// The choice is not frozen at the start: what is down then is captured from its
// first packet on, and what appears later from when it is told.
func TestDefaultChoiceFollowsInterfaces(t *testing.T) {
	r := newRig(t)
	r.Veth("w0", "w1")
	r.IP("link", "set", "w1", "down")
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 1)
	p := r.plan("")
	notTold(t, p.Warnings, "link type")
	s := r.start(p)
	end := r.run(s)
	r.IP("link", "set", "w1", "up")
	r.WaitUntilUp("w0", "w1")
	r.Sender("w1").Send(f) // nobody waits until the capture has heard of it
	r.Veth("x0", "x1")
	r.captured(s, "x1", 1)
	r.captured(s, "x0", 1)
	r.Sender("x0").Send(f)
	r.Sender("lo").Send(f)
	tun := r.tun("tun0")
	r.captured(s, "tun0", 1)
	if _, err := tun.Write(f[14:]); err != nil {
		t.Error(err)
	}
	r.IP("link", "del", "x0")
	res, err := end()
	if err != nil || res.StopReason != capture.Manual {
		t.Fatal(res.StopReason, err)
	}
	if diff := cmp.Diff([]string{"w1", "w0", "x0", "x1", "tun0"}, sourcesOf(t, res)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	told(t, res.Warnings, "w1 (index", "x1 (index", "tun0 (index", ") joined the capture at 2", "x1 was removed during the capture")
}

// A filter is exchanged as a whole when an interface joins: what does not match
// stays outside, and what is captured elsewhere goes on without a gap.
func TestJoiningDisturbsNothing(t *testing.T) {
	r := newRig(t)
	s := r.start(r.plan(`,"filters":[{"protocol":"TCP"}]`))
	end := r.run(s)
	const n = 3000
	sent := make(chan struct{})
	foreign := udp(t, "10.0.0.1", "10.0.0.2", 1, 2, 10)
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 1)
	v0 := r.Sender("v0")
	go func() {
		defer close(sent)
		for range n {
			v0.Send(f)
			v0.Send(foreign)
		}
	}()
	for _, pair := range [][2]string{{"a0", "a1"}, {"b0", "b1"}, {"c0", "c1"}} {
		r.Veth(pair[0], pair[1])
		r.captured(s, pair[1], 1)
		from := r.Sender(pair[0])
		from.Send(foreign)
		from.Send(f)
	}
	<-sent
	res, err := end()
	if err != nil {
		t.Fatal(err)
	}
	// Each packet is seen on both ends of its pair.
	if want := uint64(2*n + 2*3); res.Packets+res.Dropped.ByKernel != want || res.Received != want {
		t.Errorf("%d packets, %+v, received %d; want %d", res.Packets, res.Dropped, res.Received, want)
	}
}

// A file with one link type takes what it can hold, and says what it cannot.
func TestDefaultChoiceWithOneLinkType(t *testing.T) {
	for _, test := range []struct {
		name, format string
		start        string // how the interfaces are called at the start
		packets      uint64
		result       string
	}{
		{"pcap", "", "v1, and others of the link type EN10MB (Ethernet) that come up", 2, "tun0 came up at 2"},
		{"pcapng", request.FormatPcapng, "v1, and others that come up", 3, "tun0 (index"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r, far := oneLink(t)
			r.output = request.Output{Format: test.format}
			f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 1)
			p := r.plan("")
			if got := p.Source.Name(); got != test.start {
				t.Errorf("%q, want %q", got, test.start)
			}
			if p.Warnings != nil { // a start that is as it should be is no matter for a mail
				t.Errorf("%q", p.Warnings)
			}
			s := r.start(p)
			end := r.run(s)
			far.Sender("v0").Send(f)
			r.IP("link", "add", "w1", "type", "veth", "peer", "name", "w0", "netns", far.Name)
			far.IP("link", "set", "w0", "arp", "off", "multicast", "off", "up")
			r.IP("link", "set", "w1", "arp", "off", "multicast", "off", "up")
			far.WaitUntilUp("w0")
			r.captured(s, "w1", 1)
			far.Sender("w0").Send(f)
			tun := r.tun("tun0")
			if test.format == "" {
				r.until("told of tun0", func() bool { return strings.Contains(strings.Join(s.Source().Warnings, "\n"), "tun0") })
			} else {
				r.captured(s, "tun0", 1)
			}
			if _, err := tun.Write(f[14:]); err != nil {
				t.Error(err)
			}
			res, err := end()
			if err != nil || res.Packets != test.packets || res.Received != test.packets {
				t.Fatalf("%d packets of %d, %v", res.Packets, res.Received, err)
			}
			told(t, res.Warnings, test.result, "w1 (index")
			if test.format != "" {
				got := tshark(t, res.Files[0].Path, "-T", "fields", "-e", "frame.interface_name", "-e", "frame.encap_type")
				if diff := cmp.Diff([]string{"v1\t1", "w1\t1", "tun0\t7"}, got); diff != "" || !res.Source.PerInterface {
					t.Errorf("%v (-want +got)\n%s", res.Source.PerInterface, diff)
				}
			}
		})
	}
}

// When no interface is up, those that come up are waited for. Loopback does not
// stand in, and a capture in which none came up is no success.
func TestNoInterfaceIsUp(t *testing.T) {
	r, far := oneLink(t)
	r.IP("link", "set", "v1", "down")
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 1)
	lo := r.Sender("lo")

	p := r.plan(`,"timeLimitInSeconds":1`)
	told(t, p.Warnings, "no interface but loopback is up: nothing is captured until one comes up")
	if name := p.Source.Name(); name != "the interfaces that come up" {
		t.Error(name)
	}
	s := r.start(p)
	lo.Send(f)
	res, err := s.Run(t.Context())
	if fault.ClassOf(err) != fault.Failed || !strings.Contains(err.Error(), "no interface but loopback came up") || res.Packets != 0 || res.StopReason != capture.TimeExceeded {
		t.Errorf("%v, %+v", err, res)
	}

	s = r.start(r.plan(""))
	end := r.run(s)
	r.IP("link", "set", "v1", "up")
	r.WaitUntilUp("v1")
	far.WaitUntilUp("v0")
	far.Sender("v0").Send(f)
	lo.Send(f)
	r.captured(s, "v1", 1)
	res, err = end()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"v1"}, sourcesOf(t, res)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A named interface that is made anew has another index, and the capture goes on
// with it.
func TestNamedInterfaceIsMadeAnew(t *testing.T) {
	for _, test := range []struct {
		name string
		on   []string
	}{{"one", []string{"v1"}}, {"several", []string{"v1", "lo"}}} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 1)
			s := r.start(r.plan(`,"filters":[{"protocol":"TCP"}]`, test.on...))
			end := r.run(s)
			r.Sender("v0").Send(f)
			for round := range 2 {
				r.IP("link", "del", "v1")
				r.Veth("v0", "v1")
				r.captured(s, "v1", round+2)
				r.Sender("v0").Send(f)
				r.Sender("v0").Send(udp(t, "10.0.0.1", "10.0.0.2", 1, 2, 10))
			}
			res, err := end()
			if err != nil || res.Packets != 3 || res.Received != 3 || res.StopReason != capture.Manual {
				t.Fatalf("%v: %d packets of %d, %s", err, res.Packets, res.Received, res.StopReason)
			}
			told(t, res.Warnings, "v1 was removed during the capture", ") joined the capture at 2")
		})
	}

	// With the index of the one that has gone, too.
	r := newRig(t)
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 1)
	s := r.start(r.plan("", "v1"))
	end := r.run(s)
	for range 3 {
		v0 := r.Sender("v0")
		before := s.Progress().Packets
		r.until("a packet", func() bool { v0.Send(f); return s.Progress().Packets > before })
		r.IP("link", "del", "v1")
		r.until("gone", func() bool { return s.Source().Absent != nil })
		r.IP("link", "add", "v1", "index", "77", "type", "veth", "peer", "name", "v0")
		for _, dev := range []string{"v0", "v1"} {
			r.IP("link", "set", dev, "arp", "off", "multicast", "off", "up")
		}
		r.WaitUntilUp("v0", "v1")
	}
	if res, err := end(); err != nil {
		t.Errorf("%v: %+v", err, res)
	}
}

// rx_dropped counts packets that no protocol took, behind the packet socket. They
// are in the file, and were not lost.
func TestUnclaimedPacketsAreNotLost(t *testing.T) {
	r := newRig(t)
	qinq := tag(udp(t, "10.0.0.1", "10.0.0.2", 1, 2, 10), 0x88a8, 7, 0x8100, 8)
	const n = 70
	v0 := r.Sender("v0")
	res := r.capture(r.plan("", "v1"), func() {
		for range n {
			v0.Send(qinq)
		}
	})
	if res.Packets != n || res.Dropped.Total() != 0 {
		t.Errorf("%d packets, dropped %+v", res.Packets, res.Dropped)
	}
	l := res.Resource().Properties.Statistics.Interfaces[0]
	if l.Counters == nil || l.Counters.Dropped != n || l.PacketsDroppedByInterface != 0 {
		t.Errorf("%+v %+v", l, l.Counters)
	}
}

// A macvlan's packets pass the interface it is on. By default they are recorded
// once, and the choice is told; who names both is told that there are two of each.
func TestStackedInterfacesAreRecordedOnce(t *testing.T) {
	r, far := oneLink(t)
	r.IP("link", "add", "link", "v1", "name", "mac0", "address", "02:00:00:00:00:99", "type", "macvlan", "mode", "bridge")
	r.IP("link", "set", "mac0", "arp", "off", "multicast", "off", "up")
	r.WaitUntilUp("mac0")
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 1)
	copy(f, "\x02\x00\x00\x00\x00\x99")
	v0 := far.Sender("v0")
	for _, test := range []struct {
		name  string
		on    []string
		times uint64
		start string
	}{
		{"default", nil, 1, "left out, as their packets pass the interface below them, which is captured: mac0 (on v1)"},
		{"named", []string{"v1", "mac0"}, 2, "recorded once for each: mac0 on v1"},
		{"any", []string{"any"}, 2, "recorded once for each: mac0 on v1"},
		{"the upper one", []string{"mac0"}, 1, ""},
	} {
		p := r.plan("", test.on...)
		if test.start != "" {
			told(t, p.Warnings, test.start)
		}
		res := r.capture(p, func() {
			for range 5 {
				v0.Send(f)
			}
		})
		if res.Packets != 5*test.times {
			t.Errorf("%s: %d packets", test.name, res.Packets)
		}
	}
	// A port of a bridge is no layer below: it is the bridge that is captured, and
	// the macvlan's packets do not pass that.
	r.IP("link", "add", "br0", "type", "bridge")
	r.IP("link", "set", "br0", "arp", "off", "multicast", "off", "up")
	r.Veth("w0", "w1")
	r.IP("link", "set", "w1", "master", "br0")
	told(t, r.plan("", "br0", "w1").Warnings, "recorded once for each: w1 in br0")
	told(t, r.plan("", "w0", "w1").Warnings, "recorded once for each: w1 and its other end w0")
}

// An interface that is put under a captured master while the capture runs is
// recorded there, and no more by itself.
func TestInterfaceIsEnslavedMeanwhile(t *testing.T) {
	r, far := oneLink(t)
	r.IP("link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
	r.IP("link", "set", "br0", "arp", "off", "multicast", "off", "up")
	r.output = request.Output{Format: request.FormatPcapng}
	s := r.start(r.plan(""))
	end := r.run(s)
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 1)
	v0 := far.Sender("v0")
	v0.Send(f)
	r.IP("link", "set", "v1", "master", "br0")
	r.until("v1 left", func() bool {
		return strings.Contains(strings.Join(s.Source().Warnings, "\n"), "v1 is not captured any more")
	})
	r.IP("link", "set", "v1", "nomaster")
	r.until("v1 is back", func() bool { return strings.Contains(strings.Join(s.Source().Warnings, "\n"), "v1 (index") })
	v0.Send(f)
	res, err := end()
	if err != nil {
		t.Fatal(err)
	}
	if got := tshark(t, res.Files[0].Path, "-Y", "tcp", "-T", "fields", "-e", "frame.interface_name"); strings.Join(got, " ") != "v1 v1" {
		t.Errorf("%v", got)
	}
}

// Packets of more than 262144 bytes are cut, counted and told; a larger snap length
// has them whole, also when they are read again.
func TestPacketsLargerThanARecord(t *testing.T) {
	const size = 300_000
	for _, test := range []struct {
		name, properties string
		on               []string
		caplen           int
		truncated        uint64
	}{
		{"unasked", "", []string{"lo"}, 262144, 1},
		{"with a short snap length", `,"bytesToCapturePerPacket":100`, []string{"lo"}, 100, 0},
		{"with a larger snap length", `,"bytesToCapturePerPacket":524288`, []string{"lo"}, size, 0},
		{"with a cooked header", "", []string{"lo", "v1"}, 262144, 1},
		{"with a larger snap length and a cooked header", `,"bytesToCapturePerPacket":4294967295`, []string{"lo", "v1"}, size + 6, 0},
	} {
		for _, format := range []string{request.FormatPcap, request.FormatPcapng} {
			t.Run(test.name+", "+format, func(t *testing.T) {
				r := newRig(t)
				r.output = request.Output{Format: format}
				r.IP("link", "set", "lo", "mtu", "400000")
				f := make([]byte, size)
				copy(f, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x88\xb5")
				f[size-1] = 7
				lo := r.Sender("lo")
				p := r.plan(test.properties, test.on...)
				if test.caplen > pcapfile.MaxSnapLen {
					told(t, p.Warnings, "most other programs refuse")
				} else {
					notTold(t, p.Warnings, "most other programs refuse")
				}
				res := r.capture(p, func() { lo.Send(f) })
				st := res.Resource().Properties.Statistics
				if res.Packets != 1 || st.PacketsTruncated != test.truncated {
					t.Fatalf("%d packets, %d truncated", res.Packets, st.PacketsTruncated)
				}
				if test.truncated > 0 {
					told(t, res.Warnings, "1 packet is longer than 262144 bytes", "bytesToCapturePerPacket")
				} else {
					notTold(t, res.Warnings, "longer than")
				}
				want := size
				if format == request.FormatPcap && len(test.on) > 1 {
					want += pcapfile.SLL2Len - 14
				}
				caplen := test.caplen
				if format == request.FormatPcapng {
					caplen = min(caplen, size)
				}
				got, err := reread(res.Files[0].Path)
				if err != nil || len(got.Data) != caplen || got.Length != want || caplen >= size && got.Data[len(got.Data)-1] != 7 {
					t.Errorf("%v: %d of %d bytes; want %d of %d", err, len(got.Data), got.Length, caplen, want)
				}
			})
		}
	}
	// Files of a rotation may have less room than a packet needs.
	r := newRig(t)
	r.IP("link", "set", "lo", "mtu", "400000")
	lo := r.Sender("lo")
	f := make([]byte, 150_000)
	copy(f[12:], "\x88\xb5")
	res := r.capture(r.plan(`,"continuousCapture":true,"captureSettings":{"fileSizeInBytes":102400}`, "lo"), func() { lo.Send(f) })
	if st := res.Resource().Properties.Statistics; st.PacketsTruncated != 1 {
		t.Errorf("%d truncated", st.PacketsTruncated)
	}
	told(t, res.Warnings, "1 packet is longer than a file of fileSizeInBytes, 102400 bytes")
	// The ring must hold it.
	r = newRig(t)
	r.buffer = live.MinBufferSize
	_, err := r.tryPlan(`,"bytesToCapturePerPacket":524288`, "lo")
	if fault.ClassOf(err) != fault.Invalid || !strings.Contains(err.Error(), "give at least 1179648") {
		t.Error(err)
	}
	r.buffer = 1179648
	r.plan(`,"bytesToCapturePerPacket":524288`, "lo")
}

// A namespace that is deleted ends the capture in it. Our own sockets keep it
// alive, so that no interface goes away.
func TestNamespaceIsDeleted(t *testing.T) {
	r := newRig(t)
	for _, test := range []struct {
		name string
		on   []string
	}{{"named", []string{"lo"}}, {"any", []string{"any"}}, {"default", nil}} {
		name := r.Name + "-gone"
		for _, args := range [][]string{{"netns", "add", name}, {"-n", name, "link", "set", "lo", "up"}, {"-n", name, "link", "add", "v0", "type", "veth", "peer", "name", "v1"}, {"-n", name, "link", "set", "v0", "up"}} {
			if out, err := exec.CommandContext(t.Context(), "ip", args...).CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
		}
		template := r.plan(`,"timeLimitInSeconds":60`, "lo")
		spec, err := live.NewSpec(template.Config, live.Options{Interfaces: test.on, Netns: name})
		if err != nil {
			t.Fatal(err)
		}
		s, err := capture.Start(capture.NewPlan(template.Config, spec), capture.Options{Guard: "/proc/self/exe"})
		if err != nil {
			t.Fatal(err)
		}
		// A process that is still in it goes on to be captured.
		if test.on == nil {
			// Not a child of this process, which are left out.
			if out, err := exec.CommandContext(t.Context(), "sh", "-c", "ip netns exec "+name+" sleep 4 >/dev/null 2>&1 &").CombinedOutput(); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			time.Sleep(300 * time.Millisecond) // it has to be there
		}
		began := time.Now()
		if out, err := exec.CommandContext(t.Context(), "ip", "netns", "del", name).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		res, err := s.Run(t.Context())
		if fault.ClassOf(err) != fault.Failed || !strings.Contains(err.Error(), "the network namespace") || !strings.Contains(err.Error(), "was deleted") ||
			res.StopReason != capture.NamespaceRemoved || time.Since(began) > 40*time.Second {
			t.Errorf("%s: %v, %+v after %v", test.name, err, res.StopReason, time.Since(began))
		}
		if test.on == nil && time.Since(began) < 3*time.Second {
			t.Errorf("it ended after %v, with a process in the namespace", time.Since(began))
		}
	}
}

// reread gives the one packet of a file.
func reread(path string) (p pcapfile.Packet, err error) {
	f, err := os.Open(path)
	if err != nil {
		return p, err
	}
	defer func() { _ = f.Close() }()
	r, err := pcapfile.NewReader(f)
	if err != nil {
		return p, err
	}
	err = r.Next(&p)
	return p, err
}

func TestAlternativeNames(t *testing.T) {
	r := newRig(t)
	const long = "a-name-that-is-longer-than-an-interface-may-have"
	r.IP("link", "property", "add", "dev", "v1", "altname", "enp0s3", "altname", long)
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 1)
	for _, on := range [][]string{{"enp0s3"}, {long}, {"v1", "enp0s3"}} {
		p := r.plan("", on...)
		if p.Source.Name() != "v1" {
			t.Errorf("%v: %s", on, p.Source.Name())
		}
		v0 := r.Sender("v0")
		if res := r.capture(p, func() { v0.Send(f) }); res.Packets != 1 {
			t.Errorf("%v: %d packets", on, res.Packets)
		}
	}
	_, err := r.tryPlan("", "enp0s4")
	if fault.ClassOf(err) != fault.NotFound || !strings.Contains(err.Error(), "v1 = enp0s3 = "+long) {
		t.Error(err)
	}
}
