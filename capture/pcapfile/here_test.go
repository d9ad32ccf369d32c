package pcapfile_test

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
)

// pieces gives a file in pieces of a random size, each in memory of its own; what was given before is
// overwritten, as the contract allows.
type pieces struct {
	t      *testing.T
	file   []byte
	random *rand.Rand
	given  []byte
}

// Next implements pcapfile.Pieces.
func (p *pieces) Next(rest []byte) ([]byte, error) {
	if len(rest) > pcapfile.MaxRest || len(rest) > len(p.given) {
		p.t.Errorf("%d bytes are asked for again", len(rest))
	}
	n := min(1+p.random.IntN(200), len(p.file))
	piece := append(bytes.Clone(rest), p.file[:n]...)
	clear(p.given)
	p.file, p.given = p.file[n:], piece
	if n == 0 {
		return piece, io.EOF
	}
	return piece, nil
}

// told is all packets of a file, and the error at its end. With lists, packets are looked at when as many as there are
// in memory have been read.
func told(t *testing.T, file []byte, lists, keep bool) (all []string, here int) {
	r, err := pcapfile.NewReaderOf(&pieces{t: t, file: file, random: rand.New(rand.NewPCG(1, 2))})
	if err != nil {
		return []string{err.Error()}, 0
	}
	if keep {
		r.KeepBlocks()
	}
	list := make([]pcapfile.Packet, 16)
	for {
		if err := r.Next(&list[0]); err != nil {
			return append(all, fmt.Sprint(err, r.Losses())), here
		}
		n := 1
		for lists && n < len(list) && r.NextHere(&list[n]) {
			n++
		}
		here += n - 1
		for _, p := range list[:n] {
			sums := [2]uint32{crc32.ChecksumIEEE(p.Data), crc32.ChecksumIEEE(p.Block)}
			size := [2]int{len(p.Data), len(p.Block)}
			p.Data, p.Block = nil, nil
			all = append(all, fmt.Sprintf("%+v %v %x", p, size, sums))
		}
	}
}

// Packets that are read together, as they are in memory, are the same as one by one, whatever the file is; and so
// is where it ends, and why.
func TestNextHere(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	var packets []pcaptest.Packet
	for i := range 40 {
		size := random.IntN(40)
		if i%20 == 10 {
			size = 70_000 // more than is given again
		}
		packets = append(packets, pcaptest.Packet{Data: bytes.Repeat([]byte{byte(i)}, size), Sec: uint32(i)})
	}
	here := 0
	for _, form := range pcaptest.Forms() {
		file := form.File(packets, pcapfile.Ethernet)
		if form.NG { // a block that is no packet, and another section
			file = append(file, form.Block(0x0bad, make([]byte, 20))...)
			file = append(file, form.File(packets[:5], pcapfile.Ethernet)...)
		}
		for damage := range 10 {
			b := bytes.Clone(file)
			if damage > 0 {
				b[random.IntN(min(len(b), 3000))] ^= byte(1 << random.IntN(8))
				b = b[:len(b)-random.IntN(40)]
			}
			for _, keep := range []bool{false, true} {
				want, _ := told(t, b, false, keep)
				got, n := told(t, b, true, keep)
				here += n
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("%v, damage %d, blocks kept %v: %s", form, damage, keep, diff)
				}
			}
		}
	}
	if here < 1000 {
		t.Errorf("%d packets were in memory: that does not test much", here)
	}
}
