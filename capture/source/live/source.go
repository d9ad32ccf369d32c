package live

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/netif"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/source"
	"pcapctl/capture/source/tpacket"
	"pcapctl/filter"
)

// liveSource is the source of a capture on interfaces.
type liveSource struct {
	spec    *Spec
	program *filter.Program // shorter than the spec's where the kernel has no room for that
	ring    *tpacket.Ring
	links   *linkWatch

	uncounted atomic.Bool // the kernel did not tell its counters when it was asked last

	refilter sync.Mutex     // guards options: of the upload and of the interfaces
	options  filter.Options // that the program in the kernel was made with

	// Of the packet loop.
	batch  batch
	failed error // is told when what came before it has been given
	ports  ports
}

func newSource(s *Spec) *liveSource {
	l := &liveSource{spec: s, program: s.Program, options: s.options, links: newLinks(s)}
	l.ports.begin(s, l.links)
	l.batch = batch{s: l, link: s.LinkType, own: s.perInterface(), packet: source.Packet{Timed: true}}
	return l
}

// Open opens the socket, with its filter and its ring, and begins to watch the
// interfaces.
//
// Error classes: NotFound (an interface has gone), Forbidden, Failed (memory or
// descriptors are used up), Internal.
func (l *liveSource) Open() error {
	if err := namespaceError(netif.In(l.spec.netns, l.open)); err != nil {
		return err
	}
	l.links.watchNamespace(l.spec.netns, l.spec.Helper)
	return nil
}

func (l *liveSource) open() (err error) {
	l.ring, err = tpacket.Open(l.spec.ringOptions(l.program))
	for errors.Is(err, tpacket.ErrFilterTooLarge) && l.shrinkFilter() {
		l.ring, err = tpacket.Open(l.spec.ringOptions(l.program))
	}
	if err != nil {
		l.ring = nil
		return l.openError(err)
	}
	if err := l.links.open(l.ring.Wake, l.capture); err != nil {
		return fault.Errorf(fault.Internal, "%w", err)
	}
	return nil
}

// shrinkFilter makes a shorter program, for a kernel that has no room for this
// one. It is false when there is none.
func (l *liveSource) shrinkFilter() bool {
	o := l.options
	size := len(l.program.Raw)
	if o.MaxInstructions = size / 2; o.MaxInstructions == 0 {
		return false
	}
	program, o, err := compile(l.spec.config.Filters, o)
	if err != nil || len(program.Raw) >= size {
		return false
	}
	l.program, l.options = program, o
	return true
}

// openError tells an interface that went away since it was looked up from a
// missing privilege.
func (l *liveSource) openError(err error) error {
	switch {
	case errors.Is(err, syscall.ENODEV), errors.Is(err, syscall.ENXIO):
		return fault.Errorf(fault.NotFound, "start capturing on %s: %w", l.spec.Name(), err)
	case errors.Is(err, syscall.ENOMEM), errors.Is(err, syscall.ENOBUFS):
		return fault.Errorf(fault.Failed, "start capturing on %s: %w: the kernel has no memory for it; set a smaller --buffer-size than %d bytes", l.spec.Name(), err, l.spec.Ring)
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE):
		return fault.Errorf(fault.Failed, "start capturing on %s: %w: raise the limit of open files (ulimit -n)", l.spec.Name(), err)
	}
	return privilegeError(err)
}

// Start binds the socket.
func (l *liveSource) Start() error {
	if err := l.ring.Start(); err != nil {
		return l.openError(err)
	}
	return nil
}

// Next implements source.Source. A batch is a block of the kernel's ring.
func (l *liveSource) Next() (source.Batch, error) {
	if l.failed != nil {
		return nil, l.failed
	}
	block, err := l.ring.Next()
	if err != nil {
		return nil, fault.Errorf(fault.Failed, "%w", err)
	}
	if block == nil {
		return nil, nil
	}
	b := &l.batch
	b.block, b.coarse, b.uncut = block, !l.program.Exact, l.spec.config.Additions.HeadersOnly && !l.program.Cuts
	b.event = !l.spec.config.StopWhen.IsZero()
	b.look = b.coarse || b.uncut || b.event
	return &l.batch, nil
}

// Tail implements source.Source.
func (l *liveSource) Tail() source.Gap {
	return source.Gap{Packets: l.ring.Tail(), After: l.batch.last()}
}

// batch are the packets of a block.
type batch struct {
	s      *liveSource
	block  *tpacket.Block
	look   bool              // packets are looked into here, for one of these:
	coarse bool              // the kernel's program lets too much through
	event  bool              // the packet is looked for that ends the capture
	uncut  bool              // only headers are wanted, and the kernel's program had no room to cut them
	own    bool              // each interface has a link type of its own in the file
	link   pcapfile.LinkType // of every packet, where the file has one
	raw    tpacket.Packet
	packet source.Packet
	prefix [prefixLen]byte
	match  filter.Packet
}

// Next implements source.Batch.
func (b *batch) Next() *source.Packet {
	for {
		ok, err := b.block.Next(&b.raw)
		if err != nil {
			b.s.failed = fault.Errorf(fault.Failed, "%w", err)
			return nil
		}
		if !ok {
			return nil
		}
		if !b.look || b.lookInto() {
			b.layOut()
			return &b.packet
		}
	}
}

// Quiet implements source.Batch: the block came by the kernel's retire timer and
// not because it was full.
func (b *batch) Quiet() bool { return b.block.Idle() }

// Gap implements source.Batch.
func (b *batch) Gap() source.Gap {
	n := b.block.Dropped()
	if n == 0 {
		return source.Gap{}
	}
	g := source.Gap{Packets: n, After: b.last()}
	if sec, nsec, ok := b.block.First(); ok {
		g.Before = time.Unix(int64(sec), int64(nsec))
	}
	return g
}

// last is when the packet was captured that was given last, zero for none.
func (b *batch) last() time.Time {
	if b.raw.Sec == 0 {
		return time.Time{}
	}
	return time.Unix(int64(b.raw.Sec), int64(b.raw.Nsec))
}

// Wait implements source.Source.
func (l *liveSource) Wait(d time.Duration) error {
	err := l.ring.Wait(d)
	gone := l.links.gone()
	switch {
	case gone != nil:
		return gone
	case errors.Is(err, tpacket.ErrInterfaceDown):
		// The kernel binds the socket again when the interface comes back; if
		// it is gone for good, the watch hears of it and wakes us.
		return nil
	case err != nil:
		return fault.Errorf(fault.Failed, "%w", err)
	}
	return nil
}

// Wake implements source.Source.
func (l *liveSource) Wake() { l.ring.Wake() }

// Detach implements source.Source.
func (l *liveSource) Detach() error {
	if err := l.ring.Detach(); err != nil {
		return fault.Errorf(fault.Failed, "%w", err)
	}
	return nil
}

// Exclude implements source.Source.
func (l *liveSource) Exclude(flows []filter.Flow) error {
	if err := l.change(func(o *filter.Options) { o.Exclude = flows }); err != nil {
		return fault.Errorf(fault.Internal, "leave the upload's own connection out of the capture: %w", err)
	}
	return nil
}

// capture is linkWatch.capture.
func (l *liveSource) capture(members, joined []netif.Interface) error {
	switch {
	case l.spec.Any:
		return nil
	case l.spec.bound():
		for _, i := range members { // one, if any
			if err := l.ring.Rebind(i.Index); err != nil {
				return err
			}
		}
	default:
		if err := l.change(func(o *filter.Options) { l.spec.take(o, members) }); err != nil {
			return err
		}
	}
	for _, i := range joined {
		if l.spec.promiscuous && !i.Loopback {
			// Without it the packets of this machine are captured all the same; and
			// the interface may have gone again.
			_ = l.ring.AddPromiscuous(i.Index)
		}
	}
	return nil
}

// change makes the program anew with other options. The kernel exchanges the two at
// once for every packet that comes after.
func (l *liveSource) change(what func(*filter.Options)) error {
	l.refilter.Lock()
	defer l.refilter.Unlock()
	o := l.options
	what(&o)
	program, err := l.spec.config.Filters.Compile(o)
	if err == nil && (program.Exact != l.program.Exact || program.Cuts != l.program.Cuts) {
		err = errNoRoom // Next goes by what the first program was
	}
	if err == nil {
		err = l.ring.SetFilter(program.Raw)
	}
	if err == nil {
		l.options = o
	}
	return err
}

var errNoRoom = errors.New("the filters, the interfaces and the connections to leave out do not fit in one program")

// Stats implements source.Source.
func (l *liveSource) Stats() source.Stats {
	st, err := l.ring.Stats()
	l.uncounted.Store(err != nil)
	return source.Stats{Received: st.Received, Dropped: st.Dropped, Freezes: st.Freezes, Lost: l.links.lostPackets()}
}

// Links implements source.Source.
func (l *liveSource) Links() []source.Link { return l.links.counted() }

// Interfaces implements source.Source.
func (l *liveSource) Interfaces() int { return len(l.spec.Interfaces) }

// Describe implements source.Source.
func (l *liveSource) Describe(id int) source.Interface { return l.ports.list[id].Interface }

// Timeline implements source.Source.
func (*liveSource) Timeline() source.Timeline { return source.RealTime }

// Report implements source.Source.
func (l *liveSource) Report() source.Report {
	r := l.spec.Report()
	r.FilterMode, r.Links = filterMode(l.program), l.links.counted()
	if l.spec.perInterface() && !l.spec.Any {
		r.LinkType, r.PerInterface = l.links.linkType(r.LinkType)
	}
	r.Absent = l.links.absent()
	r.Warnings = l.links.notes()
	if l.uncounted.Load() {
		r.Warnings = append(r.Warnings, "the kernel does not tell how many packets it has dropped: there may be more than are counted")
	}
	if !l.program.Exact && !slices.Contains(l.spec.warnings, CoarseWarning) {
		r.Warnings = append(r.Warnings, CoarseWarning)
	}
	return r
}

// Close implements source.Source.
func (l *liveSource) Close() error {
	errs := []error{l.links.close()}
	if l.ring != nil {
		errs = append(errs, l.ring.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fault.Errorf(fault.Internal, "close the sockets: %w", err)
	}
	return nil
}

// ports are the interfaces of a pcapng file, which numbers them. They belong to
// the packet loop.
type ports struct {
	links  *linkWatch
	system string
	cooked pcapfile.LinkType
	list   []port
	byKey  map[portKey]int
	last   portKey // of the packet before
	id     int
}

// portKey tells interfaces apart. One that is made anew may get the index of one
// that is gone, and be another kind of device.
type portKey struct {
	index  int
	hwType netif.HWType
}

type port struct {
	portKey
	source.Interface
}

func (p *ports) begin(s *Spec, links *linkWatch) {
	p.links, p.byKey, p.cooked = links, map[portKey]int{}, s.cooked
	_, p.system = netif.Machine()
	for _, i := range s.Interfaces {
		p.add(i)
	}
	if len(p.list) > 0 {
		p.last = p.list[0].portKey
	}
}

func (p *ports) add(i netif.Interface) {
	key := portKey{i.Index, i.HWType}
	d := source.Interface{Name: i.Name, Description: i.Alias, Index: i.Index, LinkType: linkOf(i.HWType, p.cooked), System: p.system}
	if d.Description == "" {
		d.Description = fmt.Sprintf("interface %d, MTU %d", i.Index, i.MTU)
	}
	p.byKey[key] = len(p.list)
	p.list = append(p.list, port{key, d})
}

// of is the number of a packet's interface, and the link type that it has in
// the file.
func (p *ports) of(raw *tpacket.Packet) (id int, link pcapfile.LinkType) {
	if key := (portKey{raw.Interface, netif.HWType(raw.HWType)}); key != p.last || len(p.list) == 0 {
		p.turnTo(key)
	}
	return p.id, p.list[p.id].LinkType
}

func (p *ports) turnTo(key portKey) {
	p.last = key
	if _, known := p.byKey[key]; !known {
		i, found := p.links.lookUp(key.index)
		if !found {
			i = netif.Interface{Name: fmt.Sprintf("if%d", key.index)}
		}
		i.Index, i.HWType = key.index, key.hwType
		p.add(i)
	}
	p.id = p.byKey[key]
}

// linkOf is the link type that packets of a device have by themselves; those
// of a kind that is not known get a cooked header.
func linkOf(t netif.HWType, cooked pcapfile.LinkType) pcapfile.LinkType {
	switch {
	case t.HasMAC():
		return pcapfile.Ethernet
	case t.IsRawIP():
		return pcapfile.RawIP
	}
	return cooked
}
