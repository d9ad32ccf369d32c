// Package netif knows the machine's network interfaces: which there are, which
// of them pcapctl captures on by default, and what they have counted.
package netif

import (
	"errors"
	"net/netip"
)

// Interface is one network interface as the kernel describes it at one moment.
type Interface struct {
	Name      string
	Index     int
	HWType    uint16 // device type, ARPHRD_* of include/uapi/linux/if_arp.h
	Up        bool   // administratively up (IFF_UP)
	Running   bool   // has a carrier (IFF_RUNNING)
	Loopback  bool
	Master    int // index of the bridge, bond, team, VRF or synthetic NIC that it is enslaved to, or 0
	MTU       int // bytes
	Addresses []netip.Prefix
	// Dropped counts the packets that the device or its driver received and
	// did not hand on, since it exists: rx_dropped and rx_missed_errors of
	// Documentation/networking/statistics.rst, which do not overlap.
	Dropped uint64
}

// Device types, include/uapi/linux/if_arp.h.
const (
	Ethernet   = 1
	TunnelIPIP = 768
	TunnelIP6  = 769
	Loopback   = 772
	SIT        = 776
	IPGRE      = 778
	IP6GRE     = 823
	RawIP      = 519
	None       = 0xfffe // tun, wireguard
)

// HasEthernetHeader says whether frames of the interface begin with a MAC
// header. Loopback has one, of zeros.
func (i Interface) HasEthernetHeader() bool {
	return i.HWType == Ethernet || i.HWType == Loopback
}

// IsRawIP says whether frames of the interface begin with the IP header.
func (i Interface) IsRawIP() bool {
	switch i.HWType {
	case None, RawIP, TunnelIPIP, TunnelIP6, SIT:
		return true
	}
	return false
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

// ErrUnsupported is returned by List on systems other than Linux.
var ErrUnsupported = errors.New("listing interfaces is only supported on Linux in this build")
