package save

import (
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/source"
)

// namedEncoder writes pcapng in which the first packet of a flow, or the first one after
// its name is known, has a comment that says whose it is.
type namedEncoder struct {
	ngEncoder
	names *Names
	file  int // how many were begun
	head  [nameHead]byte
	links []pcapfile.LinkType // of interfaces, by their numbers
}

// NewNamedEncoder is NewEncoder with names of flows. Formats without comments leave them
// out.
func NewNamedEncoder(e Encoder, names *Names) Encoder {
	if ng, ok := e.(*ngEncoder); ok {
		return &namedEncoder{ngEncoder: *ng, names: names}
	}
	return e
}

// Begin implements Encoder.
func (e *namedEncoder) Begin(b []byte) []byte {
	e.file++
	return e.ngEncoder.Begin(b)
}

// alone is the batch of a packet that is appended by itself.
type alone struct{}

// Next implements source.Batch.
func (alone) Next() *source.Packet { return nil }

// Gap implements source.Batch.
func (alone) Gap() source.Gap { return source.Gap{} }

// Quiet implements source.Batch.
func (alone) Quiet() bool { return false }

// Append implements Encoder.
func (e *namedEncoder) Append(b []byte, p *source.Packet, batch source.Batch, mark int, room int64) (_ []byte, _ *source.Packet, n, data uint64) {
	if e.names.used.Load() == 0 {
		return e.ngEncoder.Append(b, p, batch, mark, room)
	}
	if p == nil {
		p = batch.Next()
	}
	for ; p != nil; p = batch.Next() {
		known := e.names.of(p, e.link(p.Interface), &e.head, e.file)
		at := len(b)
		var next *source.Packet
		var bytes uint64
		if b, next, _, bytes = e.ngEncoder.Append(b, p, alone{}, mark, room); next != nil {
			return b, next, n, data
		}
		room -= int64(len(b) - at)
		n++
		data += bytes
		if known != nil && room-int64(len(known.option)) >= e.endSize() {
			b = pcapfile.AddOption(b, known.option)
			room -= int64(len(known.option))
			known.written = e.file
		}
	}
	return b, nil, n, data
}

func (e *namedEncoder) link(id int) pcapfile.LinkType {
	for len(e.links) <= id {
		e.links = append(e.links, e.src.Describe(len(e.links)).LinkType)
	}
	return e.links[id]
}
