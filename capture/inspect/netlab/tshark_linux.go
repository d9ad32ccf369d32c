package netlab

import (
	"bytes"
	"fmt"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"pcapctl/capture/testnet"
)

// fields are what tshark is asked for of every packet.
var fields = []string{
	"frame.number", "frame.time_epoch", "frame.len", "frame.protocols",
	"ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "ipv6.version", "ip.proto", "ip.flags.mf", "vlan.id", "vxlan.vni", "geneve.vni", "gre.proto",
	"tcp.stream", "tcp.srcport", "tcp.dstport", "tcp.len", "tcp.flags.syn", "tcp.flags.ack", "tcp.flags.fin", "tcp.flags.reset",
	"tcp.analysis", "tcp.analysis.retransmission", "tcp.analysis.fast_retransmission", "tcp.analysis.spurious_retransmission",
	"tcp.analysis.out_of_order", "tcp.analysis.duplicate_ack", "tcp.analysis.lost_segment", "tcp.analysis.ack_lost_segment",
	"tcp.analysis.zero_window", "tcp.analysis.zero_window_probe", "tcp.analysis.zero_window_probe_ack",
	"tcp.analysis.window_full", "tcp.analysis.window_update", "tcp.analysis.keep_alive", "tcp.analysis.keep_alive_ack",
	"tcp.analysis.reused_ports", "tcp.analysis.initial_rtt",
	"udp.srcport", "udp.dstport",
	"dns.id", "dns.flags.response", "dns.flags.rcode", "dns.flags.truncated", "dns.response_to", "dns.time", "dns.retransmit_request", "dns.retransmit_response", "dns.unsolicited", "dns.qry.name",
	"icmp.type", "icmp.code", "icmp.mtu", "icmpv6.type", "icmpv6.code", "arp.opcode", "dhcp.option.dhcp",
	"tls.handshake.type", "tls.alert_message.desc", "http.response.code",
}

var fieldIndex = func() map[string]int {
	m := make(map[string]int)
	for i, f := range fields {
		m[f] = i
	}
	return m
}()

// Packet is what tshark says of a packet, by field.
type Packet struct{ values []string }

// Get is the value of a field, with a comma between several; "" when the packet does not have it.
func (p *Packet) Get(field string) string {
	i, ok := fieldIndex[field]
	if !ok {
		panic("tshark is not asked for " + field)
	}
	return p.values[i]
}

// Has reports whether the packet has a field.
func (p *Packet) Has(field string) bool { return p.Get(field) != "" }

// Is reports whether a field of the packet has a value, or one of its values is that.
func (p *Packet) Is(field, value string) bool {
	for v := range strings.SplitSeq(p.Get(field), ",") {
		if v == value {
			return true
		}
	}
	return false
}

// Capture is what tshark says of a capture file.
type Capture struct {
	Packets       []Packet
	Conversations []Conversation // of TCP, one for each tcp.stream: -z conv,tcp
}

// Conversation is one line of -z conv,tcp. A and B are "address:port", also of IPv6.
type Conversation struct {
	A, B               string
	FramesAB, FramesBA uint64
}

// conversationLine is such as "10.1.0.1:54526  <-> 10.1.0.2:80   23 27 kB   19 1747 bytes …". The frames
// to A come first.
var conversationLine = regexp.MustCompile(`^(\S+)\s+<->\s+(\S+)\s+(\d+) \d+ \S+\s+(\d+) `)

// Read has tshark read a capture file. Its preferences are those that it comes with;
// of the user's own it knows nothing.
func Read(t testing.TB, path string) *Capture {
	t.Helper()
	testnet.NeedTools(t, "tshark")
	busy <- struct{}{}
	defer func() { <-busy }()
	args := []string{"-n", "-r", path, "-T", "fields", "-E", "separator=|", "-E", "occurrence=a", "-E", "aggregator=,", "-z", "conv,tcp"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.CommandContext(t.Context(), "tshark", args...)
	home := t.TempDir()
	cmd.Env = append(cmd.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "WIRESHARK_CONFIG_DIR="+home)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("tshark: %v\n%s", err, errs.String())
	}
	c := &Capture{}
	packets, conversations, _ := strings.Cut(out.String(), "====")
	for line := range strings.Lines(conversations) {
		m := conversationLine.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		v := Conversation{A: m[1], B: m[2]}
		for i, to := range []*uint64{&v.FramesBA, &v.FramesAB} {
			n, err := strconv.ParseUint(m[3+i], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			*to = n
		}
		c.Conversations = append(c.Conversations, v)
	}
	for line := range strings.Lines(packets) {
		values := strings.Split(strings.TrimSuffix(line, "\n"), "|")
		if len(values) != len(fields) {
			t.Fatalf("tshark gave %d fields, want %d: %q", len(values), len(fields), line)
		}
		c.Packets = append(c.Packets, Packet{values})
	}
	return c
}

// Shows reports whether a condition holds. "field" wants a packet that has it, and
// "field=value" one in which it has that value; "!" before them wants none.
func (c *Capture) Shows(condition string) error {
	text, none := strings.CutPrefix(condition, "!")
	field, value, compare := strings.Cut(text, "=")
	for i := range c.Packets {
		p := &c.Packets[i]
		if (compare && p.Is(field, value)) || (!compare && p.Has(field)) {
			if none {
				return fmt.Errorf("packet %s has %s=%s", p.Get("frame.number"), field, p.Get(field))
			}
			return nil
		}
	}
	if none {
		return nil
	}
	return fmt.Errorf("no packet has %s", condition)
}
