//go:build !windows

package main

import (
	"pcapctl/capture/request"
	"pcapctl/capture/source"
	"pcapctl/capture/source/live"
)

// newSource plans what captures on interfaces here: the kernel's packet socket.
func newSource(c *request.Config, o live.Options) (source.Spec, *live.Planned, error) {
	spec, err := live.NewSpec(c, o)
	if err != nil {
		return nil, nil, err
	}
	spec.Helper = guardProgram()
	return spec, &spec.Planned, nil
}

// Who drops packets that passed the filter.
const (
	droppedByKernel    = "by the kernel (the ring was full)"
	droppedAroundLimit = "by the kernel before or after the limit"
)

// loopbackName is the interface that a machine reaches itself by.
func loopbackName() string { return "lo" }
