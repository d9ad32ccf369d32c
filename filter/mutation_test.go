package filter

import (
	"fmt"
	"slices"
	"testing"

	"golang.org/x/net/bpf"
)

// corpus is packets with what a set says of them, to hold a program against.
type corpus struct {
	packets []Packet
	want    []bool
}

func newCorpus(r random, set Set, framing Framing, n int) *corpus {
	c := &corpus{packets: make([]Packet, 0, n), want: make([]bool, n)}
	for len(c.packets) < n {
		if p := r.packet(); p.Framing == framing {
			c.want[len(c.packets)] = set.Match(&p)
			c.packets = append(c.packets, p)
		}
	}
	return c
}

// catches reports whether the program is wrong about a packet.
func (c *corpus) catches(t testing.TB, program []bpf.Instruction) bool {
	runner := newRunner(t, program)
	for i := range c.packets {
		if runner.accepts(&c.packets[i]) != c.want[i] {
			return true
		}
	}
	return false
}

// A mistake planted in what the compiler writes is caught by comparing programs with the match: for each, the
// tests above would have failed.
func TestPlantedMistakesAreCaught(t *testing.T) {
	mistakes := []struct {
		name  string
		plant func(bpf.Instruction) bpf.Instruction
	}{
		{"sending is taken for receiving", func(i bpf.Instruction) bpf.Instruction {
			if j, ok := i.(bpf.JumpIf); ok && j.Val == packetOutgoing && j.Cond == bpf.JumpEqual {
				j.Val = 3
				return j
			}
			return i
		}},
		{"a range lacks its upper end", func(i bpf.Instruction) bpf.Instruction {
			if j, ok := i.(bpf.JumpIf); ok && j.Cond == bpf.JumpGreaterThan && j.Val > 100 {
				j.Val--
				return j
			}
			return i
		}},
		{"a range lacks its lower end", func(i bpf.Instruction) bpf.Instruction {
			if j, ok := i.(bpf.JumpIf); ok && j.Cond == bpf.JumpGreaterOrEqual && j.Val > 100 {
				j.Val++
				return j
			}
			return i
		}},
		{"the ports are exchanged", func(i bpf.Instruction) bpf.Instruction {
			if l, ok := i.(bpf.LoadIndirect); ok && l.Size == 2 && l.Off <= 2 {
				l.Off = 2 - l.Off
				return l
			}
			return i
		}},
		{"later fragments are looked into for ports", func(i bpf.Instruction) bpf.Instruction {
			if j, ok := i.(bpf.JumpIf); ok && j.Cond == bpf.JumpBitsSet && j.Val == 0x1fff {
				j.Val = 0
				return j
			}
			return i
		}},
		{"an IPv4 header has no options", func(i bpf.Instruction) bpf.Instruction {
			if a, ok := i.(bpf.ALUOpConstant); ok && a.Op == bpf.ALUOpAnd && a.Val == 15 {
				a.Val = 5
				return a
			}
			return i
		}},
		{"extension headers are counted in words of four bytes", func(i bpf.Instruction) bpf.Instruction {
			if a, ok := i.(bpf.ALUOpConstant); ok && a.Op == bpf.ALUOpShiftLeft && a.Val == 3 {
				a.Val = 2
				return a
			}
			return i
		}},
		{"802.1ad is not known", func(i bpf.Instruction) bpf.Instruction {
			if j, ok := i.(bpf.JumpIf); ok && j.Val == 0x88a8 {
				j.Val++
				return j
			}
			return i
		}},
		{"ICMP errors quote from their fourth byte", func(i bpf.Instruction) bpf.Instruction {
			if a, ok := i.(bpf.ALUOpConstant); ok && a.Op == bpf.ALUOpAdd && a.Val == icmpHeader {
				a.Val = 4
				return a
			}
			return i
		}},
		{"loopback is not looked at both ways round", func(i bpf.Instruction) bpf.Instruction {
			if j, ok := i.(bpf.JumpIf); ok && j.Val == arphrdLoopback {
				j.Val = 1000
				return j
			}
			return i
		}},
	}
	for _, m := range mistakes {
		t.Run(m.name, func(t *testing.T) {
			r := newRandom(t)
			for tries := 1; tries <= 400; tries++ {
				set := r.set(t)
				program := slices.Clone(compiled(t, set, Options{}).instructions)
				changed := 0
				for i := range program {
					if wrong := m.plant(program[i]); wrong != program[i] {
						program[i] = wrong
						changed++
					}
				}
				if changed > 0 && newCorpus(r, set, Ethernet, 50).catches(t, program) {
					t.Logf("caught in the %d. random set", tries)
					return
				}
			}
			t.Error("not caught")
		})
	}
}

// wrongs are the ways of getting one instruction wrong.
func wrongs(i bpf.Instruction) map[string]bpf.Instruction {
	out := map[string]bpf.Instruction{}
	switch i := i.(type) {
	case bpf.JumpIf:
		j := i
		j.SkipTrue, j.SkipFalse = i.SkipFalse, i.SkipTrue
		out["branches exchanged"] = j
		j = i
		j.Val++
		out["one more"] = j
	case bpf.LoadIndirect:
		i.Off++
		out["one byte on"] = i
	case bpf.LoadAbsolute:
		i.Off++
		out["one byte on"] = i
	case bpf.ALUOpConstant:
		i.Val++
		out["one more"] = i
	case bpf.LoadConstant:
		i.Val++
		out["one more"] = i
	}
	return out
}

// Nearly every single wrong instruction in a program is noticed. What is not is without effect: a check that
// another one repeats, or a constant that only has to differ from all others.
//
// The packets are the same in every run: how many instructions are noticed depends on them, and the threshold is
// what these packets notice, rounded down.
func TestAlmostEveryWrongInstructionIsCaught(t *testing.T) {
	if testing.Short() {
		t.Skip("runs some hundred programs over 60,000 packets")
	}
	const seed, atLeast = 1, 85 // percent
	r := random{Rand: newSource(seed)}
	set := NewSet(
		parsed(t, "protocol=TCP", "localPort=80-85", "remoteIPAddress=10.0.0.1-10.0.0.3"),
		parsed(t, "protocol=UDP", "remotePort=443;8443", "localIPAddress=10.0.0.2;2001:db8::1"),
		parsed(t, "remoteIPAddress=2001:db8::1-2001:db8::ffff:ffff", "localPort=1"),
		parsed(t, "localIPAddress=192.168.0.1;fe80::1"),
	)
	program := compiled(t, set, Options{}).instructions
	corpus := newCorpus(r, set, Ethernet, 60_000)
	if corpus.catches(t, program) {
		t.Fatal("the program is wrong as it is")
	}
	all, caught := 0, 0
	var missed []string
	for i := range program {
		for name, wrong := range wrongs(program[i]) {
			mutant := slices.Clone(program)
			mutant[i] = wrong
			all++
			if corpus.catches(t, mutant) {
				caught++
			} else {
				missed = append(missed, fmt.Sprintf("(%03d) %v: %s", i, program[i], name))
			}
		}
	}
	slices.Sort(missed)
	t.Logf("seed %d: %d of %d caught; missed: %q", seed, caught, all, missed)
	if caught*100 < all*atLeast {
		t.Errorf("seed %d: only %d of %d wrong instructions were caught, want %d %%; missed: %q", seed, caught, all, atLeast, missed)
	}
}
