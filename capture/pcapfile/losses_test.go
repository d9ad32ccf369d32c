package pcapfile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
)

// TestLosses: what a pcapng file tells of lost packets is added up over interfaces and sections; of
// one interface the last statistics count, and statistics that are not valid are passed over.
func TestLosses(t *testing.T) {
	for _, order := range []pcaptest.Order{binary.LittleEndian, binary.BigEndian} {
		form := pcaptest.Form{Order: order, NG: true}
		statistics := func(id uint32, options ...[]byte) []byte {
			body := order.AppendUint32(nil, id)
			body = append(body, make([]byte, 8)...)
			return form.Block(5, append(body, bytes.Join(options, nil)...))
		}
		count := func(code uint16, n uint64) []byte { return form.Option(code, order.AppendUint64(nil, n)) }
		section := bytes.Join([][]byte{
			form.Section(), form.Interface(pcapfile.Ethernet, 0, nil), form.Interface(pcapfile.Ethernet, 0, nil),
			form.Enhanced(0, 1, make([]byte, 60), 60, count(4, 3)), // epb_dropcount
			statistics(0, count(5, 1), count(7, 10)),
			statistics(0, count(5, 2), count(7, 20)),
			statistics(1, count(4, 99), count(7, 200)), // isb_ifrecv is no loss
			statistics(7, count(7, 1000)),              // no such interface
			statistics(1, form.Option(7, []byte{1, 2, 3, 4})),
			form.Block(5, []byte{0, 0, 0, 0}),
			statistics(1, []byte{0, 7, 255, 255}),
		}, nil)
		r, err := pcapfile.NewReader(bytes.NewReader(bytes.Repeat(section, 2)))
		if err != nil {
			t.Fatal(err)
		}
		if l := r.Losses(); l != (pcapfile.Losses{}) {
			t.Errorf("at the start: %+v", l)
		}
		var p pcapfile.Packet
		n := 0
		for ; err == nil; n++ {
			err = r.Next(&p)
		}
		if n != 3 || !errors.Is(err, io.EOF) {
			t.Fatalf("%d packets, %v", n-1, err)
		}
		want := pcapfile.Losses{Told: true, ByInterface: 2 * 2, BySystem: 2 * 220, BeforePacket: 2 * 3}
		if l := r.Losses(); l != want {
			t.Errorf("%v: %+v, want %+v", form, l, want)
		}
	}
}
