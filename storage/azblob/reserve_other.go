//go:build !linux && !windows

package azblob

import (
	"net"
	"syscall"
)

// canReserve is false: this system does not capture while it uploads.
const canReserve = false

type reservation struct{}

func (reservation) release() {}

type dialing struct{}

func newDialing(*net.Dialer) (dialing, error) { return dialing{}, nil }

func (dialing) end() {}

// reserve leaves the choice of the port to the system.
func (dialing) reserve(string, string, syscall.RawConn) (*connection, error) { return nil, nil }
