package netlab

import (
	"slices"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// frame is a TCP segment with payload.
func frame(from End, port layers.TCPPort, bytes int) *Frame {
	ip := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: []byte{10, 0, 0, 1}, DstIP: []byte{10, 0, 0, 2}}
	tcp := &layers.TCP{SrcPort: port, DstPort: 80, ACK: true}
	_ = tcp.SetNetworkLayerForChecksum(ip)
	eth := &layers.Ethernet{SrcMAC: []byte{2, 0, 0, 0, 0, 1}, DstMAC: []byte{2, 0, 0, 0, 0, 2}, EthernetType: layers.EthernetTypeIPv4}
	return newFrame(from, serialize(eth, ip, tcp, gopacket.Payload(payload(bytes))))
}

// dropped gives the numbers of those of n frames that a rule drops.
func dropped(r Rule, n int) (numbers []int) {
	for i := range n {
		var fate Fate
		r(frame(Right, 5000, 100), time.Time{}, &fate)
		if fate.Drop {
			numbers = append(numbers, i+1)
		}
	}
	return numbers
}

// TestRulesChoose holds the rules that choose frames to the numbers that they choose.
func TestRulesChoose(t *testing.T) {
	for _, test := range []struct {
		name string
		rule Rule
		want []int
	}{
		{"Nth", Nth(Drop, 2, 5), []int{2, 5}},
		{"First", First(3, Drop), []int{1, 2, 3}},
		{"After", After(7, Drop), []int{8, 9, 10}},
		{"every", every(4, 2, Drop), []int{2, 6, 10}},
		{"Where", Where(From(Left), Drop), nil},
		{"Where and Nth", Where(And(From(Right), Data), Nth(Drop, 3)), []int{3}},
		{"Hole", Hole(139), []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
		{"Hole that it fits", Hole(140), nil},
		{"Sometimes, always", Sometimes(1, 1, Drop), []int{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}},
	} {
		if got := dropped(test.rule, 10); !slices.Equal(got, test.want) {
			t.Errorf("%s drops %v, want %v", test.name, got, test.want)
		}
	}
}

// TestRulesRepeatBySeed holds the rules of chance to their seed.
func TestRulesRepeatBySeed(t *testing.T) {
	one, again, other := dropped(Sometimes(0.3, 7, Drop), 200), dropped(Sometimes(0.3, 7, Drop), 200), dropped(Sometimes(0.3, 8, Drop), 200)
	if !slices.Equal(one, again) {
		t.Errorf("the same seed drops %v, and then %v", one, again)
	}
	if slices.Equal(one, other) {
		t.Error("two seeds drop the same frames")
	}
	if len(one) < 30 || len(one) > 90 {
		t.Errorf("%d of 200 frames are dropped, with a probability of 0.3", len(one))
	}
}

// TestRateHoldsUpAndLoses sends ten frames at once through a rate at which each takes 10 ms.
func TestRateHoldsUpAndLoses(t *testing.T) {
	now := time.Unix(1, 0)
	f := frame(Right, 5000, 100)
	r := Rate(len(f.Data)*100, len(f.Data)*4)
	var delays []time.Duration
	lost := 0
	for range 10 {
		var fate Fate
		if r(f, now, &fate); fate.Drop {
			lost++
			continue
		}
		delays = append(delays, fate.Delay.Round(time.Millisecond))
	}
	want := []time.Duration{10 * time.Millisecond, 20 * time.Millisecond, 30 * time.Millisecond, 40 * time.Millisecond, 50 * time.Millisecond}
	if !slices.Equal(delays, want) || lost != 5 {
		t.Errorf("delays %v and %d lost, want %v and 5", delays, lost, want)
	}
}

// TestHoleTellsTheMTU looks at the ICMP message for a packet that is too big.
func TestHoleTellsTheMTU(t *testing.T) {
	var fate Fate
	f := frame(Left, 5000, 1000)
	ToldHole(900, routerV4.AsSlice(), routerV6.AsSlice())(f, time.Time{}, &fate)
	if !fate.Drop || len(fate.Replies) != 1 {
		t.Fatalf("%d replies, dropped %t", len(fate.Replies), fate.Drop)
	}
	p := gopacket.NewPacket(fate.Replies[0], layers.LayerTypeEthernet, gopacket.Default)
	icmp, _ := p.Layer(layers.LayerTypeICMPv4).(*layers.ICMPv4)
	if icmp == nil || icmp.TypeCode != layers.CreateICMPv4TypeCode(3, 4) || icmp.Seq != 900 {
		t.Errorf("the reply is %v", p)
	}
	if ip := p.NetworkLayer().(*layers.IPv4); ip.DstIP.String() != "10.0.0.1" {
		t.Errorf("the reply goes to %v", ip.DstIP)
	}
}

// TestQueueOrder puts frames into a queue that are due at different times, and takes them out.
func TestQueueOrder(t *testing.T) {
	var q queue
	q.init()
	past := time.Now().Add(-time.Minute)
	for i, due := range []time.Duration{5, 1, 3, 1, 2} {
		q.put(item{frame: frame(Left, layers.TCPPort(i), 10), due: past.Add(due), number: uint64(i)})
	}
	var got []layers.TCPPort
	for range 5 {
		f, ok := q.take()
		if !ok {
			t.Fatal("the queue is closed")
		}
		got = append(got, f.TCP().SrcPort)
	}
	if want := []layers.TCPPort{1, 3, 4, 2, 0}; !slices.Equal(got, want) {
		t.Errorf("frames come as %v, want %v", got, want)
	}
	q.close()
	if _, ok := q.take(); ok {
		t.Error("a closed queue gives a frame")
	}
}

// TestPerConnectionBeginsAnew drops the first segment of each of two connections.
func TestPerConnectionBeginsAnew(t *testing.T) {
	r := perConnection(func() Rule { return Nth(Drop, 1) })
	var got []bool
	for _, port := range []layers.TCPPort{1, 1, 2, 2, 1} {
		var fate Fate
		r(frame(Left, port, 10), time.Time{}, &fate)
		got = append(got, fate.Drop)
	}
	if want := []bool{true, false, true, false, false}; !slices.Equal(got, want) {
		t.Errorf("drops %v, want %v", got, want)
	}
}

// TestScenesHaveNames: each scene is a subtest of its name.
func TestScenesHaveNames(t *testing.T) {
	seen := make(map[string]bool)
	for _, s := range Scenes() {
		if seen[s.Name] || s.Name == "" || s.How == "" {
			t.Errorf("the name %q is there twice, or the scene is not described: %q", s.Name, s.How)
		}
		seen[s.Name] = true
	}
	if len(seen) < 100 {
		t.Errorf("only %d scenes", len(seen))
	}
}
