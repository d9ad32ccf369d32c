package capture

import (
	"slices"
	"strings"
	"sync"
	"time"

	"pcapctl/capture/netif"
)

// linkWatch follows the interfaces of a capture, beside the packet loop: what
// they dropped themselves, and whether they are still there.
type linkWatch struct {
	any  bool
	ask  chan struct{}
	done chan struct{}
	wg   sync.WaitGroup

	mu    sync.Mutex
	links []link
}

type link struct {
	netif.Interface
	base    uint64 // what the interface had dropped when the capture began
	present bool
}

// LinkDrops is what one interface lost before the capture could see it.
type LinkDrops struct {
	Name    string
	Index   int
	Dropped uint64 // packets
}

// watchLinks notes the counters as they stand now. Interfaces of the plan that
// have gone since are found out by the first look.
func watchLinks(p *Plan) (*linkWatch, error) {
	all, err := netif.List()
	if err != nil {
		return nil, err
	}
	w := &linkWatch{any: p.Any, ask: make(chan struct{}, 1), done: make(chan struct{})}
	for _, i := range p.Interfaces {
		l := link{Interface: i, base: i.Dropped, present: true}
		if at := slices.IndexFunc(all, func(n netif.Interface) bool { return n.Index == i.Index }); at >= 0 {
			l.base, l.Dropped = all[at].Dropped, all[at].Dropped
		}
		w.links = append(w.links, l)
	}
	return w, nil
}

// run looks now and then until close, and calls wake when the last interface
// has gone.
func (w *linkWatch) run(wake func()) {
	w.wg.Go(func() {
		tick := time.NewTicker(lookTime)
		defer tick.Stop()
		for {
			select {
			case <-w.done:
				return
			case <-tick.C:
			case <-w.ask:
			}
			w.update()
			if w.gone() != "" {
				wake()
			}
		}
	})
}

// look asks for a look at once. It does not wait for it.
func (w *linkWatch) look() {
	select {
	case w.ask <- struct{}{}:
	default:
	}
}

func (w *linkWatch) close() {
	close(w.done)
	w.wg.Wait()
}

func (w *linkWatch) update() {
	all, err := netif.List()
	if err != nil {
		return // what was known stands until the next look
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for at := range w.links {
		w.links[at].present = false
	}
	for _, i := range all {
		at := slices.IndexFunc(w.links, func(l link) bool { return l.Index == i.Index })
		switch {
		case at >= 0:
			w.links[at].present, w.links[at].Dropped = true, i.Dropped
		case w.any && i.Up:
			w.links = append(w.links, link{Interface: i, base: i.Dropped, present: true})
		}
	}
}

// gone names the interfaces when none of them is left, and is "" otherwise.
// A capture on any interface goes on without one.
func (w *linkWatch) gone() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.any || slices.ContainsFunc(w.links, func(l link) bool { return l.present }) {
		return ""
	}
	names := make([]string, len(w.links))
	for i, l := range w.links {
		names[i] = l.Name
	}
	return strings.Join(names, ", ")
}

// dropped gives the counts of the last look.
func (w *linkWatch) dropped() []LinkDrops {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := make([]LinkDrops, len(w.links))
	for i, l := range w.links {
		list[i] = LinkDrops{Name: l.Name, Index: l.Index}
		// A counter that is smaller than it was has been reset by the driver.
		if l.Interface.Dropped >= l.base {
			list[i].Dropped = l.Interface.Dropped - l.base
		}
	}
	return list
}
