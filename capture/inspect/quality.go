package inspect

import (
	"encoding/binary"
	"time"
)

// tally counts packets that show something.
type tally struct {
	n           uint64
	first, last sighting
	most        int64
}

func (t *tally) count(p *packet) {
	t.n++
	here := sighting{p.at, p.number}
	if t.first.no == 0 {
		t.first = here
	}
	t.last = here
}

// quality is what tells whether the capture is complete.
type quality struct {
	cut, back, ahead, duplicates, badSum, offload tally
	cutElsewhere                                  bool // some packet is not cut behind its last header
	ackLost                                       tally
	joined                                        tally // connections
	oneWay                                        tally // flows
	oneWayEnds                                    problem
	latest                                        int64
	recent                                        [recentPackets]recent
	nextRecent                                    int
	losses                                        losses
	told                                          Losses
}

// Steps of the clock that are told, in nanoseconds. Packets of several receive queues
// are not in order by some microseconds.
const (
	backwards = int64(time.Second)
	leap      = int64(time.Hour)
)

// Duplicates are looked for among so many packets before, and for so long.
const (
	recentPackets = 8
	recentWithin  = int64(10 * time.Millisecond)
)

type recent struct {
	sum uint64
	at  int64
}

// isDuplicate reports whether the packet has just been seen: captured on two interfaces
// that it passes, or sent twice. Hops in between change its TTL and checksums, which are not
// compared. A packet without an IP identification has to have a payload: two empty ACKs
// in a row are nothing strange.
func (e *Engine) isDuplicate(p *packet) bool {
	if p.id == 0 && (p.transport != transportTCP && p.transport != transportUDP || len(p.payload) == 0) || p.fragment && p.offset > 0 {
		return false
	}
	const prime = 0x9e3779b97f4a7c15
	b := p.segment
	sum := uint64(p.id)<<32 | uint64(p.segLen)<<8 | uint64(p.proto)
	sum = mix(sum*prime ^ binary.LittleEndian.Uint64(p.src[8:]))
	sum = mix(sum*prime ^ binary.LittleEndian.Uint64(p.dst[8:]))
	if len(b) >= 16 {
		sum = mix(sum*prime ^ binary.LittleEndian.Uint64(b))
		sum = mix(sum*prime ^ binary.LittleEndian.Uint64(b[8:]))
	} else {
		for _, c := range b {
			sum = mix(sum*prime ^ uint64(c))
		}
	}
	for i := range e.recent {
		if r := &e.recent[i]; r.sum == sum && p.at-r.at < recentWithin && r.at-p.at < recentWithin {
			e.duplicates.count(p)
			return true
		}
	}
	e.recent[e.nextRecent] = recent{sum, p.at}
	e.nextRecent = (e.nextRecent + 1) % recentPackets
	return false
}

func mix(x uint64) uint64 { return x ^ x>>29 }

// checkedPackets is how many packets of each direction of a flow have their checksum looked at.
const checkedPackets = 4

// checkSum looks at the checksum of TCP or UDP. A packet that this machine sends may be
// captured before its network card has filled it in: there is then the sum of the
// pseudo header alone (CHECKSUM_PARTIAL of Linux). That is an artefact; another sum that is wrong is not.
func (e *Engine) checkSum(p *packet, f *flow) {
	if p.cut || p.fragment || len(p.segment) != p.segLen || p.segLen < 8 {
		return
	}
	var at int
	switch p.transport {
	case transportTCP:
		at = 16
	case transportUDP:
		if at = 6; p.segment[6] == 0 && p.segment[7] == 0 { // none
			return
		}
	case transportICMP4, transportICMP6, noTransport:
		return
	}
	pseudo := uint64(p.proto) + uint64(p.segLen)
	if p.v6 {
		pseudo += sumOf(p.src[:]) + sumOf(p.dst[:])
	} else {
		pseudo += sumOf(p.src[12:]) + sumOf(p.dst[12:])
	}
	if fold(pseudo+sumOf(p.segment)) == 0xffff {
		return
	}
	stands := binary.BigEndian.Uint16(p.segment[at:])
	if stands == fold(pseudo) || stands == ^fold(pseudo) || p.wire > maxOffload || stands == 0 {
		e.offload.count(p)
		return
	}
	// Cards that compute it late leave anything in its place; then all of a sender are wrong,
	// and its connections work nevertheless.
	if f.tcp != nil && f.tcp.established {
		e.offload.count(p)
		return
	}
	e.badSum.count(p)
}

// maxOffload is the largest frame that was on a wire; a larger one has yet to be divided, or
// was put together after it was received.
const maxOffload = 9216

// sumOf adds 16-bit words; an odd byte at the end is the upper half of one.
func sumOf(b []byte) (sum uint64) {
	for len(b) >= 8 {
		x := binary.BigEndian.Uint64(b)
		sum += x>>48 + x>>32&0xffff + x>>16&0xffff + x&0xffff
		b = b[8:]
	}
	for len(b) >= 2 {
		sum += uint64(binary.BigEndian.Uint16(b))
		b = b[2:]
	}
	if len(b) == 1 {
		sum += uint64(b[0]) << 8
	}
	return sum
}

func fold(sum uint64) uint16 {
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return uint16(sum)
}
