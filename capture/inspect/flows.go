package inspect

import (
	"bytes"
	"strings"
)

// flowKey is what the packets of a flow share, both ways: lo is the lower endpoint.
type flowKey struct {
	lo, hi         addr
	loPort, hiPort uint16
	proto          uint8
	v6             bool
	via            uint32 // index of what it is in, see vias; 0 for nothing
}

// same is ==, which the compiler makes calls of.
func (k *flowKey) same(o *flowKey) bool {
	return k.loPort == o.loPort && k.hiPort == o.hiPort && k.lo == o.lo && k.hi == o.hi && k.proto == o.proto && k.v6 == o.v6 && k.via == o.via
}

// Directions of a flow: from its lower endpoint, and to it.
const (
	fromLo = 0
	fromHi = 1
)

// keyOf is the flow of a packet, and which way the packet goes.
func keyOf(p *packet, via uint32) (k flowKey, dir int) {
	k = flowKey{lo: p.src, hi: p.dst, loPort: p.sport, hiPort: p.dport, proto: p.proto, v6: p.v6, via: via}
	if p.src == p.dst {
		if p.sport <= p.dport {
			return k, fromLo
		}
	} else if less(&p.src, &p.dst) {
		return k, fromLo
	}
	k.lo, k.hi, k.loPort, k.hiPort = p.dst, p.src, p.dport, p.sport
	return k, fromHi
}

func less(a, b *addr) bool { return bytes.Compare(a[:], b[:]) < 0 }

// endpoint is one end of a flow.
type endpoint struct {
	addr addr
	port uint16
}

// from is the end that sends in a direction.
func (k *flowKey) from(dir int) endpoint {
	if dir == fromLo {
		return endpoint{k.lo, k.loPort}
	}
	return endpoint{k.hi, k.hiPort}
}

// flow is what is remembered of the packets between two endpoints. It has no pointers
// but that of a connection.
type flow struct {
	key         flowKey
	first, last int64    // times, 0 when none is known
	lastFrom    [2]int64 // times by direction
	firstNo     uint64
	lastNo      uint64
	packets     [2]uint64
	bytes       [2]uint64
	checked     [2]uint8 // packets whose checksum was looked at
	used        bool     // since the clock's hand passed
	taken       bool     // the slot is in use
	icmpError   bool     // an ICMP error was about it
	tcp         *connection
}

// flowTable holds flows up to a bound. When it is full, one is given up that had no packet
// since the hand of a clock came by last (second chance): that costs nothing for
// each packet, as a list sorted by age would.
type flowTable struct {
	index flowIndex
	slots [][]flow // in pieces, so that the table grows without being copied
	max   int
	count int
	hand  int
	// given is called with a flow that is given up.
	given   func(*flow)
	evicted uint64
	last    *flow // of the packet before
}

const flowPiece = 1024

func newFlowTable(most int, given func(*flow)) *flowTable {
	return &flowTable{index: newFlowIndex(), max: most, given: given}
}

// find gives the flow of a key with its hash. isNew says that it begins here.
func (t *flowTable) find(k *flowKey, hash uint32) (f *flow, isNew bool) {
	if f := t.last; f != nil && f.key.same(k) {
		return f, false
	}
	if f := t.look(k, hash); f != nil {
		f.used = true
		t.last = f
		return f, false
	}
	f, slot := t.room()
	*f = flow{key: *k, taken: true, used: true, tcp: f.tcp}
	t.index.add(hash, slot)
	t.last = f
	return f, true
}

// look finds a flow, nil when there is none.
func (t *flowTable) look(k *flowKey, hash uint32) *flow {
	entries := t.index.entries
	mask := uint32(len(entries) - 1)
	for at := hash & mask; ; at = (at + 1) & mask {
		e := entries[at]
		if e.slot == 0 {
			return nil
		}
		if e.hash == hash {
			if f := t.slot(int(e.slot - 1)); f.key.same(k) {
				return f
			}
		}
	}
}

// room gives an empty slot, and its number plus one.
func (t *flowTable) room() (*flow, uint32) {
	if t.count < t.max {
		if t.count%flowPiece == 0 {
			t.slots = append(t.slots, make([]flow, min(flowPiece, t.max-t.count)))
		}
		t.count++
		return t.slot(t.count - 1), uint32(t.count)
	}
	for {
		slot := uint32(t.hand) + 1
		f := t.slot(t.hand)
		t.hand = (t.hand + 1) % t.count
		if f.used {
			f.used = false
			continue
		}
		t.evicted++
		t.given(f)
		t.index.remove(t.index.hash(&f.key), slot)
		return f, slot
	}
}

func (t *flowTable) slot(i int) *flow { return &t.slots[i/flowPiece][i%flowPiece] }

// each calls see for every flow that is held, in the order in which they came.
func (t *flowTable) each(see func(*flow)) {
	for i := range t.count {
		if f := t.slot(i); f.taken {
			see(f)
		}
	}
}

// viaKey is what a packet is in, outermost first.
type viaKey struct {
	encaps [maxEncaps]encap
	depth  int
}

// maxVias bounds how many different tags and tunnels are told apart.
const maxVias = 4096

// vias gives numbers to what packets are in, so that flows of different tunnels
// with the same addresses are different flows.
type vias struct {
	index map[viaKey]uint32
	list  []viaKey // from number 1 on
	count []Count
	lost  uint64
	key   viaKey // to look for; a local one would be allocated
}

// of is the number of what a packet is in, 0 for nothing.
func (v *vias) of(p *packet) uint32 {
	if p.depth == 0 {
		return 0
	}
	v.key = viaKey{depth: p.depth}
	for i := range p.depth {
		e := p.encaps[i]
		if (e.kind != encapVLAN && e.kind != encapMPLS && e.kind != encapPPPoE) && less(&e.dst, &e.src) {
			e.src, e.dst = e.dst, e.src // both ways are one tunnel
		}
		if e.kind == encapMPLS || e.kind == encapPPPoE {
			e.id = 0 // labels differ by direction
		}
		v.key.encaps[i] = e
	}
	n, ok := v.index[v.key]
	if !ok {
		if len(v.list) == maxVias {
			v.lost++
			return 0
		}
		v.list = append(v.list, v.key)
		v.count = append(v.count, Count{})
		n = uint32(len(v.list))
		v.index[v.key] = n
	}
	c := &v.count[n-1]
	c.Packets++
	c.Bytes += uint64(p.wire)
	return n
}

// describe names what a number stands for, such as "VLAN 5, VXLAN 10 10.0.0.1 - 10.0.0.2".
func (v *vias) describe(n uint32) string {
	if n == 0 {
		return ""
	}
	k := &v.list[n-1]
	list := make([]string, k.depth)
	for i := range list {
		list[i] = k.encaps[i].describe()
	}
	return strings.Join(list, ", ")
}
