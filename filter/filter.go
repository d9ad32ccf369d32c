// Package filter decides which packets are recorded.
//
// A [Spec] is a filter in the notation of the API. [Parse] checks it and makes a [Filter]; a [Set] of
// filters records a packet that any of them matches. A Set is put to work in two independent ways: [Set.Match]
// looks at a packet in plain Go, and [Set.Compile] makes the classic BPF program that the kernel runs. The two
// share no parsing of packets, so that each can be checked against the other.
//
// docs/filters.md describes what a filter matches on each kind of packet.
package filter

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// protocol is what a filter says of the transport protocol. The zero value is Any.
type protocol uint8

const (
	anyProtocol protocol = iota
	tcp
	udp
	icmp      // of the packet's IP version
	protocols // how many there are
)

// String is the API's spelling; the API itself has no ICMP.
func (p protocol) String() string { return [...]string{"Any", "TCP", "UDP", "ICMP"}[p] }

// number is the IP protocol number, which ICMP has one of for each IP version; 0 for Any.
func (p protocol) number(v4 bool) uint8 {
	if p == icmp && !v4 {
		return protoICMPv6
	}
	return [...]uint8{0, protoTCP, protoUDP, protoICMP}[p]
}

// end is what a filter says of one end of a conversation. A nil set is not named: it lets everything through.
type end struct {
	addrs addrSet
	ports portSet
}

func (e end) equal(o end) bool {
	return (e.addrs == nil) == (o.addrs == nil) && (e.ports == nil) == (o.ports == nil) &&
		slices.Equal(e.addrs, o.addrs) && slices.Equal(e.ports, o.ports)
}

// Filter is one valid filter: a packet must meet everything it names. The zero Filter names nothing and
// matches every packet. Filters are made by [Parse] and never change.
type Filter struct {
	protocol      protocol
	local, remote end
	flags         flagSet // nil when not named; protocol is then not Any
}

// Equal reports whether both filters say the same. How lists were ordered or ranges written does not count.
func (f Filter) Equal(g Filter) bool {
	return f.protocol == g.protocol && f.local.equal(g.local) && f.remote.equal(g.remote) && slices.Equal(f.flags, g.flags)
}

// matchesAll reports whether f names nothing, so that every packet matches, IP or not.
func (f Filter) matchesAll() bool { return f.Equal(Filter{}) }

// hasPorts reports whether f names a port, so that only protocols with ports can match.
func (f Filter) hasPorts() bool { return f.local.ports != nil || f.remote.ports != nil }

// addressDecides reports whether f recognises the local end by its address, and so matches a packet that fits
// either way round, whatever its direction.
func (f Filter) addressDecides() bool { return f.local.addrs != nil }

// shownEntries is how many entries of a list, and filters of a set, a description spells out.
const shownEntries = 4

// String describes f in plain words, such as "TCP, local port 80-85, remote 10.0.0.5".
func (f Filter) String() string {
	var parts []string
	if f.protocol != anyProtocol {
		parts = append(parts, f.protocol.String())
	}
	for _, e := range []struct {
		name string
		end  end
	}{{"local", f.local}, {"remote", f.remote}} {
		if e.end.addrs != nil {
			parts = append(parts, e.name+" "+inWords(entries(e.end.addrs)))
		}
		if e.end.ports != nil {
			parts = append(parts, e.name+" port "+inWords(entries(e.end.ports)))
		}
	}
	if f.flags != nil {
		parts = append(parts, "with "+inWords(f.flags.entries()))
	}
	if len(parts) == 0 {
		return "every packet"
	}
	return strings.Join(parts, ", ")
}

func inWords(entries []string) string {
	if extra := len(entries) - shownEntries; extra > 1 {
		return fmt.Sprintf("%s or %d more", strings.Join(entries[:shownEntries], " or "), extra)
	}
	return strings.Join(entries, " or ")
}

// entries is the notation of a set, entry by entry: one entry that is a single value or a range, or single
// values only. The notation has no list of ranges, and a set of several spans was written as a list, so writing
// out its values never makes it longer than it was given.
func entries[T point[T]](s spans[T]) []string {
	if len(s) == 1 {
		if s[0].lo == s[0].hi {
			return []string{fmt.Sprint(s[0].lo)}
		}
		return []string{fmt.Sprintf("%v-%v", s[0].lo, s[0].hi)}
	}
	var out []string
	for _, r := range s {
		for v := r.lo; ; v = v.Next() {
			out = append(out, fmt.Sprint(v))
			if v == r.hi {
				break
			}
		}
	}
	return out
}

// Spec is f in canonical notation: the protocol always given, lists sorted and without repetition, values
// that follow one another written as a range where the notation allows it. Parsing it gives f again.
func (f Filter) Spec() Spec {
	name := f.protocol.String()
	return Spec{
		Protocol:        &name,
		LocalIPAddress:  member(f.local.addrs),
		LocalPort:       member(f.local.ports),
		RemoteIPAddress: member(f.remote.addrs),
		RemotePort:      member(f.remote.ports),
		TCPFlags:        f.flags.member(),
	}
}

func member[T point[T]](s spans[T]) *string {
	if s == nil {
		return nil
	}
	text := strings.Join(entries(s), ";")
	return &text
}

// Set is an OR of filters, less what its excludes match. The zero Set has no filter and records everything.
type Set struct {
	filters  []Filter
	all      bool // one of the filters matches everything
	noErrors bool
	index    *index      // nil for a set of few filters
	quick    []quickRule // nil for one of many
	excludes *Set        // its filters leave out what they match; nil when there are none
}

// NewSet makes a Set that records what any of the filters matches. ICMP errors about such packets are
// recorded too unless [Set.WithICMPErrors] turns that off.
func NewSet(filters ...Filter) Set {
	s := Set{filters: slices.Clone(filters), all: slices.ContainsFunc(filters, Filter.matchesAll)}
	switch {
	case s.all:
	case len(s.filters) > fewFilters:
		s.index = newIndex(s.filters)
	default:
		s.quick = quickRules(s.filters)
	}
	return s
}

// WithICMPErrors is s with the recording of ICMP errors that quote a matching packet turned on or off. It is
// on unless said otherwise.
func (s Set) WithICMPErrors(on bool) Set {
	s.noErrors = !on
	return s
}

// ICMPErrors reports whether ICMP errors that quote a matching packet are recorded.
func (s Set) ICMPErrors() bool { return !s.noErrors }

// Without is s that records no packet which any of the filters matches by itself. An ICMP error that quotes such a
// packet stays, and so does a packet of which it cannot be seen whether a filter matches: a later fragment, whose
// ports are not in it, or one that is cut short. Without filters it is s with nothing left out.
func (s Set) Without(filters ...Filter) Set {
	s.excludes = nil
	if len(filters) > 0 {
		s.excludes = new(NewSet(filters...))
	}
	return s
}

// Excludes is a copy of the filters whose packets are left out, in the order given.
func (s Set) Excludes() []Filter {
	if s.excludes == nil {
		return nil
	}
	return s.excludes.Filters()
}

// Filters is a copy of the filters, in the order given.
func (s Set) Filters() []Filter { return slices.Clone(s.filters) }

// Len is the number of filters; 0 means that everything is recorded but what is left out.
func (s Set) Len() int { return len(s.filters) }

// String describes the set in plain words; of a long set it spells out the first few filters.
func (s Set) String() string {
	if s.excludes != nil {
		all := s.Without().String()
		return all + "; but not " + s.excludes.String()
	}
	if len(s.filters) == 0 {
		return Filter{}.String()
	}
	shown := s.filters
	if len(shown) > shownEntries+1 {
		shown = shown[:shownEntries]
	}
	parts := make([]string, 0, len(shown)+1)
	for _, f := range shown {
		parts = append(parts, f.String())
	}
	if extra := len(s.filters) - len(shown); extra > 0 {
		parts = append(parts, fmt.Sprintf("%d more filters", extra))
	}
	return strings.Join(parts, "; or ")
}

// RecordsAll reports whether every packet is recorded, whatever is in it.
func (s Set) RecordsAll() bool { return s.excludes == nil && s.includesAll() }

// includesAll reports whether every packet is recorded that is not left out.
func (s Set) includesAll() bool { return len(s.filters) == 0 || s.all }

// families reports which IP versions an end lets through.
func (e end) families() (v4, v6 bool) {
	if e.addrs == nil {
		return true, true
	}
	// IPv4 sorts before IPv6.
	return e.addrs[0].lo.Is4(), e.addrs[len(e.addrs)-1].hi.Is6()
}

// ofFamily is the part of an address set that is IPv4 or IPv6; nil (not named) stays nil.
func ofFamily(s addrSet, v4 bool) addrSet {
	if s == nil {
		return nil
	}
	first := slices.IndexFunc(s, func(r span[netip.Addr]) bool { return r.lo.Is6() })
	if first < 0 {
		first = len(s)
	}
	if v4 {
		return s[:first]
	}
	return s[first:]
}
