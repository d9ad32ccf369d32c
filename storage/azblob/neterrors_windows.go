package azblob

import (
	"errors"

	"golang.org/x/sys/windows"
)

// The errors of sockets have numbers of their own on Windows: ECONNREFUSED and the like are none that a call gives.

func isRefused(err error) bool { return errors.Is(err, windows.WSAECONNREFUSED) }

func isUnreachable(err error) bool {
	return errors.Is(err, windows.WSAENETUNREACH) || errors.Is(err, windows.WSAEHOSTUNREACH)
}

func isCut(err error) bool {
	return errors.Is(err, windows.WSAECONNRESET) || errors.Is(err, windows.WSAECONNABORTED) || errors.Is(err, windows.ERROR_NETNAME_DELETED)
}
