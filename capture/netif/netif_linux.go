package netif

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"syscall"

	"golang.org/x/sys/unix"
)

// List gives all interfaces of the process's network namespace, by index.
// It asks the kernel by rtnetlink(7) and not sysfs, which may show another
// namespace than the one the process is in.
func List() ([]Interface, error) {
	links, err := dump(unix.RTM_GETLINK)
	if err != nil {
		return nil, fmt.Errorf("list the network interfaces: %w", err)
	}
	addrs, err := dump(unix.RTM_GETADDR)
	if err != nil {
		return nil, fmt.Errorf("list the network addresses: %w", err)
	}
	var list []Interface
	byIndex := map[int]int{}
	for _, m := range links {
		if i, ok := parseLink(m); ok {
			byIndex[i.Index] = len(list)
			list = append(list, i)
		}
	}
	for _, m := range addrs {
		index, prefix, ok := parseAddress(m)
		if at, known := byIndex[index]; ok && known {
			list[at].Addresses = append(list[at].Addresses, prefix)
		}
	}
	slices.SortFunc(list, func(a, b Interface) int { return cmp.Compare(a.Index, b.Index) })
	return list, nil
}

func dump(request int) ([]syscall.NetlinkMessage, error) {
	// A dump that the kernel marks as interrupted is inconsistent; interfaces
	// come and go only now and then, so it is simply taken again.
	for range 5 {
		raw, err := syscall.NetlinkRIB(request, syscall.AF_UNSPEC)
		if err != nil {
			return nil, fmt.Errorf("netlink: %w", err)
		}
		msgs, err := syscall.ParseNetlinkMessage(raw)
		if err != nil {
			return nil, fmt.Errorf("netlink: %w", err)
		}
		if !slices.ContainsFunc(msgs, func(m syscall.NetlinkMessage) bool { return m.Header.Flags&unix.NLM_F_DUMP_INTR != 0 }) {
			return msgs, nil
		}
	}
	return nil, fmt.Errorf("netlink: the list kept changing while it was read: %w", unix.EAGAIN)
}

// parseLink reads a struct ifinfomsg and its attributes.
func parseLink(m syscall.NetlinkMessage) (Interface, bool) {
	if m.Header.Type != unix.RTM_NEWLINK || len(m.Data) < unix.SizeofIfInfomsg {
		return Interface{}, false
	}
	n := binary.NativeEndian
	flags := n.Uint32(m.Data[8:])
	i := Interface{
		HWType:   HWType(n.Uint16(m.Data[2:])),
		Index:    int(int32(n.Uint32(m.Data[4:]))),
		Up:       flags&unix.IFF_UP != 0,
		Running:  flags&unix.IFF_RUNNING != 0,
		Loopback: flags&unix.IFF_LOOPBACK != 0,
	}
	attrs, err := syscall.ParseNetlinkRouteAttr(&m)
	if err != nil {
		return Interface{}, false
	}
	for _, a := range attrs {
		switch {
		case a.Attr.Type == unix.IFLA_IFNAME && len(a.Value) > 1:
			i.Name = string(a.Value[:len(a.Value)-1])
		case a.Attr.Type == unix.IFLA_MTU && len(a.Value) >= 4:
			i.MTU = int(n.Uint32(a.Value))
		case a.Attr.Type == unix.IFLA_MASTER && len(a.Value) >= 4:
			i.Master = int(n.Uint32(a.Value))
		case a.Attr.Type == unix.IFLA_STATS64 && len(a.Value) >= 13*8:
			// struct rtnl_link_stats64: rx_dropped is member 6 and
			// rx_missed_errors member 12, counted from 0.
			i.Dropped = n.Uint64(a.Value[6*8:]) + n.Uint64(a.Value[12*8:])
		}
	}
	return i, i.Name != ""
}

// parseAddress reads a struct ifaddrmsg and its attributes.
func parseAddress(m syscall.NetlinkMessage) (index int, prefix netip.Prefix, ok bool) {
	if m.Header.Type != unix.RTM_NEWADDR || len(m.Data) < unix.SizeofIfAddrmsg {
		return 0, netip.Prefix{}, false
	}
	bits := int(m.Data[1])
	index = int(binary.NativeEndian.Uint32(m.Data[4:]))
	attrs, err := syscall.ParseNetlinkRouteAttr(&m)
	if err != nil {
		return 0, netip.Prefix{}, false
	}
	var addr netip.Addr
	for _, a := range attrs {
		// IFA_LOCAL is the interface's own address; on a point-to-point link
		// IFA_ADDRESS is the peer's, and IPv6 knows only IFA_ADDRESS.
		if a.Attr.Type == unix.IFA_LOCAL || a.Attr.Type == unix.IFA_ADDRESS && !addr.IsValid() {
			if v, ok := netip.AddrFromSlice(a.Value); ok {
				addr = v
			}
		}
	}
	return index, netip.PrefixFrom(addr, bits), addr.IsValid()
}
