package tpacket

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"pcapctl/capture/testnet"
)

func everything(t *testing.T) []bpf.RawInstruction {
	t.Helper()
	raw, err := bpf.Assemble([]bpf.Instruction{bpf.RetConstant{Val: 262144}})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// numbered is a frame of n bytes with a number in it.
func numbered(n int, number uint64) []byte {
	f := make([]byte, n)
	copy(f, "\xff\xff\xff\xff\xff\xff\x02\x00\x00\x00\x00\x01\x88\xb5")
	binary.BigEndian.PutUint64(f[14:], number)
	return f
}

func open(t *testing.T, ns *testnet.NS, dev string, o Options) *Ring {
	t.Helper()
	var r *Ring
	var err error
	ns.Do(func() {
		if dev != "" {
			var fd int
			if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0); err != nil {
				return
			}
			defer func() { _ = unix.Close(fd) }()
			ifr, _ := unix.NewIfreq(dev)
			if err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
				return
			}
			o.Interface = int(ifr.Uint32())
		}
		r, err = Open(o)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

// drain gives the numbers of all packets in the ring after Detach.
func drain(t *testing.T, r *Ring) (numbers []uint64) {
	t.Helper()
	if err := r.Detach(); err != nil {
		t.Fatal(err)
	}
	for {
		b, err := r.Next()
		if err != nil {
			t.Fatal(err)
		}
		if b == nil {
			return numbers
		}
		numbers = append(numbers, read(t, b)...)
	}
}

func read(t *testing.T, b *Block) (numbers []uint64) {
	t.Helper()
	var p Packet
	for {
		ok, err := b.Next(&p)
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return numbers
		}
		numbers = append(numbers, binary.BigEndian.Uint64(p.Data[14:]))
	}
}

func TestNothingBeforeStartAllAfter(t *testing.T) {
	ns := testnet.New(t)
	ns.Veth("v0", "v1")
	r := open(t, ns, "v1", Options{Filter: everything(t), BlockSize: 1 << 18, Blocks: 4, Retire: time.Minute})
	s := ns.Sender("v0")
	s.Send(numbered(64, 1))
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	const n = 1000
	for i := range uint64(n) {
		s.Send(numbered(64, 100+i))
	}
	// The retire timer is far away: these are in an open block.
	got := drain(t, r)
	s.Send(numbered(64, 2))
	if len(got) != n || got[0] != 100 || got[n-1] != 100+n-1 {
		t.Fatalf("%d packets, want %d from 100 on: %v", len(got), n, got[:min(len(got), 5)])
	}
	if more, err := r.Next(); more != nil || err != nil {
		t.Errorf("after the drain: %v, %v", more, err)
	}
	st, err := r.Stats()
	if err != nil || st != (Stats{Received: n}) {
		t.Errorf("stats %+v, %v", st, err)
	}
}

// A ring that overflows counts what it lost, and what it holds is a gapless
// beginning: nothing is lost twice, seen twice or out of order.
func TestFullRingCountsEveryPacket(t *testing.T) {
	ns := testnet.New(t)
	ns.Veth("v0", "v1")
	r := open(t, ns, "v1", Options{Filter: everything(t), BlockSize: 1 << 17, Blocks: 2, Retire: time.Minute})
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	s := ns.Sender("v0")
	const n = 2000
	seen := map[uint64]bool{}
	for round := range uint64(3) { // wrap around, full each time
		for i := range uint64(n) {
			s.Send(numbered(1000, round*n+i))
		}
		for range 2 {
			b, err := r.Next()
			if err != nil || b == nil {
				t.Fatal(b, err)
			}
			for _, number := range read(t, b) {
				if seen[number] {
					t.Fatalf("packet %d twice", number)
				}
				seen[number] = true
			}
		}
		r.Release()
	}
	for _, number := range drain(t, r) {
		if seen[number] {
			t.Fatalf("packet %d twice", number)
		}
		seen[number] = true
	}
	st, err := r.Stats()
	if err != nil {
		t.Fatal(err)
	}
	if st.Received != 3*n || st.Dropped == 0 || st.Freezes == 0 || uint64(len(seen))+st.Dropped != 3*n {
		t.Errorf("sent %d, read %d, stats %+v", 3*n, len(seen), st)
	}
}

func TestWakeAndTimeout(t *testing.T) {
	ns := testnet.New(t)
	r := open(t, ns, "lo", Options{Filter: everything(t), BlockSize: 1 << 17, Blocks: 2, Retire: 50 * time.Millisecond})
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	r.Wake() // before the wait: not lost
	if err := r.Wait(-1); err != nil {
		t.Fatal(err)
	}
	go func() {
		time.Sleep(20 * time.Millisecond)
		r.Wake()
	}()
	if err := r.Wait(-1); err != nil {
		t.Fatal(err)
	}
	const d = 30 * time.Millisecond
	waits := 0
	for from := time.Now(); time.Since(from) < d; waits++ {
		if err := r.Wait(d - time.Since(from)); err != nil {
			t.Fatal(err)
		}
	}
	if waits > 10 { // a signal may interrupt it now and then
		t.Errorf("%d waits for %v", waits, d)
	}
}

func TestInterfaceDownAndUp(t *testing.T) {
	ns := testnet.New(t)
	ns.Veth("v0", "v1")
	r := open(t, ns, "v1", Options{Filter: everything(t), BlockSize: 1 << 17, Blocks: 2, Retire: time.Minute})
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	ns.IP("link", "set", "v1", "down")
	if err := r.Wait(time.Second); err != ErrInterfaceDown { //nolint:errorlint // the contract names the value
		t.Fatalf("got %v", err)
	}
	if err := r.Wait(20 * time.Millisecond); err != nil {
		t.Errorf("a wait after the error was told: %v", err)
	}
	ns.IP("link", "set", "v1", "up")
	ns.WaitUntilUp("v0", "v1")
	ns.Sender("v0").Send(numbered(64, 7))
	if got := drain(t, r); len(got) != 1 || got[0] != 7 {
		t.Errorf("after it came back: %v", got)
	}
	ns.IP("link", "del", "v1")
	if err := r.Detach(); err != nil {
		t.Errorf("detach from an interface that is gone: %v", err)
	}
}

func TestTagsAndDirection(t *testing.T) {
	ns := testnet.New(t)
	ns.Veth("v0", "v1")
	r := open(t, ns, "", Options{Filter: everything(t), BlockSize: 1 << 17, Blocks: 2, Retire: time.Minute})
	if err := r.Start(); err != nil {
		t.Fatal(err)
	}
	tagged := slices.Concat(numbered(64, 0)[:12], []byte{0x81, 0, 0x20, 5}, numbered(64, 9)[12:])
	ns.Sender("v0").Send(tagged)
	if err := r.Detach(); err != nil {
		t.Fatal(err)
	}
	b, err := r.Next()
	if err != nil || b == nil {
		t.Fatal(b, err)
	}
	var out, in Packet
	for _, p := range []*Packet{&out, &in} {
		if ok, err := b.Next(p); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if out.Type != TypeOutgoing || out.Len+boolToInt(out.Tagged)*4 != len(tagged) {
		t.Errorf("sent: %+v", out)
	}
	if in.Type == TypeOutgoing || !in.Tagged || in.TPID != 0x8100 || in.TCI != 0x2005 || in.Len != 64 || in.Interface == out.Interface {
		t.Errorf("received: %+v", in)
	}
}

func boolToInt(b bool) int {
	if b {
		return 1
	}
	return 0
}

// FuzzBlock: whatever is in the shared memory, a block gives packets that lie in
// it, as many as it says or an error before that, and the same ones again.
func FuzzBlock(f *testing.F) {
	mem := make([]byte, 256)
	mem[offNumPackets], mem[offFirstPacket] = 2, blockHeaderLen
	f.Add(mem, uint32(statusUser))
	f.Fuzz(func(t *testing.T, mem []byte, status uint32) {
		first, err := packetsIn(t, mem, status)
		again, errAgain := packetsIn(t, mem, status)
		if (err == nil) != (errAgain == nil) || len(first) != len(again) {
			t.Fatalf("%d packets and %v, then %d and %v", len(first), err, len(again), errAgain)
		}
		for i := range first {
			if !bytes.Equal(first[i].Data, again[i].Data) || first[i].Len != again[i].Len || first[i].Interface != again[i].Interface {
				t.Fatalf("packet %d is %+v, then %+v", i, first[i], again[i])
			}
		}
	})
}

// packetsIn takes up to a thousand packets from a block.
func packetsIn(t *testing.T, mem []byte, status uint32) (packets []Packet, err error) {
	var b Block
	if err := b.open(mem, status); err != nil {
		return nil, err
	}
	says := uint64(binary.NativeEndian.Uint32(mem[offNumPackets:]))
	for len(packets) < 1000 {
		var p Packet
		ok, err := b.Next(&p)
		switch {
		case err != nil:
			return packets, err
		case !ok && uint64(len(packets)) != says:
			t.Fatalf("%d packets of %d", len(packets), says)
		case !ok:
			return packets, nil
		case uint64(len(packets)) >= says:
			t.Fatalf("more than %d packets", says)
		}
		if n := len(p.Data); n > 0 {
			at := uintptr(unsafe.Pointer(&p.Data[0])) - uintptr(unsafe.Pointer(&mem[0]))
			if at > uintptr(len(mem)) || at+uintptr(n) > uintptr(len(mem)) || cap(p.Data) != n {
				t.Fatalf("packet %d has %d bytes at %d of %d", len(packets), n, at, len(mem))
			}
		}
		packets = append(packets, p)
	}
	return packets, nil
}
