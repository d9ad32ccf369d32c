// Package netif lists and watches the machine's network interfaces: which there
// are, which of them pcapctl captures on by default, and what they have counted.
// It also enters network namespaces.
package netif

import (
	"errors"
	"net/netip"
)

// Interface is one network interface as the kernel describes it at one moment.
type Interface struct {
	Name      string
	Alias     string // the name that the administrator gave it, IFLA_IFALIAS; mostly ""
	Index     int
	HWType    HWType
	Up        bool // administratively up (IFF_UP)
	Running   bool // has a carrier (IFF_RUNNING)
	Loopback  bool
	Master    int // index of the bridge, bond, team, VRF or synthetic NIC that it is enslaved to, or 0
	MTU       int // bytes
	Addresses []netip.Prefix
	// Dropped counts the packets that the device or its driver received and
	// did not pass on, since it exists: rx_dropped and rx_missed_errors of
	// Documentation/networking/statistics.rst, which do not overlap.
	Dropped uint64
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

// Skipped says why a capture without named interfaces leaves this one out, or
// "" when it takes it. The packets of an enslaved interface pass its master
// too and would be recorded twice.
func (i Interface) Skipped() string {
	switch {
	case !i.Up:
		return "down"
	case i.Loopback:
		return "loopback"
	case i.Master != 0:
		return "enslaved to another interface"
	}
	return ""
}

// ErrMissed is returned by Watch.Next when changes were lost.
var ErrMissed = errors.New("changes of interfaces were missed")

// ErrUnsupported is returned by List on systems other than Linux.
var ErrUnsupported = errors.New("listing interfaces is only supported on Linux in this build")
