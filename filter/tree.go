package filter

import (
	"slices"

	"golang.org/x/net/bpf"
)

// Scratch memory of a program. The kernel refuses a program that may read a slot it has not written, so the
// part that reads packets fills what the decision part uses on every way there.
const (
	slotProtocol   = 0
	slotLocalPort  = 1
	slotRemotePort = 2
	slotNext       = 3 // while walking IPv6 extension headers: where the next one starts
	slotLocal      = 4 // four words; an IPv4 address is in the last
	slotRemote     = 8
	slotDirection  = 12 // of a program for Npcap
	slotFlags      = 13
)

// slots is where a field's value is, as four words of which the field may use only the last.
var slots = [fields]int{
	fieldProtocol:   slotProtocol - 3,
	fieldLocalPort:  slotLocalPort - 3,
	fieldRemotePort: slotRemotePort - 3,
	fieldLocal:      slotLocal,
	fieldRemote:     slotRemote,
	fieldFlags:      slotFlags - 3,
}

// tree writes the decision part of a program: is the packet, whose fields are in scratch memory, in any box?
type tree struct {
	*assembler
	words  int // of an address
	accept label
	// maxPort and maxFlags are the largest values that these fields can have.
	maxPort, maxFlags uint32
}

// decide writes the decision over some boxes and returns where it starts. A packet in none goes on at next.
//
// One field is looked at first, for all the boxes that name it. Their sets need not be disjoint, so the boxes
// are put into layers in which any two sets are the same or disjoint; each layer is one balanced search, whose
// leaves decide over the other fields. What fails in a layer goes on to the next, and then to the boxes that
// do not name the field. So every box is written once, however much the boxes overlap.
func (t *tree) decide(boxes []box, next label) label {
	if len(boxes) == 0 || t.full() {
		return next
	}
	for i := range boxes {
		if boxes[i].full() {
			return t.accept
		}
	}
	f := chooseField(boxes)
	var naming, others []box
	for _, b := range boxes {
		if b[f] == nil {
			others = append(others, b)
		} else {
			naming = append(naming, b)
		}
	}
	next = t.decide(others, next)
	for _, layer := range slices.Backward(inLayers(f, naming)) {
		next = t.layer(f, layer, next)
	}
	return next
}

// chooseField is the field to look at first: one that all boxes name with one and the same small set, as one
// comparison then rules out most packets; or else the one that most boxes name, in the fewest layers.
func chooseField(boxes []box) field {
	best, bestNaming, bestLayers := field(0), 0, 0
	for f := range fields {
		var naming []box
		for _, b := range boxes {
			if b[f] != nil {
				naming = append(naming, b)
			}
		}
		if len(naming) == 0 || len(naming) < bestNaming {
			continue
		}
		n := inLayers(f, naming)
		if len(naming) == len(boxes) && len(n) == 1 && len(n[0]) == 1 && len(naming[0][f]) <= 2 {
			return f
		}
		if len(naming) > bestNaming || len(n) < bestLayers {
			best, bestNaming, bestLayers = f, len(naming), len(n)
		}
	}
	return best
}

// class is the boxes that name the same set in one field.
type class struct {
	set   keySet
	boxes []box // with that field taken away
}

// inLayers sorts the boxes, all of which name f, into layers of classes whose sets do not meet.
func inLayers(f field, boxes []box) [][]class {
	index := map[string]int{}
	var classes []class
	for _, b := range boxes {
		id := string(appendID(nil, b[f]))
		i, ok := index[id]
		if !ok {
			i = len(classes)
			index[id] = i
			classes = append(classes, class{set: b[f]})
		}
		b[f] = nil
		classes[i].boxes = append(classes[i].boxes, b)
	}
	// In the order of where they begin, intervals need the fewest layers.
	slices.SortStableFunc(classes, func(a, b class) int { return compareSpans(a.set[0], b.set[0]) })
	var out [][]class
	var taken [][]span[key] // what the classes of each layer have, sorted
	for _, c := range classes {
		i := len(out)
		if i > 0 && i <= maxLayers {
			if free := slices.IndexFunc(taken, func(t []span[key]) bool { return isFree(t, c.set) }); free >= 0 {
				i = free
			}
		}
		if i == len(out) {
			out, taken = append(out, nil), append(taken, nil)
		}
		out[i] = append(out[i], c)
		for _, s := range c.set {
			at, _ := slices.BinarySearchFunc(taken[i], s, compareSpans)
			taken[i] = slices.Insert(taken[i], at, s)
		}
	}
	return out
}

// maxLayers is how many layers are looked through for room. Sets that overlap so much get one each.
const maxLayers = 64

// isFree reports whether the spans of a set meet none of sorted, disjoint others.
func isFree(taken []span[key], set keySet) bool {
	for _, s := range set {
		at, _ := slices.BinarySearchFunc(taken, s.lo, func(t span[key], lo key) int { return t.hi.Compare(lo) })
		if at < len(taken) && taken[at].lo.Compare(s.hi) <= 0 {
			return false
		}
	}
	return true
}

// interval is a span of keys and where the program goes on for them.
type interval struct {
	span[key]
	to func() label
}

// layer writes the search for the class that has the packet's value of f.
func (t *tree) layer(f field, classes []class, miss label) label {
	var all []interval
	for _, c := range classes {
		to := t.once(func() label { return t.decide(c.boxes, miss) })
		for _, s := range c.set {
			all = append(all, interval{s, to})
		}
	}
	slices.SortFunc(all, func(a, b interval) int { return compareSpans(a.span, b.span) })
	switch f {
	case fieldLocal, fieldRemote:
		return t.searchKeys(slots[f], 4-t.words, all, ^uint32(0), miss)
	case fieldLocalPort, fieldRemotePort:
		return t.searchKeys(slots[f], 3, all, t.maxPort, miss)
	case fieldFlags:
		return t.searchKeys(slots[f], 3, all, t.maxFlags, miss)
	default:
		return t.searchKeys(slots[f], 3, all, ^uint32(0), miss)
	}
}

// once makes the code of a leaf when it is first needed, so that it stands close to where it is jumped to
// from, and only once.
func (t *tree) once(write func() label) func() label {
	var at label
	return func() label {
		if at == 0 {
			at = write()
		}
		return at
	}
}

// wordSpan is a span of one word of a key.
type wordSpan struct {
	lo, hi uint32
	to     func() label
}

// searchKeys writes the search of sorted, disjoint intervals, all of which agree in the words before word.
func (t *tree) searchKeys(slot, word int, all []interval, largest uint32, miss label) label {
	if t.full() {
		return miss
	}
	var found []wordSpan
	for rest := slices.Clone(all); len(rest) > 0; {
		first := &rest[0]
		low, high := first.lo[word], first.hi[word]
		if isAll(first.lo[word+1:], 0) {
			// Values of this word that the interval has whole need no look at the words after it.
			if isAll(first.hi[word+1:], ^uint32(0)) {
				found = append(found, wordSpan{low, high, first.to})
				rest = rest[1:]
				continue
			}
			if low < high {
				found = append(found, wordSpan{low, high - 1, first.to})
				first.lo = key{}
				copy(first.lo[:], first.hi[:word+1])
				continue
			}
		}
		var inside []interval
		inside, rest = cutValue(rest, word)
		found = append(found, wordSpan{low, low, t.once(func() label {
			return t.searchKeys(slot, word+1, inside, ^uint32(0), miss)
		})})
	}
	return t.seq(t.search(found, 0, largest, miss), bpf.LoadScratch{Dst: bpf.RegA, N: slot + word})
}

// cutValue takes from the front of the intervals what has the word that the first of them begins with. It
// changes the intervals it is given.
func cutValue(all []interval, word int) (inside, rest []interval) {
	value := all[0].lo[word]
	for len(all) > 0 && all[0].lo[word] == value {
		part := all[0]
		if part.hi[word] == value {
			inside, all = append(inside, part), all[1:]
			continue
		}
		part.hi = part.lo
		for i := word + 1; i < len(part.hi); i++ {
			part.hi[i] = ^uint32(0)
		}
		all[0].lo = part.hi.Next()
		return append(inside, part), all
	}
	return inside, all
}

func isAll(words []uint32, value uint32) bool {
	for _, w := range words {
		if w != value {
			return false
		}
	}
	return true
}

// shortChain is how many single values are compared one after the other, rather than halved further: it saves
// an instruction for each halving.
const shortChain = 4

// search writes the search for A in sorted, disjoint spans. A is known to be low..high.
func (t *tree) search(all []wordSpan, low, high uint32, miss label) label {
	switch {
	case len(all) == 0 || t.full():
		return miss
	case len(all) == 1 && (!t.signed || high < signBit || low >= signBit || all[0].lo == all[0].hi):
		return t.searchOne(all[0], low, high, miss)
	case len(all) <= shortChain && !slices.ContainsFunc(all, func(s wordSpan) bool { return s.lo != s.hi }):
		next := miss
		for _, s := range slices.Backward(all) {
			to := s.to()
			next = t.test(bpf.JumpEqual, s.lo, to, next)
		}
		return next
	}
	if t.signed && low < signBit && high >= signBit {
		return t.searchHalves(all, low, high, miss)
	}
	middle := len(all) / 2
	pivot := all[middle].lo
	right := t.search(all[middle:], pivot, high, miss)
	left := t.search(all[:middle], low, pivot-1, miss)
	return t.test(bpf.JumpGreaterOrEqual, pivot, right, left)
}

// signBit is the least number that is negative when it is taken for a signed one.
const signBit = 1 << 31

// searchHalves writes the search where A may be on both sides of signBit: which side is asked by a test of that
// bit. On one side all numbers have the same order, signed or not.
func (t *tree) searchHalves(all []wordSpan, low, high uint32, miss label) label {
	var left, right []wordSpan
	for _, s := range all {
		if s.lo < signBit {
			left = append(left, wordSpan{s.lo, min(s.hi, signBit-1), s.to})
		}
		if s.hi >= signBit {
			right = append(right, wordSpan{max(s.lo, signBit), s.hi, s.to})
		}
	}
	above := t.search(right, signBit, high, miss)
	below := t.search(left, low, signBit-1, miss)
	return t.test(bpf.JumpBitsSet, signBit, above, below)
}

func (t *tree) searchOne(s wordSpan, low, high uint32, miss label) label {
	hit := s.to()
	if s.lo == s.hi && low < high {
		return t.test(bpf.JumpEqual, s.lo, hit, miss)
	}
	if s.hi < high {
		hit = t.test(bpf.JumpGreaterThan, s.hi, miss, hit)
	}
	if s.lo > low {
		hit = t.test(bpf.JumpGreaterOrEqual, s.lo, hit, miss)
	}
	return hit
}
