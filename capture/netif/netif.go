// Package netif lists and watches the machine's network interfaces: which there
// are, which of them pcapctl captures on by default, and what they have counted.
// It also enters network namespaces, where there are any.
package netif

import (
	"errors"
	"net/netip"
	"slices"
)

// Interface is one network interface as the kernel describes it at one moment.
type Interface struct {
	Name     string
	Alias    string // the name that the administrator gave it, IFLA_IFALIAS; mostly ""
	GUID     string // of an adapter of Windows, in braces; else ""
	MAC      []byte // on Windows; empty where there is none
	Index    int
	HWType   HWType
	Up       bool // administratively up (IFF_UP)
	Running  bool // has a carrier (IFF_RUNNING)
	Loopback bool
	// AltNames are its alternative names, IFLA_ALT_IFNAME (`ip link property add`); on Windows the description of the device.
	AltNames []string
	Master   int // index of the bridge, bond, team, VRF or synthetic NIC that it is enslaved to, or 0
	// Lower is the index of the interface of this namespace that carries this
	// one's frames, as a VLAN's or a macvlan's does; 0 when there is none, or it is
	// in another namespace.
	Lower int
	// Peer is the index of the other end of a veth pair, when that is in this
	// namespace, too; else 0.
	Peer      int
	MTU       int // bytes
	Addresses []netip.Prefix
	Counters  Counters
}

// Counters are what an interface counted of received packets since it exists.
// Documentation/networking/statistics.rst says what they mean.
type Counters struct {
	// Missed are packets that the device had no room for (rx_missed_errors). They
	// never came to the kernel, and so to no packet socket.
	Missed uint64
	// Unclaimed are rx_dropped: mostly packets that no protocol of this machine
	// took, which the kernel counts after packet sockets have seen them; with some
	// drivers also packets that they threw away before. The two cannot be told
	// apart.
	Unclaimed uint64
	// Errors are bad packets, such as those with a wrong checksum (rx_errors).
	Errors uint64
	// NoHandler are packets of an interface that is not meant to receive, such as
	// the spare port of a bond (rx_nohandler). Packet sockets see them.
	NoHandler uint64
}

// Since is what was counted since before. A counter that is smaller than it was
// has been reset by the driver.
func (c Counters) Since(before Counters) Counters {
	since := func(now, then uint64) uint64 {
		if now < then {
			return 0
		}
		return now - then
	}
	return Counters{
		since(c.Missed, before.Missed), since(c.Unclaimed, before.Unclaimed),
		since(c.Errors, before.Errors), since(c.NoHandler, before.NoHandler),
	}
}

// HWType is the type of a device, ARPHRD_* of include/uapi/linux/if_arp.h.
type HWType uint16

// The types whose framing is known; all others are recorded with a cooked
// header.
const (
	Ethernet   HWType = 1
	RawIP      HWType = 519
	TunnelIPIP HWType = 768
	TunnelIP6  HWType = 769
	Loopback   HWType = 772
	SIT        HWType = 776
	None       HWType = 0xfffe // tun, wireguard
)

// HasMAC says whether frames begin with a MAC header. Those of loopback have
// one, of zeros.
func (t HWType) HasMAC() bool { return t == Ethernet || t == Loopback }

// IsRawIP says whether frames begin with the IP header.
func (t HWType) IsRawIP() bool {
	switch t {
	case None, RawIP, TunnelIPIP, TunnelIP6, SIT:
		return true
	default:
		return false
	}
}

// Is reports whether name is the interface's name or an alternative one. Adapters of Windows have more of them: see Find.
func (i *Interface) Is(name string) bool {
	return i.Name == name || slices.Contains(i.AltNames, name) || i.GUID != "" && i.isAdapter(name)
}

// ByIndex finds an interface among all.
func ByIndex(all []Interface, index int) (Interface, bool) {
	if at := slices.IndexFunc(all, func(i Interface) bool { return i.Index == index }); at >= 0 {
		return all[at], true
	}
	return Interface{}, false
}

// Skipped says why a capture without named interfaces leaves this one out, or
// "" when it takes it. all are the interfaces of its namespace. The packets of an
// enslaved interface pass its master too, and those of one that is stacked on
// another pass that; they would be recorded twice.
func (i *Interface) Skipped(all []Interface) string {
	if !i.Up {
		return "down"
	}
	return i.Unwanted(all)
}

// Unwanted is Skipped for an interface that may be down now: why it would be left
// out if it were up.
func (i *Interface) Unwanted(all []Interface) string {
	if i.Loopback {
		return "loopback"
	}
	if i.Master != 0 {
		return "enslaved to another interface"
	}
	if lower, found := i.CarriedBy(all); found {
		return "its packets pass " + lower.Name
	}
	return ""
}

// CarriedBy is the interface below this one that a capture without named
// interfaces takes, and that sees all that goes through this one. The lowest is
// taken, as it also sees what goes through no interface above it. One that is
// enslaved does not count: what goes to a VLAN on it does not pass its master.
func (i *Interface) CarriedBy(all []Interface) (lowest Interface, found bool) {
	at := *i
	for range all { // a chain of more links than there are interfaces is a circle
		lower, ok := ByIndex(all, at.Lower)
		if at.Lower == 0 || !ok {
			break
		}
		at = lower
		if at.Up && !at.Loopback && at.Master == 0 {
			lowest, found = at, true
		}
	}
	return lowest, found
}

// ErrMissed is returned by Watch.Next when changes were lost.
var ErrMissed = errors.New("changes of interfaces were missed")

// ErrUnsupported is returned by List on systems other than Linux and Windows, and by Open on all but Linux.
var ErrUnsupported = errors.New("listing interfaces is only supported on Linux and Windows in this build")

// ErrNoNamespaces is returned by In for another namespace on systems that have none.
var ErrNoNamespaces = errors.New("only Linux has network namespaces")
