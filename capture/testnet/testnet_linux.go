// Package testnet gives tests networks of their own: namespaces that end with
// the test, so that real kernel sockets see real traffic, and only the test's.
package testnet

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// Need ends the test unless it runs as root and the tools are there: with a
// skip that says what to install on a user's machine, as a failure in CI.
func Need(t testing.TB, tools ...string) {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, "needs root: run the tests with sudo")
	}
	NeedTools(t, tools...)
}

// NeedTools is Need without root.
func NeedTools(t testing.TB, tools ...string) {
	t.Helper()
	packages := map[string]string{"ip": "iproute2", "capinfos": "wireshark-common", "mount": "mount", "nft": "nftables"}
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			pkg := tool
			if p, ok := packages[tool]; ok {
				pkg = p
			}
			missing(t, fmt.Sprintf("needs %s: install the package %s", tool, pkg))
		}
	}
}

func missing(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("CI") != "" {
		t.Fatal(why)
	}
	t.Skip(why)
}

// NS is a network namespace.
type NS struct {
	Name string
	t    testing.TB
}

var count atomic.Int64

// New makes a namespace that ends with the test. The kernel sends no packets of
// its own in it: IPv6 autoconfiguration is off, and Veth switches off ARP.
func New(t testing.TB) *NS {
	t.Helper()
	Need(t, "ip")
	ns := &NS{Name: fmt.Sprintf("pcapctl-%d-%d", os.Getpid(), count.Add(1)), t: t}
	run(t, "ip", "netns", "add", ns.Name)
	t.Cleanup(func() { run(t, "ip", "netns", "del", ns.Name) })
	ns.Do(func() {
		for _, conf := range []string{"all", "default"} {
			path := "/proc/sys/net/ipv6/conf/" + conf + "/disable_ipv6" // of the thread that opens it
			_ = os.WriteFile(path, []byte("1"), 0)
		}
	})
	ns.IP("link", "set", "lo", "up")
	return ns
}

// IP runs ip(8) in the namespace.
func (ns *NS) IP(args ...string) {
	ns.t.Helper()
	run(ns.t, "ip", append([]string{"-n", ns.Name}, args...)...)
}

// Veth makes a pair of connected interfaces, both up.
func (ns *NS) Veth(a, b string) {
	ns.t.Helper()
	ns.IP("link", "add", a, "type", "veth", "peer", "name", b)
	for _, dev := range []string{a, b} {
		ns.IP("link", "set", dev, "arp", "off", "multicast", "off", "up")
	}
	ns.WaitUntilUp(a, b)
}

// WaitUntilUp waits until the interfaces pass packets.
func (ns *NS) WaitUntilUp(names ...string) {
	ns.t.Helper()
	if err := WaitUntilUp(ns.Name, names...); err != nil {
		ns.t.Fatal(err)
	}
}

// WaitUntilUp waits until the interfaces of a namespace pass packets. The kernel
// gives an interface its queue a little after its carrier, in a work queue that a
// busy machine puts off; until then its queueing discipline is noop, which takes
// packets and drops them before any packet socket sees them
// (net/core/link_watch.c, net/sched/sch_generic.c).
func WaitUntilUp(namespace string, names ...string) error {
	for _, name := range names {
		var out []byte
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			out, _ = exec.Command("ip", "-n", namespace, "-o", "link", "show", "dev", name).CombinedOutput()
			line := string(out)
			if strings.Contains(line, "LOWER_UP") && !strings.Contains(line, "qdisc noop ") && !strings.Contains(line, "state DOWN") && !strings.Contains(line, "state LOWERLAYERDOWN") {
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("%s is not up after 30 seconds: %s", name, line)
			}
		}
	}
	return nil
}

// Command is a command that runs in the namespace.
func (ns *NS) Command(name string, args ...string) *exec.Cmd {
	return exec.CommandContext(ns.t.Context(), "ip", append([]string{"netns", "exec", ns.Name, name}, args...)...)
}

// Do calls fn on a thread that is in the namespace; sockets opened by fn stay
// there.
func (ns *NS) Do(fn func()) {
	ns.t.Helper()
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread is never unlocked, so that the runtime ends it with the
		// goroutine: no other goroutine may run in the namespace.
		runtime.LockOSThread()
		var fd int
		if fd, err = unix.Open("/run/netns/"+ns.Name, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return
		}
		defer func() { _ = unix.Close(fd) }()
		if err = unix.Setns(fd, unix.CLONE_NEWNET); err == nil {
			fn()
		}
	}()
	<-done
	if err != nil {
		ns.t.Fatalf("enter namespace %s: %v", ns.Name, err)
	}
}

// Sender sends frames as they are on one interface.
type Sender struct {
	addr unix.SockaddrLinklayer
	t    testing.TB
	mu   sync.RWMutex
	fd   int // -1 when the test is over
}

// Sender opens a sender on the interface dev.
func (ns *NS) Sender(dev string) *Sender {
	ns.t.Helper()
	s := &Sender{t: ns.t}
	var err error
	ns.Do(func() {
		if s.fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0); err != nil {
			return
		}
		var ifr *unix.Ifreq
		if ifr, err = unix.NewIfreq(dev); err != nil {
			return
		}
		if err = unix.IoctlIfreq(s.fd, unix.SIOCGIFINDEX, ifr); err == nil {
			s.addr.Ifindex = int(ifr.Uint32())
		}
	})
	if err != nil {
		ns.t.Fatalf("open a sender on %s: %v", dev, err)
	}
	ns.t.Cleanup(func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		_ = unix.Close(s.fd)
		s.fd = -1
	})
	return s
}

// Send sends one frame, and nothing when the test is over: a test need not wait
// for goroutines that send. Safe for concurrent use.
func (s *Sender) Send(frame []byte) {
	s.t.Helper()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.fd < 0 {
		return
	}
	to := s.addr // Sendto writes into it
	for {
		err := unix.Sendto(s.fd, frame, 0, &to)
		if errors.Is(err, unix.ENOBUFS) {
			runtime.Gosched()
			continue
		}
		if err != nil {
			s.t.Fatalf("send %d bytes: %v", len(frame), err)
		}
		return
	}
}

func run(t testing.TB, name string, args ...string) {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
}
