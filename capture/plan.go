package capture

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/netif"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/ring"
	"pcapctl/filter"
)

// AnyInterface as a name stands for all interfaces, loopback and those that
// appear during the capture included.
const AnyInterface = "any"

// Bounds of the ring in bytes, and the retire time: how long a packet may stay
// in a block that does not fill. With it and the write that follows, a packet
// on a quiet link is in the file well within a second.
const (
	DefaultBufferSize = 8 << 20
	MinBufferSize     = 1 << 20
	MaxBufferSize     = 1 << 30
	retireTime        = 250 * time.Millisecond
	wholeBlock        = 2 << 20
	minBlocks         = 2
)

// Source says where packets come from. It is no part of the API's request: the
// service captures on the VM as a whole.
type Source struct {
	// Interfaces are names; AnyInterface stands alone. Empty is the default
	// choice: every interface that is up, is not loopback and is not enslaved
	// to another; loopback when there is none such.
	Interfaces []string
	// NoICMPErrors leaves out ICMP errors that quote a packet of the filters.
	NoICMPErrors bool
	// Promiscuous asks for frames that are meant for other stations, too.
	Promiscuous bool
	// Netns is the network namespace to capture in, as netif.In takes it; "" is
	// this process's own.
	Netns string
	// BufferSize is the size of the kernel's ring in bytes, 0 for
	// DefaultBufferSize.
	BufferSize int
}

// Plan is a valid session on this machine: everything that can be known before
// anything is opened.
type Plan struct {
	Config     *request.Config
	Any        bool              // all interfaces, also those to come
	Interfaces []netif.Interface // with Any, those that are up now
	LinkType   pcapfile.LinkType
	Program    *filter.Program
	Warnings   []string

	options     filter.Options // that Program was made with
	made        time.Time      // stands in the names of a ring's files
	upload      UploadSettings // of a capture that goes to a blob
	spool       string         // path of the file of one that goes there only
	promiscuous bool
	netns       string
	blockSize   int
	blocks      int
}

// NewPlan looks at the machine, opens nothing and needs no privilege. Its
// errors are of class NotFound for interfaces and Invalid for settings.
func NewPlan(c *request.Config, s Source) (*Plan, error) {
	if s.NoICMPErrors {
		c = c.WithoutICMPErrors()
	}
	p := &Plan{Config: c, made: time.Now(), promiscuous: s.Promiscuous, netns: s.Netns}
	p.Warnings = slices.Clone(c.Warnings)
	if err := p.sizeRing(s.BufferSize); err != nil {
		return nil, err
	}
	all, err := Interfaces(s.Netns)
	if err != nil {
		return nil, err
	}
	if err := p.choose(all, s.Interfaces); err != nil {
		return nil, err
	}
	if err := p.compile(); err != nil {
		return nil, err
	}
	p.warn(all)
	return p, nil
}

// Interfaces lists the interfaces of a network namespace, as netif.In takes
// it.
//
// Error classes: NotFound and Forbidden for the namespace, Internal.
func Interfaces(netns string) (all []netif.Interface, err error) {
	err = netif.In(netns, func() error {
		all, err = netif.List()
		return err
	})
	if err != nil {
		return nil, namespaceError(err)
	}
	return all, nil
}

// namespaceError gives errors of entering a namespace their class; those that
// have one keep it.
func namespaceError(err error) error {
	var known *fault.Error
	switch {
	case errors.As(err, &known):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return fault.Errorf(fault.NotFound, "%w: name a namespace of `ip netns list`, the path of one, or a process", err)
	case errors.Is(err, fs.ErrPermission):
		return fault.Errorf(fault.Forbidden, "%w: entering another network namespace needs the capability CAP_SYS_ADMIN; run pcapctl as root", err)
	default:
		return fault.Errorf(fault.Internal, "%w", err)
	}
}

func (p *Plan) sizeRing(size int) error {
	if size == 0 {
		size = DefaultBufferSize
	}
	if size < MinBufferSize || size > MaxBufferSize {
		return &fault.Error{Class: fault.Invalid, Target: "buffer-size", Message: fmt.Sprintf(
			"%d bytes given; allowed: %d to %d", size, MinBufferSize, MaxBufferSize)}
	}
	// A block must hold a packet of the greatest length; few large ones cost
	// the fewest wake-ups.
	const page = 64 << 10 // the largest page size of the systems we run on
	p.blockSize = min(wholeBlock, size/minBlocks/page*page)
	p.blocks = size / p.blockSize
	return nil
}

func (p *Plan) choose(all []netif.Interface, names []string) error {
	switch {
	case len(names) == 0:
		return p.chooseDefault(all)
	case slices.Contains(names, AnyInterface):
		if len(names) > 1 {
			return &fault.Error{Class: fault.Invalid, Target: "interface", Message: fmt.Sprintf(
				"%q already stands for every interface; name either it or single ones", AnyInterface)}
		}
		p.Any = true
		p.Interfaces = slices.DeleteFunc(slices.Clone(all), func(i netif.Interface) bool { return !i.Up })
		return nil
	}
	var missing []string
	for _, name := range names {
		at := slices.IndexFunc(all, func(i netif.Interface) bool { return i.Name == name })
		switch {
		case at < 0:
			missing = append(missing, name)
		case slices.ContainsFunc(p.Interfaces, func(i netif.Interface) bool { return i.Index == all[at].Index }):
			// Named twice is as good as named once.
		default:
			p.Interfaces = append(p.Interfaces, all[at])
		}
	}
	if missing != nil {
		return &fault.Error{Class: fault.NotFound, Target: "interface", Message: fmt.Sprintf("no interface %s on this machine; there are: %s",
			strings.Join(missing, ", "), describe(all))}
	}
	return nil
}

func (p *Plan) chooseDefault(all []netif.Interface) error {
	for _, i := range all {
		if i.Skipped() == "" {
			p.Interfaces = append(p.Interfaces, i)
		}
	}
	if p.Interfaces != nil {
		return nil
	}
	// A machine without a network still has something to look at.
	for _, i := range all {
		if i.Loopback && i.Up {
			p.Interfaces = []netif.Interface{i}
			p.Warnings = append(p.Warnings, "no interface but loopback is up: capturing on "+i.Name)
			return nil
		}
	}
	return &fault.Error{Class: fault.NotFound, Target: "interface", Message: fmt.Sprintf(
		"no interface is up; there are: %s; bring one up or name it with --interface", describe(all))}
}

func describe(all []netif.Interface) string {
	list := make([]string, len(all))
	for i, f := range all {
		list[i] = f.Name
		if why := f.Skipped(); why != "" {
			list[i] += " (" + why + ")"
		}
	}
	return strings.Join(list, ", ")
}

// framing settles the link type of the file and what the filter has to look
// for. One interface keeps its own framing; several share the cooked one,
// which tells them apart.
func (p *Plan) framing() filter.Options {
	p.LinkType = pcapfile.SLL2
	o := filter.Options{Framing: filter.Mixed, SnapLen: p.Config.SnapLen}
	if !p.Any && !slices.ContainsFunc(p.Interfaces, func(i netif.Interface) bool { return !i.HWType.HasMAC() }) {
		o.Framing = filter.Ethernet
	}
	if len(p.Interfaces) == 1 && !p.Any {
		switch i := p.Interfaces[0]; {
		case i.HWType.HasMAC():
			p.LinkType = pcapfile.Ethernet
		case i.HWType.IsRawIP():
			p.LinkType, o.Framing = pcapfile.RawIP, filter.RawIP
		}
		return o
	}
	if !p.Any {
		for _, i := range p.Interfaces {
			o.Interfaces = append(o.Interfaces, uint32(i.Index))
		}
	}
	return o
}

func (p *Plan) compile() error {
	o := p.framing()
	if p.Config.Blob != nil {
		o.Exclude = []filter.Flow{} // room for the upload's own connections
	}
	return p.compileWith(o)
}

func (p *Plan) compileWith(o filter.Options) error {
	var err error
	p.Program, err = p.Config.Filters.Compile(o)
	if err == nil && !p.Program.Exact {
		// What the kernel lets through is judged again here, for which it has
		// to come whole: headers may reach far behind a short snap length.
		o.SnapLen = 0
		p.Program, err = p.Config.Filters.Compile(o)
	}
	p.options = o
	switch {
	case errors.Is(err, filter.ErrTooManyInterfaces):
		return fault.Errorf(fault.Invalid, "%w: name fewer, or %s", err, AnyInterface)
	case err != nil:
		return fault.Errorf(fault.Internal, "%w", err)
	}
	return nil
}

// shrinkFilter makes a shorter program, for a kernel that has no room for this
// one. It is false when there is none.
func (p *Plan) shrinkFilter() bool {
	o := p.options
	size := len(p.Program.Raw)
	o.MaxInstructions = size / 2
	if o.MaxInstructions == 0 || p.compileWith(o) != nil || len(p.Program.Raw) >= size {
		return false
	}
	if !p.Program.Exact && !slices.Contains(p.Warnings, coarseWarning) {
		p.Warnings = append(p.Warnings, coarseWarning)
	}
	return true
}

const coarseWarning = "the filters are too large for one kernel program: the kernel chooses coarsely and pcapctl exactly, which costs more CPU"

func (p *Plan) warn(all []netif.Interface) {
	var own []netip.Addr
	for _, i := range all {
		for _, a := range i.Addresses {
			own = append(own, a.Addr())
		}
	}
	p.Warnings = append(p.Warnings, p.Config.Filters.Warnings(own)...)
	for _, i := range p.Interfaces {
		if !i.Up {
			p.Warnings = append(p.Warnings, fmt.Sprintf("%s is down: nothing is captured on it until it comes up", i.Name))
		}
	}
	if p.Config.MaxBytes == 0 && p.Config.MaxTime == 0 {
		p.Warnings = append(p.Warnings, "neither bytes nor time are limited: the capture ends when it is stopped or the disk is full")
	}
	if !p.Program.Exact {
		p.Warnings = append(p.Warnings, coarseWarning)
	}
}

// CheckFile says whether the capture file could be made as far as that can be
// seen without making it. Only Start knows for sure.
//
// Error classes: Conflict, NotFound.
func (p *Plan) CheckFile() error {
	c := p.Config
	if c.FilePath == "" {
		return nil
	}
	_, path := p.File()
	if _, err := os.Lstat(path); err == nil {
		return createError(c.CapturesDir, &fs.PathError{Op: "create", Path: path, Err: fs.ErrExist})
	}
	if dir := filepath.Dir(path); dir != c.CapturesDir {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return createError(c.CapturesDir, err)
		}
	}
	return nil
}

// FilterMode says who decides which packets are recorded.
func (p *Plan) FilterMode() string {
	if p.Program.Exact {
		return "kernel"
	}
	return "kernel+user"
}

// RingSize is the size of the kernel's packet ring in bytes.
func (p *Plan) RingSize() int { return p.blockSize * p.blocks }

// On names the interfaces, for people.
func (p *Plan) On() string {
	if p.Any {
		return "any interface"
	}
	names := make([]string, len(p.Interfaces))
	for i, f := range p.Interfaces {
		names[i] = f.Name
	}
	return strings.Join(names, ", ")
}

func (p *Plan) ringOptions() ring.Options {
	o := ring.Options{
		Filter: p.Program.Raw, Replaceable: p.Config.Blob != nil, BlockSize: p.blockSize, Blocks: p.blocks, Retire: retireTime,
	}
	if len(p.Interfaces) == 1 && !p.Any {
		o.Interface = p.Interfaces[0].Index
	}
	if p.promiscuous && !p.Any {
		for _, i := range p.Interfaces {
			if !i.Loopback {
				o.Promiscuous = append(o.Promiscuous, i.Index)
			}
		}
	}
	return o
}

// privilege says what to do about a packet socket that may not be opened.
func privilege(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return fault.Errorf(fault.Forbidden, "capturing packets needs the capability CAP_NET_RAW, which this process does not have: "+
			"run pcapctl as root, or grant it once with `sudo setcap cap_net_raw+ep \"$(command -v pcapctl)\"` (%w)", err)
	}
	return fault.Errorf(fault.Internal, "%w", err)
}
