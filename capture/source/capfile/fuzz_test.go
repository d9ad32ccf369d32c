package capfile_test

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
	"pcapctl/capture/source/capfile"
)

// FuzzSource: whatever the bytes are, the source comes to an end, gives each
// packet once and in order, and its counters agree with what it gave.
func FuzzSource(f *testing.F) {
	for _, form := range pcaptest.Forms() {
		f.Add(form.File([]pcaptest.Packet{{Data: make([]byte, 60), Sec: 1}, {Data: []byte{0x45}, Sec: 2, Length: 1500}}, pcapfile.Ethernet), form.NG)
	}
	f.Fuzz(func(t *testing.T, file []byte, ng bool) {
		c := &request.Config{CapturesDir: "/var/captures", FilePath: "/var/captures/x.cap"}
		if ng {
			c.Format = pcapfile.NG
		}
		spec, err := capfile.NewSpec(c, capfile.Options{Path: capfile.StandardInput, Stdin: bytes.NewReader(file)})
		if err != nil {
			t.Fatal(err)
		}
		src, err := spec.Prepare(func() error { return nil })
		if err != nil {
			return
		}
		defer func() { _ = src.Close() }()
		if err := errors.Join(src.Open(), src.Start()); err != nil {
			t.Fatal(err)
		}
		given, last := uint64(0), uint64(0)
		for {
			batch, err := src.Next()
			if err != nil {
				if st := src.Stats(); st.Received != given || st.Seen < given || st.Read > int64(len(file)) || errors.Is(err, io.EOF) && st.Seen != last {
					t.Fatalf("%v after %d packets, the last of which was %d: %+v", err, given, last, st)
				}
				return
			}
			if batch == nil {
				if err := src.Wait(-1); err != nil {
					t.Fatal(err)
				}
				continue
			}
			var p *source.Packet
			for p = batch.Next(); p != nil; p = batch.Next() {
				if p.Apart { // of the packet behind it, or of the end
					if p.Number < last || p.Number > last+1 || p.Block == nil || len(p.Block) > len(file) {
						t.Fatalf("a block of packet %d after %d: %+v", p.Number, last, p)
					}
					continue
				}
				given++
				if p.Number != last+1 || len(p.Data) > len(file) || p.Nsec >= 1e9 || src.Describe(p.Interface).Name == "" {
					t.Fatalf("packet %d after %d: %+v", p.Number, last, p)
				}
				last = p.Number
			}
		}
	})
}
