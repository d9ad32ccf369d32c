package netlab

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/net/dns/dnsmessage"
	"golang.org/x/sys/unix"

	"pcapctl/capture"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/save"
	"pcapctl/capture/source/live"
)

// payload is n bytes that no protocol knows.
func payload(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i*7 + i>>8)
	}
	return b
}

// sends serves connections by sending n bytes and closing.
func sends(n int) func(c *net.TCPConn) {
	return func(c *net.TCPConn) {
		_, _ = c.Write(payload(n))
		_ = c.Close()
	}
}

// echoes serves connections by sending back what comes, and closes when the client does.
func echoes(c *net.TCPConn) {
	_, _ = io.Copy(c, c)
	_ = c.Close()
}

// silent serves connections by doing nothing.
func silent(*net.TCPConn) {}

// download reads all that the server sends.
func (l *Lab) download(c net.Conn) {
	l.Helper()
	_, err := io.Copy(io.Discard, c)
	l.check(err)
	l.check(c.Close())
}

// bulk has the server send n bytes to the client, and waits for the end of the connection.
func (l *Lab) bulk(n int, options ...option) {
	l.Helper()
	l.Server.Listen(l.Server.Addr(5001), sends(n))
	l.download(l.Client.Dial(l.Server.Addr(5001), options...))
	l.AwaitEnd(1)
}

// talk sends requests of some bytes and reads as many back, and leaves the connection open.
func (l *Lab) talk(c net.Conn, times, bytes int) {
	l.Helper()
	for range times {
		_, err := c.Write(payload(bytes))
		l.check(err)
		_, err = io.ReadFull(c, make([]byte, bytes))
		l.check(err)
	}
}

// ends closes a connection whose server closes then, too.
func (l *Lab) ends(c net.Conn) {
	l.Helper()
	l.check(c.Close())
	l.AwaitEnd(1)
}

// ServeHTTP serves HTTP/1.1; through TLS if that is not nil.
func (h *Host) ServeHTTP(at netip.AddrPort, handler http.HandlerFunc, secure *tls.Config) {
	h.lab.Helper()
	ln := &handed{conns: make(chan net.Conn), closed: make(chan struct{})}
	h.Listen(at, func(c *net.TCPConn) {
		var conn net.Conn = c
		if secure != nil {
			conn = tls.Server(c, secure)
		}
		select {
		case ln.conns <- conn:
		case <-ln.closed:
		}
	})
	server := &http.Server{Handler: handler, ErrorLog: log.New(io.Discard, "", 0), ReadHeaderTimeout: time.Hour}
	h.lab.closeLater(server)
	h.lab.tasks.Go(func() { _ = server.Serve(ln) })
}

// handed is a listener of connections that were accepted already.
type handed struct {
	conns  chan net.Conn
	once   sync.Once
	closed chan struct{}
}

func (l *handed) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *handed) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

func (l *handed) Addr() net.Addr { return &net.TCPAddr{} }

// HTTPClient makes requests from the host; all connections go to one address.
func (h *Host) HTTPClient(to netip.AddrPort, secure *tls.Config) *http.Client {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return h.TryDial(ctx, netip.AddrPort{}, to)
	}
	tr := &http.Transport{DialContext: dial, TLSClientConfig: secure}
	h.lab.closeLater(idle{tr})
	return &http.Client{Transport: tr}
}

type idle struct{ tr *http.Transport }

func (i idle) Close() error {
	i.tr.CloseIdleConnections()
	return nil
}

// get makes a request and gives the status.
func (l *Lab) get(c *http.Client, url string) int {
	l.Helper()
	req, err := http.NewRequestWithContext(l.ctx, http.MethodGet, url, http.NoBody)
	l.check(err)
	res, err := c.Do(req)
	l.check(err)
	_, err = io.Copy(io.Discard, res.Body)
	l.check(errors.Join(err, res.Body.Close()))
	return res.StatusCode
}

// certificate is for www.example.com, and signed by nobody else.
var certificate = sync.OnceValues(func() (tls.Certificate, *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "www.example.com"}, DNSNames: []string{"www.example.com"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
})

// secureServer and secureClient are TLS between two who get on.
func secureServer() *tls.Config {
	c, _ := certificate()
	return &tls.Config{Certificates: []tls.Certificate{c}, MinVersion: tls.VersionTLS12}
}

func secureClient() *tls.Config {
	_, pool := certificate()
	return &tls.Config{RootCAs: pool, ServerName: "www.example.com", MinVersion: tls.VersionTLS12}
}

// dnsServer answers by a function; nil is no answer. It runs on UDP.
func (h *Host) dnsServer(at netip.AddrPort, answer func(q dnsmessage.Question) *dnsmessage.Message) {
	h.lab.Helper()
	c := h.Packets(at)
	h.lab.tasks.Go(func() {
		buf := make([]byte, 2000)
		for {
			n, from, err := c.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			query := append([]byte(nil), buf[:n]...)
			h.lab.tasks.Go(func() { // a slow answer holds up no other
				if b := dnsAnswer(query, answer); b != nil {
					_, _ = c.WriteToUDPAddrPort(b, from)
				}
			})
		}
	})
}

func dnsAnswer(query []byte, answer func(q dnsmessage.Question) *dnsmessage.Message) []byte {
	var m dnsmessage.Message
	if err := m.Unpack(query); err != nil || len(m.Questions) != 1 {
		return nil
	}
	r := answer(m.Questions[0])
	if r == nil {
		return nil
	}
	r.ID, r.Response, r.RecursionDesired, r.RecursionAvailable, r.Questions = m.ID, true, true, true, m.Questions
	b, err := r.Pack()
	if err != nil {
		panic(err) // of a message that this package makes
	}
	return b
}

// found answers with an address.
func found(q dnsmessage.Question) *dnsmessage.Message {
	r := dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class, TTL: 60}}
	if q.Type == dnsmessage.TypeAAAA {
		r.Body = &dnsmessage.AAAAResource{AAAA: [16]byte{0xfd, 15: 7}}
	} else {
		r.Body = &dnsmessage.AResource{A: [4]byte{10, 1, 0, 77}}
	}
	return &dnsmessage.Message{Answers: []dnsmessage.Resource{r}}
}

// fails answers with a response code.
func fails(code dnsmessage.RCode) func(dnsmessage.Question) *dnsmessage.Message {
	return func(dnsmessage.Question) *dnsmessage.Message {
		return &dnsmessage.Message{Header: dnsmessage.Header{RCode: code}}
	}
}

// ask looks names up, one after the other, each from a port of its own. A query
// without an answer within timeout is sent again, with the same identifier, until it
// was sent tries times. It returns how many were answered.
func (h *Host) ask(server netip.AddrPort, tries int, timeout time.Duration, names ...string) (answered int) {
	h.lab.Helper()
	local := h.V4
	if server.Addr().Is6() {
		local = h.V6
	}
	for i, name := range names {
		b := dnsQuery(uint16(i+1), name, dnsmessage.TypeA)
		c := h.Packets(netip.AddrPortFrom(local, 0))
		for range tries {
			_, err := c.WriteToUDPAddrPort(b, server)
			h.lab.check(err)
			h.lab.check(c.SetReadDeadline(time.Now().Add(timeout)))
			if _, _, err := c.ReadFromUDPAddrPort(make([]byte, 2000)); err == nil {
				answered++
				break
			}
		}
	}
	return answered
}

func dnsQuery(id uint16, name string, kind dnsmessage.Type) []byte {
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: id, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: dnsmessage.MustNewName(name), Type: kind, Class: dnsmessage.ClassINET}},
	}
	b, err := m.Pack()
	if err != nil {
		panic(err) // of a message that this package makes
	}
	return b
}

// dnsOverTCP asks over TCP, with the length before the message.
func (l *Lab) dnsOverTCP(c net.Conn, id uint16, name string) {
	l.Helper()
	q := dnsQuery(id, name, dnsmessage.TypeA)
	_, err := c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(q))), q...))
	l.check(err)
	var length [2]byte
	_, err = io.ReadFull(c, length[:])
	l.check(err)
	_, err = io.ReadFull(c, make([]byte, binary.BigEndian.Uint16(length[:])))
	l.check(err)
}

// serveDNSOverTCP answers queries of a connection until the client closes it; in pieces
// it sends the length of a message by itself, as many programs do.
func serveDNSOverTCP(pieces bool) func(c *net.TCPConn) {
	return func(c *net.TCPConn) {
		for {
			var length [2]byte
			if _, err := io.ReadFull(c, length[:]); err != nil {
				_ = c.Close()
				return
			}
			q := make([]byte, binary.BigEndian.Uint16(length[:]))
			if _, err := io.ReadFull(c, q); err != nil {
				return
			}
			b := dnsAnswer(q, found)
			b = append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
			first := 0
			if pieces {
				first = 2
			}
			_, _ = c.Write(b[:first])
			_, _ = c.Write(b[first:])
		}
	}
}

// Live has pcapctl itself capture in the host's namespace: on the interfaces
// named, or with the framing of several. The scene's file is then what it wrote.
func (h *Host) Live(cooked pcapfile.LinkType, format string, on ...string) (stop func()) {
	l := h.lab
	l.Helper()
	dir := l.TempDir()
	req, err := request.Decode(fmt.Appendf(nil, `{"name":"scene","properties":{
		"target":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1",
		"storageLocation":{"filePath":"%s/scene.%s"}}}`, dir, format))
	l.check(err)
	config, err := request.NewConfig(req, request.Host{GOOS: "linux", Name: "host", CapturesDir: dir, Now: time.Now(), Application: "netlab"})
	l.check(err)
	var session *capture.Session
	h.Do(func() {
		var spec *live.Spec
		if spec, err = live.NewSpec(config, live.Options{Interfaces: on, Promiscuous: true, Cooked: cooked}); err == nil {
			session, err = capture.Start(capture.NewPlan(config, spec), capture.Options{})
		}
	})
	l.check(err)
	ctx, cancel := context.WithCancel(l.ctx)
	done := make(chan error, 1)
	var files []save.File
	l.tasks.Go(func() {
		res, err := session.Run(ctx)
		if err == nil {
			files = res.Files
		}
		done <- err
	})
	return func() {
		cancel()
		l.check(<-done)
		if len(files) != 1 {
			l.Fatalf("pcapctl wrote %d files", len(files))
		}
		l.recorded = files[0].Path
	}
}

// keepAlive has the kernel probe an idle connection after a second, every second, count times.
func keepAlive(count int) []option {
	return []option{
		integer(unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1), integer(unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 1),
		integer(unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 1), integer(unix.IPPROTO_TCP, unix.TCP_KEEPCNT, count),
	}
}
