package azblob

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/windows"
)

// canReserve says whether ports can be kept from other programs here.
const canReserve = true

// heldPort is a socket that is bound to a port and never connects. While it is open, Windows chooses the port for no other
// socket. Those of the connections set SO_REUSEADDR, which lets them bind a port that another one has.
type heldPort struct {
	socket windows.Handle
	number uint16
	users  atomic.Int32
}

// reservation is a share in a port: the flow of each address that is tried has one, and the call of dial.
type reservation struct{ port *heldPort }

func (r reservation) release() {
	if r.port.users.Add(-1) == 0 {
		_ = windows.Closesocket(r.port.socket)
	}
}

// dialing is one call of dial. Its sockets have one port: package net binds a socket of Windows itself before it connects, to
// the address of the Dialer, and fails when Control has bound it (net/fd_windows.go, ConnectEx).
type dialing struct{ held reservation }

func newDialing(d *net.Dialer) (dialing, error) {
	// Of both families where there are both.
	socket, number, err := bindAny(windows.AF_INET6, &windows.SockaddrInet6{})
	if err != nil {
		socket, number, err = bindAny(windows.AF_INET, &windows.SockaddrInet4{})
	}
	if err != nil {
		return dialing{}, fmt.Errorf("choose a local port: %w", err)
	}
	held := &heldPort{socket: socket, number: number}
	held.users.Store(1)
	d.LocalAddr = &net.TCPAddr{Port: int(number)}
	return dialing{reservation{held}}, nil
}

func (d dialing) end() { d.held.release() }

// reserve makes the flow of the socket c, which is about to be bound and to connect to address.
func (d dialing) reserve(network, address string, c syscall.RawConn) (*connection, error) {
	if !strings.HasPrefix(network, "tcp") {
		return nil, nil
	}
	to, err := netip.ParseAddrPort(address)
	if err != nil {
		return nil, err
	}
	var optErr error
	err = c.Control(func(raw uintptr) {
		optErr = windows.SetsockoptInt(windows.Handle(raw), windows.SOL_SOCKET, windows.SO_REUSEADDR, 1)
	})
	if err == nil {
		err = optErr
	}
	if err != nil {
		return nil, fmt.Errorf("share the local port: %w", err)
	}
	d.held.port.users.Add(1)
	to = netip.AddrPortFrom(to.Addr().Unmap().WithZone(""), to.Port())
	return &connection{Flow: Flow{LocalPort: d.held.port.number, Remote: to}, port: d.held}, nil
}

func bindAny(family int, addr windows.Sockaddr) (socket windows.Handle, port uint16, err error) {
	socket, err = windows.WSASocket(int32(family), windows.SOCK_STREAM, windows.IPPROTO_TCP, nil, 0, windows.WSA_FLAG_OVERLAPPED|windows.WSA_FLAG_NO_HANDLE_INHERIT)
	if err != nil {
		return 0, 0, os.NewSyscallError("socket", err)
	}
	defer func() {
		if err != nil {
			_ = windows.Closesocket(socket)
		}
	}()
	if family == windows.AF_INET6 {
		if err := windows.SetsockoptInt(socket, windows.IPPROTO_IPV6, windows.IPV6_V6ONLY, 0); err != nil {
			return 0, 0, os.NewSyscallError("setsockopt IPV6_V6ONLY", err)
		}
	}
	if err := windows.Bind(socket, addr); err != nil {
		return 0, 0, os.NewSyscallError("bind", err)
	}
	// Behind the bind: with it before, Windows might choose a port that is in use. Wine's Linux wants it of both sockets.
	if err := windows.SetsockoptInt(socket, windows.SOL_SOCKET, windows.SO_REUSEADDR, 1); err != nil {
		return 0, 0, os.NewSyscallError("setsockopt SO_REUSEADDR", err)
	}
	name, err := windows.Getsockname(socket)
	if err != nil {
		return 0, 0, os.NewSyscallError("getsockname", err)
	}
	switch name := name.(type) {
	case *windows.SockaddrInet4:
		return socket, uint16(name.Port), nil
	case *windows.SockaddrInet6:
		return socket, uint16(name.Port), nil
	}
	return 0, 0, os.NewSyscallError("getsockname", windows.WSAEAFNOSUPPORT)
}
