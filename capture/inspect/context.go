package inspect

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/hostcontext"
)

// HostContext is what the machine that captured tells beside the packets: the context of
// a capture. Names in it are what others have chosen, and hostile.
type HostContext struct {
	File     string    `json:"file"`
	Complete bool      `json:"complete"` // false: of the start of the capture only
	Host     string    `json:"host"`
	Session  string    `json:"session"`
	Started  time.Time `json:"started,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	// Counters are those that moved and tell of trouble, in the order of where packets pass.
	Counters     []HostCounter `json:"counters"`
	SocketsSeen  int           `json:"socketsSeen"`
	SocketsNamed int           `json:"socketsNamed"`
	Problems     []string      `json:"problems,omitempty"` // what could not be looked at
}

// HostCounter is a counter of the machine.
type HostCounter struct {
	Name    string `json:"name"`
	Delta   uint64 `json:"delta"`
	Meaning string `json:"meaning"`
}

// trouble is a counter that tells of it: what it means, and the findings that it goes with.
// A name that begins with a star is of any interface.
type trouble struct {
	name, meaning string
	findings      []string
}

var (
	lossIDs   = []string{"tcp-retransmissions", "tcp-unacknowledged", "tcp-black-hole", "tcp-no-reply"}
	answerIDs = []string{"tcp-syn-unanswered", "tcp-half-open"}
)

// troubles are the counters in the order in which packets pass what they count. Their
// meanings: RFC 4022, RFC 4113, RFC 4293; for TcpExt Documentation/networking/snmp_counter.rst of
// the kernel, for interfaces Documentation/networking/statistics.rst.
var troubles = []trouble{
	{"*.rx_missed_errors", "frames that the network card had no room for", []string{"capture-gaps", "capture-drops"}},
	{"*.rx_fifo_errors", "frames that found a queue of the network card full", []string{"capture-gaps", "capture-drops"}},
	{"*.rx_over_errors", "frames that found a ring of the driver full", []string{"capture-gaps", "capture-drops"}},
	{"*.rx_crc_errors", "frames that arrived damaged: cable, connector, or the other end", []string{"checksum-wrong"}},
	{"*.rx_frame_errors", "frames with a wrong alignment", nil},
	{"*.rx_errors", "frames that arrived with an error", nil},
	{"*.rx_dropped", "frames that were received and not taken", nil},
	{"*.tx_dropped", "packets that were dropped before they were sent", lossIDs},
	{"*.tx_errors", "packets that could not be sent", lossIDs},
	{"*.tx_carrier_errors", "packets that found the link down", lossIDs},
	{"*.collisions", "collisions: the two ends of the link disagree about duplex", nil},
	{"softnet.dropped", "packets for which the queue of a processor was full (netdev_max_backlog)", slices.Concat(lossIDs, answerIDs, []string{"capture-gaps"})},
	{"softnet.time_squeeze", "times that a processor did not get through the packets in its share of time (netdev_budget)", nil},
	{"Ip.InHdrErrors", "packets of IPv4 with a wrong header", nil},
	{"Ip.InAddrErrors", "packets of IPv4 for an address that is not this machine's", nil},
	{"Ip.InDiscards", "packets of IPv4 that were discarded on arrival, as without memory", lossIDs},
	{"Ip.OutDiscards", "packets of IPv4 that were discarded before they were sent, also by a packet filter", slices.Concat(lossIDs, answerIDs)},
	{"Ip.OutNoRoutes", "packets of IPv4 without a route", []string{"icmp-net-unreachable"}},
	{"Ip.ReasmFails", "datagrams of IPv4 of which a fragment was missing", []string{"fragments-incomplete", "icmp-reassembly-exceeded"}},
	{"Ip.FragFails", "packets of IPv4 that were too large and must not be cut", []string{"icmp-too-big", "tcp-black-hole"}},
	{"Ip6.InHdrErrors", "packets of IPv6 with a wrong header", nil},
	{"Ip6.InDiscards", "packets of IPv6 that were discarded on arrival", lossIDs},
	{"Ip6.OutDiscards", "packets of IPv6 that were discarded before they were sent, also by a packet filter", slices.Concat(lossIDs, answerIDs)},
	{"Ip6.OutNoRoutes", "packets of IPv6 without a route", []string{"icmp-net-unreachable"}},
	{"Ip6.ReasmFails", "datagrams of IPv6 of which a fragment was missing", []string{"fragments-incomplete", "icmp-reassembly-exceeded"}},
	{"TcpExt.IPReversePathFilter", "packets that came by an interface through which there is no way back (rp_filter)", slices.Concat(answerIDs, []string{"one-direction"})},
	{"conntrack.drop", "packets that connection tracking dropped: its table is full, perhaps", slices.Concat(lossIDs, answerIDs)},
	{"conntrack.early_drop", "connections that tracking gave up for new ones: its table is full", answerIDs},
	{"conntrack.insert_failed", "connections that tracking could not take", answerIDs},
	{"Tcp.RetransSegs", "segments of TCP that this machine sent again", slices.Concat(lossIDs, answerIDs, []string{"tcp-fin-unanswered"})},
	{"TcpExt.TCPTimeouts", "times that no acknowledgement came in time", slices.Concat(lossIDs, answerIDs)},
	{"TcpExt.TCPSynRetrans", "SYNs that this machine sent again", answerIDs},
	{"TcpExt.TCPLostRetransmit", "segments that were lost although they were sent again", lossIDs},
	{"TcpExt.TCPAbortOnTimeout", "connections that this machine gave up, as nothing came any more", lossIDs},
	{"TcpExt.ListenOverflows", "connections for which the queue of a listening program was full: it accepts too slowly (somaxconn)", answerIDs},
	{"TcpExt.ListenDrops", "SYNs that a listening socket dropped", answerIDs},
	{"TcpExt.TCPReqQFullDrop", "SYNs for which the queue of half-open connections was full", answerIDs},
	{"TcpExt.TCPBacklogDrop", "segments that found the backlog of their socket full", lossIDs},
	{"TcpExt.PruneCalled", "times that data was pruned, as the buffer of a socket was full", []string{"tcp-zero-window"}},
	{"TcpExt.RcvPruned", "segments that were dropped, as the buffer of a socket was full", []string{"tcp-zero-window", "tcp-retransmissions"}},
	{"TcpExt.TCPToZeroWindowAdv", "times that this machine closed its window: a program did not read", []string{"tcp-zero-window"}},
	{"TcpExt.TCPMemoryPressures", "times that the memory of TCP became scarce (tcp_mem)", []string{"tcp-zero-window"}},
	{"Tcp.AttemptFails", "connections that did not come about", slices.Concat(answerIDs, []string{"tcp-refused"})},
	{"Tcp.EstabResets", "connections that were reset", []string{"tcp-reset"}},
	{"TcpExt.TCPAbortOnData", "connections that a program closed before it had read all", []string{"tcp-reset"}},
	{"TcpExt.TCPAbortOnClose", "connections that a program closed with data unread", []string{"tcp-reset"}},
	{"Tcp.InErrs", "segments of TCP with an error", []string{"checksum-wrong"}},
	{"Tcp.InCsumErrors", "segments of TCP with a wrong checksum", []string{"checksum-wrong"}},
	{"Udp.RcvbufErrors", "datagrams for which the buffer of a socket was full", []string{"dns-no-answer"}},
	{"Udp.SndbufErrors", "datagrams that could not be sent, as the buffer was full", nil},
	{"Udp.InCsumErrors", "datagrams with a wrong checksum", []string{"checksum-wrong"}},
	{"Udp.NoPorts", "datagrams for a port that nobody has", []string{"icmp-port-unreachable"}},
	{"Udp6.RcvbufErrors", "datagrams for which the buffer of a socket was full", []string{"dns-no-answer"}},
	{"Udp6.NoPorts", "datagrams for a port that nobody has", []string{"icmp-port-unreachable"}},
}

// is tells whether a counter is this one.
func (t *trouble) is(name string) bool {
	if ending, ok := strings.CutPrefix(t.name, "*"); ok {
		return strings.HasPrefix(name, "interface.") && strings.HasSuffix(name, ending)
	}
	return t.name == name
}

// Bounds of what a context adds.
const (
	maxPrograms = 4 // of an end, or a finding
	maxShown    = 64
)

// AddContext adds what the context of the capture says: the programs of conversations and
// findings, and the counters that moved. file is where it comes from.
func (r *Report) AddContext(file string, d *hostcontext.Document) {
	c := &HostContext{
		File: file, Complete: d.Complete, Host: d.Host, Session: d.Session, Started: d.Started, Ended: d.Ended, Counters: []HostCounter{},
		SocketsSeen: d.Sampling.SocketsSeen, SocketsNamed: d.Sampling.SocketsNamed, Problems: d.Problems,
	}
	with := map[string][]string{} // of findings
	for i := range troubles {
		t := &troubles[i]
		for _, m := range d.Counters {
			if t.is(m.Name) && len(c.Counters) < maxShown {
				c.Counters = append(c.Counters, HostCounter{Name: m.Name, Delta: m.Delta, Meaning: t.meaning})
				for _, id := range t.findings {
					with[id] = append(with[id], fmt.Sprintf("%s +%d", m.Name, m.Delta))
				}
			}
		}
	}
	r.Context = append(r.Context, c)
	owners := d.Owners()
	for i := range r.Talkers.Conversations {
		v := &r.Talkers.Conversations[i]
		a, err1 := netip.ParseAddrPort(v.A)
		b, err2 := netip.ParseAddrPort(v.B)
		if err1 != nil || err2 != nil || v.Through != "" { // in a tunnel they are others' addresses
			continue
		}
		v.ProgramsA = addPrograms(v.ProgramsA, owners, v.Protocol, a, b, v.First, v.Last)
		v.ProgramsB = addPrograms(v.ProgramsB, owners, v.Protocol, b, a, v.First, v.Last)
	}
	for _, list := range [][]Finding{r.Quality, r.Failures} {
		for i := range list {
			f := &list[i]
			f.Counters = append(f.Counters, with[f.ID]...)
			f.addPrograms(d)
		}
	}
}

// addPrograms adds the programs at one end of a flow.
func addPrograms(list []string, owners *hostcontext.Owners, protocol string, local, remote netip.AddrPort, from, until time.Time) []string {
	sockets, listens := owners.Of(protocol, local, remote, from, until)
	for _, s := range sockets {
		name := s.Name()
		if listens {
			name += " (listens)"
		}
		list = addName(list, name)
	}
	return list
}

func addName(list []string, name string) []string {
	if len(list) == maxPrograms || slices.Contains(list, name) {
		return list
	}
	return append(list, name)
}

// addPrograms adds the programs that had sockets at an endpoint of a finding, or to it, at
// its time.
func (f *Finding) addPrograms(d *hostcontext.Document) {
	var ends []netip.AddrPort
	for _, text := range f.Endpoints {
		for part := range strings.SplitSeq(text, " > ") {
			if at, err := netip.ParseAddrPort(part); err == nil && at.Port() != 0 {
				ends = append(ends, at)
			}
		}
	}
	if len(ends) == 0 {
		return
	}
	const slack = time.Second // between two looks
	for i := range d.Sockets {
		s := &d.Sockets[i]
		if s.Program == "" || s.First.After(f.Last.Add(slack)) || s.Last.Before(f.First.Add(-slack)) {
			continue
		}
		switch {
		case slices.Contains(ends, s.Remote):
			f.Programs = addName(f.Programs, s.Name())
		case slices.Contains(ends, s.Local), s.Local.Addr().IsUnspecified() && slices.ContainsFunc(ends, func(e netip.AddrPort) bool { return e.Port() == s.Local.Port() && d.Has(e.Addr()) }):
			f.Programs = addName(f.Programs, s.Name()+" (at "+s.Local.String()+")")
		}
	}
}

// contextLines says what a context adds to a finding.
func (f *Finding) contextLines() (lines []string) {
	if len(f.Programs) > 0 {
		lines = append(lines, "programs: "+strings.Join(f.Programs, "; "))
	}
	if len(f.Counters) > 0 {
		lines = append(lines, "the machine counted: "+strings.Join(f.Counters, ", "))
	}
	return lines
}

// programsOf says whose a conversation is.
func (v Conversation) programsOf() string {
	a, b := strings.Join(v.ProgramsA, "; "), strings.Join(v.ProgramsB, "; ")
	switch {
	case a == "":
		return b
	case b == "":
		return a
	}
	return a + " → " + b
}

// context says what the machine that captured tells.
func (p *paper) context(r *Report) {
	for _, c := range r.Context {
		p.heading("What the machine counted")
		p.wrap("  ", "  ", fmt.Sprintf("%s: %d of %s named, sampled once a second", visible(c.File), c.SocketsNamed, plural(uint64(c.SocketsSeen), "socket")))
		if !c.Complete {
			p.wrapIn(yellow, "  ", "  ", "it is of the start of the capture only: the end could not be looked at or written")
		}
		for _, text := range c.Problems {
			p.wrapIn(yellow, "  ", "  ", fault.VisibleLine(text))
		}
		if len(c.Counters) == 0 && c.Complete {
			p.wrapIn(green, "  ", "  ", "no counter that tells of trouble has moved")
		}
		for _, k := range c.Counters {
			p.wrap("  ", "    ", fmt.Sprintf("%s +%d: %s", fault.VisibleLine(k.Name), k.Delta, k.Meaning))
		}
	}
}

// programs says whose the conversations are, as far as that is known.
func (p *paper) programs(list []Conversation) {
	for i := range list {
		if text := list[i].programsOf(); text != "" {
			p.wrap("  ", "    ", list[i].A+" → "+list[i].B+" is of "+fault.VisibleLine(text))
		}
	}
}
