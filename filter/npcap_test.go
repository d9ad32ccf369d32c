package filter

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/bpf"
)

// npcapVM runs a program as Npcap's driver does: bpf_validate and bpf_filter in win_bpf_filter.c of Npcap 1.87.
// The VM of x/net/bpf will not do: it compares unsigned.
type npcapVM []bpf.RawInstruction

// npcapVocabulary are the opcodes that a program may have, of those that the driver knows.
var npcapVocabulary = []uint16{
	classLd | modeAbs, classLd | 0x08 | modeAbs, classLd | 0x10 | modeAbs,
	classLd | modeInd, classLd | 0x08 | modeInd, classLd | 0x10 | modeInd,
	classLd, classLd | modeMem, classLd | modeLen,
	classLdx, classLdx | modeMem, classLdx | modeLen, classLdx | 0x10 | modeMsh,
	classSt, classStx,
	classALU, classALU | opUseX, classALU | 0x10, classALU | 0x50, classALU | 0x60, classALU | 0x70,
	classJmp, classJmp | 0x10, classJmp | 0x20, classJmp | 0x30, classJmp | 0x40,
	classJmp | 0x10 | opUseX, classJmp | 0x20 | opUseX, classJmp | 0x30 | opUseX,
	classRet, classRet | opRetA, 0x07, 0x87,
}

// newNpcapVM says what the driver would refuse the program for.
func newNpcapVM(program []bpf.RawInstruction) (npcapVM, error) {
	if len(program) == 0 || len(program) > MaxInstructions || program[len(program)-1].Op&opClass != classRet {
		return nil, fmt.Errorf("%d instructions, or the last is no return", len(program))
	}
	for n, i := range program {
		switch class := i.Op & opClass; {
		case !slices.Contains(npcapVocabulary, i.Op):
			return nil, fmt.Errorf("instruction %d: opcode %#x is not known", n, i.Op)
		case (class == classLd && i.Op&opMode == modeAbs || i.Op == classLdx|0x10|modeMsh) && i.K >= signBit:
			return nil, fmt.Errorf("instruction %d: ancillary data", n)
		case (class == classSt || class == classStx || (class == classLd || class == classLdx) && i.Op&opMode == modeMem) && i.K >= 16:
			return nil, fmt.Errorf("instruction %d: no such word of memory", n)
		case class == classALU && (i.Op&opALU == 0x60 || i.Op&opALU == 0x70) && i.K >= 32:
			return nil, fmt.Errorf("instruction %d: shift by %d", n, i.K)
		case i.Op == classJmp && n+1+int(i.K) >= len(program), class == classJmp && i.Op != classJmp && n+1+int(max(i.Jt, i.Jf)) >= len(program):
			return nil, fmt.Errorf("instruction %d: jump out of the program", n)
		}
	}
	return program, nil
}

// Run is how many bytes the program keeps of the packet.
func (vm npcapVM) Run(data []byte) uint32 {
	var a, x uint32
	var memory [16]uint32
	load := func(at uint32, op uint16) (uint32, bool) {
		size := map[uint16]int{0x00: 4, 0x08: 2, 0x10: 1}[op&opSize]
		if int64(at)+int64(size) > int64(len(data)) {
			return 0, false
		}
		var v uint32
		for _, b := range data[at : int(at)+size] {
			v = v<<8 | uint32(b)
		}
		return v, true
	}
	for pc := 0; ; pc++ {
		i := vm[pc]
		operand := i.K
		if i.Op&opUseX != 0 {
			operand = x
		}
		ok := true
		switch i.Op & opClass {
		case classLd, classLdx:
			var v uint32
			switch mode := i.Op & opMode; mode {
			case modeAbs:
				v, ok = load(i.K, i.Op)
			case modeInd:
				v, ok = load(x+i.K, i.Op)
			case modeMsh:
				v, ok = load(i.K, i.Op)
				v = v & 15 << 2
			case modeMem:
				v = memory[i.K]
			case modeLen:
				v = uint32(len(data))
			default:
				v = i.K
			}
			if !ok {
				return 0
			}
			if i.Op&opClass == classLd {
				a = v
			} else {
				x = v
			}
		case classSt:
			memory[i.K] = a
		case classStx:
			memory[i.K] = x
		case classALU:
			switch i.Op & opALU {
			case 0x00:
				a += operand
			case 0x10:
				a -= operand
			case 0x50:
				a &= operand
			case 0x60:
				a <<= operand
			case 0x70:
				a >>= operand
			}
		case classJmp:
			yes := false
			switch i.Op & opALU {
			case 0x00:
				pc += int(i.K)
				continue
			case 0x10:
				yes = a == operand
			case 0x20:
				yes = int32(a) > int32(operand)
			case 0x30:
				yes = int32(a) >= int32(operand)
			case 0x40:
				yes = a&operand != 0
			}
			if yes {
				pc += int(i.Jt)
			} else {
				pc += int(i.Jf)
			}
		case classRet:
			if i.Op&opRetA != 0 {
				return a
			}
			return i.K
		default:
			if i.Op&opMisc == 0x80 {
				a = x
			} else {
				x = a
			}
		}
	}
}

// npcapFramings are those that Npcap's adapters have.
var npcapFramings = [...]Framing{Ethernet, RawIP, Null}

// adapter is a random adapter.
func (r random) adapter(framing Framing) *Adapter {
	if framing == Null || r.chance(15) {
		return &Adapter{EitherEnd: true}
	}
	a := &Adapter{MAC: [6]byte{2, 0, 0, 0, 0xff, byte(r.IntN(2))}}
	for range r.IntN(6) {
		a.Addresses = append(a.Addresses, r.addr(r.chance(50)))
	}
	return a
}

// npcapPacket is a random packet as the adapter gives it.
func (r random) npcapPacket(framing Framing, a *Adapter) Packet {
	p := r.packet()
	for p.Framing != framing && (framing != Null || p.Framing != RawIP) {
		p = r.packet()
	}
	switch {
	case framing == Ethernet && len(p.Data) >= 12 && r.chance(50):
		copy(p.Data[6:], a.MAC[:])
		if r.chance(20) {
			p.Data[6+r.IntN(6)]++ // nearly its own
		}
	case framing == Null:
		family := uint32(familyIPv4)
		if rawVersion(p.Data) == 6 {
			family = pick[uint32](r, familyIPv6, familyIPv6Windows)
		}
		if r.chance(5) {
			family = pick[uint32](r, familyIPv4, familyIPv6, familyIPv6Windows, 0, 30, familyIPv4<<24, r.Uint32())
		}
		p.Data = append(binary.LittleEndian.AppendUint32(nil, family), p.Data...)
		if r.chance(2) {
			p.Data = p.Data[:r.IntN(min(5, len(p.Data)))]
		}
	}
	p.Framing, p.Protocol, p.Direction = framing, 0, a.Direction(framing, p.Data)
	return p
}

// Programs for Npcap, run as its driver runs them, and the plain Go match agree on every packet. A program that asks
// for what the driver does not know is refused by the VM.
func TestNpcapProgramIsMatch(t *testing.T) {
	r := newRandom(t)
	const packets = 50
	cases, matches, ways := 0, 0, [3]int{}
	for want := propertyCases(t, 20_000); cases < want; {
		set, framing := r.set(t), pick(r, npcapFramings[:]...)
		adapter := r.adapter(framing)
		headersOnly := r.chance(30)
		program := compiled(t, set, Options{Framing: framing, Npcap: adapter, HeadersOnly: headersOnly})
		vm, err := newNpcapVM(program.Raw)
		if err != nil {
			t.Fatalf("set %v, framing %d: %v\n%s", set, framing, err, program.Disassemble())
		}
		for range packets {
			p := r.npcapPacket(framing, adapter)
			match, got := setMatches(t, set, &p), vm.Run(p.Data) > 0
			if got != match && (program.Exact || match) {
				t.Fatalf("set %v\nfilters %+v\nadapter %+v\npacket %+v\nprogram accepts: %v, Match: %v", set, specs(set), adapter, p, got, match)
			}
			if kept := min(int(vm.Run(p.Data)), len(p.Data)); headersOnly && got && kept != p.HeaderLength() {
				t.Fatalf("set %v\nadapter %+v\npacket %+v\nthe program keeps %d bytes, HeaderLength: %d", set, adapter, p, kept, p.HeaderLength())
			}
			cases++
			ways[p.Direction]++
			if match {
				matches++
			}
		}
	}
	t.Logf("%d cases, %d matched; either way %d, incoming %d, outgoing %d", cases, matches, ways[Either], ways[Incoming], ways[Outgoing])
	enough(t, matches, cases)
	for direction, n := range ways {
		if n < cases/50 {
			t.Errorf("direction %d: only %d of %d cases", direction, n, cases)
		}
	}
}

// What the property test is for is caught by it: the program of Linux, which compares unsigned and asks the kernel,
// and one for Npcap that was made without its halves.
func TestNpcapPlantedMistakesAreCaught(t *testing.T) {
	t.Run("ancillary data", func(t *testing.T) {
		for _, set := range []Set{NewSet(parsed(t, "localPort=80")), NewSet(parsed(t, "remoteIPAddress=10.0.0.1"))} {
			if _, err := newNpcapVM(compiled(t, set, Options{}).Raw); err == nil || !strings.Contains(err.Error(), "ancillary") {
				t.Errorf("%v: the program of Linux is let through: %v", set, err)
			}
		}
	})
	t.Run("too long", func(t *testing.T) {
		if _, err := newNpcapVM(slices.Repeat([]bpf.RawInstruction{{Op: classRet}}, MaxInstructions+1)); err == nil {
			t.Error("not caught")
		}
	})
	// The program of Linux without what the driver refuses; and halves told apart by a comparison.
	unsplit := func(set Set, _ *Adapter) []bpf.Instruction {
		program := slices.Clone(compiled(t, set, Options{NoLoopback: true}).instructions)
		for i := range program {
			if l, ok := program[i].(bpf.LoadExtension); ok && l.Num == bpf.ExtType {
				program[i] = bpf.LoadConstant{Dst: bpf.RegA} // incoming
			}
		}
		return program
	}
	compared := func(set Set, adapter *Adapter) []bpf.Instruction {
		program := slices.Clone(compiled(t, set, Options{Npcap: adapter}).instructions)
		for i := range program {
			if j, ok := program[i].(bpf.JumpIf); ok && j.Cond == bpf.JumpBitsSet && j.Val == signBit {
				j.Cond = bpf.JumpGreaterOrEqual
				program[i] = j
			}
		}
		return program
	}
	for name, plant := range map[string]func(Set, *Adapter) []bpf.Instruction{"not split": unsplit, "compared": compared} {
		t.Run(name, func(t *testing.T) {
			r := newRandom(t)
			for tries := 1; tries <= 400; tries++ {
				set, adapter := r.set(t), &Adapter{MAC: [6]byte{2, 0, 0, 0, 0xff}}
				raw, err := bpf.Assemble(plant(set, adapter))
				if err != nil {
					t.Fatal(err)
				}
				vm, err := newNpcapVM(raw)
				if err != nil {
					t.Fatal(err)
				}
				for range 50 {
					p := r.npcapPacket(Ethernet, adapter)
					if p.Direction == Incoming && set.Match(&p) != (vm.Run(p.Data) > 0) {
						t.Logf("caught in the %d. random set", tries)
						return
					}
				}
			}
			t.Error("not caught")
		})
	}
}

// Ranges over the sign bit, at their ends.
func TestNpcapRanges(t *testing.T) {
	adapter := &Adapter{MAC: [6]byte{2, 0, 0, 0, 0, 1}}
	for _, tt := range []struct {
		filter string
		yes    []string
		no     []string
	}{
		{"100.0.0.0-200.0.0.0", []string{"100.0.0.0", "127.255.255.255", "128.0.0.0", "200.0.0.0"}, []string{"0.0.0.0", "99.255.255.255", "200.0.0.1", "255.255.255.255"}},
		{"10.0.0.0-10.0.0.9", []string{"10.0.0.0", "10.0.0.9"}, []string{"0.0.0.0", "9.255.255.255", "10.0.0.10", "128.0.0.0", "138.0.0.5", "255.255.255.255"}},
		{"200.0.0.0-210.0.0.0", []string{"200.0.0.0", "210.0.0.0"}, []string{"0.0.0.0", "72.0.0.0", "127.255.255.255", "128.0.0.0", "199.255.255.255", "210.0.0.1", "255.255.255.255"}},
		{"0.0.0.0-127.255.255.255", []string{"0.0.0.0", "127.255.255.255"}, []string{"128.0.0.0", "255.255.255.255"}},
		{"128.0.0.0-255.255.255.255", []string{"128.0.0.0", "255.255.255.255"}, []string{"0.0.0.0", "127.255.255.255"}},
		{"5.0.0.1;64.0.0.1;127.0.0.1;128.0.0.1;192.0.0.1;255.0.0.1", []string{"5.0.0.1", "64.0.0.1", "127.0.0.1", "128.0.0.1", "192.0.0.1", "255.0.0.1"}, []string{"0.0.0.0", "127.0.0.0", "128.0.0.0", "255.0.0.2"}},
		{"4000::-c000::", []string{"4000::", "7fff:ffff::", "8000::", "bfff::1", "c000::"}, []string{"::", "3fff::", "c000::1", "ffff::"}},
		{"2001:db8::7fff:0-2001:db8::8001:0:0", []string{"2001:db8::8000:0", "2001:db8::ffff:ffff", "2001:db8::8001:0:0"}, []string{"2001:db8::7ffe:0", "2001:db8::8001:0:1"}},
	} {
		program := compiled(t, NewSet(parsed(t, "remoteIPAddress="+tt.filter)), Options{Npcap: adapter})
		vm, err := newNpcapVM(program.Raw)
		if err != nil {
			t.Fatal(err)
		}
		for want, list := range map[bool][]string{true: tt.yes, false: tt.no} {
			for _, text := range list {
				there := netip.AddrPortFrom(netip.MustParseAddr(text), 443)
				here := netip.MustParseAddrPort("10.0.0.1:50000")
				if there.Addr().Is6() {
					here = netip.MustParseAddrPort("[2001:db8:1::1]:50000")
				}
				for _, p := range frames(tcpPacket(there, here))[:1] {
					if got := vm.Run(p.Data) > 0; got != want {
						t.Errorf("%s: %s: %v, want %v", tt.filter, text, got, want)
					}
				}
			}
		}
	}
}

// The bytes before a packet of Npcap's loopback: for IPv6 24, which is not Windows' own number; other libraries have that.
func TestNpcapLoopbackFamilies(t *testing.T) {
	here, there := netip.MustParseAddrPort("[::1]:50000"), netip.MustParseAddrPort("[::1]:443")
	here4, there4 := netip.MustParseAddrPort("127.0.0.1:50000"), netip.MustParseAddrPort("127.0.0.1:443")
	set := NewSet(parsed(t, "remotePort=443"))
	adapter := &Adapter{EitherEnd: true}
	for _, headersOnly := range []bool{false, true} {
		program := compiled(t, set, Options{Npcap: adapter, Framing: Null, HeadersOnly: headersOnly})
		vm, err := newNpcapVM(program.Raw)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			family byte
			packet []byte
			want   bool
		}{
			{2, frames(tcpPacket(there4, here4))[0].Data[14:], true},
			{24, frames(tcpPacket(there, here))[0].Data[14:], true},
			{23, frames(tcpPacket(there, here))[0].Data[14:], true},
			{30, frames(tcpPacket(there, here))[0].Data[14:], false},
		} {
			data := append([]byte{tt.family, 0, 0, 0}, tt.packet...)
			p := Packet{Framing: Null, Data: data}
			if n := vm.Run(data); n > 0 != tt.want || set.Match(&p) != tt.want {
				t.Errorf("family %d, headers only %v: the program gives %d bytes, Match %v", tt.family, headersOnly, n, set.Match(&p))
			}
		}
	}
}

func TestNpcapOptions(t *testing.T) {
	ether := &Adapter{}
	for _, tt := range []struct {
		o    Options
		want error
	}{
		{Options{Framing: Null}, ErrFraming},
		{Options{Framing: Null + 1}, ErrFraming},
		{Options{Framing: Null + 1, Npcap: ether}, ErrFraming},
		{Options{Framing: Cooked, Npcap: ether}, ErrFraming},
		{Options{Framing: Mixed, Npcap: ether}, ErrNpcap},
		{Options{Framing: Null, Npcap: ether}, ErrNpcap},
		{Options{Interfaces: []uint32{1}, Npcap: ether}, ErrNpcap},
		{Options{Exclude: []Flow{}, Npcap: ether}, ErrNpcap},
	} {
		if p, err := NewSet().Compile(tt.o); !errors.Is(err, tt.want) || p != nil {
			t.Errorf("%+v: %v, want %v", tt.o, err, tt.want)
		}
	}
}

// A set that is too large for one program becomes a coarser one that Npcap runs, too.
func TestNpcapLargeSet(t *testing.T) {
	r := random{Rand: newSource(7), wide: true}
	var filters []Filter
	for range 3000 {
		filters = append(filters, r.filter(t))
	}
	set := NewSet(slices.DeleteFunc(filters, func(f Filter) bool { return f.remote.addrs == nil })...)
	adapter := &Adapter{MAC: [6]byte{2}}
	program := compiled(t, set, Options{Npcap: adapter})
	vm, err := newNpcapVM(program.Raw)
	if err != nil || program.Exact {
		t.Fatalf("exact: %v, %v", program.Exact, err)
	}
	for range 2000 {
		p := r.npcapPacket(Ethernet, adapter)
		if set.Match(&p) && vm.Run(p.Data) == 0 {
			t.Fatalf("%+v is lost", p)
		}
	}
}

// linuxPrograms is the hash of some programs for Linux. It changes only with a change of these programs that is
// meant; what is done for Npcap does not change them.
const linuxPrograms = "19316f346a74716c"

func TestLinuxProgramsStay(t *testing.T) {
	var all bytes.Buffer
	for _, set := range []Set{
		NewSet(),
		NewSet(parsed(t, "protocol=TCP")),
		NewSet(parsed(t, "remoteIPAddress=100.0.0.0-200.0.0.0")).WithICMPErrors(false),
		NewSet(parsed(t, "protocol=UDP", "localPort=53;5353", "remoteIPAddress=10.0.0.1;10.0.0.3;192.168.0.1")),
		NewSet(parsed(t, "localIPAddress=10.0.0.1-200.0.0.9", "remotePort=1-70"), parsed(t, "protocol=TCP", "localPort=22")),
		NewSet(parsed(t, "localIPAddress=4000::-c000::"), parsed(t, "localPort=8080", "remotePort=0-65535"), parsed(t, "protocol=UDP")),
	} {
		for framing := Ethernet; framing <= Mixed; framing++ {
			for _, o := range []Options{{}, {NoLoopback: true, SnapLen: 64}, {Interfaces: []uint32{2, 3, 7, 1 << 31}, MaxInstructions: 90},
				{Exclude: []Flow{{443, netip.MustParseAddrPort("10.0.0.1:50000")}, {50000, netip.MustParseAddrPort("[2001:db8::1]:443")}}}} {
				o.Framing = framing
				fmt.Fprintln(&all, compiled(t, set, o).DDD())
			}
		}
	}
	sum := fnv.New64a()
	_, _ = sum.Write(all.Bytes())
	if got := fmt.Sprintf("%016x", sum.Sum64()); got != linuxPrograms {
		t.Errorf("%s, want %s: the programs for Linux are others than they were", got, linuxPrograms)
	}
}
