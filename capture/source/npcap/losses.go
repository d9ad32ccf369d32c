package npcap

import (
	"sync"

	"pcapctl/capture/netif"
	"pcapctl/capture/source"
)

// losses are what the adapters count by themselves since the start.
type losses struct {
	mu   sync.Mutex
	list []source.Link
	base []netif.Counters
}

func (l *losses) begin(adapters []*adapter) {
	for _, a := range adapters {
		l.list = append(l.list, source.Link{Name: a.iface.Name, Index: a.iface.Index})
		l.base = append(l.base, a.iface.Counters)
	}
}

// start counts from now on.
func (l *losses) start() {
	all, err := netif.List()
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.list {
		if i, found := netif.ByIndex(all, l.list[n].Index); err == nil && found {
			l.base[n] = i.Counters
		}
	}
}

// links asks the system for them. The list is the caller's.
func (l *losses) links() []source.Link {
	all, err := netif.List()
	l.mu.Lock()
	defer l.mu.Unlock()
	for n := range l.list {
		i, found := netif.ByIndex(all, l.list[n].Index)
		if err != nil || !found {
			continue // as they were last
		}
		since := i.Counters.Since(l.base[n])
		l.list[n].Dropped = since.Missed
		l.list[n].Other = source.DriverCounters{Unclaimed: since.Unclaimed, Errors: since.Errors, NoHandler: since.NoHandler}
	}
	return append([]source.Link(nil), l.list...)
}

// sum is how many packets the adapters lost, as last known.
func (l *losses) sum() (n uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, link := range l.list {
		n += link.Dropped
	}
	return n
}
