package inspect_test

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pcapctl/capture/inspect"
	"pcapctl/capture/inspect/netlab"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/source/capfile"
	"pcapctl/capture/testnet"
)

// inspected is what this package says of a capture.
type inspected struct {
	marks  []inspect.Marks // of packet 1 and so on
	report *inspect.Report
}

func inspectFile(t testing.TB, path string) *inspected {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	r, err := pcapfile.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	got := &inspected{}
	e := inspect.NewEngine(inspect.Options{Top: 1000, Observe: func(number uint64, m inspect.Marks) {
		if number != uint64(len(got.marks))+1 {
			t.Fatalf("packet %d is observed after %d others", number, len(got.marks))
		}
		got.marks = append(got.marks, m)
	}})
	list := make([]pcapfile.Packet, capfile.MaxList)
	for {
		err := r.Next(&list[0])
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		n := 1
		for n < len(list) && r.NextHere(&list[n]) {
			n++
		}
		e.Packets(list[:n], ^uint32(0))
	}
	got.report = e.Report()
	return got
}

// differences compares what tshark and this package say of a capture, packet by packet
// and in total.
func differences(c *netlab.Capture, got *inspected) (all []string) {
	differ := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	if len(c.Packets) != len(got.marks) {
		differ("tshark sees %d packets, inspect %d", len(c.Packets), len(got.marks))
		return all
	}
	streams := make(map[string]bool)
	rtts, shown := make(map[string]float64), make(map[string]int) // by stream; and in which packet first
	done, last := make(map[string]int), make(map[string]int)      // last: with a result of the analysis
	refused := make(map[string]bool)
	var handshakes []float64
	total := make(map[string]uint64)
	for i := range c.Packets {
		p, m := &c.Packets[i], got.marks[i]
		check := func(what string, mark inspect.Marks, want bool) {
			if want {
				total[what]++
			}
			if has := m&mark != 0; has != want {
				differ("packet %d: %s is %t in tshark, and %t here", i+1, what, want, has)
			}
		}
		tcp := p.Has("tcp.stream") && !quoted(p)
		for _, f := range tsharkMarks {
			check(f.field, f.mark, tcp && p.Has(f.field))
		}
		check("tcp.flags.reset", inspect.Reset, tcp && p.Is("tcp.flags.reset", "1"))
		stream := p.Get("tcp.stream")
		check("first of tcp.stream", inspect.NewConnection, tcp && !streams[stream])
		if tcp {
			streams[stream] = true
		}
		if tcp {
			if p.Has("tcp.analysis") {
				last[stream] = i + 1
			} else if last[stream] == 0 {
				last[stream] = -1
			}
			if v := p.Get("tcp.analysis.initial_rtt"); v != "" && shown[stream] == 0 {
				rtts[stream], shown[stream] = number(v), i+1
			}
			if m&inspect.HandshakeDone != 0 {
				done[stream], refused[stream] = i+1, p.Is("tcp.flags.reset", "1")
			}
		}
		dns := p.Has("dns.id") && !quoted(p)
		check("dns query", inspect.DNSQuery, dns && p.Is("dns.flags.response", "0"))
		check("dns answer", inspect.DNSAnswer, dns && p.Is("dns.flags.response", "1"))
		check("dns.flags.rcode", inspect.DNSError, dns && p.Is("dns.flags.response", "1") && !p.Is("dns.flags.rcode", "0"))
	}
	// tshark shows the round trip with the packet that ends the handshake or, if the analysis has
	// no result there, with the first one behind it that has. hidden counts those of which it does not
	// tell.
	hidden := 0
	for stream := range last {
		d, first := done[stream], shown[stream]
		if d != first && (d == 0 || first == 0 && last[stream] > d || first != 0 && first < d) {
			differ("tcp.stream %s: tcp.analysis.initial_rtt is first in packet %d of tshark, and the handshake ends with packet %d here", stream, first, d)
		}
		switch {
		case refused[stream]: // tshark has the time until the RST; there is no handshake, or a later one
			hidden++
		case first != 0:
			handshakes = append(handshakes, rtts[stream])
		case d != 0:
			hidden++
		}
	}
	r := got.report
	for _, f := range []struct {
		field string
		count uint64
	}{
		{"tcp.analysis.retransmission", r.TCP.Retransmissions}, {"tcp.analysis.fast_retransmission", r.TCP.Fast},
		{"tcp.analysis.spurious_retransmission", r.TCP.Spurious}, {"tcp.analysis.out_of_order", r.TCP.OutOfOrder},
		{"tcp.analysis.duplicate_ack", r.TCP.DuplicateAcks}, {"tcp.analysis.lost_segment", r.TCP.LostSegments},
		{"tcp.analysis.ack_lost_segment", r.TCP.AckLostSegments}, {"tcp.analysis.zero_window", r.TCP.ZeroWindows},
		{"tcp.analysis.zero_window_probe", r.TCP.ZeroProbes}, {"tcp.analysis.zero_window_probe_ack", r.TCP.ZeroProbeAcks},
		{"tcp.analysis.window_full", r.TCP.WindowFulls}, {"tcp.analysis.window_update", r.TCP.WindowUpdates},
		{"tcp.analysis.keep_alive", r.TCP.KeepAlives}, {"tcp.analysis.keep_alive_ack", r.TCP.KeepAliveAcks},
		{"tcp.analysis.reused_ports", r.TCP.ReusedPorts}, {"tcp.flags.reset", r.TCP.Resets},
		{"first of tcp.stream", r.TCP.Connections},
	} {
		if f.count != total[f.field] {
			differ("%s: %d in tshark, and %d in the report", f.field, total[f.field], f.count)
		}
	}
	all = append(all, differentHandshakes(handshakes, hidden, r)...)
	all = append(all, differentDNS(c, r)...)
	all = append(all, differentConversations(c, r)...)
	return all
}

// quoted reports whether a packet is an ICMP error: what tshark says of TCP and DNS is
// then of the packet that it quotes.
func quoted(p *netlab.Packet) bool { return p.Has("icmp.type") || p.Has("icmpv6.type") }

func number(s string) float64 {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		panic(err)
	}
	return f
}

// same compares seconds that are both exact to a nanosecond.
func same(a, b float64) bool { return math.Abs(a-b) < 2e-9 }

// differentHandshakes compares all round trips: how many, the least and the greatest,
// which are exact, and the percentiles, whose steps are 1/16.
func differentHandshakes(want []float64, hidden int, r *inspect.Report) (all []string) {
	var count uint64
	lowest, highest := math.Inf(1), 0.0
	for _, s := range r.TCP.Services {
		count += s.HandshakeRTT.Count
		if s.HandshakeRTT.Count > 0 {
			lowest, highest = min(lowest, s.HandshakeRTT.MinSeconds), max(highest, s.HandshakeRTT.MaxSeconds)
		}
	}
	if count < uint64(len(want)) || count > uint64(len(want)+hidden) {
		return []string{fmt.Sprintf("tshark has %d handshakes, and %d that it may not show, the report %d", len(want), hidden, count)}
	}
	if count == 0 || hidden > 0 {
		return nil
	}
	if !same(lowest, slices.Min(want)) || !same(highest, slices.Max(want)) {
		all = append(all, fmt.Sprintf("round trips of handshakes are from %v to %v in tshark, and from %v to %v in the report",
			slices.Min(want), slices.Max(want), lowest, highest))
	}
	if len(r.TCP.Services) == 1 {
		all = append(all, differentPercentiles("handshakes", want, r.TCP.Services[0].HandshakeRTT)...)
	}
	return all
}

// differentPercentiles compares percentiles with those of the values themselves.
func differentPercentiles(what string, values []float64, got inspect.Latency) (all []string) {
	slices.Sort(values)
	for _, q := range []struct {
		percent int
		got     float64
	}{{50, got.P50Seconds}, {99, got.P99Seconds}} {
		n := len(values) * q.percent / 100
		// Between the neighbours of the value, as there are several definitions.
		low, high := values[max(0, n-1)], values[min(len(values)-1, n)]
		if q.got < low*15/16-1e-6 || q.got > high*17/16+1e-6 {
			all = append(all, fmt.Sprintf("percentile %d of %s: %v in the report, which is not between %v and %v", q.percent, what, q.got, low, high))
		}
	}
	return all
}

// differentDNS compares the totals of DNS. tshark's dns.response_to is what belongs to
// a query, dns.retransmit_request a query that is repeated, and dns.retransmit_response an answer
// to it that comes again.
func differentDNS(c *netlab.Capture, r *inspect.Report) (all []string) {
	var queries, repeated, answers, nxdomain, servfail, refused, other, truncated uint64
	var times []float64
	for i := range c.Packets {
		p := &c.Packets[i]
		if !p.Has("dns.id") || quoted(p) {
			continue
		}
		if p.Is("dns.flags.response", "0") {
			if p.Has("dns.retransmit_request") {
				repeated++
			} else {
				queries++
			}
			continue
		}
		if p.Is("dns.flags.truncated", "1") {
			truncated++
		}
		if !p.Has("dns.response_to") || p.Has("dns.retransmit_response") {
			continue // unasked
		}
		answers++
		times = append(times, number(p.Get("dns.time")))
		switch p.Get("dns.flags.rcode") {
		case "0":
		case "2":
			servfail++
		case "3":
			nxdomain++
		case "5":
			refused++
		default:
			other++
		}
	}
	d := r.DNS
	for _, f := range []struct {
		what      string
		want, got uint64
	}{
		{"queries", queries, d.Queries}, {"repeated", repeated, d.Repeated}, {"answers", answers, d.Answers}, {"NXDOMAIN", nxdomain, d.NXDomain},
		{"SERVFAIL", servfail, d.ServFail}, {"REFUSED", refused, d.Refused}, {"other errors", other, d.OtherError}, {"truncated", truncated, d.Truncated},
	} {
		if f.want != f.got {
			all = append(all, fmt.Sprintf("DNS %s: %d in tshark, and %d in the report", f.what, f.want, f.got))
		}
	}
	if len(times) == 0 || answers != d.Answers {
		return all
	}
	if !same(slices.Min(times), d.Latency.MinSeconds) || !same(slices.Max(times), d.Latency.MaxSeconds) {
		all = append(all, fmt.Sprintf("dns.time is from %v to %v in tshark, and from %v to %v in the report",
			slices.Min(times), slices.Max(times), d.Latency.MinSeconds, d.Latency.MaxSeconds))
	}
	return append(all, differentPercentiles("dns.time", times, d.Latency)...)
}

// differentConversations compares the TCP conversations with tshark -z conv,tcp: their
// ends and the packets each way.
func differentConversations(c *netlab.Capture, r *inspect.Report) (all []string) {
	want, got := make(map[string]int), make(map[string]int)
	isTCP := make(map[string]bool)
	for _, v := range c.Conversations {
		ends, packets := conversation(v.A, v.B, v.FramesAB, v.FramesBA)
		isTCP[ends] = true
		want[ends+": "+packets]++
	}
	for _, v := range r.Talkers.Conversations {
		// The protocol of a conversation may be one over TCP.
		if ends, packets := conversation(v.A, v.B, v.PacketsAB, v.PacketsBA); isTCP[ends] {
			got[ends+": "+packets]++
		}
	}
	if !maps.Equal(want, got) {
		all = append(all, fmt.Sprintf("conversations are %v in tshark -z conv,tcp, and %v in the report", want, got))
	}
	return all
}

func conversation(a, b string, ab, ba uint64) (ends, packets string) {
	plain := strings.NewReplacer("[", "", "]", "")
	if a, b = plain.Replace(a), plain.Replace(b); a > b {
		a, b, ab, ba = b, a, ba, ab
	}
	return a + " > " + b, fmt.Sprintf("%d and %d", ab, ba)
}

// TestBuiltScenesTshark compares the scenes whose packets are made by this test, too, which
// stacks of today would not send.
func TestBuiltScenesTshark(t *testing.T) {
	testnet.NeedTools(t, "tshark")
	for _, test := range scenes {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newScene(t)
			test.make(s)
			path := s.write()
			for _, d := range differences(netlab.Read(t, path), inspectFile(t, path)) {
				t.Errorf("differs from tshark: %s", d)
			}
		})
	}
}
