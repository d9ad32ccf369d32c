package inspect

import (
	"crypto/rand"
	"encoding/binary"
	"math/bits"
)

// flowIndex finds the slot of a flow by its key. It is a hash table with linear probing, of numbers only, so that a
// look at it costs one line of the cache and the garbage collector passes it over: Go's map hashes a key of 44 bytes
// in parts, and has to keep it once more. Packets choose their addresses, so that the hash begins with chance.
type flowIndex struct {
	entries []flowEntry // a power of two of them, at most three of four in use
	count   int
	seed    [4]uint64
}

// flowEntry is a flow in the table. slot is its number plus one, 0 for a free entry.
type flowEntry struct{ hash, slot uint32 }

const leastEntries = 1 << 10

func newFlowIndex() flowIndex {
	x := flowIndex{entries: make([]flowEntry, leastEntries)}
	var chance [4 * 8]byte
	_, _ = rand.Read(chance[:]) // never fails
	for i := range x.seed {
		x.seed[i] = binary.LittleEndian.Uint64(chance[8*i:]) | 1
	}
	return x
}

// hash is that of a key.
func (x *flowIndex) hash(k *flowKey) uint32 {
	rest := uint64(k.loPort)<<48 | uint64(k.hiPort)<<32 | uint64(k.via)
	proto := uint64(k.proto) << 1
	if k.v6 {
		proto |= 1
	}
	h := fold128(binary.LittleEndian.Uint64(k.lo[8:])^x.seed[0], binary.LittleEndian.Uint64(k.hi[8:])^x.seed[1])
	h = fold128(h^rest, x.seed[2]^proto<<56)
	if k.v6 {
		h ^= fold128(binary.LittleEndian.Uint64(k.lo[:])^x.seed[3], binary.LittleEndian.Uint64(k.hi[:])^x.seed[0])
	}
	return uint32(fold128(h^x.seed[1], x.seed[3]) >> 32)
}

// fold128 mixes two numbers: both halves of their product.
func fold128(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// add adds a flow that is not in the table.
func (x *flowIndex) add(hash, slot uint32) {
	if x.count >= len(x.entries)/4*3 {
		old := x.entries
		x.entries = make([]flowEntry, 2*len(old))
		for _, e := range old {
			if e.slot != 0 {
				x.put(e)
			}
		}
	}
	x.put(flowEntry{hash, slot})
	x.count++
}

func (x *flowIndex) put(e flowEntry) {
	mask := uint32(len(x.entries) - 1)
	at := e.hash & mask
	for x.entries[at].slot != 0 {
		at = (at + 1) & mask
	}
	x.entries[at] = e
}

// remove takes a flow out. Those behind it move up, as far as they may.
func (x *flowIndex) remove(hash, slot uint32) {
	mask := uint32(len(x.entries) - 1)
	at := hash & mask
	for x.entries[at].slot != slot {
		at = (at + 1) & mask
	}
	x.count--
	for next := at; ; {
		next = (next + 1) & mask
		e := x.entries[next]
		if e.slot == 0 {
			break
		}
		// It may stand at or behind where its hash leads; at is between there and where it is.
		if (next-e.hash)&mask >= (next-at)&mask {
			x.entries[at] = e
			at = next
		}
	}
	x.entries[at] = flowEntry{}
}
