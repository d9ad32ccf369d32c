package filter

import (
	"cmp"
	"net/netip"
	"slices"
)

// point is a value on a line that has a next one: an address, a port, a compiler's search key.
type point[T any] interface {
	comparable
	Compare(T) int
	// Next is the value after this one. After the last value it is anything that no larger value equals.
	Next() T
}

// span is the closed interval lo..hi.
type span[T point[T]] struct{ lo, hi T }

// spans is a set of values: sorted, disjoint, and not touching, so that equal sets have equal slices.
// In a Filter nil means "not named", which is another thing than a set that holds everything.
type spans[T point[T]] []span[T]

// newSpans sorts and merges what it is given. The argument is not kept.
func newSpans[T point[T]](in ...span[T]) spans[T] {
	in = slices.Clone(in)
	slices.SortFunc(in, func(a, b span[T]) int { return a.lo.Compare(b.lo) })
	out := in[:0]
	for _, s := range in {
		if n := len(out); n > 0 {
			last := &out[n-1]
			if s.lo.Compare(last.hi) <= 0 || last.hi.Next() == s.lo {
				if s.hi.Compare(last.hi) > 0 {
					last.hi = s.hi
				}
				continue
			}
		}
		out = append(out, s)
	}
	return spans[T](out)
}

// contains reports whether v is in the set. It allocates nothing.
func (s spans[T]) contains(v T) bool {
	low, high := 0, len(s)
	for low < high {
		mid := int(uint(low+high) >> 1)
		switch {
		case v.Compare(s[mid].lo) < 0:
			high = mid
		case v.Compare(s[mid].hi) > 0:
			low = mid + 1
		default:
			return true
		}
	}
	return false
}

// covers reports whether every value of t is in s.
func (s spans[T]) covers(t spans[T]) bool {
	i := 0
	for _, want := range t {
		for i < len(s) && s[i].hi.Compare(want.lo) < 0 {
			i++
		}
		if i == len(s) || s[i].lo.Compare(want.lo) > 0 || s[i].hi.Compare(want.hi) < 0 {
			return false
		}
	}
	return true
}

// meets reports whether the sets have a value in common.
func (s spans[T]) meets(t spans[T]) bool {
	for i, j := 0, 0; i < len(s) && j < len(t); {
		switch {
		case s[i].hi.Compare(t[j].lo) < 0:
			i++
		case t[j].hi.Compare(s[i].lo) < 0:
			j++
		default:
			return true
		}
	}
	return false
}

// port is a TCP, UDP, SCTP, DCCP or UDP-Lite port number.
type port uint16

// Compare orders ports by number.
func (p port) Compare(q port) int { return cmp.Compare(p, q) }

// Next wraps to 0 after 65535, which is never larger than what came before it.
func (p port) Next() port { return p + 1 }

type (
	addrSet = spans[netip.Addr]
	portSet = spans[port]
)
