package filter

import (
	"cmp"
	"encoding/binary"
	"net/netip"
)

// key is a value that the program searches for, as up to four words of 32 bits, the most significant first. A
// port or an IPv4 address is in the last word.
type key [4]uint32

// Compare orders keys as numbers.
func (k key) Compare(o key) int {
	for i := range k {
		if k[i] != o[i] {
			return cmp.Compare(k[i], o[i])
		}
	}
	return 0
}

// Next is k plus one.
func (k key) Next() key {
	for i := len(k) - 1; i >= 0; i-- {
		k[i]++
		if k[i] != 0 {
			break
		}
	}
	return k
}

type keySet = spans[key]

// field is one of the things that the decision part of a program looks at.
type field int

const (
	fieldProtocol field = iota
	fieldLocalPort
	fieldRemotePort
	fieldLocal
	fieldRemote
	fieldFlags
	fields
)

// Values of a port field that are not ports. They stand above all ports, next to one another, so that the
// set "80 and up, or in another fragment" is one interval.
const (
	portInOtherFragment = 0x10000
	portNotThere        = 0x10001
)

// The same for the field of flags.
const (
	flagsInOtherFragment = 0x100
	flagsNotThere        = 0x101
)

// box is a filter as the program sees it: a set for each field that it names, nil for the others.
type box [fields]keySet

// full reports whether the box names nothing.
func (b *box) full() bool {
	for _, s := range b {
		if s != nil {
			return false
		}
	}
	return true
}

// covers reports whether every packet in o is in b.
func (b *box) covers(o *box) bool {
	for i, s := range b {
		if s != nil && (o[i] == nil || !s.covers(o[i])) {
			return false
		}
	}
	return true
}

// swapped is the box for looking at a packet with its ends exchanged.
func (b box) swapped() box {
	b[fieldLocal], b[fieldRemote] = b[fieldRemote], b[fieldLocal]
	b[fieldLocalPort], b[fieldRemotePort] = b[fieldRemotePort], b[fieldLocalPort]
	return b
}

// family is an IP version as the compiler sees it.
type family struct {
	version int
	words   int // of an address
}

var (
	ipv4 = family{version: 4, words: 1}
	ipv6 = family{version: 6, words: 4}
)

// boxOf is f as it applies to one IP version; ok is false when it cannot match that version at all. flags are those that
// any filter looks at. With certain, what cannot be seen of a later fragment does not match.
func (fam family) boxOf(f *Filter, flags uint8, certain bool) (b box, ok bool) {
	if f.flags != nil && f.protocol != tcp || f.protocol == icmp && f.hasPorts() {
		return box{}, false
	}
	for _, e := range []struct {
		end         end
		addrs, port field
	}{{f.local, fieldLocal, fieldLocalPort}, {f.remote, fieldRemote, fieldRemotePort}} {
		addrs := ofFamily(e.end.addrs, fam.version == 4)
		if addrs != nil && len(addrs) == 0 {
			return box{}, false
		}
		b[e.addrs] = fam.addrKeys(addrs)
		b[e.port] = portKeys(e.end.ports, certain)
	}
	b[fieldFlags] = flagKeys(f.flags, flags, certain)
	if f.protocol != anyProtocol {
		number := key{3: uint32(f.protocol.number(fam.version == 4))}
		b[fieldProtocol] = keySet{{number, number}}
	}
	return b, true
}

// addrKeys is an address set as keys; nil when it holds every address of the version.
func (fam family) addrKeys(addrs addrSet) keySet {
	if addrs == nil {
		return nil
	}
	out := make(keySet, 0, len(addrs))
	for _, r := range addrs {
		out = append(out, span[key]{addrKey(r.lo), addrKey(r.hi)})
	}
	if len(out) == 1 && fam.isEverything(out[0]) {
		return nil
	}
	return out
}

// isEverything reports whether a span has every address.
func (fam family) isEverything(s span[key]) bool {
	for _, w := range s.lo[4-fam.words:] {
		if w != 0 {
			return false
		}
	}
	for _, w := range s.hi[4-fam.words:] {
		if w != ^uint32(0) {
			return false
		}
	}
	return true
}

func addrKey(a netip.Addr) key {
	if a.Is4() {
		b := a.As4()
		return key{3: binary.BigEndian.Uint32(b[:])}
	}
	b := a.As16()
	var k key
	for i := range k {
		k[i] = binary.BigEndian.Uint32(b[i*4:])
	}
	return k
}

// portKeys is a port set as keys. Ports in another fragment are in every set, even one of all ports, which
// is still not the same as naming no port; with certain they are in none.
func portKeys(ports portSet, certain bool) keySet {
	if ports == nil {
		return nil
	}
	var out []span[key]
	if !certain {
		out = append(out, span[key]{key{3: portInOtherFragment}, key{3: portInOtherFragment}})
	}
	for _, r := range ports {
		out = append(out, span[key]{key{3: uint32(r.lo)}, key{3: uint32(r.hi)}})
	}
	return newSpans(out...)
}

// flagKeys is a set of flags as keys, of which the program has only those in mask. What the program cannot have stands
// with the value below it, so that there are few spans.
func flagKeys(set flagSet, mask uint8, certain bool) keySet {
	if set == nil {
		return nil
	}
	var out []span[key]
	fitting := false // the value before, of those that there can be
	for v := range uint32(flagsInOtherFragment) {
		if uint8(v)&mask == uint8(v) {
			fitting = set.contains(uint8(v))
		}
		if fitting {
			out = append(out, span[key]{key{3: v}, key{3: v}})
		}
	}
	if !certain {
		out = append(out, span[key]{key{3: flagsInOtherFragment}, key{3: flagsInOtherFragment}})
	}
	return newSpans(out...)
}

// maxCovers bounds the work of looking for boxes inside others, which grows with the square of their number.
const maxCovers = 1500

// simplify makes fewer boxes that hold the same packets: boxes inside others go, and boxes that differ in one
// field become one.
func simplify(boxes []box) []box {
	for {
		before := len(boxes)
		if len(boxes) <= maxCovers {
			boxes = withoutCovered(boxes)
		}
		for f := range fields {
			boxes = mergeAlong(f, boxes)
		}
		if len(boxes) == before {
			return boxes
		}
	}
}

func withoutCovered(boxes []box) []box {
	var kept []box
	for i := range boxes {
		covered := false
		for j := range boxes {
			// Of two that cover each other, the first stays.
			if i != j && boxes[j].covers(&boxes[i]) && (j < i || !boxes[i].covers(&boxes[j])) {
				covered = true
				break
			}
		}
		if !covered {
			kept = append(kept, boxes[i])
		}
	}
	return kept
}

// mergeAlong makes one box of those that are equal in every field but f.
func mergeAlong(f field, boxes []box) []box {
	groups := map[string][]box{}
	var order []string
	for _, b := range boxes {
		rest := b
		rest[f] = nil
		id := rest.id()
		if _, ok := groups[id]; !ok {
			order = append(order, id)
		}
		groups[id] = append(groups[id], b)
	}
	out := make([]box, 0, len(order))
	for _, id := range order {
		out = append(out, union(f, groups[id]))
	}
	return out
}

// union is the first of the boxes with what any of them has in field f.
func union(f field, boxes []box) box {
	out := boxes[0]
	if len(boxes) == 1 {
		return out
	}
	var all []span[key]
	for _, b := range boxes {
		if b[f] == nil {
			out[f] = nil
			return out
		}
		all = append(all, b[f]...)
	}
	out[f] = newSpans(all...)
	return out
}

// id is a text that equal boxes have in common, and no others.
func (b *box) id() string {
	var out []byte
	for _, s := range b {
		out = appendID(out, s)
	}
	return string(out)
}

func appendID(out []byte, s keySet) []byte {
	if s == nil {
		return append(out, 0)
	}
	out = binary.AppendUvarint(append(out, 1), uint64(len(s)))
	for _, r := range s {
		for _, k := range []key{r.lo, r.hi} {
			for _, w := range k {
				out = binary.BigEndian.AppendUint32(out, w)
			}
		}
	}
	return out
}

// compareSpans orders spans that do not meet.
func compareSpans(a, b span[key]) int { return cmp.Or(a.lo.Compare(b.lo), a.hi.Compare(b.hi)) }
