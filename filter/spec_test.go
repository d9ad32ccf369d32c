package filter

import (
	"encoding/json"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// spec builds a Spec from "member=value" pairs.
func spec(t testing.TB, pairs ...string) Spec {
	t.Helper()
	var s Spec
	for _, pair := range pairs {
		name, value, found := strings.Cut(pair, "=")
		if !found {
			t.Fatalf("%q is not member=value", pair)
		}
		switch name {
		case "protocol":
			s.Protocol = &value
		case "localIPAddress":
			s.LocalIPAddress = &value
		case "localPort":
			s.LocalPort = &value
		case "remoteIPAddress":
			s.RemoteIPAddress = &value
		case "remotePort":
			s.RemotePort = &value
		case "tcpFlags":
			s.TCPFlags = &value
		default:
			t.Fatalf("no member %q", name)
		}
	}
	return s
}

// parsed is the filter that the pairs describe.
func parsed(t testing.TB, pairs ...string) Filter {
	t.Helper()
	f, faults := Parse(spec(t, pairs...))
	if len(faults) > 0 {
		t.Fatalf("Parse(%q): %v", pairs, faults)
	}
	return f
}

func TestParse(t *testing.T) {
	tests := []struct {
		name      string
		pairs     []string
		words     string
		canonical []string
	}{
		{"nothing", nil, "every packet", []string{"protocol=Any"}},
		{"empty members", []string{"protocol=", "localIPAddress=", "localPort= ", "remoteIPAddress=\t", "remotePort="},
			"every packet", []string{"protocol=Any"}},
		{"the protocol in any letter case", []string{"protocol= tCp "}, "TCP", []string{"protocol=TCP"}},
		{"ICMP", []string{"protocol=icmp", "remoteIPAddress=10.0.0.5"}, "ICMP, remote 10.0.0.5", []string{"protocol=ICMP", "remoteIPAddress=10.0.0.5"}},
		{"a subnet", []string{"remoteIPAddress=10.0.0.0/8"}, "remote 10.0.0.0-10.255.255.255", []string{"protocol=Any", "remoteIPAddress=10.0.0.0-10.255.255.255"}},
		{"a subnet of IPv6", []string{"localIPAddress= 2001:db8::/33 "}, "local 2001:db8::-2001:db8:7fff:ffff:ffff:ffff:ffff:ffff",
			[]string{"protocol=Any", "localIPAddress=2001:db8::-2001:db8:7fff:ffff:ffff:ffff:ffff:ffff"}},
		{"a mapped subnet", []string{"localIPAddress=::ffff:10.0.0.0/104"}, "local 10.0.0.0-10.255.255.255", []string{"protocol=Any", "localIPAddress=10.0.0.0-10.255.255.255"}},
		{"subnets of one address are in lists", []string{"localIPAddress=10.0.0.1/32;10.0.0.9"}, "local 10.0.0.1 or 10.0.0.9", []string{"protocol=Any", "localIPAddress=10.0.0.1;10.0.0.9"}},
		{"every subnet", []string{"localIPAddress=0.0.0.0/0"}, "local 0.0.0.0-255.255.255.255", []string{"protocol=Any", "localIPAddress=0.0.0.0-255.255.255.255"}},
		{"flags", []string{"tcpFlags=SYN + ack"}, "TCP, with syn+ack", []string{"protocol=TCP", "tcpFlags=syn+ack"}},
		{"a list of flags", []string{"protocol=tcp", "tcpFlags=rst;syn+ack;ack+rst;", "remotePort=443"}, "TCP, remote port 443, with rst or syn+ack",
			[]string{"protocol=TCP", "remotePort=443", "tcpFlags=rst;syn+ack"}},
		{"flags of another protocol", []string{"protocol=UDP", "tcpFlags=syn"}, "UDP, with syn", []string{"protocol=UDP", "tcpFlags=syn"}},
		{"the protocol Any", []string{"protocol=ANY"}, "every packet", []string{"protocol=Any"}},
		{"a bit of each", []string{"protocol=udp", "localPort=80-85", "remoteIPAddress=10.0.0.5"},
			"UDP, local port 80-85, remote 10.0.0.5",
			[]string{"protocol=UDP", "localPort=80-85", "remoteIPAddress=10.0.0.5"}},
		{"a list with its trailing semicolon", []string{"localIPAddress=127.0.0.1;127.0.0.5;"},
			"local 127.0.0.1 or 127.0.0.5", []string{"protocol=Any", "localIPAddress=127.0.0.1;127.0.0.5"}},
		{"white space around entries", []string{"remotePort= 443 ; 80 ; "},
			"remote port 80 or 443", []string{"protocol=Any", "remotePort=80;443"}},
		{"white space in a range", []string{"remotePort= 80 - 85 "},
			"remote port 80-85", []string{"protocol=Any", "remotePort=80-85"}},
		{"a range with a trailing semicolon", []string{"remotePort=80-85;"},
			"remote port 80-85", []string{"protocol=Any", "remotePort=80-85"}},
		{"a range of one", []string{"remotePort=80-80"},
			"remote port 80", []string{"protocol=Any", "remotePort=80"}},
		{"every port is not the same as no port", []string{"remotePort=0-65535"},
			"remote port 0-65535", []string{"protocol=Any", "remotePort=0-65535"}},
		{"a list that is a range", []string{"remotePort=82;81;80;81"},
			"remote port 80-82", []string{"protocol=Any", "remotePort=80-82"}},
		{"a long list", []string{"remotePort=1;3;5;7;9;11;13"},
			"remote port 1 or 3 or 5 or 7 or 3 more", []string{"protocol=Any", "remotePort=1;3;5;7;9;11;13"}},
		{"port 0", []string{"localPort=0"}, "local port 0", []string{"protocol=Any", "localPort=0"}},
		{"IPv4 and IPv6 in one list", []string{"remoteIPAddress=2001:db8::1;10.0.0.1;2001:0DB8::2"},
			"remote 10.0.0.1 or 2001:db8::1 or 2001:db8::2",
			[]string{"protocol=Any", "remoteIPAddress=10.0.0.1;2001:db8::1;2001:db8::2"}},
		{"a range of IPv6", []string{"remoteIPAddress=fe80::1-fe80::ff"},
			"remote fe80::1-fe80::ff", []string{"protocol=Any", "remoteIPAddress=fe80::1-fe80::ff"}},
		{"IPv4-mapped is IPv4", []string{"remoteIPAddress=::ffff:10.0.0.1-10.0.0.9"},
			"remote 10.0.0.1-10.0.0.9", []string{"protocol=Any", "remoteIPAddress=10.0.0.1-10.0.0.9"}},
		{"the ends of the address spaces", []string{"remoteIPAddress=255.255.255.255;::;0.0.0.0;ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
			"remote 0.0.0.0 or 255.255.255.255 or :: or ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
			[]string{"protocol=Any", "remoteIPAddress=0.0.0.0;255.255.255.255;::;ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := parsed(t, tt.pairs...)
			if got := f.String(); got != tt.words {
				t.Errorf("String: got %q, want %q", got, tt.words)
			}
			if diff := cmp.Diff(spec(t, tt.canonical...), f.Spec()); diff != "" {
				t.Errorf("Spec (-want +got):\n%s", diff)
			}
			again, faults := Parse(f.Spec())
			if len(faults) > 0 || !again.Equal(f) {
				t.Errorf("Parse(Spec()) = %v, %v, want %v", again, faults, f)
			}
		})
	}
}

func TestParseFaults(t *testing.T) {
	const (
		ports     = `; allowed: 0 to 65535, as one port "80", a range "80-85" or a list "80;443"`
		addresses = `; allowed: IPv4 or IPv6 as one address "10.0.0.4", a range "10.0.0.4-10.0.0.9" or "10.0.0.0/24", or a list "10.0.0.4;10.0.0.9"`
		protocols = ` is not a protocol a filter can name; allowed: TCP, UDP, ICMP, Any`
		flags     = `; allowed: ` + flagsAllowed
	)
	tests := []struct {
		pair string
		want []string
	}{
		{"localPort=65536", []string{`"65536" is larger than any port` + ports}},
		{"localPort=99999999999999999999", []string{`"99999999999999999999" is larger than any port` + ports}},
		{"localPort=http", []string{`"http" is not a number` + ports}},
		{"localPort=+80", []string{`"+80" is not a number` + ports}},
		{"localPort=80,443", []string{`"80,443" is not a valid list or range: lists have ; between their entries, write "80;443"` + ports}},
		{"localPort=80, 443,", []string{`"80, 443," is not a valid list or range: lists have ; between their entries, write "80; 443;"` + ports}},
		{"localPort=80;443,8080", []string{`"80;443,8080" is not a valid list or range: lists have ; between their entries, write "80;443;8080"` + ports}},
		{"localPort=80 443", []string{`"80 443" is not a valid list or range: lists have ; between their entries, write "80;443"` + ports}},
		{"localPort=80|443", []string{`"80|443" is not a valid list or range: lists have ; between their entries, write "80;443"` + ports}},
		{"localPort=80:85", []string{`"80:85" is not a valid list or range: ranges have - between their ends, write "80-85"` + ports}},
		{"localPort=80..85", []string{`"80..85" is not a valid list or range: ranges have - between their ends, write "80-85"` + ports}},
		{"localPort=80\u201385", []string{"\"80\u201385\"" + ` is not a valid list or range: ranges have - between their ends, write "80-85"` + ports}},
		// What would be refused again is not proposed.
		{"localPort=80-85,443", []string{`"80-85,443" has commas: lists have ; between their entries`,
			"a range and other entries in one list are not supported; give the range a filter of its own, a packet need match only one of them"}},
		{"localPort=80,99999", []string{`"80,99999" has commas: lists have ; between their entries`, `"99999" is larger than any port` + ports}},
		{"localIPAddress=10.0.0.0/24;10.0.2.0/24", []string{
			"2 ranges in one filter are not supported; give each range a filter of its own, a packet need match only one of them"}},
		{"localIPAddress=10.0.0.0/24;10.0.2.9", []string{
			"a range and other entries in one list are not supported; give the range a filter of its own, a packet need match only one of them"}},
		{"localIPAddress=10.0.0.*,10.0.2.9", []string{`"10.0.0.*,10.0.2.9" has commas: lists have ; between their entries`,
			`"10.0.0.*" has a wildcard; write a range, such as "10.0.0.0-10.0.0.255"` + addresses,
			"a range and other entries in one list are not supported; give the range a filter of its own, a packet need match only one of them"}},
		{"localPort=*", []string{`"*" is not a port; leave the member out to allow every port` + ports}},
		{"localPort=-80", []string{`the range "-80" has no lower end` + ports}},
		{"localPort=80-", []string{`the range "80-" has no upper end` + ports}},
		{"localPort=-", []string{`the range "-" has no ends` + ports}},
		{"localPort=85-80", []string{`the range "85-80" runs backwards; write "80-85"` + ports}},
		{"localPort=1-2-3", []string{`"1-2-3" has more than one hyphen, a range has one` + ports}},
		{"localPort=a-b", []string{`both ends of the range are wrong: "a" is not a number; "b" is not a number` + ports}},
		{"localPort=;", []string{`entry 1 of the list is empty` + ports}},
		{"localPort=80;;443", []string{`entry 2 of the list is empty` + ports}},
		{"localPort=;80;x", []string{`entry 1 of the list is empty` + ports, `"x" is not a number` + ports}},
		{"localPort=1-2;3-4", []string{"2 ranges in one filter are not supported; give each range a filter of its own, a packet need match only one of them"}},
		{"localPort=80;1-2", []string{"a range and other entries in one list are not supported; give the range a filter of its own, a packet need match only one of them"}},
		{"localIPAddress=1.1.1.1-255.255.255", []string{
			`the upper end of the range is wrong: "255.255.255" is not an IPv4 address: it has 3 of the 4 numbers` + addresses}},
		{"localIPAddress=10.0.0.256", []string{`"10.0.0.256" is not an IPv4 address: "256" is more than 255` + addresses}},
		{"localIPAddress=10.0..1", []string{`"10.0..1" is not an IPv4 address: a number is missing` + addresses}},
		{"localIPAddress=10.0.0.010", []string{
			`"10.0.0.010" is not an IPv4 address: write 10 in place of "010", leading zeros are read as octal by some programs` + addresses}},
		{"localIPAddress=10.0.0.9-10.0.0.1", []string{`the range "10.0.0.9-10.0.0.1" runs backwards; write "10.0.0.1-10.0.0.9"` + addresses}},
		{"localIPAddress=10.0.0.1-::1", []string{`the range "10.0.0.1-::1" mixes IPv4 and IPv6` + addresses}},
		{"localIPAddress=fe80::1%eth0", []string{`"fe80::1%eth0" has a zone; write the address without it` + addresses}},
		{"localIPAddress=10.0.0.77/24", []string{
			`"10.0.0.77/24" has bits set behind the subnet's 24; write the subnet "10.0.0.0/24" or the address "10.0.0.77"` + addresses}},
		{"localIPAddress=2001:db8::1/32", []string{
			`"2001:db8::1/32" has bits set behind the subnet's 32; write the subnet "2001:db8::/32" or the address "2001:db8::1"` + addresses}},
		{"localIPAddress=10.0.0.1/33", []string{`"10.0.0.1/33" is not a subnet: behind the slash stands a number of bits, 0 to 32` + addresses}},
		{"localIPAddress=fd00::/129", []string{`"fd00::/129" is not a subnet: behind the slash stands a number of bits, 0 to 128` + addresses}},
		{"localIPAddress=10.0.0.0/", []string{`"10.0.0.0/" is not a subnet: behind the slash stands a number of bits, 0 to 32` + addresses}},
		{"localIPAddress=10.1.2.0/255.255.255.0", []string{`"10.1.2.0/255.255.255.0" has a mask; write "10.1.2.0/24"` + addresses}},
		{"localIPAddress=10.1.2.0/255.0.255.0", []string{`"10.1.2.0/255.0.255.0" is not a subnet: behind the slash stands a number of bits, 0 to 32` + addresses}},
		{"localIPAddress=10/8", []string{`"10/8" is not an address, nor a subnet such as "10.0.0.0/8"` + addresses}},
		{"localIPAddress=::ffff:10.0.0.0/90", []string{`"::ffff:10.0.0.0/90" is a subnet of IPv6 addresses that stand for IPv4 ones; write it as one of IPv4` + addresses}},
		{"localIPAddress=10.0.0.0/8-11.0.0.0", []string{`the lower end of the range is wrong: "10.0.0.0/8" is a subnet, which is a range by itself` + addresses}},
		{"localIPAddress=db1.example", []string{`"db1.example" is not an address; host names are not looked up` + addresses}},
		{"localIPAddress=my-host", []string{`"my-host" is not an address; host names are not looked up` + addresses}},
		{"localIPAddress=10.0.0.1:80", []string{`"10.0.0.1:80" has a port in it; ports have members of their own` + addresses}},
		{"localIPAddress=[::1]", []string{`"[::1]" has brackets; write the address without them` + addresses}},
		{"localIPAddress=1:2:3", []string{`"1:2:3" is not an IPv6 address` + addresses}},
		{"localIPAddress=10.0.0.*", []string{`"10.0.0.*" has a wildcard; write a range, such as "10.0.0.0-10.0.0.255"` + addresses}},
		{"localIPAddress=Any", []string{`"Any" is not an address; leave the member out to allow every address` + addresses}},
		{"localIPAddress=10.0.0.1,10.0.0.2", []string{`"10.0.0.1,10.0.0.2" is not a valid list or range: lists have ; between their entries, write "10.0.0.1;10.0.0.2"` + addresses}},
		{"protocol=ICMPv6", []string{`"ICMPv6"` + protocols + `; "ICMP" is that of IPv4 and of IPv6`}},
		{"protocol=1", []string{`"1"` + protocols + `; did you mean "ICMP"?`}},
		{"protocol=TPC", []string{`"TPC"` + protocols + `; did you mean "TCP"?`}},
		{"protocol=udpp", []string{`"udpp"` + protocols + `; did you mean "UDP"?`}},
		{"protocol=*", []string{`"*"` + protocols + `; did you mean "Any"?`}},
		{"protocol=17", []string{`"17"` + protocols + `; did you mean "UDP"?`}},
		{"protocol=sctp", []string{`"sctp"` + protocols + `; Any records it as well, with ports or without`}},
		{"tcpFlags=sny", []string{`"sny" is not a flag of TCP` + flags}},
		{"tcpFlags=S", []string{`"S" is not a flag of TCP; did you mean "syn"?` + flags}},
		{"tcpFlags=tcp-push", []string{`"tcp-push" is not a flag of TCP; did you mean "psh"?` + flags}},
		{"tcpFlags=syn,rst", []string{`"syn,rst" is not a flag of TCP; flags are joined by +, and the entries of a list stand between ;` + flags}},
		{"tcpFlags=syn+!ack", []string{`"!ack" is not a flag of TCP; a flag that must not be set is said by --exclude` + flags}},
		{"tcpFlags=syn+;;x", []string{`"syn+" has a + without a flag beside it` + flags, `entry 2 of the list is empty` + flags, `"x" is not a flag of TCP` + flags}},
		{"protocol=something long", []string{`"something long"` + protocols}},
	}
	for _, tt := range tests {
		t.Run(tt.pair, func(t *testing.T) {
			field, _, _ := strings.Cut(tt.pair, "=")
			var want []Fault
			for _, reason := range tt.want {
				want = append(want, Fault{Field: field, Reason: reason})
			}
			_, faults := Parse(spec(t, tt.pair))
			if diff := cmp.Diff(want, faults); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

// All faults of a request are returned at once.
func TestParseTellsEveryFault(t *testing.T) {
	_, faults := Parse(spec(t, "protocol=igmp", "localIPAddress=x", "localPort=y", "remoteIPAddress=1.2.3;zz", "remotePort=65536", "tcpFlags=nak"))
	fields := make([]string, 0, len(faults))
	for _, f := range faults {
		fields = append(fields, f.Field)
	}
	want := []string{"protocol", "localIPAddress", "localPort", "remoteIPAddress", "remoteIPAddress", "remotePort", "tcpFlags"}
	if diff := cmp.Diff(want, fields); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

func TestSetString(t *testing.T) {
	f := func(port string) Filter { return parsed(t, "protocol=TCP", "localPort="+port) }
	tests := []struct {
		set  Set
		want string
	}{
		{Set{}, "every packet"},
		{NewSet(), "every packet"},
		{NewSet(f("1")), "TCP, local port 1"},
		{NewSet(f("1"), f("2")), "TCP, local port 1; or TCP, local port 2"},
		{NewSet(f("1"), f("2"), f("3"), f("4"), f("5"), f("6")),
			"TCP, local port 1; or TCP, local port 2; or TCP, local port 3; or TCP, local port 4; or 2 more filters"},
	}
	for _, tt := range tests {
		if got := tt.set.String(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestPrefixRange(t *testing.T) {
	for text, want := range map[string][2]string{
		"0.0.0.0/0":      {"0.0.0.0", "255.255.255.255"},
		"10.9.8.7/8":     {"10.0.0.0", "10.255.255.255"},
		"10.9.8.7/31":    {"10.9.8.6", "10.9.8.7"},
		"::/0":           {"::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"},
		"2001:db8::/127": {"2001:db8::", "2001:db8::1"},
	} {
		first, last := prefixRange(netip.MustParsePrefix(text))
		if first.String() != want[0] || last.String() != want[1] {
			t.Errorf("%s: got %s-%s, want %s-%s", text, first, last, want[0], want[1])
		}
	}
}

// FuzzParse holds that no notation, however odd, crashes the parser, that what is refused is refused with a
// reason, and that what is accepted comes back from its canonical notation.
func FuzzParse(f *testing.F) {
	for _, seed := range [][3]string{
		{"TCP", "127.0.0.1-127.0.0.255", "80-85"},
		{"any", "127.0.0.1;127.0.0.5;", "80;443;"},
		{"ICMP", "1.1.1.1-255.255.255", "65536"},
		{"", "10.0.0.0/8", "1-2;3"},
		{"tpc", "::ffff:10.0.0.1;fe80::1%eth0", ";;"},
		{" ", "[::1]:80,*", "-"},
	} {
		f.Add(seed[0], seed[1], seed[2], "")
	}
	f.Add("TCP", "10.0.0.0/8", "80", "syn+ack;rst")
	f.Add("", "2001:db8::1/32", "80", "+;")
	f.Fuzz(func(t *testing.T, protocol, addrs, ports, flags string) {
		in := Spec{Protocol: &protocol, LocalIPAddress: &addrs, LocalPort: &ports, RemoteIPAddress: &addrs, RemotePort: &ports, TCPFlags: &flags}
		_ = in.Own()
		got, faults := Parse(in)
		for _, fault := range faults {
			if fault.Field == "" || fault.Reason == "" {
				t.Fatalf("a fault without a field or a reason: %+v", fault)
			}
		}
		if len(faults) > 0 {
			return
		}
		out := got.Spec()
		if _, err := json.Marshal(out); err != nil {
			t.Fatalf("the canonical notation of %v is not JSON: %v", got, err)
		}
		again, faults := Parse(out)
		if len(faults) > 0 {
			t.Fatalf("the canonical notation of %v is refused: %v", got, faults)
		}
		if !again.Equal(got) {
			t.Fatalf("the canonical notation of %v means %v", got, again)
		}
	})
}
