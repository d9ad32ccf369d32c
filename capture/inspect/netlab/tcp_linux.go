package netlab

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"time"

	"github.com/google/gopacket/layers"
	"golang.org/x/sys/unix"
)

// down and up match segments with payload that the server and the client send.
var (
	down = And(From(Right), Data)
	up   = And(From(Left), Data)
)

// thrice is three connections over 10 ms of round trip, in each of which the server sends so many bytes.
// The rules begin anew with each.
func thrice(at End, bytes int, rules func() Rule) func(l *Lab) {
	return func(l *Lab) {
		l.Record(Recording{At: at})
		l.Wire.Apply(perConnection(rules))
		l.Delay(5 * time.Millisecond)
		l.Server.Listen(l.Server.Addr(5001), sends(bytes))
		for i := range 3 {
			l.download(l.Client.Dial(l.Server.Addr(5001)))
			l.AwaitEnd(i + 1)
		}
	}
}

// thriceTalk is three connections in each of which the client sends some requests.
func thriceTalk(rules func() Rule) func(l *Lab) {
	return func(l *Lab) {
		l.Wire.Apply(perConnection(rules))
		l.Delay(5 * time.Millisecond)
		l.Server.Listen(l.Server.Addr(7), echoes)
		for i := range 3 {
			c := l.Client.Dial(l.Server.Addr(7))
			l.talk(c, 4, 300)
			l.check(c.Close())
			l.AwaitEnd(i + 1)
		}
	}
}

// overWire is a bulk transfer to the client over 10 ms of round trip and rules, as an end sees it.
// The rules are made for each: they count.
func overWire(at End, bytes int, rules func() Rule) func(l *Lab) {
	return func(l *Lab) {
		l.Record(Recording{At: at})
		l.Wire.Apply(rules())
		l.Delay(5 * time.Millisecond)
		l.bulk(bytes)
	}
}

// overWire6 is the same over IPv6, as the client sees it.
func overWire6(bytes int, rules func() Rule) func(l *Lab) {
	return func(l *Lab) {
		l.IPv6()
		l.Wire.Apply(rules())
		l.Delay(5 * time.Millisecond)
		l.Server.Listen(l.Server.Addr6(5001), sends(bytes))
		l.download(l.Client.Dial(l.Server.Addr6(5001)))
		l.AwaitEnd(1)
	}
}

// impaired are scenes of a wire that treats TCP badly.
func impaired() []*Scene {
	const retransmitted = "tcp.analysis.retransmission"
	return []*Scene{
		scene("loss-light", "2 % of the server's segments are lost on their way to the capture", "tcp-retransmissions", []string{"tcp.analysis.lost_segment"},
			overWire(Left, 300_000, func() Rule { return Where(down, Sometimes(0.02, 1, Drop)) })),
		scene("loss-light-at-the-sender", "2 % of the server's segments are lost behind the capture", "tcp-retransmissions", []string{"tcp.analysis.fast_retransmission", "tcp.analysis.duplicate_ack"},
			overWire(Right, 300_000, func() Rule { return Where(down, Sometimes(0.02, 1, Drop)) })),
		scene("loss-heavy", "15 % of the server's segments are lost", "tcp-retransmissions", []string{"tcp.analysis.lost_segment"},
			overWire(Left, 100_000, func() Rule { return Where(down, Sometimes(0.15, 2, Drop)) })),
		scene("loss-heavy-at-the-sender", "15 % of the server's segments are lost behind the capture", "tcp-retransmissions", []string{retransmitted, "tcp.analysis.duplicate_ack"},
			overWire(Right, 100_000, func() Rule { return Where(down, Sometimes(0.15, 2, Drop)) })),
		scene("loss-both-ways", "5 % of all that both send is lost", "tcp-retransmissions", []string{"tcp.analysis.lost_segment"},
			overWire(Left, 200_000, func() Rule { return Where(IsTCP, Where(Not(SYN), Sometimes(0.05, 3, Drop))) })),
		scene("loss-burst", "ten segments in a row are lost", "tcp-retransmissions", []string{"tcp.analysis.lost_segment"},
			overWire(Left, 200_000, func() Rule { return Where(down, Nth(Drop, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40)) })),
		scene("loss-of-the-first-segment", "the first segment of each answer is lost", "tcp-retransmissions", []string{"tcp.analysis.lost_segment"},
			thrice(Left, 60_000, func() Rule { return Where(down, Nth(Drop, 1)) })),
		scene("loss-of-the-last-segment", "the last segment of each answer is lost", "tcp-retransmissions", []string{retransmitted},
			thrice(Right, 50_000, func() Rule { return Where(down, tail(50_000)) })),
		scene("loss-of-a-request", "a request of each connection is lost, and sent again after a timeout", "tcp-retransmissions", []string{retransmitted},
			thriceTalk(func() Rule { return Where(up, Nth(Drop, 2)) })),
		scene("loss-of-a-request-again", "a request and three times what replaces it are lost", "tcp-retransmissions", []string{retransmitted}, func(l *Lab) {
			l.Wire.Apply(Where(up, Nth(Drop, 2, 3, 4, 5)))
			l.Server.Listen(l.Server.Addr(7), echoes)
			c := l.Client.Dial(l.Server.Addr(7))
			l.talk(c, 3, 300)
			l.ends(c)
		}),
		scene("loss-of-the-SYN", "the first SYN of each connection is lost", "tcp-retransmissions", []string{retransmitted}, thrice(Left, 20_000, func() Rule { return Where(SYN, Nth(Drop, 1)) })),
		scene("loss-of-the-SYN-ACK", "the first SYN/ACK of each connection is lost", "tcp-retransmissions", []string{retransmitted}, thrice(Right, 20_000, func() Rule { return Where(SYNACK, Nth(Drop, 1)) })),
		scene("loss-of-the-FIN", "the server's first FIN is lost", "tcp-retransmissions", []string{retransmitted}, thrice(Right, 0, func() Rule { return Where(And(From(Right), FIN), Nth(Drop, 1)) })),
		scene("loss-of-the-last-ACK", "the ACK of the last FIN is lost", "tcp-retransmissions", []string{retransmitted},
			thrice(Left, 20_000, func() Rule { return afterFIN(Left, Nth(Drop, 1)) })),
		scene("loss-of-ACKs", "every third ACK is lost, and no data: that harms nothing", "", []string{"!tcp.analysis.retransmission"},
			overWire(Left, 300_000, func() Rule { return Where(And(From(Left), PureACK), every(3, 3, Drop)) })),
		scene("corrupted", "some segments arrive with a changed bit", "tcp-retransmissions", []string{"tcp.analysis.duplicate_ack"},
			overWire(Left, 200_000, func() Rule { return Where(down, Nth(Corrupt, 20, 45, 70, 95, 120)) })),
		scene("congested", "100 kB/s with a queue of 10 kB before it", "tcp-retransmissions", []string{"tcp.analysis.lost_segment", "tcp.analysis.duplicate_ack"},
			overWire(Left, 150_000, func() Rule { return Where(From(Right), Rate(100_000, 10_000)) })),
		scene("slow-line", "100 kB/s with a queue that holds all", "", []string{"!tcp.analysis.lost_segment"},
			overWire(Left, 100_000, func() Rule { return Where(From(Right), Rate(100_000, 1_000_000)) })),
		scene("jitter", "up to 20 ms more, in order", "", []string{"!tcp.analysis.lost_segment"}, overWire(Left, 200_000, func() Rule { return Jitter(20*time.Millisecond, 4) })),
		scene("reordered-a-little", "every twentieth segment arrives 2 ms late", "tcp-out-of-order", []string{"tcp.analysis.out_of_order"},
			overWire(Left, 300_000, func() Rule { return Where(down, every(20, 10, Late(2*time.Millisecond))) })),
		scene("reordered-a-lot", "every tenth segment arrives 20 ms late", "tcp-out-of-order", []string{"tcp.analysis.lost_segment", "tcp.analysis.duplicate_ack"},
			overWire(Left, 300_000, func() Rule { return Where(down, every(10, 10, Late(20*time.Millisecond))) })),
		scene("reordered-at-the-sender", "every tenth segment arrives 20 ms late, behind the capture: what is sent again for that is all there is to see", "tcp-retransmissions", []string{"tcp.analysis.duplicate_ack"},
			overWire(Right, 300_000, func() Rule { return Where(down, every(10, 10, Late(20*time.Millisecond))) })),
		scene("reordered-ipv6", "every tenth segment arrives 20 ms late, without identifications", "tcp-out-of-order", []string{"ipv6.version", "tcp.analysis.duplicate_ack"},
			overWire6(300_000, func() Rule { return Where(down, every(10, 10, Late(20*time.Millisecond))) })),
		scene("loss-ipv6", "5 % of the server's segments are lost, without identifications", "tcp-retransmissions", []string{"ipv6.version", "tcp.analysis.lost_segment"},
			overWire6(200_000, func() Rule { return Where(down, Sometimes(0.05, 1, Drop)) })),
		scene("duplicated", "every tenth segment arrives twice", "", []string{retransmitted},
			overWire(Left, 200_000, func() Rule { return Where(down, every(10, 5, Duplicate)) })),
		scene("duplicated-at-the-sender", "every tenth segment arrives twice, behind the capture", "", []string{"tcp.analysis.duplicate_ack"},
			overWire(Right, 200_000, func() Rule { return Where(down, every(10, 5, Duplicate)) })),
		scene("delay-that-jumps", "an answer of 1.2 seconds of round trip after many of 10 ms: sent again for nothing", "tcp-retransmissions", []string{"tcp.analysis.spurious_retransmission"}, func(l *Lab) {
			l.Record(Recording{At: Right})
			l.Delay(5 * time.Millisecond)
			l.Wire.Apply(Where(down, Nth(Delay(1200*time.Millisecond), 9)))
			l.Server.Listen(l.Server.Addr(7), echoes)
			c := l.Client.Dial(l.Server.Addr(7))
			l.talk(c, 12, 300)
			l.ends(c)
		}),
		scene("black-hole", "packets of more than 1400 bytes vanish", "tcp-black-hole", []string{retransmitted}, func(l *Lab) { blackHole(l, Right) }),
		scene("black-hole-at-the-receiver", "packets of more than 1400 bytes vanish, as the client sees it", "tcp-black-hole", []string{"tcp.analysis.lost_segment"}, func(l *Lab) { blackHole(l, Left) }),
		scene("black-hole-for-uploads", "packets of more than 1400 bytes vanish on their way to the server", "tcp-black-hole", []string{retransmitted}, func(l *Lab) {
			l.Wire.Apply(Hole(1400))
			l.Server.Listen(l.Server.Addr(80), echoes)
			c := l.Client.Dial(l.Server.Addr(80))
			l.talk(c, 2, 200)
			_, err := c.Write(payload(5000))
			l.check(err)
			l.Await(6, And(up, func(f *Frame) bool { return ipLength(f) > 1400 }))
		}),
		scene("fragmentation-needed", "packets of more than 1400 bytes are refused by a router that says so", "icmp-too-big", []string{"icmp.mtu=1400"}, func(l *Lab) {
			l.Record(Recording{At: Right})
			l.Wire.Apply(ToldHole(1400, routerV4.AsSlice(), routerV6.AsSlice()))
			l.bulk(50_000)
		}),
		scene("packet-too-big", "the same over IPv6", "icmp-too-big", []string{"icmpv6.type=2"}, func(l *Lab) {
			l.IPv6()
			l.Record(Recording{At: Right})
			l.Wire.Apply(ToldHole(1400, routerV4.AsSlice(), routerV6.AsSlice()))
			l.Server.Listen(l.Server.Addr6(5001), sends(50_000))
			l.download(l.Client.Dial(l.Server.Addr6(5001)))
			l.AwaitEnd(1)
		}),
	}
}

// blackHole is a server whose answers do not fit through the network.
func blackHole(l *Lab, at End) {
	l.Record(Recording{At: at})
	l.Wire.Apply(Hole(1400))
	l.Server.Listen(l.Server.Addr(80), func(c *net.TCPConn) {
		_, _ = io.ReadFull(c, make([]byte, 200))
		_, _ = c.Write(payload(200)) // small answers arrive
		_, _ = io.ReadFull(c, make([]byte, 200))
		_, _ = c.Write(payload(4000)) // two full segments and a small one
	})
	c := l.Client.Dial(l.Server.Addr(80))
	l.talk(c, 1, 200)
	_, err := c.Write(payload(200))
	l.check(err)
	l.Await(6, And(down, func(f *Frame) bool { return ipLength(f) > 1400 })) // the first two, and what replaces them
	l.marker()
}

// tail loses the segment that ends after so many bytes of a direction, once.
func tail(bytes int) Rule {
	var first uint32
	done := false
	return func(f *Frame, _ time.Time, fate *Fate) {
		t := f.TCP()
		if first == 0 {
			first = t.Seq
		}
		if end := int(t.Seq - first + uint32(len(t.Payload))); end == bytes && !done {
			fate.Drop, done = true, true
		}
	}
}

// every applies a rule to every n-th frame, from the first on.
func every(n, first int, r Rule) Rule {
	count := 0
	return func(f *Frame, now time.Time, fate *Fate) {
		if count++; count >= first && (count-first)%n == 0 {
			r(f, now, fate)
		}
	}
}

// afterFIN applies a rule to the pure ACKs that come when an end has sent its FIN, those of the other end.
func afterFIN(e End, r Rule) Rule {
	fin := false
	return func(f *Frame, now time.Time, fate *Fate) {
		if f.From == e && FIN(f) {
			fin = true
		}
		if fin && f.From != e && PureACK(f) {
			r(f, now, fate)
		}
	}
}

// perConnection applies to the segments of each TCP connection rules of its own.
func perConnection(begin func() Rule) Rule {
	rules := make(map[[2]layers.TCPPort]Rule)
	return func(f *Frame, now time.Time, fate *Fate) {
		t := f.TCP()
		if t == nil {
			return
		}
		key := [2]layers.TCPPort{min(t.SrcPort, t.DstPort), max(t.SrcPort, t.DstPort)}
		if rules[key] == nil {
			rules[key] = begin()
		}
		rules[key](f, now, fate)
	}
}

// endings are scenes of connections that end badly, or not at all.
func endings() []*Scene {
	// afterTalk has client and server talk, and then something else happen.
	afterTalk := func(at End, serve func(c *net.TCPConn), then func(l *Lab, c *net.TCPConn)) func(l *Lab) {
		return func(l *Lab) {
			l.Record(Recording{At: at})
			l.Delay(2 * time.Millisecond)
			l.Server.Listen(l.Server.Addr(5432), serve)
			c := l.Client.Dial(l.Server.Addr(5432))
			l.talk(c, 5, 400)
			then(l, c)
		}
	}
	awaitRST := func(e End) func(l *Lab, _ *net.TCPConn) {
		return func(l *Lab, _ *net.TCPConn) { l.AwaitArrival(1, And(From(e), RST)) }
	}
	echoThen := func(times int, then func(c *net.TCPConn)) func(c *net.TCPConn) {
		return func(c *net.TCPConn) {
			for range times {
				b := make([]byte, 400)
				if _, err := io.ReadFull(c, b); err != nil {
					return
				}
				_, _ = c.Write(b)
			}
			then(c)
		}
	}
	abort := func(c *net.TCPConn) {
		_ = c.SetLinger(0)
		_ = c.Close()
	}
	const reset = "tcp.flags.reset=1"
	return []*Scene{
		scene("reset-by-the-server", "the server resets in the middle of a conversation", "tcp-reset", []string{reset}, func(l *Lab) {
			afterTalk(Left, echoThen(6, abort), func(l *Lab, c *net.TCPConn) {
				_, err := c.Write(payload(400)) // its answer may be lost to the reset
				l.check(err)
				awaitRST(Right)(l, c)
			})(l)
		}),
		scene("reset-by-the-client", "the client resets in the middle of a download", "tcp-reset", []string{reset}, func(l *Lab) {
			l.Delay(5 * time.Millisecond)
			l.Server.Listen(l.Server.Addr(5001), sends(5_000_000))
			c := l.Client.Dial(l.Server.Addr(5001))
			_, err := io.ReadFull(c, make([]byte, 100_000))
			l.check(err)
			abort(c)
			l.AwaitArrival(1, And(From(Left), RST))
		}),
		scene("reset-after-idle", "the server resets after two seconds in which nothing was sent", "tcp-reset", []string{reset},
			afterTalk(Left, echoThen(5, func(c *net.TCPConn) {
				time.Sleep(2 * time.Second) // the time is what the scene shows
				abort(c)
			}), awaitRST(Right))),
		scene("reset-by-a-middlebox", "a firewall between them forgets the connection, and resets what comes", "tcp-reset", []string{reset}, func(l *Lab) {
			var cut bool
			l.Wire.Apply(func(f *Frame, now time.Time, fate *Fate) {
				if cut && Data(f) {
					Drop(f, now, fate)
					fate.Replies = append(fate.Replies, resetFor(f))
				}
			})
			afterTalk(Left, echoes, func(l *Lab, c *net.TCPConn) {
				l.Wire.rulesMu.Lock()
				cut = true
				l.Wire.rulesMu.Unlock()
				_, err := c.Write(payload(400))
				l.check(err)
				awaitRST(Right)(l, c)
			})(l)
		}),
		scene("reset-of-a-lost-connection", "the server has restarted and knows nothing of the connection", "tcp-reset", []string{reset}, func(l *Lab) {
			l.Record(Recording{At: Left})
			l.Server.Listen(l.Server.Addr(5432), echoThen(5, func(c *net.TCPConn) { // it ends, and its RST is lost
				abort(c)
			}))
			l.Wire.Apply(Where(And(From(Right), RST), Nth(Drop, 1)))
			c := l.Client.Dial(l.Server.Addr(5432))
			l.talk(c, 5, 400)
			l.Await(1, And(From(Right), RST))
			_, err := c.Write(payload(400))
			l.check(err)
			awaitRST(Right)(l, c)
		}),
		scene("reset-with-data-unread", "the server closes while a request is unread", "tcp-reset", []string{reset}, func(l *Lab) {
			l.Server.Listen(l.Server.Addr(80), func(c *net.TCPConn) {
				_, _ = io.ReadFull(c, make([]byte, 100))
				l.AwaitArrival(1, And(up, func(f *Frame) bool { return len(f.TCP().Payload) == 700 }))
				_ = c.Close()
			})
			c := l.Client.Dial(l.Server.Addr(80))
			_, err := c.Write(payload(100))
			l.check(err)
			l.AwaitArrival(1, up)
			_, err = c.Write(payload(700))
			l.check(err)
			awaitRST(Right)(l, c)
		}),
		scene("half-open", "the last ACK of the handshake never arrives, nor anything else of the client", "tcp-half-open", []string{"tcp.analysis.retransmission"}, func(l *Lab) {
			l.Record(Recording{At: Right})
			l.Wire.Apply(Where(And(From(Left), IsTCP), After(1, Drop)))
			l.Server.Listen(l.Server.Addr(80), silent)
			l.Client.Dial(l.Server.Addr(80))
			l.Await(3, SYNACK)
		}),
		scene("FIN-never-answered", "the server's FIN and what replaces it are lost, while the client waits", "tcp-fin-unanswered", []string{"tcp.analysis.retransmission"}, func(l *Lab) {
			l.Wire.Apply(Where(FIN, Drop))
			afterTalk(Right, echoThen(5, func(c *net.TCPConn) { _ = c.Close() }), func(l *Lab, _ *net.TCPConn) {
				l.Await(5, And(From(Right), FIN))
			})(l)
		}),
		scene("FIN-acknowledged-only", "the server closes, and the client's program does not yet", "", []string{"tcp.flags.fin=1"},
			afterTalk(Left, echoThen(5, func(c *net.TCPConn) { _ = c.Close() }), func(l *Lab, _ *net.TCPConn) {
				l.AwaitArrival(1, And(From(Right), FIN))
				l.AwaitArrival(1, acknowledgesFIN(Right))
				time.Sleep(1500 * time.Millisecond) // the time is what the scene shows
				l.marker()
			})),
		scene("peer-vanished", "the server is gone: nothing is answered any more", "tcp-unacknowledged", []string{"tcp.analysis.retransmission"}, func(l *Lab) {
			afterTalk(Left, echoes, func(l *Lab, c *net.TCPConn) {
				l.Wire.Apply(Where(IsTCP, Drop))
				_, err := c.Write(payload(400))
				l.check(err)
				l.Await(6+5, up)
			})(l)
		}),
		scene("keep-alive-unanswered", "the server is gone while the connection is idle", "tcp-unacknowledged", []string{"tcp.analysis.keep_alive", reset}, func(l *Lab) {
			l.Server.Listen(l.Server.Addr(5432), echoes)
			c := l.Client.Dial(l.Server.Addr(5432), keepAlive(2)...)
			l.talk(c, 3, 400)
			l.Wire.Apply(Where(IsTCP, Drop))
			l.Await(1, And(From(Left), RST)) // Linux sends one when it gives up
		}),
	}
}

// marker is a datagram that ends a scene in which nothing else happens: the time
// before it is then in the capture.
func (l *Lab) marker() {
	l.Helper()
	l.Server.Packets(l.Server.Addr(9))
	_, err := l.Client.Packets(l.Client.Addr(10000)).WriteToUDPAddrPort(payload(20), l.Server.Addr(9))
	l.check(err)
	l.AwaitArrival(1, isPort(9))
}

// acknowledgesFIN matches what acknowledges the FIN of an end.
func acknowledgesFIN(e End) Match {
	var behind uint32
	return func(f *Frame) bool {
		t := f.TCP()
		if t == nil {
			return false
		}
		if f.From == e {
			if t.FIN {
				behind = t.Seq + uint32(len(t.Payload)) + 1
			}
			return false
		}
		return behind != 0 && t.ACK && t.Ack == behind
	}
}

// windows are scenes of receivers that do not read.
func windows() []*Scene {
	smallWindow := func(l *Lab, at End, read func(c *net.TCPConn, next func(n int))) {
		l.Record(Recording{At: at})
		l.Delay(2 * time.Millisecond)
		l.Server.Listen(l.Server.Addr(5001), sends(300_000))
		c := l.Client.Dial(l.Server.Addr(5001), receiveBuffer(20_000))
		read(c, func(n int) {
			if _, err := io.ReadFull(c, make([]byte, n)); err != nil && !errors.Is(err, io.EOF) {
				l.Fatal(err)
			}
		})
	}
	zeroWindow := func(f *Frame) bool {
		t := f.TCP()
		return t != nil && f.From == Left && t.Window == 0 && !t.SYN && !t.RST && !t.FIN
	}
	slow := func(l *Lab, at End) {
		smallWindow(l, at, func(c *net.TCPConn, next func(n int)) {
			l.Await(3, zeroWindow) // the first, and the answers to two probes
			for range 5 {
				next(30_000)
				time.Sleep(100 * time.Millisecond) // a slow reader
			}
			l.download(c)
			l.AwaitEnd(1)
		})
	}
	return []*Scene{
		scene("slow-reader", "the client reads slowly", "tcp-zero-window", []string{"tcp.analysis.zero_window", "tcp.analysis.window_update"}, func(l *Lab) { slow(l, Left) }),
		scene("slow-reader-at-the-sender", "the client reads slowly, as the server sees it", "tcp-zero-window", []string{"tcp.analysis.zero_window", "tcp.analysis.window_full"}, func(l *Lab) { slow(l, Right) }),
		scene("never-reads", "the client never reads", "tcp-zero-window", []string{"tcp.analysis.zero_window", "tcp.analysis.keep_alive"}, func(l *Lab) {
			smallWindow(l, Left, func(_ *net.TCPConn, _ func(n int)) { l.Await(3, zeroWindow) })
		}),
		scene("window-full", "a small window over 100 ms of round trip; the client reads at once", "", []string{"tcp.analysis.window_full", "!tcp.analysis.zero_window"}, func(l *Lab) {
			l.Record(Recording{At: Right})
			l.Delay(50 * time.Millisecond)
			l.bulk(100_000, receiveBuffer(20_000))
		}),
	}
}

// connects is a dial that has to fail with an error of the kernel.
func (l *Lab) connects(to netip.AddrPort, want ...syscall.Errno) {
	l.Helper()
	ctx, cancel := context.WithTimeout(l.ctx, time.Minute)
	defer cancel()
	c, err := l.Client.TryDial(ctx, netip.AddrPort{}, to)
	if err == nil {
		l.Fatalf("connected to %v from %v", to, c.LocalAddr())
	}
	for _, w := range want {
		if errors.Is(err, w) {
			return
		}
	}
	l.Fatalf("%v, want one of %v", err, want)
}

// timeToLive sets how many routers packets may pass.
func timeToLive(n int) option { return integer(unix.IPPROTO_IP, unix.IP_TTL, n) }
