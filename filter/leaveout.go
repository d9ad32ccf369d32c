package filter

// leftOut is the filters whose packets the program leaves out. When they take more than half of it, they are left to
// [Set.Match], and all is false.
func (s Set) leftOut(o Options) (filters []Filter, all bool) {
	if s.excludes == nil {
		return nil, true
	}
	c := compiler{Options: o, assembler: newAssembler(o.MaxInstructions)}
	c.reject = c.ret(0)
	c.accept = c.ret(o.SnapLen)
	c.leaveOut(s.excludes.filters)
	if c.tooLarge || len(c.code) > o.MaxInstructions/2 {
		return nil, false
	}
	return s.excludes.filters, true
}

// leaveOut writes the part that rejects what the filters match, and returns where it starts. It stands before accept,
// so that only packets that would be recorded are looked at. It is made as the part that records what filters match is,
// with the ends exchanged. But a load beyond the end of the packet would reject it, so that each is tested before; and
// what cannot be seen, as the ports of a later fragment, does not match.
func (c *compiler) leaveOut(filters []Filter) label {
	switch {
	case len(filters) == 0:
		return c.accept
	case NewSet(filters...).includesAll():
		return c.reject
	}
	part := compiler{
		Options: c.Options, filters: filters, certain: true,
		assembler: c.assembler, accept: c.reject, reject: c.accept,
	}
	c.cut = c.accept
	start := part.matching()
	c.cut = 0
	c.tooLarge = c.tooLarge || part.tooLarge
	return start
}
