package inspect

import "encoding/binary"

// A segment that comes behind what follows it was overtaken on the way, or it is there
// again because what replaced it was lost, or nothing was. Wireshark decides by time
// alone: within one round trip of the handshake it is out of order, later a retransmission.
// Where loss is repaired within a round trip, or an overtaken segment is later than
// that, findings would name the wrong cause. The sender's own order tells more: its IPv4
// identifications, which most systems count up for each packet, and its timestamps (RFC 7323).
// The counts and marks stay Wireshark's; only findings go by this.

// order is what is known of the order in which one side sent.
type order struct {
	id           uint16 // the latest IPv4 identification
	hasID        bool
	steps, leaps uint32 // in segments that came in order: identifications that went up a little, and others
	stamp        uint32 // the latest timestamp
	hasStamp     bool

	resent, overtaken             uint32
	resentFirst, resentLast       sighting
	overtakenFirst, overtakenLast sighting
}

const (
	idStep   = 1024 // how much identifications go up at the most; others use the same counter
	idsSteps = 8    // so many steps, and for each leap, make identifications trustworthy
)

// late decides what a segment is that Wireshark marks as retransmitted or out of order, and
// remembers the order of all others.
func (o *order) late(p *packet, t *tcpHeader, m Marks, here sighting) {
	if p.duplicate {
		return // captured twice, or doubled by the network: nothing was late
	}
	stamp, stamped := timestamp(t)
	isLate := m&(Retransmission|OutOfOrder) != 0
	ahead, counted := int16(uint16(p.id)-o.id), !p.v6 && p.id != 0
	if isLate {
		overtaken := m&OutOfOrder != 0
		switch {
		case counted && o.hasID && o.steps >= idsSteps*(1+o.leaps) && ahead != 0:
			overtaken = ahead < 0
		case stamped && o.hasStamp && stamp != o.stamp:
			overtaken = int32(stamp-o.stamp) < 0
		}
		if overtaken {
			o.overtaken++
			note(&o.overtakenFirst, &o.overtakenLast, here)
		} else {
			o.resent++
			note(&o.resentFirst, &o.resentLast, here)
		}
	}
	if counted && (!o.hasID || ahead > 0 || !isLate) {
		if o.hasID && !isLate {
			if ahead > 0 && ahead <= idStep {
				o.steps++
			} else {
				o.leaps++
			}
		}
		o.id, o.hasID = uint16(p.id), true
	}
	if stamped && (!o.hasStamp || int32(stamp-o.stamp) > 0) {
		o.stamp, o.hasStamp = stamp, true
	}
}

func note(first, last *sighting, here sighting) {
	if first.no == 0 {
		*first = here
	}
	*last = here
}

// timestamp is the TSval of a segment.
func timestamp(t *tcpHeader) (value uint32, ok bool) {
	const size = 8 // TSval and TSecr
	if b := t.option(optionTimestamps, size); b != nil {
		return binary.BigEndian.Uint32(b), true
	}
	return 0, false
}
