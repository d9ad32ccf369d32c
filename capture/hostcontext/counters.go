package hostcontext

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
)

// Bounds of what is kept.
const (
	maxCounters = 4096
	maxName     = 64 // bytes of a counter's name
)

// gauges are no counters, but what is now or is set. RFC 4022, RFC 4293.
var gauges = []string{
	"Tcp.CurrEstab", "Tcp.RtoAlgorithm", "Tcp.RtoMin", "Tcp.RtoMax", "Tcp.MaxConn", "Ip.Forwarding", "Ip.DefaultTTL",
	"conntrack.entries",
}

// counters are numbers by name.
type counters map[string]uint64

// add adds to a counter. Names are the kernel's, but of interfaces, which are others'.
func (c counters) add(name string, n uint64) {
	if _, known := c[name]; !known && (len(c) == maxCounters || len(name) > maxName) {
		return
	}
	c[name] += n
}

// addPairs takes /proc/net/snmp and netstat: of two lines the first has the names and the
// second the numbers. One that is below zero is none.
func (c counters) addPairs(text string) {
	var names []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if names == nil || names[0] != f[0] {
			names = f
			continue
		}
		group := strings.TrimSuffix(f[0], ":")
		for i := 1; i < min(len(f), len(names)); i++ {
			if n, err := strconv.ParseUint(f[i], 10, 64); err == nil {
				c.add(group+"."+names[i], n)
			}
		}
		names = nil
	}
}

// addList takes /proc/net/snmp6: a name and a number in each line. Names begin with their
// group: Ip6InReceives.
func (c counters) addList(text string) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) != 2 {
			continue
		}
		name, _, _ := strings.Cut(f[0], "6")
		if rest := strings.TrimPrefix(f[0], name+"6"); rest != "" && rest != f[0] {
			if n, err := strconv.ParseUint(f[1], 10, 64); err == nil {
				c.add(name+"6."+rest, n)
			}
		}
	}
}

// softnetColumns are those of /proc/net/softnet_stat that are counters,
// net/core/net-procfs.c: one line for each processor, numbers in hexadecimal.
var softnetColumns = map[int]string{0: "processed", 1: "dropped", 2: "time_squeeze", 9: "received_rps", 10: "flow_limit_count"}

func (c counters) addSoftnet(text string) {
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		for column, name := range softnetColumns {
			if column < len(f) {
				if n, err := strconv.ParseUint(f[column], 16, 64); err == nil {
					c.add("softnet."+name, n)
				}
			}
		}
	}
}

// addConntrack takes /proc/net/stat/nf_conntrack: names, and one line of hexadecimal
// numbers for each processor. entries is the same in every line.
func (c counters) addConntrack(text string) {
	var names []string
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if names == nil {
			names = f
			continue
		}
		for i := range min(len(f), len(names)) {
			n, err := strconv.ParseUint(f[i], 16, 64)
			switch {
			case err != nil:
			case names[i] == "entries":
				c["conntrack.entries"] = n
			default:
				c.add("conntrack."+names[i], n)
			}
		}
	}
}

// moved are the counters that are not what they were. One that there was not began at 0.
func moved(start, end counters) []Moved {
	list := []Moved{}
	for name, now := range end {
		then := start[name]
		if now == then || slices.Contains(gauges, name) {
			continue
		}
		m := Moved{Name: name, Start: then, End: now, Delta: now - then}
		if now < then {
			m.Delta = now
		}
		list = append(list, m)
	}
	slices.SortFunc(list, func(a, b Moved) int { return cmp.Compare(a.Name, b.Name) })
	return list
}
