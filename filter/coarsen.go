package filter

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
)

// coarser yields the filters of the set, and then ever fewer and wider filters that match all of that and
// more, for when a program is too large. The first is exact; the last records everything.
//
// First filters of the same shape (which name the same things) are put together in ever larger groups of
// neighbours, a group's filter naming whatever any of them names; no field that they all name is given up. When
// that is not enough, the smallest gaps in the sets are closed. Only then do filters lose what they name.
func (s Set) coarser() iter.Seq2[[]Filter, bool] {
	return func(yield func([]Filter, bool) bool) {
		if !yield(s.filters, true) {
			return
		}
		shapes := byShape(s.filters)
		for size := 2; size < len(s.filters); size += size / 2 {
			if !yield(grouped(shapes, size), false) {
				return
			}
		}
		filters := s.filters
		for _, lose := range []func(*Filter){
			func(*Filter) {},
			func(f *Filter) { // Flags, and ports where there is an address.
				f.flags = nil
				if f.local.addrs != nil || f.remote.addrs != nil {
					f.local.ports, f.remote.ports = nil, nil
				}
			},
			func(f *Filter) { // The remote end, where there is a local one.
				if f.local.addrs != nil || f.local.ports != nil {
					f.remote = end{}
				}
			},
			func(f *Filter) { f.local, f.remote = end{}, end{} },
		} {
			filters = slices.Clone(filters)
			for i := range filters {
				lose(&filters[i])
			}
			filters = grouped(byShape(filters), max(1, len(filters)))
			if !yield(filters, false) {
				return
			}
			for n := 512; n > 0; n /= 2 {
				if n < longest(filters) && !yield(withSpans(filters, n), false) {
					return
				}
			}
		}
		yield(nil, false)
	}
}

// longest is the number of spans in the largest set.
func longest(filters []Filter) int {
	n := 0
	for i := range filters {
		f := &filters[i]
		n = max(n, len(f.local.addrs), len(f.remote.addrs), len(f.local.ports), len(f.remote.ports))
	}
	return n
}

// shape is what a filter names, and of addresses, in which IP versions.
type shape struct {
	protocol                protocol
	local, remote           [2]bool // IPv4, IPv6
	namesLocal, namesRemote bool
	localPorts, remotePorts bool
	flags                   bool
}

func shapeOf(f *Filter) (s shape) {
	s.protocol = f.protocol
	s.local[0], s.local[1] = f.local.families()
	s.remote[0], s.remote[1] = f.remote.families()
	s.namesLocal, s.namesRemote = f.local.addrs != nil, f.remote.addrs != nil
	s.localPorts, s.remotePorts, s.flags = f.local.ports != nil, f.remote.ports != nil, f.flags != nil
	return s
}

// byShape sorts the filters into their shapes, and those of one shape so that neighbours are close.
func byShape(filters []Filter) [][]Filter {
	index := map[shape]int{}
	var out [][]Filter
	for i := range filters {
		s := shapeOf(&filters[i])
		at, ok := index[s]
		if !ok {
			at = len(out)
			index[s] = at
			out = append(out, nil)
		}
		out[at] = append(out[at], filters[i])
	}
	for _, same := range out {
		slices.SortFunc(same, func(a, b Filter) int {
			return cmp.Or(
				compareSets(a.remote.addrs, b.remote.addrs), compareSets(a.local.addrs, b.local.addrs),
				compareSets(a.remote.ports, b.remote.ports), compareSets(a.local.ports, b.local.ports),
				slices.Compare(a.flags, b.flags))
		})
	}
	return out
}

func compareSets[T point[T]](a, b spans[T]) int {
	return slices.CompareFunc(a, b, func(a, b span[T]) int { return cmp.Or(a.lo.Compare(b.lo), a.hi.Compare(b.hi)) })
}

// grouped makes one filter of every size filters of a shape.
func grouped(shapes [][]Filter, size int) []Filter {
	var out []Filter
	for _, same := range shapes {
		for group := range slices.Chunk(same, size) {
			f := Filter{protocol: group[0].protocol}
			f.local.addrs = unionOf(group, func(f *Filter) addrSet { return f.local.addrs })
			f.local.ports = unionOf(group, func(f *Filter) portSet { return f.local.ports })
			f.remote.addrs = unionOf(group, func(f *Filter) addrSet { return f.remote.addrs })
			f.remote.ports = unionOf(group, func(f *Filter) portSet { return f.remote.ports })
			f.flags = unionOfFlags(group)
			out = append(out, f)
		}
	}
	return out
}

// unionOfFlags is unionOf for the flags.
func unionOfFlags(group []Filter) flagSet {
	var all []uint8
	for i := range group {
		all = append(all, group[i].flags...)
	}
	return newFlagSet(all...)
}

// unionOf is what any filter of a group, all of one shape, has in a set; nil when they do not name it.
func unionOf[T point[T]](group []Filter, set func(*Filter) spans[T]) spans[T] {
	all := make([]span[T], 0, len(group))
	for i := range group {
		all = append(all, set(&group[i])...)
	}
	if len(all) == 0 {
		return nil
	}
	return newSpans(all...)
}

// withSpans is the filters with at most n spans in a set of ports, and in a set of addresses of one version.
func withSpans(filters []Filter, n int) []Filter {
	out := slices.Clone(filters)
	for i := range out {
		for _, e := range []*end{&out[i].local, &out[i].remote} {
			if e.addrs != nil {
				v4 := fewerSpans(ofFamily(e.addrs, true), n, addrGap)
				e.addrs = append(slices.Clip(v4), fewerSpans(ofFamily(e.addrs, false), n, addrGap)...)
			}
			e.ports = fewerSpans(e.ports, n, func(a, b port) key { return key{3: uint32(b - a)} })
		}
	}
	return out
}

// addrGap is how far b is above a, as a number.
func addrGap(a, b netip.Addr) key {
	low, high := addrKey(a), addrKey(b)
	var out key
	borrow := uint64(0)
	for i := 3; i >= 0; i-- {
		d := uint64(high[i]) - uint64(low[i]) - borrow
		out[i] = uint32(d)
		borrow = d >> 63
	}
	return out
}

// fewerSpans closes the smallest gaps until at most n spans are left.
func fewerSpans[T point[T]](s spans[T], n int, gap func(a, b T) key) spans[T] {
	if len(s) <= n {
		return s
	}
	gaps := make([]key, len(s)-1)
	for i := range gaps {
		gaps[i] = gap(s[i].hi, s[i+1].lo)
	}
	order := make([]int, len(gaps))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return gaps[b].Compare(gaps[a]) })
	keep := make([]bool, len(gaps)) // the n-1 largest gaps
	for _, i := range order[:n-1] {
		keep[i] = true
	}
	out := spans[T]{s[0]}
	for i, r := range s[1:] {
		if keep[i] {
			out = append(out, r)
		} else {
			out[len(out)-1].hi = r.hi
		}
	}
	return out
}
