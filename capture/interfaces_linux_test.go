package capture_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/source/live"
)

// tun attaches to a tun device in the namespace, as a VPN program does.
func (r *rig) tun(name string) *os.File {
	r.t.Helper()
	r.IP("tuntap", "add", name, "mode", "tun")
	var f *os.File
	var err error
	r.Do(func() {
		var fd int
		if fd, err = unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0); err != nil {
			return
		}
		f = os.NewFile(uintptr(fd), name)
		var ifr *unix.Ifreq
		if ifr, err = unix.NewIfreq(name); err == nil {
			ifr.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr)
		}
	})
	if err != nil {
		r.t.Fatal("attach to a tun device: ", err)
	}
	r.t.Cleanup(func() { _ = f.Close() })
	r.IP("link", "set", name, "up")
	return f
}

func ipPacket(t *testing.T, src, dst string, sport, dport uint16) []byte {
	t.Helper()
	return frame(t,
		&layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: ip(src), DstIP: ip(dst)},
		&layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)},
		gopacket.Payload("12345678"))[14:]
}

func TestTun(t *testing.T) {
	r := newRig(t)
	dev := r.tun("tun0")
	in := ipPacket(t, "10.0.0.9", "10.0.0.5", 53, 1000)
	other := ipPacket(t, "10.0.0.9", "10.0.0.5", 54, 1000)
	send := func() {
		for _, p := range [][]byte{in, other} {
			if _, err := dev.Write(p); err != nil {
				t.Error(err)
			}
		}
	}
	res := r.capture(r.plan(`,"filters":[{"remotePort":"53"}]`, "tun0"), send)
	if res.Source.LinkType != pcapfile.RawIP {
		t.Errorf("link type %v", res.Source.LinkType)
	}
	if diff := cmp.Diff(whole(in), readBack(t, res.Files[0].Path)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}

	// Beside an Ethernet interface: the same filter on frames of both kinds.
	v0 := r.Sender("v0")
	onWire := frame(t,
		&layers.IPv4{Version: 4, IHL: 5, TTL: 64, Protocol: layers.IPProtocolUDP, SrcIP: ip("10.0.0.9"), DstIP: ip("10.0.0.5")},
		&layers.UDP{SrcPort: 53, DstPort: 1000}, gopacket.Payload("12345678"))
	res = r.capture(r.plan(`,"filters":[{"remotePort":"53"}]`, "tun0", "v1"), func() {
		send()
		v0.Send(onWire)
	})
	var got [][]byte
	for _, p := range readBack(t, res.Files[0].Path) {
		if b := binary.BigEndian.Uint16(p.Data); b != 0x0800 || p.Length != len(p.Data) {
			t.Errorf("protocol %x, length %d of %d", b, len(p.Data), p.Length)
		}
		got = append(got, p.Data[pcapfile.SLL2Len:])
	}
	if diff := cmp.Diff([][]byte{in, onWire[14:]}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestBridgeMacvlanAndJumboFrames(t *testing.T) {
	r := newRig(t)
	r.IP("link", "add", "br0", "type", "bridge", "mcast_snooping", "0") // which asks for multicast routers
	for _, dev := range []string{"v0", "v1", "br0"} {
		r.IP("link", "set", dev, "mtu", "9000")
	}
	r.IP("link", "set", "v1", "master", "br0")
	r.IP("link", "set", "br0", "arp", "off", "multicast", "off", "up")
	r.Veth("w0", "w1")
	r.IP("link", "add", "link", "w1", "name", "mac0", "address", "02:00:00:00:00:99", "type", "macvlan", "mode", "bridge")
	r.IP("link", "set", "mac0", "arp", "off", "multicast", "off", "up")
	r.WaitUntilUp("br0", "mac0")

	small := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 1)
	copy(small, "\x02\x00\x00\x00\x00\x99") // macvlan puts broadcasts off for a while
	jumbo := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 9000-40, 2)
	for dev, from := range map[string]string{"br0": "v0", "mac0": "w0"} {
		frames := [][]byte{small, jumbo}
		if dev == "mac0" {
			frames = frames[:1]
		}
		s := r.Sender(from)
		res := r.capture(r.plan("", dev), func() {
			for _, f := range frames {
				s.Send(f)
			}
		})
		if diff := cmp.Diff(whole(frames...), readBack(t, res.Files[0].Path)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", dev, diff)
		}
	}
	// The port is left out where its bridge is captured, and the macvlan where what it is on is.
	p := r.plan("")
	var names []string
	for _, i := range p.Source.(*live.Spec).Interfaces {
		names = append(names, i.Name)
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "br0 v0 w0 w1" {
		t.Errorf("the default choice is %s", got)
	}
}

// A TCP transfer of the machine's own leaves it in frames of up to 64 KiB,
// which the offloads would cut up behind the capture. They are recorded whole:
// the stream can be put together again from the file.
func TestSuperFramesOfATCPTransfer(t *testing.T) {
	r := newRig(t)
	far := newRig(t)
	r.IP("link", "add", "big0", "type", "veth", "peer", "name", "big1", "netns", far.Name)
	r.IP("addr", "add", "10.7.0.1/24", "dev", "big0")
	r.IP("link", "set", "big0", "up")
	far.IP("addr", "add", "10.7.0.2/24", "dev", "big1")
	far.IP("link", "set", "big1", "up")

	data := make([]byte, 4<<20) // less than the ring: nothing is dropped on a busy machine either
	for i := range data {
		data[i] = byte(i * 7 >> (i % 13))
	}
	var listener net.Listener
	var err error
	far.Do(func() { listener, err = net.Listen("tcp", "10.7.0.2:8443") })
	if err != nil {
		t.Fatal(err)
	}
	received := make(chan []byte, 1)
	go func() {
		defer close(received)
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		all, _ := io.ReadAll(conn)
		_ = conn.Close()
		received <- all
	}()
	res := r.capture(r.plan(`,"filters":[{"protocol":"TCP","remoteIPAddress":"10.7.0.2","remotePort":"8443"}]`, "big0"), func() {
		var conn net.Conn
		var err error
		r.Do(func() { conn, err = net.DialTimeout("tcp", "10.7.0.2:8443", 5*time.Second) })
		if err != nil {
			t.Error(err)
			return
		}
		_, err = conn.Write(data)
		if cerr := conn.Close(); err != nil || cerr != nil {
			t.Error(err, cerr)
		}
		<-received
	})
	_ = listener.Close()
	if res.Dropped.Total() != 0 {
		t.Fatalf("dropped %+v", res.Dropped)
	}
	stream := make([]byte, len(data))
	var first uint32
	largest, filled := 0, 0
	for _, p := range readBack(t, res.Files[0].Path) {
		if p.Length != len(p.Data) {
			t.Fatalf("%d of %d bytes", len(p.Data), p.Length)
		}
		largest = max(largest, p.Length)
		pkt := gopacket.NewPacket(p.Data, layers.LayerTypeEthernet, gopacket.NoCopy)
		seg, ok := pkt.Layer(layers.LayerTypeTCP).(*layers.TCP)
		if !ok {
			t.Fatalf("no TCP: %v", pkt)
		}
		if seg.DstPort != 8443 {
			continue
		}
		if seg.SYN {
			first = seg.Seq + 1
			continue
		}
		// The IP header of a super frame may say 0 for its length: the payload
		// is what follows in the frame.
		payload := p.Data[14+20+int(seg.DataOffset)*4:]
		filled += copy(stream[min(int(seg.Seq-first), len(stream)):], payload)
	}
	if sha256.Sum256(stream) != sha256.Sum256(data) || !bytes.Equal(stream, data) {
		t.Errorf("the stream in the file is another (%d bytes in it)", filled)
	}
	if largest <= 9000 {
		t.Errorf("the largest frame has %d bytes: this test saw no super frames", largest)
	}
}

// Several interfaces share a file with cooked headers; loopback's packets are
// in it once; each tells its interface and direction.
func TestSeveralInterfaces(t *testing.T) {
	r := newRig(t)
	r.Veth("w0", "w1")
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 1)
	tagged := tag(f, 0x8100, 7)
	foreign := udp(t, "10.0.0.1", "10.0.0.2", 1, 2, 10)
	v0, w0, lo := r.Sender("v0"), r.Sender("w0"), r.Sender("lo")
	send := func() {
		v0.Send(f)
		w0.Send(tagged)
		w0.Send(foreign)
		lo.Send(f)
	}
	type seen struct {
		Proto, Type uint16
		Dev         string
		Data        []byte
		Length      int
	}
	index := map[uint32]string{}
	for _, test := range []struct {
		name string
		on   []string
		want []seen
	}{
		{"two", []string{"v1", "w1"}, []seen{
			{0x0800, 1, "v1", f[14:], len(f) + 6},
			{0x8100, 1, "w1", tagged[14:], len(tagged) + 6},
		}},
		{"any", []string{"any"}, []seen{
			{0x0800, 4, "v0", f[14:], len(f) + 6},
			{0x0800, 1, "v1", f[14:], len(f) + 6},
			{0x8100, 4, "w0", tagged[14:], len(tagged) + 6},
			{0x8100, 1, "w1", tagged[14:], len(tagged) + 6},
			{0x0800, 2, "lo", f[14:], len(f) + 6}, // loopback has no broadcast address: it looks like multicast
		}},
		{"the default choice", nil, []seen{
			{0x0800, 4, "v0", f[14:], len(f) + 6},
			{0x0800, 1, "v1", f[14:], len(f) + 6},
			{0x8100, 4, "w0", tagged[14:], len(tagged) + 6},
			{0x8100, 1, "w1", tagged[14:], len(tagged) + 6},
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &rig{NS: r.NS, t: t, dir: r.dir}
			res := r.capture(r.plan(`,"filters":[{"protocol":"TCP"}]`, test.on...), send)
			for _, i := range res.Source.Links {
				index[uint32(i.Index)] = i.Name
			}
			var got []seen
			for _, p := range readBack(t, res.Files[0].Path) {
				b := binary.BigEndian
				got = append(got, seen{
					Proto: b.Uint16(p.Data), Type: uint16(p.Data[10]), Dev: index[b.Uint32(p.Data[4:])], Data: p.Data[20:], Length: p.Length,
				})
				// A broadcast frame is PACKET_BROADCAST where it comes in.
				if last := &got[len(got)-1]; last.Type == 1 && last.Dev == "" {
					t.Errorf("interface %d is not in the result", b.Uint32(p.Data[4:]))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

// With the cooked header of the first version the same packets are in the file,
// with the direction and the tag, and without the interface; tcpdump reads it.
func TestSeveralInterfacesCookedV1(t *testing.T) {
	r := newRig(t)
	r.cooked = pcapfile.SLL
	r.Veth("w0", "w1")
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 1)
	tagged := tag(f, 0x8100, 7)
	v0, w0 := r.Sender("v0"), r.Sender("w0")
	res := r.capture(r.plan(`,"filters":[{"protocol":"TCP"}]`, "v0", "w1"), func() {
		v0.Send(f)
		w0.Send(tagged)
	})
	if res.Source.LinkType != pcapfile.SLL {
		t.Errorf("link type %v", res.Source.LinkType)
	}
	type seen struct {
		Type, HWType, AddrLen, Proto uint16
		Data                         []byte
		Length                       int
	}
	var got []seen
	for _, p := range readBack(t, res.Files[0].Path) {
		b := binary.BigEndian
		got = append(got, seen{b.Uint16(p.Data), b.Uint16(p.Data[2:]), b.Uint16(p.Data[4:]), b.Uint16(p.Data[14:]), p.Data[pcapfile.SLLLen:], p.Length})
		if !bytes.Equal(p.Data[6:12], f[6:12]) {
			t.Errorf("address % x", p.Data[6:12])
		}
	}
	if diff := cmp.Diff([]seen{{4, 1, 6, 0x0800, f[14:], len(f) + 2}, {1, 1, 6, 0x8100, tagged[14:], len(tagged) + 2}}, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	for expr, want := range map[string]int{"outbound and tcp": 1, "link[14:2] = 0x8100 and link[18:2] = 0x0800": 1, "inbound": 1} {
		if list := tcpdump(t, res.Files[0].Path, expr); len(list) != want {
			t.Errorf("tcpdump %q: %d packets", expr, len(list))
		}
	}
}

func TestInterfaceThatVanishes(t *testing.T) {
	r := newRig(t)
	r.Veth("w0", "w1")
	f := tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 1)

	// One of two: the capture goes on with the other.
	v0, w0 := r.Sender("v0"), r.Sender("w0")
	res := r.capture(r.plan("", "v1", "w1"), func() {
		w0.Send(f)
		r.IP("link", "del", "w0")
		v0.Send(f)
		r.IP("link", "set", "v1", "down")
		r.IP("link", "set", "v1", "up")
		r.WaitUntilUp("v0", "v1")
		v0.Send(f)
	})
	if res.Packets != 3 || res.StopReason != capture.Manual {
		t.Errorf("%+v", res)
	}
	told := strings.Join(res.Warnings, "\n")
	for _, want := range []string{"w1 was removed", "v1 went down during the capture (1×)"} {
		if !strings.Contains(told, want) {
			t.Errorf("the result does not tell that %s:\n%s", want, told)
		}
	}

	// The only one: the capture ends and says so.
	session := r.start(r.plan(`,"timeLimitInSeconds":30`, "v1"))
	v0.Send(f)
	go r.IP("link", "del", "v1")
	res, err := session.Run(t.Context())
	if fault.ClassOf(err) != fault.Failed || !strings.Contains(err.Error(), "v1 was removed") || res.StopReason != capture.InterfaceRemoved {
		t.Errorf("%v: %+v", err, res)
	}
	if got := readBack(t, res.Files[0].Path); len(got) != 1 {
		t.Errorf("%d packets", len(got))
	}
}
