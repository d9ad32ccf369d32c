package inspect

// The marks of TCP are those of Wireshark's sequence analysis, as its User's Guide
// describes it ("TCP Analysis") and as tshark 4.0 marks packets, so that a count here is
// the count of the display filter. What is known of each direction for that is in side; the
// rest of connection is for findings, which Wireshark has not.

// Window scales that are not shift counts.
const (
	scaleUnknown = -1
	scaleNone    = -2
)

// Limits of Wireshark's analysis, in nanoseconds.
const (
	fastRetransmissionWithin = 20_000_000 // of the last duplicate ACK
	outOfOrderWithin         = 3_000_000  // where the round-trip time is not known
)

// side is what one end of a connection has sent.
type side struct {
	// nextSeq is the highest sequence number seen, plus one; 0 is none, as in Wireshark.
	nextSeq  uint32
	nextAt   int64
	maxAck   uint32 // how far this side may be acknowledged: the end of what was seen without a gap
	lastAck  uint32
	ackAt    int64
	base     uint32
	window   uint32 // as in the last header, not scaled
	dupAcks  int32
	marks    Marks // of the last packet
	scale    int8
	baseSet  bool
	firstAck bool // the next ACK is the first after SYN; its window is not scaled yet
	syn      bool // a SYN of this side was seen
	fin      bool
	finAcked bool
	zero     bool // the window is closed
	gapOpen  bool

	// What every packet looks at stands together: a connection is in no cache when its
	// next packet comes.
	payload     uint64
	dataPackets uint64
	dataAt      sighting // of the last packet with payload, keep-alives left out
	asked       int      // keep-alives since the peer's last packet
	bigSeq      uint32   // of the largest segment that is not yet acknowledged
	stuckSeq    uint32   // of the segment that is sent again and again
	bigLen      int
	ackedLen    int // the largest one that was acknowledged
	largest     int
	stuckCount  int
	// For what limits the throughput: data packets that were sent when nothing was
	// under way, and those with which the window was nearly full.
	sentIdle, sentFull uint64
	app                appSide
	order              order

	mss uint16 // offered, 0 is not known

	retransmissions, fast, spurious, outOfOrder, dupCount uint32
	lost, ackLost, zeroWindows, probes, probeAcks         uint32
	fulls, updates, keepAlives, keepAliveAcks             uint32

	zeroSince, zeroTotal int64
	zeroFirst, zeroLast  sighting

	stuckLen   int
	stuckFirst sighting
	stuckLast  sighting

	gapSeq   uint32 // of bytes that are missing
	gapLen   uint32
	gapFirst sighting

	finAt      sighting
	finAgain   int
	askedFirst sighting
	askedLast  sighting
}

// sighting is when, and in which packet, something was seen.
type sighting struct {
	at int64
	no uint64
}

// connection is a TCP connection, or an attempt at one.
type connection struct {
	begun            bool // the analysis has seen a packet
	client           int8 // direction from the client, -1 unknown
	joined           bool // no SYN was seen at first
	established      bool
	refused          bool
	reset            bool
	resetDir         int8
	resetAfterFIN    bool
	finSeen, rstSeen bool
	syns, synAcks    uint32
	resets, reused   uint32

	packets      uint64
	lastAt       int64
	lastFromPeer [2]int64 // time of the last packet of each side
	app          app

	side [2]side

	synAt    int64 // of the last SYN, for the round-trip time
	synAckAt int64
	rtt      int64 // from SYN to the first ACK, which may be a RST, as in Wireshark; 0 not known
	// handshakeRTT is from SYN to the first ACK that is not a RST.
	handshakeRTT int64
	serverRTT    int64
	clientRTT    int64

	firstSYN, lastSYN sighting
	lastSynAck        sighting
	resetAt           sighting
	resetIdle         int64 // since the packet before
	firstPacket       sighting
}

// init makes the connection a new one.
func (c *connection) init() {
	*c = connection{client: -1}
	for i := range c.side {
		c.side[i].window, c.side[i].scale = ^uint32(0), scaleUnknown
	}
}

// segment is a TCP segment as the analysis takes it.
type segment struct {
	seq, ack             uint32
	length               uint32 // of its payload on the wire
	window               uint32 // as it stands in the header
	syn, fin, rst, isAck bool
	mss                  uint16 // of the options; 0 for none
	scale                int8   // scaleUnknown for none
}

// read takes what is needed of the header.
func (s *segment) read(t *tcpHeader, p *packet) {
	*s = segment{
		seq: t.seq, ack: t.ack, length: uint32(max(0, p.length)), window: uint32(t.window),
		syn: t.flags&flagSYN != 0, fin: t.flags&flagFIN != 0, rst: t.flags&flagRST != 0, isAck: t.flags&flagACK != 0, scale: scaleUnknown,
	}
	if !s.isAck {
		s.ack = 0
	}
	if !s.syn {
		return
	}
	if mss := t.option(optionMSS, 2); mss != nil {
		s.mss = uint16(mss[0])<<8 | uint16(mss[1])
	}
	if scale := t.option(optionWindowScale, 1); scale != nil {
		s.scale = int8(min(scale[0], 14)) // RFC 7323: larger ones count as 14
	}
}

func (s *segment) control() bool { return s.syn || s.fin || s.rst }

// after reports whether sequence number a is later than b.
func after(a, b uint32) bool { return int32(a-b) > 0 }

// isNewConnection reports whether a SYN begins a connection of its own on a flow that
// had one. reused is also true of a SYN/ACK that does not belong to the connection; it
// begins none, as its SYN has not been captured.
func (c *connection) isNewConnection(s *segment, dir int) (begins, reused bool) {
	me := &c.side[dir]
	reused = s.syn && me.baseSet && s.seq != me.base
	return reused && !s.isAck, reused
}

// analyze marks a segment, and remembers what the next ones are compared with.
func (c *connection) analyze(s *segment, dir int, at int64) (m Marks) {
	me, peer := &c.side[dir], &c.side[1-dir]
	if s.syn && !s.isAck && me.baseSet {
		// The same SYN again. A RST may have gone before it, with a sequence number that is
		// not of the connection's.
		me.nextSeq = me.maxAck
	}
	if !me.baseSet {
		me.base, me.baseSet = s.seq-1, true
		if s.syn {
			me.base = s.seq
		}
	}
	if !peer.baseSet && s.isAck {
		peer.base, peer.baseSet = s.ack-1, true
	}
	plain := !s.control()
	same := s.length == 0 && s.seq == me.nextSeq && s.ack == me.lastAck && plain
	probe := s.length == 1 && s.seq == me.nextSeq && peer.window == 0
	counted := false // a repeated ACK that has a name of its own
	if probe {
		m |= ZeroWindowProbe
		counted = true
	} else {
		m |= c.windows(s, me, peer, same, &counted)
	}
	if !counted && same && s.window != 0 && s.window == me.window {
		me.dupAcks = max(me.dupAcks, 0) + 1
		m |= DuplicateAck
	}
	if s.ack != me.lastAck {
		me.dupAcks = 0
	}
	if peer.maxAck != 0 && s.isAck && after(s.ack, peer.maxAck) {
		// Acknowledged before it was seen. It is told once for one gap, also where the
		// other side has sent nothing but ACKs since.
		if after(peer.nextSeq, peer.maxAck) {
			peer.maxAck = peer.nextSeq
			m |= AckLostSegment
		} else {
			if peer.dupAcks == 0 {
				m |= AckLostSegment
			}
			peer.dupAcks = -1
		}
	}
	if s.length > 0 || s.syn || s.fin {
		m |= c.again(s, me, peer, at, m)
	}
	c.remember(s, me, at, m)
	return m
}

// windows marks what a segment says of its sender's window, or does to its peer's.
func (c *connection) windows(s *segment, me, peer *side, same bool, counted *bool) (m Marks) {
	plain := !s.control()
	if s.window == 0 && plain {
		m |= ZeroWindow
	}
	if me.nextSeq != 0 && after(s.seq, me.nextSeq) && !s.rst {
		m |= LostSegment
	}
	if s.length <= 1 && s.seq == me.nextSeq-1 && plain {
		m |= KeepAlive
	}
	if same && s.window != 0 && s.window != me.window {
		m |= WindowUpdate
	}
	if s.length > 0 && peer.scale != scaleUnknown && plain && s.seq+s.length == peer.lastAck+peer.scaled() {
		m |= WindowFull
	}
	switch {
	case same && s.window != 0 && s.window == me.window && peer.marks&KeepAlive != 0:
		m |= KeepAliveAck
		*counted = true
	case same && s.window == 0 && s.window == me.window && peer.marks&ZeroWindowProbe != 0:
		m |= ZeroWindowProbeAck
		*counted = true
	}
	return m
}

// scaled is the window in bytes.
func (d *side) scaled() uint32 {
	if d.scale <= 0 || d.firstAck {
		return d.window
	}
	return d.window << d.scale
}

// again marks a segment that repeats bytes, or comes late.
func (c *connection) again(s *segment, me, peer *side, at int64, m Marks) Marks {
	if m&KeepAlive != 0 {
		return 0
	}
	end := s.seq + s.length
	if s.length > 0 && peer.lastAck != 0 && !after(end, peer.lastAck) {
		return Retransmission | SpuriousRetransmission
	}
	behind := me.nextSeq != 0 && after(me.nextSeq, s.seq)
	if s.length > 1 && me.nextSeq-1 == s.seq { // new data behind a probe of a closed window
		behind = false
	}
	if !behind {
		return 0
	}
	if (peer.dupAcks >= 2 || peer.dupAcks < 0) && peer.lastAck == s.seq && at-peer.ackAt < fastRetransmissionWithin {
		return Retransmission | FastRetransmission
	}
	within := c.rtt
	if within == 0 {
		within = outOfOrderWithin
	}
	if s.syn || s.fin {
		end++
	}
	if at-me.nextAt < within && me.nextSeq != end {
		return OutOfOrder
	}
	return Retransmission
}

// remember keeps what the next segments are compared with.
func (c *connection) remember(s *segment, me *side, at int64, m Marks) {
	end := s.seq + s.length
	if s.syn || s.fin {
		end++
	}
	if m&ZeroWindowProbe == 0 {
		if me.nextSeq == 0 || after(end, me.nextSeq) {
			me.nextSeq, me.nextAt = end, at
		}
		if me.maxAck == 0 || s.seq == me.maxAck {
			me.maxAck = me.nextSeq
		}
	}
	me.window, me.lastAck, me.ackAt, me.marks = s.window, s.ack, at, m
}

// handshake keeps the times and options of the handshake; it comes behind analyze, which
// does not know them yet for the packet that has them. done says that this packet ends it.
func (c *connection) handshake(s *segment, dir int, at int64) (done bool) {
	me, peer := &c.side[dir], &c.side[1-dir]
	switch {
	case s.syn:
		me.firstAck, me.syn = true, true
		if s.scale != scaleUnknown {
			me.scale = s.scale
		}
		if s.mss != 0 && (me.mss == 0 || s.mss < me.mss) {
			me.mss = s.mss
		}
		if !s.isAck {
			c.synAt = at
		}
		// Without the option in both SYNs nobody scales: RFC 7323, 2.2.
		if s.scale == scaleUnknown || peer.scale == scaleNone {
			me.scale, peer.scale = scaleNone, scaleNone
		}
	case s.isAck:
		if c.synAt != 0 && c.rtt == 0 {
			c.rtt = max(1, at-c.synAt)
			done = true
		}
		if c.synAt != 0 && c.handshakeRTT == 0 && !s.rst {
			c.handshakeRTT = max(1, at-c.synAt)
		}
		me.firstAck = false
	}
	return done
}
