package inspect

import "bytes"

// maxHead is how much of a segment is searched for a Host, in bytes.
const maxHead = 4 << 10

// isHTTP reports whether a segment begins with a request or response of HTTP/1.
func isHTTP(b []byte) bool {
	if len(b) < 12 {
		return false
	}
	switch b[0] {
	case 'H':
		return string(b[:7]) == "HTTP/1." || string(b[:5]) == "HEAD "
	case 'G':
		return string(b[:4]) == "GET "
	case 'P':
		return string(b[:5]) == "POST " || string(b[:4]) == "PUT " || string(b[:6]) == "PATCH "
	case 'D':
		return string(b[:7]) == "DELETE "
	case 'O':
		return string(b[:8]) == "OPTIONS "
	case 'C':
		return string(b[:8]) == "CONNECT "
	}
	return false
}

// parseHTTP reads the start of a request or response: the status of a response, or else
// the request's Host, nil for none. ok is false for what is neither.
func parseHTTP(b []byte) (status int, host []byte, ok bool) {
	if !isHTTP(b) {
		return 0, nil, false
	}
	if b[0] == 'H' && b[1] == 'T' {
		if b[8] != ' ' {
			return 0, nil, false
		}
		for _, c := range b[9:12] {
			if c < '0' || c > '9' {
				return 0, nil, false
			}
			status = status*10 + int(c-'0')
		}
		return status, nil, status >= 100
	}
	b = b[:min(len(b), maxHead)]
	line, rest, found := bytes.Cut(b, []byte("\r\n"))
	if !found || !bytes.Contains(line, []byte(" HTTP/1.")) {
		return 0, nil, false
	}
	for len(rest) > 0 {
		line, rest, found = bytes.Cut(rest, []byte("\r\n"))
		if len(line) == 0 {
			break
		}
		const name = "host:"
		if len(line) >= len(name) && bytes.EqualFold(line[:len(name)], []byte(name)) {
			host = bytes.TrimSpace(line[len(name):])
			if !found && len(host) == 0 { // cut off
				return 0, nil, true
			}
			break
		}
	}
	return 0, host, true
}

// httpHost counts what one host answered.
type httpHost struct {
	server                      endpoint
	requests, responses, c4, c5 uint64
	codes                       map[int]*Count
	unnamed                     bool
}

// maxHTTPHosts bounds the table.
const maxHTTPHosts = 2048

func (e *Engine) httpHost(f *flow, c *connection) *httpHost {
	k, server := e.nameKey(f, c)
	h := e.http.hosts[k]
	if h == nil {
		if len(e.http.hosts) == maxHTTPHosts {
			e.dropped.http++
			return nil
		}
		h = &httpHost{server: server, codes: make(map[int]*Count), unnamed: k.name == 0}
		e.http.hosts[k] = h
	}
	return h
}

// httpHead looks at a segment that begins a request or response.
func (e *Engine) httpHead(p *packet, f *flow, c *connection, dir int) {
	status, host, ok := parseHTTP(p.payload)
	if !ok {
		return
	}
	c.app.kind = appHTTP
	if status == 0 {
		e.http.requests++
		if c.client < 0 {
			c.client = int8(dir)
		}
		if host != nil {
			c.app.name = e.hosts.of(host)
		}
		if h := e.httpHost(f, c); h != nil {
			h.requests++
		}
		return
	}
	if status < 200 { // interim; the response follows
		return
	}
	e.http.responses++
	h := e.httpHost(f, c)
	if h != nil {
		h.responses++
	}
	if status < 400 || status > 599 {
		return
	}
	k := kindHTTP4xx
	if status >= 500 {
		k = kindHTTP5xx
		e.http.c5++
	} else {
		e.http.c4++
	}
	if h != nil {
		if k == kindHTTP5xx {
			h.c5++
		} else {
			h.c4++
		}
		n := h.codes[status]
		if n == nil {
			n = &Count{}
			h.codes[status] = n
		}
		n.Packets++
		n.Bytes += uint64(p.wire)
	}
	server := e.serverDir(f, c)
	q := e.problems.get(problemKey{kind: k, at: f.key.from(server), via: f.key.via, extra: uint32(status)})
	q.count++
	q.seen(sighting{p.at, p.number}, sighting{p.at, p.number})
	q.name(e.hosts.text(c.app.name))
	q.with(f.key.from(1 - server).addr)
	e.failed(p.at)
}
