package capture_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
	"pcapctl/capture/testnet"
)

// linkSeed and linkPackets are what TestLinkTypesAsTcpdump runs with unless
// PCAPCTL_PROPERTY_SEED and PCAPCTL_PROPERTY_CASES say otherwise: enough for
// every run. docs/filters.md has the command for a long one.
const (
	linkSeed    = 1
	linkPackets = 1500
)

func fromEnvironment(t *testing.T, name string, preset uint64) uint64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return preset
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// chance makes packets and filters of few addresses and ports, so that they
// often meet.
type chance struct{ *rand.Rand }

func (c chance) of(percent int) bool { return c.IntN(100) < percent }

func (c chance) bytes(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(c.Uint32())
	}
	return b
}

func anyOf[T any](c chance, list ...T) T { return list[c.IntN(len(list))] }

var (
	linkV4    = []string{"10.0.0.1", "10.0.0.2", "10.0.0.5", "192.168.0.1"}
	linkV6    = []string{"fd00::1", "fd00::2", "fd00::ff"}
	linkPorts = []int{79, 80, 81, 82, 443}
)

// ip is a whole IP packet, with options of IPv4 now and then.
func (c chance) ip(v6 bool) []byte {
	hosts := linkV4
	if v6 {
		hosts = linkV6
	}
	b := datagram(anyOf[byte](c, ipTCP, ipTCP, ipUDP, ipUDP, 132, 47, 1), anyOf(c, hosts...), anyOf(c, hosts...),
		uint16(anyOf(c, linkPorts...)), uint16(anyOf(c, linkPorts...)), c.bytes(c.IntN(60))...)
	if words := c.IntN(11); !v6 && words > 0 && c.of(30) {
		b[0] += byte(words)
		b = slices.Insert(b, 20, c.bytes(4*words)...)
	}
	if !v6 && b[9] == 1 {
		b[20+4*(int(b[0]&15)-5)] = 8 // an echo, which quotes nothing
	}
	return b
}

// linkCase is how packets of a link type are made, and how tcpdump is asked
// about them.
type linkCase struct {
	link pcapfile.LinkType
	// make puts random link layers before an IP packet, or one that is not IP.
	make func(c chance) []byte
	// runs are what tcpdump is asked one after the other: each begins the
	// expression, as libpcap reads on behind a header once it was asked for.
	runs []string
	ask  dialect
	// notIncoming and notOutgoing begin the expression where packets tell which way
	// they went: of the former the source may be the local end, of the latter the
	// destination.
	notIncoming, notOutgoing string
	v4Only, v6Only           bool
	header                   int // bytes of the link layer; packets are cut short within it
}

// dialect is how a condition is said to libpcap.
type dialect interface {
	protocol(name string) string
	host(side, address string) string
	port(side string, low, high int) string
}

// native is libpcap's own words.
type native struct{}

func (native) protocol(name string) string { return name }
func (native) host(side, address string) string {
	if strings.Contains(address, ":") {
		return "ip6 " + side + " host " + address
	}
	return "ip " + side + " host " + address
}
func (native) port(side string, low, high int) string {
	return fmt.Sprintf("%s portrange %d-%d", side, low, high)
}

// byBytes says it by the place of the bytes, for link types of which libpcap
// looks for the IP header elsewhere than their description says.
type byBytes struct {
	at     int // the IP header
	v4, v6 string
}

func (d byBytes) both(v4, v6 string) string {
	return fmt.Sprintf("((%s and %s) or (%s and %s))", d.v4, v4, d.v6, v6)
}

func (d byBytes) protocol(name string) string {
	n := map[string]int{"tcp": ipTCP, "udp": ipUDP}[name]
	return d.both(fmt.Sprintf("link[%d] = %d", d.at+9, n), fmt.Sprintf("link[%d] = %d", d.at+6, n))
}

func (d byBytes) host(side, address string) string {
	a := netip.MustParseAddr(address)
	b, at, is := a.AsSlice(), d.at+12, d.v4
	if a.Is6() {
		at, is = d.at+8, d.v6
	}
	if side == "dst" {
		at += len(b)
	}
	out := is
	for i := 0; i < len(b); i += 4 {
		out += fmt.Sprintf(" and link[%d:4] = %d", at+i, binary.BigEndian.Uint32(b[i:]))
	}
	return "(" + out + ")"
}

func (d byBytes) port(side string, low, high int) string {
	off := 0
	if side == "dst" {
		off = 2
	}
	has := func(at int) string {
		return fmt.Sprintf("(link[%d] = 6 or link[%d] = 17 or link[%d] = 132)", at, at, at)
	}
	is := func(at string) string { return fmt.Sprintf("link[%s:2] >= %d and link[%s:2] <= %d", at, low, at, high) }
	return d.both(
		has(d.at+9)+" and "+is(fmt.Sprintf("((link[%d] & 0xf) << 2) + %d", d.at, d.at+off)),
		has(d.at+6)+" and "+is(strconv.Itoa(d.at+40+off)))
}

// other is what is not IP.
func (c chance) other() []byte { return c.bytes(40 + c.IntN(40)) }

// etherType puts an IP packet behind its EtherType, or something else behind
// another.
func (c chance) etherType() []byte {
	switch c.IntN(5) {
	case 0, 1:
		return append([]byte{0x08, 0x00}, c.ip(false)...)
	case 2, 3:
		return append([]byte{0x86, 0xdd}, c.ip(true)...)
	}
	return append(anyOf(c, []byte{0x08, 0x06}, []byte{0x88, 0x63}, []byte{0x88, 0x48}, []byte{0, 40}, []byte{0xaa, 0xaa}), c.other()...)
}

func (c chance) labels(n int) []byte {
	var b []byte
	for i := range n {
		label := c.bytes(4)
		label[2] &^= 1
		if i == n-1 {
			label[2] |= 1
		}
		b = append(b, label...)
	}
	return append(b, c.ip(c.of(50))...)
}

// ppp is a PPP protocol and what is behind its number.
func (c chance) ppp() []byte {
	switch c.IntN(8) {
	case 0, 1:
		return append([]byte{0, 0x21}, c.ip(false)...)
	case 2, 3:
		return append([]byte{0, 0x57}, c.ip(true)...)
	case 4, 5:
		return append([]byte{2, 0x81}, c.labels(1+c.IntN(2))...)
	}
	return append(anyOf(c, []byte{0xc0, 0x21}, []byte{0, 0x2d}, []byte{2, 0x83}, []byte{0x80, 0xfd}), c.other()...)
}

func (c chance) pppWithoutMPLS() []byte {
	for {
		if b := c.ppp(); !bytes.HasPrefix(b, []byte{2, 0x81}) {
			return b
		}
	}
}

// tunnel is what may be behind an EtherType without tags.
func (c chance) tunnel(labels bool) []byte {
	switch n := c.IntN(6); {
	case n < 2:
		return slices.Concat([]byte{0x88, 0x64}, c.bytes(6), c.ppp())
	case n < 4 && labels:
		return append([]byte{0x88, 0x47}, c.labels(1+c.IntN(2))...)
	}
	return c.etherType()
}

func (c chance) anyTunnel() []byte { return c.tunnel(true) }
func (c chance) pppoe() []byte     { return c.tunnel(false) }

// pppRuns and the like are the headers that a packet may have, each as libpcap
// is told to look behind it.
var (
	pppRuns   = []string{"", "mpls and ", "mpls and mpls and "}
	pppoeRuns = []string{"", "pppoes and ", "pppoes and mpls and ", "pppoes and mpls and mpls and "}
	etherRuns = tagged(append(slices.Clone(pppoeRuns), "mpls and ", "mpls and mpls and "))
)

func tagged(runs []string) []string {
	var all []string
	for _, tags := range []string{"", "vlan and ", "vlan and vlan and "} {
		for _, r := range runs {
			all = append(all, tags+r)
		}
	}
	return all
}

// wifi is an 802.11 frame that begins at an offset, of any type.
func (c chance) wifi(offset int, padded bool, rest func() []byte) []byte {
	fc := anyOf[byte](c, 0x08, 0x08, 0x88, 0x88, 0x88, 0x48, 0xc8, 0x80, 0xd4, 0x0c, byte(c.Uint32()))
	b := append([]byte{fc}, c.bytes(23)...)
	if fc&0x80 != 0 && fc&0x0c == 0x08 {
		b = append(b, c.bytes(2)...)
	}
	if c.of(10) {
		b = append(b, c.bytes(6)...) // a fourth address
	}
	for padded && (offset+len(b))%4 != 0 {
		b = append(b, 0)
	}
	b = append(b, 0xaa, 0xaa, 3, 0, 0, 0)
	return append(b, rest()...)
}

// tags are VLAN tags, up to two, and what is behind them.
func (c chance) tags(rest func() []byte) []byte {
	var b []byte
	for n := c.IntN(4); n > 1; n-- {
		b = append(b, anyOf(c, []byte{0x81, 0}, []byte{0x88, 0xa8}, []byte{0x91, 0})...)
		b = append(b, c.bytes(2)...)
	}
	return append(b, rest()...)
}

func (c chance) radiotap() []byte {
	present := c.bytes(4)
	present[0] = anyOf[byte](c, 0, 1, 2, 3, 2, 3, 0x2e, 0x2f)
	present[3] &= 0x7f
	more := c.of(15)
	if more {
		present[3] |= 0x80
	}
	b := slices.Concat([]byte{0, 0, 0, 0}, present, c.bytes(9+c.IntN(20)))
	binary.LittleEndian.PutUint16(b[2:], uint16(len(b)))
	at := 8
	if present[0]&1 != 0 {
		at = 16
	}
	padded := b[at]&0x20 != 0 && present[0]&2 != 0 && !more
	if c.of(3) {
		binary.LittleEndian.PutUint16(b[2:], uint16(c.Uint32()))
	}
	// libpcap 1.10.3 loses its way with PPPoE behind radiotap: it reads the type of
	// the frame from a register that it has not set.
	return append(b, c.wifi(len(b), padded, func() []byte { return c.tags(c.etherType) })...)
}

func linkTypes() []linkCase {
	raw := func(c chance) []byte { return c.ip(c.of(50)) }
	family := func(order binary.ByteOrder) func(c chance) []byte {
		return func(c chance) []byte {
			v6 := c.of(50)
			b := make([]byte, 4)
			order.PutUint32(b, 2)
			if v6 {
				order.PutUint32(b, anyOf[uint32](c, 24, 28, 30))
			}
			if c.of(10) {
				order.PutUint32(b, anyOf[uint32](c, 0, 1, 7, 16))
			}
			return append(b, c.ip(v6)...)
		}
	}
	ppp := func(c chance) []byte { return append(anyOf(c, []byte{0xff, 3}, c.bytes(2)), c.ppp()...) }
	slip := func(c chance) []byte {
		return append(append([]byte{byte(c.IntN(3))}, c.bytes(15)...), c.ip(c.of(50))...)
	}
	return []linkCase{
		{link: pcapfile.Null, make: family(binary.LittleEndian), header: 4},
		{link: pcapfile.Ethernet, make: func(c chance) []byte { return append(c.bytes(12), c.tags(c.anyTunnel)...) }, runs: etherRuns, header: 14},
		{link: pcapfile.SLIP, make: slip, ask: byBytes{16, "link[16] & 0xf0 = 0x40", "link[16] & 0xf0 = 0x60"}, notIncoming: "link[0] != 0 and ", notOutgoing: "link[0] != 1 and ", header: 16},
		{link: pcapfile.PPP, make: ppp, runs: pppRuns, header: 4},
		{link: pcapfile.RawIPBSD, make: raw},
		// libpcap refuses to look for MPLS in these two.
		{link: pcapfile.PPPSerial, make: func(c chance) []byte { return append([]byte{0xff, 3}, c.pppWithoutMPLS()...) }, header: 4},
		{link: pcapfile.PPPEther, make: func(c chance) []byte { return append(c.bytes(6), c.pppWithoutMPLS()...) }, header: 8},
		{link: pcapfile.RawIP, make: raw},
		{link: pcapfile.CiscoHDLC, make: func(c chance) []byte {
			return append(anyOf(c, []byte{0x0f, 0}, []byte{0x8f, 0}, c.bytes(2)), c.tunnel(true)...)
		},
			runs: append(slices.Clone(pppoeRuns), "mpls and ", "mpls and mpls and "), header: 4},
		{link: pcapfile.IEEE80211, make: func(c chance) []byte { return c.wifi(0, false, func() []byte { return c.tags(c.pppoe) }) }, runs: tagged(pppoeRuns), header: 24},
		{link: pcapfile.FrameRelay, make: func(c chance) []byte {
			switch c.IntN(5) {
			case 0, 1:
				return slices.Concat(c.bytes(2), []byte{3, 0xcc}, c.ip(false))
			case 2, 3:
				return slices.Concat(c.bytes(2), []byte{3, 0x8e}, c.ip(true))
			}
			return slices.Concat(c.bytes(2), anyOf(c, []byte{3, 0x80}, []byte{3, 0x81}, []byte{0, 0xcc}, []byte{8, 0}), c.other())
		}, ask: byBytes{4, "link[2:2] = 0x03cc", "link[2:2] = 0x038e"}, header: 4},
		{link: pcapfile.Loop, make: family(binary.BigEndian), header: 4},
		{link: pcapfile.SLL, make: func(c chance) []byte {
			b := append([]byte{0, byte(c.IntN(5)), 0, 1, 0, 6}, c.bytes(8)...)
			return append(b, c.tunnel(false)...)
		}, runs: pppoeRuns, notIncoming: "outbound and ", notOutgoing: "inbound and ", header: 16},
		{link: pcapfile.Radiotap, make: chance.radiotap, runs: tagged([]string{""}), header: 24},
		{link: pcapfile.RawIPv4, make: func(c chance) []byte { return c.ip(false) }, v4Only: true},
		{link: pcapfile.RawIPv6, make: func(c chance) []byte { return c.ip(true) }, v6Only: true},
		{link: pcapfile.SLL2, make: func(c chance) []byte {
			rest := c.tunnel(false)
			b := append(slices.Clone(rest[:2]), 0, 0, 0, 0, 0, 3, 0, 1, byte(c.IntN(5)), 6)
			return slices.Concat(b, c.bytes(8), rest[2:])
		}, runs: pppoeRuns, notIncoming: "outbound and ", notOutgoing: "inbound and ", header: 16},
	}
}

// filter is a random filter, and how the same is said to libpcap: of packets
// whose source may be the local end, of those whose destination may be, and of
// those of which nothing is known.
func (l linkCase) filter(c chance) (spec map[string]string, source, destination, either string) {
	spec = map[string]string{}
	var conditions [2][]string // with the source as the local end, and with the destination
	end := func(side int, host, port string) {
		// The local end is the source of the first and the destination of the second.
		sides := [2]string{"src", "dst"}
		if side == 1 {
			slices.Reverse(sides[:])
		}
		for i, s := range sides {
			if host != "" {
				conditions[i] = append(conditions[i], l.ask.host(s, host))
			}
			if port != "" {
				var low, high int
				if n, _ := fmt.Sscanf(port, "%d-%d", &low, &high); n < 2 {
					high = low
				}
				conditions[i] = append(conditions[i], l.ask.port(s, low, high))
			}
		}
	}
	var protocol string
	if c.of(50) {
		protocol = anyOf(c, "TCP", "UDP")
		spec["protocol"] = protocol
		protocol = l.ask.protocol(strings.ToLower(protocol))
	}
	for side, name := range []string{"local", "remote"} {
		var host, port string
		if c.of(30) {
			hosts := slices.Concat(linkV4, linkV6)
			if l.v4Only {
				hosts = linkV4
			}
			if l.v6Only {
				hosts = linkV6
			}
			host = anyOf(c, hosts...)
			spec[name+"IPAddress"] = host
		}
		if c.of(35) {
			low := anyOf(c, linkPorts...)
			port = strconv.Itoa(low)
			if c.of(40) {
				port = fmt.Sprintf("%d-%d", low, low+c.IntN(3)+1)
			}
			spec[name+"Port"] = port
		}
		end(side, host, port)
	}
	all := func(parts ...string) string {
		return strings.Join(slices.DeleteFunc(parts, func(s string) bool { return s == "" }), " and ")
	}
	if len(conditions[0]) == 0 {
		return spec, protocol, protocol, protocol
	}
	one, other := all(conditions[0]...), all(conditions[1]...)
	either = all(protocol, "(("+one+") or ("+other+"))")
	if _, named := spec["localIPAddress"]; named {
		return spec, either, either, either
	}
	return spec, all(protocol, one), all(protocol, other), either
}

// A filter takes of files of every link type what tcpdump takes by the same
// expression, whatever is before the IP header.
func TestLinkTypesAsTcpdump(t *testing.T) {
	testnet.NeedTools(t, "tcpdump")
	seed := fromEnvironment(t, "PCAPCTL_PROPERTY_SEED", linkSeed)
	count := int(fromEnvironment(t, "PCAPCTL_PROPERTY_CASES", linkPackets))
	for _, l := range linkTypes() {
		t.Run(l.link.String()+" "+strconv.Itoa(int(l.link)), func(t *testing.T) {
			t.Parallel()
			t.Logf("PCAPCTL_PROPERTY_SEED=%d PCAPCTL_PROPERTY_CASES=%d repeats this run", seed, count)
			c := chance{rand.New(rand.NewPCG(seed, uint64(l.link)))}
			if l.ask == nil {
				l.ask = native{}
			}
			if l.runs == nil {
				l.runs = []string{""}
			}
			packets := make([]pcaptest.Packet, count)
			for i := range packets {
				packets[i] = pcaptest.Packet{Data: l.make(c), Sec: uint32(i + 1)}
				if c.of(5) { // cut before there is an IP header
					packets[i].Length = len(packets[i].Data)
					packets[i].Data = packets[i].Data[:c.IntN(l.header+1)]
				}
			}
			file := littlePcap.File(packets, l.link)
			taken := 0
			for range 4 {
				taken += l.compare(t, c, file, packets)
			}
			if taken < count/10 {
				t.Errorf("%d packets of 4×%d were taken: this shows nothing", taken, count)
			}
		})
	}
}

// compare makes a set of filters and returns how many packets both take.
func (l linkCase) compare(t *testing.T, c chance, file []byte, packets []pcaptest.Packet) int {
	t.Helper()
	var specs []map[string]string
	var sources, destinations, eithers []string
	for len(specs) == 0 || c.of(50) {
		if spec, source, destination, either := l.filter(c); either != "" {
			specs = append(specs, spec)
			sources, destinations, eithers = append(sources, "("+source+")"), append(destinations, "("+destination+")"), append(eithers, "("+either+")")
		}
	}
	var exprs []string
	for _, run := range l.runs {
		if l.notIncoming == "" {
			exprs = append(exprs, run+"("+strings.Join(eithers, " or ")+")")
			continue
		}
		exprs = append(exprs, l.notIncoming+run+"("+strings.Join(sources, " or ")+")", l.notOutgoing+run+"("+strings.Join(destinations, " or ")+")")
	}
	filters, err := json.Marshal(specs)
	if err != nil {
		t.Fatal(err)
	}
	s := fileSource(t, file)
	_, out, err := carve(t, `"timeLimitInSeconds":0,"totalBytesPerSession":0,"filters":`+string(filters), s)
	if err != nil {
		t.Fatal(err)
	}
	ours := numbers(t, out)
	var theirs []int
	for _, expr := range exprs {
		for _, p := range tcpdump(t, s.Path, expr) {
			theirs = append(theirs, int(p.Sec))
		}
	}
	slices.Sort(theirs)
	theirs = slices.Compact(theirs)
	if slices.Equal(ours, theirs) {
		return len(ours)
	}
	for _, n := range slices.Concat(ours, theirs) {
		if slices.Contains(ours, n) != slices.Contains(theirs, n) {
			t.Errorf("filters %s, packet %d: taken here: %v, by tcpdump %q: %v\n% x", filters, n, slices.Contains(ours, n), exprs, slices.Contains(theirs, n), packets[n-1].Data)
			break
		}
	}
	t.Errorf("%d packets here, %d by tcpdump", len(ours), len(theirs))
	return len(ours)
}

// What libpcap makes no filter for is refused by name, and read without filters.
func TestLinkTypesLibpcapRefuses(t *testing.T) {
	testnet.NeedTools(t, "tcpdump")
	for _, link := range []pcapfile.LinkType{pcapfile.NFLOG, pcapfile.IPoIB, pcapfile.InfiniBand, 195, 253} {
		file := littlePcap.File(counted(make([]byte, 60)), link)
		s := fileSource(t, file)
		if msg, err := exec.CommandContext(t.Context(), "tcpdump", "-r", s.Path, "-w", filepath.Join(t.TempDir(), "x"), "tcp").CombinedOutput(); err == nil || !bytes.Contains(msg, []byte("filtering not implemented")) {
			t.Errorf("%v: tcpdump: %v %s", link, err, msg)
		}
		_, _, err := carve(t, `"filters":[{"protocol":"TCP"}]`, s)
		if fault.ClassOf(err) != fault.Invalid || !strings.Contains(err.Error(), "filters cannot look into packets of "+link.String()+"; allowed: Ethernet") {
			t.Errorf("%v: %v", link, err)
		}
		if res, _, err := carve(t, "", s); err != nil || res.Packets != 1 {
			t.Errorf("%v without filters: %v", link, err)
		}
	}
}

// Files of old and modified forms have for us the packets that they have for
// libpcap.
func TestOldFilesAsTcpdump(t *testing.T) {
	testnet.NeedTools(t, "tcpdump")
	for _, order := range []pcaptest.Order{binary.LittleEndian, binary.BigEndian} {
		for _, old := range pcaptest.Olds(order) {
			t.Run(old.String(), func(t *testing.T) {
				t.Parallel()
				asTcpdump(t, old.File(traffic(pcapfile.Ethernet, pcaptest.Form{Order: order}), pcapfile.Ethernet), `{"protocol":"UDP"}`, "", "udp")
			})
		}
	}
}
