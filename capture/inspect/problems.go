package inspect

import "slices"

// problemKey is what belongs to one finding: a kind, whom it concerns, and what else
// tells it from others of the kind (a code, an MTU).
type problemKey struct {
	kind  kind
	at    endpoint
	via   uint32
	extra uint32
}

// maxEndpoints is how many endpoints and names a finding lists.
const maxEndpoints = 8

// problem collects what becomes a finding.
type problem struct {
	key         problemKey
	count       uint64
	packets     uint64
	first, last sighting
	others      [maxEndpoints]addr // the other ends, the first ones seen
	otherCount  int
	more        int // others beyond them
	by          addr
	names       []string
	// What else is told, by kind.
	of   uint64 // of how many
	most int64
	sum  int64
	text string
}

// maxProblems bounds how many there are; they are one per kind and server.
const maxProblems = 4096

// problemTable holds the problems.
type problemTable struct {
	index map[problemKey]*problem
	lost  uint64
	spare problem // takes what finds no room
}

// get is the problem of a key. It is never nil.
func (t *problemTable) get(k problemKey) *problem {
	if p := t.index[k]; p != nil {
		return p
	}
	if len(t.index) >= maxProblems {
		t.lost++
		t.spare = problem{key: k}
		return &t.spare
	}
	p := &problem{key: k}
	t.index[k] = p
	return p
}

// seen notes the packets that show it, from the first to the last.
func (p *problem) seen(first, last sighting) {
	if first.no != 0 && (p.first.no == 0 || first.no < p.first.no) {
		p.first = first
	}
	if last.no > p.last.no {
		p.last = last
	}
}

// with notes the other end.
func (p *problem) with(a addr) {
	for i := range p.otherCount {
		if p.others[i] == a {
			return
		}
	}
	if p.otherCount == maxEndpoints {
		p.more++ // some may be there twice: they are not remembered
		return
	}
	p.others[p.otherCount] = a
	p.otherCount++
}

// name notes a name by which it was asked for.
func (p *problem) name(name string) {
	if name != "" && len(p.names) < maxEndpoints && !slices.Contains(p.names, name) {
		p.names = append(p.names, name)
	}
}
