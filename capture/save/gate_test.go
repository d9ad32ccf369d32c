package save

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// The packet limit ends behind the very packet, wherever the batches and files end.
func TestPacketLimit(t *testing.T) {
	for _, v := range variants() {
		for _, limit := range []uint64{1, 99, 100, 101, 1234} {
			t.Run(fmt.Sprint(v.name, limit), func(t *testing.T) {
				f := openFixture(t, v, t.TempDir(), 300_000)
				f.LimitPackets(limit)
				var asked int
				for from := 0; ; from += 100 {
					batch := numbered(from, 100, 100)
					left, err := f.Add(batch)
					if left != nil || err != nil {
						t.Fatal(left, err)
					}
					if _, reached := f.Reached(); reached {
						asked = from + batch.given
						f.Late(nil, batch)
						break
					}
				}
				if err := f.Finish(); err != nil {
					t.Fatal(err)
				}
				var all []int
				for _, file := range f.sink.Files() {
					all = append(all, numbersIn(t, file.Path, v.compress)...)
				}
				got := f.counters.Count()
				want := count(int(limit))
				if v.files > 0 { // older ones may have left the ring
					want = want[max(0, len(want)-len(all)):]
				}
				if uint64(asked) != limit || got.Packets != limit || got.Late != (100-limit%100)%100 || len(all) == 0 || !slices.Equal(all, want) {
					t.Errorf("%d asked for, %d in the files, %+v", asked, len(all), got)
				}
				if left, err := f.Add(numbered(0, 10, 100)); left != nil || err != nil || f.counters.Count().Packets != limit {
					t.Errorf("behind the limit: %v, %v, %+v", left, err, f.counters.Count())
				}
			})
		}
	}
}

// at is a packet, or a look at the clock without one, at seconds of the wall clock.
type at struct {
	sec   int64
	quiet bool
}

// A ring by time begins a file at each boundary of the clock, whether packets come or not; what the clock does neither
// leaves a file out nor has one twice.
func TestRotateEvery(t *testing.T) {
	const hour = 3600
	const noon = 1_900_000_800 - 1_900_000_800%86400 + 12*hour
	for _, test := range []struct {
		name  string
		steps []at
		want  []int // packets of each file
	}{
		{"packets", []at{{noon + 5, false}, {noon + hour - 1, false}, {noon + hour, false}, {noon + hour + 1, false}, {noon + 2*hour, false}}, []int{2, 2, 1}},
		{"a quiet link", []at{{noon + 5, true}, {noon + hour - 1, true}, {noon + hour, true}, {noon + hour + 1, true}, {noon + 2*hour + 3, true}, {noon + 3*hour, false}}, []int{0, 0, 0, 1}},
		{"a packet and the clock", []at{{noon + hour, false}, {noon + hour, true}, {noon + hour + 1, false}}, []int{0, 2}},
		{"one that came before, late", []at{{noon + hour, true}, {noon + hour - 1, false}, {noon + hour + 1, false}}, []int{0, 2}},
		{"set forward by a day, or asleep", []at{{noon + 5, false}, {noon + 25*hour, false}, {noon + 25*hour + 1, true}, {noon + 26*hour, false}}, []int{1, 1, 1}},
		{"set back over the boundary", []at{{noon + 5, false}, {noon + hour + 2, false}, {noon + hour - 3, false}, {noon + hour - 1, true}, {noon + hour, false}, {noon + hour + 5, true}, {noon + 2*hour, true}}, []int{1, 3, 0}},
		{"set back by a day", []at{{noon + 5, false}, {noon - 24*hour, false}, {noon - 23*hour - 1, true}, {noon - 23*hour, false}}, []int{1, 1, 1}},
		{"before 1970", []at{{noon, false}, {-hour - 1, false}, {-hour, false}, {-1, false}, {0, false}}, []int{1, 1, 2, 1}},
	} {
		for _, v := range []variant{{"plain", "", 100}, {"zstd", "zstd", 100}} {
			t.Run(test.name+" "+v.name, func(t *testing.T) {
				f := openFixture(t, v, t.TempDir(), 1<<20)
				f.RotateEvery(time.Hour, time.Unix(noon, 0))
				n := 0
				for _, s := range test.steps {
					if s.quiet {
						for !f.sink.Ready() { // the file before is being made
							time.Sleep(time.Millisecond)
						}
						if err := f.Turn(time.Unix(s.sec, 0)); err != nil {
							t.Fatal(err)
						}
						continue
					}
					one := numbered(n, 1, 100)
					one.packets[0].Sec = s.sec
					if left, err := f.Add(one); left != nil || err != nil {
						t.Fatal(left, err)
					}
					n++
				}
				if err := f.Finish(); err != nil {
					t.Fatal(err)
				}
				var got, all []int
				for i, file := range f.sink.Files() {
					if file.Sequence != i+1 || !file.Complete {
						t.Errorf("%+v", file)
					}
					numbers := numbersIn(t, file.Path, v.compress)
					if uint64(len(numbers)) != file.Packets {
						t.Errorf("%d packets in %+v", len(numbers), file)
					}
					got, all = append(got, len(numbers)), append(all, numbers...)
				}
				if !slices.Equal(got, test.want) || !slices.Equal(all, count(n)) {
					t.Errorf("files of %v packets, want %v", got, test.want)
				}
			})
		}
	}
}

// A boundary in the middle of a batch, with the packet limit behind it; nothing is allocated where there is none.
func TestRotateWithinABatch(t *testing.T) {
	v := variants()[3]
	f := openFixture(t, v, t.TempDir(), 1<<20)
	f.RotateEvery(10*time.Second, time.Unix(1000, 0))
	f.LimitPackets(70)
	batch := numbered(0, 100, 100)
	for i := range batch.packets {
		batch.packets[i].Sec = 1000 + int64(i)/3
	}
	if left, err := f.Add(batch); left != nil || err != nil {
		t.Fatal(left, err)
	}
	if last, reached := f.Reached(); !reached || !last.Came.Equal(time.Unix(1023, 0)) {
		t.Errorf("%+v, %v", last, reached)
	}
	if err := f.Finish(); err != nil {
		t.Fatal(err)
	}
	var got []int
	for _, file := range f.sink.Files() {
		got = append(got, len(numbersIn(t, file.Path, "")))
	}
	if !slices.Equal(got, []int{30, 30, 10}) {
		t.Error(got)
	}
	f = openFixture(t, variants()[0], t.TempDir(), 0)
	f.LimitPackets(1 << 40)
	packets := batchOf(100)
	if n := testing.AllocsPerRun(100, func() { _, _ = f.Add(packets) }); n != 0 {
		t.Errorf("%v allocations for a batch", n)
	}
	_ = f.Finish()
}
