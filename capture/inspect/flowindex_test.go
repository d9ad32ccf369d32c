package inspect

import (
	"math/rand/v2"
	"testing"
)

// A flow is found by its key, however many were added and removed before it.
func TestFlowIndex(t *testing.T) {
	var given []flowKey
	table := newFlowTable(3000, func(f *flow) { given = append(given, f.key) })
	known := map[flowKey]*flow{}
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 100_000 {
		k := flowKey{loPort: uint16(random.IntN(80)), hiPort: uint16(random.IntN(80)), proto: uint8(random.IntN(2)), via: uint32(random.IntN(2)), v6: n%7 == 0}
		k.lo[15], k.hi[random.IntN(16)] = byte(random.IntN(3)), 1
		hash := table.index.hash(&k)
		if f := table.look(&k, hash); f != known[k] {
			t.Fatalf("step %d: %v, want %v", n, f, known[k])
		}
		given = given[:0]
		f, isNew := table.find(&k, hash)
		if isNew != (known[k] == nil) || f.key != k {
			t.Fatalf("step %d: new %v, %v", n, isNew, f.key)
		}
		for _, gone := range given {
			delete(known, gone)
		}
		known[k] = f
		if len(known) > 3000 || table.index.count != len(known) {
			t.Fatalf("step %d: %d flows, %d in the table", n, len(known), table.index.count)
		}
	}
	if table.evicted < 10_000 {
		t.Errorf("%d flows given up: that does not test much", table.evicted)
	}
}
