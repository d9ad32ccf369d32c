package netlab

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/google/gopacket/layers"
	"golang.org/x/net/dns/dnsmessage"

	"pcapctl/capture/pcapfile"
)

// Random is a scene by chance: some connections that do different things at the same time, over
// a wire that treats them badly in several ways. What it shows is not known; the same seed has
// the same rules and conversations.
func Random(seed uint64) *Scene {
	return &Scene{Name: fmt.Sprintf("random-%d", seed), How: "by chance", play: func(l *Lab) { playRandom(l, seed) }}
}

func playRandom(l *Lab, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 2)) //nolint:gosec // it has to come out the same again
	chance := func(most float64) float64 { return most * r.Float64() }
	l.Record(randomRecording(r))
	l.Delay(time.Duration(r.IntN(20_000)) * time.Microsecond)
	for _, e := range []End{Left, Right} {
		if r.IntN(3) == 0 {
			continue // nothing is wrong in this direction
		}
		l.Wire.Apply(Where(And(From(e), Not(Layer(layers.LayerTypeARP))),
			Sometimes(chance(0.15), r.Uint64(), Drop),
			Sometimes(chance(0.1), r.Uint64(), Duplicate),
			Sometimes(chance(0.1), r.Uint64(), Late(time.Duration(1+r.IntN(40))*time.Millisecond)),
			Sometimes(chance(0.02), r.Uint64(), Delay(time.Duration(r.IntN(400))*time.Millisecond)),
			Where(Data, Sometimes(chance(0.05), r.Uint64(), Corrupt)),
			Jitter(time.Duration(1+r.IntN(10_000))*time.Microsecond, r.Uint64())))
	}
	if r.IntN(3) == 0 {
		l.Wire.Apply(Where(From(Right), Rate(200_000+r.IntN(1_000_000), 20_000+r.IntN(100_000))))
	}
	var work sync.WaitGroup
	for i := range 3 + r.IntN(4) {
		port := uint16(20_000 + i) // of no protocol that tshark would look for
		client, server := r.IntN(len(clients)), r.IntN(len(servers))
		bytes, buffer, reuse := 1+r.IntN(120_000), 4000+r.IntN(60_000), r.IntN(3) == 0
		l.Server.Listen(l.Server.Addr(port), func(c *net.TCPConn) {
			_ = c.SetDeadline(time.Now().Add(randomTime))
			servers[server](c, bytes)
		})
		work.Go(func() {
			var from netip.AddrPort
			if reuse {
				from = l.Client.Addr(port)
			}
			for range 2 {
				ctx, cancel := context.WithTimeout(l.ctx, randomTime)
				c, err := l.Client.TryDial(ctx, from, l.Server.Addr(port), receiveBuffer(buffer))
				cancel()
				if err != nil {
					continue // the network is bad, or the port is still in use
				}
				_ = c.SetDeadline(time.Now().Add(randomTime))
				clients[client](c, bytes)
			}
		})
	}
	work.Go(func() { l.randomNames(r.Uint64()) })
	work.Wait()
}

// randomRecording is of either end, in one of the forms, and may have lost packets itself.
func randomRecording(r *rand.Rand) Recording {
	how := Recording{At: End(r.IntN(2)), Format: []pcapfile.Format{pcapfile.Micro, pcapfile.Nano, pcapfile.NG}[r.IntN(3)]}
	switch r.IntN(6) {
	case 0:
		how.Records = tagged(7)
	case 1:
		how.Records = inVXLAN()
	case 2:
		how.Records = losing(0.1*r.Float64(), r.Uint64())
	case 3:
		how.Snap = 96 // with all headers
	}
	return how
}

// randomNames asks a DNS server that is slow, wrong or silent by chance.
func (l *Lab) randomNames(seed uint64) {
	var mu sync.Mutex
	r := rand.New(rand.NewPCG(seed, 3)) //nolint:gosec // it has to come out the same again
	l.Server.dnsServer(l.Server.Addr(53), func(q dnsmessage.Question) *dnsmessage.Message {
		mu.Lock()
		n, wait := r.IntN(10), time.Duration(r.IntN(500))*time.Millisecond
		mu.Unlock()
		switch n {
		case 0:
			return nil
		case 1, 2:
			time.Sleep(wait)
		case 3, 4, 5:
			return fails(dnsmessage.RCode(n))(q)
		}
		return found(q)
	})
	for i := range 15 {
		l.Client.ask(l.Server.Addr(53), 3, 200*time.Millisecond, fmt.Sprintf("host%d.example.com.", i))
	}
}

// randomTime is how long a connection of a random scene may take. It may break off in the middle.
const randomTime = 5 * time.Second

// What the ends of a random scene do; errors end them.
var (
	servers = []func(c *net.TCPConn, bytes int){
		func(c *net.TCPConn, bytes int) { sends(bytes)(c) },
		func(c *net.TCPConn, _ int) { echoes(c) },
		func(c *net.TCPConn, _ int) { _ = c.Close() },
		func(c *net.TCPConn, bytes int) { // breaks off
			_, _ = io.CopyN(c, c, int64(bytes/3))
			_ = c.SetLinger(0)
			_ = c.Close()
		},
		func(c *net.TCPConn, bytes int) { // reads slowly, and answers
			for range 5 {
				_, _ = io.CopyN(io.Discard, c, int64(bytes/5))
				time.Sleep(50 * time.Millisecond)
			}
			sends(bytes)(c)
		},
	}
	clients = []func(c *net.TCPConn, bytes int){
		func(c *net.TCPConn, _ int) { // downloads
			_, _ = io.Copy(io.Discard, c)
			_ = c.Close()
		},
		func(c *net.TCPConn, bytes int) { // uploads, and reads what comes
			go func() { _, _ = io.Copy(io.Discard, c) }() // ends with the connection
			_, _ = c.Write(payload(bytes))
			_ = c.CloseWrite()
			time.Sleep(200 * time.Millisecond)
			_ = c.Close()
		},
		func(c *net.TCPConn, _ int) { // talks
			for range 20 {
				if _, err := c.Write(payload(100)); err != nil {
					break
				}
				if _, err := io.ReadFull(c, make([]byte, 100)); err != nil {
					break
				}
			}
			_ = c.Close()
		},
		func(c *net.TCPConn, bytes int) { // reads slowly
			for range 10 {
				_, _ = io.CopyN(io.Discard, c, int64(bytes/10))
				time.Sleep(30 * time.Millisecond)
			}
			_ = c.Close()
		},
		func(c *net.TCPConn, bytes int) { // breaks off
			_, _ = io.CopyN(io.Discard, c, int64(bytes/2))
			_ = c.SetLinger(0)
			_ = c.Close()
		},
	}
)
