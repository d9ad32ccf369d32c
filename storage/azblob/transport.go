package azblob

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"syscall"
	"time"
)

// transport sends the SDK's requests. It is a bare RoundTripper: an http.Client
// would put the whole URL, signature included, into its errors, and would
// follow a redirect with it to wherever that leads.
//
// The login service and the one that gives a machine its identity are asked over it,
// too, so that what bounds an answer bounds theirs.
type transport struct {
	http.Transport
	host string // of the blob, without its port
}

// Connections and their buffers. Blocks are sent from the file through these
// buffers, so that memory does not depend on the size of a block.
const (
	inFlight    = 4
	writeBuffer = 64 << 10
	dialTime    = 15 * time.Second
	idleTime    = 60 * time.Second
)

func newTransport(d *dialer, stall time.Duration, host string) *transport {
	return &transport{host: host, Transport: http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           d.dial,
		MaxConnsPerHost:       inFlight,
		MaxIdleConnsPerHost:   inFlight,
		IdleConnTimeout:       idleTime,
		TLSHandshakeTimeout:   min(dialTime, stall),
		ResponseHeaderTimeout: stall,
		DisableCompression:    true,
		WriteBufferSize:       writeBuffer,
		// Of every header of an answer together, and of a proxy's. The default is 10 MiB.
		MaxResponseHeaderBytes: maxHeader,
	}}
}

// Bounds of an answer, in bytes. The SDK reads a body whole, whatever it claims to be.
const (
	maxHeader = 64 << 10
	// maxList is for what the Blob service succeeds with. The longest that is meant is the
	// list of a blob with 50,000 blocks, committed and staged, at some 150 bytes each.
	maxList = 32 << 20
	// maxOther is for errors, and for what other services say: a token has some
	// kilobytes, and what is made of one of their bodies is many times as large.
	maxOther = 1 << 20
)

// errLongAnswer says that an answer has no end.
func errLongAnswer(host string, most int64) error {
	return errorf(Unavailable, nil, "the answer of %s is longer than %d MiB, which no such service sends: look at storagePath and the proxy settings", oneLine(host), most>>20)
}

// bound is how long the body of an answer may be.
func (t *transport) bound(req *http.Request, resp *http.Response) int64 {
	if req.URL.Hostname() == t.host && resp.StatusCode < http.StatusMultipleChoices {
		return maxList
	}
	return maxOther
}

// Do makes it a policy.Transporter.
func (t *transport) Do(req *http.Request) (*http.Response, error) {
	resp, err := t.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	most := t.bound(req, resp)
	if resp.ContentLength > most {
		_ = resp.Body.Close()
		return nil, errLongAnswer(req.URL.Host, most)
	}
	resp.Body = &boundedBody{ReadCloser: resp.Body, left: most, long: errLongAnswer(req.URL.Host, most)}
	return resp, nil
}

// boundedBody is a body that ends in an error when it is too long.
type boundedBody struct {
	io.ReadCloser
	left int64
	long error
}

func (b *boundedBody) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, b.long
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}

// dialer makes connections that are reported before their first packet.
type dialer struct {
	net   net.Dialer
	stall time.Duration
	hold  time.Duration // how long after its close a flow is still reported

	reporting sync.Mutex // held during a call of report; taken before mu
	report    func([]Flow) error

	mu     sync.Mutex
	flows  []*connection // in the order of their opening
	closed bool
}

// connection is a flow and what keeps its port from other programs.
type connection struct {
	Flow
	port   reservation
	ended  time.Time // zero while it is open
	expire *time.Timer
}

// Traces of a closed connection: unacknowledged data and the FIN are repeated
// for userTimeout at most, and TIME_WAIT lasts a minute more (tcp(7)).
const (
	userTimeout = 30 * time.Second
	holdTime    = 2 * time.Minute
	// maxEnded bounds how many closed flows are reported. Retries that back off
	// come nowhere near it.
	maxEnded = 64
)

var (
	errClosed  = errors.New("the client is closed")
	errAborted = errors.New("the connection is not needed any more")
)

func newDialer(stall time.Duration) *dialer {
	return &dialer{net: net.Dialer{Timeout: min(dialTime, stall)}, stall: stall, hold: holdTime, report: unwatched}
}

// attempt is one call of dial, which may try several addresses at a time.
type attempt struct {
	mu    sync.Mutex
	done  bool
	flows []*connection
}

func (d *dialer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	a := &attempt{}
	nd := d.net
	ports, err := newDialing(&nd)
	if err != nil {
		return nil, err
	}
	defer ports.end()
	nd.Control = func(network, address string, c syscall.RawConn) error {
		return d.control(a, ports, network, address, c)
	}
	conn, err := nd.DialContext(ctx, network, address)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done = true
	var opened *connection
	for _, f := range a.flows {
		if err == nil && f.LocalPort == localPort(conn) && f.Remote == remote(conn) {
			opened = f
			continue
		}
		d.end(f)
	}
	if err != nil {
		return nil, err
	}
	return &watchedConn{Conn: conn, stall: d.stall, end: func() {
		if opened != nil {
			d.end(opened)
		}
	}}, nil
}

// control runs between socket(2) and connect(2): the port is bound and the
// flow reported here, before the first packet can leave.
func (d *dialer) control(a *attempt, ports dialing, network, address string, c syscall.RawConn) error {
	f, err := ports.reserve(network, address, c)
	if err != nil || f == nil {
		return err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.done { // another address was faster
		f.port.release()
		return errAborted
	}
	d.mu.Lock()
	if d.closed {
		d.mu.Unlock()
		f.port.release()
		return errClosed
	}
	d.flows = append(d.flows, f)
	d.mu.Unlock()
	if err := d.reportAll(); err != nil {
		d.forget(f)
		return err
	}
	a.flows = append(a.flows, f)
	return nil
}

// watch sets the function that flows are reported to.
func (d *dialer) watch(f func([]Flow) error) error {
	if !canReserve {
		return errors.ErrUnsupported
	}
	d.setReport(f)
	return d.reportAll()
}

// unwatch ends the reports.
func (d *dialer) unwatch() {
	d.setReport(unwatched)
	d.forgetEnded()
}

// unwatched is the report of a dialer that nobody watches.
func unwatched([]Flow) error { return nil }

func (d *dialer) setReport(f func([]Flow) error) {
	d.reporting.Lock()
	defer d.reporting.Unlock()
	d.report = f
}

// reportAll reports the flows there are.
func (d *dialer) reportAll() error {
	d.reporting.Lock()
	defer d.reporting.Unlock()
	d.mu.Lock()
	all := make([]Flow, len(d.flows))
	for i, f := range d.flows {
		all[i] = f.Flow
	}
	d.mu.Unlock()
	return d.report(all)
}

// end notes that a connection was closed. Its last packets are still on the
// way, and it is reported until they have come.
func (d *dialer) end(f *connection) {
	d.mu.Lock()
	if !f.ended.IsZero() {
		d.mu.Unlock()
		return
	}
	f.ended = time.Now()
	if d.closed {
		d.mu.Unlock()
		d.forget(f)
		return
	}
	f.expire = time.AfterFunc(d.hold, func() { d.expired(f) })
	var oldest *connection
	ended := 0
	for _, f := range d.flows {
		if !f.ended.IsZero() {
			ended++
			if oldest == nil || f.ended.Before(oldest.ended) {
				oldest = f
			}
		}
	}
	d.mu.Unlock()
	if ended > maxEnded {
		d.expired(oldest)
	}
}

// expired removes a flow. Its port becomes free only after its packets are no
// longer left out of the capture: they could be another program's.
func (d *dialer) expired(f *connection) {
	d.mu.Lock()
	d.remove(f)
	d.mu.Unlock()
	_ = d.reportAll() // when it fails, the flow is left out until the next report
	f.port.release()
}

func (d *dialer) forget(f *connection) {
	d.mu.Lock()
	d.remove(f)
	d.mu.Unlock()
	f.port.release()
}

// remove needs mu.
func (d *dialer) remove(f *connection) {
	if f.expire != nil {
		f.expire.Stop()
	}
	for i, g := range d.flows {
		if g == f {
			d.flows = append(d.flows[:i], d.flows[i+1:]...)
			return
		}
	}
}

func (d *dialer) forgetEnded() {
	d.mu.Lock()
	var ended []*connection
	for _, f := range d.flows {
		if !f.ended.IsZero() {
			ended = append(ended, f)
		}
	}
	d.mu.Unlock()
	for _, f := range ended {
		d.forget(f)
	}
}

func (d *dialer) close() {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	d.forgetEnded()
}

// watchedConn bounds each write, so that a peer that takes no data is noticed
// long before the kernel times out, and calls end when it is closed.
type watchedConn struct {
	net.Conn
	stall time.Duration
	once  sync.Once
	end   func()
}

func (c *watchedConn) Write(p []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(c.stall)); err != nil {
		return 0, err
	}
	return c.Conn.Write(p)
}

func (c *watchedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(c.end)
	return err
}

func localPort(c net.Conn) uint16 {
	if a, ok := c.LocalAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Port()
	}
	return 0
}

func remote(c net.Conn) netip.AddrPort {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		p := a.AddrPort()
		return netip.AddrPortFrom(p.Addr().Unmap().WithZone(""), p.Port())
	}
	return netip.AddrPort{}
}
