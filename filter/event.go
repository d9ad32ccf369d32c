package filter

import "fmt"

// Event is filters that look for one packet: a packet that any of them surely matches by itself. An ICMP error that quotes
// such a packet is none, nor is one of which that cannot be seen, such as a later fragment. The zero Event is no packet.
type Event struct {
	set Set // everything but these packets, as Set.Without has it
}

// NewEvent makes an Event of the filters.
func NewEvent(filters ...Filter) Event { return Event{NewSet().Without(filters...)} }

// Match reports whether the packet is one of them. It allocates nothing, as Set.Match.
func (e Event) Match(p *Packet) bool { return e.set.excludes != nil && !e.set.Match(p) }

// IsZero reports whether there is no filter.
func (e Event) IsZero() bool { return e.set.excludes == nil }

// Others is a set that records every packet but these.
func (e Event) Others() Set { return e.set }

// String describes the filters in plain words.
func (e Event) String() string {
	if e.IsZero() {
		return "no packet"
	}
	return e.set.excludes.String()
}

// Warnings lists filters of the event that no packet of what a set records can match.
func (e Event) Warnings(of Set) []string {
	var out []string
	filters := e.set.Excludes()
	for i := range filters {
		f := &filters[i]
		warn := func(why string) {
			out = append(out, fmt.Sprintf("the event %d (%s) can never be seen: %s", i+1, f, why))
		}
		if why := f.contradiction(); why != "" {
			warn(why)
			continue
		}
		if !of.includesAll() && !of.mayMatch(f) {
			warn("no filter records it, and only packets that are recorded are looked at")
			continue
		}
		excludes := of.Excludes()
		for j := range excludes {
			if x := &excludes[j]; x.covers(f) {
				warn(fmt.Sprintf("exclude %d (%s) leaves it out", j+1, x))
				break
			}
		}
	}
	return out
}
