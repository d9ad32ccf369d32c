// Package live is the source of packets that come by this machine's interfaces
// now.
package live

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/netif"
	"pcapctl/capture/pcapfile"
)

// AnyInterface as a name stands for all interfaces, loopback and those that
// appear during the capture included.
const AnyInterface = "any"

// Bounds of the packet ring in bytes, and the retire time: how long a packet may
// stay in a block that does not fill. With it and the write that follows, a
// packet on a quiet link is in the file well within a second.
const (
	DefaultBufferSize = 8 << 20
	MinBufferSize     = 1 << 20
	MaxBufferSize     = 1 << 30
	retireTime        = 250 * time.Millisecond
	streamRetireTime  = 100 * time.Millisecond // somebody watches
	wholeBlock        = 2 << 20
	minBlocks         = 2
)

// Options say which interfaces packets are captured on, and how. They are not
// part of the API's request: the service captures on the VM as a whole.
type Options struct {
	// Interfaces are names, alternative ones included; AnyInterface stands alone.
	// Empty is the default choice: every interface that is up, or comes up while
	// the capture runs, and that netif.Interface.Skipped does not leave out.
	Interfaces []string
	// NoICMPErrors leaves out ICMP errors that quote a packet of the filters.
	NoICMPErrors bool
	// Promiscuous asks for frames that are meant for other stations, too.
	Promiscuous bool
	// Netns is the network namespace to capture in, as netif.In takes it; "" is
	// this process's own.
	Netns string
	// Container is whose that namespace is, in words; "" for no container.
	Container string `json:",omitempty"`
	// EitherEnd is how many of the first filters name a local address that may as
	// well be the remote one: that this machine does not have it is no mistake.
	EitherEnd int `json:",omitempty"`
	// Cooked is the link type of packets that have none of their own, as those of
	// several interfaces in one classic pcap file: pcapfile.SLL2 or pcapfile.SLL;
	// 0 is SLL2.
	Cooked pcapfile.LinkType
	// BufferSize is the size of the kernel's packet ring in bytes, 0 for
	// DefaultBufferSize.
	BufferSize int
}

// CookedLink is the link type that Cooked stands for.
func (o *Options) CookedLink() pcapfile.LinkType {
	if o.Cooked == pcapfile.SLL {
		return pcapfile.SLL
	}
	return pcapfile.SLL2
}

// Buffer is BufferSize within its bounds, with the default filled in.
//
// Error class: Invalid.
func (o *Options) Buffer() (int, error) {
	size := cmp.Or(o.BufferSize, DefaultBufferSize)
	if size < MinBufferSize || size > MaxBufferSize {
		return 0, &fault.Error{Class: fault.Invalid, Target: "buffer-size", Message: fmt.Sprintf(
			"%d bytes given; allowed: %d to %d", size, MinBufferSize, MaxBufferSize)}
	}
	return size, nil
}

// ringSize is the size of a block of the packet ring in bytes, and how many
// there are, for packets of which up to snap bytes are captured.
func (o *Options) ringSize(snap uint32) (block, blocks int, err error) {
	size, err := o.Buffer()
	if err != nil {
		return 0, 0, err
	}
	// A block must hold a packet of the greatest length; few large ones cost
	// the fewest wake-ups.
	const page = 64 << 10 // the largest page size of the systems we run on
	block = min(wholeBlock, size/minBlocks/page*page)
	if need := int(min(snap, pcapfile.MaxPacket)) + page; block < need {
		return 0, 0, &fault.Error{Class: fault.Invalid, Target: "buffer-size", Message: fmt.Sprintf(
			"%d bytes are too few for packets of which up to %d bytes are captured; give at least %d",
			size, min(snap, pcapfile.MaxPacket), minBlocks*((need+page-1)/page*page))}
	}
	return block, size / block, nil
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
	case err == nil, errors.As(err, &known):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return fault.Errorf(fault.NotFound, "%w: name a namespace of `ip netns list`, the path of one, or a process", err)
	case errors.Is(err, fs.ErrPermission):
		return fault.Errorf(fault.Forbidden, "%w: entering another network namespace needs the capability CAP_SYS_ADMIN; run pcapctl as root", err)
	default:
		return fault.Errorf(fault.Internal, "%w", err)
	}
}

// Choose finds the interfaces of the names among all. With "any" it gives those
// that are up, and without names those of the default choice, of which there may be
// none.
//
// Error classes: NotFound, Invalid.
func Choose(all []netif.Interface, names []string) (chosen []netif.Interface, anyInterface bool, err error) {
	if len(names) == 0 {
		return slices.DeleteFunc(slices.Clone(all), func(i netif.Interface) bool { return i.Skipped(all) != "" }), false, nil
	}
	if slices.Contains(names, AnyInterface) {
		if len(names) > 1 {
			return nil, false, &fault.Error{Class: fault.Invalid, Target: "interface", Message: fmt.Sprintf(
				"%q already stands for every interface; name either it or single ones", AnyInterface)}
		}
		return slices.DeleteFunc(slices.Clone(all), func(i netif.Interface) bool { return !i.Up }), true, nil
	}
	var missing []string
	for _, name := range names {
		i, found := netif.Find(all, name)
		switch {
		case !found:
			missing = append(missing, fault.Quote(name))
		case slices.ContainsFunc(chosen, func(have netif.Interface) bool { return have.Index == i.Index }):
			// Named twice is as good as named once.
		default:
			chosen = append(chosen, i)
		}
	}
	if missing != nil {
		return nil, false, &fault.Error{Class: fault.NotFound, Target: "interface", Message: fmt.Sprintf("there is no interface %s; there are: %s",
			strings.Join(missing, ", "), DescribeAll(all))}
	}
	return chosen, false, nil
}

// DescribeAll names all interfaces, and says why some are not captured on by default.
func DescribeAll(all []netif.Interface) string {
	list := make([]string, len(all))
	for i, f := range all {
		list[i] = f.Name
		if len(f.AltNames) > 0 {
			list[i] += " = " + strings.Join(f.AltNames, " = ")
		}
		if why := f.Skipped(all); why != "" {
			list[i] += " (" + why + ")"
		}
	}
	return strings.Join(list, ", ")
}
