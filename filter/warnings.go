package filter

import (
	"fmt"
	"net/netip"
)

// contradiction says why no packet can match, and is "" where one can.
func (f Filter) contradiction() string {
	local4, local6 := f.local.families()
	remote4, remote6 := f.remote.families()
	switch {
	case f.flags != nil && f.protocol != tcp:
		return fmt.Sprintf("%s has no flags, only TCP has", f.protocol)
	case f.protocol == icmp && f.hasPorts():
		return "ICMP has no ports"
	case (local4 && remote4) || (local6 && remote6):
		return ""
	case f.local.addrs[0].lo.Is6():
		return "its local addresses are IPv6, its remote ones IPv4"
	default:
		return "its local addresses are IPv4, its remote ones IPv6"
	}
}

// contradicts reports whether no packet can match.
func (f Filter) contradicts() bool { return f.contradiction() != "" }

// Warnings lists what is legal in the set but cannot be meant: filters, or entries of their lists, that can
// never match, and filters that another covers. The addresses are this machine's; without any, local
// addresses are not checked, nor are those of the first eitherEnd filters, which may be the remote end's.
// Filters are counted from 1.
func (s Set) Warnings(localAddrs []netip.Addr, eitherEnd int) []string {
	var out []string
	warn := func(i int, format string, args ...any) {
		out = append(out, fmt.Sprintf("filter %d (%s) ", i+1, s.filters[i])+fmt.Sprintf(format, args...))
	}
	for i := range s.filters {
		f := &s.filters[i]
		if why := f.contradiction(); why != "" {
			warn(i, "can never match: %s", why)
			continue
		}
		for _, text := range f.loneFamilies() {
			warn(i, "%s", text)
		}
		if i >= eitherEnd {
			for _, text := range f.foreignLocals(localAddrs) {
				warn(i, "%s", text)
			}
		}
	}
	out = append(out, s.excludeWarnings()...)
	if len(s.filters) > maxCovers {
		return out
	}
	for i := range s.filters {
		if j, here, ok := s.coveredBy(i, localAddrs); ok {
			f := s.filters[j]
			switch {
			case f.Equal(s.filters[i]):
				warn(i, "repeats filter %d", j+1)
			case here:
				warn(i, "changes nothing on this machine: filter %d (%s) covers it, as its local addresses are this machine's", j+1, f)
			default:
				warn(i, "changes nothing: filter %d (%s) covers it", j+1, f)
			}
		}
	}
	return out
}

// excludeWarnings lists what is left out, or recorded, to no effect.
func (s Set) excludeWarnings() []string {
	if s.excludes == nil {
		return nil
	}
	var out []string
	for i := range s.excludes.filters {
		e := &s.excludes.filters[i]
		name := fmt.Sprintf("exclude %d (%s)", i+1, e)
		switch why := e.contradiction(); {
		case e.matchesAll():
			out = append(out, name+" leaves out everything: nothing is recorded")
		case why != "":
			out = append(out, name+" can never match: "+why)
		case !s.includesAll() && !s.mayMatch(e):
			out = append(out, name+" changes nothing: no filter matches what it leaves out")
		}
		for j := range s.filters {
			if f := &s.filters[j]; !e.matchesAll() && !f.contradicts() && e.covers(f) {
				out = append(out, fmt.Sprintf("filter %d (%s) records next to nothing: %s leaves its packets out", j+1, f, name))
			}
		}
	}
	return out
}

// mayMatch reports whether a packet that f matches may be one that a filter of the set matches.
func (s Set) mayMatch(f *Filter) bool {
	for i := range s.filters {
		if s.filters[i].meets(f) {
			return true
		}
	}
	return false
}

// meets reports whether there may be a packet that both filters match.
func (f *Filter) meets(g *Filter) bool {
	if f.contradicts() || g.contradicts() || f.protocol != g.protocol && f.protocol != anyProtocol && g.protocol != anyProtocol ||
		f.protocol == icmp && g.hasPorts() || g.protocol == icmp && f.hasPorts() {
		return false
	}
	// Where either looks at the packet either way round, one way is enough; so it is where the direction is not known.
	return f.local.meets(g.local) && f.remote.meets(g.remote) || f.local.meets(g.remote) && f.remote.meets(g.local)
}

func (e end) meets(o end) bool {
	return (e.addrs == nil || o.addrs == nil || e.addrs.meets(o.addrs)) && (e.ports == nil || o.ports == nil || e.ports.meets(o.ports))
}

// loneFamilies lists the addresses of one end that are of an IP version the other end does not let through.
func (f *Filter) loneFamilies() []string {
	var out []string
	for _, e := range []struct {
		name, other string
		end, far    end
	}{{"local", "remote", f.local, f.remote}, {"remote", "local", f.remote, f.local}} {
		if e.end.addrs == nil || e.far.addrs == nil {
			continue
		}
		has4, has6 := e.end.families()
		far4, far6 := e.far.families()
		if has4 && !far4 {
			out = append(out, fmt.Sprintf("can never match by its IPv4 %s addresses: the %s ones are all IPv6", e.name, e.other))
		}
		if has6 && !far6 {
			out = append(out, fmt.Sprintf("can never match by its IPv6 %s addresses: the %s ones are all IPv4", e.name, e.other))
		}
	}
	return out
}

// foreignLocals lists local addresses that this machine does not have. Broadcast and multicast addresses
// belong to no machine, and packets to them come in all the same; all of 127.0.0.0/8 is every machine's.
func (f *Filter) foreignLocals(localAddrs []netip.Addr) []string {
	if len(localAddrs) == 0 || f.local.addrs == nil {
		return nil
	}
	var foreign addrSet
	for _, r := range f.local.addrs {
		has := r.lo.IsLoopback() || r.lo.IsMulticast() || r.hi == netip.AddrFrom4([4]byte{255, 255, 255, 255})
		for _, a := range localAddrs {
			a = a.WithZone("").Unmap()
			has = has || a.Compare(r.lo) >= 0 && a.Compare(r.hi) <= 0
		}
		if !has {
			foreign = append(foreign, r)
		}
	}
	const passing = "only packets that pass through it can match"
	switch {
	case len(foreign) == 0:
		return nil
	case len(foreign) == len(f.local.addrs):
		return []string{"names no local address that this machine has: " + passing}
	default:
		return []string{fmt.Sprintf("names local addresses that this machine does not have (%s): by these, %s",
			inWords(entries(foreign)), passing)}
	}
}

// coveredBy finds another filter of the set that matches all that filter i matches. Of equal ones the first is
// the one that counts. Here is true when that holds only on a machine with these addresses.
func (s Set) coveredBy(i int, localAddrs []netip.Addr) (j int, here, ok bool) {
	f := &s.filters[i]
	if f.contradicts() {
		return 0, false, false
	}
	for j := range s.filters {
		g := &s.filters[j]
		if j != i && g.covers(f) && (j < i || !f.covers(g)) {
			return j, false, true
		}
	}
	if len(localAddrs) == 0 || f.local.addrs == nil {
		return 0, false, false
	}
	own := make([]span[netip.Addr], 0, len(localAddrs))
	for _, a := range localAddrs {
		a = a.WithZone("").Unmap()
		own = append(own, span[netip.Addr]{a, a})
	}
	if !newSpans(own...).covers(f.local.addrs) {
		return 0, false, false
	}
	for j := range s.filters {
		// What the machine sends comes from its addresses, and what it gets goes to them: the direction says the
		// same as the address.
		if j != i && s.filters[j].holds(f) {
			return j, true, true
		}
	}
	return 0, false, false
}

// covers reports whether f matches every packet that g matches, on every machine.
func (f *Filter) covers(g *Filter) bool {
	swapped := *g
	swapped.local, swapped.remote = g.remote, g.local
	switch {
	case f.addressDecides(): // f looks at packets both ways round.
		return f.holds(g) || f.holds(&swapped)
	case g.addressDecides(): // g does, f only the way that the direction gives.
		return f.holds(g) && f.holds(&swapped)
	default:
		return f.holds(g)
	}
}

// holds reports whether f lets through whatever g does when both look at a packet the same way round.
func (f *Filter) holds(g *Filter) bool {
	return (f.protocol == anyProtocol || f.protocol == g.protocol) &&
		(f.flags == nil || g.flags != nil && f.flags.covers(g.flags)) &&
		f.local.holds(g.local) && f.remote.holds(g.remote)
}

func (e end) holds(o end) bool {
	return (e.addrs == nil || o.addrs != nil && e.addrs.covers(o.addrs)) &&
		(e.ports == nil || o.ports != nil && e.ports.covers(o.ports))
}
