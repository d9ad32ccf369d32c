package filter

import (
	"slices"
	"testing"

	"golang.org/x/net/bpf"
)

// metadata is what the kernel knows of a packet beside its bytes.
type metadata struct {
	ifindex  uint32
	hardware uint32 // ARPHRD_…
	kind     uint32 // PACKET_…
	protocol uint32
}

// metadataOf is what the kernel would know of p on an Ethernet, tun or loopback device.
func metadataOf(p *Packet) metadata {
	m := metadata{ifindex: 2, hardware: 1, protocol: uint32(p.Protocol)}
	switch p.Direction {
	case Outgoing:
		m.kind = packetOutgoing
	case Either:
		m.hardware = arphrdLoopback
	case Incoming:
	}
	return m
}

// specialised is a program for one packet's metadata: the VM knows only the packet's bytes.
func specialised(t testing.TB, program []bpf.Instruction, m metadata) *bpf.VM {
	t.Helper()
	out := make([]bpf.Instruction, len(program))
	for i, instruction := range program {
		if load, ok := instruction.(bpf.LoadExtension); ok && load.Num != bpf.ExtLen {
			var value uint32
			switch load.Num {
			case bpf.ExtInterfaceIndex:
				value = m.ifindex
			case bpf.ExtLinkLayerType:
				value = m.hardware
			case bpf.ExtType:
				value = m.kind
			case bpf.ExtProto:
				value = m.protocol
			default:
				t.Fatalf("instruction %d loads %v, which tests do not know", i, load)
			}
			instruction = bpf.LoadConstant{Dst: bpf.RegA, Val: value}
		}
		out[i] = instruction
	}
	vm, err := bpf.NewVM(out)
	if err != nil {
		t.Fatalf("the VM refuses the program: %v", err)
	}
	return vm
}

// run is how many bytes the program keeps of the packet.
func run(t testing.TB, program []bpf.Instruction, p *Packet, m metadata) int {
	t.Helper()
	n, err := specialised(t, program, m).Run(p.Data)
	if err != nil {
		t.Fatalf("the VM stopped: %v", err)
	}
	return n
}

func compiled(t testing.TB, s Set, o Options) *Program {
	t.Helper()
	p, err := s.Compile(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// The program in the VM and the plain Go match, which share no parsing, agree on every packet.
func TestProgramIsMatch(t *testing.T) {
	r := newRandom(t)
	const packets = 50
	cases, matches := 0, 0
	for want := propertyCases(t, 20_000); cases < want; {
		set := r.set(t)
		var programs [3]*Program
		var runners [3]*runner
		for framing := range programs {
			programs[framing] = compiled(t, set, Options{Framing: Framing(framing)})
			runners[framing] = newRunner(t, programs[framing].instructions)
		}
		for range packets {
			p := r.packet()
			want := setMatches(t, set, &p)
			got := runners[p.Framing].accepts(&p)
			if got != want && (programs[p.Framing].Exact || want) {
				t.Fatalf("set %v\nfilters %+v\npacket %+v\nprogram accepts: %v, Match: %v", set, specs(set), p, got, want)
			}
			cases++
			if want {
				matches++
			}
		}
	}
	t.Logf("%d cases, %d matched", cases, matches)
	enough(t, matches, cases)
}

// specs is a set as JSON members, for a failure that can be repeated.
func specs(s Set) (out []map[string]string) {
	for i, f := range slices.Concat(s.Filters(), s.Excludes()) {
		m := map[string]string{}
		if i >= s.Len() {
			m["exclude"] = "yes"
		}
		n := f.Spec()
		for name, value := range map[string]*string{
			"protocol": n.Protocol, "localIPAddress": n.LocalIPAddress, "localPort": n.LocalPort,
			"remoteIPAddress": n.RemoteIPAddress, "remotePort": n.RemotePort, "tcpFlags": n.TCPFlags,
		} {
			if value != nil {
				m[name] = *value
			}
		}
		out = append(out, m)
	}
	return out
}

// runner runs one program on many packets.
type runner struct {
	t       testing.TB
	program []bpf.Instruction
	vms     map[metadata]*bpf.VM
}

func newRunner(t testing.TB, program []bpf.Instruction) *runner {
	return &runner{t: t, program: program, vms: map[metadata]*bpf.VM{}}
}

func (r *runner) accepts(p *Packet) bool {
	r.t.Helper()
	m := metadataOf(p)
	vm, ok := r.vms[m]
	if !ok {
		vm = specialised(r.t, r.program, m)
		r.vms[m] = vm
	}
	n, err := vm.Run(p.Data)
	if err != nil {
		r.t.Fatalf("the VM stopped: %v", err)
	}
	return n > 0
}
