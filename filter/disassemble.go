package filter

import (
	"fmt"
	"strings"

	"golang.org/x/net/bpf"
)

// Opcodes of classic BPF (linux/bpf_common.h, linux/filter.h): class, and what the bits above it mean in it.
const (
	opClass = 0x07
	opSize  = 0x18
	opMode  = 0xe0
	opALU   = 0xf0 // the operation of arithmetic and jumps
	opUseX  = 0x08 // the operand is X, not the constant
	opRetA  = 0x10
	opMisc  = 0xf8

	classLd, classLdx, classSt, classStx = 0, 1, 2, 3
	classALU, classJmp, classRet         = 4, 5, 6

	modeAbs, modeInd, modeMem, modeLen, modeMsh = 0x20, 0x40, 0x60, 0x80, 0xa0
)

var (
	loadNames = map[uint16]string{0x00: "ld", 0x08: "ldh", 0x10: "ldb"}
	aluNames  = [...]string{"add", "sub", "mul", "div", "or", "and", "lsh", "rsh", "neg", "mod", "xor"}
	jumpNames = [...]string{"ja", "jeq", "jgt", "jge", "jset"}
	// adNames are libpcap's names for the kernel's metadata, by how far the offset is above adOffset.
	adNames = map[uint32]string{0: "proto", 4: "type", 8: "ifidx", 12: "nla", 16: "nlan", 20: "mark", 24: "queue",
		28: "hatype", 32: "rxhash", 36: "cpu", 44: "vlan_tci", 48: "vlanp", 52: "pay_offset", 56: "random", 60: "vlan_tpid"}
)

// adOffset is where the metadata's offsets start: SKF_AD_OFF, -0x1000.
const adOffset = 0xfffff000

// Disassemble is the program in words, as tcpdump -d prints it, without a newline at the end.
func (p *Program) Disassemble() string { return disassemble(p.Raw) }

// DDD is the program in numbers, as tcpdump -ddd prints it: how many instructions, then the four numbers of
// each, a line each, without a newline at the end.
func (p *Program) DDD() string {
	lines := make([]string, 0, 1+len(p.Raw))
	lines = append(lines, fmt.Sprint(len(p.Raw)))
	for _, i := range p.Raw {
		lines = append(lines, fmt.Sprintf("%d %d %d %d", i.Op, i.Jt, i.Jf, i.K))
	}
	return strings.Join(lines, "\n")
}

func disassemble(program []bpf.RawInstruction) string {
	lines := make([]string, len(program))
	for n, i := range program {
		name, operand := instruction(n, i)
		lines[n] = fmt.Sprintf("(%03d) %-8s %s", n, name, operand)
		if i.Op&opClass == classJmp && i.Op&opALU != 0 {
			lines[n] = fmt.Sprintf("(%03d) %-8s %-16s jt %d\tjf %d", n, name, operand, n+1+int(i.Jt), n+1+int(i.Jf))
		}
	}
	return strings.Join(lines, "\n")
}

// instruction is the name and the operand of instruction n.
func instruction(n int, i bpf.RawInstruction) (name, operand string) {
	switch i.Op & opClass {
	case classLd:
		return loadNames[i.Op&opSize], loadOperand(i)
	case classLdx:
		if i.Op&opMode == modeMsh {
			return "ldxb", fmt.Sprintf("4*([%d]&0xf)", i.K)
		}
		return "ldx", loadOperand(i)
	case classSt:
		return "st", fmt.Sprintf("M[%d]", i.K)
	case classStx:
		return "stx", fmt.Sprintf("M[%d]", i.K)
	case classALU:
		return aluInstruction(i)
	case classJmp:
		operation := int(i.Op&opALU) >> 4
		switch {
		case operation == 0:
			return "ja", fmt.Sprint(n + 1 + int(i.K))
		case operation >= len(jumpNames):
		case i.Op&opUseX != 0:
			return jumpNames[operation], "x"
		default:
			return jumpNames[operation], fmt.Sprintf("#0x%x", i.K)
		}
	case classRet:
		if i.Op&(opRetA|opUseX) != 0 {
			return "ret", ""
		}
		return "ret", fmt.Sprintf("#%d", i.K)
	default:
		if i.Op&opMisc == 0x80 {
			return "txa", ""
		}
		return "tax", ""
	}
	return "unimp", fmt.Sprintf("0x%x", i.Op)
}

func loadOperand(i bpf.RawInstruction) string {
	switch i.Op & opMode {
	case modeAbs:
		if name, ok := adNames[i.K-adOffset]; ok {
			return "[" + name + "]"
		}
		return fmt.Sprintf("[%d]", i.K)
	case modeInd:
		return fmt.Sprintf("[x + %d]", i.K)
	case modeMem:
		return fmt.Sprintf("M[%d]", i.K)
	case modeLen:
		return "#pktlen"
	default:
		return fmt.Sprintf("#0x%x", i.K)
	}
}

func aluInstruction(i bpf.RawInstruction) (name, operand string) {
	operation := int(i.Op&opALU) >> 4
	if operation >= len(aluNames) {
		return "unimp", fmt.Sprintf("0x%x", i.Op)
	}
	name = aluNames[operation]
	switch {
	case name == "neg":
		return name, ""
	case i.Op&opUseX != 0:
		return name, "x"
	case name == "and" || name == "or" || name == "xor":
		return name, fmt.Sprintf("#0x%x", i.K)
	default:
		return name, fmt.Sprintf("#%d", i.K)
	}
}
