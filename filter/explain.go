package filter

import (
	"fmt"
	"net/netip"
	"strings"
)

// maxTerms bounds an expression: a longer one is not for pasting.
const maxTerms = 100

// PcapExpression is f as an expression for tcpdump and Wireshark, when there is one of a readable size. What
// matches everything is the empty expression.
//
// A filter that recognises the local end by the direction uses "inbound" and "outbound", which pcap-filter(7) knows
// when capturing live on Linux. For whole, untagged packets of TCP, UDP or SCTP without IPv6 extension headers
// the expression means what f means. What it lacks: later fragments, ICMP errors, ports behind extension
// headers, ports of DCCP and UDP-Lite, VLAN tags inside the frame, and either end on loopback.
func (f Filter) PcapExpression() (expr string, ok bool) {
	if f.contradicts() {
		return "", false
	}
	var both string // what holds of the two ends, whichever way round
	noLocal, noRemote := f.local.equal(end{}), f.remote.equal(end{})
	switch straight, back := f.conjunction("src ", "dst "), f.conjunction("dst ", "src "); {
	case noLocal && noRemote:
	case f.addressDecides() && f.local.ports == nil && noRemote:
		both = f.conjunction("", "")
	case f.addressDecides():
		both = fmt.Sprintf("((%s) or (%s))", straight, back)
	default:
		both = fmt.Sprintf("((outbound and %s) or (inbound and %s))", straight, back)
	}
	var terms []string
	switch {
	case f.protocol == anyProtocol || f.hasPorts(): // Ports are written with their protocol.
	case f.flags != nil: // and so are flags
	case f.protocol == icmp:
		terms = append(terms, f.byVersion("icmp", "icmp6"))
	default:
		terms = append(terms, strings.ToLower(f.protocol.String()))
	}
	if both != "" {
		terms = append(terms, both)
	}
	if f.flags != nil {
		terms = append(terms, f.byVersion(f.flags.expressions()))
	}
	expr = strings.Join(terms, " and ")
	if strings.Count(expr, " or ") > maxTerms {
		return "", false
	}
	return expr, true
}

// conjunction is what must hold when the local end is named by one word of direction and the remote end by the
// other.
func (f Filter) conjunction(local, remote string) string {
	proto := ""
	if f.protocol != anyProtocol {
		proto = strings.ToLower(f.protocol.String()) + " "
	}
	var terms []string
	for _, e := range []struct {
		end
		direction string
	}{{f.local, local}, {f.remote, remote}} {
		if e.addrs != nil {
			terms = append(terms, anyOf(addrTerms(e.addrs, e.direction)))
		}
		if e.ports != nil {
			terms = append(terms, anyOf(portTerms(e.ports, proto+e.direction)))
		}
	}
	return strings.Join(terms, " and ")
}

// byVersion is an expression for the IP versions that f lets through, of one for each.
func (f Filter) byVersion(v4, v6 string) string {
	local4, local6 := f.local.families()
	remote4, remote6 := f.remote.families()
	switch has4, has6 := local4 && remote4, local6 && remote6; {
	case has4 && has6:
		return "(" + v4 + " or " + v6 + ")"
	case has6:
		return v6
	default:
		return v4
	}
}

// expressions are the flags in IPv4 and in IPv6, where pcap-filter has no tcp[…]: there they are found by where they are
// in a packet without extension headers.
func (s flagSet) expressions() (v4, v6 string) {
	var four, six []string
	for _, mask := range s {
		const all = "tcp[tcpflags] & %[1]s == %[1]s"
		names := joinedFlags(mask, "|", func(name string) string {
			if name == "psh" {
				name = "push"
			}
			return "tcp-" + name
		})
		if mask&(mask-1) != 0 {
			names = "(" + names + ")"
		}
		four = append(four, fmt.Sprintf(all, names))
		six = append(six, fmt.Sprintf("ip6[%d] & 0x%02x == 0x%02x", minIPv6Header+tcpFlagsAt, mask, mask))
	}
	return anyOf(four), "(ip6 and ip6[6] == 6 and " + anyOf(six) + ")"
}

func anyOf(terms []string) string {
	if len(terms) == 1 {
		return terms[0]
	}
	return "(" + strings.Join(terms, " or ") + ")"
}

func addrTerms(set addrSet, direction string) []string {
	var terms []string
	for _, r := range set {
		for _, p := range prefixes(r) {
			family := "ip "
			if p.Addr().Is6() {
				family = "ip6 "
			}
			if p.IsSingleIP() {
				terms = append(terms, family+direction+"host "+p.Addr().String())
			} else {
				terms = append(terms, family+direction+"net "+p.String())
			}
		}
	}
	return terms
}

func portTerms(set portSet, qualifiers string) []string {
	terms := make([]string, 0, len(set))
	for _, r := range set {
		if r.lo == r.hi {
			terms = append(terms, fmt.Sprintf("%sport %d", qualifiers, r.lo))
		} else {
			terms = append(terms, fmt.Sprintf("%sportrange %d-%d", qualifiers, r.lo, r.hi))
		}
	}
	return terms
}

// prefixes is a range of addresses as the fewest subnets, in order.
func prefixes(r span[netip.Addr]) []netip.Prefix {
	var out []netip.Prefix
	for low := r.lo; ; {
		// The largest subnet that starts here and does not pass the end.
		bits := low.BitLen()
		last := low
		for bits > 0 {
			p := netip.PrefixFrom(low, bits-1)
			first, end := prefixRange(p)
			if first != low || end.Compare(r.hi) > 0 {
				break
			}
			bits, last = bits-1, end
		}
		out = append(out, netip.PrefixFrom(low, bits))
		if last == r.hi {
			return out
		}
		low = last.Next()
	}
}
