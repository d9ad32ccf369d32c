package filter

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/gopacket/layers"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// benchmarkSet is n filters with single values, ranges and lists, no two of which overlap much.
func benchmarkSet(b *testing.B, n int) Set {
	filters := make([]Filter, 0, n)
	for i := range n {
		a := func(low int) string { return addrText(10, byte(i>>8), byte(i), byte(low)) }
		switch i % 4 {
		case 0:
			filters = append(filters, parsed(b, "protocol=TCP", "remoteIPAddress="+a(7), "remotePort=443"))
		case 1:
			filters = append(filters, parsed(b, "protocol=UDP", "remoteIPAddress="+a(16)+"-"+a(77), "remotePort=5000-6000"))
		case 2:
			filters = append(filters, parsed(b, "remoteIPAddress="+a(1)+";"+a(9)+";"+a(17)))
		default:
			filters = append(filters, parsed(b, "protocol=TCP", fmt.Sprintf("localPort=%d-%d", 20000+10*i, 20005+10*i)))
		}
	}
	return NewSet(filters...)
}

// benchmarkPackets are packets that are sent: one that no filter matches and one that the first filter does.
func benchmarkPackets() map[string]Packet {
	frame := func(a ...byte) Packet {
		data := append([]byte(nil), plainTCP...)
		copy(data[26:], []byte{192, 168, 0, 1})
		copy(data[30:], a)
		return Packet{Data: data, Direction: Outgoing}
	}
	return map[string]Packet{"miss": frame(192, 168, 0, 2), "hit": frame(10, 0, 0, 7)}
}

var benchmarkSizes = []int{1, 10, 100, 1000}

func BenchmarkMatch(b *testing.B) {
	for _, n := range benchmarkSizes {
		set := benchmarkSet(b, n)
		for name, p := range benchmarkPackets() {
			b.Run(fmt.Sprintf("filters=%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if set.Match(&p) != (name == "hit") {
						b.Fatal("a wrong match")
					}
				}
			})
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, n := range benchmarkSizes {
		set := benchmarkSet(b, n)
		b.Run(fmt.Sprintf("filters=%d", n), func(b *testing.B) {
			var program *Program
			for b.Loop() {
				program = compiled(b, set, Options{})
			}
			b.ReportMetric(float64(len(program.Raw)), "instructions")
		})
	}
}

// libpcapSet is libpcap's program for a set; nil when it makes none in half a minute.
func libpcapSet(b *testing.B, set Set) []bpf.RawInstruction {
	var exprs []string
	for _, f := range set.Filters() {
		expr, ok := f.PcapExpression()
		if !ok {
			b.Fatalf("%v has no expression", f)
		}
		exprs = append(exprs, "("+expr+")")
	}
	name := filepath.Join(b.TempDir(), "expression")
	if err := os.WriteFile(name, []byte(strings.Join(exprs, " or ")), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.CommandContext(b.Context(), "timeout", "30", "tcpdump", "-i", "lo", "-ddd", "-F", name)
	out, err := cmd.Output()
	if err != nil {
		return nil
	}
	return programFrom(string(out))
}

// BenchmarkKernel measures a program in the kernel. Many sockets listen to one interface, all with the program,
// so that a packet sent there runs it many times; the same with a program of one instruction is subtracted. What
// would be accepted is rejected at the end, so that no packet is copied and only the programs count. Each of the
// two times is the best of many short runs, as other work on the machine only ever adds to it.
func BenchmarkKernel(b *testing.B) {
	needTcpdump(b)
	const sockets = 32
	a, _ := vethPair(b, "va", "vb")
	sender := packetSocket(b, unix.SOCK_RAW, a)
	reject := []bpf.RawInstruction{{Op: unix.BPF_RET | unix.BPF_K}}
	attach(b, sender, reject)
	listeners := make([]int, sockets)
	for i := range listeners {
		listeners[i] = packetSocket(b, unix.SOCK_RAW, a)
	}
	to := &unix.SockaddrLinklayer{Protocol: htons(unix.ETH_P_IP), Ifindex: a}
	bestOf := func(b *testing.B, data []byte) time.Duration {
		const run = 200
		best := time.Hour
		for range 200 {
			start := time.Now()
			for range run {
				if err := unix.Sendto(sender, data, 0, to); err != nil {
					b.Fatal(err)
				}
			}
			best = min(best, time.Since(start)/run)
		}
		return best
	}
	attachAll := func(b *testing.B, program []bpf.RawInstruction) {
		for _, fd := range listeners {
			attach(b, fd, program)
		}
	}
	measure := func(b *testing.B, name string, program []bpf.RawInstruction, data []byte) {
		b.Run(name, func(b *testing.B) {
			if program == nil {
				b.Skip("libpcap made no program in time")
			}
			if len(program) > MaxInstructions {
				b.Skipf("%d instructions, which the kernel refuses", len(program))
			}
			quiet := append([]bpf.RawInstruction(nil), program...)
			for i := range quiet {
				switch quiet[i].Op {
				case unix.BPF_RET | unix.BPF_K:
					quiet[i].K = 0
				case unix.BPF_RET | unix.BPF_A:
					quiet[i] = reject[0]
				}
			}
			var all time.Duration
			for b.Loop() {
				attachAll(b, reject)
				base := bestOf(b, data)
				attachAll(b, quiet)
				all += bestOf(b, data) - base
			}
			b.ReportMetric(float64(all)/float64(b.N)/sockets, "ns/packet")
			b.ReportMetric(0, "ns/op") // A round of measuring is not what counts.
			b.ReportMetric(float64(len(program)), "instructions")
		})
	}
	// Of the headers only: what the end that counts them costs beside one that keeps everything.
	headers := map[string][]bpf.RawInstruction{
		"everything": compiled(b, NewSet(), Options{NoLoopback: true}).Raw,
		"headers":    compiled(b, NewSet(), Options{NoLoopback: true, HeadersOnly: true}).Raw,
	}
	for _, who := range slices.Sorted(maps.Keys(headers)) {
		for name, data := range headerPackets(b) {
			measure(b, who+"/"+name, headers[who], data)
		}
	}
	for _, n := range benchmarkSizes {
		set := benchmarkSet(b, n)
		ours := compiled(b, set, Options{})
		noErrors := compiled(b, set.WithICMPErrors(false), Options{})
		programs := map[string][]bpf.RawInstruction{
			fmt.Sprintf("pcapctl/exact=%v", ours.Exact):                         ours.Raw,
			fmt.Sprintf("pcapctl-without-icmp-errors/exact=%v", noErrors.Exact): noErrors.Raw,
			"libpcap": libpcapSet(b, set),
		}
		for who, program := range programs {
			for name, p := range benchmarkPackets() {
				measure(b, fmt.Sprintf("filters=%d/%s/%s", n, who, name), program, p.Data)
			}
		}
	}
}

// headerPackets are whole packets of the kinds that there are most of.
func headerPackets(b *testing.B) map[string][]byte {
	payload := raw(make([]byte, 500)...)
	v4, v6 := layers.EthernetTypeIPv4, layers.EthernetTypeIPv6
	return map[string][]byte{
		"TCPv4": serialized(b, ethernet(v4), ip4("10.0.0.1", "10.9.9.9", layers.IPProtocolTCP), tcpPorts(50000, 443), payload),
		"UDPv6": serialized(b, ethernet(v6), ip6("2001:db8::1", "2001:db8::9", layers.IPProtocolUDP), udpPorts(50000, 443), payload),
		"VLAN":  serialized(b, ethernet(layers.EthernetTypeDot1Q), tag(5, v4), ip4("10.0.0.1", "10.9.9.9", layers.IPProtocolTCP), tcpPorts(50000, 443), payload),
		"ARP":   serialized(b, ethernet(layers.EthernetTypeARP), raw(0, 1, 8, 0, 6, 4), raw(make([]byte, 22)...)),
	}
}
