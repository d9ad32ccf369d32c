package npcap

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/netif"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/source"
	"pcapctl/capture/source/live"
	"pcapctl/filter"
)

// Window is within what time packets of several adapters are put in order: one that
// the driver gives later than that is recorded where it comes.
const Window = 250 * time.Millisecond

// driverWait is how long the driver holds packets back, so that not each of them
// wakes a reader; and how long a reader waits for one.
const driverWait = 100 * time.Millisecond

// npcapSource is the source of a capture on adapters.
type npcapSource struct {
	spec     *Spec
	adapters []*adapter
	link     pcapfile.LinkType // of the file
	each     bool              // each adapter has its own link type in the file
	exact    bool              // all programs are
	system   string

	patience time.Duration // how long a reader may take to end
	signal   chan struct{} // the packet loop has reason to look
	timer    *time.Timer   // of Wait

	exclusion atomic.Pointer[exclusions]
	excluded  atomic.Uint64
	uncounted atomic.Bool
	losses    losses

	// Of the packet loop.
	detached bool
	gaps     gapLog
	batch    batch
}

func newSource(s *Spec, adapters []*adapter) *npcapSource {
	n := &npcapSource{spec: s, adapters: adapters, exact: true, patience: patience, signal: make(chan struct{}, 1), timer: time.NewTimer(time.Hour)}
	n.timer.Stop()
	_, n.system = netif.Machine()
	n.link = s.cooked
	if len(adapters) == 1 {
		n.link = adapters[0].link
	}
	n.each = s.perInterface() && len(adapters) > 1
	for _, a := range adapters {
		a.ready = n.Wake
		n.exact = n.exact && a.program.Exact
	}
	n.losses.begin(adapters)
	n.batch = batch{s: n, packet: source.Packet{Timed: true}}
	return n
}

// Open implements source.Source. The adapters have been open since Prepare, with
// a filter that takes nothing.
func (n *npcapSource) Open() error {
	size := n.spec.bufferOf()
	for _, a := range n.adapters {
		a.queue = newQueue(size)
		a.waiting = make([]*buffer, 0, a.queue.total)
	}
	return nil
}

// Start implements source.Source.
func (n *npcapSource) Start() error {
	n.losses.start()
	for _, a := range n.adapters {
		if err := a.start(); err != nil {
			return fault.Errorf(fault.Failed, "start capturing on %s: %w", a.iface.Name, err)
		}
	}
	return nil
}

// Next implements source.Source.
func (n *npcapSource) Next() (source.Batch, error) {
	for {
		n.batch.fetch(time.Now())
		if a := n.batch.choose(); a != nil {
			n.batch.gap = n.gaps.take(a.head.time())
			return &n.batch, nil
		}
		if !n.detached || n.finished() {
			return nil, nil
		}
		if err := n.await(); err != nil { // A reader had no buffer free, and has now.
			return nil, err
		}
	}
}

// finished reports whether everything has been given.
func (n *npcapSource) finished() bool {
	for _, a := range n.adapters {
		if !a.reached || a.current != nil {
			return false
		}
	}
	return true
}

// Wait implements source.Source.
func (n *npcapSource) Wait(d time.Duration) error {
	if at, ok := n.due(); ok {
		left := time.Until(at)
		if left <= 0 {
			return n.gone()
		}
		if d < 0 || left < d {
			d = left
		}
	}
	if d < 0 {
		<-n.signal
		return n.gone()
	}
	n.timer.Reset(d)
	select {
	case <-n.signal:
		n.timer.Stop()
	case <-n.timer.C:
	}
	return n.gone()
}

// due is when Next will give something of what is there now.
func (n *npcapSource) due() (at time.Time, ok bool) {
	earlier := func(t time.Time) {
		if !ok || t.Before(at) {
			at, ok = t, true
		}
	}
	for _, a := range n.adapters {
		if a.queue == nil {
			continue
		}
		if t, some := a.queue.due(); some {
			earlier(t)
		}
		if a.current != nil { // waits for those of other adapters
			earlier(a.current.last.Add(Window))
		}
	}
	return at, ok
}

// gone looks for adapters whose readers have ended by themselves.
func (n *npcapSource) gone() error {
	if n.detached {
		return nil
	}
	lost := 0
	for _, a := range n.adapters {
		if !a.lost.Load() {
			continue
		}
		if lost++; isThere(a.iface) {
			return fault.Errorf(fault.Failed, "capturing on %s: %w", a.iface.Name, a.err)
		}
	}
	if lost == len(n.adapters) {
		return source.ErrGone
	}
	return nil
}

// isThere asks the system whether it still has an adapter.
func isThere(i netif.Interface) bool {
	all, err := netif.List()
	if err != nil {
		return true
	}
	_, found := netif.ByIndex(all, i.Index)
	return found
}

// Wake implements source.Source.
func (n *npcapSource) Wake() {
	select {
	case n.signal <- struct{}{}:
	default:
	}
}

// Detach implements source.Source. What came before is read until the driver has no
// more of it; when all buffers are full, by the Next that follow.
func (n *npcapSource) Detach() error {
	if n.detached {
		return nil
	}
	now := systemTime()
	for _, a := range n.adapters {
		a.detach(now)
	}
	n.detached = true
	n.gaps.look(n.Stats().Dropped, now.UnixNano())
	return n.await()
}

// patience is how long a reader may take to end: the library's function may not come
// back at all.
const patience = 10 * time.Second

// settle is how long the driver holds packets back at the most.
const settle = driverWait + 50*time.Millisecond

// await waits until each reader has ended, or waits for the packet loop.
func (n *npcapSource) await() error {
	begin := time.Now()
	for first := true; ; first = false {
		rest := 0
		for _, a := range n.adapters {
			if a.ended() || a.queue.stalled() {
				continue
			}
			if time.Since(begin) > n.patience && a.read.Load() == a.seen {
				return fault.Errorf(fault.Failed, "end the capture on %s: Npcap does not come back from reading", a.iface.Name)
			}
			a.seen = a.read.Load()
			rest++
			if !first {
				a.handle.wake()
			}
		}
		if rest == 0 {
			return nil
		}
		n.timer.Reset(settle)
		for waiting := true; waiting; {
			select {
			case <-n.signal:
				waiting = n.running()
			case <-n.timer.C:
				waiting = false
			}
		}
		n.timer.Stop()
	}
}

// running reports whether any reader reads.
func (n *npcapSource) running() bool {
	for _, a := range n.adapters {
		if !a.ended() && !a.queue.stalled() {
			return true
		}
	}
	return false
}

// Tail implements source.Source.
func (n *npcapSource) Tail() source.Gap { return n.gaps.rest() }

// Exclude implements source.Source.
func (n *npcapSource) Exclude(flows []filter.Flow) error {
	for now := systemTime(); ; {
		old := n.exclusion.Load()
		if n.exclusion.CompareAndSwap(old, old.replaced(flows, now)) {
			return nil
		}
	}
}

// Stats implements source.Source.
func (n *npcapSource) Stats() source.Stats {
	var st source.Stats
	uncounted := false
	for _, a := range n.adapters {
		received, dropped, counted := a.stats()
		st.Received += received
		st.Dropped += dropped
		uncounted = uncounted || !counted
	}
	n.uncounted.Store(uncounted)
	st.Received -= min(st.Received, n.excluded.Load())
	st.Lost = n.losses.sum()
	return st
}

// Links implements source.Source.
func (n *npcapSource) Links() []source.Link { return n.losses.links() }

// Interfaces implements source.Source.
func (n *npcapSource) Interfaces() int { return len(n.adapters) }

// Describe implements source.Source.
func (n *npcapSource) Describe(id int) source.Interface {
	a := n.adapters[id]
	d := source.Interface{Name: a.iface.Name, Description: a.iface.Alias, Index: a.iface.Index, LinkType: a.link, System: n.system}
	if len(n.adapters) > 1 && !n.each {
		d.LinkType = n.link
	}
	if d.Description == "" {
		d.Description = fmt.Sprintf("interface %d, MTU %d", a.iface.Index, a.iface.MTU)
	}
	return d
}

// Timeline implements source.Source.
func (*npcapSource) Timeline() source.Timeline { return source.RealTime }

// Report implements source.Source.
func (n *npcapSource) Report() source.Report {
	r := n.spec.Report()
	r.LinkType, r.PerInterface, r.Links = n.link, n.each, n.losses.links()
	r.FilterMode = source.FilterKernel
	if !n.exact {
		r.FilterMode = source.FilterCoarse
		if !slices.Contains(n.spec.Warnings(), live.CoarseWarning) {
			r.Warnings = append(r.Warnings, live.CoarseWarning)
		}
	}
	if n.uncounted.Load() {
		r.Warnings = append(r.Warnings, "Npcap does not tell how many packets it has dropped: there may be more than are counted")
	}
	var left, clock, modest []string
	for _, a := range n.adapters {
		if a.lost.Load() {
			left = append(left, a.iface.Name)
		}
		if !a.handle.clock() {
			clock = append(clock, a.iface.Name)
		}
		if a.modest {
			modest = append(modest, a.iface.Name)
		}
	}
	switch {
	case len(left) == 0:
	case len(left) == len(n.adapters):
		r.Absent = source.ErrGone
	default:
		r.Warnings = append(r.Warnings, strings.Join(left, ", ")+" went away during the capture: what came by it later is not recorded")
	}
	if modest != nil {
		r.Warnings = append(r.Warnings, strings.Join(modest, ", ")+" cannot be had to take frames for other stations (promiscuous mode): only those for this machine are captured")
	}
	if clock != nil {
		r.Warnings = append(r.Warnings, "the times of packets of "+strings.Join(clock, ", ")+" are by a clock that is set once only: they may move away from the system's time")
	}
	return r
}

// Close implements source.Source.
func (n *npcapSource) Close() error {
	var errs []error
	for _, a := range n.adapters {
		if !a.close(n.patience) {
			errs = append(errs, fault.Errorf(fault.Internal, "close %s: Npcap does not come back from reading", a.iface.Name))
		}
	}
	n.timer.Stop()
	return errors.Join(errs...)
}

// batch are the packets that were taken together.
type batch struct {
	s      *npcapSource
	now    time.Time
	quiet  bool
	gap    source.Gap // before the first packet
	begun  bool       // a packet was given
	last   *adapter   // whose packet was given last: it is kept until the next is asked for
	packet source.Packet
	prefix [pcapfile.SLL2Len]byte
	match  filter.Packet
}

// fetch begins a batch.
func (b *batch) fetch(now time.Time) {
	b.settle()
	b.now, b.quiet, b.begun, b.gap = now, true, false, source.Gap{}
	if !b.s.detached {
		b.s.gaps.look(b.s.Stats().Dropped, now.UnixNano())
	}
	for _, a := range b.s.adapters {
		if a.queue == nil {
			continue
		}
		a.fetch(now, b.s.detached)
		b.quiet = b.quiet && len(a.waiting) == 0 && (a.current == nil || a.current.size < wakeAt)
	}
}

// settle lets go of the packet that was given last.
func (b *batch) settle() {
	if b.last != nil {
		b.last.advance()
		b.last = nil
	}
}

// choose gives the adapter whose packet comes next; nil when there is none, or an
// earlier one may still come.
func (b *batch) choose() *adapter {
	var next *adapter
	whole := true
	for _, a := range b.s.adapters {
		switch {
		case a.current == nil:
			whole = whole && a.reached
		case next == nil || a.head.time() < next.head.time():
			next = a
		}
	}
	switch {
	case next == nil, whole, b.s.detached, len(b.s.adapters) == 1:
		return next
	case b.now.Sub(next.current.last) >= Window, next.queue.stalled():
		return next
	}
	return nil
}

// Next implements source.Batch.
func (b *batch) Next() *source.Packet {
	for {
		b.settle()
		a := b.choose()
		if a == nil || b.begun && b.s.gaps.due(a.head.time()) {
			return nil // A gap comes first, and it stands between batches.
		}
		b.last = a
		if b.wanted(a) {
			b.begun = true
			b.s.gaps.given(a.head.time())
			b.layOut(a)
			return &b.packet
		}
	}
}

// Gap implements source.Batch.
func (b *batch) Gap() source.Gap { return b.gap }

// Quiet implements source.Batch.
func (b *batch) Quiet() bool { return b.quiet }

// wanted does what the driver's program does not.
func (b *batch) wanted(a *adapter) bool {
	exclusion := b.s.exclusion.Load()
	c := b.s.spec.config
	watch := !c.StopWhen.IsZero()
	if exclusion == nil && a.program.Exact && !a.cut && !watch {
		return true
	}
	b.match = filter.Packet{Data: a.head.data, Framing: a.framing}
	if !a.program.Exact || watch {
		b.match.Direction = a.own.Direction(a.framing, a.head.data)
	}
	if !a.program.Exact && !c.Filters.Match(&b.match) {
		return false
	}
	if exclusion.excludes(&b.match, a.head.time()) {
		b.s.excluded.Add(1)
		return false
	}
	b.packet.Event = watch && c.StopWhen.Match(&b.match)
	if a.cut {
		a.head.data = a.head.data[:b.match.HeaderLength()]
	}
	return true
}
