package netif

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"os"
	"slices"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// List gives all interfaces of the network namespace that the calling thread
// is in, by index.
func List() ([]Interface, error) {
	w, err := Open()
	if err != nil {
		return nil, err
	}
	list, err := w.List()
	return list, errors.Join(err, w.Close())
}

// Watch looks at the interfaces of the network namespace that it was opened
// in. It asks the kernel by rtnetlink(7) and not sysfs, which may show another
// namespace than the one a thread is in.
type Watch struct {
	mu     sync.Mutex // one dump at a time
	query  *socket
	events *socket
}

// Open opens a watch in the network namespace of the calling thread.
func Open() (*Watch, error) {
	events, err := openSocket(unix.RTMGRP_LINK)
	if err != nil {
		return nil, err
	}
	query, err := openSocket(0)
	if err != nil {
		return nil, errors.Join(err, events.file.Close())
	}
	return &Watch{query: query, events: events}, nil
}

// Close ends the watch and a Next that is under way.
func (w *Watch) Close() error {
	return errors.Join(w.events.file.Close(), w.query.file.Close())
}

// List gives all interfaces, by index. Safe for concurrent use.
func (w *Watch) List() ([]Interface, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	links, err := w.query.dump(unix.RTM_GETLINK)
	if err != nil {
		return nil, fmt.Errorf("list the network interfaces: %w", err)
	}
	addrs, err := w.query.dump(unix.RTM_GETADDR)
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

// Next waits for interfaces to change and gives them as they are then, without
// their addresses; removed are those that have gone. The error is ErrMissed
// when there were more changes than the kernel could queue, so that only List
// gives the current state, and os.ErrClosed after Close.
func (w *Watch) Next() (changed, removed []Interface, err error) {
	msgs, err := w.events.receive()
	if errors.Is(err, unix.ENOBUFS) {
		return nil, nil, ErrMissed
	}
	if err != nil {
		return nil, nil, err
	}
	for _, m := range msgs {
		// Bridges send messages of their own family about their ports, a
		// removed port among them, that are not about the interface itself.
		if len(m.Data) == 0 || m.Data[0] != unix.AF_UNSPEC {
			continue
		}
		i, ok := parseLink(m)
		switch {
		case !ok:
		case m.Header.Type == unix.RTM_DELLINK:
			removed = append(removed, i)
		default:
			changed = append(changed, i)
		}
	}
	return changed, removed, nil
}

// socket is a netlink socket that belongs to the runtime's poller, so that
// closing it ends a receive.
type socket struct {
	file *os.File
	conn syscall.RawConn
	buf  []byte
	seq  uint32
}

func openSocket(groups uint32) (*socket, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, os.NewSyscallError("open a netlink socket: socket", err)
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		return nil, errors.Join(os.NewSyscallError("open a netlink socket: bind", err), unix.Close(fd))
	}
	s := &socket{file: os.NewFile(uintptr(fd), "netlink"), buf: make([]byte, 64<<10)}
	if s.conn, err = s.file.SyscallConn(); err != nil {
		return nil, errors.Join(err, s.file.Close())
	}
	return s, nil
}

func (s *socket) receive() ([]syscall.NetlinkMessage, error) {
	var n int
	var err error
	cerr := s.conn.Read(func(fd uintptr) bool {
		for err = unix.EINTR; errors.Is(err, unix.EINTR); {
			n, _, err = unix.Recvfrom(int(fd), s.buf, 0)
		}
		return !errors.Is(err, unix.EAGAIN)
	})
	if cerr != nil {
		// The poller's own error for it has no name outside of the runtime.
		return nil, fmt.Errorf("netlink: %w", os.ErrClosed)
	}
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	// The messages point into a buffer of their own: the next receive must not
	// change them.
	msgs, err := syscall.ParseNetlinkMessage(slices.Clone(s.buf[:n]))
	if err != nil {
		return nil, fmt.Errorf("netlink: %w", err)
	}
	return msgs, nil
}

// dump asks for all objects of a kind. netlink(7), rtnetlink(7).
func (s *socket) dump(kind uint16) ([]syscall.NetlinkMessage, error) {
	// A dump that the kernel marks as interrupted is inconsistent; interfaces
	// come and go only now and then, so it is simply taken again.
	for range 5 {
		msgs, whole, err := s.dumpOnce(kind)
		if whole || err != nil {
			return msgs, err
		}
	}
	return nil, fmt.Errorf("netlink: the list kept changing while it was read: %w", unix.EAGAIN)
}

func (s *socket) dumpOnce(kind uint16) (all []syscall.NetlinkMessage, whole bool, err error) {
	s.seq++
	n := binary.NativeEndian
	req := make([]byte, unix.NLMSG_HDRLEN+unix.SizeofRtGenmsg)
	n.PutUint32(req[0:], uint32(len(req)))
	n.PutUint16(req[4:], kind)
	n.PutUint16(req[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	n.PutUint32(req[8:], s.seq)
	req[unix.NLMSG_HDRLEN] = unix.AF_UNSPEC
	cerr := s.conn.Write(func(fd uintptr) bool {
		for err = unix.EINTR; errors.Is(err, unix.EINTR); {
			err = unix.Sendto(int(fd), req, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		}
		return !errors.Is(err, unix.EAGAIN)
	})
	if err := cmp.Or(cerr, err); err != nil {
		return nil, false, fmt.Errorf("netlink: %w", err)
	}
	whole = true
	for {
		msgs, err := s.receive()
		if err != nil {
			return nil, false, err
		}
		for _, m := range msgs {
			if m.Header.Seq != s.seq {
				continue // of an earlier dump that was given up
			}
			whole = whole && m.Header.Flags&unix.NLM_F_DUMP_INTR == 0
			switch m.Header.Type {
			case unix.NLMSG_DONE:
				return all, whole, nil
			case unix.NLMSG_ERROR:
				return nil, false, fmt.Errorf("netlink: %w", errorOf(m))
			default:
				all = append(all, m)
			}
		}
	}
}

// errorOf reads a struct nlmsgerr, whose first member is a negative errno.
func errorOf(m syscall.NetlinkMessage) error {
	if len(m.Data) < 4 {
		return unix.EINVAL
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
}

// parseLink reads a struct ifinfomsg and its attributes.
func parseLink(m syscall.NetlinkMessage) (Interface, bool) {
	if m.Header.Type != unix.RTM_NEWLINK && m.Header.Type != unix.RTM_DELLINK || len(m.Data) < unix.SizeofIfInfomsg {
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
	link, elsewhere, device := 0, false, ""
	for kind, value := range attributes(m.Data[unix.SizeofIfInfomsg:]) {
		switch {
		case kind == unix.IFLA_IFNAME && len(value) > 1:
			i.Name = string(value[:len(value)-1])
		case kind == unix.IFLA_IFALIAS && len(value) > 1:
			i.Alias = string(value[:len(value)-1])
		case kind == unix.IFLA_MTU && len(value) >= 4:
			i.MTU = int(n.Uint32(value))
		case kind == unix.IFLA_MASTER && len(value) >= 4:
			i.Master = int(n.Uint32(value))
		case kind == unix.IFLA_LINK && len(value) >= 4:
			link = int(n.Uint32(value))
		case kind == unix.IFLA_LINK_NETNSID:
			elsewhere = true // the index is one of another namespace
		case kind == unix.IFLA_LINKINFO:
			device = deviceKind(value)
		case kind == unix.IFLA_PROP_LIST:
			i.AltNames = altNames(value)
		case kind == unix.IFLA_STATS64 && len(value) >= 13*8:
			i.Counters = parseCounters(value)
		}
	}
	switch {
	case elsewhere:
	case device == "veth":
		i.Peer = link
	case slices.Contains(stacked, device):
		i.Lower = link
	}
	return i, i.Name != ""
}

// stacked are the kinds of device whose frames pass the device that IFLA_LINK
// names as they are, but for a VLAN tag. The tunnels have an IFLA_LINK, too, but
// there the packets are within others.
var stacked = []string{"vlan", "macvlan", "macvtap", "ipvlan", "ipvtap"}

// deviceKind reads what kind a device is from IFLA_LINKINFO.
func deviceKind(info []byte) string {
	for kind, value := range attributes(info) {
		if kind == unix.IFLA_INFO_KIND {
			return unix.ByteSliceToString(value)
		}
	}
	return ""
}

// altNames reads the alternative names from IFLA_PROP_LIST.
func altNames(properties []byte) (names []string) {
	for kind, value := range attributes(properties) {
		if kind == unix.IFLA_ALT_IFNAME && len(value) > 1 {
			names = append(names, string(value[:len(value)-1]))
		}
	}
	return names
}

// parseCounters reads a struct rtnl_link_stats64. Its members are counted from 0.
func parseCounters(b []byte) Counters {
	member := func(at int) uint64 {
		if len(b) < at*8+8 {
			return 0 // of a kernel that does not have it yet
		}
		return binary.NativeEndian.Uint64(b[at*8:])
	}
	return Counters{Errors: member(4), Unclaimed: member(6), Missed: member(15), NoHandler: member(23)}
}

// parseAddress reads a struct ifaddrmsg and its attributes.
func parseAddress(m syscall.NetlinkMessage) (index int, prefix netip.Prefix, ok bool) {
	if m.Header.Type != unix.RTM_NEWADDR || len(m.Data) < unix.SizeofIfAddrmsg {
		return 0, netip.Prefix{}, false
	}
	bits := int(m.Data[1])
	index = int(binary.NativeEndian.Uint32(m.Data[4:]))
	var addr netip.Addr
	for kind, value := range attributes(m.Data[unix.SizeofIfAddrmsg:]) {
		// IFA_LOCAL is the interface's own address; on a point-to-point link
		// IFA_ADDRESS is the peer's, and IPv6 knows only IFA_ADDRESS.
		if kind == unix.IFA_LOCAL || kind == unix.IFA_ADDRESS && !addr.IsValid() {
			if v, ok := netip.AddrFromSlice(value); ok {
				addr = v
			}
		}
	}
	return index, netip.PrefixFrom(addr, bits), addr.IsValid()
}

// attributes walks a list of struct rtattr, each followed by its value and
// padded to a multiple of four bytes. rtnetlink(7). (syscall has such a
// walk, but it panics when the last padding is missing.)
func attributes(b []byte) iter.Seq2[uint16, []byte] {
	return func(yield func(uint16, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			size := int(binary.NativeEndian.Uint16(b))
			if size < unix.SizeofRtAttr || size > len(b) {
				return
			}
			// The upper two bits say how the value is laid out (NLA_TYPE_MASK).
			if !yield(binary.NativeEndian.Uint16(b[2:])&0x3fff, b[unix.SizeofRtAttr:size]) {
				return
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}
