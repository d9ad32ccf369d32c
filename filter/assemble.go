package filter

import (
	"slices"

	"golang.org/x/net/bpf"
)

// label is a place in a program: how many instructions there are from it to the end. A program is written
// from its end to its start, so that every target of a jump is known when the jump is written (classic BPF
// jumps forward only) and each instruction is written once.
type label int

// maxSkip is how far a conditional jump reaches: its two offsets have eight bits each. Some room is left for
// the jump that one branch may need to have put before the other.
const maxSkip = 255 - 2

// assembler writes a program from its end to its start.
type assembler struct {
	code  []bpf.Instruction // last instruction first
	limit int
	// signed says that the program will run where numbers are compared as signed ones. Most comparisons are of
	// small numbers; tree.search has those of any.
	signed bool
	// steps are the unconditional jumps written on the way to a label, by that label: only the newest counts,
	// as it is the nearest.
	steps map[label]label
	// cut is where a packet goes on that ends before what is loaded of it; 0 is for a program that leaves that to the
	// kernel, which rejects the packet.
	cut label
}

func newAssembler(limit int) *assembler {
	return &assembler{limit: limit, steps: map[label]label{}}
}

// full reports whether the program has become larger than it may be. What is written from then on is of no use.
func (a *assembler) full() bool { return len(a.code) > a.limit }

// here is the place of the instruction written last.
func (a *assembler) here() label { return label(len(a.code)) }

func (a *assembler) write(i bpf.Instruction) label {
	a.code = append(a.code, i)
	return a.here()
}

// ret writes the end of a path: 0 rejects the packet, anything else is how many bytes to keep.
func (a *assembler) ret(n uint32) label { return a.write(bpf.RetConstant{Val: n}) }

// jump writes an unconditional jump, which reaches any distance. A jump to a return is not replaced by a copy of
// the return, though that would be as short: the kernel's check that scratch memory is written before it is read
// (check_load_and_stores in net/core/filter.c) takes the instruction after a return for one that follows it.
func (a *assembler) jump(to label) label {
	return a.write(bpf.Jump{Skip: uint32(a.here() - to)})
}

// seq writes instructions that run one after the other and then go on at next.
func (a *assembler) seq(next label, instructions ...bpf.Instruction) label {
	if next != a.here() {
		next = a.jump(next)
	}
	for _, instruction := range slices.Backward(instructions) {
		next = a.write(instruction)
		if a.cut != 0 {
			next = a.guarded(instruction, next)
		}
	}
	return next
}

// guarded writes the test that what an instruction loads of the packet is there. A is lost by that, which no code needs
// before it loads of a packet.
func (a *assembler) guarded(load bpf.Instruction, next label) label {
	switch load := load.(type) {
	case bpf.LoadAbsolute:
		a.test(bpf.JumpGreaterOrEqual, load.Off+uint32(load.Size), next, a.cut)
	case bpf.LoadMemShift:
		a.test(bpf.JumpGreaterOrEqual, load.Off+1, next, a.cut)
	case bpf.LoadIndirect:
		need := load.Off + uint32(load.Size)
		a.testX(bpf.JumpGreaterOrEqual, next, a.cut)
		at := a.write(bpf.ALUOpConstant{Op: bpf.ALUOpSub, Val: need})
		a.test(bpf.JumpGreaterOrEqual, need, at, a.cut)
	default:
		return next
	}
	return a.write(bpf.LoadExtension{Num: bpf.ExtLen})
}

// near is a place that a conditional jump written next reaches and from where the program goes on at to.
func (a *assembler) near(to label) label {
	if a.here()-to <= maxSkip {
		return to
	}
	if step, ok := a.steps[to]; ok && a.here()-step <= maxSkip {
		return step
	}
	step := a.jump(to)
	a.steps[to] = step
	return step
}

// test writes a comparison of A with a constant.
func (a *assembler) test(cond bpf.JumpTest, value uint32, yes, no label) label {
	if yes == no {
		return yes
	}
	yes, no = a.near(yes), a.near(no)
	return a.write(bpf.JumpIf{
		Cond:      cond,
		Val:       value,
		SkipTrue:  uint8(a.here() - yes),
		SkipFalse: uint8(a.here() - no),
	})
}

// testX writes a comparison of A with X.
func (a *assembler) testX(cond bpf.JumpTest, yes, no label) label {
	yes, no = a.near(yes), a.near(no)
	return a.write(bpf.JumpIfX{Cond: cond, SkipTrue: uint8(a.here() - yes), SkipFalse: uint8(a.here() - no)})
}

// oneOf writes a chain of comparisons of A with single values.
func (a *assembler) oneOf(yes, no label, values ...uint32) label {
	next := no
	for _, value := range slices.Backward(values) {
		next = a.test(bpf.JumpEqual, value, yes, next)
	}
	return next
}

// program is what was written, first instruction first.
func (a *assembler) program(start label) []bpf.Instruction {
	if start != a.here() {
		a.jump(start)
	}
	out := slices.Clone(a.code)
	slices.Reverse(out)
	return out
}
