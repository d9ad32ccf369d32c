package azblob

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// canReserve says whether ports can be kept from other programs here.
const canReserve = true

// reservation is a second socket that is bound to the port of a connection and
// never connects. While it is open, the kernel chooses the port for no other
// socket: connect(2) passes over ports that somebody has bound explicitly, and
// bind(2) to port 0 over those in use (__inet_hash_connect and
// inet_csk_find_open_port in the kernel). Both sockets set SO_REUSEADDR, which
// lets two that do not listen share a port. socket(7).
type reservation int

func (r reservation) release() { _ = unix.Close(int(r)) }

// dialing is what one call of dial needs besides: nothing here, where each socket gets a port of its own before it connects.
type dialing struct{}

func newDialing(*net.Dialer) (dialing, error) { return dialing{}, nil }

func (dialing) end() {}

// reserve chooses a local port for the socket c, which is about to connect to
// address, and binds it.
func (dialing) reserve(network, address string, c syscall.RawConn) (*connection, error) {
	if !strings.HasPrefix(network, "tcp") {
		return nil, nil
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	family, wildcard := unix.AF_INET, func(port int) unix.Sockaddr { return &unix.SockaddrInet4{Port: port} }
	if network == "tcp6" {
		family, wildcard = unix.AF_INET6, func(port int) unix.Sockaddr { return &unix.SockaddrInet6{Port: port} }
	}
	fd, port, err := bindAny(family, wildcard(0))
	if err != nil {
		return nil, fmt.Errorf("choose a local port: %w", err)
	}
	var bindErr error
	err = c.Control(func(raw uintptr) {
		s := int(raw)
		// Not vital: without it only the traces of a closed connection last longer.
		_ = unix.SetsockoptInt(s, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(userTimeout.Milliseconds()))
		if bindErr = unix.SetsockoptInt(s, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); bindErr == nil {
			bindErr = os.NewSyscallError("bind", unix.Bind(s, wildcard(port)))
		}
	})
	if err == nil {
		err = bindErr
	}
	if err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("choose a local port: %w", err)
	}
	to = netip.AddrPortFrom(to.Addr().Unmap().WithZone(""), to.Port())
	return &connection{Flow: Flow{LocalPort: uint16(port), Remote: to}, port: reservation(fd)}, nil
}

func bindAny(family int, addr unix.Sockaddr) (fd, port int, err error) {
	fd, err = unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return -1, 0, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			_ = unix.Close(fd)
		}
	}()
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return -1, 0, os.NewSyscallError("setsockopt SO_REUSEADDR", err)
	}
	if err := unix.Bind(fd, addr); err != nil {
		return -1, 0, os.NewSyscallError("bind", err)
	}
	name, err := unix.Getsockname(fd)
	if err != nil {
		return -1, 0, os.NewSyscallError("getsockname", err)
	}
	switch name := name.(type) {
	case *unix.SockaddrInet4:
		return fd, name.Port, nil
	case *unix.SockaddrInet6:
		return fd, name.Port, nil
	}
	return -1, 0, os.NewSyscallError("getsockname", unix.EAFNOSUPPORT)
}
