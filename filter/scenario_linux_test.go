package filter

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// peer is a second network namespace: another host, at the other end of a cable.
type peer struct {
	thread int
	work   chan func()
}

func newPeer(t *testing.T) *peer {
	p := &peer{work: make(chan func())}
	ready := make(chan error)
	go func() {
		runtime.LockOSThread() // Never unlocked: the thread and its namespace end with the goroutine.
		err := unix.Unshare(unix.CLONE_NEWNET)
		p.thread = unix.Gettid()
		ready <- err
		for f := range p.work {
			f()
		}
	}()
	t.Cleanup(func() { close(p.work) })
	if err := <-ready; err != nil {
		t.Fatal(err)
	}
	return p
}

// do runs f in the peer's namespace and waits for it.
func (p *peer) do(f func() error) error {
	done := make(chan error)
	p.work <- func() { done <- f() }
	return <-done
}

// cable connects this namespace with the peer's: 10.9.0.1 on va here, 10.9.0.2 on vb there.
func cable(t *testing.T, p *peer) {
	t.Helper()
	ip(t, "link add va type veth peer name vb")
	ip(t, fmt.Sprintf("link set vb netns %d", p.thread))
	side := func(device string, host int) {
		ip(t, fmt.Sprintf("link set %s up", device))
		ip(t, fmt.Sprintf("addr add 10.9.0.%d/24 dev %s", host, device))
	}
	side("va", 1)
	if err := p.do(func() error {
		ip(t, "link set lo up")
		side("vb", 2)
		return waitRunning("vb")
	}); err != nil {
		t.Fatal(err)
	}
	if err := waitRunning("va"); err != nil {
		t.Fatal(err)
	}
}

// watch is a filter at work on va: everything and what the filter lets through.
type watch struct {
	set            Set
	framing        Framing
	bare, filtered int
}

func watchFor(t testing.TB, framing Framing, set Set) *watch {
	t.Helper()
	kind := unix.SOCK_RAW
	if framing == Cooked {
		kind = unix.SOCK_DGRAM
	}
	index := indexOf(t, "va")
	w := &watch{set: set, framing: framing, bare: packetSocket(t, kind, index), filtered: packetSocket(t, kind, index)}
	attach(t, w.filtered, compiled(t, set, Options{Framing: framing}).Raw)
	for _, fd := range []int{w.bare, w.filtered} { // What came before the filter was there.
		for ok := true; ok; _, ok = receive(t, fd, 0) {
		}
	}
	return w
}

// packets is what the filter let through, once so many were seen that match and nothing more comes. It must be
// what matches of everything.
func (w *watch) packets(t testing.TB, expected int) (recorded []seen, all int) {
	t.Helper()
	var want [][]byte
	for {
		wait := 100 * time.Millisecond
		if len(want) < expected {
			wait = 5 * time.Second
		}
		s, ok := receive(t, w.bare, wait)
		if !ok {
			break
		}
		all++
		framing := w.framing
		if framing == Mixed { // va is an Ethernet device.
			framing = Ethernet
		}
		if p := s.packet(framing); setMatches(t, w.set, &p) {
			want = append(want, s.data)
		}
	}
	var got [][]byte
	for {
		s, ok := receive(t, w.filtered, 0)
		if !ok {
			break
		}
		got, recorded = append(got, s.data), append(recorded, s)
	}
	if !slices.EqualFunc(got, want, bytes.Equal) {
		t.Errorf("the kernel recorded %d packets, %d match", len(got), len(want))
	}
	return recorded, all
}

// talk has a client say something to a server and hear it back.
func talk(serve, call func(func() error) error, address string) error {
	var listener net.Listener
	err := serve(func() (err error) {
		listener, err = net.Listen("tcp4", address)
		return err
	})
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	served := make(chan error, 1)
	go func() {
		c, err := listener.Accept()
		if err == nil {
			_, err = io.Copy(c, c)
			err = errors.Join(err, c.Close())
		}
		served <- err
	}()
	err = call(func() error {
		c, err := net.DialTimeout("tcp4", address, 5*time.Second)
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		if _, err := c.Write([]byte("hello")); err != nil {
			return err
		}
		_, err = io.ReadFull(c, make([]byte, 5))
		return err
	})
	return errors.Join(err, <-served)
}

func direct(f func() error) error { return f() }

// A server on port 8443 and, on the same host, a client of another host's 8443: the local port is the first's.
func TestLocalPortIsTheServers(t *testing.T) {
	ownNamespace(t)
	p := newPeer(t)
	cable(t, p)
	for _, framing := range []Framing{Ethernet, Cooked} {
		w := watchFor(t, framing, NewSet(parsed(t, "protocol=TCP", "localPort=8443")))
		if err := talk(direct, p.do, "10.9.0.1:8443"); err != nil {
			t.Fatal(err)
		}
		if err := talk(p.do, direct, "10.9.0.2:8443"); err != nil {
			t.Fatal(err)
		}
		recorded, all := w.packets(t, 8)
		in, out := 0, 0
		for _, s := range recorded {
			data := s.data
			if framing == Ethernet {
				data = data[14:]
			}
			source, destination := int(data[20])<<8|int(data[21]), int(data[22])<<8|int(data[23])
			switch {
			case s.kind == unix.PACKET_OUTGOING && source == 8443:
				out++
			case s.kind != unix.PACKET_OUTGOING && destination == 8443:
				in++
			default:
				t.Errorf("recorded: kind %d, from port %d to port %d", s.kind, source, destination)
			}
		}
		if in < 4 || out < 4 || all < 2*len(recorded) {
			t.Errorf("recorded %d in and %d out of %d", in, out, all)
		}
	}
}

// inject sends a frame from a device of the namespace that this runs in, as any sender of raw frames does.
func inject(device string, frame []byte) error {
	i, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	protocol := uint16(frame[12])<<8 | uint16(frame[13])
	return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Protocol: htons(protocol), Ifindex: i.Index})
}

// VLAN tags are looked through both ways: those in the frame, and the one that the kernel takes out of a frame it
// has received.
func TestTagsOnTheWire(t *testing.T) {
	ownNamespace(t)
	p := newPeer(t)
	cable(t, p)
	out := [2]gopacket.SerializableLayer{ip4("10.9.0.1", "10.9.0.2", layers.IPProtocolUDP), udpPorts(5000, 6000)}
	in := [2]gopacket.SerializableLayer{ip4("10.9.0.2", "10.9.0.1", layers.IPProtocolUDP), udpPorts(6000, 5000)}
	tags := map[string][]gopacket.SerializableLayer{
		"none":             {ethernet(layers.EthernetTypeIPv4)},
		"802.1Q":           {ethernet(layers.EthernetTypeDot1Q), tag(5, layers.EthernetTypeIPv4)},
		"802.1ad":          {ethernet(0x88a8), tag(5, layers.EthernetTypeIPv4)},
		"802.1Q in .1ad":   {ethernet(0x88a8), tag(5, layers.EthernetTypeDot1Q), tag(7, layers.EthernetTypeIPv4)},
		"802.1Q in 802.1Q": {ethernet(layers.EthernetTypeDot1Q), tag(5, layers.EthernetTypeDot1Q), tag(7, layers.EthernetTypeIPv4)},
	}
	for name, head := range tags {
		for _, framing := range []Framing{Ethernet, Cooked, Mixed} {
			w := watchFor(t, framing, NewSet(parsed(t, "protocol=UDP", "localPort=5000", "remotePort=6000")))
			if err := inject("va", serialized(t, append(slices.Clone(head), out[:]...)...)); err != nil {
				t.Fatal(err)
			}
			if err := p.do(func() error { return inject("vb", serialized(t, append(slices.Clone(head), in[:]...)...)) }); err != nil {
				t.Fatal(err)
			}
			recorded, _ := w.packets(t, 2)
			if len(recorded) != 2 || (recorded[0].kind == unix.PACKET_OUTGOING) == (recorded[1].kind == unix.PACKET_OUTGOING) {
				t.Errorf("%s, framing %d: recorded %+v, want one packet each way", name, framing, recorded)
			}
		}
	}
}

// All fragments of a datagram are recorded, though only the first has the ports.
func TestFragmentsOnTheWire(t *testing.T) {
	ownNamespace(t)
	p := newPeer(t)
	cable(t, p)
	w := watchFor(t, Ethernet, NewSet(parsed(t, "protocol=UDP", "remotePort=7000")))
	here, err := net.ListenPacket("udp4", "10.9.0.1:7001")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = here.Close() }()
	if err := p.do(func() error {
		c, err := net.DialUDP("udp4", &net.UDPAddr{Port: 7000}, here.LocalAddr().(*net.UDPAddr))
		if err != nil {
			return err
		}
		defer func() { _ = c.Close() }()
		_, err = c.Write(make([]byte, 4000))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if recorded, _ := w.packets(t, 3); len(recorded) != 3 {
		t.Errorf("%d of 3 fragments were recorded", len(recorded))
	}
}

// "Port unreachable" for the datagram under study is recorded with it, unless that is turned off.
func TestUnreachableOnTheWire(t *testing.T) {
	ownNamespace(t)
	p := newPeer(t)
	cable(t, p)
	set := NewSet(parsed(t, "protocol=UDP", "remotePort=9999"))
	for want, set := range map[int]Set{2: set, 1: set.WithICMPErrors(false)} {
		w := watchFor(t, Ethernet, set)
		c, err := net.Dial("udp4", "10.9.0.2:9999")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write([]byte("hello")); err != nil {
			t.Fatal(err)
		}
		recorded, _ := w.packets(t, want)
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		if len(recorded) != want {
			t.Errorf("ICMP errors %v: %d packets were recorded, want %d", set.ICMPErrors(), len(recorded), want)
		}
	}
}

// The kernel takes the largest programs, or, where it lacks the memory for them (net.core.optmem_max), smaller
// ones that still let through all that matches.
func TestKernelTakesLargePrograms(t *testing.T) {
	ownNamespace(t)
	a, _ := vethPair(t, "va", "vb")
	sender := packetSocket(t, unix.SOCK_RAW, a)
	attach(t, sender, []bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K}})
	filtered := packetSocket(t, unix.SOCK_RAW, a)
	r := newRandom(t)
	r.wide = true
	for _, n := range []int{100, 1000} {
		set := largeSet(t, r, n)
		var program *Program
		for limit := MaxInstructions; ; limit /= 2 {
			program = compiled(t, set, Options{MaxInstructions: limit})
			err := attachProgram(filtered, program.Raw)
			if err == nil {
				break
			}
			if !errors.Is(err, unix.ENOMEM) {
				t.Fatalf("%d instructions: %v", len(program.Raw), err)
			}
		}
		t.Logf("%d filters: %d instructions, exact: %v", n, len(program.Raw), program.Exact)
		matched := 0
		for range 3000 {
			p := r.packet()
			if p.Framing != Ethernet || len(p.Data) < 14 {
				continue
			}
			p.Direction = Outgoing
			if err := unix.Sendto(sender, p.Data, 0, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: a}); err != nil {
				t.Fatal(err)
			}
			want := setMatches(t, set, &p)
			s, got := receive(t, filtered, 0)
			if want && (!got || !bytes.Equal(s.data, p.Data)) || got && !want && program.Exact {
				t.Fatalf("%d filters: packet %+v: kernel %v, Match %v", n, p, got, want)
			}
			if want {
				matched++
			}
		}
		if matched == 0 {
			t.Errorf("%d filters: nothing matched", n)
		}
	}
}
