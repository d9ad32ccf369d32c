package capfile_test

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"

	"pcapctl/capture/pcapfile"
	"pcapctl/capture/pcapfile/pcaptest"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
	"pcapctl/capture/source/capfile"
	"pcapctl/capture/source/sourcetest"
)

// late is a source that is made when it is known what there is to read.
type late struct {
	source.Source
}

// A file has its packets before it is prepared, so that the fixture prepares when
// it is told how many there are.
func TestConformance(t *testing.T) {
	type kind struct {
		name       string
		stream     bool
		ng         bool
		out        pcapfile.Format
		compressed string
	}
	kinds := []kind{
		{name: "a file"}, {name: "a pcapng file", ng: true}, {name: "a stream", stream: true},
		{name: "a pcapng file into pcapng", ng: true, out: pcapfile.NG}, {name: "a pcapng stream into pcapng", stream: true, ng: true, out: pcapfile.NG},
		{name: "a file into pcapng", out: pcapfile.NG},
	}
	for _, how := range pcaptest.Compressions() {
		kinds = append(kinds, kind{name: "a file in " + how, compressed: how}, kind{name: "a stream in " + how, stream: true, compressed: how})
	}
	for _, test := range kinds {
		t.Run(test.name, func(t *testing.T) {
			form := pcaptest.Form{Order: binary.LittleEndian, NG: test.ng}
			sourcetest.Run(t, sourcetest.Fixture{Finite: true, Length: 60, Prepare: func(t *testing.T) (source.Source, func(int)) {
				l, dir := &late{}, t.TempDir() // which goes after the source is closed
				prepare := func(n int) {
					var packets []pcaptest.Packet
					for i := range n {
						data := make([]byte, 60)
						binary.BigEndian.PutUint32(data[56:], uint32(i))
						packets = append(packets, pcaptest.Packet{Data: data, Sec: uint32(i + 1)})
					}
					o := capfile.Options{Path: filepath.Join(dir, "in")}
					file := form.File(packets, pcapfile.Ethernet)
					if test.compressed != "" {
						file = pcaptest.Compress(test.compressed, file)
					}
					if err := os.WriteFile(o.Path, file, 0o600); err != nil {
						t.Fatal(err)
					}
					if test.stream {
						f, err := os.Open(o.Path)
						if err != nil {
							t.Fatal(err)
						}
						t.Cleanup(func() { _ = f.Close() })
						o = capfile.Options{Path: capfile.StandardInput, Stdin: struct{ io.Reader }{f}}
					}
					c := &request.Config{CapturesDir: "/var/captures", FilePath: "/var/captures/x.cap", Format: test.out}
					spec, err := capfile.NewSpec(c, o)
					if err != nil {
						t.Fatal(err)
					}
					src, err := spec.Prepare(func() error { return nil })
					if err != nil {
						t.Fatal(err)
					}
					if err := l.Close(); err != nil {
						t.Fatal(err)
					}
					l.Source = src
				}
				l.Source = none{}
				return l, prepare
			}})
		})
	}
}

// none stands for the source before there is one.
type none struct{ source.Source }

func (none) Open() error           { return nil }
func (none) Start() error          { return nil }
func (none) Close() error          { return nil }
func (none) Report() source.Report { return source.Report{} }
