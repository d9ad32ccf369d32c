package filter

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
	"sync"
)

// fewFilters is how many filters are compared one after the other; that is faster than an index of so few.
const fewFilters = 8

// index decides over a large set in a time that hardly depends on the number of filters.
//
// It has a table for each kind of packet. A table has an axis for each thing that its filters name. An axis cuts
// the line of all values into intervals in which the same filters fit, and has a row for each interval: a bit for each of
// the filters. Four searches give four rows, and a bit that is set in all of them is a filter that fits.
type index struct {
	filters []Filter
	kinds   [portStates][protocols][2]kind // by what is known of the ports, by protocol, for IPv4 and IPv6
}

// kind is the tables for packets of one kind, made when the first such packet comes.
type kind struct {
	once   sync.Once
	tables []table
}

// maxTable is how many filters a table has. The size of an axis grows with the number of filters times the
// number of values that they name; with this bound, only with the number of values: 128 bytes for each.
const maxTable = 1024

func newIndex(filters []Filter) *index { return &index{filters: filters} }

// match is what some filter's matchesHeaders says. It allocates nothing, but for the first packet of a kind.
func (x *index) match(h *headers, d Direction) bool {
	p, version := anyProtocol, 0
	switch h.protocol {
	case protoTCP:
		p = tcp
	case protoUDP:
		p = udp
	case protoICMP, protoICMPv6:
		if h.protocol == icmp.number(h.source.Is4()) {
			p = icmp
		}
	}
	if h.source.Is6() {
		version = 1
	}
	k := x.kind(h.ports, p, version)
	if len(k.tables) == 0 {
		return false
	}
	source, destination := pointOf(h.source, h.sourcePort), pointOf(h.destination, h.destinationPort)
	return k.match(&source, &destination, h.flags, d)
}

// kind is the tables for packets of one kind; version is 0 for IPv4, 1 for IPv6.
func (x *index) kind(ports portState, p protocol, version int) *kind {
	k := &x.kinds[ports][p][version]
	k.once.Do(func() { k.tables = x.tablesFor(ports, p, version == 0) })
	return k
}

func (k *kind) match(source, destination *endpoint, flags uint16, d Direction) bool {
	for i := range k.tables {
		t := &k.tables[i]
		if t.match(d == Incoming, source, destination, flags) || t.match(d == Outgoing, destination, source, flags) {
			return true
		}
	}
	return false
}

// tablesFor makes the tables for one kind of packet. What does not decide there is left out: ports that are not
// known, and filters that cannot match.
func (x *index) tablesFor(ports portState, p protocol, v4 bool) []table {
	var fitting []Filter
	for _, f := range x.filters {
		f.local.addrs, f.remote.addrs = ofFamily(f.local.addrs, v4), ofFamily(f.remote.addrs, v4)
		switch {
		case f.protocol != anyProtocol && f.protocol != p,
			f.local.addrs != nil && len(f.local.addrs) == 0, f.remote.addrs != nil && len(f.remote.addrs) == 0,
			ports == noPorts && (f.hasPorts() || f.flags != nil), f.flags != nil && p != tcp:
			continue
		case ports == laterFragment:
			f.local.ports, f.remote.ports, f.flags = nil, nil, nil
		}
		fitting = append(fitting, f)
	}
	var tables []table
	for some := range slices.Chunk(fitting, maxTable) {
		tables = append(tables, newTable(some))
	}
	return tables
}

// table is up to maxTable filters for one kind of packet.
type table struct {
	axes []axis
	// every has the bits of all filters, named of those that recognise the local end by its address. Those
	// match a packet either way round, whatever its direction; namesAny says that there are any.
	every, named []uint64
	namesAny     bool
}

func newTable(filters []Filter) table {
	words := (len(filters) + 63) / 64
	t := table{every: make([]uint64, words), named: make([]uint64, words)}
	for i := range filters {
		t.every[i/64] |= 1 << (i % 64)
		if filters[i].addressDecides() {
			t.named[i/64] |= 1 << (i % 64)
			t.namesAny = true
		}
	}
	for _, a := range []struct {
		remote bool
		of     axisOf
		spans  func(*Filter) []span[value]
	}{
		// Addresses first: they rule out the most.
		{true, ofAddress, func(f *Filter) []span[value] { return valuesOf(f.remote.addrs, addrValue) }},
		{false, ofAddress, func(f *Filter) []span[value] { return valuesOf(f.local.addrs, addrValue) }},
		{true, ofPort, func(f *Filter) []span[value] { return valuesOf(f.remote.ports, portValue) }},
		{false, ofPort, func(f *Filter) []span[value] { return valuesOf(f.local.ports, portValue) }},
		{false, ofFlags, flagValues},
	} {
		sets := make([][]span[value], len(filters))
		for i := range filters {
			sets[i] = a.spans(&filters[i])
		}
		if slices.ContainsFunc(sets, func(s []span[value]) bool { return s != nil }) {
			made := newAxis(sets, words)
			made.remote, made.of = a.remote, a.of
			t.axes = append(t.axes, made)
		}
	}
	return t
}

// match looks at a packet one way round. With onlyNamed, which is against the packet's direction, only the filters
// that name a local address count.
func (t *table) match(onlyNamed bool, local, remote *endpoint, flags uint16) bool {
	left := t.every
	if onlyNamed {
		if !t.namesAny {
			return false
		}
		left = t.named
	}
	var rows [5][]uint64
	for i := range t.axes {
		a := &t.axes[i]
		e := local
		if a.remote {
			e = remote
		}
		row := a.row(e, flags)
		if row == nil {
			return false
		}
		rows[i] = row
	}
	for w, and := range left {
		for i := range t.axes {
			and &= rows[i][w]
		}
		if and != 0 {
			return true
		}
	}
	return false
}

// value is an address or a port as a number of 128 bits.
type value struct{ high, low uint64 }

// Compare orders values as numbers.
func (v value) Compare(o value) int {
	switch {
	case v == o:
		return 0
	case v.less(o):
		return -1
	default:
		return 1
	}
}

// less needs no jump, so that a search costs the same whatever comes.
func (v value) less(o value) bool {
	_, borrow := bits.Sub64(v.low, o.low, 0)
	_, borrow = bits.Sub64(v.high, o.high, borrow)
	return borrow != 0
}

// Next is v plus one; 0 after the largest.
func (v value) Next() value {
	low, carry := bits.Add64(v.low, 1, 0)
	return value{v.high + carry, low}
}

func addrValue(a netip.Addr) value {
	if a.Is4() {
		b := a.As4()
		return value{low: uint64(binary.BigEndian.Uint32(b[:]))}
	}
	b := a.As16()
	return value{binary.BigEndian.Uint64(b[:]), binary.BigEndian.Uint64(b[8:])}
}

func portValue(p port) value { return value{low: uint64(p)} }

// endpoint is one end of a packet.
type endpoint struct {
	addr value
	port uint64
}

func pointOf(a netip.Addr, p port) endpoint { return endpoint{addrValue(a), uint64(p)} }

// valuesOf is a set as spans of values; nil stays nil.
func valuesOf[T point[T]](s spans[T], of func(T) value) []span[value] {
	if s == nil {
		return nil
	}
	out := make([]span[value], len(s))
	for i, r := range s {
		out[i] = span[value]{of(r.lo), of(r.hi)}
	}
	return out
}

// flagValues are the flags that fit a filter; nil when it names none.
func flagValues(f *Filter) []span[value] {
	if f.flags == nil {
		return nil
	}
	var out []span[value]
	for v := range uint64(noFlags) {
		if f.flags.contains(uint8(v)) {
			out = append(out, span[value]{value{low: v}, value{low: v}})
		}
	}
	return out
}

// axisOf is what an axis is of.
type axisOf uint8

const (
	ofAddress axisOf = iota
	ofPort
	ofFlags
)

// axis is what some filters say of one end's address or port, or of the flags.
type axis struct {
	remote bool
	of     axisOf
	// Where each interval starts; the first at 0. high is nil when it is 0 for all: ports, and IPv4.
	high, low []uint64
	rows      [][]uint64 // of each interval: the filters that fit; nil when there are none
}

// newAxis makes the axis for the sets of some filters, nil for those that do not name it.
func newAxis(sets [][]span[value], words int) axis {
	type change struct {
		at     value
		filter int
	}
	var changes []change // where a filter begins or ceases to fit
	row := make([]uint64, words)
	for i, set := range sets {
		if set == nil {
			row[i/64] |= 1 << (i % 64)
		}
		for _, s := range set {
			changes = append(changes, change{s.lo, i})
			if end := s.hi.Next(); end != (value{}) {
				changes = append(changes, change{end, i})
			}
		}
	}
	slices.SortFunc(changes, func(a, b change) int { return a.at.Compare(b.at) })
	known := map[string][]uint64{} // Equal rows are kept once.
	var a axis
	add := func(at value) {
		a.high, a.low = append(a.high, at.high), append(a.low, at.low)
		var id []byte
		for _, w := range row {
			id = binary.NativeEndian.AppendUint64(id, w)
		}
		kept, ok := known[string(id)]
		if !ok {
			if slices.ContainsFunc(row, func(w uint64) bool { return w != 0 }) {
				kept = slices.Clone(row)
			}
			known[string(id)] = kept
		}
		a.rows = append(a.rows, kept)
	}
	if len(changes) == 0 || changes[0].at != (value{}) {
		add(value{})
	}
	for len(changes) > 0 {
		at := changes[0].at
		for len(changes) > 0 && changes[0].at == at {
			row[changes[0].filter/64] ^= 1 << (changes[0].filter % 64)
			changes = changes[1:]
		}
		add(at)
	}
	if !slices.ContainsFunc(a.high, func(n uint64) bool { return n != 0 }) {
		a.high = nil
	}
	return a
}

// row is the filters that fit an end of a packet, or its flags; nil when there are none.
func (a *axis) row(e *endpoint, flags uint16) []uint64 {
	v := e.addr
	switch a.of {
	case ofAddress:
	case ofPort:
		v = value{low: e.port}
	case ofFlags:
		v = value{low: uint64(flags)}
	}
	if a.high != nil {
		return a.rows[a.search(v)]
	}
	if v.high != 0 {
		return a.rows[len(a.rows)-1]
	}
	first, n := 0, len(a.low)
	for n > 1 {
		half := n / 2
		if a.low[first+half] <= v.low {
			first += half
		}
		n -= half
	}
	return a.rows[first]
}

// search is the interval that v lies in, where the intervals start at values of more than 64 bits.
func (a *axis) search(v value) int {
	first, n := 0, len(a.low)
	for n > 1 {
		half := n / 2
		if !v.less(value{a.high[first+half], a.low[first+half]}) {
			first += half
		}
		n -= half
	}
	return first
}
