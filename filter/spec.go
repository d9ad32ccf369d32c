package filter

import (
	"fmt"
	"strings"
)

// Spec is one filter as written on the wire. Every member is optional; one that is absent or empty lets
// everything through. An address or a port is written as a single value "80", a range "80-85" or a list "80;443;". A
// range of addresses may be a subnet, "10.0.0.0/8", which the API does not have; Parse makes the range of it.
type Spec struct {
	Protocol        *string `json:"protocol,omitempty"`
	LocalIPAddress  *string `json:"localIPAddress,omitempty"`
	LocalPort       *string `json:"localPort,omitempty"`
	RemoteIPAddress *string `json:"remoteIPAddress,omitempty"`
	RemotePort      *string `json:"remotePort,omitempty"`
	// TCPFlags is pcapctl's own: flags that must all be set, joined by "+", or a list of such.
	TCPFlags *string `json:"tcpFlags,omitempty"`
}

// Fault is one thing wrong with a Spec.
type Fault struct {
	Field  string // the JSON member, such as "localPort"
	Reason string // what is wrong and what is allowed instead; text of the Spec in it is quoted and bounded
}

// Parse checks a Spec and makes the Filter it describes. It returns all faults at once; the Filter is valid only
// when there are no faults.
func Parse(s Spec) (Filter, []Fault) {
	var faults []Fault
	f := Filter{
		protocol: parseProtocol(&faults, s.Protocol),
		local: end{
			addrs: parseMember(&faults, "localIPAddress", s.LocalIPAddress, addressNotation),
			ports: parseMember(&faults, "localPort", s.LocalPort, portNotation),
		},
		remote: end{
			addrs: parseMember(&faults, "remoteIPAddress", s.RemoteIPAddress, addressNotation),
			ports: parseMember(&faults, "remotePort", s.RemotePort, portNotation),
		},
		flags: parseFlags(&faults, s.TCPFlags),
	}
	if f.flags != nil && f.protocol == anyProtocol {
		f.protocol = tcp // nothing else has them
	}
	if len(faults) > 0 {
		return Filter{}, faults
	}
	return f, nil
}

// notation is how one kind of value is written.
type notation[T point[T]] struct {
	// parse reads a single value; reason says what is wrong with it and is empty when nothing is.
	parse func(text string) (v T, reason string)
	// sameKind reports whether two values can be the ends of one range; the reason as above.
	sameKind func(low, high T) (reason string)
	// isName reports whether a text with a hyphen is rather a name than a range.
	isName func(text string) bool
	// isRange reports whether a text that is not a value stands for a range in another notation.
	isRange func(text string) bool
	// parseRange reads a range that is not written by its ends; ok is false for a text that is none.
	parseRange func(text string) (s span[T], reason string, ok bool)
	// allowed shows the three forms.
	allowed string
}

// parseMember reads the single/range/list notation of a member. It returns nil for one that is absent, and adds every
// fault it finds.
func parseMember[T point[T]](faults *[]Fault, field string, given *string, n notation[T]) spans[T] {
	if given == nil || strings.TrimSpace(*given) == "" {
		return nil
	}
	found, reasons := readMember(*given, n)
	if len(reasons) > 0 {
		reasons = rewritten(*given, reasons, n)
	}
	for _, reason := range reasons {
		*faults = append(*faults, Fault{Field: field, Reason: reason})
	}
	return newSpans(found...)
}

// foreign are ways to write lists and ranges elsewhere, and what the notation has in their place.
var foreign = []struct{ theirs, ours string }{{",", ";"}, {"|", ";"}, {" ", ";"}, {":", "-"}, {"..", "-"}, {"\u2013", "-"}}

// rewritten is the reasons why a member is not valid, put in a way that leads to one that is: the whole member as it is
// to be written, when it was meant for a list or a range of another notation; or else, where there are commas, what would
// still be wrong with semicolons in their place.
func rewritten[T point[T]](given string, reasons []string, n notation[T]) []string {
	for _, f := range foreign {
		if !strings.Contains(given, f.theirs) {
			continue
		}
		instead := strings.ReplaceAll(strings.TrimSpace(given), f.theirs, f.ours)
		_, left := readMember(instead, n)
		what := "lists have ; between their entries"
		if f.ours == "-" {
			what = "ranges have - between their ends"
		}
		switch {
		case len(left) == 0:
			return []string{fmt.Sprintf("%s is not a valid list or range: %s, write %s; allowed: %s", quote(given), what, quote(instead), n.allowed)}
		case f.theirs == ",":
			return append([]string{fmt.Sprintf("%s has commas: %s", quote(given), what)}, left...)
		}
	}
	return reasons
}

// readMember reads the notation of a member, and says what is wrong with it.
func readMember[T point[T]](given string, n notation[T]) (found []span[T], reasons []string) {
	fault := func(format string, args ...any) { reasons = append(reasons, fmt.Sprintf(format, args...)) }
	list := strings.Split(given, ";")
	if last := len(list) - 1; last > 0 && strings.TrimSpace(list[last]) == "" {
		list = list[:last]
	}
	ranges := 0
	for i, entry := range list {
		entry = strings.TrimSpace(entry)
		switch {
		case entry == "":
			fault("entry %d of the list is empty; allowed: %s", i+1, n.allowed)
		case strings.Contains(entry, "-") && !n.isName(entry):
			ranges++
			if s, reason := parseRange(entry, n); reason != "" {
				fault("%s; allowed: %s", reason, n.allowed)
			} else {
				found = append(found, s)
			}
		default:
			if s, reason, ok := n.parseRange(entry); ok {
				if reason != "" {
					fault("%s; allowed: %s", reason, n.allowed)
				}
				if s.lo != s.hi || reason != "" {
					ranges++
				}
				found = append(found, s)
				continue
			}
			v, reason := n.parse(entry)
			if reason != "" {
				fault("%s; allowed: %s", reason, n.allowed)
				if n.isRange(entry) {
					ranges++
				}
			}
			found = append(found, span[T]{v, v})
		}
	}
	switch {
	case ranges > 1:
		fault("%d ranges in one filter are not supported; give each range a filter of its own, a packet need match only one of them",
			ranges)
	case ranges == 1 && len(list) > 1:
		fault("a range and other entries in one list are not supported; give the range a filter of its own, a packet need match only one of them")
	}
	return found, reasons
}

// parseRange reads "low-high".
func parseRange[T point[T]](text string, n notation[T]) (s span[T], reason string) {
	low, high, _ := strings.Cut(text, "-")
	low, high = strings.TrimSpace(low), strings.TrimSpace(high)
	switch {
	case strings.Contains(high, "-"):
		return s, fmt.Sprintf("%s has more than one hyphen, a range has one", quote(text))
	case low == "" && high == "":
		return s, fmt.Sprintf("the range %s has no ends", quote(text))
	case low == "":
		return s, fmt.Sprintf("the range %s has no lower end", quote(text))
	case high == "":
		return s, fmt.Sprintf("the range %s has no upper end", quote(text))
	}
	var lowReason, highReason string
	s.lo, lowReason = n.parse(low)
	s.hi, highReason = n.parse(high)
	switch {
	case lowReason != "" && highReason != "":
		return s, fmt.Sprintf("both ends of the range are wrong: %s; %s", lowReason, highReason)
	case lowReason != "":
		return s, "the lower end of the range is wrong: " + lowReason
	case highReason != "":
		return s, "the upper end of the range is wrong: " + highReason
	}
	if reason := n.sameKind(s.lo, s.hi); reason != "" {
		return s, reason
	}
	if s.lo.Compare(s.hi) > 0 {
		return s, fmt.Sprintf("the range %s runs backwards; write \"%v-%v\"", quote(text), s.hi, s.lo)
	}
	return s, ""
}

// Own lists what of a filter is pcapctl's own, so that the service would refuse it, each with its member.
func (s Spec) Own() []Fault {
	var own []Fault
	if s.Protocol != nil && strings.EqualFold(strings.TrimSpace(*s.Protocol), icmp.String()) {
		own = append(own, Fault{"protocol", icmp.String()})
	}
	for _, m := range []struct {
		field string
		given *string
	}{{"localIPAddress", s.LocalIPAddress}, {"remoteIPAddress", s.RemoteIPAddress}} {
		if m.given != nil && strings.Contains(*m.given, "/") {
			own = append(own, Fault{m.field, "a subnet in CIDR notation"})
		}
	}
	if s.TCPFlags != nil && strings.TrimSpace(*s.TCPFlags) != "" {
		own = append(own, Fault{"tcpFlags", "flags of TCP"})
	}
	return own
}

// maxQuoted bounds how much foreign text a reason repeats.
const maxQuoted = 64

// quote is foreign text made safe to show: control characters escaped, cut when long.
func quote(text string) string {
	if len(text) > maxQuoted {
		return fmt.Sprintf("%q…", strings.ToValidUTF8(text[:maxQuoted], ""))
	}
	return fmt.Sprintf("%q", text)
}
