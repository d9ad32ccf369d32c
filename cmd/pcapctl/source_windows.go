package main

import (
	"slices"

	"pcapctl/capture/netif"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
	"pcapctl/capture/source/live"
	"pcapctl/capture/source/npcap"
)

// newSource plans what captures on interfaces here: Npcap.
func newSource(c *request.Config, o live.Options) (source.Spec, *live.Planned, error) {
	spec, err := npcap.NewSpec(c, o)
	if err != nil {
		return nil, nil, err
	}
	return spec, &spec.Planned, nil
}

// Who drops packets that passed the filter.
const (
	droppedByKernel    = "by Npcap (its buffer was full)"
	droppedAroundLimit = "by Npcap before or after the limit"
)

// loopbackName is the interface that a machine reaches itself by.
func loopbackName() string {
	all, _ := netif.List()
	if at := slices.IndexFunc(all, func(i netif.Interface) bool { return i.Loopback }); at >= 0 {
		return all[at].Name
	}
	return "Loopback"
}
