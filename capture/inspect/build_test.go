package inspect_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"pcapctl/capture/inspect"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
	"pcapctl/capture/source/capfile"
)

// scene makes packets, each a little later than the one before.
type scene struct {
	t       testing.TB
	now     time.Time
	packets []pcaptest.Packet
	ipID    uint16
}

// start is the time of a scene's first packet.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newScene(t testing.TB) *scene { return &scene{t: t, now: start} }

// after lets time go by.
func (s *scene) after(d time.Duration) *scene {
	s.now = s.now.Add(d)
	return s
}

// add takes a frame as it is.
func (s *scene) add(frame []byte) {
	s.packets = append(s.packets, pcaptest.Packet{Data: frame, Sec: uint32(s.now.Unix()), Nsec: uint32(s.now.Nanosecond()) / 1000 * 1000})
	s.now = s.now.Add(100 * time.Microsecond)
}

var (
	macA = net.HardwareAddr{2, 0, 0, 0, 0, 1}
	macB = net.HardwareAddr{2, 0, 0, 0, 0, 2}
)

// frame lays layers out behind an Ethernet header.
func (s *scene) frame(ls ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	if err := gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, ls...); err != nil {
		s.t.Fatal(err)
	}
	return bytes.Clone(b.Bytes())
}

func ether(etherType layers.EthernetType) *layers.Ethernet {
	return &layers.Ethernet{SrcMAC: macA, DstMAC: macB, EthernetType: etherType}
}

// ip makes the header for two addresses, with the Ethernet header before it.
func (s *scene) ip(src, dst string, proto layers.IPProtocol) (gopacket.SerializableLayer, gopacket.SerializableLayer) {
	a, b := net.ParseIP(src), net.ParseIP(dst)
	if a.To4() == nil {
		return ether(layers.EthernetTypeIPv6), &layers.IPv6{Version: 6, SrcIP: a, DstIP: b, NextHeader: proto, HopLimit: 64}
	}
	s.ipID++
	return ether(layers.EthernetTypeIPv4), &layers.IPv4{Version: 4, IHL: 5, TTL: 64, Id: s.ipID, SrcIP: a.To4(), DstIP: b.To4(), Protocol: proto}
}

func (s *scene) tcp(src, dst string, t *layers.TCP, payload []byte) {
	e, i := s.ip(src, dst, layers.IPProtocolTCP)
	_ = t.SetNetworkLayerForChecksum(i.(gopacket.NetworkLayer))
	s.add(s.frame(e, i, t, gopacket.Payload(payload)))
}

func (s *scene) udp(src string, sport uint16, dst string, dport uint16, payload []byte) {
	e, i := s.ip(src, dst, layers.IPProtocolUDP)
	u := &layers.UDP{SrcPort: layers.UDPPort(sport), DstPort: layers.UDPPort(dport)}
	_ = u.SetNetworkLayerForChecksum(i.(gopacket.NetworkLayer))
	s.add(s.frame(e, i, u, gopacket.Payload(payload)))
}

// toHeaders cuts the packets of the scene behind their headers.
func (s *scene) toHeaders() {
	for i := range s.packets {
		p := &s.packets[i]
		n, ok := capfile.HeaderLength(&pcapfile.Packet{LinkType: pcapfile.Ethernet, Data: p.Data, Length: len(p.Data)})
		if !ok {
			s.t.Fatal("no headers of Ethernet")
		}
		p.Length = max(p.Length, len(p.Data))
		p.Data = p.Data[:n]
	}
}

// file is the scene as a capture file.
func (s *scene) file() []byte {
	return pcaptest.Form{Order: binary.LittleEndian}.File(s.packets, pcapfile.Ethernet)
}

// report is what inspect says of the scene.
func (s *scene) report() *inspect.Report { return reportOf(s.t, s.file(), inspect.Options{}) }

func reportOf(t testing.TB, file []byte, o inspect.Options) *inspect.Report {
	t.Helper()
	c, err := inspect.Open([]string{"-"}, struct{ io.Reader }{bytes.NewReader(file)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	r, err := c.Inspect(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// write writes the scene to a file.
func (s *scene) write() string {
	path := filepath.Join(s.t.TempDir(), "scene.pcap")
	if err := os.WriteFile(path, s.file(), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return path
}

// conn is a TCP connection of a scene.
type conn struct {
	s              *scene
	client, server string
	cport, sport   uint16
	seq            [2]uint32 // of client and server: what comes next
	window         [2]uint16
	mss            uint16
	noScale        bool
}

func (s *scene) conn(client string, cport uint16, server string, sport uint16) *conn {
	return &conn{s: s, client: client, cport: cport, server: server, sport: sport, seq: [2]uint32{1000 * uint32(cport), 7_000_000 + uint32(cport)}, window: [2]uint16{502, 509}, mss: 1460}
}

const (
	byClient = 0
	byServer = 1
)

type flags struct{ syn, ack, fin, rst bool }

// raw sends a segment of either side with a sequence number and an acknowledgement.
func (c *conn) raw(by int, seq, ack uint32, f flags, payload []byte) {
	t := &layers.TCP{
		SrcPort: layers.TCPPort(c.cport), DstPort: layers.TCPPort(c.sport), Seq: seq, Ack: ack, Window: c.window[by],
		SYN: f.syn, ACK: f.ack, FIN: f.fin, RST: f.rst, PSH: len(payload) > 0,
	}
	if f.syn {
		t.Options = []layers.TCPOption{{OptionType: layers.TCPOptionKindMSS, OptionLength: 4, OptionData: []byte{byte(c.mss >> 8), byte(c.mss)}}}
		if !c.noScale {
			t.Options = append(t.Options, layers.TCPOption{OptionType: layers.TCPOptionKindNop}, layers.TCPOption{OptionType: layers.TCPOptionKindWindowScale, OptionLength: 3, OptionData: []byte{7}})
		}
	}
	src, dst := c.client, c.server
	if by == byServer {
		src, dst, t.SrcPort, t.DstPort = dst, src, t.DstPort, t.SrcPort
	}
	c.s.tcp(src, dst, t, payload)
}

// send sends a segment that goes on from the last one.
func (c *conn) send(by int, f flags, payload []byte) {
	ack := uint32(0)
	if f.ack {
		ack = c.seq[1-by]
	}
	c.raw(by, c.seq[by], ack, f, payload)
	c.seq[by] += uint32(len(payload))
	if f.syn || f.fin {
		c.seq[by]++
	}
}

func (c *conn) handshake() *conn {
	c.send(byClient, flags{syn: true}, nil)
	c.s.after(time.Millisecond)
	c.send(byServer, flags{syn: true, ack: true}, nil)
	c.send(byClient, flags{ack: true}, nil)
	return c
}

// data sends payload, and has it acknowledged.
func (c *conn) data(by int, payload []byte) *conn {
	c.send(by, flags{ack: true}, payload)
	c.send(1-by, flags{ack: true}, nil)
	return c
}

func (c *conn) bytes(by, n int) *conn { return c.data(by, make([]byte, n)) }

func (c *conn) close() {
	c.send(byClient, flags{fin: true, ack: true}, nil)
	c.send(byServer, flags{fin: true, ack: true}, nil)
	c.send(byClient, flags{ack: true}, nil)
}
