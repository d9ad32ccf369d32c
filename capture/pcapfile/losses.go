package pcapfile

// Losses are the packets that a pcapng file says are not in it. A pcap file says
// nothing.
type Losses struct {
	Told         bool   // the file tells its losses, also when there were none
	ByInterface  uint64 // isb_ifdrop: lost by the interfaces
	BySystem     uint64 // isb_osdrop: lost by the system that captured
	BeforePacket uint64 // epb_dropcount: lost between packets, which may count the same ones
}

// Options of blocks that tell losses, beside those of ng.go.
const optDropCount = 4 // of packets: epb_dropcount

// counts are what one interface has told last; its statistics count from its start.
type counts struct{ byInterface, bySystem uint64 }

// Losses is what the file has told so far.
func (r *Reader) Losses() Losses {
	l := r.lost
	for i := range r.ifaces {
		l.ByInterface += r.ifaces[i].lost.byInterface
		l.BySystem += r.ifaces[i].lost.bySystem
	}
	return l
}

// statistics takes what an Interface Statistics Block says was lost. One that is not
// valid is passed over, as it says nothing about packets.
func (r *Reader) statistics(b *block) {
	const head = 20
	if len(b.body()) < head {
		return
	}
	id := r.order.Uint32(b.raw[8:])
	if uint64(id) >= uint64(len(r.ifaces)) {
		return
	}
	lost := &r.ifaces[id].lost
	for rest := b.body()[head:]; len(rest) >= 4; {
		code, length := r.order.Uint16(rest), int(r.order.Uint16(rest[2:]))
		next := 4 + int(padded(uint32(length)))
		if code == optEnd || next > len(rest) {
			return
		}
		if length == 8 {
			switch n := r.order.Uint64(rest[4:]); code {
			case optDropped:
				lost.byInterface, r.lost.Told = n, true
			case optSystemDrops:
				lost.bySystem, r.lost.Told = n, true
			}
		}
		rest = rest[next:]
	}
}
