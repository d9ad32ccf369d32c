//go:build !linux

package azblob

import (
	"net"
	"net/netip"
	"syscall"
)

// canReserve is false: this system does not capture while it uploads.
const canReserve = false

type reservation struct{}

func (reservation) release() {}

// reserve leaves the choice of the port to the system.
func reserve(string, string, syscall.RawConn) (*connection, error) { return nil, nil }

func localPort(net.Conn) uint16 { return 0 }

func remote(net.Conn) netip.AddrPort { return netip.AddrPort{} }
