package tpacket

import (
	"encoding/binary"
	"fmt"
	"testing"

	"golang.org/x/sys/unix"
)

// filledBlock is a block as the kernel fills it, with packets of n bytes.
func filledBlock(size, n int) (mem []byte, packets int) {
	mem = make([]byte, size)
	e := binary.NativeEndian
	const mac = (packetHdLen+15)&^15 + 2 // what the kernel makes of it for Ethernet
	step := (mac + n + 15) &^ 15
	off := blockHeaderLen
	for ; off+step <= size; packets++ {
		h := mem[off:]
		e.PutUint32(h[offNext:], uint32(step))
		e.PutUint32(h[offSec:], 1_700_000_000)
		e.PutUint32(h[offSnapLen:], uint32(n))
		e.PutUint32(h[offLen:], uint32(n))
		e.PutUint16(h[offMac:], mac)
		e.PutUint16(h[offNet:], mac+14)
		e.PutUint16(h[sockaddrHWType:], unix.ARPHRD_ETHER)
		off += step
	}
	e.PutUint32(mem[offNumPackets:], uint32(packets))
	e.PutUint32(mem[offFirstPacket:], blockHeaderLen)
	return mem, packets
}

func walk(tb testing.TB, mem []byte) (packets int) {
	var b Block
	if err := b.open(mem, statusUser); err != nil {
		tb.Fatal(err)
	}
	var p Packet
	for {
		ok, err := b.Next(&p)
		if err != nil {
			tb.Fatal(err)
		}
		if !ok {
			return packets
		}
		packets++
	}
}

func TestWalkAllocatesNothing(t *testing.T) {
	mem, packets := filledBlock(1<<20, 64)
	if got := walk(t, mem); got != packets {
		t.Fatalf("%d packets of %d", got, packets)
	}
	if n := testing.AllocsPerRun(10, func() { walk(t, mem) }); n != 0 {
		t.Errorf("%v allocations in a block", n)
	}
}

func BenchmarkWalk(b *testing.B) {
	for _, size := range []int{64, 1514} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			mem, packets := filledBlock(2<<20, size)
			b.ReportAllocs()
			for b.Loop() {
				walk(b, mem)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*packets), "ns/packet")
		})
	}
}
