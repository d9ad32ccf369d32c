package hostcontext

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Bounds of what is kept of the machine.
const (
	maxInterfaces = 256
	maxList       = 2000      // routes, rules, neighbours
	maxText       = 64 << 10  // bytes of a file
	maxRules      = 256 << 10 // bytes of packet filter rules
	// rulesPatience is how long a program may take that prints such rules.
	rulesPatience = 2 * time.Second
)

// procNet is /proc/net of the calling thread, which may be in another namespace than the
// process.
const procNet = "/proc/thread-self/net"

// observer looks at the machine, from a thread that stays in one network namespace.
type observer struct {
	diag, route *dumper
	netns       string // as Options.Netns
	root        bool   // else the rules of packet filters are not told
	problems    map[string]bool
	names       map[int]string // of interfaces, by index
}

func (o *observer) problem(format string, args ...any) {
	const most = 32
	if len(o.problems) < most {
		o.problems[fmt.Sprintf(format, args...)] = true
	}
}

// look takes a picture of the machine, without the rules of packet filters.
func (o *observer) look() *Machine {
	m := &Machine{Time: time.Now().UTC(), Counters: map[string]uint64{}, Sysctls: map[string]string{}, States: map[string]int{}}
	c := counters(m.Counters)
	m.Interfaces = o.interfaces(c)
	m.Routes, m.Rules, m.Neighbours = o.routes(), o.rules(), o.neighbours()
	if err := o.diag.sockets(everyState, func(s *seen) bool {
		m.States[stateName(s.protocol, s.state)]++
		return true
	}); err != nil {
		o.problem("the sockets cannot be counted: %v", err)
	}
	for _, f := range []struct {
		name string
		add  func(string)
	}{
		{"snmp", c.addPairs}, {"netstat", c.addPairs}, {"snmp6", c.addList}, {"softnet_stat", c.addSoftnet}, {"stat/nf_conntrack", c.addConntrack},
	} {
		text, err := readBounded(filepath.Join(procNet, f.name))
		switch {
		case err == nil:
			f.add(text)
		case !errors.Is(err, os.ErrNotExist): // without IPv6, or connection tracking
			o.problem("%v", err)
		}
	}
	for _, name := range sysctls {
		if text, err := readBounded(filepath.Join("/proc/sys", strings.ReplaceAll(name, ".", "/"))); err == nil {
			m.Sysctls[name] = strings.Join(strings.Fields(text), " ")
		}
	}
	m.Clock = clock()
	m.ResolvConf = o.resolvConf()
	return m
}

// sysctls are those that decide what happens to packets and connections.
var sysctls = []string{
	"net.core.somaxconn", "net.core.netdev_max_backlog", "net.core.netdev_budget", "net.core.rmem_default", "net.core.rmem_max",
	"net.core.wmem_default", "net.core.wmem_max", "net.core.default_qdisc",
	"net.ipv4.ip_forward", "net.ipv4.ip_local_port_range", "net.ipv4.ip_local_reserved_ports", "net.ipv4.ip_no_pmtu_disc",
	"net.ipv4.tcp_congestion_control", "net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem", "net.ipv4.tcp_mem", "net.ipv4.udp_mem",
	"net.ipv4.tcp_max_syn_backlog", "net.ipv4.tcp_syncookies", "net.ipv4.tcp_abort_on_overflow", "net.ipv4.tcp_syn_retries",
	"net.ipv4.tcp_synack_retries", "net.ipv4.tcp_retries2", "net.ipv4.tcp_fin_timeout", "net.ipv4.tcp_tw_reuse", "net.ipv4.tcp_max_tw_buckets",
	"net.ipv4.tcp_max_orphans", "net.ipv4.tcp_keepalive_time", "net.ipv4.tcp_keepalive_intvl", "net.ipv4.tcp_keepalive_probes",
	"net.ipv4.tcp_timestamps", "net.ipv4.tcp_sack", "net.ipv4.tcp_window_scaling", "net.ipv4.tcp_ecn", "net.ipv4.tcp_mtu_probing",
	"net.ipv4.conf.all.rp_filter", "net.ipv4.conf.default.rp_filter", "net.ipv4.conf.all.arp_ignore", "net.ipv4.conf.all.arp_announce",
	"net.ipv4.conf.all.forwarding", "net.ipv4.icmp_ratelimit", "net.ipv4.icmp_echo_ignore_all",
	"net.ipv4.neigh.default.gc_thresh1", "net.ipv4.neigh.default.gc_thresh2", "net.ipv4.neigh.default.gc_thresh3",
	"net.ipv6.conf.all.disable_ipv6", "net.ipv6.conf.all.forwarding", "net.ipv6.conf.all.accept_ra", "net.ipv6.bindv6only",
	"net.netfilter.nf_conntrack_max", "net.netfilter.nf_conntrack_count", "net.netfilter.nf_conntrack_tcp_timeout_established",
	"net.bridge.bridge-nf-call-iptables",
}

// readBounded reads a file of the kernel's.
func readBounded(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, maxText))
	return string(text), err
}

// linkCounters are the members of struct rtnl_link_stats64, linux/if_link.h.
var linkCounters = []string{
	"rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped", "multicast", "collisions",
	"rx_length_errors", "rx_over_errors", "rx_crc_errors", "rx_frame_errors", "rx_fifo_errors", "rx_missed_errors", "tx_aborted_errors",
	"tx_carrier_errors", "tx_fifo_errors", "tx_heartbeat_errors", "tx_window_errors", "rx_compressed", "tx_compressed", "rx_nohandler",
	"rx_otherhost_dropped",
}

// operStates are those of RFC 2863, as IFLA_OPERSTATE has them.
var operStates = []string{"unknown", "not present", "down", "lower layer down", "testing", "dormant", "up"}

// interfaces lists the interfaces and adds their counters.
func (o *observer) interfaces(c counters) []Interface {
	list, at := []Interface{}, map[int]int{}
	o.names = map[int]string{}
	n := binary.NativeEndian
	err := o.route.dump(unix.RTM_GETLINK, make([]byte, unix.SizeofIfInfomsg), func(_ uint16, b []byte) bool {
		if len(b) < unix.SizeofIfInfomsg {
			return true
		}
		if len(list) == maxInterfaces {
			return false
		}
		i := Interface{Index: int(int32(n.Uint32(b[4:]))), Addresses: []string{}}
		var stats []byte
		attributes(b[unix.SizeofIfInfomsg:], func(kind uint16, v []byte) {
			switch kind {
			case unix.IFLA_IFNAME:
				i.Name = clean(text(v))
			case unix.IFLA_QDISC:
				i.Queueing = clean(text(v))
			case unix.IFLA_MTU:
				if len(v) >= 4 {
					i.MTU = int(n.Uint32(v))
				}
			case unix.IFLA_ADDRESS:
				if len(v) == 6 {
					i.MAC = net.HardwareAddr(v).String()
				}
			case unix.IFLA_OPERSTATE:
				if len(v) > 0 && int(v[0]) < len(operStates) {
					i.State = operStates[v[0]]
				}
			case unix.IFLA_STATS64:
				stats = v
			}
		})
		for k, name := range linkCounters {
			if len(stats) >= 8*(k+1) {
				c.add("interface."+i.Name+"."+name, n.Uint64(stats[8*k:]))
			}
		}
		at[i.Index] = len(list)
		o.names[i.Index] = i.Name
		list = append(list, i)
		return true
	})
	if err == nil {
		err = o.route.dump(unix.RTM_GETADDR, make([]byte, unix.SizeofIfAddrmsg), func(_ uint16, b []byte) bool {
			if len(b) < unix.SizeofIfAddrmsg {
				return true
			}
			k, known := at[int(n.Uint32(b[4:]))]
			var local, address netip.Addr
			attributes(b[unix.SizeofIfAddrmsg:], func(kind uint16, v []byte) {
				switch kind {
				case unix.IFA_LOCAL:
					local, _ = netip.AddrFromSlice(v)
				case unix.IFA_ADDRESS:
					address, _ = netip.AddrFromSlice(v)
				}
			})
			if local.IsValid() { // on links with two ends, the other one is IFA_ADDRESS
				address = local
			}
			if known && address.IsValid() && len(list[k].Addresses) < 64 {
				list[k].Addresses = append(list[k].Addresses, netip.PrefixFrom(address, int(b[1])).String())
			}
			return true
		})
	}
	if err != nil {
		o.problem("the interfaces cannot be listed: %v", err)
	}
	return list
}

// text is a string of the kernel's, which ends with a zero.
func text(b []byte) string {
	s, _, _ := strings.Cut(string(b), "\x00")
	return s
}

// list collects lines of a dump.
func (o *observer) list(what string, kind uint16, head int, line func(b []byte) string) []string {
	lines := []string{}
	err := o.route.dump(kind, make([]byte, head), func(_ uint16, b []byte) bool {
		if len(b) < head {
			return true
		}
		if l := line(b); l != "" {
			if len(lines) == maxList {
				return false
			}
			lines = append(lines, l)
		}
		return true
	})
	if err != nil {
		o.problem("the %s are not complete: %v", what, err)
	}
	return lines
}

// words joins words as ip(8) prints them: pairs of which the second is not empty.
func words(first string, pairs ...string) string {
	var b strings.Builder
	b.WriteString(first)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			b.WriteString(" " + pairs[i] + " " + pairs[i+1])
		}
	}
	return b.String()
}

func (o *observer) nameOf(b []byte) string {
	if len(b) < 4 {
		return ""
	}
	index := int(binary.NativeEndian.Uint32(b))
	if name := o.names[index]; name != "" {
		return name
	}
	return fmt.Sprintf("if%d", index)
}

func prefix(b []byte, bits uint8) string {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return ""
	}
	if int(bits) == a.BitLen() {
		return a.String()
	}
	return netip.PrefixFrom(a, int(bits)).String()
}

func address(b []byte) string {
	a, ok := netip.AddrFromSlice(b)
	if !ok {
		return ""
	}
	return a.String()
}

func number(b []byte) string {
	if len(b) < 4 {
		return ""
	}
	return fmt.Sprint(binary.NativeEndian.Uint32(b))
}

// routeTypes are those of a route, rtnetlink(7).
var routeTypes = []string{"unspec", "", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw", "nat"}

// tables are those that have names, ip-route(8).
var tables = map[uint32]string{unix.RT_TABLE_DEFAULT: "default", unix.RT_TABLE_MAIN: "main", unix.RT_TABLE_LOCAL: "local"}

func tableName(small uint8, wide []byte) string {
	table := uint32(small)
	if len(wide) >= 4 {
		table = binary.NativeEndian.Uint32(wide)
	}
	if name := tables[table]; name != "" {
		return name
	}
	return fmt.Sprint(table)
}

// routes lists the routes, but for those that the kernel makes for addresses of its own
// and for multicast.
func (o *observer) routes() []string {
	return o.list("routes", unix.RTM_GETROUTE, unix.SizeofRtMsg, func(b []byte) string {
		to, kind := "default", ""
		if b[7] < uint8(len(routeTypes)) {
			kind = routeTypes[b[7]]
		}
		const cloned = 0x200 // RTM_F_CLONED: a cache entry
		if kind == "local" || kind == "broadcast" || kind == "anycast" || kind == "multicast" || binary.NativeEndian.Uint32(b[8:])&cloned != 0 {
			return ""
		}
		var via, dev, source, metric string
		var table []byte
		hops := 0
		attributes(b[unix.SizeofRtMsg:], func(at uint16, v []byte) {
			switch at {
			case unix.RTA_DST:
				to = prefix(v, b[1])
			case unix.RTA_GATEWAY:
				via = address(v)
			case unix.RTA_OIF:
				dev = o.nameOf(v)
			case unix.RTA_PREFSRC:
				source = address(v)
			case unix.RTA_PRIORITY:
				metric = number(v)
			case unix.RTA_TABLE:
				table = v
			case unix.RTA_MULTIPATH:
				for len(v) >= unix.SizeofRtNexthop {
					length := int(binary.NativeEndian.Uint16(v))
					if length < unix.SizeofRtNexthop || length > len(v) {
						break
					}
					hops++
					v = v[min(align(length), len(v)):]
				}
			}
		})
		paths := ""
		if hops > 0 {
			paths = fmt.Sprint(hops)
		}
		return words(strings.TrimSpace(kind+" "+to), "via", via, "dev", dev, "table", tableName(b[4], table), "src", source, "metric", metric, "nexthops", paths)
	})
}

// rules lists the rules by which a table of routes is chosen.
func (o *observer) rules() []string {
	return o.list("rules", unix.RTM_GETRULE, unix.SizeofRtMsg, func(b []byte) string {
		from, to, mark, iif, oif, priority := "all", "", "", "", "", "0"
		var table []byte
		attributes(b[unix.SizeofRtMsg:], func(at uint16, v []byte) {
			switch at { // FRA_*, linux/fib_rules.h
			case 1:
				to = prefix(v, b[1])
			case 2:
				from = prefix(v, b[2])
			case 3:
				iif = clean(text(v))
			case 6:
				priority = number(v)
			case 10:
				mark = number(v)
			case 15:
				table = v
			case 17:
				oif = clean(text(v))
			}
		})
		family := map[uint8]string{unix.AF_INET: "IPv4", unix.AF_INET6: "IPv6"}[b[0]]
		if family == "" { // of multicast routers
			return ""
		}
		return words(family+" "+priority+":", "from", from, "to", to, "iif", iif, "oif", oif, "fwmark", mark, "lookup", tableName(b[4], table))
	})
}

// neighbourStates are bits, linux/neighbour.h.
var neighbourStates = []string{"incomplete", "reachable", "stale", "delay", "probe", "failed", "noarp", "permanent"}

// neighbours lists what is known of the addresses on the links.
func (o *observer) neighbours() []string {
	return o.list("neighbours", unix.RTM_GETNEIGH, unix.SizeofNdMsg, func(b []byte) string {
		state := binary.NativeEndian.Uint16(b[8:])
		const noARP = 6
		if state>>noARP&1 == 1 || b[0] != unix.AF_INET && b[0] != unix.AF_INET6 {
			return ""
		}
		to, mac, name := "", "", ""
		attributes(b[unix.SizeofNdMsg:], func(at uint16, v []byte) {
			switch at {
			case unix.NDA_DST:
				to = address(v)
			case unix.NDA_LLADDR:
				mac = net.HardwareAddr(v[:min(len(v), 20)]).String()
			}
		})
		for bit, n := range neighbourStates {
			if state>>bit&1 == 1 {
				name = n
			}
		}
		return words(to, "dev", o.nameOf(b[4:]), "lladdr", mac, "state", name)
	})
}

// clock is the state of the clock. adjtimex(2).
func clock() *Clock {
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil {
		return nil
	}
	unit := 1e6
	if t.Status&unix.STA_NANO != 0 {
		unit = 1e9
	}
	const scaledPPM = 1 << 16
	return &Clock{
		Synchronized: t.Status&unix.STA_UNSYNC == 0, OffsetSeconds: float64(t.Offset) / unit, ErrorSeconds: float64(t.Esterror) / 1e6,
		MaxSeconds: float64(t.Maxerror) / 1e6, FrequencyPPM: float64(t.Freq) / scaledPPM,
	}
}

// resolvConf is what programs in the namespace ask for names. Of a container it is a file
// in its own tree, where a link may lead anywhere: it is looked at within that tree, and
// no device or pipe is read.
func (o *observer) resolvConf() string {
	const name = "etc/resolv.conf"
	root := "/"
	if pid, _, _ := strings.Cut(o.netns, "@"); pid != "" && strings.Trim(pid, "0123456789") == "" {
		root = filepath.Join("/proc", pid, "root")
	} else if o.netns != "" && !filepath.IsAbs(o.netns) {
		// ip-netns(8) has a file for each namespace, if somebody has made it.
		if text, err := readBounded(filepath.Join("/etc/netns", filepath.Base(o.netns), "resolv.conf")); err == nil {
			return cleanText(text)
		}
	}
	dir, err := unix.Open(root, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer func() { _ = unix.Close(dir) }()
	fd, err := unix.Openat2(dir, name, &unix.OpenHow{
		Flags: unix.O_RDONLY | unix.O_NONBLOCK | unix.O_CLOEXEC | unix.O_NOCTTY, Resolve: unix.RESOLVE_IN_ROOT | unix.RESOLVE_NO_MAGICLINKS,
	})
	if err != nil {
		return ""
	}
	f := os.NewFile(uintptr(fd), name)
	defer func() { _ = f.Close() }()
	if st, err := f.Stat(); err != nil || !st.Mode().IsRegular() {
		return ""
	}
	text, _ := io.ReadAll(io.LimitReader(f, maxText))
	return cleanText(string(text))
}

// tools are where programs of the system are looked for, whatever PATH says.
var tools = []string{"/usr/sbin", "/sbin", "/usr/bin", "/bin"}

// filterRules has the tools of packet filters print their rules, those that are there.
func (o *observer) filterRules(m *Machine) {
	if !o.root {
		return
	}
	m.NFTables = o.run("nft", "list", "ruleset")
	// Those that iptables-nft has made are among the above. The older kind is there when the
	// kernel has tables of it.
	var legacy []string
	for _, t := range []struct{ tables, tool string }{{"ip_tables_names", "iptables-save"}, {"ip6_tables_names", "ip6tables-save"}} {
		if names, err := readBounded(filepath.Join(procNet, t.tables)); err == nil && strings.TrimSpace(names) != "" {
			tool := t.tool
			if findTool(strings.Replace(tool, "-save", "-legacy-save", 1)) != "" {
				tool = strings.Replace(tool, "-save", "-legacy-save", 1)
			}
			legacy = append(legacy, withoutRemarks(o.run(tool, "-c")))
		}
	}
	m.IPTables = strings.Join(slices.DeleteFunc(legacy, func(s string) bool { return s == "" }), "\n")
}

// withoutRemarks leaves out the lines in which iptables-save says when it was called.
func withoutRemarks(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			b.WriteString(line)
		}
	}
	return b.String()
}

func findTool(name string) string {
	for _, dir := range tools {
		if st, err := os.Stat(filepath.Join(dir, name)); err == nil && st.Mode().IsRegular() {
			return filepath.Join(dir, name)
		}
	}
	return ""
}

// run has a program print something; "" for one that is not there. It is in the network
// namespace of the calling thread.
func (o *observer) run(name string, args ...string) string {
	path := findTool(name)
	if path == "" {
		return ""
	}
	ctx, cancel := context.WithTimeout(context.Background(), rulesPatience)
	defer cancel()
	out := &bounded{most: maxRules}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.WaitDelay = []string{"LC_ALL=C", "PATH=" + strings.Join(tools, ":")}, "/", out, rulesPatience
	if err := cmd.Run(); err != nil {
		o.problem("%s does not tell its rules: %v", name, err)
		return ""
	}
	if out.cut {
		o.problem("the rules of %s are longer than the %d bytes that are kept", name, maxRules)
	}
	return cleanText(out.String())
}

// bounded keeps the first bytes that are written to it.
type bounded struct {
	bytes.Buffer
	most int
	cut  bool
}

// Write implements io.Writer.
func (b *bounded) Write(p []byte) (int, error) {
	n := len(p)
	if room := b.most - b.Len(); n > room {
		p, b.cut = p[:max(room, 0)], true
	}
	_, _ = b.Buffer.Write(p)
	return n, nil
}
