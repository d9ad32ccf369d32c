package capture_test

import (
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"pcapctl/capture"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/source/live"
)

// numberedBy sends a frame, or an IP packet, whose last four bytes are a number.
type numberedBy func(number uint32)

func (r *rig) sendsNumbered(dev string, frame []byte) numberedBy {
	s := r.Sender(dev)
	return func(number uint32) {
		binary.BigEndian.PutUint32(frame[len(frame)-4:], number)
		s.Send(frame)
	}
}

// numbersByInterface are those in a file, by the name of the interface; they must grow.
func numbersByInterface(t *testing.T, res *capture.Result) map[string][]uint32 {
	t.Helper()
	names := map[uint32]string{}
	for _, i := range res.Source.Links {
		names[uint32(i.Index)] = i.Name
	}
	got := map[string][]uint32{}
	for _, p := range readBack(t, res.Files[0].Path) {
		name := res.Source.Links[0].Name
		if res.Source.LinkType == pcapfile.SLL2 {
			name = names[binary.BigEndian.Uint32(p.Data[4:])]
		}
		n := binary.BigEndian.Uint32(p.Data[len(p.Data)-4:])
		if old := got[name]; len(old) > 0 && n <= old[len(old)-1] {
			t.Fatalf("on %s packet %d comes after %d", name, n, old[len(old)-1])
		}
		got[name] = append(got[name], n)
	}
	return got
}

// heldUp is a watcher that holds up the packet loop after every block.
type heldUp struct {
	slow
	by time.Duration
}

func (w *heldUp) Progress(capture.Progress) { time.Sleep(w.by) }

// Every packet that was sent is in the file or in one of the counters, whatever
// interface it came by: when there is room for all, when the packet loop is
// held up and the ring overflows, and at a rate of hundreds of thousands.
func TestEveryPacketIsAccountedFor(t *testing.T) {
	ethernet := func(t *testing.T) []byte { return tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 0) }
	kinds := []struct {
		name string
		on   []string
		open func(t *testing.T, r *rig) []numberedBy
	}{
		{"received by veth", []string{"v1"}, func(t *testing.T, r *rig) []numberedBy {
			return []numberedBy{r.sendsNumbered("v0", ethernet(t))}
		}},
		{"sent by veth", []string{"v0"}, func(t *testing.T, r *rig) []numberedBy {
			return []numberedBy{r.sendsNumbered("v0", ethernet(t))}
		}},
		{"loopback", []string{"lo"}, func(t *testing.T, r *rig) []numberedBy {
			return []numberedBy{r.sendsNumbered("lo", ethernet(t))}
		}},
		{"any", []string{"any"}, func(t *testing.T, r *rig) []numberedBy {
			return []numberedBy{r.sendsNumbered("lo", ethernet(t))}
		}},
		{"tagged", []string{"v1"}, func(t *testing.T, r *rig) []numberedBy {
			return []numberedBy{r.sendsNumbered("v0", tag(ethernet(t), 0x8100, 7))}
		}},
		{"tun", []string{"tun0"}, func(t *testing.T, r *rig) []numberedBy {
			dev, packet := r.tun("tun0"), ethernet(t)[14:]
			return []numberedBy{func(number uint32) {
				binary.BigEndian.PutUint32(packet[len(packet)-4:], number)
				if _, err := dev.Write(packet); err != nil {
					t.Error(err)
				}
			}}
		}},
		{"bridge", []string{"br0"}, func(t *testing.T, r *rig) []numberedBy {
			r.IP("link", "add", "br0", "type", "bridge", "mcast_snooping", "0") // which asks for multicast routers
			r.IP("link", "set", "v1", "master", "br0")
			r.IP("link", "set", "br0", "arp", "off", "multicast", "off", "up")
			r.WaitUntilUp("br0")
			return []numberedBy{r.sendsNumbered("v0", ethernet(t))}
		}},
		{"macvlan", []string{"mac0"}, func(t *testing.T, r *rig) []numberedBy {
			r.IP("link", "add", "link", "v1", "name", "mac0", "address", "02:00:00:00:00:99", "type", "macvlan", "mode", "bridge")
			r.IP("link", "set", "mac0", "arp", "off", "multicast", "off", "up")
			r.WaitUntilUp("mac0")
			f := ethernet(t)
			copy(f, "\x02\x00\x00\x00\x00\x99") // macvlan puts broadcasts off for a while
			return []numberedBy{r.sendsNumbered("v0", f)}
		}},
		{"two interfaces", []string{"v1", "w1"}, func(t *testing.T, r *rig) []numberedBy {
			r.Veth("w0", "w1")
			return []numberedBy{r.sendsNumbered("v0", ethernet(t)), r.sendsNumbered("w0", tag(ethernet(t), 0x8100, 7))}
		}},
	}
	for _, kind := range kinds {
		for _, pace := range []struct {
			name string
			sent uint32
			held time.Duration // the packet loop, after every block
			ring int           // bytes; 0 is the default
		}{
			{"room for all", 20_000, 0, 0},
			{"held up", 20_000, 50 * time.Millisecond, live.MinBufferSize},
			{"flood", 100_000, 0, live.MinBufferSize},
		} {
			t.Run(kind.name+"/"+pace.name, func(t *testing.T) {
				if pace.name == "flood" && testing.Short() {
					t.Skip("is nothing that the others are not, but for the rate")
				}
				r := newRig(t)
				senders := kind.open(t, r)
				r.buffer = pace.ring
				p := r.plan("", kind.on...)
				res := r.captureWith(p, capture.Options{Watcher: &heldUp{by: pace.held}}, func() {
					for i := range pace.sent {
						for _, send := range senders {
							send(i)
						}
					}
				})
				sent := uint64(len(senders)) * uint64(pace.sent)
				var written uint64
				for name, list := range numbersByInterface(t, res) {
					written += uint64(len(list))
					if last := list[len(list)-1]; last >= pace.sent {
						t.Errorf("%s: packet %d was never sent", name, last)
					}
				}
				if written != res.Packets || written+res.Dropped.Total() != sent {
					t.Errorf("sent %d, in the file %d, %+v", sent, written, res)
				}
				switch {
				case pace.held > 0 && res.Dropped.ByKernel == 0:
					t.Error("this test saw no ring overflow")
				case pace.ring == 0 && res.Dropped.ByKernel != 0:
					t.Errorf("%d dropped though there was room", res.Dropped.ByKernel)
				}
				t.Logf("sent %d, in the file %d, dropped %+v", sent, written, res.Dropped)
			})
		}
	}
}

// Three interfaces: one that stays, one that goes down and comes back again and
// again, one that is deleted. All that was sent while they were up is in the
// file, and nothing is left open behind it.
func TestFlappingAndDeletedInterfaces(t *testing.T) {
	r := newRig(t)
	r.Veth("w0", "w1")
	r.Veth("x0", "x1")
	frame := func() []byte { return tcp(t, "10.0.0.1", "10.0.0.2", 1, 2, 100, 0) }
	steady, flapping, deleted := r.sendsNumbered("v0", frame()), r.sendsNumbered("w0", frame()), r.sendsNumbered("x0", frame())
	before := descriptors(t)
	ignore := goleak.IgnoreCurrent()
	want := map[string][]uint32{}
	send := func(name string, by numberedBy, count int) {
		for range count {
			n := uint32(len(want[name]))
			by(n)
			want[name] = append(want[name], n)
		}
	}
	res := r.capture(r.plan("", "v1", "w1", "x1"), func() {
		send("x1", deleted, 500)
		for round := range 6 {
			send("w1", flapping, 200)
			r.IP("link", "set", "w1", "down")
			if round == 2 {
				r.IP("link", "del", "x1")
			}
			send("v1", steady, 200)
			r.IP("link", "set", "w1", "up")
			r.WaitUntilUp("w0", "w1")
			send("v1", steady, 200)
		}
		send("w1", flapping, 200)
	})
	if diff := cmp.Diff(want, numbersByInterface(t, res)); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	told := strings.Join(res.Warnings, "\n")
	for _, text := range []string{"x1 was removed", "w1 went down during the capture (6×)"} {
		if !strings.Contains(told, text) {
			t.Errorf("the result does not tell that %s:\n%s", text, told)
		}
	}
	if diff := cmp.Diff(before, descriptors(t)); diff != "" {
		t.Errorf("descriptors: (-before +after)\n%s", diff)
	}
	goleak.VerifyNone(t, ignore)
}
