package netif

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/windows"
)

// maxAdapters bounds the answer of GetAdaptersAddresses, in bytes.
const maxAdapters = 16 << 20

// List gives the adapters that TCP/IP is bound to, by index. An adapter below a virtual switch or a team has none, as its master
// carries the addresses, so that no packet passes two of the list unless one tunnels through another.
func List() ([]Interface, error) {
	adapters, err := adapters()
	if err != nil {
		return nil, fmt.Errorf("list the network adapters: %w", os.NewSyscallError("GetAdaptersAddresses", err))
	}
	var list []Interface
	for a := adapters; a != nil; a = a.Next {
		if i := parseAdapter(a); i.Name != "" && i.Index != 0 {
			list = append(list, i)
		}
	}
	slices.SortFunc(list, func(a, b Interface) int { return cmp.Compare(a.Index, b.Index) })
	return list, nil
}

// adapters asks until the answer fits: adapters come at any time. The lists hang in the buffer of the first. What is not needed is
// left out; one flag alone must not be given, GAA_FLAG_INCLUDE_PREFIX, with which Wine 10 fails.
func adapters() (*windows.IpAdapterAddresses, error) {
	const flags = windows.GAA_FLAG_SKIP_ANYCAST | windows.GAA_FLAG_SKIP_MULTICAST | windows.GAA_FLAG_SKIP_DNS_SERVER
	for size := uint32(16 << 10); size <= maxAdapters; {
		buf := make([]uint64, (size+7)/8) // aligned as the structure is
		first := (*windows.IpAdapterAddresses)(unsafe.Pointer(&buf[0]))
		err := windows.GetAdaptersAddresses(windows.AF_UNSPEC, flags, 0, first, &size)
		switch {
		case err == nil:
			return first, nil
		case errors.Is(err, windows.ERROR_NO_DATA), errors.Is(err, windows.ERROR_ADDRESS_NOT_ASSOCIATED):
			return nil, nil // there is none
		case !errors.Is(err, windows.ERROR_BUFFER_OVERFLOW):
			return nil, err
		}
		size += size / 4
	}
	return nil, windows.ERROR_BUFFER_OVERFLOW
}

// The interface types of RFC 7224 (ipifcons.h) whose packets begin with the IP header, as far as Windows has adapters of them.
const (
	ifTypePPP           = 23
	ifTypeLoopback      = 24
	ifTypeVirtual       = 53 // such as WireGuard's
	ifTypeTunnel        = 131
	ifTypeMobile        = 243
	ifTypeMobile2       = 244
	statusUp            = windows.IfOperStatusUp
	ethernetAddressSize = 6
)

func parseAdapter(a *windows.IpAdapterAddresses) Interface {
	i := Interface{
		Name: windows.UTF16PtrToString(a.FriendlyName), GUID: windows.BytePtrToString(a.AdapterName),
		Index: int(cmp.Or(a.IfIndex, a.Ipv6IfIndex)), // the first is 0 where IPv4 is not bound
		// An adapter that is switched off is not in the list. One without a cable, or out of a radio network, is.
		Up: a.OperStatus == statusUp, Running: a.OperStatus == statusUp,
		Loopback: a.IfType == ifTypeLoopback, MTU: int(a.Mtu),
	}
	if about := windows.UTF16PtrToString(a.Description); about != "" && about != i.Name {
		i.AltNames = []string{about}
	}
	if n := a.PhysicalAddressLength; n > 0 && int(n) <= len(a.PhysicalAddress) {
		i.MAC = slices.Clone(a.PhysicalAddress[:n])
	}
	switch {
	case i.Loopback:
		i.HWType = Loopback
	case a.IfType == ifTypePPP, a.IfType == ifTypeVirtual, a.IfType == ifTypeTunnel, a.IfType == ifTypeMobile, a.IfType == ifTypeMobile2,
		len(i.MAC) != ethernetAddressSize:
		i.HWType = None
	default:
		i.HWType = Ethernet // NDIS gives frames of radio networks in its form, too
	}
	for u := a.FirstUnicastAddress; u != nil; u = u.Next {
		addr, ok := netip.AddrFromSlice(u.Address.IP())
		if addr = addr.Unmap(); ok && int(u.OnLinkPrefixLength) <= addr.BitLen() {
			i.Addresses = append(i.Addresses, netip.PrefixFrom(addr, int(u.OnLinkPrefixLength)))
		}
	}
	return i
}
