package capfile_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
	"pcapctl/capture/source/capfile"
	"pcapctl/filter"
)

// packetsOf reads all packets of a file.
func packetsOf(t *testing.T, o capfile.Options, set filter.Set) (read, kept int, err error) {
	t.Helper()
	f, err := capfile.Open(o)
	if err != nil {
		return 0, 0, err
	}
	p, err := f.Packets(set)
	if err != nil {
		return 0, 0, err
	}
	defer func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}()
	list := make([]pcapfile.Packet, capfile.MaxList+1)
	for {
		n, bits, err := p.Next(list)
		if err != nil {
			if errors.Is(err, io.EOF) {
				err = nil
			}
			if uint64(read) != p.Count() {
				t.Errorf("%d packets, and Count says %d", read, p.Count())
			}
			return read, kept, err
		}
		for i := range n {
			read++
			if port := list[i].Data[35]; bits>>i&1 != 0 {
				kept++
				if set.Len() > 0 && port != wantedPort&0xff {
					t.Errorf("packet %d of port …%x is kept", read, port)
				}
			}
		}
	}
}

// wantedPort is what the filter of TestPackets asks for.
const wantedPort = 1001

// TestPackets: every packet of a file of every form is given once, and those that a filter
// wants are told.
func TestPackets(t *testing.T) {
	var packets []pcaptest.Packet
	for i := range 20 {
		frame := make([]byte, 60)
		copy(frame, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x08\x00\x45\x00\x00\x2e")
		copy(frame[22:], "\x40\x11\x00\x00\x0a\x00\x00\x01\x0a\x00\x00\x02")
		binary.BigEndian.PutUint16(frame[34:], uint16(1000+i%2))
		packets = append(packets, pcaptest.Packet{Data: frame, Sec: uint32(i)})
	}
	port := "1001"
	wanted, faults := filter.Parse(filter.Spec{LocalPort: &port})
	if faults != nil {
		t.Fatal(faults)
	}
	path := filepath.Join(t.TempDir(), "in")
	try := func(name string, file []byte) {
		t.Helper()
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		for from, o := range map[string]capfile.Options{"path": {Path: path}, "stdin": {Path: capfile.StandardInput, Stdin: struct{ io.Reader }{bytes.NewReader(file)}}} {
			read, kept, err := packetsOf(t, o, filter.NewSet(wanted))
			if read != 20 || kept != 10 || err != nil {
				t.Errorf("%s by %s: %d read, %d kept, %v", name, from, read, kept, err)
			}
		}
	}
	for _, form := range pcaptest.Forms() {
		file := form.File(packets, pcapfile.Ethernet)
		try(form.String(), file)
	}
	file := pcaptest.Form{Order: binary.LittleEndian}.File(packets, pcapfile.Ethernet)
	for _, how := range pcaptest.Compressions() {
		try(how, pcaptest.Compress(how, file))
	}
	// Damage is told with its class, and where it is; what was before it was given.
	cut := pcaptest.Compress("gzip", file[:len(file)-7])
	for name, test := range map[string]struct {
		file  []byte
		read  int
		class fault.Class
		says  string
	}{
		"cut":             {file[:len(file)-7], 19, fault.Failed, "cut short"},
		"cut, compressed": {cut, 19, fault.Failed, "in its content, without the compression"},
		"junk":            {[]byte("this is not a capture"), 0, fault.Invalid, "neither a pcap nor a pcapng file"},
		"half compressed": {pcaptest.Compress("gzip", file)[:8], 0, fault.Invalid, "gzip data"},
	} {
		o := capfile.Options{Path: capfile.StandardInput, Stdin: struct{ io.Reader }{bytes.NewReader(test.file)}}
		read, _, err := packetsOf(t, o, filter.NewSet())
		e, ok := errors.AsType[*fault.Error](err)
		if read != test.read || !ok || e.Class != test.class || !strings.Contains(err.Error(), test.says) || e.Target != "" {
			t.Errorf("%s: %d read, %v", name, read, err)
		}
	}
	if _, err := capfile.Open(capfile.Options{Path: filepath.Join(t.TempDir(), "none")}); fault.ClassOf(err) != fault.NotFound {
		t.Errorf("a file that does not exist: %v", err)
	}
	if _, err := capfile.Open(capfile.Options{Path: t.TempDir()}); fault.ClassOf(err) != fault.Invalid {
		t.Errorf("a folder: %v", err)
	}
}
