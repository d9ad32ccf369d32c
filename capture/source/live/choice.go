package live

import (
	"fmt"
	"slices"
	"strings"

	"pcapctl/capture/netif"
)

// choice is the rule by which interfaces are captured on, at the start and while
// the capture runs. linkWatch calls it from one goroutine at a time.
type choice interface {
	// members are the interfaces of all that are captured whenever they are up.
	members(all []netif.Interface) []netif.Interface
	// leaves reports whether an interface that is captured is to be captured no
	// more; all are the interfaces as they are now.
	leaves(i netif.Interface, all []netif.Interface) bool
	// endless says that the capture goes on when none of its interfaces is left.
	endless() bool
	// unfiltered says that the filter program does not choose between interfaces.
	unfiltered() bool
}

// everyInterface takes all there are.
type everyInterface struct{}

func (everyInterface) members(all []netif.Interface) []netif.Interface { return all }
func (everyInterface) leaves(netif.Interface, []netif.Interface) bool  { return false }
func (everyInterface) endless() bool                                   { return true }
func (everyInterface) unfiltered() bool                                { return true }

// defaultChoice takes what netif.Interface.Skipped does not leave out. Those that
// are down are members, so that the filter lets their packets through from the
// moment they come up.
type defaultChoice struct{}

func (defaultChoice) members(all []netif.Interface) []netif.Interface {
	return slices.DeleteFunc(slices.Clone(all), func(i netif.Interface) bool { return i.Unwanted(all) != "" })
}

// leaves implements choice: an interface that was put under a master or on top of
// another is captured until that is captured, too.
func (defaultChoice) leaves(i netif.Interface, all []netif.Interface) bool {
	if i.Master != 0 {
		master, found := netif.ByIndex(all, i.Master)
		return found && master.Skipped(all) == ""
	}
	_, carried := i.CarriedBy(all)
	return carried
}

func (defaultChoice) endless() bool    { return true }
func (defaultChoice) unfiltered() bool { return false }

// namedInterfaces takes those of the names. An interface keeps its place when it is
// renamed, and one that is made anew under the name takes it.
type namedInterfaces struct {
	names   []string
	indexes []int // of the interfaces that have the places now
	single  bool  // the socket is bound to the one interface
}

func named(list []netif.Interface, names []string) *namedInterfaces {
	n := &namedInterfaces{names: names, single: len(list) == 1}
	for _, i := range list {
		n.indexes = append(n.indexes, i.Index)
	}
	return n
}

func (n *namedInterfaces) members(all []netif.Interface) (list []netif.Interface) {
	for place, name := range n.names {
		i, found := netif.ByIndex(all, n.indexes[place])
		if !found {
			at := slices.IndexFunc(all, func(i netif.Interface) bool { return i.Is(name) })
			if at < 0 {
				continue
			}
			i = all[at]
			n.indexes[place] = i.Index
		}
		if !slices.ContainsFunc(list, func(have netif.Interface) bool { return have.Index == i.Index }) {
			list = append(list, i)
		}
	}
	return list
}

func (*namedInterfaces) leaves(netif.Interface, []netif.Interface) bool { return false }
func (*namedInterfaces) endless() bool                                  { return false }
func (n *namedInterfaces) unfiltered() bool                             { return n.single }

// newChoice is the rule of the plan, in its first state.
func (s *Spec) newChoice() choice {
	switch {
	case s.Any:
		return everyInterface{}
	case s.names == nil:
		return defaultChoice{}
	}
	return named(s.Interfaces, s.names)
}

// holds reports whether the file can hold packets of a device beside those of the
// others: a pcapng file those of any, a cooked header is for any as well, and else
// it has to be of the file's own kind.
func (s *Spec) holds(t netif.HWType) bool {
	return s.perInterface() || s.LinkType == s.cooked || linkOf(t, s.cooked) == s.LinkType
}

// carried tells of interfaces that the default choice leaves out as their packets
// pass another one that it takes.
func carried(all []netif.Interface) string {
	var list []string
	for _, i := range all {
		if !i.Up || i.Loopback || i.Master != 0 {
			continue
		}
		if lower, found := i.CarriedBy(all); found {
			list = append(list, fmt.Sprintf("%s (on %s)", i.Name, lower.Name))
		}
	}
	if list == nil {
		return ""
	}
	return "left out, as their packets pass the interface below them, which is captured: " + someOf(list) +
		"; what macvlan or ipvlan interfaces send to one another does not, name them with --interface to capture that"
}

// twice tells of interfaces among chosen whose packets pass another one of them,
// and so are recorded more than once.
func twice(chosen []netif.Interface) string {
	var list []string
	for _, i := range chosen {
		for _, other := range []struct {
			index int
			how   string
		}{{i.Lower, "on"}, {i.Master, "in"}, {i.Peer, "and its other end"}} {
			o, found := netif.ByIndex(chosen, other.index)
			if other.index == 0 || !found || other.index == i.Peer && i.Index > i.Peer {
				continue
			}
			list = append(list, i.Name+" "+other.how+" "+o.Name)
		}
	}
	if list == nil {
		return ""
	}
	return "packets that pass several of the interfaces are recorded once for each: " + someOf(list)
}

// someOf joins a list, and counts what is too much to read.
func someOf(list []string) string {
	const enough = 10
	if more := len(list) - enough; more > 0 {
		list = append(slices.Clone(list[:enough]), fmt.Sprintf("and %d more", more))
	}
	return strings.Join(list, ", ")
}
