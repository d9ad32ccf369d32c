// Package sourcetest holds implementations of source.Source to their contract.
package sourcetest

import (
	"encoding/binary"
	"errors"
	"io"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"pcapctl/capture/source"
)

// Fixture makes a source whose packets a test knows. Each packet ends in its
// number, 4 bytes big endian, from 0 on.
type Fixture struct {
	// Prepare gives a source that has not been opened, and a function that makes
	// n packets come, numbered from where it left off. What it made come before the
	// source was started must never be given. send is called once at most where the
	// source is Finite.
	Prepare func(t *testing.T) (src source.Source, send func(n int))
	// Finite says that the source ends by itself behind the packets that send made.
	Finite bool
	// Length is that of each packet on the wire, in bytes.
	Length int
}

// Run runs the suite.
func Run(t *testing.T, f Fixture) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Fixture)
	}{
		{"every packet is given once and in order", everyPacket},
		{"what was given is counted", counted},
		{"a wait is ended by its time and by Wake", waits},
		{"nothing comes after Detach", detached},
		{"it can be closed at any time", closedEarly},
		{"Next allocates nothing", allocates},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Cleanup(func() { goleak.VerifyNone(t, goleak.IgnoreTopFunction("testing.(*T).Run")) })
			c.test(t, f)
		})
	}
}

func start(t *testing.T, f Fixture) (source.Source, func(int)) {
	t.Helper()
	src, send := f.Prepare(t)
	t.Cleanup(func() {
		if err := errors.Join(src.Close(), src.Close()); err != nil {
			t.Error("close: ", err)
		}
	})
	if err := src.Open(); err != nil {
		t.Fatal(err)
	}
	if f.Finite {
		return src, func(n int) {
			send(n)
			if err := src.Start(); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := src.Start(); err != nil {
		t.Fatal(err)
	}
	return src, send
}

const patience = 20 * time.Second

// take gives the numbers of n packets, or of those that there are up to the end
// of a source.
func take(t *testing.T, src source.Source, n int, length int) (numbers []int) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for len(numbers) < n {
		batch, err := src.Next()
		switch {
		case errors.Is(err, io.EOF):
			if again, err := src.Next(); !errors.Is(err, io.EOF) || again != nil {
				t.Fatalf("after the end: %v, %v", again, err)
			}
			return numbers
		case err != nil:
			t.Fatal(err)
		case batch != nil:
			numbers = append(numbers, read(t, src, batch, length)...)
			continue
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d packets of %d", len(numbers), n)
		}
		if err := src.Wait(100 * time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
	return numbers
}

// read gives the numbers of a batch, and holds its packets to what is promised.
func read(t *testing.T, src source.Source, batch source.Batch, length int) (numbers []int) {
	t.Helper()
	if gap := batch.Gap(); gap != (source.Gap{}) {
		t.Fatalf("a gap where nothing was lost: %+v", gap)
	}
	for p := batch.Next(); p != nil; p = batch.Next() {
		if p.Apart { // of a BlockSource
			if len(p.Block) == 0 || len(p.Data) > 0 {
				t.Fatalf("%+v", p)
			}
			continue
		}
		if p.Length != length || len(p.Prefix)+len(p.Data) > p.Length || p.Nsec >= 1e9 || p.Timed && p.Sec == 0 || p.Interface < 0 {
			t.Fatalf("%+v", p)
		}
		if src.Describe(p.Interface).Name == "" {
			t.Fatalf("interface %d has no name", p.Interface)
		}
		numbers = append(numbers, int(binary.BigEndian.Uint32(p.Data[len(p.Data)-4:])))
	}
	return numbers
}

func upTo(n int) []int {
	list := make([]int, n)
	for i := range list {
		list[i] = i
	}
	return list
}

func everyPacket(t *testing.T, f Fixture) {
	const n = 1000
	src, send := start(t, f)
	send(n)
	if got := take(t, src, n, f.Length); !slices.Equal(got, upTo(n)) {
		t.Errorf("%d packets: %v", len(got), got[:min(len(got), 20)])
	}
	if f.Finite {
		if got := take(t, src, n, f.Length); got != nil {
			t.Errorf("then: %v", got)
		}
		return
	}
	send(3)
	if got := take(t, src, 3, f.Length); !slices.Equal(got, []int{n, n + 1, n + 2}) {
		t.Errorf("then: %v", got)
	}
}

func counted(t *testing.T, f Fixture) {
	src, send := start(t, f)
	send(100)
	take(t, src, 100, f.Length)
	st := src.Stats()
	if st.Received != 100 || st.Dropped != 0 || st.Lost != 0 || (st.Seen > 0) != f.Finite || (st.Read > 0) != f.Finite {
		t.Errorf("%+v", st)
	}
	r := src.Report()
	if r.FilterMode == "" || (r.File.Path != "") != f.Finite || (len(r.Links) > 0) == f.Finite || src.Interfaces() < 1 ||
		(src.Timeline() == source.PacketTime) != f.Finite {
		t.Errorf("%+v", r)
	}
	for i := range src.Interfaces() {
		if d := src.Describe(i); d.Name == "" || src.Interfaces() == 1 && d.LinkType != r.LinkType.Kind() {
			t.Errorf("%+v", d)
		}
	}
	if err := errors.Join(src.Detach(), src.Close()); err != nil {
		t.Fatal(err)
	}
	if after := src.Stats(); after.Received != 100 {
		t.Errorf("after Close: %+v", after)
	}
}

func waits(t *testing.T, f Fixture) {
	src, send := f.Prepare(t)
	t.Cleanup(func() { _ = src.Close() })
	if err := src.Open(); err != nil {
		t.Fatal(err)
	}
	if f.Finite { // it never waits for packets
		send(1)
	}
	if err := src.Start(); err != nil {
		t.Fatal(err)
	}
	if f.Finite {
		if got := take(t, src, 2, f.Length); len(got) != 1 {
			t.Fatal(got)
		}
		from := time.Now()
		if err := src.Wait(patience); err != nil || time.Since(from) > patience/2 {
			t.Errorf("behind the end: %v after %v", err, time.Since(from))
		}
		return
	}
	from := time.Now()
	for time.Since(from) < 50*time.Millisecond { // it may return early
		if err := src.Wait(50*time.Millisecond - time.Since(from)); err != nil {
			t.Fatal(err)
		}
	}
	if d := time.Since(from); d > patience/2 {
		t.Errorf("a wait of 50 ms took %v", d)
	}
	src.Wake() // before the wait
	if err := src.Wait(patience); err != nil || time.Since(from) > patience/2 {
		t.Errorf("woken before: %v after %v", err, time.Since(from))
	}
	go src.Wake()
	if err := src.Wait(-1); err != nil || time.Since(from) > patience/2 {
		t.Errorf("woken: %v after %v", err, time.Since(from))
	}
}

func detached(t *testing.T, f Fixture) {
	src, send := start(t, f)
	send(500)
	got := take(t, src, 1, f.Length)
	if err := errors.Join(src.Detach(), src.Detach()); err != nil {
		t.Fatal(err)
	}
	if !f.Finite {
		send(500)
	}
	for {
		batch, err := src.Next()
		if err != nil {
			t.Fatal(err)
		}
		if batch == nil {
			break
		}
		got = append(got, read(t, src, batch, f.Length)...)
	}
	if again, err := src.Next(); again != nil || err != nil {
		t.Errorf("then %v, %v", again, err)
	}
	if tail := src.Tail(); tail.Packets != 0 {
		t.Errorf("lost at the end: %+v", tail)
	}
	if !slices.Equal(got, upTo(len(got))) || len(got) > 500 || !f.Finite && len(got) != 500 {
		t.Errorf("%d packets", len(got))
	}
}

func closedEarly(t *testing.T, f Fixture) {
	for stage := range 3 {
		src, send := f.Prepare(t)
		if f.Finite {
			send(10)
		}
		if stage > 0 {
			if err := src.Open(); err != nil {
				t.Fatal(err)
			}
		}
		if stage > 1 {
			if err := src.Start(); err != nil {
				t.Fatal(err)
			}
		}
		_ = src.Report()
		if err := src.Close(); err != nil {
			t.Errorf("stage %d: %v", stage, err)
		}
	}
}

func allocates(t *testing.T, f Fixture) {
	src, send := start(t, f)
	send(2000)
	take(t, src, 100, f.Length)
	if n := testing.AllocsPerRun(5, func() {
		batch, err := src.Next()
		if err != nil && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		for batch != nil && batch.Next() != nil {
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
