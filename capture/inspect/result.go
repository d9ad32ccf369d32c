package inspect

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Report says what the packets showed. The engine is of no use after it.
func (e *Engine) Report() *Report {
	e.ended = true
	e.flows.each(e.endFlow)
	e.endDNS()
	e.endNeighbours()
	e.endDHCP()
	for _, k := range inOrder(e.frags.index, func(f *fragments) uint64 { return f.first.no }) {
		e.endFragments(&k, e.frags.index[k])
	}
	e.endServices()
	r := &Report{SchemaVersion: SchemaVersion, Packets: e.totals, Input: Input{Files: []InputFile{}}}
	r.Packets.First, r.Packets.Last = timeOf(e.first), timeOf(e.latest)
	r.Packets.DurationSeconds = seconds(e.latest - e.first)
	r.Failures, r.Limits.FailuresCut = e.failures()
	r.Quality = e.qualityFindings()
	r.TCP = TCP{TCPCounts: e.tcp, Services: e.reportServices(), ServiceCount: len(e.services)}
	r.DNS, r.TLS, r.HTTP = e.reportDNS(), e.reportTLS(), e.reportHTTP()
	r.Talkers = e.reportTalkers()
	r.Timeline = e.time.report()
	r.Limits.MaxFlows, r.Limits.EvictedFlows = e.o.MaxFlows, e.flows.evicted
	r.Limits.Dropped = e.left()
	r.Verdict = verdict(r)
	return r
}

// endedEarly notes that the files were not read to their end. A report of a part is not one of a
// complete capture, whatever else is found.
func (r *Report) endedEarly(in Input) {
	f := Finding{Severity: Warning, Count: uint64(len(in.Files)), Unit: "file", Endpoints: []string{}, Meaning: "what follows is of the packets before that only"}
	switch {
	case in.Interrupted:
		f.ID, f.Title, f.Next = "interrupted", "the capture was not read to its end: interrupted", "the same again, and let it finish"
	case in.Error != "":
		f.ID, f.Title, f.Next = "damaged", "the capture was not read to its end: a file is damaged or cut short", "the file where it was made; it may have been copied while it was written"
	default:
		return
	}
	r.Quality = slices.Insert(r.Quality, 0, f)
}

// headline is the verdict as the line that people read first.
func (r *Report) headline() string {
	if len(r.Failures) > 0 {
		return "First failure: " + r.Verdict
	}
	return strings.ToUpper(r.Verdict[:1]) + r.Verdict[1:]
}

// complete answers whether the capture is, "" where a finding says that it is not. Other findings of
// quality say how the packets that are there are to be read.
func (r *Report) complete() string {
	missing := slices.ContainsFunc(r.Quality, func(f Finding) bool {
		return slices.Contains([]string{"damaged", "interrupted", "capture-drops", "capture-gaps", "one-direction"}, f.ID)
	})
	switch {
	case missing:
		return ""
	case r.Packets.Count == 0:
		return "there are no packets to tell it by"
	}
	return "nothing shows that packets are missing"
}

// failed answers whether something failed, "" where the findings do.
func (r *Report) failed() string {
	if len(r.Failures) > 0 {
		return ""
	}
	return "none found"
}

func verdict(r *Report) string {
	switch {
	case r.Packets.Count == 0:
		return "there are no packets"
	case len(r.Failures) == 0:
		return "no failure found"
	}
	return r.Failures[0].Title
}

// left is what found no room.
func (e *Engine) left() map[string]uint64 {
	m := map[string]uint64{}
	for name, n := range map[string]uint64{
		"tlsNames": e.dropped.tls, "httpHosts": e.dropped.http, "dnsServers": e.dropped.dnsServers, "dnsNames": e.dns.names.lost,
		"neighbours": e.dropped.neighbours, "dhcpExchanges": e.dropped.dhcp, "services": e.dropped.services, "hosts": e.talk.lost,
		"hostNames": e.hosts.lost, "tunnels": e.vias.lost, "problems": e.problems.lost, "tlsHellos": e.pieces.lost,
	} {
		if n > 0 {
			m[name] = n
		}
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

func (t *tally) finding(id string, severity Severity, unit, title, filter, meaning, next string) Finding {
	return Finding{
		ID: id, Severity: severity, Title: title, Count: t.n, Unit: unit, Endpoints: []string{},
		First: timeOf(t.first.at), Last: timeOf(t.last.at), FirstPacket: t.first.no, LastPacket: t.last.no,
		DisplayFilter: filter, Meaning: meaning, Next: next,
	}
}

// Losses is what is known of packets that the capture did not get.
type Losses struct {
	ByKernel, ByInterface, ByFile uint64
}

// qualityFindings say whether the capture is complete.
func (e *Engine) qualityFindings() []Finding {
	list := []Finding{}
	add := func(t tally, id string, severity Severity, unit, title, filter, meaning, next string) {
		if t.n > 0 {
			list = append(list, t.finding(id, severity, unit, title, filter, meaning, next))
		}
	}
	// The session's record and its pcapng file tell the same losses; each of them may know more.
	byInterface, bySystem := max(e.losses.byInterface, e.told.ByInterface), max(e.losses.bySystem, e.told.ByKernel+e.told.ByFile)
	lost := max(byInterface+bySystem, e.losses.beforePacket)
	unwritten, remedy := "", "a larger buffer, a narrower filter, or fewer bytes of each packet"
	if n := e.told.ByFile; n > 0 {
		unwritten, remedy = fmt.Sprintf(" (%d of them could not be written to the file)", n), "the space on the disk of the capture, and what became of its file (`pcapctl show`)"
	}
	add(tally{n: lost}, "capture-drops", Warning, "packet",
		fmt.Sprintf("%s not captured: %d lost by the system that captured%s, %d by its interfaces", plural(lost, "packet"), bySystem, unwritten, byInterface), "",
		"what is missing below may be missing in the capture only", remedy)
	add(e.ackLost, "capture-gaps", Warning, "packet",
		fmt.Sprintf("%s acknowledged data that is not in the capture", plural(e.ackLost.n, "packet")), "tcp.analysis.ack_lost_segment",
		"the packets were on the wire, and the capture does not have them", "drops of the capture, and whether it sees both directions")
	if !e.cutElsewhere {
		add(e.cut, "headers-only", Note, "packet", fmt.Sprintf("%s without what is behind the headers: the capture was made so", plural(e.cut.n, "packet")),
			"frame.cap_len < frame.len", "lengths, and all that TCP tells, are right; there are no names of DNS, TLS and HTTP", "")
		e.cut.n = 0
	}
	add(e.cut, "packets-cut", Note, "packet", fmt.Sprintf("%s cut short: not all their bytes are in the file", plural(e.cut.n, "packet")),
		"frame.cap_len < frame.len", "names of DNS, TLS and HTTP may be missing below", "a larger --bytes-to-capture-per-packet")
	one := e.oneWay.finding("one-direction", Warning, "connection", fmt.Sprintf("of %s only one direction is in the capture", plural(e.oneWay.n, "connection")), "",
		"routes differ by direction, or the capture is on one of several interfaces", "a capture on all interfaces, or on the other path")
	for _, a := range e.oneWayEnds.others[:e.oneWayEnds.otherCount] {
		one.Endpoints = append(one.Endpoints, a.String())
	}
	if one.More = e.oneWayEnds.more; e.oneWay.n > 0 {
		list = append(list, one)
	}
	add(e.joined, "joined-in-the-middle", Note, "connection", fmt.Sprintf("%s had begun before the capture", plural(e.joined.n, "connection")),
		"tcp && !(tcp.completeness & 3)", "their handshake is not in the capture; which end is the server is guessed from the port numbers", "")
	add(e.back, "time-backwards", Warning, "packet", fmt.Sprintf("the time jumps back by up to %s", duration(e.back.most)), "frame.time_delta < -1",
		"the clock was set, or files were joined in the wrong order; durations are wrong", "the clock of the machine that captured")
	add(e.ahead, "time-gap", Note, "packet", fmt.Sprintf("the time jumps ahead by up to %s", duration(e.ahead.most)), "frame.time_delta > 3600",
		"nothing was captured for that long, the clock was set, or files are missing", "")
	add(e.offload, "checksum-offload", Note, "packet", fmt.Sprintf("%s, of the first four of each flow, with checksums that the network card fills in later", plural(e.offload.n, "packet")), "",
		"an artefact of capturing on the sender; not a fault", "")
	add(e.badSum, "checksum-wrong", Warning, "packet", fmt.Sprintf("%s, of the first four of each flow, with a wrong checksum of TCP or UDP", plural(e.badSum.n, "packet")), "",
		"damaged on the way, or an offload that is not recognised", "error counters of the interfaces on the way")
	duplicates := Note
	if e.duplicates.n*20 > e.totals.Count {
		duplicates = Warning
	}
	add(e.duplicates, "duplicate-packets", duplicates, "packet", fmt.Sprintf("%s in the capture twice", plural(e.duplicates.n, "packet")), "",
		"captured on two interfaces that they pass (any, a bridge), or sent twice by the network; they look like retransmissions", "one interface; `editcap -d` takes them out")
	add(tally{n: e.totals.NotDecoded}, "not-decoded", Note, "packet", fmt.Sprintf("%s cannot be looked into", plural(e.totals.NotDecoded, "packet")), "",
		"their link type or headers are not known here", "")
	add(tally{n: e.flows.evicted}, "flows-evicted", Note, "flow", fmt.Sprintf("%s given up to stay within the bound", plural(e.flows.evicted, "flow")), "",
		"a later packet of such a flow counts as joined in the middle", "a larger --max-flows, or a --filter")
	slices.SortStableFunc(list, func(a, b Finding) int { return cmp.Compare(rank(a.Severity), rank(b.Severity)) })
	return list
}

func (g *dnsGroup) report(name string) DNSGroup {
	return DNSGroup{
		Name: name, Queries: g.queries, Answers: g.answers, Unanswered: g.silence, NXDomain: g.nx, ServFail: g.servfail, Refused: g.refused,
		OtherError: g.other, Latency: g.latency.latency(),
	}
}

func (g *DNSGroup) failures() uint64 {
	return g.Unanswered + g.ServFail + g.Refused + g.OtherError + g.NXDomain
}

func firstGroups(list []DNSGroup, top int) []DNSGroup {
	slices.SortFunc(list, func(a, b DNSGroup) int {
		return cmp.Or(cmp.Compare(b.failures(), a.failures()), cmp.Compare(b.Queries, a.Queries), cmp.Compare(a.Name, b.Name))
	})
	return list[:min(len(list), top)]
}

func (e *Engine) reportDNS() DNS {
	r := e.dns.DNS
	r.Latency = e.dns.latency.latency()
	servers, names := []DNSGroup{}, []DNSGroup{}
	for at, g := range e.dns.servers {
		servers = append(servers, g.report(at.String()))
	}
	for n, g := range e.dns.byName {
		names = append(names, g.report(e.dns.names.text(n)))
	}
	r.Servers, r.Names = firstGroups(servers, e.o.Top), firstGroups(names, e.o.Top)
	return r
}

func (e *Engine) reportTLS() TLS {
	t := &e.tls
	r := TLS{ClientHellos: t.hellos, ServerHellos: t.answers, Unanswered: t.silence, Alerts: t.alerts, Names: []TLSName{}, Versions: []Count{}}
	version := func(i int) string { return tlsVersion(0x0300 + uint16(i)) }
	for i, c := range t.versions {
		if c.Packets > 0 {
			r.Versions = append(r.Versions, Count{version(i), c.Packets, c.Bytes})
		}
	}
	for k, n := range t.names {
		name := TLSName{
			Name: e.hosts.text(k.name), Server: n.server.String(), ClientHellos: n.hellos, ServerHellos: min(n.answers, n.hellos), Unanswered: n.silence,
			Alerts: n.alerts, Versions: []string{},
		}
		for i, ok := range n.versions {
			if ok {
				name.Versions = append(name.Versions, version(i))
			}
		}
		r.Names = append(r.Names, name)
	}
	slices.SortFunc(r.Names, func(a, b TLSName) int {
		return cmp.Or(cmp.Compare(b.Unanswered+b.Alerts, a.Unanswered+a.Alerts), cmp.Compare(b.ClientHellos, a.ClientHellos),
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.Server, b.Server))
	})
	r.Names = r.Names[:min(len(r.Names), e.o.Top)]
	return r
}

func (e *Engine) reportHTTP() HTTP {
	h := &e.http
	r := HTTP{Requests: h.requests, Responses: h.responses, Status4xx: h.c4, Status5xx: h.c5, Hosts: []HTTPHost{}}
	for k, n := range h.hosts {
		host := HTTPHost{Host: e.hosts.text(k.name), Server: n.server.String(), Requests: n.requests, Responses: n.responses, Status4xx: n.c4, Status5xx: n.c5}
		if n.unnamed {
			host.Host = host.Server
		}
		host.Codes = sorted(n.codes, e.o.Top, func(k int) string { return fmt.Sprint(k) })
		r.Hosts = append(r.Hosts, host)
	}
	slices.SortFunc(r.Hosts, func(a, b HTTPHost) int {
		return cmp.Or(cmp.Compare(b.Status5xx, a.Status5xx), cmp.Compare(b.Status4xx, a.Status4xx), cmp.Compare(b.Responses, a.Responses),
			cmp.Compare(a.Host, b.Host), cmp.Compare(a.Server, b.Server))
	})
	r.Hosts = r.Hosts[:min(len(r.Hosts), e.o.Top)]
	return r
}

// inOrder are the keys of a table in the order in which packets made its entries, so that the
// same capture gives the same report.
func inOrder[K comparable, V any](m map[K]V, number func(V) uint64) []K {
	return slices.SortedFunc(maps.Keys(m), func(a, b K) int { return cmp.Compare(number(m[a]), number(m[b])) })
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
