package live

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"pcapctl/capture/fault"
	"pcapctl/capture/netif"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
	"pcapctl/capture/source/tpacket"
	"pcapctl/filter"
)

// Spec is a capture on interfaces as planned: everything that can be known
// before anything is opened.
type Spec struct {
	Planned
	// Helper is the program to start for what a capture that has given up its rights
	// cannot do any more (netif.FollowMain); "" is for one that keeps them.
	Helper string

	config      *request.Config
	cooked      pcapfile.LinkType // of packets that have no link type of their own
	names       []string          // that were given; nil for the default choice
	members     []netif.Interface // those that the program lets through, also while they are down
	options     filter.Options    // that Program was made with
	promiscuous bool
	netns       string
	container   string
	blockSize   int // bytes
	blocks      int
}

// NewSpec looks at the machine, opens nothing and needs no privilege.
//
// Error classes: NotFound for interfaces and namespaces, Forbidden for
// namespaces, Invalid for options.
func NewSpec(c *request.Config, o Options) (*Spec, error) {
	s := &Spec{config: c, promiscuous: o.Promiscuous, netns: o.Netns, container: o.Container, cooked: o.CookedLink()}
	var err error
	if s.blockSize, s.blocks, err = o.ringSize(c.SnapLen); err != nil {
		return nil, err
	}
	s.Ring = s.blockSize * s.blocks
	all, err := Interfaces(o.Netns)
	if err != nil {
		return nil, err
	}
	if s.Interfaces, s.Any, err = Choose(all, o.Interfaces); err != nil {
		return nil, err
	}
	if !s.Any {
		// Two names of one interface are one.
		for _, i := range s.Interfaces {
			at := slices.IndexFunc(o.Interfaces, i.Is)
			if at >= 0 {
				s.names = append(s.names, o.Interfaces[at])
			}
		}
	}
	s.LinkType = s.linkType()
	s.members = slices.DeleteFunc(s.newChoice().members(all), func(i netif.Interface) bool { return !s.holds(i.HWType) })
	fo := s.framing()
	if c.Blob != nil {
		fo.Exclude = []filter.Flow{} // room for the upload's own connections
	}
	if s.Program, s.options, err = compile(c.Filters, fo); err != nil {
		return nil, err
	}
	s.warn(all, o)
	return s, nil
}

// linkType settles the link type of the file. One interface keeps its own framing;
// several share the cooked one, which tells them apart.
func (s *Spec) linkType() pcapfile.LinkType {
	if len(s.Interfaces) == 1 && !s.Any {
		return linkOf(s.Interfaces[0].HWType, s.cooked)
	}
	return s.cooked
}

// bound says that the socket listens to one interface, and not to all.
func (s *Spec) bound() bool { return len(s.names) == 1 }

// byDefault says that no interface was named.
func (s *Spec) byDefault() bool { return s.names == nil && !s.Any }

// framing settles what the filter has to look for.
func (s *Spec) framing() filter.Options {
	o := filter.Options{SnapLen: s.config.SnapLen, HeadersOnly: s.config.Additions.HeadersOnly}
	if !s.config.StopWhen.IsZero() {
		o.SnapLen = 0 // what ends the capture is looked for in all of the headers
	}
	if s.Any {
		o.Framing = filter.Mixed
		return o
	}
	s.take(&o, s.members)
	return o
}

// take has the filter take the packets of these interfaces.
func (s *Spec) take(o *filter.Options, members []netif.Interface) {
	all := func(is func(netif.Interface) bool) bool {
		return !slices.ContainsFunc(members, func(i netif.Interface) bool { return !is(i) })
	}
	switch {
	case all(func(i netif.Interface) bool { return i.HWType.HasMAC() }):
		o.Framing = filter.Ethernet
	case s.LinkType == pcapfile.RawIP && all(func(i netif.Interface) bool { return i.HWType.IsRawIP() }):
		o.Framing = filter.RawIP
	default:
		o.Framing = filter.Mixed
	}
	o.NoLoopback = all(func(i netif.Interface) bool { return !i.Loopback })
	o.Interfaces = nil
	if s.bound() {
		return
	}
	for _, i := range members {
		o.Interfaces = append(o.Interfaces, uint32(i.Index))
	}
	if o.Interfaces == nil {
		o.Interfaces = []uint32{noInterface} // an empty list would stand for all
	}
}

// noInterface is the index of no interface.
const noInterface = 0

// compile makes the kernel's program, and tells the options that it was made
// with in the end.
func compile(set filter.Set, o filter.Options) (*filter.Program, filter.Options, error) {
	program, err := set.Compile(o)
	if err == nil && !program.Exact {
		// What the kernel lets through is looked at again here, for which it has
		// to come whole: headers may reach far behind a short snap length.
		o.SnapLen = 0
		program, err = set.Compile(o)
	}
	switch {
	case errors.Is(err, filter.ErrTooManyInterfaces):
		return nil, o, fault.Errorf(fault.Invalid, "%w: name fewer, or %s", err, AnyInterface)
	case err != nil:
		return nil, o, fault.Errorf(fault.Internal, "%w", err)
	}
	return program, o, nil
}

func (s *Spec) warn(all []netif.Interface, o Options) {
	s.WarnOfFilters(s.config, all, o)
	if s.byDefault() {
		s.warnDefault(all)
	} else {
		s.Warn(twice(s.Interfaces))
	}
	s.WarnOfRest(s.config)
}

// warnDefault says what the default choice has come to, where that is not what
// everybody expects.
func (s *Spec) warnDefault(all []netif.Interface) {
	if len(s.Interfaces) == 0 {
		s.Warn("no interface but loopback is up: nothing is captured until one comes up; loopback is captured with --interface only (there are: " + DescribeAll(all) + ")")
	}
	s.Warn(carried(all))
}

// Name names the interfaces, for people.
func (s *Spec) Name() string {
	if s.container != "" {
		return s.interfaceNames() + " in the container " + s.container
	}
	return s.interfaceNames()
}

func (s *Spec) interfaceNames() string {
	if s.Any {
		return "any interface"
	}
	if len(s.Interfaces) == 0 {
		return "the interfaces that come up"
	}
	names := make([]string, len(s.Interfaces))
	for i, f := range s.Interfaces {
		names[i] = f.Name
	}
	list := strings.Join(names, ", ")
	switch {
	case !s.byDefault():
		return list
	case !s.perInterface() && s.LinkType != s.cooked: // which an interface of another link type cannot join
		return fmt.Sprintf("%s, and others of the link type %s that come up", list, s.LinkType)
	}
	return list + ", and others that come up"
}

// Report implements source.Spec.
func (s *Spec) Report() source.Report {
	r := source.Report{LinkType: s.LinkType, FilterMode: s.FilterMode(), Container: s.container, PerInterface: s.perInterface() && (s.Any || len(s.Interfaces) > 1) && s.LinkType == s.cooked}
	for _, i := range s.Interfaces {
		r.Links = append(r.Links, source.Link{Name: i.Name, Index: i.Index})
	}
	return r
}

// perInterface says that the file's format has a link type for each interface.
func (s *Spec) perInterface() bool { return s.config.Format == pcapfile.NG }

func (s *Spec) ringOptions(program *filter.Program) tpacket.Options {
	o := tpacket.Options{
		Filter: program.Raw, Replaceable: s.config.Blob != nil || s.byDefault(), BlockSize: s.blockSize, Blocks: s.blocks, Retire: retireTime,
	}
	if s.config.Stream {
		o.Retire = streamRetireTime
	}
	if s.bound() {
		o.Interface = s.Interfaces[0].Index
	}
	if s.promiscuous && !s.Any {
		for _, i := range s.Interfaces {
			if !i.Loopback {
				o.Promiscuous = append(o.Promiscuous, i.Index)
			}
		}
	}
	return o
}

// Reads implements source.Spec.
func (*Spec) Reads(string) bool { return false }

// Prepare asks for the privilege to capture, so that a process without it is
// told so, and not of a folder that it may not write to either.
//
// Error classes: Forbidden, Internal.
func (s *Spec) Prepare(func() error) (source.Source, error) {
	if err := tpacket.Privileged(); err != nil {
		return nil, privilegeError(err)
	}
	return newSource(s), nil
}

// privilegeError says what to do about a packet socket that may not be opened.
func privilegeError(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fault.Errorf(fault.Forbidden, "capturing packets needs the capability CAP_NET_RAW, which this process does not have: "+
			"run pcapctl as root, or let the members of a GROUP capture, and nobody else: "+
			"`p=\"$(command -v pcapctl)\"; sudo chgrp GROUP \"$p\"; sudo chmod 0750 \"$p\"; sudo setcap cap_net_raw+ep \"$p\"` (%w)", err)
	}
	return fault.Errorf(fault.Internal, "%w", err)
}
