package live

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"time"

	"pcapctl/capture/netif"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/source"
)

// How long an interface that was removed may take to be made anew before the
// capture ends, and how often it is looked whether its namespace is still there.
const (
	comeBackTime   = 5 * time.Second
	namespaceEvery = time.Second
)

// linkWatch follows the interfaces of a capture, beside the packet loop: which
// there are by the rule of the choice, what they counted, and whether they are
// still there. The kernel tells it of changes.
type linkWatch struct {
	choice choice
	holds  func(netif.HWType) bool
	cooked pcapfile.LinkType // of packets that have no link type of their own
	// capture has the socket take the packets of these interfaces and of no others,
	// from when it returns on. joined are those of them that are up and new.
	capture func(members, joined []netif.Interface) error
	wake    func() // ends the packet loop's wait
	watch   *netif.Watch
	wg      sync.WaitGroup
	done    chan struct{}
	closed  sync.Once

	looking sync.Mutex // one after the other: a list of interfaces is used before the next is asked for

	mu    sync.Mutex
	links []link
	// up is what the kernel's messages say of every interface. A list may be newer
	// than messages that wait still, and would have one change counted twice.
	up      map[int]bool
	set     []int // indexes of the members that the socket takes packets of, in order
	failed  []int // a set that the socket could not take
	why     error // and why
	refused []int // indexes of interfaces that could not be taken, which has been told
	events  []string
	lost    time.Time // when the last interface went; zero while there is one
	timer   *time.Timer
	nsGone  bool
}

type link struct {
	netif.Interface
	base    netif.Counters // as they were when the capture of it began
	present bool
	left    bool // was captured, and is not any more
	downs   int  // how often it went down
}

// newLinks knows the interfaces as they were when the capture was planned.
func newLinks(s *Spec) *linkWatch {
	w := &linkWatch{choice: s.newChoice(), holds: s.holds, cooked: s.cooked, done: make(chan struct{})}
	for _, i := range s.Interfaces {
		w.links = append(w.links, link{Interface: i, base: i.Counters})
	}
	for _, i := range s.members {
		w.set = append(w.set, i.Index)
	}
	slices.Sort(w.set)
	return w
}

// open notes the counters as they stand now, and what has changed since the
// capture was planned. wake is called when packets are not to be waited for any
// longer.
func (w *linkWatch) open(ns string, wake func(), capture func(members, joined []netif.Interface) error) error {
	watch, err := netif.Open()
	if err != nil {
		return err
	}
	all, err := watch.List()
	if err != nil {
		return errors.Join(err, watch.Close())
	}
	w.mu.Lock()
	w.watch, w.wake, w.capture = watch, wake, capture
	w.upAsListed(all)
	for at := range w.links {
		l := &w.links[at]
		if now, found := netif.ByIndex(all, l.Index); found {
			l.Interface, l.base, l.present = now, now.Counters, true
		}
	}
	w.update(all)
	w.mu.Unlock()
	w.wg.Go(w.follow)
	if ns, found := netif.FindNamespace(ns); found {
		w.wg.Go(func() { w.followNamespace(ns) })
	}
	return nil
}

func (w *linkWatch) follow() {
	for {
		changed, removed, err := w.watch.Next()
		if err != nil && !errors.Is(err, netif.ErrMissed) {
			return
		}
		// The changes first: an interface that went down and came up again looks as
		// before.
		w.mu.Lock()
		for _, i := range changed {
			w.change(i)
		}
		for _, i := range removed {
			w.remove(i)
		}
		w.mu.Unlock()
		all := w.look()
		if err != nil {
			w.mu.Lock()
			w.upAsListed(all)
			w.mu.Unlock()
		}
	}
}

// upAsListed forgets what the messages said: there were none yet, or some were
// missed.
func (w *linkWatch) upAsListed(all []netif.Interface) {
	if all == nil {
		return
	}
	w.up = make(map[int]bool, len(all))
	for _, i := range all {
		w.up[i.Index] = i.Up
	}
}

// followNamespace hears of the end of the namespace.
func (w *linkWatch) followNamespace(ns *netif.Namespace) {
	tick := time.NewTicker(namespaceEvery)
	defer tick.Stop()
	for {
		select {
		case <-w.done:
			return
		case <-tick.C:
		}
		if ns.Gone() {
			w.mu.Lock()
			w.nsGone = true
			w.mu.Unlock()
			w.wake()
			return
		}
	}
}

// remove takes the last counters of an interface that has gone: they come with
// the message of its removal, before which it is said to go down.
func (w *linkWatch) remove(i netif.Interface) {
	wasUp := w.up[i.Index]
	delete(w.up, i.Index)
	l := w.find(i.Index)
	if l == nil {
		return
	}
	if !l.left && !wasUp && l.downs > 0 {
		l.downs--
	}
	// One that is made anew with the index of this one is another: the kernel has
	// unbound the socket from this one.
	w.set = slices.DeleteFunc(w.set, func(index int) bool { return index == i.Index })
	l.present, l.left, l.Counters = false, true, i.Counters
}

// change takes what a message says of an interface.
func (w *linkWatch) change(i netif.Interface) {
	wasUp := w.up[i.Index]
	w.up[i.Index] = i.Up
	if l := w.find(i.Index); l != nil && wasUp && !i.Up {
		l.downs++
	}
	w.note(i)
}

// note takes what is new of an interface that is known.
func (w *linkWatch) note(i netif.Interface) {
	if l := w.find(i.Index); l != nil {
		l.present, l.Counters, l.Up = true, i.Counters, i.Up
	}
}

// notes tell what happened to the interfaces of a capture that does not take all.
func (w *linkWatch) notes() (list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, every := w.choice.(everyInterface); every {
		return nil
	}
	left := slices.ContainsFunc(w.links, func(l link) bool { return l.present })
	for _, l := range w.links {
		downs := l.downs
		if l.present && !l.Up && w.up[l.Index] { // the message of it waits
			downs++
		}
		if downs > 0 {
			list = append(list, fmt.Sprintf("%s went down during the capture (%d×): nothing was captured on it meanwhile", l.Name, downs))
		}
		switch {
		case !l.present && left:
			list = append(list, l.Name+" was removed during the capture, which went on with the others")
		case !l.present && w.choice.endless():
			list = append(list, l.Name+" was removed during the capture")
		}
	}
	return append(list, w.events...)
}

// tell notes an event for the result. Interfaces may come and go all the time.
func (w *linkWatch) tell(format string, args ...any) {
	const enough = 50
	switch len(w.events) {
	case enough:
	case enough - 1:
		w.events = append(w.events, "more interfaces came, and are not told here")
	default:
		w.events = append(w.events, fmt.Sprintf(format, args...))
	}
}

// look brings everything up to date. It gives all interfaces, or nil when they
// could not be asked for.
func (w *linkWatch) look() (all []netif.Interface) {
	w.looking.Lock()
	defer w.looking.Unlock()
	w.mu.Lock()
	watch := w.watch
	w.mu.Unlock()
	if watch == nil {
		return nil // not open yet
	}
	all, err := watch.List()
	if err != nil {
		return nil // what was known stands
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for at := range w.links {
		w.links[at].present = false
	}
	w.update(all)
	return all
}

// update takes all interfaces as they are now.
func (w *linkWatch) update(all []netif.Interface) {
	for _, i := range all {
		w.note(i)
	}
	w.choose(all)
	switch present := slices.ContainsFunc(w.links, func(l link) bool { return l.present }); {
	case present:
		if w.timer != nil {
			w.timer.Stop()
		}
		w.lost, w.timer = time.Time{}, nil
	case w.lost.IsZero() && !w.choice.endless():
		w.lost, w.timer = time.Now(), time.AfterFunc(comeBackTime, w.wake)
	}
}

// choose has the socket take the packets of the interfaces that are members by
// now.
func (w *linkWatch) choose(all []netif.Interface) {
	members := w.fitting(w.choice.members(all))
	for at := range w.links {
		l := &w.links[at]
		now, there := netif.ByIndex(all, l.Index)
		if there && !l.left && !w.holds(now.HWType) && !w.choice.unfiltered() {
			l.left = true // it has become another kind of device
		}
		if there && !l.left && !slices.ContainsFunc(members, func(m netif.Interface) bool { return m.Index == l.Index }) {
			if l.left = w.choice.leaves(now, all); !l.left {
				members = append(members, now)
			} else {
				w.tell("%s is not captured any more since %s: its packets pass another interface, which is", l.Name, moment())
			}
		}
	}
	var set []int
	var joined []netif.Interface
	for _, m := range members {
		set = append(set, m.Index)
		// One that was named is waited for when it is down, as at the start.
		if l := w.find(m.Index); (m.Up || !w.choice.endless()) && (l == nil || l.left) {
			joined = append(joined, m)
		}
	}
	slices.Sort(set)
	if slices.Equal(set, w.set) && joined == nil {
		return
	}
	if w.failed == nil || !slices.Equal(set, w.failed) {
		w.failed, w.why = nil, w.capture(members, joined)
	}
	if w.why != nil {
		w.failed = set
		for _, i := range joined {
			w.refuse(i, w.why.Error())
		}
		return
	}
	w.set = set
	for _, i := range joined {
		w.join(i)
	}
}

// fitting are the members whose packets the file can hold.
func (w *linkWatch) fitting(members []netif.Interface) []netif.Interface {
	return slices.DeleteFunc(slices.Clone(members), func(i netif.Interface) bool {
		if w.holds(i.HWType) {
			return false
		}
		if i.Up {
			w.refuse(i, "the file has one link type, and that of its packets is another, "+linkOf(i.HWType, w.cooked).String()+"; --format pcapng holds both")
		}
		return true
	})
}

// refuse tells once of an interface that is not captured.
func (w *linkWatch) refuse(i netif.Interface, why string) {
	if !slices.Contains(w.refused, i.Index) {
		w.refused = append(w.refused, i.Index)
		w.tell("%s came up at %s and is not captured: %s", i.Name, moment(), why)
	}
}

// join begins to count an interface.
func (w *linkWatch) join(i netif.Interface) {
	if l := w.find(i.Index); l != nil {
		l.Interface, l.left, l.present = i, false, true
	} else {
		w.links = append(w.links, link{Interface: i, base: i.Counters, present: true})
	}
	if _, every := w.choice.(everyInterface); !every {
		w.tell("%s (index %d) joined the capture at %s", i.Name, i.Index, moment())
	}
}

// moment is now, as it is told.
func moment() string { return time.Now().UTC().Format("2006-01-02T15:04:05.000Z") }

func (w *linkWatch) find(index int) *link {
	for at := range w.links {
		if w.links[at].Index == index {
			return &w.links[at]
		}
	}
	return nil
}

// lookUp is the interface of an index, as it was known last. One that nobody
// has told of yet is asked for.
func (w *linkWatch) lookUp(index int) (netif.Interface, bool) {
	for range 2 {
		w.mu.Lock()
		l := w.find(index)
		if l != nil {
			defer w.mu.Unlock()
			return l.Interface, true
		}
		w.mu.Unlock()
		w.look()
	}
	return netif.Interface{}, false
}

// gone says why there are no more packets to wait for.
func (w *linkWatch) gone() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.nsGone:
		return source.ErrNamespaceGone
	case !w.lost.IsZero() && time.Since(w.lost) >= comeBackTime:
		return source.ErrGone
	}
	return nil
}

// absent is source.Report.Absent.
func (w *linkWatch) absent() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, byDefault := w.choice.(defaultChoice)
	switch {
	case w.nsGone:
		return source.ErrNamespaceGone
	case !w.lost.IsZero():
		return source.ErrGone
	case byDefault && len(w.links) == 0:
		return source.ErrNoInterface
	}
	return nil
}

// linkType is that of the one interface of a file that has a link type for each;
// without one it is the planned one. several says that there are more.
func (w *linkWatch) linkType(planned pcapfile.LinkType) (link pcapfile.LinkType, several bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch len(w.links) {
	case 0:
		return planned, false
	case 1:
		return linkOf(w.links[0].HWType, w.cooked), false
	}
	return planned, true
}

// counted asks the interfaces for their counters.
func (w *linkWatch) counted() []source.Link {
	w.look()
	w.mu.Lock()
	defer w.mu.Unlock()
	list := make([]source.Link, len(w.links))
	for i, l := range w.links {
		n := l.Counters.Since(l.base)
		list[i] = source.Link{
			Name: l.Name, Index: l.Index, Dropped: n.Missed,
			Other: source.DriverCounters{Unclaimed: n.Unclaimed, Errors: n.Errors, NoHandler: n.NoHandler},
		}
	}
	return list
}

// lostPackets is the sum of what the interfaces lost, without a list.
func (w *linkWatch) lostPackets() (sum uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.links {
		sum += w.links[i].Counters.Since(w.links[i].base).Missed
	}
	return sum
}

func (w *linkWatch) close() error {
	w.mu.Lock()
	watch := w.watch
	if w.timer != nil {
		w.timer.Stop()
	}
	w.mu.Unlock()
	if watch == nil {
		return nil
	}
	w.closed.Do(func() { close(w.done) })
	err := watch.Close()
	w.wg.Wait()
	if errors.Is(err, os.ErrClosed) {
		return nil // by an earlier call
	}
	return err
}
