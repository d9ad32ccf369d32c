package inspect

import "encoding/binary"

// Numbers of TLS: RFC 8446.
const (
	tlsAlert       = 21
	tlsHandshake   = 22
	tlsClientHello = 1
	tlsServerHello = 2

	extServerName = 0
	extVersions   = 43

	alertCloseNotify  = 0
	alertUserCanceled = 90
)

// hello is what is taken of a ClientHello or ServerHello.
type hello struct {
	version uint16 // of a ServerHello: agreed on
	name    []byte // of a ClientHello: SNI
}

// parseHello reads a ClientHello or ServerHello, from its handshake header on. whole is
// false when b ends within it; what was found until there is in h. It never reads beyond b.
func parseHello(b []byte) (h hello, whole bool) {
	if len(b) < 4 {
		return h, false
	}
	kind, length := b[0], int(b[1])<<16|int(b[2])<<8|int(b[3])
	b = b[4:]
	if whole = len(b) >= length; whole {
		b = b[:length]
	}
	const fixed = 2 + 32
	if len(b) < fixed+1 {
		return h, whole
	}
	h.version = binary.BigEndian.Uint16(b)
	b = b[fixed:]
	ok := true
	skip := func(n int) {
		if ok = ok && n <= len(b); ok {
			b = b[n:]
		}
	}
	skip(1 + int(b[0])) // session id
	if kind == tlsClientHello {
		if ok && len(b) >= 2 {
			skip(2 + int(binary.BigEndian.Uint16(b))) // ciphers
		}
		if ok && len(b) >= 1 {
			skip(1 + int(b[0])) // compression
		}
	} else {
		skip(3)
	}
	if !ok || len(b) < 2 {
		return h, whole
	}
	if n := int(binary.BigEndian.Uint16(b)); n < len(b)-2 {
		b = b[:2+n]
	}
	for b = b[2:]; len(b) >= 4; {
		ext, n := binary.BigEndian.Uint16(b), int(binary.BigEndian.Uint16(b[2:]))
		b = b[4:]
		if n > len(b) {
			break
		}
		switch body := b[:n]; {
		case kind == tlsClientHello && ext == extServerName:
			// A list, of which the first is a name: type, length, bytes.
			if len(body) >= 5 && body[2] == 0 {
				if n := int(binary.BigEndian.Uint16(body[3:])); n <= len(body)-5 {
					h.name = body[5 : 5+n]
				}
			}
		case kind == tlsServerHello && ext == extVersions && n == 2:
			h.version = binary.BigEndian.Uint16(body)
		}
		b = b[n:]
	}
	return h, whole
}

func tlsVersion(v uint16) string {
	switch v {
	case 0x0300:
		return "SSL 3.0"
	case 0x0301:
		return "TLS 1.0"
	case 0x0302:
		return "TLS 1.1"
	case 0x0303:
		return "TLS 1.2"
	case 0x0304:
		return "TLS 1.3"
	}
	return "unknown"
}

// alertText is what an alert says: RFC 8446, 6.2, and those of RFC 5246 that it took away.
func alertText(code uint8) string {
	switch code {
	case 10:
		return "unexpected_message"
	case 20:
		return "bad_record_mac"
	case 22:
		return "record_overflow"
	case 40:
		return "handshake_failure"
	case 42:
		return "bad_certificate"
	case 43:
		return "unsupported_certificate"
	case 44:
		return "certificate_revoked"
	case 45:
		return "certificate_expired"
	case 46:
		return "certificate_unknown"
	case 47:
		return "illegal_parameter"
	case 48:
		return "unknown_ca"
	case 49:
		return "access_denied"
	case 50:
		return "decode_error"
	case 51:
		return "decrypt_error"
	case 70:
		return "protocol_version"
	case 71:
		return "insufficient_security"
	case 80:
		return "internal_error"
	case 86:
		return "inappropriate_fallback"
	case 109:
		return "missing_extension"
	case 110:
		return "unsupported_extension"
	case 112:
		return "unrecognized_name"
	case 116:
		return "certificate_required"
	case 120:
		return "no_application_protocol"
	}
	return "other"
}

// tlsName counts what came of the ClientHellos for one name.
type tlsName struct {
	server                           endpoint
	via                              uint32
	hellos, answers, silence, alerts uint64
	versions                         [6]bool // SSL 3.0 to TLS 1.3, others
	unnamed                          bool
}

// tlsRecord looks at a segment that begins with a record of TLS.
func (e *Engine) tlsRecord(p *packet, f *flow, c *connection, s *segment, dir int) {
	b := p.payload
	c.app.kind = appTLS
	if b[0] == tlsAlert {
		// One in plain text has two bytes; what is encrypted is longer.
		if len(b) >= 7 && binary.BigEndian.Uint16(b[3:]) == 2 && b[6] != alertCloseNotify && b[6] != alertUserCanceled {
			e.alert(p, f, c, dir, b[6])
		}
		return
	}
	rest := b[5:]
	if n := int(binary.BigEndian.Uint16(b[3:])); n < len(rest) {
		rest = rest[:n]
	}
	if e.tlsHandshake(p, f, c, dir, rest) || p.cut {
		return
	}
	me := &c.side[dir].app
	if me.piece = e.pieces.take(); me.piece != 0 {
		e.pieces.add(me.piece, rest)
		me.next = s.seq + uint32(len(b))
	}
}

// tlsHandshake reads a hello. It is false when more of it has to come. A hello that is in
// several records, which nobody sends, is read up to the end of the first.
func (e *Engine) tlsHandshake(p *packet, f *flow, c *connection, dir int, b []byte) bool {
	if len(b) == 0 {
		return true
	}
	h, whole := parseHello(b)
	switch b[0] {
	case tlsClientHello:
		if c.app.hello.no == 0 {
			c.app.hello = sighting{p.at, p.number}
			e.tls.hellos++
			if c.client < 0 {
				c.client = int8(dir)
			}
		}
		if !whole && h.name == nil && len(b) < maxPiece && !p.cut {
			return false
		}
		if c.app.name == 0 {
			c.app.name = e.hosts.of(h.name)
		}
		return true
	case tlsServerHello:
		if !c.app.serverHello {
			c.app.serverHello = true
			e.tls.answers++
			e.tlsVersion(p, f, c, h.version)
		}
		return true
	}
	return true
}

// tlsVersion notes what a server agreed on.
func (e *Engine) tlsVersion(p *packet, f *flow, c *connection, v uint16) {
	i := len(e.tls.versions) - 1
	if v >= 0x0300 && v <= 0x0304 {
		i = int(v - 0x0300)
	}
	e.tls.versions[i].Packets++
	e.tls.versions[i].Bytes += uint64(p.wire)
	if n := e.tlsName(f, c); n != nil {
		n.versions[i] = true
	}
}

// nameKey is what counts by name stand under: the name that the client asked for, or
// else the server.
type nameKey struct {
	name   uint32
	server endpoint
}

// nameKey is that of a connection, and its server.
func (e *Engine) nameKey(f *flow, c *connection) (k nameKey, server endpoint) {
	k.name, server = c.app.name, e.serverOf(f, c)
	if k.name == 0 {
		k.server = server
	}
	return k, server
}

// maxTLSNames bounds the table of server names.
const maxTLSNames = 4096

// tlsName is where a connection's name is counted: with the name, or else the server.
func (e *Engine) tlsName(f *flow, c *connection) *tlsName {
	k, server := e.nameKey(f, c)
	n := e.tls.names[k]
	if n == nil {
		if len(e.tls.names) == maxTLSNames {
			e.dropped.tls++
			return nil
		}
		n = &tlsName{server: server, via: f.key.via, unnamed: k.name == 0}
		e.tls.names[k] = n
	}
	return n
}

// alert is a readable alert that says that something failed.
func (e *Engine) alert(p *packet, f *flow, c *connection, dir int, code uint8) {
	c.app.alerted = true
	e.tls.alerts++
	if n := e.tlsName(f, c); n != nil {
		n.alerts++
	}
	server := e.serverOf(f, c)
	q := e.problems.get(problemKey{kind: kindTLSAlert, at: server, via: f.key.via, extra: uint32(code)})
	q.count++
	q.seen(sighting{p.at, p.number}, sighting{p.at, p.number})
	q.name(e.hosts.text(c.app.name))
	if f.key.from(dir) == server {
		q.of++ // by the server
	}
	q.with(f.key.from(1 - e.serverDir(f, c)).addr)
	e.failed(p.at)
}

// endTLS counts the hello of a connection that has ended.
func (e *Engine) endTLS(f *flow, c *connection) {
	if c.app.hello.no == 0 {
		return
	}
	n := e.tlsName(f, c)
	if n != nil {
		n.hellos++
		if c.app.serverHello {
			n.answers++
		}
	}
	// A RST is a failure of its own. A FIN is as good as the end of the wait.
	if c.app.serverHello || c.app.alerted || c.rstSeen || !c.finSeen && !e.waited(c.app.hello.at) {
		return
	}
	e.tls.silence++
	if n != nil {
		n.silence++
	}
	server := e.serverDir(f, c)
	if f.packets[server] == 0 { // of one direction nothing can be said
		return
	}
	q := e.problems.get(problemKey{kind: kindTLSSilent, at: f.key.from(server), via: f.key.via})
	q.count++
	q.seen(c.app.hello, c.app.hello)
	q.name(e.hosts.text(c.app.name))
	q.with(f.key.from(1 - server).addr)
	e.failed(c.app.hello.at)
}
