package filter

import "testing"

// The short way over common packets says what the long one says.
func TestQuickIsMatch(t *testing.T) {
	r := newRandom(t)
	cases, decided := 0, 0
	matched := 0
	for want := propertyCases(t, 20_000); cases < want; {
		set := r.set(t)
		if set.includesAll() || set.excludes != nil {
			continue
		}
		for range 50 {
			p := r.packet()
			cases++
			quick, ok := set.quickMatch(&p)
			if !ok {
				continue
			}
			decided++
			if quick {
				matched++
			}
			if slow := set.slowMatch(&p); quick != slow {
				t.Fatalf("set %v\nfilters %+v\npacket %+v\nquick: %v, slow: %v", set, specs(set), p, quick, slow)
			}
		}
	}
	t.Logf("%d cases, %d decided, %d matched", cases, decided, matched)
	enough(t, decided, cases)
	enough(t, matched, decided)
}
