package filter

import (
	"slices"
	"strconv"

	"golang.org/x/net/bpf"
)

// question is a decision over boxes as it depends on how the packet may be looked at.
type question struct {
	always []box // on every packet
	// either is looked at besides on loopback, where both ends are local: the filters that tell the local end
	// by the direction, the other way round.
	either []box
}

func (q *question) add(f *Filter, b box, noLoopback bool) {
	q.always = append(q.always, b)
	switch {
	case f.addressDecides():
		q.always = append(q.always, b.swapped())
	case !noLoopback:
		q.either = append(q.either, b.swapped())
	}
}

func (q *question) simplify() {
	q.always, q.either = simplify(q.always), simplify(q.either)
	if len(q.always)*len(q.either) <= maxCovers*maxCovers {
		q.either = slices.DeleteFunc(q.either, func(b box) bool {
			return slices.ContainsFunc(q.always, func(o box) bool { return o.covers(&b) })
		})
	}
}

func (q *question) empty() bool { return len(q.always) == 0 }

// all is every box of the question.
func (q *question) all() []box { return slices.Concat(q.always, q.either) }

// names reports whether any box names the field.
func (q *question) names(f field) bool {
	return slices.ContainsFunc(q.all(), func(b box) bool { return b[f] != nil })
}

// id is a text that equal questions have in common, and no others.
func (q *question) id() string {
	out := strconv.AppendInt(nil, int64(len(q.always)), 10)
	for _, b := range q.all() {
		out = append(out, b.id()...)
	}
	return string(out)
}

// ipPart is what the program needs to know about packets of one IP version.
type ipPart struct {
	family
	addresses question // the filters that name only addresses
	others    question // the filters that name a protocol or ports
	protocols []uint32 // that the others want
	maxPort   uint32   // the largest value of a port field
}

// packets writes the part of the program for one IP version; it starts with X at the IP header. When no filter
// can match the version it is c.reject.
func (c *compiler) packets(fam family) label {
	part := ipPart{family: fam}
	for i := range c.filters {
		f := &c.filters[i]
		b, ok := fam.boxOf(f)
		switch {
		case !ok:
		case f.protocol == anyProtocol && !f.hasPorts():
			part.addresses.add(f, b, c.NoLoopback)
		default:
			part.others.add(f, b, c.NoLoopback)
		}
	}
	if part.addresses.empty() && part.others.empty() {
		return c.reject
	}
	part.addresses.simplify()
	part.others.simplify()
	if len(part.addresses.always)+len(part.others.always) > c.limit {
		c.tooLarge = true // Each takes an instruction at least.
		return c.reject
	}
	part.chooseProtocols()

	others := c.decide(&part, &part.others, c.reject)
	quote := c.reject
	if c.icmpErrors {
		quote = c.packet(&part, true, others, c.reject)
	}
	return c.packet(&part, false, others, quote)
}

// portProtocols are the protocols that have ports, in the order of how often they are met.
var portProtocols = []uint32{protoTCP, protoUDP, protoSCTP, protoDCCP, protoUDPLite}

// chooseProtocols notes which protocols the filters want that name one, or ports. The program looks no further
// into the others, so that a box that names all of the wanted ones need not name any.
func (p *ipPart) chooseProtocols() {
	for _, protocol := range portProtocols {
		wanted := slices.ContainsFunc(p.others.all(), func(b box) bool {
			return b[fieldProtocol] == nil || b[fieldProtocol].contains(key{3: protocol})
		})
		if wanted {
			p.protocols = append(p.protocols, protocol)
		}
	}
	for _, boxes := range [][]box{p.others.always, p.others.either} {
		for i := range boxes {
			set := boxes[i][fieldProtocol]
			if !slices.ContainsFunc(p.protocols, func(n uint32) bool { return !set.contains(key{3: n}) }) {
				boxes[i][fieldProtocol] = nil
			}
		}
	}
	// Where every box names ports, a packet whose ports are cut off can match nothing: the load that fails
	// rejects it. Else that must be found out before, and be a value of its own.
	p.maxPort = portInOtherFragment
	if slices.ContainsFunc(p.others.all(), func(b box) bool {
		return b[fieldLocalPort] == nil && b[fieldRemotePort] == nil
	}) {
		p.maxPort = portNotThere
	}
}

// wantsPorts reports whether the ports must be looked at.
func (p *ipPart) wantsPorts() bool {
	return p.others.names(fieldLocalPort) || p.others.names(fieldRemotePort)
}

// wantsAddress reports whether an address must be looked at.
func (p *ipPart) wantsAddress(f field) bool { return p.addresses.names(f) || p.others.names(f) }

// decide writes a decision; a packet that no box holds goes on at next.
func (c *compiler) decide(p *ipPart, q *question, next label) label {
	if q.empty() {
		return next
	}
	id := ""
	if next == c.reject && !q.names(fieldLocal) && !q.names(fieldRemote) {
		id = q.id()
		if at, ok := c.decisions[id]; ok {
			return at
		}
	}
	t := tree{assembler: c.assembler, words: p.words, accept: c.accept, maxPort: p.maxPort}
	if len(q.either) > 0 {
		either := t.decide(q.either, next)
		next = c.seq(c.test(bpf.JumpEqual, arphrdLoopback, either, next), bpf.LoadExtension{Num: bpf.ExtLinkLayerType})
	}
	at := t.decide(q.always, next)
	if id != "" {
		c.decisions[id] = at
	}
	return at
}

// packet writes the part that reads one IP packet: the packet itself or the one that an ICMP error quotes,
// which went the other way. Others is the decision over what it reads, icmp where an ICMP error goes on.
func (c *compiler) packet(p *ipPart, quoted bool, others, icmp label) label {
	transport := c.reject
	if !p.others.empty() || icmp != c.reject {
		if p.version == 4 {
			transport = c.transportIPv4(p, quoted, others, icmp)
		} else {
			transport = c.transportIPv6(p, quoted, others, icmp)
		}
	}
	next := c.decide(p, &p.addresses, transport)
	next = c.byDirection(quoted, next, p.loadAddresses)
	if p.version == 4 {
		// Version 4 and a header length of at least 5 words; the last word of the header must be there.
		next = c.seq(next, bpf.LoadIndirect{Off: 16, Size: 4})
		next = c.test(bpf.JumpGreaterThan, 0x4f, c.reject, next)
		next = c.test(bpf.JumpGreaterOrEqual, 0x45, next, c.reject)
		return c.seq(next, bpf.LoadIndirect{Off: 0, Size: 1})
	}
	next = c.seq(next, bpf.LoadIndirect{Off: 36, Size: 4})
	next = c.test(bpf.JumpGreaterThan, 0x6f, c.reject, next)
	next = c.test(bpf.JumpGreaterOrEqual, 0x60, next, c.reject)
	return c.seq(next, bpf.LoadIndirect{Off: 0, Size: 1})
}

// byDirection writes loads that depend on which end is the local one: the source of a packet being sent, the
// destination of any other. Of a quoted packet it is the other way round.
func (c *compiler) byDirection(quoted bool, next label, loads func(sourceIsLocal bool) []bpf.Instruction) label {
	if len(loads(true)) == 0 {
		return next
	}
	incoming := c.seq(next, loads(quoted)...)
	outgoing := c.seq(next, loads(!quoted)...)
	return c.seq(c.test(bpf.JumpEqual, packetOutgoing, outgoing, incoming), bpf.LoadExtension{Num: bpf.ExtType})
}

// loadAddresses is how the addresses that filters name come into their slots. X is at the IP header.
func (p *ipPart) loadAddresses(sourceIsLocal bool) []bpf.Instruction {
	offset := uint32(12)
	if p.version == 6 {
		offset = 8
	}
	var out []bpf.Instruction
	for i, slot := range ends(sourceIsLocal, slotLocal, slotRemote) {
		if !p.wantsAddress(ends(sourceIsLocal, fieldLocal, fieldRemote)[i]) {
			continue
		}
		for w := range p.words {
			out = append(out,
				bpf.LoadIndirect{Off: offset + uint32(4*(i*p.words+w)), Size: 4},
				bpf.StoreScratch{Src: bpf.RegA, N: slot + 4 - p.words + w})
		}
	}
	return out
}

// loadPorts is the same for the ports. X is at the transport header.
func (p *ipPart) loadPorts(sourceIsLocal bool) []bpf.Instruction {
	var out []bpf.Instruction
	for i, slot := range ends(sourceIsLocal, slotLocalPort, slotRemotePort) {
		if p.others.names(ends(sourceIsLocal, fieldLocalPort, fieldRemotePort)[i]) {
			out = append(out,
				bpf.LoadIndirect{Off: uint32(2 * i), Size: 2},
				bpf.StoreScratch{Src: bpf.RegA, N: slot})
		}
	}
	return out
}

// ends puts what belongs to the source first.
func ends[T any](sourceIsLocal bool, local, remote T) [2]T {
	if sourceIsLocal {
		return [2]T{local, remote}
	}
	return [2]T{remote, local}
}

// ports writes the reading of the ports. X is at the transport header.
func (c *compiler) ports(p *ipPart, quoted bool, next label) label {
	if !p.wantsPorts() {
		return next
	}
	known := c.byDirection(quoted, next, p.loadPorts)
	if p.maxPort == portInOtherFragment {
		// Both ports must be there, also when only one is looked at. If not, this load rejects the packet.
		return c.seq(known, bpf.LoadIndirect{Off: 0, Size: 4})
	}
	cut := c.setPorts(portNotThere, next)
	// The packet has at least an IP header, so that its length less 4 is no negative number.
	return c.seq(c.testX(bpf.JumpGreaterOrEqual, known, cut),
		bpf.LoadExtension{Num: bpf.ExtLen},
		bpf.ALUOpConstant{Op: bpf.ALUOpSub, Val: 4})
}

// setPorts puts a value that is no port into both port fields.
func (c *compiler) setPorts(value uint32, next label) label {
	return c.seq(next,
		bpf.LoadConstant{Dst: bpf.RegA, Val: value},
		bpf.StoreScratch{Src: bpf.RegA, N: slotLocalPort},
		bpf.StoreScratch{Src: bpf.RegA, N: slotRemotePort})
}

// laterFragment writes what is known of the ports of a fragment but the first.
func (c *compiler) laterFragment(p *ipPart, next label) label {
	if !p.wantsPorts() {
		return next
	}
	return c.setPorts(portInOtherFragment, next)
}

// noteProtocol keeps the protocol in A for the decision.
func (c *compiler) noteProtocol(p *ipPart, next label) label {
	if !p.others.names(fieldProtocol) {
		return next
	}
	return c.seq(next, bpf.StoreScratch{Src: bpf.RegA, N: slotProtocol})
}

// skipHeaderIPv4 moves X from an IPv4 header to what follows it.
var skipHeaderIPv4 = []bpf.Instruction{
	bpf.LoadIndirect{Off: 0, Size: 1},
	bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 15},
	bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2},
	bpf.ALUOpX{Op: bpf.ALUOpAdd},
	bpf.TAX{},
}

// moveX moves X on by n bytes.
func moveX(n uint32) []bpf.Instruction {
	return []bpf.Instruction{bpf.TXA{}, bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: n}, bpf.TAX{}}
}

// icmpHeader is the length of the header of an ICMP error, before the packet it quotes.
const icmpHeader = 8

// transportIPv4 writes the reading of the protocol and the ports behind an IPv4 header.
func (c *compiler) transportIPv4(p *ipPart, quoted bool, others, icmp label) label {
	const fragmentOffset = 0x1fff
	next := c.reject
	if icmp != c.reject {
		next = c.seq(icmp, moveX(icmpHeader)...)
		next = c.oneOf(next, c.reject, 3, 11, 5, 12, 4)
		next = c.seq(next, append(slices.Clone(skipHeaderIPv4), bpf.LoadIndirect{Off: 0, Size: 1})...)
		next = c.test(bpf.JumpBitsSet, fragmentOffset, c.reject, next)
		next = c.seq(next, bpf.LoadIndirect{Off: 6, Size: 2})
	}
	icmpPart := next
	var wanted label
	if !p.others.empty() {
		wanted = others
		if p.wantsPorts() {
			wanted = c.seq(c.ports(p, quoted, others), skipHeaderIPv4...)
			wanted = c.test(bpf.JumpBitsSet, fragmentOffset, c.laterFragment(p, others), wanted)
			wanted = c.seq(wanted, bpf.LoadIndirect{Off: 6, Size: 2})
		}
		wanted = c.noteProtocol(p, wanted)
	}
	next = c.reject
	if icmp != c.reject {
		next = c.test(bpf.JumpEqual, protoICMP, icmpPart, c.reject)
	}
	next = c.oneOf(wanted, next, p.protocols...)
	return c.seq(next, bpf.LoadIndirect{Off: 9, Size: 1})
}

// transportIPv6 writes the same for IPv6, where extension headers may come before the transport header.
func (c *compiler) transportIPv6(p *ipPart, quoted bool, others, icmp label) label {
	// Here A is the protocol and X at its header.
	next := c.reject
	if icmp != c.reject {
		next = c.seq(icmp, moveX(icmpHeader)...)
		next = c.test(bpf.JumpGreaterThan, 4, c.reject, next)
		next = c.test(bpf.JumpGreaterOrEqual, 1, next, c.reject)
		next = c.seq(next, bpf.LoadIndirect{Off: 0, Size: 1})
		next = c.test(bpf.JumpEqual, protoICMPv6, next, c.reject)
	}
	var wanted label
	later := c.reject
	if !p.others.empty() {
		// Here X is at the fragment header of a later fragment.
		later = c.noteProtocol(p, c.laterFragment(p, others))
		later = c.oneOf(later, c.reject, p.protocols...)
		later = c.seq(later, bpf.LoadIndirect{Off: 0, Size: 1})
		wanted = c.noteProtocol(p, c.ports(p, quoted, others))
	}
	next = c.oneOf(wanted, next, p.protocols...)
	for range maxExtensions {
		next = c.extension(next, later)
	}
	next = c.oneOf(wanted, next, p.protocols...) // Most packets have no extension header.
	load := append([]bpf.Instruction{
		bpf.LoadIndirect{Off: 6, Size: 1},
		bpf.StoreScratch{Src: bpf.RegA, N: slotNext},
	}, moveX(40)...)
	return c.seq(next, append(load, bpf.LoadScratch{Dst: bpf.RegA, N: slotNext})...)
}

// extension writes the step over one IPv6 extension header: before it and after it A is the type of the header
// that X is at. Another header than those looked through is left where it is.
func (c *compiler) extension(next, laterFragment label) label {
	// Here A is the length of the extension header.
	step := c.seq(next,
		bpf.ALUOpX{Op: bpf.ALUOpAdd},
		bpf.StoreScratch{Src: bpf.RegA, N: slotNext},
		bpf.LoadIndirect{Off: 0, Size: 1},
		bpf.LoadScratch{Dst: bpf.RegX, N: slotNext})
	options := c.seq(step,
		bpf.LoadIndirect{Off: 1, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 3})
	auth := c.seq(step,
		bpf.LoadIndirect{Off: 1, Size: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 2},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2})
	fragment := c.seq(step, bpf.LoadConstant{Dst: bpf.RegA, Val: 8})
	fragment = c.test(bpf.JumpBitsSet, 0xfff8, laterFragment, fragment)
	fragment = c.seq(fragment, bpf.LoadIndirect{Off: 2, Size: 2})
	next = c.oneOf(options, next, protoHopByHop, protoRouting, protoDestination)
	next = c.test(bpf.JumpEqual, protoAH, auth, next)
	return c.test(bpf.JumpEqual, protoFragment, fragment, next)
}
