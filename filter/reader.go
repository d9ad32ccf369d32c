package filter

import (
	"slices"

	"golang.org/x/net/bpf"
)

// place is where a header starts: at an offset in the packet, or that far behind X.
type place struct {
	fixed  bool
	offset uint32
}

// load reads from a header.
func (at place) load(offset uint32, size int) bpf.Instruction {
	if at.fixed {
		return bpf.LoadAbsolute{Off: at.offset + offset, Size: size}
	}
	return bpf.LoadIndirect{Off: at.offset + offset, Size: size}
}

// behind is the place so many bytes further on.
func (at place) behind(n uint32) place { return place{at.fixed, at.offset + n} }

// toX moves X to a place, keeping A.
func (at place) toX() []bpf.Instruction {
	switch {
	case at.fixed:
		return []bpf.Instruction{bpf.LoadConstant{Dst: bpf.RegX, Val: at.offset}}
	case at.offset == 0:
		return nil
	default:
		return []bpf.Instruction{
			bpf.StoreScratch{Src: bpf.RegA, N: slotNext},
			bpf.TXA{},
			bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: at.offset},
			bpf.TAX{},
			bpf.LoadScratch{Dst: bpf.RegA, N: slotNext},
		}
	}
}

// behindIPv4 is what to do to get behind an IPv4 header, and where that is.
func (at place) behindIPv4() ([]bpf.Instruction, place) {
	if at.fixed {
		return []bpf.Instruction{bpf.LoadMemShift{Off: at.offset}}, place{offset: at.offset}
	}
	return []bpf.Instruction{
		at.load(0, 1),
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 15},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2},
		bpf.ALUOpX{Op: bpf.ALUOpAdd},
		bpf.TAX{},
	}, at
}

// reader writes the part that reads one IP packet: the packet itself or the one that an ICMP error quotes, which
// went the other way.
type reader struct {
	*compiler
	*ipPart
	quoted   bool
	decision label // over what is read
	quote    label // where an ICMP error goes on, with X at what it quotes; c.reject when that is not looked at
	chain    label // the walk over IPv6 extension headers, once written
}

// maxTwice is the size up to which what follows the loading of the addresses is written twice.
const maxTwice = 256

// labels writes the part for a packet itself, for an IP header at X and for one at the fixed place. What follows
// the loading of the addresses is written for each, unless that is a large decision.
func (r *reader) labels() ipLabels {
	fixed := place{true, r.fixedOffset()}
	if r.Framing == RawIP || r.Framing == Null {
		return ipLabels{fixed: r.packet(fixed, r.afterAddresses(fixed)), x: r.reject}
	}
	before := r.here()
	rest := r.afterAddresses(place{})
	large := r.here()-before > maxTwice
	out := ipLabels{x: r.packet(place{}, rest)}
	if large {
		out.fixed = r.packet(fixed, r.seq(rest, fixed.toX()...))
	} else {
		out.fixed = r.packet(fixed, r.afterAddresses(fixed))
	}
	return out
}

// afterAddresses writes what follows the loading of the addresses: the filters that name only these, then the
// others.
func (r *reader) afterAddresses(at place) label {
	return r.decide(r.ipPart, &r.addresses, r.transport(at))
}

// packet writes the check of an IP header and the loading of its addresses.
func (r *reader) packet(at place, next label) label {
	next = r.byDirection(next, func(sourceIsLocal bool) []bpf.Instruction { return r.loadAddresses(at, sourceIsLocal) })
	// The version, and for IPv4 a header length of at least 5 words; the last word of the header must be there.
	low, high, last := uint32(0x45), uint32(0x4f), uint32(16)
	if r.version == 6 {
		low, high, last = 0x60, 0x6f, 36
	}
	if !r.wantsAddress(fieldLocal) || !r.wantsAddress(fieldRemote) {
		next = r.seq(next, at.load(last, 4)) // Else the addresses have been loaded to the last word.
	}
	next = r.test(bpf.JumpGreaterThan, high, r.reject, next)
	next = r.test(bpf.JumpGreaterOrEqual, low, next, r.reject)
	return r.seq(next, at.load(0, 1))
}

// byDirection writes loads that depend on which end is the local one: the source of a packet being sent, the
// destination of any other. Of a quoted packet it is the other way round.
func (r *reader) byDirection(next label, loads func(sourceIsLocal bool) []bpf.Instruction) label {
	if len(loads(true)) == 0 {
		return next
	}
	incoming := r.seq(next, loads(r.quoted)...)
	if r.Npcap != nil && r.Npcap.EitherEnd {
		return incoming // as on Linux's loopback; the boxes stand for both ways round
	}
	outgoing := r.seq(next, loads(!r.quoted)...)
	return r.seq(r.test(bpf.JumpEqual, packetOutgoing, outgoing, incoming), r.loadDirection())
}

// loadAddresses is how the addresses that filters name come into their slots.
func (r *reader) loadAddresses(at place, sourceIsLocal bool) []bpf.Instruction {
	offset := uint32(12)
	if r.version == 6 {
		offset = 8
	}
	var out []bpf.Instruction
	for i, slot := range ends(sourceIsLocal, slotLocal, slotRemote) {
		if !r.wantsAddress(ends(sourceIsLocal, fieldLocal, fieldRemote)[i]) {
			continue
		}
		for w := range r.words {
			out = append(out,
				at.load(offset+uint32(4*(i*r.words+w)), 4),
				bpf.StoreScratch{Src: bpf.RegA, N: slot + 4 - r.words + w})
		}
	}
	return out
}

// loadPorts is the same for the ports. Both are loaded at once: both must be there, and a load behind a header
// of any length is what costs most.
func (r *reader) loadPorts(at place, sourceIsLocal bool) []bpf.Instruction {
	slot := ends(sourceIsLocal, slotLocalPort, slotRemotePort)
	field := ends(sourceIsLocal, fieldLocalPort, fieldRemotePort)
	source := []bpf.Instruction{
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftRight, Val: 16}, bpf.StoreScratch{Src: bpf.RegA, N: slot[0]}}
	destination := []bpf.Instruction{
		bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: 0xffff}, bpf.StoreScratch{Src: bpf.RegA, N: slot[1]}}
	load := []bpf.Instruction{at.load(0, 4)}
	switch {
	case !r.others.names(field[1]):
		return slices.Concat(load, source)
	case !r.others.names(field[0]):
		return slices.Concat(load, destination)
	default:
		return slices.Concat(load, []bpf.Instruction{bpf.TAX{}}, source, []bpf.Instruction{bpf.TXA{}}, destination)
	}
}

// ends puts what belongs to the source first.
func ends[T any](sourceIsLocal bool, local, remote T) [2]T {
	if sourceIsLocal {
		return [2]T{local, remote}
	}
	return [2]T{remote, local}
}

// ports writes the reading of the ports in a transport header.
func (r *reader) ports(at place) label {
	if !r.wantsPorts() {
		return r.decision
	}
	known := r.byDirection(r.decision, func(sourceIsLocal bool) []bpf.Instruction { return r.loadPorts(at, sourceIsLocal) })
	if r.maxPort == portInOtherFragment {
		return known // Where they are cut off, the load rejects the packet.
	}
	return r.ifThere(at.behind(4), known, r.setPorts(portNotThere))
}

// ifThere writes the test that a packet, which has an IP header at least, reaches as far as a place.
func (r *reader) ifThere(end place, there, cut label) label {
	if end.fixed {
		return r.seq(r.test(bpf.JumpGreaterOrEqual, end.offset, there, cut), bpf.LoadExtension{Num: bpf.ExtLen})
	}
	next := r.seq(r.testX(bpf.JumpGreaterOrEqual, there, cut), bpf.ALUOpConstant{Op: bpf.ALUOpSub, Val: end.offset})
	if end.offset > minIPv4Header { // Else the difference is not negative.
		next = r.test(bpf.JumpGreaterOrEqual, end.offset, next, cut)
	}
	return r.seq(next, bpf.LoadExtension{Num: bpf.ExtLen})
}

// transportHeader writes the reading of the flags and the ports in a transport header.
func (r *reader) transportHeader(at place, isTCP bool) label {
	next := r.ports(at)
	switch {
	case !r.wantsFlags():
		return next
	case !isTCP:
		return r.setFlags(next, flagsNotThere)
	}
	load := []bpf.Instruction{at.load(tcpFlagsAt, 1)}
	if r.flagMask != 0xff {
		load = append(load, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: uint32(r.flagMask)})
	}
	if r.maxFlags == flagsInOtherFragment {
		return r.seq(next, append(load, bpf.StoreScratch{Src: bpf.RegA, N: slotFlags})...)
	}
	known := r.seq(next, append(load, bpf.StoreScratch{Src: bpf.RegA, N: slotFlags})...)
	return r.ifThere(at.behind(tcpFlagsAt+1), known, r.setFlags(next, flagsNotThere))
}

// setFlags puts a value that is not one of flags into their field.
func (r *reader) setFlags(next label, value uint32) label {
	return r.seq(next, bpf.LoadConstant{Dst: bpf.RegA, Val: value}, bpf.StoreScratch{Src: bpf.RegA, N: slotFlags})
}

// byProtocol writes the choice of a path for each of the protocols that are wanted; what is none of them goes on at
// next, which is written behind the paths. TCP has one of its own where its flags are looked at. A is the protocol's number.
func (r *reader) byProtocol(path func(isTCP bool) label, next func() label) label {
	own, others := []uint32(nil), r.protocols
	if r.wantsFlags() && slices.Contains(others, protoTCP) {
		own, others = []uint32{protoTCP}, slices.DeleteFunc(slices.Clone(others), func(n uint32) bool { return n == protoTCP })
	}
	var toOthers, toTCP label
	if len(others) > 0 {
		toOthers = path(false)
	}
	if len(own) > 0 {
		toTCP = path(true)
	}
	at := next()
	if len(others) > 0 {
		at = r.oneOf(r.noteProtocol(toOthers), at, others...)
	}
	if len(own) > 0 {
		at = r.oneOf(r.noteProtocol(toTCP), at, own...)
	}
	return at
}

// isICMP writes the decision over the filters that name ICMP; a packet that none of them matches goes on at next.
func (r *reader) isICMP(next label) label { return r.decide(r.ipPart, &r.icmp, next) }

// setPorts puts a value that is not a port number into both port fields.
func (r *reader) setPorts(value uint32) label {
	return r.seq(r.decision,
		bpf.LoadConstant{Dst: bpf.RegA, Val: value},
		bpf.StoreScratch{Src: bpf.RegA, N: slotLocalPort},
		bpf.StoreScratch{Src: bpf.RegA, N: slotRemotePort})
}

// laterFragment writes what is known of the ports of a fragment but the first.
func (r *reader) laterFragment() label {
	next := r.decision
	if r.wantsPorts() {
		next = r.setPorts(portInOtherFragment)
	}
	if r.wantsFlags() {
		next = r.setFlags(next, flagsInOtherFragment)
	}
	return next
}

// noteProtocol keeps the protocol in A for the decision.
func (r *reader) noteProtocol(next label) label {
	if !r.others.names(fieldProtocol) {
		return next
	}
	return r.seq(next, bpf.StoreScratch{Src: bpf.RegA, N: slotProtocol})
}

// transport writes the reading of the protocol and the ports of an IP packet.
func (r *reader) transport(at place) label {
	switch {
	case r.others.empty() && r.icmp.empty() && r.quote == r.reject:
		return r.reject
	case r.version == 4:
		return r.transportIPv4(at)
	default:
		return r.transportIPv6(at)
	}
}

// minIPv4Header is the length of an IPv4 header without options, the shortest IP header.
const minIPv4Header = 20

// minIPv6Header is the length of an IPv6 header without extension headers.
const minIPv6Header = 40

// icmpHeader is the length of the header of an ICMP error, before the packet it quotes.
const icmpHeader = 8

func (r *reader) transportIPv4(at place) label {
	const fragmentOffset = 0x1fff
	skip, transport := at.behindIPv4()
	other := r.reject
	if r.quote != r.reject {
		other = r.seq(r.quote, transport.behind(icmpHeader).toX()...)
		other = r.oneOf(other, r.reject, 3, 11, 5, 12, 4)
		other = r.seq(other, append(skip, transport.load(0, 1))...)
		other = r.test(bpf.JumpBitsSet, fragmentOffset, r.reject, other)
		other = r.seq(other, at.load(6, 2))
	}
	next := r.byProtocol(func(isTCP bool) label {
		if !r.wantsPorts() && !r.wantsFlags() {
			return r.decision
		}
		wanted := r.seq(r.transportHeader(transport, isTCP), skip...)
		wanted = r.test(bpf.JumpBitsSet, fragmentOffset, r.laterFragment(), wanted)
		return r.seq(wanted, at.load(6, 2))
	}, func() label { return r.test(bpf.JumpEqual, protoICMP, r.isICMP(other), r.reject) })
	return r.seq(next, at.load(9, 1))
}

// transportIPv6 writes the same for IPv6. Most packets have no extension header.
func (r *reader) transportIPv6(at place) label {
	if r.chain == 0 {
		r.chain = r.extensions()
	}
	transport := at.behind(40)
	next := r.seq(r.chain, transport.toX()...)
	next = r.byProtocol(func(isTCP bool) label { return r.transportHeader(transport, isTCP) }, func() label { return next })
	return r.seq(next, at.load(6, 1))
}

// extensions writes the walk over IPv6 extension headers. At its start and after each step A is the type of the
// header that X is at.
func (r *reader) extensions() label {
	at := place{} // X
	next, later := r.reject, r.reject
	if r.quote != r.reject {
		next = r.seq(r.quote, at.behind(icmpHeader).toX()...)
		next = r.test(bpf.JumpGreaterThan, 4, r.reject, next)
		next = r.test(bpf.JumpGreaterOrEqual, 1, next, r.reject)
		next = r.seq(next, at.load(0, 1))
	}
	if next = r.isICMP(next); next != r.reject {
		next = r.test(bpf.JumpEqual, protoICMPv6, next, r.reject)
	}
	if !r.icmp.empty() {
		later = r.test(bpf.JumpEqual, protoICMPv6, r.isICMP(r.reject), r.reject)
	}
	if len(r.protocols) > 0 {
		later = r.oneOf(r.noteProtocol(r.laterFragment()), later, r.protocols...)
	}
	if later != r.reject {
		later = r.seq(later, at.load(0, 1))
	}
	next = r.byProtocol(func(isTCP bool) label { return r.transportHeader(at, isTCP) }, func() label { return next })
	for range maxExtensions {
		next = r.extension(next, later)
	}
	return next
}

// extension writes the step over one extension header. Another header than those looked through is left where
// it is.
func (r *reader) extension(next, laterFragment label) label {
	at := place{} // X
	// Here A is the length of the extension header.
	step := r.seq(next,
		bpf.ALUOpX{Op: bpf.ALUOpAdd},
		bpf.StoreScratch{Src: bpf.RegA, N: slotNext},
		at.load(0, 1),
		bpf.LoadScratch{Dst: bpf.RegX, N: slotNext})
	options := r.seq(step,
		at.load(1, 1),
		bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 1},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 3})
	auth := r.seq(step,
		at.load(1, 1),
		bpf.ALUOpConstant{Op: bpf.ALUOpAdd, Val: 2},
		bpf.ALUOpConstant{Op: bpf.ALUOpShiftLeft, Val: 2})
	fragment := r.seq(step, bpf.LoadConstant{Dst: bpf.RegA, Val: 8})
	fragment = r.test(bpf.JumpBitsSet, 0xfff8, laterFragment, fragment)
	fragment = r.seq(fragment, at.load(2, 2))
	next = r.oneOf(options, next, protoHopByHop, protoRouting, protoDestination)
	next = r.test(bpf.JumpEqual, protoAH, auth, next)
	return r.test(bpf.JumpEqual, protoFragment, fragment, next)
}
