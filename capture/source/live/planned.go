package live

import (
	"fmt"
	"net/netip"
	"slices"

	"pcapctl/capture/netif"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
	"pcapctl/filter"
)

// Planned is what every capture on interfaces is planned with, whatever captures
// the packets.
type Planned struct {
	Any        bool              // all interfaces
	Interfaces []netif.Interface // with Any and by default, those that are up now
	LinkType   pcapfile.LinkType // of the file
	Program    *filter.Program   // the largest, where there are several
	Ring       int               // bytes of memory for packets that wait for pcapctl

	warnings []string
}

// Warnings implements source.Spec.
func (p *Planned) Warnings() []string { return slices.Clone(p.warnings) }

// Warn adds a warning, unless it is "".
func (p *Planned) Warn(text string) {
	if text != "" {
		p.warnings = append(p.warnings, text)
	}
}

// WarnOfFilters warns of filters that can hardly be meant; all are the machine's
// interfaces.
func (p *Planned) WarnOfFilters(c *request.Config, all []netif.Interface, o Options) {
	var own []netip.Addr
	for _, i := range all {
		for _, a := range i.Addresses {
			own = append(own, a.Addr())
		}
	}
	p.warnings = append(p.warnings, c.Filters.Warnings(own, o.EitherEnd)...)
	p.warnings = append(p.warnings, c.StopWhen.Warnings(c.Filters)...)
}

// WarnOfRest warns of all else.
func (p *Planned) WarnOfRest(c *request.Config) {
	for _, i := range p.Interfaces {
		if !i.Up {
			p.Warn(fmt.Sprintf("%s is down: nothing is captured on it until it comes up", i.Name))
		}
	}
	if c.SnapLen > pcapfile.MaxSnapLen {
		p.Warn(fmt.Sprintf("packets of more than %d bytes are recorded whole, up to %d: most other programs refuse to read a file with one",
			pcapfile.MaxSnapLen, min(c.SnapLen, pcapfile.MaxPacket)))
	}
	if c.MaxBytes == 0 && c.MaxTime == 0 {
		p.Warn("neither bytes nor time are limited: the capture ends when it is stopped or the disk is full")
	}
	if !p.Program.Exact {
		p.Warn(CoarseWarning)
	}
}

// CoarseWarning says what a capture costs whose filters do not fit.
const CoarseWarning = "the filters are too large for one kernel program: the kernel chooses coarsely and pcapctl exactly, which costs more CPU"

// FilterMode says who decides which packets are recorded.
func (p *Planned) FilterMode() string { return filterMode(p.Program) }

func filterMode(p *filter.Program) string {
	if p.Exact {
		return source.FilterKernel
	}
	return source.FilterCoarse
}
