package filter

import (
	"bufio"
	"bytes"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

// tcpdump is what tcpdump says of an expression, for live capture on an Ethernet-like device.
func tcpdump(t testing.TB, expr string, options ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "tcpdump", append(append([]string{"-i", "lo"}, options...), expr)...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tcpdump %q %q: %v\n%s", options, expr, err, stderr.Bytes())
	}
	return strings.TrimSuffix(string(out), "\n")
}

func needTcpdump(t testing.TB) {
	t.Helper()
	if _, err := exec.LookPath("tcpdump"); err != nil {
		needOf(t, "tcpdump")
	}
	ownNamespace(t)
}

// libpcap is the program that libpcap makes of an expression. -O tells it not to optimize the program: the optimizer
// of libpcap 1.10.3 changes what some expressions match (TestLibpcapOptimizerErrs).
func libpcap(t testing.TB, expr string) []bpf.RawInstruction {
	t.Helper()
	program := programFrom(tcpdump(t, expr, "-ddd", "-O"))
	if len(program) == 0 {
		t.Fatalf("tcpdump made no program of %q", expr)
	}
	return program
}

// programFrom reads what tcpdump -ddd prints.
func programFrom(text string) []bpf.RawInstruction {
	var program []bpf.RawInstruction
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		var i bpf.RawInstruction
		if n, _ := fmt.Sscan(lines.Text(), &i.Op, &i.Jt, &i.Jf, &i.K); n == 4 {
			program = append(program, i)
		}
	}
	return program
}

// withExtensions makes instructions of raw ones; libpcap loads some metadata as half words and bytes.
func withExtensions(raw []bpf.RawInstruction) []bpf.Instruction {
	out := make([]bpf.Instruction, len(raw))
	for n, i := range raw {
		if i.Op&opClass == classLd && i.Op&opMode == modeAbs && i.K >= adOffset {
			out[n] = bpf.LoadExtension{Num: bpf.Extension(i.K - adOffset)}
			continue
		}
		out[n] = i.Disassemble()
	}
	return out
}

// plain is a packet that both a filter and its expression can match: whole and well formed, on Ethernet, without
// tags, extension headers and fragments, of a protocol whose ports libpcap knows.
func (r random) plain() Packet {
	protocol := pick[uint8](r, protoTCP, protoTCP, protoUDP, protoUDP, protoSCTP, 47, protoICMP)
	v6 := r.chance(40)
	if v6 && protocol == protoICMP {
		protocol = protoICMPv6
	}
	head := []byte{0x08, 0x00}
	var ip []byte
	if v6 {
		head = []byte{0x86, 0xdd}
		ip = make([]byte, 40)
		ip[0], ip[6] = 0x60, protocol
		src, dst := r.addr(true).As16(), r.addr(true).As16()
		copy(ip[8:], src[:])
		copy(ip[24:], dst[:])
	} else {
		words := pick(r, 5, 5, 5, 6, 15)
		ip = make([]byte, words*4)
		ip[0], ip[9] = 0x40|uint8(words), protocol
		src, dst := r.addr(false).As4(), r.addr(false).As4()
		copy(ip[12:], src[:])
		copy(ip[16:], dst[:])
	}
	transport := r.transport()
	if len(transport) < 20 && protocol == protoTCP {
		transport = append(transport, make([]byte, 20-len(transport))...) // libpcap rejects a packet whose flags are cut off
	}
	data := bytes.Join([][]byte{make([]byte, 12), head, ip, transport}, nil)
	return Packet{Data: data, Direction: pick(r, Incoming, Outgoing)}
}

// For what both can say, libpcap's program for the expression of a set agrees with the set.
func TestPcapExpressionIsMatch(t *testing.T) {
	needTcpdump(t)
	r := newRandom(t)
	want := propertyCases(t, 20_000)
	packets := max(200, want/500) // starting tcpdump takes longer than matching many packets
	cases, matches, skipped := 0, 0, 0
	for cases < want {
		var exprs []string
		var filters []Filter
		for range 1 + r.IntN(3) {
			f := r.filter(t)
			expr, ok := f.PcapExpression()
			if !ok || expr == "" {
				skipped++
				continue
			}
			filters, exprs = append(filters, f), append(exprs, "("+expr+")")
		}
		if len(filters) == 0 {
			continue
		}
		set, expr := NewSet(filters...).WithICMPErrors(false), strings.Join(exprs, " or ")
		program := withExtensions(libpcap(t, expr))
		for range packets {
			p := r.plain()
			got := run(t, program, &p, metadataOf(&p)) > 0
			if want := setMatches(t, set, &p); got != want {
				t.Fatalf("set %v\nexpression %s\npacket %+v\nlibpcap: %v, Match: %v", set, expr, p, got, want)
			} else if want {
				matches++
			}
			cases++
		}
	}
	t.Logf("%d cases, %d matched; %d filters had no expression", cases, matches, skipped)
	enough(t, matches, cases)
}

// A packet to 10.0.0.1 that comes in is one of "ip host 10.0.0.1", whatever the expression asks before that. The
// program that libpcap does not optimize says so, as Match does. What its optimizer makes of it is logged: the
// expressions that `pcapctl validate` prints are right, and tcpdump needs -O for some of them.
func TestLibpcapOptimizerErrs(t *testing.T) {
	needTcpdump(t)
	const expr = "(outbound and (ip dst host 10.0.0.1 or ip dst host 127.0.0.1)) or " +
		"(inbound and (ip src host 10.0.0.1 or ip src host 127.0.0.1)) or ip host 10.0.0.1 or ip host 10.0.0.2"
	ip := make([]byte, 20)
	ip[0], ip[9] = 0x45, protoUDP
	copy(ip[12:], []byte{10, 0, 1, 0, 10, 0, 0, 1})
	p := Packet{Data: bytes.Join([][]byte{make([]byte, 12), {0x08, 0x00}, ip, make([]byte, 8)}, nil), Direction: Incoming}
	if run(t, withExtensions(libpcap(t, expr)), &p, metadataOf(&p)) == 0 {
		t.Error("libpcap without its optimizer does not match it either")
	}
	optimized := withExtensions(programFrom(tcpdump(t, expr, "-ddd")))
	t.Logf("libpcap's optimized program matches: %t", run(t, optimized, &p, metadataOf(&p)) > 0)
}

// What tcpdump prints of its own programs is what Disassemble and DDD make of them.
func TestDisassembleIsTcpdump(t *testing.T) {
	needTcpdump(t)
	for _, expr := range []string{
		"tcp port 80",
		"inbound and ifindex 4 and vlan 5 and ip6[40+ip6[4]] = 3",
		"ip[2:2] > 5 and tcp[tcpflags] & 2 != 0 and len > 60 and ether[0] & 1 = 1",
		"ip[8] * 4 = 12 or ip[9] / 3 = 2 or ip[1] - 1 = ip[2] or ip[4] ^ 3 > ip[5] or ip[3] | 8 >= ip[4] << 2 or ip[1] % 5 = 2 or -ip[1] = 9",
	} {
		t.Run(expr, func(t *testing.T) {
			ddd := tcpdump(t, expr, "-ddd")
			p := Program{Raw: programFrom(ddd)}
			if got, want := p.Disassemble(), tcpdump(t, expr, "-d"); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			if got, want := p.DDD(), ddd; got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}
