package filter

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
)

var portNotation = notation[port]{
	parse:      parsePort,
	sameKind:   func(port, port) string { return "" },
	isName:     func(string) bool { return false },
	isRange:    func(string) bool { return false },
	parseRange: func(string) (s span[port], reason string, ok bool) { return s, "", false },
	allowed:    `0 to 65535, as one port "80", a range "80-85" or a list "80;443"`,
}

func parsePort(text string) (port, string) {
	if strings.Trim(text, "0123456789") == "" {
		if n, err := strconv.ParseUint(text, 10, 16); err == nil {
			return port(n), ""
		}
		return 0, fmt.Sprintf("%s is larger than any port", quote(text))
	}
	if meansEverything(text) {
		return 0, fmt.Sprintf("%s is not a port; leave the member out to allow every port", quote(text))
	}
	return 0, fmt.Sprintf("%s is not a number", quote(text))
}

var addressNotation = notation[netip.Addr]{
	parse: parseAddress,
	sameKind: func(low, high netip.Addr) string {
		if low.Is4() != high.Is4() {
			return fmt.Sprintf("the range \"%s-%s\" mixes IPv4 and IPv6", low, high)
		}
		return ""
	},
	isName:     isHostName,
	isRange:    hasWildcard,
	parseRange: parseSubnet,
	allowed:    `IPv4 or IPv6 as one address "10.0.0.4", a range "10.0.0.4-10.0.0.9" or "10.0.0.0/24", or a list "10.0.0.4;10.0.0.9"`,
}

// parseAddress reads one address. An IPv4-mapped IPv6 address (::ffff:10.0.0.4) is taken as the IPv4 address in
// it: it is how a program with a dual-stack socket shows a peer whose packets are IPv4 on the wire.
func parseAddress(text string) (netip.Addr, string) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		return a.Unmap(), ""
	}
	return netip.Addr{}, addressFault(text)
}

// addressFault says why text is not an address, and where the meaning can be guessed, what to write.
func addressFault(text string) string {
	q := quote(text)
	switch {
	case meansEverything(text):
		return q + " is not an address; leave the member out to allow every address"
	case strings.Contains(text, "/"):
		return prefixFault(text)
	case strings.Contains(text, "%"):
		return q + " has a zone; write the address without it"
	case strings.Contains(text, "*"):
		return q + " has a wildcard; write a range, such as \"10.0.0.0-10.0.0.255\""
	}
	if _, err := netip.ParseAddrPort(text); err == nil {
		return q + " has a port in it; ports have members of their own"
	}
	switch {
	case strings.HasPrefix(text, "["):
		return q + " has brackets; write the address without them"
	case strings.Contains(text, ":"):
		return q + " is not an IPv6 address"
	case strings.Trim(text, "0123456789.") == "":
		return octetFault(text)
	}
	return q + " is not an address; host names are not looked up"
}

// prefixFault is for what has a slash and is not a subnet.
func prefixFault(text string) string {
	if p, err := netip.ParsePrefix(text); err == nil {
		return fmt.Sprintf("%s is a subnet, which is a range by itself", quote(p.String()))
	}
	addr, bits, _ := strings.Cut(text, "/")
	if a, err := netip.ParseAddr(addr); err == nil && a.Zone() == "" {
		if mask, err := netip.ParseAddr(bits); err == nil && mask.Is4() && a.Unmap().Is4() {
			if n, ok := maskBits(mask); ok {
				return fmt.Sprintf("%s has a mask; write \"%s\"", quote(text), netip.PrefixFrom(a.Unmap(), n).Masked())
			}
		}
		return fmt.Sprintf("%s is not a subnet: behind the slash stands a number of bits, 0 to %d", quote(text), a.BitLen())
	}
	return quote(text) + " is not an address, nor a subnet such as \"10.0.0.0/8\""
}

// maskBits is how many bits a mask such as 255.255.255.0 has; ok is false for what is not a mask.
func maskBits(mask netip.Addr) (n int, ok bool) {
	b := mask.As4()
	word := binary.BigEndian.Uint32(b[:])
	n = bits.LeadingZeros32(^word)
	return n, word<<n == 0
}

// parseSubnet reads CIDR notation, which the API does not have, as the range that it stands for. What is set behind the
// prefix is refused, as tcpdump does: either the address was meant or the subnet.
func parseSubnet(text string) (s span[netip.Addr], reason string, ok bool) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return s, "", false
	}
	if a := p.Addr(); a.Is4In6() {
		if p.Bits() < 96 {
			return s, quote(text) + " is a subnet of IPv6 addresses that stand for IPv4 ones; write it as one of IPv4", true
		}
		p = netip.PrefixFrom(a.Unmap(), p.Bits()-96)
	}
	if p != p.Masked() {
		return s, fmt.Sprintf("%s has bits set behind the subnet's %d; write the subnet \"%s\" or the address \"%s\"", quote(text), p.Bits(), p.Masked(), p.Addr()), true
	}
	s.lo, s.hi = prefixRange(p)
	return s, "", true
}

// hasWildcard reports whether a text that is not an address was meant for a range.
func hasWildcard(text string) bool { return strings.Contains(text, "*") && !meansEverything(text) }

// prefixRange is the first and the last address of a subnet.
func prefixRange(p netip.Prefix) (first, last netip.Addr) {
	first = p.Masked().Addr()
	bytes := first.AsSlice()
	for bit := p.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	last, _ = netip.AddrFromSlice(bytes)
	return first, last
}

// octetFault is for a text of digits and dots that is not an IPv4 address.
func octetFault(text string) string {
	q := quote(text)
	octets := strings.Split(text, ".")
	if len(octets) != 4 {
		return fmt.Sprintf("%s is not an IPv4 address: it has %d of the 4 numbers", q, len(octets))
	}
	for _, o := range octets {
		switch n, err := strconv.ParseUint(o, 10, 8); {
		case o == "":
			return q + " is not an IPv4 address: a number is missing"
		case err != nil:
			return fmt.Sprintf("%s is not an IPv4 address: %s is more than 255", q, quote(o))
		case len(o) > 1 && o[0] == '0':
			// Some programs read 010 as 8, some as 10.
			return fmt.Sprintf("%s is not an IPv4 address: write %d in place of %s, leading zeros are read as octal by some programs", q, n, quote(o))
		}
	}
	return q + " is not an IPv4 address"
}

// isHostName reports whether a text with a hyphen looks like a host name rather than a range of addresses: it
// has letters that no address has, and neither end is an address.
func isHostName(text string) bool {
	for end := range strings.SplitSeq(text, "-") {
		if _, err := netip.ParseAddr(strings.TrimSpace(end)); err == nil {
			return false
		}
	}
	return strings.ContainsFunc(text, func(r rune) bool { return r >= 'g' && r <= 'z' || r >= 'G' && r <= 'Z' })
}

// meansEverything reports whether a text is one of the usual ways of saying "no matter which".
func meansEverything(text string) bool {
	return text == "*" || strings.EqualFold(text, "any") || strings.EqualFold(text, "all")
}

// parseProtocol reads the protocol member.
func parseProtocol(faults *[]Fault, given *string) protocol {
	if given == nil {
		return anyProtocol
	}
	text := strings.TrimSpace(*given)
	if text == "" {
		return anyProtocol
	}
	known := []protocol{tcp, udp, icmp, anyProtocol}
	for _, p := range known {
		if strings.EqualFold(text, p.String()) {
			return p
		}
	}
	*faults = append(*faults, Fault{
		Field: "protocol",
		Reason: fmt.Sprintf("%s is not a protocol a filter can name; allowed: TCP, UDP, ICMP, Any%s",
			quote(text), protocolHint(strings.ToLower(text), known)),
	})
	return anyProtocol
}

// protocolHint is what to add for a protocol that is not one of the known: what Any does, or the nearest name.
func protocolHint(text string, known []protocol) string {
	switch text {
	case "icmp4", "icmpv4", "icmp6", "icmpv6", "icmp-v6":
		return "; \"ICMP\" is that of IPv4 and of IPv6"
	case "sctp", "dccp", "udplite", "udp-lite":
		return "; Any records it as well, with ports or without"
	case "igmp", "gre", "esp", "ah", "ospf", "vrrp", "arp":
		return "; to record it, leave the filters out, or use Any without ports for what runs over IP"
	case "*", "all", "ip", "ipv4", "ipv6", "both", "tcp/udp", "tcp,udp", "tcp;udp":
		return "; did you mean \"Any\"?"
	case "1", "58":
		return "; did you mean \"ICMP\"?"
	case "6":
		return "; did you mean \"TCP\"?"
	case "17":
		return "; did you mean \"UDP\"?"
	}
	best, name := 3, ""
	for _, p := range known {
		if d := editDistance(text, strings.ToLower(p.String())); d < best {
			best, name = d, p.String()
		}
	}
	if name == "" {
		return ""
	}
	return fmt.Sprintf("; did you mean %q?", name)
}

// editDistance is how many letters must be put in, taken out, exchanged or swapped with their neighbour to
// make b of a. It is for short words: of a long one it says only that it is far away.
func editDistance(a, b string) int {
	const far = 8
	switch {
	case len(a) > far || len(b) > far:
		return far
	case a == "" || b == "":
		return len(a) + len(b)
	case a[0] == b[0]:
		return editDistance(a[1:], b[1:])
	}
	best := min(editDistance(a[1:], b), editDistance(a, b[1:]), editDistance(a[1:], b[1:]))
	if len(a) > 1 && len(b) > 1 && a[0] == b[1] && a[1] == b[0] {
		best = min(best, editDistance(a[2:], b[2:]))
	}
	return 1 + best
}
