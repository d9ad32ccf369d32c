package inspect_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"pcapctl/capture/fault"
	"pcapctl/capture/inspect"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
)

// stalled gives its bytes, and then waits; dry is closed when it is asked for more.
type stalled struct {
	from *bytes.Reader
	dry  chan struct{}
	end  chan struct{}
}

func (s *stalled) Read(p []byte) (int, error) {
	if s.from.Len() > 0 {
		return s.from.Read(p)
	}
	close(s.dry)
	<-s.end
	return 0, io.EOF
}

// TestInterrupted: when reading is broken off, the report is of what came until then and says so.
func TestInterrupted(t *testing.T) {
	s := newScene(t)
	s.conn(clientIP, 4000, serverIP, 80).handshake().bytes(byClient, 100)
	in := &stalled{bytes.NewReader(s.file()), make(chan struct{}), make(chan struct{})}
	c, err := inspect.Open([]string{"-"}, in, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-in.dry
		cancel()
	}()
	r, err := c.Inspect(ctx, inspect.Options{})
	close(in.end)
	if err != nil || !r.Input.Interrupted || r.TCP.Connections != r.Packets.Count/5 && r.Packets.Count > 0 {
		t.Errorf("%v, %+v, %d packets", err, r.Input, r.Packets.Count)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	// Before anything has come.
	in = &stalled{bytes.NewReader(nil), make(chan struct{}), make(chan struct{})}
	defer close(in.end)
	if c, err = inspect.Open([]string{"-"}, in, nil); err != nil {
		t.Fatal(err)
	}
	ctx, cancel = context.WithCancel(t.Context())
	go func() {
		<-in.dry
		cancel()
	}()
	if r, err = c.Inspect(ctx, inspect.Options{}); err != nil || !r.Input.Interrupted {
		t.Errorf("%v, %+v", err, r)
	}
}

// TestSeveralFiles: they are one capture: a connection goes on in the next file, packets are
// counted through, and all files are open before the first is read.
func TestSeveralFiles(t *testing.T) {
	s := newScene(t)
	c := s.conn(clientIP, 4000, serverIP, 80).handshake().bytes(byClient, 100)
	first := s.file()
	s.packets = nil
	c.bytes(byServer, 100)
	s.after(3 * time.Second)
	c.send(byServer, flags{rst: true, ack: true}, nil)
	dir := t.TempDir()
	one, two := filepath.Join(dir, "1"), filepath.Join(dir, "2")
	for path, file := range map[string][]byte{one: first, two: pcaptest.Compress("zstd", s.file())} {
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	captures, err := inspect.Open([]string{one, two}, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = captures.Close() }()
	for _, path := range []string{one, two} {
		if err := os.Remove(path); err != nil && runtime.GOOS != "windows" { // which keeps what is open
			t.Fatal(err)
		}
	}
	r, err := captures.Inspect(t.Context(), inspect.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if r.TCP.Connections != 1 || len(r.Quality) != 0 || len(r.Failures) != 1 || r.Failures[0].ID != "tcp-reset" || r.Failures[0].FirstPacket != 8 {
		t.Errorf("%d connections, %+v, %+v", r.TCP.Connections, r.Quality, r.Failures)
	}
	if len(r.Input.Files) != 2 || r.Input.Files[0].Packets != 5 || r.Input.Files[1].Packets != 3 {
		t.Errorf("%+v", r.Input.Files)
	}
	if read, size, packets := captures.Progress(); read != size || packets != 8 {
		t.Errorf("progress: %d of %d, %d packets", read, size, packets)
	}
	if runtime.GOOS == "windows" {
		return
	}
	if _, err := inspect.Open([]string{one}, nil, nil); fault.ClassOf(err) != fault.NotFound {
		t.Errorf("%v", err)
	}
}

// TestSameReport: the same capture gives the same report, whatever the order of tables in memory.
func TestSameReport(t *testing.T) {
	s := hostileScene(t)
	for i, test := range scenes {
		test.make(s)
		s.after(time.Duration(i) * time.Second)
	}
	for i := range 20 {
		mac := slices.Clone(macA)
		mac[5] = byte(i)
		m := &layers.DHCPv4{Operation: layers.DHCPOpRequest, HardwareType: layers.LinkTypeEthernet, HardwareLen: 6, Xid: uint32(i), ClientHWAddr: mac, Options: layers.DHCPOptions{
			layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{1}), layers.NewDHCPOption(layers.DHCPOptEnd, nil),
		}}
		for range 2 {
			s.udp("0.0.0.0", 68, "255.255.255.255", 67, s.frame(m))
		}
		e, l := s.ip(fmt.Sprintf("10.9.0.%d", i), serverIP, layers.IPProtocolUDP)
		l.(*layers.IPv4).Flags = layers.IPv4MoreFragments
		s.add(s.frame(e, l, gopacket.Payload(make([]byte, 1480))))
	}
	s.after(5*time.Second).udp(clientIP, 1, serverIP, 2, nil)
	var first []byte
	for range 5 {
		text, err := json.Marshal(reportOf(t, s.file(), inspect.Options{}))
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = text
		}
		if diff := cmp.Diff(string(first), string(text)); diff != "" {
			t.Fatal(diff)
		}
	}
}

// TestQuality: what a capture is not complete in is told, and a healthy one tells nothing.
func TestQuality(t *testing.T) {
	ng := pcaptest.Form{Order: binary.LittleEndian, NG: true}
	for want, capture := range map[string]func(*scene) []byte{
		"": func(s *scene) []byte {
			s.conn(clientIP, 4000, serverIP, 80).handshake().bytes(byClient, 100).close()
			return s.file()
		},
		"capture-drops": func(s *scene) []byte {
			lost := append(make([]byte, 12), ng.Option(7, binary.LittleEndian.AppendUint64(nil, 5))...)
			return append(ng.File(nil, pcapfile.Ethernet), ng.Block(5, lost)...)
		},
		"capture-gaps": func(s *scene) []byte {
			c := s.conn(clientIP, 4000, serverIP, 80).handshake()
			c.seq[1] += 500 // sent, and not captured
			c.send(byClient, flags{ack: true}, nil)
			return s.file()
		},
		"packets-cut": func(s *scene) []byte {
			s.conn(clientIP, 4000, serverIP, 80).handshake().bytes(byClient, 100)
			for i := range s.packets {
				p := &s.packets[i]
				p.Length = len(p.Data)
				p.Data = p.Data[:min(len(p.Data), 60)]
			}
			return s.file()
		},
		"headers-only": func(s *scene) []byte {
			s.conn(clientIP, 4000, serverIP, 80).handshake().bytes(byClient, 100).close()
			s.toHeaders()
			return s.file()
		},
		"one-direction": func(s *scene) []byte {
			c := s.conn(clientIP, 4000, serverIP, 80)
			c.send(byServer, flags{syn: true, ack: true}, nil)
			for range 3 {
				c.send(byServer, flags{ack: true}, make([]byte, 100))
			}
			return s.file()
		},
		"joined-in-the-middle": func(s *scene) []byte {
			s.conn(clientIP, 4000, serverIP, 80).bytes(byClient, 100).bytes(byServer, 100)
			return s.file()
		},
		"time-backwards": func(s *scene) []byte {
			c := s.conn(clientIP, 4000, serverIP, 80).handshake()
			s.after(-time.Hour)
			c.bytes(byClient, 100)
			return s.file()
		},
		"time-gap": func(s *scene) []byte {
			c := s.conn(clientIP, 4000, serverIP, 80).handshake()
			s.after(3 * time.Hour)
			c.bytes(byClient, 100)
			return s.file()
		},
		"checksum-offload": func(s *scene) []byte {
			s.conn(clientIP, 4000, serverIP, 80).handshake()
			for i := range s.packets {
				b := s.packets[i].Data // the sum of the pseudo header, as Linux leaves it
				sum := uint32(0x0a00+0x0001) + uint32(0x0a00+0x0002) + 6 + uint32(binary.BigEndian.Uint16(b[16:])-20)
				binary.BigEndian.PutUint16(b[50:], uint16(sum>>16+sum&0xffff))
			}
			return s.file()
		},
		"checksum-wrong": func(s *scene) []byte {
			s.udp(clientIP, 4000, serverIP, 9000, []byte("something"))
			s.packets[0].Data[45] ^= 1
			return s.file()
		},
		"duplicate-packets": func(s *scene) []byte {
			s.udp(clientIP, 4000, serverIP, 9000, []byte("something"))
			s.add(s.packets[0].Data)
			return s.file()
		},
		"not-decoded": func(s *scene) []byte {
			s.add([]byte{1, 2, 3})
			return s.file()
		},
	} {
		r := reportOf(t, capture(newScene(t)), inspect.Options{})
		var ids []string
		for _, f := range r.Quality {
			ids = append(ids, f.ID)
			if f.Count == 0 || f.Meaning == "" || f.Title == "" {
				t.Errorf("%+v", f)
			}
		}
		if want == "" && ids != nil || want != "" && (len(ids) != 1 || ids[0] != want) {
			t.Errorf("%q: %q", want, ids)
		}
		missing := slices.Contains([]string{"capture-drops", "capture-gaps", "one-direction"}, want)
		if text := strings.Join(r.Text(inspect.Style{Width: 500}), "\n"); strings.Contains(text, "nothing shows that packets are missing") == missing {
			t.Errorf("%q: is it told whether packets are missing?\n%s", want, text)
		}
	}
}
