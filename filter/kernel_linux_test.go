package filter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// needOf ends the test when it cannot run here: as a failure where the tests are meant to be whole.
func needOf(t testing.TB, missing string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("this test needs %s", missing)
	}
	t.Skipf("this test needs %s", missing)
}

// ownNamespace puts the test into a network namespace of its own. Its thread ends with it and is never
// unlocked, so that nothing else comes to run in there.
func ownNamespace(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("ip"); err != nil {
		needOf(t, "ip (package iproute2)")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		needOf(t, fmt.Sprintf("the right to make a network namespace (root): %v", err))
	}
	// Packets must arrive in the order in which they were sent: everything on one processor.
	var cpus unix.CPUSet
	if err := unix.SchedGetaffinity(0, &cpus); err != nil {
		t.Fatal(err)
	}
	for cpu := range len(cpus) * 64 {
		if cpus.IsSet(cpu) {
			cpus.Zero()
			cpus.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &cpus); err != nil {
		t.Fatal(err)
	}
	// No packets but ours.
	for _, which := range []string{"all", "default"} {
		// /proc/sys/net is that of the thread that opens it.
		err := os.WriteFile("/proc/sys/net/ipv6/conf/"+which+"/disable_ipv6", []byte("1"), 0)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	ip(t, "link set lo up")
}

// ip runs one iproute2 command in the test's namespace.
func ip(t testing.TB, arguments string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "ip", strings.Fields(arguments)...).CombinedOutput(); err != nil {
		t.Fatalf("ip %s: %v\n%s", arguments, err, out)
	}
}

// vethPair makes two connected Ethernet devices and returns their interface indexes.
func vethPair(t testing.TB, a, b string) (int, int) {
	t.Helper()
	ip(t, "link add "+a+" type veth peer name "+b)
	ip(t, "link set "+a+" up")
	ip(t, "link set "+b+" up")
	for _, name := range []string{a, b} {
		if err := waitRunning(name); err != nil {
			t.Fatal(err)
		}
	}
	return indexOf(t, a), indexOf(t, b)
}

// waitRunning waits until a device has a carrier: before that it drops what is sent.
func waitRunning(name string) error {
	for range 3000 {
		i, err := net.InterfaceByName(name)
		if err != nil {
			return err
		}
		if i.Flags&net.FlagRunning != 0 {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("%s does not get a carrier", name)
}

func indexOf(t testing.TB, name string) int {
	t.Helper()
	i, err := net.InterfaceByName(name)
	if err != nil {
		t.Fatal(err)
	}
	return i.Index
}

// tunDevice makes a tun device. What is written to the file comes in on the device.
func tunDevice(t testing.TB, name string) (fd, index int) {
	t.Helper()
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		needOf(t, fmt.Sprintf("tun devices: %v", err))
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	request, err := unix.NewIfreq(name)
	if err != nil {
		t.Fatal(err)
	}
	request.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		t.Fatal(err)
	}
	ip(t, "link set "+name+" up")
	return fd, indexOf(t, name)
}

// packetSocket listens to all protocols on one interface, or on all for 0.
func packetSocket(t testing.TB, kind, index int) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20); err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_ALL), Ifindex: index}); err != nil {
		t.Fatal(err)
	}
	return fd
}

func htons(n uint16) uint16 { return n<<8 | n>>8 }

// attach gives a program to the kernel.
func attach(t testing.TB, fd int, raw []bpf.RawInstruction) {
	t.Helper()
	if err := attachProgram(fd, raw); err != nil {
		t.Fatalf("the kernel refuses the program of %d instructions: %v", len(raw), err)
	}
}

func attachProgram(fd int, raw []bpf.RawInstruction) error {
	filters := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		filters[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	return unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER,
		&unix.SockFprog{Len: uint16(len(filters)), Filter: &filters[0]})
}

// seen is a packet as a socket shows it.
type seen struct {
	data     []byte
	protocol uint16
	kind     uint8
	hardware uint16
	index    int
}

// receive is the next packet; false when none comes within wait.
func receive(t testing.TB, fd int, wait time.Duration) (seen, bool) {
	t.Helper()
	buffer := make([]byte, 4096)
	for {
		n, from, err := unix.Recvfrom(fd, buffer, 0)
		switch {
		case err == nil:
			ll := from.(*unix.SockaddrLinklayer)
			return seen{buffer[:n], htons(ll.Protocol), ll.Pkttype, ll.Hatype, ll.Ifindex}, true
		case errors.Is(err, unix.EINTR):
		case !errors.Is(err, unix.EAGAIN):
			t.Fatalf("receive: %v", err)
		case wait <= 0:
			return seen{}, false
		default:
			_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(wait.Milliseconds()))
			if err != nil && !errors.Is(err, unix.EINTR) {
				t.Fatal(err)
			}
			wait = 0
		}
	}
}

// packet is what Match looks at.
func (s *seen) packet(framing Framing) Packet {
	p := Packet{Data: s.data, Framing: framing, Protocol: s.protocol, Direction: Incoming}
	switch {
	case s.hardware == unix.ARPHRD_LOOPBACK:
		p.Direction = Either
	case s.kind == unix.PACKET_OUTGOING:
		p.Direction = Outgoing
	}
	return p
}

// view is a place where packets are watched by two sockets alike, one of them with a filter.
type view struct {
	name string
	// A cooked socket of newer kernels gives the protocol behind all tags; the program sees the outermost. The
	// view of the same packets by a raw socket, which gives that, is looked at before.
	raw            *view
	program        Framing // what the program is made for
	batch          []seen  // the last one
	framing        Framing
	bare, filtered int
	sentinels      int // how many ends of a batch the bare socket sees
	cases, matches int
	cut            int // of these, to their headers
}

func newView(t testing.TB, name string, framing, program Framing, index, sentinels int) *view {
	kind := unix.SOCK_RAW
	if program == Cooked {
		kind = unix.SOCK_DGRAM
	}
	v := &view{name: name, framing: framing, program: program, sentinels: sentinels,
		bare: packetSocket(t, kind, index), filtered: packetSocket(t, kind, index)}
	// Without any filter the kernel does not show packets that have nothing behind their MAC header.
	attach(t, v.bare, []bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K, K: wholePacket}})
	return v
}

// sentinel is what the last packet of a batch ends with.
var sentinel = []byte("the end of this batch of packets")

// check reads a batch from both sockets: the filtered one must have just what matches of what the other has.
func (v *view) check(t testing.TB, set Set, headersOnly bool) {
	t.Helper()
	var want []seen
	v.batch = v.batch[:0]
	for left := v.sentinels; left > 0; {
		s, ok := receive(t, v.bare, 5*time.Second)
		if !ok {
			t.Fatalf("%s: the end of a batch was not seen", v.name)
		}
		if bytes.HasSuffix(s.data, sentinel) {
			left--
		}
		v.batch = append(v.batch, s)
		given := s.protocol
		if v.raw != nil {
			s.protocol = v.raw.batch[len(v.batch)-1].protocol
		}
		if s.hardware == unix.ARPHRD_LOOPBACK && s.kind == unix.PACKET_OUTGOING {
			continue // Recorded when it comes in again.
		}
		v.cases++
		if p := s.packet(v.framing); setMatches(t, set, &p) {
			v.matches++
			s.protocol = given
			if headersOnly {
				s.data = s.data[:p.HeaderLength()]
				v.cut++
			}
			want = append(want, s)
		}
	}
	for i, w := range want {
		got, ok := receive(t, v.filtered, time.Second)
		if !ok || !bytes.Equal(got.data, w.data) || got.kind != w.kind || got.protocol != w.protocol {
			t.Fatalf("%s: packet %d of %d\nset %v\nfilters %+v\nwant %+v\ngot  %+v (%v)", v.name, i, len(want), set, specs(set), w, got, ok)
		}
	}
	v.checkQuiet(t, set)
}

// checkQuiet holds that the filter let nothing more through.
func (v *view) checkQuiet(t testing.TB, set Set) {
	t.Helper()
	if got, ok := receive(t, v.filtered, 0); ok {
		t.Fatalf("%s: the kernel recorded what does not match\nset %v\nfilters %+v\npacket %+v", v.name, set, specs(set), got)
	}
}

// The program in the kernel and the plain Go match agree: on Ethernet and cooked sockets, sending and
// receiving, on loopback and on a tun device, with whatever the kernel makes of odd packets on the way.
func TestKernelIsMatch(t *testing.T) {
	ownNamespace(t)
	a, b := vethPair(t, "va", "vb")
	tun, tunIndex := tunDevice(t, "tun0")
	lo := indexOf(t, "lo")
	views := []*view{
		newView(t, "sent, Ethernet", Ethernet, Ethernet, a, 1),
		newView(t, "sent, cooked", Cooked, Cooked, a, 1),
		newView(t, "received, Ethernet", Ethernet, Ethernet, b, 1),
		newView(t, "received, cooked", Cooked, Cooked, b, 1),
		newView(t, "loopback, Ethernet", Ethernet, Ethernet, lo, 2),
		newView(t, "loopback, cooked", Cooked, Cooked, lo, 2),
		newView(t, "tun, raw", RawIP, RawIP, tunIndex, 2),
		newView(t, "tun, cooked", Cooked, Cooked, tunIndex, 2),
		newView(t, "received, mixed", Ethernet, Mixed, b, 1),
		newView(t, "loopback, mixed", Ethernet, Mixed, lo, 2),
		newView(t, "tun, mixed", Cooked, Mixed, tunIndex, 2),
	}
	sender := packetSocket(t, unix.SOCK_RAW, a)
	attach(t, sender, []bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K}}) // It only sends.
	send := func(index int, data []byte) {
		protocol := uint16(unix.ETH_P_IP)
		switch {
		case index != tunIndex:
			protocol = binary.BigEndian.Uint16(data[12:])
		case data[0]>>4 == 6:
			protocol = unix.ETH_P_IPV6
		}
		err := unix.Sendto(sender, data, 0, &unix.SockaddrLinklayer{Protocol: htons(protocol), Ifindex: index})
		if err != nil {
			t.Fatalf("send %x: %v", data, err)
		}
	}
	write := func(data []byte) {
		if _, err := unix.Write(tun, data); err != nil && !errors.Is(err, unix.EINVAL) { // EINVAL: neither IPv4 nor IPv6.
			t.Fatalf("write to tun: %v", err)
		}
	}

	for i, v := range views {
		if v.program == Cooked {
			v.raw = views[i-1]
		}
	}
	r := newRandom(t)
	const batch = 100
	cases := 0
	for want := propertyCases(t, 30_000); cases < want; {
		set := r.set(t)
		noLoopback := r.chance(50) // where there is none
		headersOnly := r.chance(50)
		for _, v := range views {
			v.checkQuiet(t, set)
			program := compiled(t, set, Options{Framing: v.program, HeadersOnly: headersOnly, NoLoopback: noLoopback && !strings.HasPrefix(v.name, "loopback")})
			if !program.Exact {
				t.Fatalf("a small set does not fit: %v", set)
			}
			attach(t, v.filtered, program.Raw)
		}
		for range batch {
			p := r.packet()
			switch {
			case p.Framing == Ethernet && len(p.Data) >= 14:
				send(pick(r, a, a, lo), p.Data)
			case p.Framing == RawIP && len(p.Data) > 0 && r.chance(50):
				send(tunIndex, p.Data)
			case p.Framing == RawIP:
				write(p.Data)
			}
		}
		end := slices.Concat(make([]byte, 12), []byte{0x88, 0xb5}, sentinel)
		send(a, end)
		send(lo, end)
		end = slices.Concat([]byte{0x45}, make([]byte, 8), []byte{253}, make([]byte, 10), sentinel)
		send(tunIndex, end)
		write(end)
		for drained := make([]byte, 4096); ; { // Nobody is at the other end of the tunnel.
			if _, err := unix.Read(tun, drained); err != nil {
				break
			}
		}
		cases = 0
		for _, v := range views {
			v.check(t, set, headersOnly)
			cases += v.cases
		}
	}
	for _, v := range views {
		v.checkQuiet(t, Set{})
		t.Logf("%-20s %7d packets, %7d matched, %7d of them cut to their headers", v.name, v.cases, v.matches, v.cut)
		if v.matches < v.cases/50 {
			t.Errorf("%s: hardly anything matched", v.name)
		}
	}
}
