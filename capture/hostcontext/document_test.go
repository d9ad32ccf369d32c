package hostcontext

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestCountersAreRead(t *testing.T) {
	c := counters{}
	c.addPairs("Ip: Forwarding DefaultTTL InReceives\nIp: 1 64 100\nTcp: RtoMin MaxConn RetransSegs\nTcp: 200 -1 7\nTcpExt: SyncookiesSent ListenDrops\nTcpExt: 0 3\nbroken\nTcp: 1 2 3\n")
	c.addList("Ip6InReceives\t5\nUdp6NoPorts 2\nIcmp6OutType133 1\nnonsense\n6 4\n")
	c.addSoftnet("0000000a 00000001 00000002 0 0 0 0 0 0 00000003 00000000 00000000 00000000\n00000010 00000001 00000000 0 0 0 0 0 0 00000000 00000000\nzz\n")
	c.addConntrack("entries  clashres found drop\n00000005  0 00000001 00000002\n00000005  0 00000001 0000000a\n")
	want := counters{
		"Ip.Forwarding": 1, "Ip.DefaultTTL": 64, "Ip.InReceives": 100, "Tcp.RtoMin": 200, "Tcp.RetransSegs": 7, "TcpExt.SyncookiesSent": 0, "TcpExt.ListenDrops": 3,
		"Ip6.InReceives": 5, "Udp6.NoPorts": 2, "Icmp6.OutType133": 1,
		"softnet.processed": 26, "softnet.dropped": 2, "softnet.time_squeeze": 2, "softnet.received_rps": 3, "softnet.flow_limit_count": 0,
		"conntrack.entries": 5, "conntrack.clashres": 0, "conntrack.found": 2, "conntrack.drop": 12,
	}
	if d := cmp.Diff(want, c); d != "" {
		t.Error(d)
	}
	got := moved(
		counters{"Tcp.RetransSegs": 5, "Tcp.CurrEstab": 9, "same": 4, "interface.eth0.rx_missed_errors": 900},
		counters{"Tcp.RetransSegs": 24, "Tcp.CurrEstab": 1, "same": 4, "interface.eth0.rx_missed_errors": 3, "TcpExt.ListenDrops": 2},
	)
	if d := cmp.Diff([]Moved{
		{"Tcp.RetransSegs", 5, 24, 19}, {"TcpExt.ListenDrops", 0, 2, 2}, {"interface.eth0.rx_missed_errors", 900, 3, 3},
	}, got); d != "" {
		t.Error(d)
	}
	for i := range 2 * maxCounters {
		c.add(fmt.Sprint("interface.", i), 1)
	}
	if c.add(strings.Repeat("x", maxName+1), 1); len(c) > maxCounters {
		t.Errorf("%d counters are kept", len(c))
	}
}

var (
	noon  = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	after = noon.Add
	at    = netip.MustParseAddrPort
)

func document() *Document {
	return &Document{
		SchemaVersion: SchemaVersion, Complete: true, Host: "vm", Session: "web", Capture: "web.pcapng", Started: noon, Ended: after(time.Minute), Problems: []string{},
		Counters: []Moved{{"Tcp.RetransSegs", 5, 24, 19}},
		Sockets: []Socket{
			{Protocol: "TCP", Local: at("10.0.0.4:40000"), Remote: at("10.0.0.9:443"), State: "ESTABLISHED", Program: "curl", PID: 12, User: "ada", First: noon, Last: after(5 * time.Second)},
			{Protocol: "TCP", Local: at("10.0.0.4:40000"), Remote: at("10.0.0.9:443"), Program: "wget", PID: 13, First: after(20 * time.Second), Last: after(25 * time.Second)},
			{Protocol: "TCP", Local: at("0.0.0.0:22"), State: "LISTEN", Program: "sshd", First: noon, Last: after(time.Minute)},
			{Protocol: "UDP", Local: at("[::]:53"), Program: "dnsmasq", Container: "dns (docker, 0123456789ab)", First: noon, Last: after(time.Minute)},
			{Protocol: "TCP", Local: at("10.0.0.4:40001"), Remote: at("10.0.0.9:443"), First: noon, Last: noon},
		},
		Start: &Machine{Time: noon, Interfaces: []Interface{{Name: "eth0", Addresses: []string{"10.0.0.4/24"}}}, Counters: map[string]uint64{"Tcp.RetransSegs": 5}},
	}
}

func TestDocumentComesBack(t *testing.T) {
	d := document()
	text, err := encode(d)
	if err != nil {
		t.Fatal(err)
	}
	if !json.Valid(text) || strings.Count(string(text), "\n    {\"protocol\"") != len(d.Sockets) {
		t.Errorf("not JSON, or not one socket a line:\n%s", text)
	}
	got, err := Read(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(d, got, cmp.FilterPath(func(p cmp.Path) bool { return p.Last().String() == ".own" }, cmp.Ignore()), cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b })); d != "" {
		t.Error(d)
	}
	empty, err := encode(&Document{SchemaVersion: SchemaVersion, Counters: []Moved{}, Sockets: []Socket{}})
	if err != nil || !json.Valid(empty) || !strings.Contains(string(empty), `"sockets": []`) {
		t.Errorf("%v:\n%s", err, empty)
	}
}

func TestOwners(t *testing.T) {
	o := document().Owners()
	for _, test := range []struct {
		protocol, local, remote string
		from, until             int // seconds
		want                    string
		listens                 bool
	}{
		{"TCP", "10.0.0.4:40000", "10.0.0.9:443", 1, 4, "curl", false},
		{"TCP", "10.0.0.4:40000", "10.0.0.9:443", 6, 6, "curl", false}, // it may have lived on for a moment
		{"TCP", "10.0.0.4:40000", "10.0.0.9:443", 21, 22, "wget", false},
		{"TCP", "10.0.0.4:40000", "10.0.0.9:443", 2, 22, "curl wget", false},
		{"TCP", "10.0.0.4:40000", "10.0.0.9:443", 10, 15, "", false}, // somebody between the two
		{"TCP", "10.0.0.9:443", "10.0.0.4:40000", 1, 4, "", false},   // the other end is not here
		{"UDP", "10.0.0.4:40000", "10.0.0.9:443", 1, 4, "", false},
		{"TCP", "10.0.0.4:22", "10.0.0.7:5000", 1, 4, "sshd", true},
		{"TCP", "10.0.0.9:22", "10.0.0.4:5000", 1, 4, "", false}, // of the other machine
		{"UDP", "10.0.0.4:53", "10.0.0.7:5000", 1, 4, "dnsmasq", true},
		{"UDP", "127.0.0.1:53", "127.0.0.1:5000", 1, 4, "dnsmasq", true},
		{"TCP", "10.0.0.4:40001", "10.0.0.9:443", 0, 0, "", false}, // seen, and not named
	} {
		list, listens := o.Of(test.protocol, at(test.local), at(test.remote), after(time.Duration(test.from)*time.Second), after(time.Duration(test.until)*time.Second))
		var names []string
		for _, s := range list {
			names = append(names, s.Program)
		}
		if got := strings.Join(names, " "); got != test.want || listens != test.listens {
			t.Errorf("%s %s > %s, %d to %d: %q, listens %v", test.protocol, test.local, test.remote, test.from, test.until, got, listens)
		}
	}
	if got, want := document().Sockets[0].Name(), "curl, process 12, user ada"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestOtherFilesAreRefused(t *testing.T) {
	for _, text := range []string{"", "{", "[]", "null", `{}`, `{"schemaVersion":2}`, `{"schemaVersion":1,"sockets":[{"local":"nonsense"}]}`, "\xd4\xc3\xb2\xa1", `{"schemaVersion":1,"started":"yesterday"}`} {
		if d, err := Read(strings.NewReader(text)); !errors.Is(err, ErrNotContext) {
			t.Errorf("%q: %v, %v", text, d, err)
		}
	}
	if _, err := Read(endless{}); !errors.Is(err, ErrNotContext) {
		t.Errorf("a file without an end: %v", err)
	}
}

// A few bytes of a file do not become hundreds in memory, again and again.
func TestDocumentsAreBounded(t *testing.T) {
	for _, test := range []struct {
		list    string
		element string
		n       int
		refused bool
	}{
		{"sockets", `{}`, maxObjects - 1, false},
		{"sockets", `{}`, maxObjects, true},
		{"problems", `""`, maxValues, false},
		{"problems", `""`, maxValues + 1, true},
		{"problems", `"\\\",{{{"`, maxObjects, false},
	} {
		text := `{"schemaVersion":1,"` + test.list + `":[` + strings.Repeat(test.element+",", test.n-1) + test.element + `]}`
		if _, err := Read(strings.NewReader(text)); errors.Is(err, ErrNotContext) != test.refused {
			t.Errorf("%d of %s in %s: %v", test.n, test.element, test.list, err)
		}
	}
}

type endless struct{}

func (endless) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

// FuzzRead: whatever is read is bounded, its names fit into a line, and it can be written
// and read again.
func FuzzRead(f *testing.F) {
	text, err := encode(document())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(string(text))
	f.Add(`{"schemaVersion":1,"complete":true,"host":"\u001b[31m","sockets":[{"protocol":"TCP","local":"[::1]:1","program":"a\nb\u202e","uid":1,"first":"0001-01-01T00:00:00Z","last":"9999-01-01T00:00:00Z"}],"countersMoved":[{"name":"\n"}]}`)
	f.Add(`{"schemaVersion":1,"start":{"interfaces":[{"addresses":["x","10.0.0.1/99"]}]},"sockets":null}`)
	f.Fuzz(func(t *testing.T, text string) {
		d, err := Read(strings.NewReader(text))
		if err != nil {
			if d != nil || !errors.Is(err, ErrNotContext) {
				t.Fatalf("%v, %v", d, err)
			}
			return
		}
		names := append([]string{d.Host, d.Session, d.Capture}, d.Problems...)
		for i := range d.Sockets {
			s := &d.Sockets[i]
			names = append(names, s.Program, s.Command, s.User, s.Container, s.State, s.Protocol, s.Name())
		}
		for _, m := range d.Counters {
			names = append(names, m.Name)
		}
		for _, n := range names {
			if !utf8.ValidString(n) || strings.ContainsFunc(n, func(r rune) bool { return r < ' ' || r == 0x202e }) || len(n) > maxLine {
				t.Fatalf("%q is not fit to be shown", n)
			}
		}
		o := d.Owners()
		for i := range d.Sockets {
			o.Of(d.Sockets[i].Protocol, d.Sockets[i].Local, d.Sockets[i].Remote, d.Sockets[i].First, d.Sockets[i].Last)
		}
		again, err := encode(d)
		if err != nil {
			return // as of a year that JSON has no form for
		}
		d2, err := Read(strings.NewReader(string(again)))
		if err != nil {
			t.Fatalf("%v:\n%s", err, again)
		}
		if !reflect.DeepEqual(d.Sockets, d2.Sockets) && len(d.Sockets)+len(d2.Sockets) > 0 {
			t.Fatalf("%+v became %+v", d.Sockets, d2.Sockets)
		}
	})
}
