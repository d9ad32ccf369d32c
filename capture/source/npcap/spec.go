package npcap

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"pcapctl/capture/fault"
	"pcapctl/capture/netif"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
	"pcapctl/capture/source/live"
	"pcapctl/filter"
)

// Spec is a capture through Npcap as planned. Npcap is not looked for yet.
type Spec struct {
	live.Planned

	config      *request.Config
	cooked      pcapfile.LinkType // of the packets of several adapters in one classic file
	byDefault   bool
	promiscuous bool
	buffer      int // bytes, of all adapters
}

// NewSpec looks at the machine's adapters and opens nothing.
//
// Error classes: NotFound for adapters, Invalid for options.
func NewSpec(c *request.Config, o live.Options) (*Spec, error) {
	if o.Netns != "" {
		return nil, &fault.Error{Class: fault.Invalid, Target: "netns", Message: fmt.Sprintf(
			"%s given; network namespaces are a feature of Linux: leave it out", fault.Quote(o.Netns))}
	}
	all, err := live.Interfaces("")
	if err != nil {
		return nil, err
	}
	chosen, every, err := live.Choose(all, o.Interfaces)
	if err != nil {
		return nil, err
	}
	if len(chosen) == 0 {
		return nil, fault.Errorf(fault.NotFound, "no interface but loopback is up: name one with --interface (there are: %s)", live.DescribeAll(all))
	}
	s, err := newSpec(c, o, all, chosen)
	if err != nil {
		return nil, err
	}
	s.Any, s.byDefault = every, len(o.Interfaces) == 0
	return s, nil
}

// newSpec is the plan for the chosen ones of all interfaces.
func newSpec(c *request.Config, o live.Options, all, chosen []netif.Interface) (*Spec, error) {
	s := &Spec{config: c, cooked: o.CookedLink(), promiscuous: o.Promiscuous}
	s.Interfaces = chosen
	var err error
	if s.buffer, err = o.Buffer(); err != nil {
		return nil, err
	}
	s.LinkType = s.cooked
	if len(s.Interfaces) == 1 {
		s.LinkType = linkOf(s.Interfaces[0])
	}
	s.Ring = s.bufferOf() * len(s.Interfaces)
	for _, i := range s.Interfaces {
		a := &adapter{iface: i, link: linkOf(i)}
		if err := s.compile(a); err != nil {
			return nil, err
		}
		if s.Program == nil || s.Program.Exact && (!a.program.Exact || len(a.program.Raw) > len(s.Program.Raw)) {
			s.Program = a.program // the largest, to be shown
		}
	}
	s.WarnOfFilters(c, all, o)
	s.WarnOfRest(c)
	return s, nil
}

// linkOf is what packets of an interface are expected to begin with. Npcap has the
// last word when it is opened.
func linkOf(i netif.Interface) pcapfile.LinkType {
	switch {
	case i.Loopback:
		return pcapfile.Null
	case i.HWType.IsRawIP():
		return pcapfile.RawIP
	}
	return pcapfile.Ethernet
}

// compile makes an adapter's program for what its packets begin with.
func (s *Spec) compile(a *adapter) error {
	a.mac = a.link == pcapfile.Ethernet
	switch a.link {
	case pcapfile.Null:
		a.framing = filter.Null
	case pcapfile.RawIP:
		a.framing = filter.RawIP
	case pcapfile.Ethernet:
		a.framing = filter.Ethernet
	default:
		return fault.Errorf(fault.Failed, "%s gives packets of the link type %s, which pcapctl does not look into on Windows: name another interface", a.iface.Name, a.link)
	}
	a.own = filter.Adapter{EitherEnd: a.iface.Loopback || a.link == pcapfile.Null}
	copy(a.own.MAC[:], a.iface.MAC)
	for _, p := range a.iface.Addresses {
		a.own.Addresses = append(a.own.Addresses, p.Addr().Unmap().WithZone(""))
	}
	if a.mac && len(a.iface.MAC) != macAddrLen || a.framing == filter.RawIP && len(a.own.Addresses) == 0 {
		a.own.EitherEnd = true
	}
	headers := s.config.Additions.HeadersOnly
	o := filter.Options{Framing: a.framing, Npcap: &a.own, SnapLen: s.config.SnapLen, HeadersOnly: headers}
	if !s.config.StopWhen.IsZero() {
		o.SnapLen = 0 // what ends the capture is looked for in all of the headers
	}
	var err error
	a.program, err = s.config.Filters.Compile(o)
	if err == nil && !a.program.Exact {
		o.SnapLen, o.HeadersOnly = 0, false // what is looked at again has to come whole
		a.program, err = s.config.Filters.Compile(o)
	}
	if err != nil {
		return fault.Errorf(fault.Internal, "%w", err)
	}
	a.snap = maxData
	if o.SnapLen != 0 {
		a.snap = int(min(o.SnapLen, maxData))
	}
	a.cut = headers && !a.program.Cuts
	return nil
}

// perInterface says that the file's format has a link type for each interface.
func (s *Spec) perInterface() bool { return s.config.Format == pcapfile.NG }

// bufferOf is the size of the driver's buffer of one adapter, in bytes.
func (s *Spec) bufferOf() int { return max(s.buffer/len(s.Interfaces), live.MinBufferSize) }

// Report implements source.Spec.
func (s *Spec) Report() source.Report {
	r := source.Report{LinkType: s.LinkType, FilterMode: s.FilterMode(), PerInterface: s.perInterface() && len(s.Interfaces) > 1}
	for _, i := range s.Interfaces {
		r.Links = append(r.Links, source.Link{Name: i.Name, Index: i.Index})
	}
	return r
}

// Reads implements source.Spec.
func (*Spec) Reads(string) bool { return false }

// Name implements source.Spec.
func (s *Spec) Name() string {
	names := make([]string, len(s.Interfaces))
	for i, f := range s.Interfaces {
		names[i] = f.Name
	}
	list := strings.Join(names, ", ")
	if s.Any || s.byDefault {
		return list + ", which are up now (those that come up later are not captured on)"
	}
	return list
}

// Prepare loads wpcap.dll and opens the adapters, with a filter that takes nothing:
// only then it is known what their packets begin with, and whether this process
// may capture.
//
// Error classes: NotFound (no Npcap, or an adapter that it does not have),
// Forbidden, Failed, Internal.
func (s *Spec) Prepare(func() error) (source.Source, error) {
	d, err := load()
	if err != nil {
		return nil, loadError(err)
	}
	return s.prepare(d)
}

func (s *Spec) prepare(d driver) (_ source.Source, err error) {
	devices, err := d.devices()
	if err != nil {
		return nil, openError("list the adapters", err)
	}
	if len(devices) == 0 {
		return nil, openError("list the adapters", errDenied)
	}
	var adapters []*adapter
	defer func() {
		if err != nil {
			for _, a := range adapters {
				a.close(patience)
			}
		}
	}()
	for id, i := range s.Interfaces {
		a := &adapter{id: id, iface: i, link: linkOf(i), done: make(chan struct{}), quit: make(chan struct{})}
		device, found := deviceOf(i, devices)
		if !found {
			return nil, fault.Errorf(fault.NotFound, "Npcap does not offer %s: `pcapctl interfaces` shows whether it is up; after a new adapter, restart Npcap's driver (`net stop npcap`, `net start npcap`, as an administrator)", i.Name)
		}
		o := openOptions{snapLen: pcapfile.MaxSnapLen, buffer: s.bufferOf(), promiscuous: s.promiscuous && !i.Loopback, wait: driverWait}
		if s.config.SnapLen != 0 && s.Program.Exact && s.config.StopWhen.IsZero() {
			o.snapLen = int(min(s.config.SnapLen, pcapfile.MaxSnapLen))
		}
		a.handle, err = d.open(device, o)
		if err != nil && o.promiscuous && !errors.Is(err, errDenied) && !errors.Is(err, errNoDevice) {
			// Many radio adapters cannot; the packets of this machine are captured all the same.
			o.promiscuous = false
			if a.handle, _ = d.open(device, o); a.handle != nil {
				a.modest, err = true, nil
			}
		}
		if err != nil {
			return nil, openError("open "+i.Name, err)
		}
		adapters = append(adapters, a)
		a.link = pcapfile.LinkType(a.handle.linkType())
		if a.link == dltRaw {
			a.link = pcapfile.RawIP
		}
		if err = s.compile(a); err != nil {
			return nil, err
		}
	}
	return newSource(s, adapters), nil
}

// Names of devices: loopback has one of its own, all others that of their GUID.
const (
	devicePrefix   = `\Device\NPF_`
	deviceLoopback = `\Device\NPF_Loopback`
)

// deviceOf finds the device of an interface.
func deviceOf(i netif.Interface, devices []string) (string, bool) {
	if i.Loopback && slices.Contains(devices, deviceLoopback) {
		return deviceLoopback, true
	}
	at := slices.IndexFunc(devices, func(device string) bool { return strings.EqualFold(device, devicePrefix+i.GUID) })
	if i.GUID == "" || at < 0 {
		return "", false
	}
	return devices[at], true
}

// instead is the way to packets that needs no Npcap.
const instead = "without Npcap, capture with Windows' own pktmon (`pktmon start --capture --comp nics --pkt-size 0 --file-name t.etl`, `pktmon stop`, `pktmon etl2pcap t.etl --out t.pcapng`) and choose the packets with `pcapctl create --read-file t.pcapng`"

// loadError says what to do about a wpcap.dll that cannot be used.
func loadError(err error) error {
	switch {
	case errors.Is(err, ErrUnsupported):
		return fault.Errorf(fault.Failed, "%w", err)
	case errors.Is(err, errMissing):
		return fault.Errorf(fault.NotFound, "capturing on Windows needs Npcap %s or later: %w; install it from https://npcap.com, `sc query npcap` then shows its driver as RUNNING; %s", minVersion, err, instead)
	case errors.Is(err, errOld):
		return fault.Errorf(fault.NotFound, "capturing on Windows needs Npcap %s or later: %w; install the newest from https://npcap.com, which replaces it; %s", minVersion, err, instead)
	}
	return fault.Errorf(fault.Failed, "capturing on Windows needs Npcap %s or later, and what is there cannot be used: %w; install the newest from https://npcap.com; %s", minVersion, err, instead)
}

// openError says what to do about an adapter that cannot be opened.
func openError(what string, err error) error {
	switch {
	case errors.Is(err, errDenied):
		return fault.Errorf(fault.Forbidden, "%s: %w: run pcapctl in an elevated prompt (Npcap may be installed for administrators only: AdminOnly is then 1 in `reg query HKLM\\SYSTEM\\CurrentControlSet\\Services\\npcap\\Parameters`), or start its driver (`sc query npcap` shows whether it is RUNNING, `net start npcap` starts it); %s", what, err, instead)
	case errors.Is(err, errNoDevice):
		return fault.Errorf(fault.NotFound, "%s: %w: `pcapctl interfaces` shows which there are", what, err)
	}
	return fault.Errorf(fault.Failed, "%s: %w", what, err)
}
