package netif

import (
	"encoding/binary"
	"slices"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"pcapctl/capture/testnet"
)

// attribute is a struct rtattr with its value.
func attribute(kind uint16, value ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(value)))
	b = append(binary.NativeEndian.AppendUint16(b, kind), value...)
	return append(b, make([]byte, -len(b)&3)...)
}

func number(n uint32) []byte { return binary.NativeEndian.AppendUint32(nil, n) }

// What a link message says of stacking: IFLA_LINK means the device below with some
// kinds, the other end with veth, and nothing here when it is of another namespace.
func TestParseStacking(t *testing.T) {
	const nested = 0x8000 // NLA_F_NESTED
	for _, test := range []struct {
		name        string
		attributes  []byte
		lower, peer int
	}{
		{"vlan", slices.Concat(attribute(unix.IFLA_LINK, number(7)...), attribute(unix.IFLA_LINKINFO|nested, attribute(unix.IFLA_INFO_KIND, []byte("vlan")...)...)), 7, 0},
		{"kind with a zero byte", slices.Concat(attribute(unix.IFLA_LINK, number(7)...), attribute(unix.IFLA_LINKINFO, attribute(unix.IFLA_INFO_KIND, []byte("macvlan\x00")...)...)), 7, 0},
		{"elsewhere", slices.Concat(attribute(unix.IFLA_LINK, number(7)...), attribute(unix.IFLA_LINK_NETNSID, number(0)...), attribute(unix.IFLA_LINKINFO, attribute(unix.IFLA_INFO_KIND, []byte("macvlan")...)...)), 0, 0},
		{"veth", slices.Concat(attribute(unix.IFLA_LINK, number(7)...), attribute(unix.IFLA_LINKINFO, attribute(unix.IFLA_INFO_KIND, []byte("veth")...)...)), 0, 7},
		{"tunnel", slices.Concat(attribute(unix.IFLA_LINK, number(7)...), attribute(unix.IFLA_LINKINFO, attribute(unix.IFLA_INFO_KIND, []byte("gre")...)...)), 0, 0},
		{"cut short", slices.Concat(attribute(unix.IFLA_LINK, 7), attribute(unix.IFLA_LINKINFO, 9, 0, 1, 0)), 0, 0},
	} {
		i, ok := parseLink(linkMessage(slices.Concat(test.attributes, attribute(unix.IFLA_IFNAME, 'x', 0))))
		if !ok || i.Lower != test.lower || i.Peer != test.peer {
			t.Errorf("%s: %+v", test.name, i)
		}
	}
}

func linkMessage(attributes []byte) syscall.NetlinkMessage {
	return syscall.NetlinkMessage{Header: syscall.NlMsghdr{Type: unix.RTM_NEWLINK}, Data: append(make([]byte, unix.SizeofIfInfomsg), attributes...)}
}

// Each counter is the member of struct rtnl_link_stats64 that it says it is.
func TestParseCounters(t *testing.T) {
	var stats []byte
	for n := range uint64(25) {
		stats = binary.NativeEndian.AppendUint64(stats, 100+n)
	}
	i, ok := parseLink(linkMessage(slices.Concat(attribute(unix.IFLA_IFNAME, 'x', 0), attribute(unix.IFLA_STATS64, stats...))))
	if want := (Counters{Missed: 115, Unclaimed: 106, Errors: 104, NoHandler: 123}); !ok || i.Counters != want {
		t.Errorf("%+v", i.Counters)
	}
	// An older kernel has no rx_nohandler.
	i, _ = parseLink(linkMessage(slices.Concat(attribute(unix.IFLA_IFNAME, 'x', 0), attribute(unix.IFLA_STATS64, stats[:23*8]...))))
	if want := (Counters{Missed: 115, Unclaimed: 106, Errors: 104}); i.Counters != want {
		t.Errorf("%+v", i.Counters)
	}
	if got := (Counters{Missed: 5, Errors: 2}).Since(Counters{Missed: 3, Errors: 4}); got != (Counters{Missed: 2}) {
		t.Errorf("%+v", got)
	}
}

// One layer of a stack is chosen: the lowest that sees all, and never none.
func TestSkippedOfStacks(t *testing.T) {
	up := func(name string, index, lower, master int) Interface {
		return Interface{Name: name, Index: index, Up: true, Lower: lower, Master: master, HWType: Ethernet}
	}
	down := func(i Interface) Interface { i.Up = false; return i }
	for _, test := range []struct {
		name string
		all  []Interface
		want []string
	}{
		{"VLAN", []Interface{up("eth0", 1, 0, 0), up("eth0.5", 2, 1, 0)}, []string{"", "its packets pass eth0"}},
		{"VLAN in a VLAN", []Interface{up("eth0", 1, 0, 0), up("eth0.5", 2, 1, 0), up("eth0.5.7", 3, 2, 0)}, []string{"", "its packets pass eth0", "its packets pass eth0"}},
		{"the interface below is a port: VLANs do not pass the bridge", []Interface{up("eth0", 1, 0, 3), up("eth0.5", 2, 1, 0), up("br0", 3, 0, 0)}, []string{"enslaved to another interface", "", ""}},
		{"VLAN on a bond", []Interface{up("eth0", 1, 0, 2), up("bond0", 2, 0, 0), up("bond0.5", 3, 2, 0)}, []string{"enslaved to another interface", "", "its packets pass bond0"}},
		{"below is elsewhere", []Interface{up("mac0", 2, 0, 0)}, []string{""}},
		{"below is not listed", []Interface{up("mac0", 2, 9, 0)}, []string{""}},
		{"below is down", []Interface{down(up("eth0", 1, 0, 0)), up("mac0", 2, 1, 0)}, []string{"down", ""}},
		{"a circle", []Interface{down(up("a", 1, 2, 0)), down(up("b", 2, 1, 0)), up("c", 3, 1, 0)}, []string{"down", "down", ""}},
	} {
		var got []string
		for _, i := range test.all {
			got = append(got, i.Skipped(test.all))
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", test.name, diff)
		}
	}
}

// The kernel's own answers, for the kinds that it has here.
func TestListStacks(t *testing.T) {
	ns, other := testnet.New(t), testnet.New(t)
	ns.Veth("v0", "v1")
	ns.IP("link", "add", "link", "v1", "name", "mac0", "type", "macvlan", "mode", "bridge")
	ns.IP("link", "add", "link", "v1", "name", "mac1", "type", "macvlan", "mode", "bridge")
	ns.IP("link", "set", "mac1", "netns", other.Name)
	ns.IP("link", "property", "add", "dev", "v1", "altname", "first", "altname", "second-name-that-is-long")
	list := func(ns *testnet.NS) map[string]Interface {
		var all []Interface
		var err error
		ns.Do(func() { all, err = List() })
		if err != nil {
			t.Fatal(err)
		}
		byName := map[string]Interface{}
		for _, i := range all {
			byName[i.Name] = i
		}
		return byName
	}
	here := list(ns)
	v0, v1, mac0, mac1 := here["v0"], here["v1"], here["mac0"], list(other)["mac1"]
	if v0.Peer != v1.Index || v1.Peer != v0.Index || v0.Lower != 0 || mac0.Lower != v1.Index || mac0.Peer != 0 || mac1.Index == 0 || mac1.Lower != 0 {
		t.Errorf("%+v\n%+v\n%+v\n%+v", v0, v1, mac0, mac1)
	}
	if diff := cmp.Diff([]string{"first", "second-name-that-is-long"}, v1.AltNames); diff != "" || !v1.Is("first") || !v1.Is("v1") || v1.Is("v0") || v0.AltNames != nil {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// The namespace of the machine cannot be deleted, and one with a name is found by
// whoever is in it.
func TestFindNamespace(t *testing.T) {
	ns := testnet.New(t)
	if found, ok := FindNamespace(ns.Name); !ok || found.Gone() {
		t.Errorf("%+v, %v", found, ok)
	}
	ns.Do(func() {
		if found, ok := FindNamespace(""); !ok || found.path != "/run/netns/"+ns.Name || found.Gone() {
			t.Errorf("%+v, %v", found, ok)
		}
	})
	if found, ok := FindNamespace("nosuch"); ok {
		t.Errorf("%+v", found)
	}
	if found, ok := FindNamespace("self"); ok {
		t.Errorf("%+v", found)
	}
	if got := unescapeMount(`/run/a\040b\134c\9`); got != `/run/a b\c\9` {
		t.Error(got)
	}
}

// threadOfFirst is the thread that was taken when the first of the process was to
// be used. Only while packages are initialized it is known which that is.
var threadOfFirst int

func init() { inThrowawayThread(func() { threadOfFirst = unix.Gettid() }) }

// The first thread of a process cannot be thrown away: it would stay in a namespace
// that was entered, and the process with it.
func TestFirstThreadIsNotUsed(t *testing.T) {
	if threadOfFirst == 0 || threadOfFirst == unix.Getpid() {
		t.Errorf("thread %d of process %d", threadOfFirst, unix.Getpid())
	}
}
