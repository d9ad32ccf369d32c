package inspect

// appKind is what a connection carries, as far as it was recognised.
type appKind uint8

const (
	appUnknown appKind = iota
	appTLS
	appHTTP
)

// app is what is known of what a connection carries. Numbers are those of name tables, 0 for
// none.
type app struct {
	kind        appKind
	name        uint32 // of the server: SNI, or the last Host
	hello       sighting
	serverHello bool
	alerted     bool
}

// appSide is of one direction: a message that goes on in the next segment.
type appSide struct {
	piece int32 // number of the piece that it is collected in, 0 for none
	next  uint32
}

// pieces holds the first bytes of messages that are longer than a segment.
type pieces struct {
	memory [][]byte
	free   []int32
	lost   uint64
}

// Bounds of what is collected: a ClientHello with post-quantum keys has some 2 kB.
const (
	maxPieces = 512
	maxPiece  = 8 << 10
)

// take gives an empty piece. It is 0 when there is none.
func (c *pieces) take() int32 {
	if n := len(c.free); n > 0 {
		i := c.free[n-1]
		c.free = c.free[:n-1]
		return i
	}
	if len(c.memory) == maxPieces {
		c.lost++
		return 0
	}
	c.memory = append(c.memory, make([]byte, 0, maxPiece))
	return int32(len(c.memory))
}

// add appends to a piece, as much as there is room for.
func (c *pieces) add(i int32, b []byte) []byte {
	m := c.memory[i-1]
	m = append(m, b[:min(len(b), maxPiece-len(m))]...)
	c.memory[i-1] = m
	return m
}

// give returns a piece.
func (c *pieces) give(s *appSide) {
	if s.piece == 0 {
		return
	}
	c.memory[s.piece-1] = c.memory[s.piece-1][:0]
	c.free = append(c.free, s.piece)
	s.piece = 0
}

// maxName is how many bytes of a name are kept: as many as a name of DNS may have.
const maxName = 255

// names gives numbers to names, from 1 on.
type names struct {
	index map[string]uint32
	list  []string
	most  int
	lost  uint64
}

func newNames(most int) names { return names{index: make(map[string]uint32), most: most} }

// of is the number of a name, 0 when there is no room. It allocates only for a new one.
func (n *names) of(name []byte) uint32 {
	if len(name) > maxName {
		name = name[:maxName]
	}
	if i, ok := n.index[string(name)]; ok {
		return i
	}
	if len(n.list) == n.most {
		n.lost++
		return 0
	}
	text := string(name)
	n.list = append(n.list, text)
	n.index[text] = uint32(len(n.list))
	return uint32(len(n.list))
}

func (n *names) text(i uint32) string {
	if i == 0 {
		return ""
	}
	return n.list[i-1]
}

// payload looks at what a segment carries, as far as it is recognised by how it begins.
func (e *Engine) payload(p *packet, f *flow, c *connection, s *segment, dir int) {
	b := p.payload
	me := &c.side[dir].app
	if me.piece != 0 {
		e.goOn(p, f, c, s, dir)
		return
	}
	switch c.app.kind {
	case appUnknown:
		switch {
		case len(b) >= 6 && b[0] == tlsHandshake && b[1] == 3 && (b[5] == tlsClientHello || b[5] == tlsServerHello):
			e.tlsRecord(p, f, c, s, dir)
		case isHTTP(b):
			e.httpHead(p, f, c, dir)
		}
	case appTLS:
		if b[0] == tlsAlert || b[0] == tlsHandshake && len(b) >= 6 && (b[5] == tlsServerHello || b[5] == tlsClientHello) {
			e.tlsRecord(p, f, c, s, dir)
		}
	case appHTTP:
		if isHTTP(b) {
			e.httpHead(p, f, c, dir)
		}
	}
}

// goOn takes the next part of a message. What is not the next part, such as a
// retransmission, is passed over.
func (e *Engine) goOn(p *packet, f *flow, c *connection, s *segment, dir int) {
	me := &c.side[dir].app
	if s.seq != me.next {
		return
	}
	me.next += uint32(len(p.payload))
	if p.cut {
		e.pieces.give(me)
		return
	}
	b := e.pieces.add(me.piece, p.payload)
	if e.tlsHandshake(p, f, c, dir, b) || len(b) == maxPiece {
		e.pieces.give(me)
	}
}
