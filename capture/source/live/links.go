package live

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"pcapctl/capture/netif"
	"pcapctl/capture/source"
)

// linkWatch follows the interfaces of a capture, beside the packet loop: what
// they dropped themselves, and whether they are still there. The kernel tells
// it of changes; an idle capture costs nothing.
type linkWatch struct {
	any   bool
	watch *netif.Watch
	wg    sync.WaitGroup

	mu    sync.Mutex
	links []link
}

type link struct {
	netif.Interface
	base    uint64 // what the interface had dropped when the capture began
	present bool
	downs   int // how often it went down
}

// newLinks knows the interfaces as they were when the capture was planned.
func newLinks(s *Spec) *linkWatch {
	w := &linkWatch{any: s.Any}
	for _, i := range s.Interfaces {
		w.links = append(w.links, link{Interface: i, base: i.Dropped})
	}
	return w
}

// open notes the counters as they stand now, and which interfaces have gone since
// the capture was planned. onGone is called, once, when none of them is left.
func (w *linkWatch) open(onGone func()) error {
	watch, err := netif.Open()
	if err != nil {
		return err
	}
	all, err := watch.List()
	if err != nil {
		return errors.Join(err, watch.Close())
	}
	w.mu.Lock()
	w.watch = watch
	for at := range w.links {
		l := &w.links[at]
		if now := slices.IndexFunc(all, func(n netif.Interface) bool { return n.Index == l.Index }); now >= 0 {
			l.Interface, l.base, l.present = all[now], all[now].Dropped, true
		}
	}
	w.mu.Unlock()
	w.wg.Go(func() { w.follow(onGone) })
	return nil
}

func (w *linkWatch) follow(onGone func()) {
	for !w.gone() {
		changed, removed, err := w.watch.Next()
		switch {
		case errors.Is(err, netif.ErrMissed):
			w.look()
			continue
		case err != nil:
			return
		}
		w.mu.Lock()
		w.update(changed)
		for _, i := range removed {
			w.remove(i)
		}
		w.mu.Unlock()
	}
	onGone()
}

// remove takes the last counters of an interface that has gone: they come with
// the message of its removal, before which it is said to go down.
func (w *linkWatch) remove(i netif.Interface) {
	l := w.find(i.Index)
	if l == nil || !l.present {
		return
	}
	if !l.Up && l.downs > 0 {
		l.downs--
	}
	l.present, l.Dropped = false, i.Dropped
}

// notes tell what happened to the interfaces of a capture that names them.
func (w *linkWatch) notes() (list []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.any {
		return nil
	}
	left := slices.ContainsFunc(w.links, func(l link) bool { return l.present })
	for _, l := range w.links {
		if l.downs > 0 {
			list = append(list, fmt.Sprintf("%s went down during the capture (%d×): nothing was captured on it meanwhile", l.Name, l.downs))
		}
		if !l.present && left {
			list = append(list, l.Name+" was removed during the capture, which went on with the others")
		}
	}
	return list
}

// look brings everything up to date.
func (w *linkWatch) look() {
	w.mu.Lock()
	watch := w.watch
	w.mu.Unlock()
	if watch == nil {
		return // not open yet
	}
	all, err := watch.List()
	if err != nil {
		return // what was known stands
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for at := range w.links {
		w.links[at].present = false
	}
	w.update(all)
}

func (w *linkWatch) update(now []netif.Interface) {
	for _, i := range now {
		switch l := w.find(i.Index); {
		case l != nil:
			if l.Up && !i.Up {
				l.downs++
			}
			l.present, l.Dropped, l.Up = true, i.Dropped, i.Up
		case w.any && i.Up:
			w.links = append(w.links, link{Interface: i, base: i.Dropped, present: true})
		}
	}
}

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

// gone says that none of the interfaces is left. A capture on any interface
// goes on without one.
func (w *linkWatch) gone() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.any && !slices.ContainsFunc(w.links, func(l link) bool { return l.present })
}

// dropped asks the interfaces for their counters.
func (w *linkWatch) dropped() []source.Link {
	w.look()
	w.mu.Lock()
	defer w.mu.Unlock()
	list := make([]source.Link, len(w.links))
	for i, l := range w.links {
		list[i] = source.Link{Name: l.Name, Index: l.Index, Dropped: l.since()}
	}
	return list
}

// total is the sum of dropped, without a list.
func (w *linkWatch) total() (sum uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.links {
		sum += w.links[i].since()
	}
	return sum
}

// since is what the interface has dropped since the capture began. A counter
// that is smaller than it was has been reset by the driver.
func (l *link) since() uint64 {
	if l.Dropped < l.base {
		return 0
	}
	return l.Dropped - l.base
}

func (w *linkWatch) close() error {
	if w.watch == nil {
		return nil
	}
	err := w.watch.Close()
	w.wg.Wait()
	if errors.Is(err, os.ErrClosed) {
		return nil // by an earlier call
	}
	return err
}
