package azblob

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"pcapctl/storage/azblob/blobtest"
)

// reported remembers the flows that a client reports.
type reported struct {
	mu   sync.Mutex
	ever map[Flow]bool
	last []Flow
	err  error
}

func (w *reported) set(flows []Flow) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return w.err
	}
	if w.ever == nil {
		w.ever = map[Flow]bool{}
	}
	for _, f := range flows {
		w.ever[f] = true
	}
	w.last = flows
	return nil
}

func TestFlowsAreReportedBeforeTheFirstPacket(t *testing.T) {
	a := blobtest.Start(t)
	a.Container("captures")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	to := netip.MustParseAddrPort(l.Addr().String())
	var w reported
	seen := &seenListener{Listener: l, look: func(from netip.AddrPort) {
		w.mu.Lock()
		defer w.mu.Unlock()
		if !w.ever[Flow{from.Port(), to}] {
			t.Errorf("a connection from port %d came before it was reported", from.Port())
		}
	}}
	p := blobtest.NewProxy(t, a, seen, nil)
	p.Rule(func(r blobtest.Request) blobtest.Fault {
		if r.N%2 == 0 {
			return blobtest.CutAfter
		}
		return blobtest.Pass
	})
	c := client(t, a, p.Addr, "captures/flows.cap")
	c.dialer.hold = 300 * time.Millisecond
	if err := c.WatchFlows(w.set); err != nil {
		t.Fatal(err)
	}
	const n = 20 * testBlock
	b := content(n)
	if err := c.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	u := c.Upload(whole{bytes.NewReader(b)}, UploadOptions{BlockSize: testBlock})
	u.Grow(n / 2)
	untilStaged(t, u, n/2)
	p.Cut()
	if _, err := u.Finish(within(t, 20*time.Second), n, nil); err != nil {
		t.Fatal(err)
	}
	if p.Connections() < 5 || len(w.ever) != p.Connections() {
		t.Errorf("%d connections, %d reported", p.Connections(), len(w.ever))
	}
	c.Close()
	if left := c.dialer.left(); left != 0 {
		t.Errorf("%d flows are left after the end", left)
	}
}

func (d *dialer) left() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.flows)
}

type seenListener struct {
	net.Listener
	look func(netip.AddrPort)
}

func (l *seenListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.look(netip.MustParseAddrPort(c.RemoteAddr().String()))
	}
	return c, err
}

func TestFlowsEnd(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	d := newDialer(time.Second)
	defer d.close()
	var w reported
	if err := d.watch(w.set); err != nil {
		t.Fatal(err)
	}
	closed := func() Flow { // the flow of a connection that was made and closed
		conn, err := d.dial(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = conn.Close()
		return Flow{localPort(conn), netip.MustParseAddrPort(l.Addr().String())}
	}
	d.hold = time.Hour
	flow := closed()
	w.mu.Lock()
	if !slices.Contains(w.last, flow) {
		t.Errorf("%v was not reported: %v", flow, w.last)
	}
	w.mu.Unlock()
	// As long as it is reported, the kernel chooses the port for nobody else.
	for range 200 {
		c, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		if localPort(c) == flow.LocalPort {
			t.Error("another connection got the port")
		}
		_ = c.Close()
	}
	d.hold = time.Millisecond
	gone := closed()
	until(t, "the end of a flow", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		return w.ever[gone] && slices.Equal(w.last, []Flow{flow})
	})
}

func TestNoConnectionThatCannotBeLeftOut(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	d := newDialer(time.Second)
	var w reported
	if err := d.watch(w.set); err != nil {
		t.Fatal(err)
	}
	w.err = errors.New("no room")
	if _, err := d.dial(t.Context(), "tcp", l.Addr().String()); !errors.Is(err, w.err) {
		t.Fatalf("dial: %v", err)
	}
	if len(d.flows) != 0 {
		t.Errorf("%d flows are left", len(d.flows))
	}
}

func TestEndedFlowsAreBounded(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	d := newDialer(time.Second)
	defer d.close()
	var w reported
	if err := d.watch(w.set); err != nil {
		t.Fatal(err)
	}
	for range maxEnded + 10 {
		c, err := d.dial(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_ = c.Close()
	}
	if len(w.last) > maxEnded {
		t.Errorf("%d are reported", len(w.last))
	}
}
