package filter

import (
	"slices"
	"strconv"

	"golang.org/x/net/bpf"
)

// question is a decision over boxes as it depends on how the packet may be looked at.
type question struct {
	always []box // on every packet
	// either is looked at besides on loopback, where both ends are local: the filters that recognise the
	// local end by the direction, the other way round.
	either []box
}

func (q *question) add(f *Filter, b box) {
	q.always = append(q.always, b)
	if f.addressDecides() {
		q.always = append(q.always, b.swapped())
	} else {
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
	icmp      question // the filters that name ICMP, without it
	others    question // the filters that name another protocol, ports or flags
	protocols []uint32 // that the others want
	maxPort   uint32   // the largest value of a port field
	maxFlags  uint32   // the same for the flags
}

// ipLabels is where the part for one IP version starts.
type ipLabels struct {
	fixed label // for an IP header where it usually is, see fixedOffset
	x     label // for an IP header at X
}

// fixedOffset is where the IP header is in a packet without tags. There it is read with absolute loads, which
// the kernel's compiler makes far faster code of than of those relative to X.
func (c *compiler) fixedOffset() uint32 {
	switch c.Framing {
	case Ethernet, Mixed:
		return 14
	case Null:
		return nullLen
	default:
		return 0
	}
}

// packets writes the part of the program for one IP version. When no filter can match the version it is
// c.reject.
func (c *compiler) packets(fam family) ipLabels {
	part := ipPart{family: fam}
	for i := range c.filters {
		f := &c.filters[i]
		b, ok := fam.boxOf(f, c.flagMask, c.certain)
		switch {
		case !ok:
		case f.protocol == icmp:
			b[fieldProtocol] = nil
			part.icmp.add(f, b)
		case f.protocol == anyProtocol && !f.hasPorts():
			part.addresses.add(f, b)
		default:
			part.others.add(f, b)
		}
	}
	nothing := ipLabels{c.reject, c.reject}
	if part.addresses.empty() && part.icmp.empty() && part.others.empty() {
		return nothing
	}
	for _, q := range []*question{&part.addresses, &part.icmp, &part.others} {
		switch {
		case c.NoLoopback:
			q.either = nil
		case c.Npcap != nil: // all that comes is loopback
			q.always, q.either = q.all(), nil
		}
	}
	part.addresses.simplify()
	part.icmp.simplify()
	part.others.simplify()
	if len(part.addresses.always)+len(part.icmp.always)+len(part.others.always) > c.limit {
		c.tooLarge = true // Each takes an instruction at least.
		return nothing
	}
	part.chooseProtocols()

	others := c.decide(&part, &part.others, c.reject)
	quote := c.reject
	if c.icmpErrors {
		quoted := reader{compiler: c, ipPart: &part, quoted: true, decision: others, quote: c.reject}
		quote = quoted.packet(place{}, quoted.afterAddresses(place{}))
	}
	direct := reader{compiler: c, ipPart: &part, decision: others, quote: quote}
	return direct.labels()
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
	p.maxPort, p.maxFlags = portInOtherFragment, flagsInOtherFragment
	if slices.ContainsFunc(p.others.all(), func(b box) bool { return b[fieldFlags] == nil }) {
		p.maxFlags = flagsNotThere
	}
	if slices.ContainsFunc(p.others.all(), func(b box) bool {
		return b[fieldLocalPort] == nil && b[fieldRemotePort] == nil && b[fieldFlags] == nil
	}) {
		p.maxPort = portNotThere
	}
}

// wantsPorts reports whether the ports must be looked at.
func (p *ipPart) wantsPorts() bool {
	return p.others.names(fieldLocalPort) || p.others.names(fieldRemotePort)
}

// wantsFlags reports whether the flags of TCP must be looked at.
func (p *ipPart) wantsFlags() bool { return p.others.names(fieldFlags) }

// wantsAddress reports whether an address must be looked at.
func (p *ipPart) wantsAddress(f field) bool {
	return p.addresses.names(f) || p.icmp.names(f) || p.others.names(f)
}

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
	t := tree{assembler: c.assembler, words: p.words, accept: c.accept, maxPort: p.maxPort, maxFlags: p.maxFlags}
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
