package inspect_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"pcapctl/capture/inspect"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/source/capfile"
)

// imix is a mixture of packets as on the Internet: 7 of 64 bytes, 4 of 594 and 1 of 1518, of
// TCP and UDP, of so many flows.
func imix(t testing.TB, flows int) []pcapfile.Packet {
	s := newScene(t)
	conns := make([]*conn, flows)
	for i := range conns {
		client := fmt.Sprintf("10.1.%d.%d", i>>8&255, i&255)
		conns[i] = s.conn(client, uint16(20000+i), "10.0.0.2", uint16(80+i%7)).handshake()
	}
	sizes := []int{0, 0, 0, 536, 0, 536, 0, 536, 0, 536, 0, 1460}
	for round := range 12 {
		for i, c := range conns {
			n := sizes[(round+i)%len(sizes)]
			switch {
			case i%4 == 3:
				s.udp(c.client, c.cport, "10.0.0.3", 9000, make([]byte, n+18))
			case n == 0:
				c.send(byClient, flags{ack: true}, nil)
			default:
				c.send(byServer, flags{ack: true}, make([]byte, n))
			}
		}
	}
	list := make([]pcapfile.Packet, len(s.packets))
	for i, p := range s.packets {
		list[i] = pcapfile.Packet{Data: p.Data, Length: len(p.Data), LinkType: pcapfile.Ethernet, Timed: true, Sec: int64(p.Sec), Nsec: p.Nsec}
	}
	return list
}

// repeat is what a loop over the packets does from its second time on: sequence numbers,
// IP identifications and times go on.
func repeat(packets []pcapfile.Packet) {
	for i := range packets {
		p := &packets[i]
		p.Sec += 10
		ip := p.Data[14:]
		binary.BigEndian.PutUint16(ip[4:], binary.BigEndian.Uint16(ip[4:])+1)
		if ip[9] == 6 {
			tcp := ip[20:]
			binary.BigEndian.PutUint32(tcp[4:], binary.BigEndian.Uint32(tcp[4:])+20000)
			if tcp[13]&2 != 0 { // no new handshakes
				tcp[13] = 0x10
			}
		}
	}
}

// TestPacketAllocates: once its flows are known, a packet costs no memory.
func TestPacketAllocates(t *testing.T) {
	packets := imix(t, 200)
	e := inspect.NewEngine(inspect.Options{})
	look := func() {
		for some := range slices.Chunk(packets, capfile.MaxList) {
			e.Packets(some, ^uint32(0))
		}
	}
	for range 3 {
		look()
		repeat(packets)
	}
	allocs := testing.AllocsPerRun(5, look)
	if allocs > 0 {
		t.Errorf("%.0f allocations for %d packets", allocs, len(packets))
	}
}

func BenchmarkPacket(b *testing.B) {
	packets := imix(b, 2000)
	e := inspect.NewEngine(inspect.Options{})
	for i := range packets {
		e.Packet(&packets[i])
	}
	repeat(packets)
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if n == len(packets) {
			b.StopTimer()
			repeat(packets)
			b.StartTimer()
			n = 0
		}
		if n%capfile.MaxList == 0 {
			e.Packets(packets[n:min(n+capfile.MaxList, len(packets))], ^uint32(0))
		}
		n++
	}
}

// TestFlowsAreBounded: more flows than there is room for are given up, and the report says so;
// totals stay right.
func TestFlowsAreBounded(t *testing.T) {
	s := newScene(t)
	const all, room = 3000, 100
	for i := range all {
		s.conn(fmt.Sprintf("10.1.%d.%d", i>>8, i&255), 4000, serverIP, 80).handshake().bytes(byClient, 100).close()
	}
	r := reportOf(t, s.file(), inspect.Options{MaxFlows: room})
	if r.Limits.EvictedFlows != all-room || r.TCP.Connections != all || r.TCP.Established != all || r.Talkers.FlowCount != all {
		t.Errorf("evicted %d, connections %d, established %d, flows %d", r.Limits.EvictedFlows, r.TCP.Connections, r.TCP.Established, r.Talkers.FlowCount)
	}
	if len(r.Failures) > 0 {
		t.Errorf("failures: %v", r.Failures)
	}
	if len(r.Quality) != 1 || r.Quality[0].ID != "flows-evicted" {
		t.Errorf("quality: %+v", r.Quality)
	}
}
