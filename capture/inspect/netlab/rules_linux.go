package netlab

import (
	"encoding/binary"
	"math/rand/v2"
	"net"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// Match chooses frames.
type Match func(f *Frame) bool

// From matches what an end sends.
func From(e End) Match { return func(f *Frame) bool { return f.From == e } }

// And matches what all of them match.
func And(all ...Match) Match {
	return func(f *Frame) bool {
		for _, m := range all {
			if !m(f) {
				return false
			}
		}
		return true
	}
}

// Not matches what m does not.
func Not(m Match) Match { return func(f *Frame) bool { return !m(f) } }

// Layer matches frames that have a layer.
func Layer(t gopacket.LayerType) Match {
	return func(f *Frame) bool { return f.Decoded.Layer(t) != nil }
}

// IsTCP matches TCP.
func IsTCP(f *Frame) bool { return f.TCP() != nil }

// Data matches TCP segments with payload.
func Data(f *Frame) bool { return f.TCP() != nil && len(f.TCP().Payload) > 0 }

// SYN matches a SYN without ACK.
func SYN(f *Frame) bool { return f.TCP() != nil && f.TCP().SYN && !f.TCP().ACK }

// SYNACK matches a SYN with ACK.
func SYNACK(f *Frame) bool { return f.TCP() != nil && f.TCP().SYN && f.TCP().ACK }

// FIN matches a FIN, whatever else is set.
func FIN(f *Frame) bool { return f.TCP() != nil && f.TCP().FIN }

// RST matches a RST, whatever else is set.
func RST(f *Frame) bool { return f.TCP() != nil && f.TCP().RST }

// PureACK matches a TCP segment that only acknowledges.
func PureACK(f *Frame) bool {
	t := f.TCP()
	return t != nil && t.ACK && !t.SYN && !t.FIN && !t.RST && len(t.Payload) == 0
}

// Where applies rules to what m matches.
func Where(m Match, rules ...Rule) Rule {
	return func(f *Frame, now time.Time, fate *Fate) {
		if !m(f) {
			return
		}
		for _, r := range rules {
			r(f, now, fate)
		}
	}
}

// Drop loses every frame.
func Drop(_ *Frame, _ time.Time, fate *Fate) { fate.Drop = true }

// Nth applies a rule to the frames with these numbers, counted from 1 in the order
// in which they come to it.
func Nth(r Rule, numbers ...int) Rule {
	chosen := make(map[int]bool)
	for _, n := range numbers {
		chosen[n] = true
	}
	count := 0
	return func(f *Frame, now time.Time, fate *Fate) {
		if count++; chosen[count] {
			r(f, now, fate)
		}
	}
}

// First applies a rule to the first n frames that come to it.
func First(n int, r Rule) Rule {
	return func(f *Frame, now time.Time, fate *Fate) {
		if n > 0 {
			n--
			r(f, now, fate)
		}
	}
}

// After applies a rule to all but the first n frames that come to it.
func After(n int, r Rule) Rule {
	return func(f *Frame, now time.Time, fate *Fate) {
		if n > 0 {
			n--
			return
		}
		r(f, now, fate)
	}
}

// Sometimes applies a rule with a probability between 0 and 1. The same seed chooses
// the same frames by their numbers.
func Sometimes(probability float64, seed uint64, r Rule) Rule {
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // it has to come out the same again
	return func(f *Frame, now time.Time, fate *Fate) {
		if random.Float64() < probability {
			r(f, now, fate)
		}
	}
}

// Delay is how long frames are under way, and more.
func Delay(d time.Duration) Rule {
	return func(_ *Frame, _ time.Time, fate *Fate) { fate.Delay += d }
}

// Jitter delays frames by up to most; they keep their order.
func Jitter(most time.Duration, seed uint64) Rule {
	random := rand.New(rand.NewPCG(seed, 1)) //nolint:gosec // it has to come out the same again
	return func(_ *Frame, _ time.Time, fate *Fate) { fate.Delay += time.Duration(random.Int64N(int64(most))) }
}

// Late delays frames, and lets those behind them arrive first.
func Late(d time.Duration) Rule {
	return func(_ *Frame, _ time.Time, fate *Fate) {
		fate.Delay += d
		fate.Overtaken = true
	}
}

// Duplicate makes a frame arrive twice.
func Duplicate(_ *Frame, _ time.Time, fate *Fate) { fate.Copies++ }

// Corrupt changes a bit in the last byte, so that the receiver finds the checksum wrong.
func Corrupt(f *Frame, _ time.Time, fate *Fate) {
	fate.Data = append([]byte(nil), f.Data...)
	fate.Data[len(fate.Data)-1] ^= 0x10
}

// Rate lets bytesPerSecond through; what finds more than queue bytes before it is lost.
func Rate(bytesPerSecond, queue int) Rule {
	var free [2]time.Time // when the last byte of what is queued has gone
	return func(f *Frame, now time.Time, fate *Fate) {
		start := free[f.From]
		if start.Before(now) {
			start = now
		}
		if start.Sub(now) > time.Duration(queue)*time.Second/time.Duration(bytesPerSecond) {
			fate.Drop = true
			return
		}
		free[f.From] = start.Add(time.Duration(len(f.Data)) * time.Second / time.Duration(bytesPerSecond))
		fate.Delay += free[f.From].Sub(now)
	}
}

// Hole loses IP packets of more than mtu bytes, and says nothing.
func Hole(mtu int) Rule {
	return func(f *Frame, _ time.Time, fate *Fate) {
		fate.Drop = fate.Drop || ipLength(f) > mtu
	}
}

// ToldHole loses IP packets of more than mtu bytes, and tells their sender by ICMP
// (RFC 1191, RFC 8201), from a router's address.
func ToldHole(mtu int, router, router6 net.IP) Rule {
	return func(f *Frame, _ time.Time, fate *Fate) {
		if ipLength(f) > mtu {
			fate.Drop = true
			fate.Replies = append(fate.Replies, tooBig(f, mtu, router, router6))
		}
	}
}

func ipLength(f *Frame) int {
	switch ip := f.Decoded.NetworkLayer().(type) {
	case *layers.IPv4:
		return int(ip.Length)
	case *layers.IPv6:
		return 40 + int(ip.Length)
	}
	return 0
}

// tooBig is the ICMP message that f was too big.
func tooBig(f *Frame, mtu int, router, router6 net.IP) []byte {
	eth := f.Decoded.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	back := &layers.Ethernet{SrcMAC: eth.DstMAC, DstMAC: eth.SrcMAC, EthernetType: eth.EthernetType}
	quoted := func(most int) gopacket.Payload { return eth.Payload[:min(len(eth.Payload), most)] }
	switch ip := f.Decoded.NetworkLayer().(type) {
	case *layers.IPv4:
		return serialize(back,
			&layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolICMPv4, SrcIP: router, DstIP: ip.SrcIP},
			&layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(layers.ICMPv4TypeDestinationUnreachable, layers.ICMPv4CodeFragmentationNeeded), Seq: uint16(mtu)},
			quoted(28))
	case *layers.IPv6:
		icmp := &layers.ICMPv6{TypeCode: layers.CreateICMPv6TypeCode(layers.ICMPv6TypePacketTooBig, 0)}
		outer := &layers.IPv6{Version: 6, HopLimit: 64, NextHeader: layers.IPProtocolICMPv6, SrcIP: router6, DstIP: ip.SrcIP}
		_ = icmp.SetNetworkLayerForChecksum(outer) // never fails for IPv6
		return serialize(back, outer, icmp, gopacket.Payload(binary.BigEndian.AppendUint32(nil, uint32(mtu))), quoted(1200))
	}
	panic("not an IP packet")
}

// serialize lays layers out, with their lengths and checksums.
func serialize(all ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, all...); err != nil {
		panic(err) // of layers that this package makes
	}
	return b.Bytes()
}

// resetFor is the RST with which somebody in between answers a segment.
func resetFor(f *Frame) []byte {
	eth := f.Decoded.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	ip := f.Decoded.Layer(layers.LayerTypeIPv4).(*layers.IPv4)
	t := f.TCP()
	back := &layers.IPv4{Version: 4, TTL: 64, Protocol: layers.IPProtocolTCP, SrcIP: ip.DstIP, DstIP: ip.SrcIP}
	rst := &layers.TCP{SrcPort: t.DstPort, DstPort: t.SrcPort, RST: true, ACK: true, Seq: t.Ack, Ack: t.Seq + uint32(len(t.Payload))}
	_ = rst.SetNetworkLayerForChecksum(back) // never fails for IPv4
	return serialize(&layers.Ethernet{SrcMAC: eth.DstMAC, DstMAC: eth.SrcMAC, EthernetType: eth.EthernetType}, back, rst)
}
