package blobtest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Fault is what the proxy does with a request.
type Fault int

// The faults.
const (
	Pass       Fault = iota
	Fail500          // 500 InternalError
	Fail503          // 503 ServerBusy
	Forbid           // 403 AuthorizationFailure, as an account's firewall says it
	Reset            // reads half of the body and resets the connection
	Hang             // never answers
	LoseAnswer       // does it, and cuts the connection instead of answering
	CutAfter         // does it, answers, and cuts the connection
)

// Request is one that came to the proxy.
type Request struct {
	Method  string
	Comp    string // "block", "blocklist", or ""
	BlockID string // of a block
	N       int    // how many of the same method and comp came before it
	Try     int    // how many of these were for the same block
	Fault   Fault
	Status  int // of the answer; 0 when there was none
}

// Proxy stands between a client and Azurite.
type Proxy struct {
	Addr string

	mu       sync.Mutex
	rule     func(Request) Fault
	seen     map[string]int
	requests []Request
	conns    map[net.Conn]bool
	opened   int
	peers    []string
	quit     chan struct{}
}

// NewProxy starts a proxy in front of Azurite on l, or on a loopback port of its
// own when l is nil. dial reaches Azurite; nil is the usual way.
func NewProxy(t testing.TB, a *Azurite, l net.Listener, dial func(ctx context.Context, network, addr string) (net.Conn, error)) *Proxy {
	t.Helper()
	if l == nil {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
	}
	p := &Proxy{Addr: l.Addr().String(), seen: map[string]int{}, conns: map[net.Conn]bool{}, quit: make(chan struct{})}
	to := &url.URL{Scheme: "http", Host: a.Addr}
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	backend := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(to); r.Out.Host = r.In.Host },
		Transport: &http.Transport{DialContext: dial, DisableCompression: true, MaxIdleConnsPerHost: 16},
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) {
			// Azurite is not there: neither is what stands in front of it.
			if conn := hijack(w); conn != nil {
				reset(conn)
			}
		},
	}
	s := &http.Server{
		Handler:           http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, backend) }),
		ReadHeaderTimeout: time.Minute,
		ConnState: func(c net.Conn, state http.ConnState) {
			p.mu.Lock()
			defer p.mu.Unlock()
			switch state {
			case http.StateNew:
				p.conns[c] = true
				p.opened++
				p.peers = append(p.peers, c.RemoteAddr().String())
			case http.StateClosed, http.StateHijacked:
				delete(p.conns, c)
			case http.StateActive, http.StateIdle:
			}
		},
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := s.Serve(l); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("proxy: %v", err)
		}
	}()
	t.Cleanup(func() {
		close(p.quit)
		_ = s.Close()
		<-done
	})
	return p
}

// Rule sets what happens to requests; nil lets them pass.
func (p *Proxy) Rule(rule func(Request) Fault) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rule = rule
}

// Requests are all that came.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.requests)
}

// Connections is how many connections were made.
func (p *Proxy) Connections() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.opened
}

// Peers are the addresses that connections came from.
func (p *Proxy) Peers() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.peers)
}

// Cut resets all connections, and tells how many there were.
func (p *Proxy) Cut() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		reset(c)
	}
	return len(p.conns)
}

// Blocks counts by name the blocks that Azurite has taken.
func (p *Proxy) Blocks() map[string]int {
	taken := map[string]int{}
	for _, r := range p.Requests() {
		if r.Comp == "block" && r.Status == http.StatusCreated {
			taken[r.BlockID]++
		}
	}
	return taken
}

func reset(c net.Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = c.Close()
}

func hijack(w http.ResponseWriter) net.Conn {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	return conn
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, backend http.Handler) {
	q := r.URL.Query()
	req := Request{Method: r.Method, Comp: q.Get("comp"), BlockID: q.Get("blockid")}
	p.mu.Lock()
	key := req.Method + req.Comp
	req.N, req.Try = p.seen[key], p.seen[key+req.BlockID]
	p.seen[key]++
	if req.BlockID != "" {
		p.seen[key+req.BlockID]++
	}
	if p.rule != nil {
		req.Fault = p.rule(req)
	}
	at := len(p.requests)
	p.requests = append(p.requests, req)
	p.mu.Unlock()
	status := p.act(w, r, backend, req.Fault)
	p.mu.Lock()
	p.requests[at].Status = status
	p.mu.Unlock()
}

// act gives the status of Azurite's answer, 0 if it was not asked.
func (p *Proxy) act(w http.ResponseWriter, r *http.Request, backend http.Handler, f Fault) int {
	switch f {
	case Fail500:
		refuse(w, r, http.StatusInternalServerError, "InternalError")
	case Fail503:
		refuse(w, r, http.StatusServiceUnavailable, "ServerBusy")
	case Forbid:
		refuse(w, r, http.StatusForbidden, "AuthorizationFailure")
	case Reset:
		_, _ = io.CopyN(io.Discard, r.Body, r.ContentLength/2)
		if conn := hijack(w); conn != nil {
			reset(conn)
		}
	case Hang:
		select {
		case <-r.Context().Done():
		case <-p.quit:
		}
	case LoseAnswer:
		rec := &recorder{header: http.Header{}}
		backend.ServeHTTP(rec, r)
		if conn := hijack(w); conn != nil {
			reset(conn)
		}
		return rec.status
	case CutAfter:
		w.Header().Set("Connection", "close")
		fallthrough
	default:
		rec := &statusWriter{ResponseWriter: w}
		backend.ServeHTTP(rec, r)
		return rec.status
	}
	return 0
}

func refuse(w http.ResponseWriter, r *http.Request, status int, code string) {
	_, _ = io.Copy(io.Discard, r.Body)
	w.Header().Set("x-ms-error-code", code)
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = io.WriteString(w, "<?xml version=\"1.0\"?><Error><Code>"+code+"</Code><Message>"+strings.Repeat("x", 20)+"</Message></Error>")
	}
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (s *statusWriter) WriteHeader(status int) {
	s.status = status
	s.ResponseWriter.WriteHeader(status)
}

func (s *statusWriter) Unwrap() http.ResponseWriter { return s.ResponseWriter }

type recorder struct {
	header http.Header
	status int
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) Write(p []byte) (int, error) { return len(p), nil }
func (r *recorder) WriteHeader(status int)      { r.status = status }
