package netlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"

	"pcapctl/capture/testnet"
)

// Host is one of the two machines: a network namespace whose interface eth0 is at
// an end of the wire.
type Host struct {
	*testnet.NS
	End    End
	V4, V6 netip.Addr
	MAC    net.HardwareAddr
	lab    *Lab
}

// Lab is two hosts and the wire between them, and a capture of it.
type Lab struct {
	testing.TB
	Client, Server *Host
	Wire           *Wire

	timers   string          // of routes that are added later: see patient
	recorded string          // a file that another program wrote instead of the wire
	ctx      context.Context // ends with the scene
	tasks    sync.WaitGroup
	mu       sync.Mutex
	conns    []io.Closer // closed when the scene has ended and nothing is recorded any more
}

// Routers that rules answer for; no host has these addresses.
var (
	routerV4 = netip.MustParseAddr("10.1.0.254")
	routerV6 = netip.MustParseAddr("fd00:1::254")
)

// busy holds one for each that works the processors: making namespaces and running
// tshark. The kernel's timers in other scenes would run out meanwhile.
var busy = make(chan struct{}, runtime.GOMAXPROCS(0))

// newLab makes the hosts and the wire. Nothing is on the wire until a scene sends
// something: there is no neighbour discovery of addresses, and no router solicitation.
func newLab(t testing.TB) *Lab {
	testnet.Need(t, "ip")
	busy <- struct{}{}
	defer func() { <-busy }()
	l := &Lab{TB: t}
	ctx, cancel := context.WithCancel(t.Context())
	l.ctx = ctx
	var taps [2]*os.File
	hosts := [2]*Host{}
	for _, end := range []End{Left, Right} {
		h := &Host{
			NS: testnet.New(t), End: end, lab: l,
			V4:  netip.AddrFrom4([4]byte{10, 1, 0, byte(1 + end)}),
			V6:  netip.MustParseAddr(fmt.Sprintf("fd00:1::%d", 1+end)),
			MAC: net.HardwareAddr{2, 0, 0, 0, 0, byte(10 + end)},
		}
		hosts[end] = h
		var err error
		h.Do(func() { taps[end], err = openTAP("eth0") })
		if err != nil {
			t.Fatal(err)
		}
		h.sysctl("ipv4/tcp_congestion_control", "reno") // the one that every kernel has
		h.sysctl("ipv4/tcp_no_metrics_save", "1")
		h.sysctl("ipv6/conf/eth0/addr_gen_mode", "1")
		h.sysctl("ipv6/conf/eth0/router_solicitations", "0")
		h.sysctl("ipv6/conf/eth0/mldv2_unsolicited_report_interval", "0")
		h.sysctl("ipv6/conf/eth0/accept_dad", "0")
		h.batch(
			"link set eth0 address "+h.MAC.String()+" multicast off up",
			"addr add "+h.V4.String()+"/24 dev eth0",
			"route add default via "+routerV4.String()+" dev eth0",
		)
		h.WaitUntilUp("eth0")
	}
	l.Client, l.Server = hosts[Left], hosts[Right]
	r := &recorder{}
	r.begin(Recording{})
	l.Wire = newWire(t, taps[Left], taps[Right], r)
	t.Cleanup(func() {
		cancel()
		l.mu.Lock()
		conns := l.conns
		l.mu.Unlock()
		for _, c := range conns {
			_ = c.Close()
		}
		l.tasks.Wait()
	})
	return l
}

// Record sets how the wire records. It comes before all traffic.
func (l *Lab) Record(how Recording) {
	l.Wire.mu.Lock()
	defer l.Wire.mu.Unlock()
	l.Wire.recorder.begin(how)
}

// Pause stops the recording, and Resume goes on with it.
func (l *Lab) Pause()  { l.pause(true) }
func (l *Lab) Resume() { l.pause(false) } //nolint:revive // see Pause

func (l *Lab) pause(paused bool) {
	l.Wire.mu.Lock()
	defer l.Wire.mu.Unlock()
	l.Wire.recorder.paused = paused
}

// finish ends the recording and gives the file.
func (l *Lab) finish() []byte {
	l.Wire.mu.Lock()
	defer l.Wire.mu.Unlock()
	l.Wire.recorder.paused = true
	if l.recorded == "" {
		return l.Wire.recorder.file
	}
	b, err := os.ReadFile(l.recorded)
	l.check(err)
	return b
}

func (l *Lab) closeLater(c io.Closer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, c)
}

// check ends the scene when err is not nil.
func (l *Lab) check(err error) {
	l.Helper()
	if err != nil {
		l.Fatal(err)
	}
}

// IPv6 gives both hosts their IPv6 address.
func (l *Lab) IPv6() {
	for _, h := range []*Host{l.Client, l.Server} {
		h.sysctl("ipv6/conf/eth0/disable_ipv6", "0")
		h.batch("addr add "+h.V6.String()+"/64 dev eth0 nodad noprefixroute", "route add fd00:1::/64 dev eth0"+l.timers, "route add ::/0 via "+routerV6.String()+" dev eth0")
	}
}

// patient makes the hosts wait for twenty seconds before they send anything but a SYN
// again, so that they do not where nothing is lost and only the machine is busy.
func (l *Lab) patient() {
	for _, h := range []*Host{l.Client, l.Server} {
		h.sysctl("ipv4/tcp_early_retrans", "0") // no tail loss probes, which are sent after two round trips
		h.batch("route replace 10.1.0.0/24 dev eth0 proto kernel scope link src " + h.V4.String() + " rto_min 20s")
	}
	l.timers = " rto_min 20s"
}

// Neighbours makes the hosts know each other's MAC, so that nobody asks for it.
func (l *Lab) Neighbours() {
	l.Client.batch("neigh replace "+l.Server.V4.String()+" lladdr "+l.Server.MAC.String()+" dev eth0",
		"neigh replace "+routerV4.String()+" lladdr "+l.Server.MAC.String()+" dev eth0")
	l.Server.batch("neigh replace "+l.Client.V4.String()+" lladdr "+l.Client.MAC.String()+" dev eth0",
		"neigh replace "+routerV4.String()+" lladdr "+l.Client.MAC.String()+" dev eth0")
}

// Delay makes every frame take d, both ways.
func (l *Lab) Delay(d time.Duration) { l.Wire.Apply(Delay(d)) }

// Await waits until n frames that match were sent.
func (l *Lab) Await(n int, m Match) {
	l.Helper()
	l.await(fmt.Sprintf("%d frames to be sent", n), sent, n, m)
}

// AwaitArrival waits until n frames that match arrived.
func (l *Lab) AwaitArrival(n int, m Match) {
	l.Helper()
	l.await(fmt.Sprintf("%d frames to arrive", n), delivered, n, m)
}

func (l *Lab) await(what string, kind happening, n int, m Match) {
	l.Helper()
	l.Wire.awaitEvents(what, func(e event) bool {
		if e.what == kind && m(e.frame) {
			n--
		}
		return n <= 0
	})
}

// AwaitEnd waits until n TCP connections have ended: the FINs of both ends were
// acknowledged, or one end sent a RST, and that arrived.
func (l *Lab) AwaitEnd(n int) {
	l.Helper()
	type state struct {
		fin   [2]uint32 // the sequence number behind the FIN
		has   [2]bool
		acked [2]bool
		ended bool
	}
	conns := make(map[string]*state)
	ended := 0
	l.Wire.awaitEvents(fmt.Sprintf("the end of %d connections", n), func(e event) bool {
		t := e.frame.TCP()
		if t == nil || e.what != delivered {
			return false
		}
		client, server := t.SrcPort, t.DstPort
		if e.frame.From == Right {
			client, server = server, client
		}
		key := fmt.Sprint(client, server)
		s := conns[key]
		if s == nil || (t.SYN && !t.ACK && s.ended) {
			s = &state{}
			conns[key] = s
		}
		from, to := e.frame.From, e.frame.From.Other()
		if t.FIN {
			s.fin[from], s.has[from] = t.Seq+uint32(len(t.Payload))+1, true
		}
		if t.ACK && s.has[to] && t.Ack == s.fin[to] {
			s.acked[to] = true
		}
		if !s.ended && (t.RST || s.acked[0] && s.acked[1]) {
			s.ended = true
			ended++
		}
		return ended >= n
	})
}

// sysctl sets a value below /proc/sys/net; one that this kernel does not have is left.
func (h *Host) sysctl(name, value string) {
	h.lab.Helper()
	var err error
	h.Do(func() { err = os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0) })
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		h.lab.Fatal(err)
	}
}

// batch runs commands of ip(8) in the namespace.
func (h *Host) batch(commands ...string) {
	h.lab.Helper()
	cmd := exec.CommandContext(h.lab.Context(), "ip", "-n", h.Name, "-batch", "-")
	cmd.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		h.lab.Fatalf("ip: %v\n%s\n%s", err, strings.Join(commands, "\n"), out)
	}
}

// firewall loads rules of nft(8) for what arrives at the host. Each is put into the
// chain of incoming packets of both address families.
func (h *Host) firewall(rules ...string) {
	h.lab.Helper()
	testnet.NeedTools(h.lab.TB, "nft")
	cmd := h.Command("nft", "-f", "-")
	cmd.Stdin = strings.NewReader("table inet t {\n chain input {\n type filter hook input priority 0;\n" + strings.Join(rules, "\n") + "\n}\n}\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		h.lab.Fatalf("nft: %v\n%s", err, out)
	}
}

// Addr is a port of the host, by IPv4.
func (h *Host) Addr(port uint16) netip.AddrPort { return netip.AddrPortFrom(h.V4, port) }

// Addr6 is a port of the host, by IPv6.
func (h *Host) Addr6(port uint16) netip.AddrPort { return netip.AddrPortFrom(h.V6, port) }

// option sets a socket option before a socket connects or listens.
type option func(fd int) error

func integer(level, name, value int) option {
	return func(fd int) error { return unix.SetsockoptInt(fd, level, name, value) }
}

// roomy is a receive buffer that holds all that a scene sends, so that the window
// never closes.
var roomy = integer(unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20)

// receiveBuffer bounds the window that the socket tells.
func receiveBuffer(bytes int) option { return integer(unix.SOL_SOCKET, unix.SO_RCVBUF, bytes) }

func control(options []option) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		var err error
		if e := c.Control(func(fd uintptr) {
			for _, o := range options {
				err = errors.Join(err, o(int(fd)))
			}
		}); e != nil {
			return e
		}
		return err
	}
}

// Listen accepts TCP connections and gives each to serve, in a goroutine of its own.
// Connections stay open when serve returns, until the scene has ended.
func (h *Host) Listen(at netip.AddrPort, serve func(c *net.TCPConn), options ...option) {
	h.lab.Helper()
	lc := net.ListenConfig{Control: control(options)}
	lc.SetMultipathTCP(false)
	var ln net.Listener
	var err error
	h.Do(func() { ln, err = lc.Listen(h.lab.ctx, "tcp", at.String()) })
	h.lab.check(err)
	h.lab.closeLater(ln)
	h.lab.tasks.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			h.lab.closeLater(c)
			h.lab.tasks.Go(func() { serve(c.(*net.TCPConn)) })
		}
	})
}

// listenOnly has the kernel complete connections of which nobody takes any: backlog + 1, and then no more.
func (h *Host) listenOnly(at netip.AddrPort, backlog int) {
	h.lab.Helper()
	var err error
	h.Do(func() {
		var fd int
		if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		h.lab.closeLater(os.NewFile(uintptr(fd), "listener"))
		err = errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()}), unix.Listen(fd, backlog))
	})
	h.lab.check(err)
}

// Dial connects to a TCP server.
func (h *Host) Dial(to netip.AddrPort, options ...option) *net.TCPConn {
	h.lab.Helper()
	c, err := h.TryDial(h.lab.ctx, netip.AddrPort{}, to, options...)
	h.lab.check(err)
	return c
}

// TryDial connects to a TCP server, from a local address if that is valid.
func (h *Host) TryDial(ctx context.Context, from, to netip.AddrPort, options ...option) (*net.TCPConn, error) {
	d := net.Dialer{Control: control(options), KeepAlive: -1}
	d.SetMultipathTCP(false)
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(from)
	}
	var c net.Conn
	var err error
	h.Do(func() { c, err = d.DialContext(ctx, "tcp", to.String()) })
	if err != nil {
		return nil, err
	}
	h.lab.closeLater(c)
	return c.(*net.TCPConn), nil
}

// Packets opens a UDP socket.
func (h *Host) Packets(at netip.AddrPort, options ...option) *net.UDPConn {
	h.lab.Helper()
	lc := net.ListenConfig{Control: control(options)}
	var c net.PacketConn
	var err error
	h.Do(func() { c, err = lc.ListenPacket(h.lab.ctx, "udp", at.String()) })
	h.lab.check(err)
	h.lab.closeLater(c)
	return c.(*net.UDPConn)
}

// failsToDial dials and wants an error; it gives up after a time that is long
// enough for the SYNs that the scene shows.
func (h *Host) failsToDial(to netip.AddrPort, within time.Duration) {
	h.lab.Helper()
	ctx, cancel := context.WithTimeout(h.lab.ctx, within)
	defer cancel()
	if c, err := h.TryDial(ctx, netip.AddrPort{}, to); err == nil {
		h.lab.Fatalf("connected to %v, from %v", to, c.LocalAddr())
	}
}

// isPort matches TCP or UDP to or from a port.
func isPort(port uint16) Match {
	return func(f *Frame) bool {
		switch t := f.Decoded.TransportLayer().(type) {
		case *layers.TCP:
			return uint16(t.SrcPort) == port || uint16(t.DstPort) == port
		case *layers.UDP:
			return uint16(t.SrcPort) == port || uint16(t.DstPort) == port
		}
		return false
	}
}
