package filter

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPcapExpression(t *testing.T) {
	tests := []struct {
		pairs []string
		want  string
		none  bool
	}{
		{pairs: nil, want: ""},
		{pairs: []string{"protocol=TCP"}, want: "tcp"},
		{pairs: []string{"localPort=80"}, want: "((outbound and src port 80) or (inbound and dst port 80))"},
		{pairs: []string{"protocol=UDP", "remotePort=53;5353"},
			want: "((outbound and (udp dst port 53 or udp dst port 5353)) or (inbound and (udp src port 53 or udp src port 5353)))"},
		{pairs: []string{"localIPAddress=10.0.0.1"}, want: "ip host 10.0.0.1"},
		{pairs: []string{"protocol=TCP", "localIPAddress=10.0.0.0-10.0.0.255"}, want: "tcp and ip net 10.0.0.0/24"},
		{pairs: []string{"localIPAddress=10.0.0.1;2001:db8::1"}, want: "(ip host 10.0.0.1 or ip6 host 2001:db8::1)"},
		{pairs: []string{"protocol=UDP", "localIPAddress=10.0.0.1", "remoteIPAddress=10.0.0.5-10.0.0.8"},
			want: "udp and ((ip src host 10.0.0.1 and (ip dst host 10.0.0.5 or ip dst net 10.0.0.6/31 or ip dst host 10.0.0.8))" +
				" or (ip dst host 10.0.0.1 and (ip src host 10.0.0.5 or ip src net 10.0.0.6/31 or ip src host 10.0.0.8)))"},
		{pairs: []string{"protocol=TCP", "localIPAddress=10.0.0.1", "localPort=80-85"},
			want: "((ip src host 10.0.0.1 and tcp src portrange 80-85) or (ip dst host 10.0.0.1 and tcp dst portrange 80-85))"},
		{pairs: []string{"localIPAddress=10.0.0.1", "remoteIPAddress=::1"}, none: true},
		{pairs: []string{"protocol=ICMP"}, want: "(icmp or icmp6)"},
		{pairs: []string{"protocol=ICMP", "localIPAddress=10.0.0.1"}, want: "icmp and ip host 10.0.0.1"},
		{pairs: []string{"protocol=ICMP", "remoteIPAddress=2001:db8::/32"},
			want: "icmp6 and ((outbound and ip6 dst net 2001:db8::/32) or (inbound and ip6 src net 2001:db8::/32))"},
		{pairs: []string{"protocol=ICMP", "localPort=80"}, none: true},
		{pairs: []string{"tcpFlags=syn"},
			want: "(tcp[tcpflags] & tcp-syn == tcp-syn or (ip6 and ip6[6] == 6 and ip6[53] & 0x02 == 0x02))"},
		{pairs: []string{"tcpFlags=psh+ack;rst", "localIPAddress=10.0.0.1"},
			want: "ip host 10.0.0.1 and (tcp[tcpflags] & tcp-rst == tcp-rst or tcp[tcpflags] & (tcp-push|tcp-ack) == (tcp-push|tcp-ack))"},
		{pairs: []string{"protocol=UDP", "tcpFlags=syn"}, none: true},
		{pairs: []string{"remoteIPAddress=::1-ffff::"}, none: true}, // more subnets than anybody reads
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.pairs, " "), func(t *testing.T) {
			got, ok := parsed(t, tt.pairs...).PcapExpression()
			if got != tt.want || ok == tt.none {
				t.Errorf("got %q, %v\nwant %q", got, ok, tt.want)
			}
		})
	}
}

func TestWarnings(t *testing.T) {
	machine := []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("fe80::1%eth0"), netip.MustParseAddr("2001:db8::1")}
	tests := []struct {
		name     string
		filters  [][]string
		excludes [][]string
		want     []string
	}{
		{name: "nothing to say", filters: [][]string{
			{"localIPAddress=10.0.0.1"}, {"localIPAddress=fe80::1"}, {"localIPAddress=127.0.0.9"}, {"localIPAddress=255.255.255.255"},
			{"localIPAddress=224.0.0.251"}, {"localPort=80"}, {"remotePort=80"}, {"localIPAddress=2001:db8::-2001:db8::ffff"}}},
		{name: "contradictory families", filters: [][]string{{"localIPAddress=10.0.0.1", "remoteIPAddress=::1"}, {"localIPAddress=::1", "remoteIPAddress=10.0.0.1"}},
			want: []string{
				"filter 1 (local 10.0.0.1, remote ::1) can never match: its local addresses are IPv4, its remote ones IPv6",
				"filter 2 (local ::1, remote 10.0.0.1) can never match: its local addresses are IPv6, its remote ones IPv4"}},
		{name: "one entry of another family", filters: [][]string{{"localIPAddress=10.0.0.1", "remoteIPAddress=10.0.0.9;2001:db8::9"}},
			want: []string{"filter 1 (local 10.0.0.1, remote 10.0.0.9 or 2001:db8::9) can never match by its IPv6 remote addresses: the local ones are all IPv4"}},
		{name: "not this machine", filters: [][]string{{"localIPAddress=10.0.0.2"}, {"protocol=TCP", "localIPAddress=10.0.0.1;10.0.0.9"}},
			want: []string{
				"filter 1 (local 10.0.0.2) names no local address that this machine has: only packets that pass through it can match",
				"filter 2 (TCP, local 10.0.0.1 or 10.0.0.9) names local addresses that this machine does not have (10.0.0.9): by these, only packets that pass through it can match"}},
		{name: "covered", filters: [][]string{{"localPort=80-90"}, {"protocol=TCP", "localPort=85", "remoteIPAddress=10.9.9.9"}},
			want: []string{"filter 2 (TCP, local port 85, remote 10.9.9.9) changes nothing: filter 1 (local port 80-90) covers it"}},
		{name: "covered by a later one", filters: [][]string{{"protocol=TCP", "localPort=85"}, {"protocol=TCP"}},
			want: []string{"filter 1 (TCP, local port 85) changes nothing: filter 2 (TCP) covers it"}},
		{name: "repeated", filters: [][]string{{"localPort=80;81"}, {"localPort=80-81"}},
			want: []string{"filter 2 (local port 80-81) repeats filter 1"}},
		{name: "everything", filters: [][]string{nil, {"protocol=TCP"}},
			want: []string{"filter 2 (TCP) changes nothing: filter 1 (every packet) covers it"}},
		{name: "the same ends the other way round", filters: [][]string{
			{"localIPAddress=10.0.0.1", "remoteIPAddress=2001:db8::1;10.0.0.7"}, {"localIPAddress=10.0.0.7", "remoteIPAddress=10.0.0.1"}},
			want: []string{
				"filter 1 (local 10.0.0.1, remote 10.0.0.7 or 2001:db8::1) can never match by its IPv6 remote addresses: the local ones are all IPv4",
				"filter 2 (local 10.0.0.7, remote 10.0.0.1) names no local address that this machine has: only packets that pass through it can match",
				"filter 2 (local 10.0.0.7, remote 10.0.0.1) changes nothing: filter 1 (local 10.0.0.1, remote 10.0.0.7 or 2001:db8::1) covers it"}},
		{name: "covered on this machine", filters: [][]string{{"localPort=80"}, {"localIPAddress=10.0.0.1", "localPort=80"}},
			want: []string{"filter 2 (local 10.0.0.1, local port 80) changes nothing on this machine: filter 1 (local port 80) covers it, as its local addresses are this machine's"}},
		{name: "what has no flags, or no ports", filters: [][]string{{"protocol=UDP", "tcpFlags=syn"}, {"protocol=ICMP", "remotePort=53"}},
			want: []string{
				"filter 1 (UDP, with syn) can never match: UDP has no flags, only TCP has",
				"filter 2 (ICMP, remote port 53) can never match: ICMP has no ports"}},
		{name: "fewer flags cover more", filters: [][]string{{"tcpFlags=syn;rst"}, {"tcpFlags=syn+ack", "remotePort=443"}, {"tcpFlags=ack"}},
			want: []string{"filter 2 (TCP, remote port 443, with syn+ack) changes nothing: filter 1 (TCP, with syn or rst) covers it"}},
		{name: "excluded", filters: [][]string{{"protocol=UDP", "remotePort=53"}, {"protocol=ICMP"}},
			excludes: [][]string{{"remotePort=53", "remoteIPAddress=10.0.0.9"}, {"tcpFlags=syn", "remotePort=53"}, {"protocol=ICMP"}},
			want: []string{
				"exclude 2 (TCP, remote port 53, with syn) changes nothing: no filter matches what it leaves out",
				"filter 2 (ICMP) records next to nothing: exclude 3 (ICMP) leaves its packets out"}},
		{name: "everything excluded", excludes: [][]string{nil, {"protocol=ICMP", "remotePort=53"}},
			want: []string{"exclude 1 (every packet) leaves out everything: nothing is recorded", "exclude 2 (ICMP, remote port 53) can never match: ICMP has no ports"}},
		{name: "a protocol covers ports, ports do not cover a protocol", filters: [][]string{{"localPort=0-65535"}, {"protocol=UDP"}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var filters []Filter
			for _, pairs := range tt.filters {
				filters = append(filters, parsed(t, pairs...))
			}
			var excludes []Filter
			for _, pairs := range tt.excludes {
				excludes = append(excludes, parsed(t, pairs...))
			}
			if diff := cmp.Diff(tt.want, NewSet(filters...).Without(excludes...).Warnings(machine, 0)); diff != "" {
				t.Errorf("warnings (-want +got):\n%s", diff)
			}
		})
	}
}

// A warning that a filter is covered is true: without the filter, the set matches the same packets.
func TestCoveredIsCovered(t *testing.T) {
	r := newRandom(t)
	covered, matches := 0, 0
	for range propertyCases(t, 30_000) {
		f, g := r.filter(t), r.filter(t)
		if !g.covers(&f) {
			continue
		}
		covered++
		for range 20 {
			p := r.packet()
			if NewSet(f).Match(&p) {
				matches++
				if !NewSet(g).Match(&p) {
					t.Fatalf("%v does not cover %v: packet %+v", g, f, p)
				}
			}
		}
	}
	if covered < 100 || matches < 100 {
		t.Errorf("%d covered, %d matches: the random cases do not test much", covered, matches)
	}
}
