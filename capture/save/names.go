package save

import (
	"encoding/binary"
	"net/netip"
	"sync/atomic"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/source"
)

// Bounds of names.
const (
	maxNames      = 1 << 15 // slots of the table; half of them are used at the most
	maxNameText   = 200     // bytes of what is said of one end
	maxNameOption = 4 + 2*maxNameText + 16
)

// Names are what is known of the ends of flows, such as the program that has the socket.
// One goroutine adds them beside the packet loop, which looks them up by atomics: what is
// not there yet when a packet comes is left out.
type Names struct {
	slots [maxNames]atomic.Pointer[name]
	used  atomic.Int32
}

// ends are the two ends of a flow, the lower one first.
type ends struct {
	lo, hi         [16]byte
	loPort, hiPort uint16
	protocol       uint8
}

// name is what is known of a flow. Others may be reading it: it does not change, but for
// written, which is of the packet loop.
type name struct {
	ends
	about   [2]string // its lower end, and the other one
	option  []byte    // of pcapng, with all of it
	written int       // the file, by its number, that has it
}

// protocols that have names.
const (
	protocolTCP = 6
	protocolUDP = 17
)

// Add says what is known of the local end of a flow. It replaces what was said before. The
// protocol is TCP or UDP.
func (n *Names) Add(protocol string, local, remote netip.AddrPort, about string) {
	e := ends{lo: local.Addr().As16(), hi: remote.Addr().As16(), loPort: local.Port(), hiPort: remote.Port(), protocol: protocolTCP}
	if protocol == "UDP" {
		e.protocol = protocolUDP
	}
	side := 0
	if e.order() {
		side = 1
	}
	for at := e.slot(); ; at = (at + 1) % maxNames {
		old := n.slots[at].Load()
		if old != nil && old.ends != e {
			continue
		}
		fresh := &name{ends: e}
		if old != nil {
			fresh.about = old.about
		} else if n.used.Load() == maxNames/2 {
			return
		}
		fresh.about[side] = about[:min(len(about), maxNameText)]
		text := fresh.about[0]
		switch {
		case text == "":
			text = fresh.about[1]
		case fresh.about[1] != "":
			text += "; " + fresh.about[1]
		}
		fresh.option = pcapfile.AppendComment(nil, text)
		n.slots[at].Store(fresh)
		if old == nil {
			n.used.Add(1)
		}
		return
	}
}

// order brings the lower end to the front. It is true when they were exchanged.
func (e *ends) order() bool {
	for i := range e.lo {
		if e.lo[i] != e.hi[i] {
			if e.lo[i] < e.hi[i] {
				return false
			}
			break
		}
		if i == len(e.lo)-1 && e.loPort <= e.hiPort {
			return false
		}
	}
	e.lo, e.hi, e.loPort, e.hiPort = e.hi, e.lo, e.hiPort, e.loPort
	return true
}

// slot is where a flow is looked for first.
func (e *ends) slot() int {
	le := binary.LittleEndian
	h := uint64(e.loPort)<<32 | uint64(e.hiPort)<<8 | uint64(e.protocol)
	for _, w := range [...]uint64{le.Uint64(e.lo[0:]), le.Uint64(e.lo[8:]), le.Uint64(e.hi[0:]), le.Uint64(e.hi[8:])} {
		h = (h ^ w) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	return int(h % maxNames)
}

// of is what is known of a packet's flow, nil for nothing, or when the file has it
// already.
func (n *Names) of(p *source.Packet, link pcapfile.LinkType, head *[nameHead]byte, file int) *name {
	var e ends
	size := copy(head[:], p.Prefix)
	size += copy(head[size:], p.Data)
	if !e.read(head[:size], link) {
		return nil
	}
	e.order()
	for at := e.slot(); ; at = (at + 1) % maxNames {
		k := n.slots[at].Load()
		if k == nil {
			return nil
		}
		if k.ends == e {
			if k.written == file {
				return nil
			}
			return k
		}
	}
}

// nameHead is how many bytes of a packet are looked at: a cooked header or a MAC header,
// four tags, the longest header of IPv4, and two ports.
const nameHead = 128

// read reads the ends of a packet. It is false for one that has no ports, as a later
// fragment.
func (e *ends) read(b []byte, link pcapfile.LinkType) bool {
	be := binary.BigEndian
	var at, head int
	switch link {
	case pcapfile.Ethernet:
		at, head = 12, 14
	case pcapfile.SLL2:
		head = pcapfile.SLL2Len
	case pcapfile.SLL:
		at, head = 14, pcapfile.SLLLen
	case pcapfile.RawIP:
		return len(b) > 0 && e.readIP(b, b[0]>>4)
	default:
		return false
	}
	if len(b) < head {
		return false
	}
	kind := be.Uint16(b[at:])
	for b = b[head:]; kind == 0x8100 || kind == 0x88a8 || kind == 0x9100; b = b[4:] {
		if len(b) < 4 {
			return false
		}
		kind = be.Uint16(b[2:])
	}
	switch kind {
	case 0x0800:
		return e.readIP(b, 4)
	case 0x86dd:
		return e.readIP(b, 6)
	}
	return false
}

func (e *ends) readIP(b []byte, version uint8) bool {
	const v4, v6 = 20, 40
	switch {
	case version == 4 && len(b) >= v4:
		size := int(b[0]&15) * 4
		if size < v4 || binary.BigEndian.Uint16(b[6:])&0x1fff != 0 || len(b) < size+4 {
			return false
		}
		e.protocol = b[9]
		mapped := [12]byte{10: 0xff, 11: 0xff} // as netip.Addr.As16
		copy(e.lo[:], mapped[:])
		copy(e.hi[:], mapped[:])
		copy(e.lo[12:], b[12:16])
		copy(e.hi[12:], b[16:20])
		b = b[size:]
	case version == 6 && len(b) >= v6+4:
		e.protocol = b[6]
		copy(e.lo[:], b[8:24])
		copy(e.hi[:], b[24:40])
		b = b[v6:]
	default:
		return false
	}
	e.loPort, e.hiPort = binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	return e.protocol == protocolTCP || e.protocol == protocolUDP
}
