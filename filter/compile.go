package filter

import (
	"errors"
	"fmt"
	"slices"

	"golang.org/x/net/bpf"
)

// MaxInstructions is how many instructions a program may have (BPF_MAXINSNS in the kernel).
const MaxInstructions = 4096

// wholePacket is the snap length, in bytes, of a program that keeps all of every packet; no packet is larger.
const wholePacket = 262144

// Options say for which socket a program is made.
type Options struct {
	// Framing is what the socket's packets start with.
	Framing Framing

	// SnapLen is how many bytes of a matching packet the kernel copies; 0 is all of it.
	SnapLen uint32

	// Interfaces are the interface indexes to record, for one socket that listens to all. Empty: whatever the
	// socket is bound to.
	Interfaces []uint32

	// NoLoopback promises that no packet of a loopback device reaches the socket. The part for loopback, where
	// both ends are local and each packet is seen twice, is then left out: half of a large program.
	NoLoopback bool

	// HeadersOnly has the kernel copy no more of a packet than its headers, as Packet.HeaderLength has them, and no more
	// than SnapLen.
	HeadersOnly bool

	// MaxInstructions is the size to stay within, for a kernel that refuses a program of full size with ENOMEM:
	// it counts programs against net.core.optmem_max. 0, or more than MaxInstructions, is MaxInstructions.
	MaxInstructions int

	// Npcap makes a program for the driver of Npcap, as it captures on this adapter, and not for Linux. Framing is
	// then one of Ethernet, RawIP and Null, and Interfaces and Exclude are nil: there each adapter has a program of
	// its own, and it is never changed.
	Npcap *Adapter

	// Exclude are flows whose packets are not recorded, whatever the set says, at most MaxFlows. When it is not
	// nil, room is kept for as many, so that Program.Exact is the same however many there are; where
	// MaxInstructions is small, for as many as half of it holds. Set.Match knows
	// nothing of them; the program leaves them out exactly, also when it is not exact otherwise.
	Exclude []Flow
}

// Program is a Set made into a program for the kernel.
type Program struct {
	// Raw is the program as SO_ATTACH_FILTER takes it, at most MaxInstructions.
	Raw []bpf.RawInstruction

	// Exact reports whether the program accepts just what the Set matches. When false the Set was too large for
	// one program: the program accepts all of that and more, and the caller must run Set.Match on what it gets.
	Exact bool

	// Cuts reports whether the program keeps the headers only. When false though Options.HeadersOnly was true, there was
	// no room for that: the caller must cut what it gets at Packet.HeaderLength.
	Cuts bool

	instructions []bpf.Instruction // the same as Raw
}

var (
	// ErrFraming is for an Options.Framing that is not one of the constants.
	ErrFraming = errors.New("unknown framing")
	// ErrTooManyInterfaces is for a list of interfaces that does not fit in a program, even without filters:
	// listen to fewer, or to all.
	ErrTooManyInterfaces = errors.New("too many interfaces for one kernel program")
)

// Compile makes the program for the set. When the set does not fit, the program is the finest coarser one that
// does. Errors are ErrFraming, ErrTooManyInterfaces, ErrTooManyFlows and ErrNpcap.
func (s Set) Compile(o Options) (*Program, error) {
	if err := o.checkFraming(); err != nil {
		return nil, fmt.Errorf("compile filters: %w", err)
	}
	if o.Npcap != nil {
		o.NoLoopback = !o.Npcap.EitherEnd
	}
	if o.SnapLen == 0 {
		o.SnapLen = wholePacket
	}
	if o.MaxInstructions <= 0 || o.MaxInstructions > MaxInstructions {
		o.MaxInstructions = MaxInstructions
	}
	if err := checkFlows(o.Exclude); err != nil {
		return nil, fmt.Errorf("compile filters: %w", err)
	}
	o.HeadersOnly = o.HeadersOnly && headersFit(o)
	leftOut, all := s.leftOut(o)
	for filters, exact := range s.coarser() {
		c := compiler{Options: o, filters: filters, leftOut: leftOut, icmpErrors: !s.noErrors}
		instructions, ok := c.compile()
		if !ok {
			continue
		}
		raw, err := bpf.Assemble(instructions)
		if err != nil {
			return nil, fmt.Errorf("compile filters: %w", err)
		}
		return &Program{Raw: raw, Exact: exact && all, Cuts: o.HeadersOnly, instructions: instructions}, nil
	}
	return nil, fmt.Errorf("compile filters: %w: %d", ErrTooManyInterfaces, len(o.Interfaces))
}

// compiler makes one program.
//
// The program's parts, in the order they run: which interface; not the second copy of a loopback packet; where
// the IP header is; then, for each IP version, the addresses, the filters that name only addresses, the
// protocol and ports, and the other filters. For an ICMP error the part from the addresses on is there once
// more, for the packet it quotes; the decision over the other filters, by far the largest part of a large
// program, is shared by both.
//
// A load beyond the end of the packet ends a program and rejects the packet. So nothing is loaded before all
// that could match without it has been decided: filters that name only addresses come before anything behind
// the IP header is looked at, and what a quote may say comes last.
type compiler struct {
	Options
	filters    []Filter
	leftOut    []Filter // whose packets are not recorded
	icmpErrors bool
	certain    bool  // what cannot be seen of a later fragment does not match
	flagMask   uint8 // the flags of TCP that any filter names

	*assembler
	accept, reject label
	tooLarge       bool             // known before it was written
	directed       bool             // the direction of the packet is asked for
	decisions      map[string]label // those over ports only, which both IP versions can use
}

// compile reports false when the program would be too large.
func (c *compiler) compile() ([]bpf.Instruction, bool) {
	c.assembler = newAssembler(c.MaxInstructions)
	c.signed = c.Npcap != nil
	c.reject = c.ret(0)
	c.accept = c.ret(c.SnapLen)
	headers := -len(c.code)
	if c.HeadersOnly {
		c.accept = c.headersOnly()
	}
	headers += len(c.code)
	limit := c.MaxInstructions
	if c.Exclude != nil {
		c.exclude(c.Exclude)
		// A second end for what is rejected: seen from here the program is the same however many flows there
		// are. And what is not used of the room is not to be had by the filters either.
		c.reject = c.ret(0)
		room := min(flowRoom, limit/2)
		limit = min(limit, limit-room+len(c.code)-headers)
	}
	c.accept = c.leaveOut(c.leftOut)
	start := c.accept
	if !NewSet(c.filters...).includesAll() {
		start = c.matching()
	}
	start = c.interfaces(c.loopbackOnce(start))
	program := c.program(start)
	return program, !c.tooLarge && len(program) <= limit
}

// matching writes the part that accepts what the filters match, and rejects all else.
func (c *compiler) matching() label {
	c.decisions = map[string]label{}
	for i := range c.filters {
		c.flagMask |= c.filters[i].flags.bits()
	}
	v6 := c.packets(ipv6)
	v4 := c.packets(ipv4)
	return c.network(v4, v6)
}

// interfaces writes the test for the interfaces that are recorded.
func (c *compiler) interfaces(next label) label {
	if len(c.Interfaces) == 0 {
		return next
	}
	set := make([]span[key], len(c.Interfaces))
	for i, index := range c.Interfaces {
		set[i] = span[key]{key{3: index}, key{3: index}}
	}
	t := tree{assembler: c.assembler}
	var all []wordSpan
	for _, s := range newSpans(set...) {
		all = append(all, wordSpan{s.lo[3], s.hi[3], func() label { return next }})
	}
	return c.seq(t.search(all, 0, ^uint32(0), c.reject), bpf.LoadExtension{Num: bpf.ExtInterfaceIndex})
}

// Values of the kernel's packet metadata (linux/if_packet.h, linux/if_arp.h).
const (
	packetOutgoing = 4   // SKF_AD_PKTTYPE of a packet being sent
	arphrdEther    = 1   // SKF_AD_HATYPE of an Ethernet device
	arphrdLoopback = 772 // SKF_AD_HATYPE of a loopback device
)

// loopbackOnce rejects a packet being sent over loopback: the socket sees it again coming in.
func (c *compiler) loopbackOnce(next label) label {
	if c.NoLoopback || c.Npcap != nil { // Npcap's loopback adapter gives each packet once.
		return next
	}
	loopback := c.seq(c.test(bpf.JumpEqual, arphrdLoopback, c.reject, next), bpf.LoadExtension{Num: bpf.ExtLinkLayerType})
	return c.seq(c.test(bpf.JumpEqual, packetOutgoing, loopback, next), bpf.LoadExtension{Num: bpf.ExtType})
}

// network writes the search for the IP header.
func (c *compiler) network(v4, v6 ipLabels) label {
	if v4.fixed == c.reject && v6.fixed == c.reject {
		return c.reject
	}
	if c.directed && c.Npcap != nil {
		return c.npcapNetwork(v4, v6)
	}
	switch c.Framing {
	case RawIP:
		return c.rawVersion(v4, v6)
	case Null:
		return c.null(v4, v6)
	case Cooked:
		return c.cooked(v4, v6)
	case Mixed:
		mac := c.ethernet(v4, v6)
		byType := c.oneOf(mac, c.cooked(v4, v6), arphrdEther, arphrdLoopback)
		return c.seq(byType, bpf.LoadExtension{Num: bpf.ExtLinkLayerType})
	default:
		return c.ethernet(v4, v6)
	}
}

// ethernet writes a test of the EtherType for each number of tags.
func (c *compiler) ethernet(v4, v6 ipLabels) label {
	next := c.reject
	for tags := uint32(maxTags); ; tags-- {
		next = c.etherType(14+4*tags, v4, v6, next, c.reject)
		next = c.seq(next, bpf.LoadAbsolute{Off: 12 + 4*tags, Size: 2})
		if tags == 0 {
			return next
		}
	}
}

// cooked writes the same for data that starts behind the first EtherType, which is beside the packet.
func (c *compiler) cooked(v4, v6 ipLabels) label {
	// Both the data of a received frame that has a tag left and that of a frame the kernel tagged itself before
	// sending it have the tag as their protocol. The first starts with the rest of the tag, the second with the
	// IP header.
	rest := c.reject
	other := c.rawVersion(v4, v6)
	for tags := uint32(maxTags); tags > 0; tags-- {
		unknown := c.reject
		if tags == 1 {
			unknown = other
		}
		rest = c.seq(c.etherType(4*tags, v4, v6, rest, unknown), bpf.LoadAbsolute{Off: 4*tags - 2, Size: 2})
	}
	// What says IPv4 or IPv6 must also be that, else there is a tag first: see networkLayer.
	version := func(n uint32, found ipLabels) label {
		next := c.test(bpf.JumpEqual, n, c.headerAt(0, found), rest)
		return c.seq(next, bpf.LoadAbsolute{Off: 0, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
	}
	next := c.oneOfTags(rest, c.reject)
	next = c.test(bpf.JumpEqual, etherIPv6, version(6, v6), next)
	next = c.test(bpf.JumpEqual, etherIPv4, version(4, v4), next)
	return c.seq(next, bpf.LoadExtension{Num: bpf.ExtProto})
}

// etherType writes the test of an EtherType in A: IPv4 or IPv6, whose header is at offset, a tag, or other.
func (c *compiler) etherType(offset uint32, v4, v6 ipLabels, tag, other label) label {
	next := c.oneOfTags(tag, other)
	next = c.test(bpf.JumpEqual, etherIPv6, c.headerAt(offset, v6), next)
	return c.test(bpf.JumpEqual, etherIPv4, c.headerAt(offset, v4), next)
}

func (c *compiler) oneOfTags(yes, no label) label {
	for _, tag := range slices.Backward(tagTypes[:]) {
		no = c.test(bpf.JumpEqual, uint32(tag), yes, no)
	}
	return no
}

// rawVersion writes the test of an IP header at the start of the data for its version.
func (c *compiler) rawVersion(v4, v6 ipLabels) label {
	next := c.test(bpf.JumpEqual, 6, c.headerAt(0, v6), c.reject)
	next = c.test(bpf.JumpEqual, 4, c.headerAt(0, v4), next)
	return c.seq(next, bpf.LoadAbsolute{Off: 0, Size: 1}, bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 4})
}

// headerAt goes on with an IP header at an offset.
func (c *compiler) headerAt(offset uint32, part ipLabels) label {
	if offset == c.fixedOffset() {
		return part.fixed
	}
	if part.x == c.reject {
		return c.reject
	}
	return c.seq(part.x, bpf.LoadConstant{Dst: bpf.RegX, Val: offset})
}
