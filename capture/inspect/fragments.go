package inspect

// fragmentKey is a packet that was sent in fragments.
type fragmentKey struct {
	src, dst addr
	id       uint32
	proto    uint8
	via      uint32
}

// fragments is what came of one.
type fragments struct {
	bytes       int // of all fragments
	total       int // -1 until the last one has come
	seen        uint64
	first, last sighting
}

// maxFragments bounds how many packets are followed at a time; the oldest is then looked
// at no more, as if it had just ended.
const maxFragments = 4096

type fragmentTable struct {
	index map[fragmentKey]*fragments
	queue []fragmentKey // a ring, once it is full
	next  int
	total uint64
}

// fragment counts a fragment. Fragments that come twice are not told apart: what matters
// is whether any are missing.
func (e *Engine) fragment(p *packet, via uint32) {
	t := &e.frags
	t.total++
	k := fragmentKey{src: p.src, dst: p.dst, id: p.id, proto: p.proto, via: via}
	f := t.index[k]
	if f == nil {
		if len(t.queue) < maxFragments {
			t.queue = append(t.queue, k)
		} else {
			oldest := &t.queue[t.next]
			if old := t.index[*oldest]; old != nil {
				e.endFragments(oldest, old)
				delete(t.index, *oldest)
			}
			*oldest = k
			t.next = (t.next + 1) % maxFragments
		}
		f = &fragments{total: -1, first: sighting{p.at, p.number}}
		t.index[k] = f
	}
	f.seen++
	f.bytes += p.segLen
	f.last = sighting{p.at, p.number}
	if !p.more {
		f.total = p.offset + p.segLen
	}
	if f.total >= 0 && f.bytes >= f.total {
		delete(t.index, k) // its place in the queue goes when its turn comes
	}
}

// endFragments makes a problem of a packet that was never complete.
func (e *Engine) endFragments(k *fragmentKey, f *fragments) {
	if !e.waited(f.last.at) && f.seen > 0 && e.ended {
		return
	}
	r := e.problems.get(problemKey{kind: kindFragments, at: endpoint{addr: k.dst}, via: k.via})
	r.count++
	r.of += f.seen
	r.seen(f.first, f.last)
	r.with(k.src)
	e.failed(f.first.at)
}
