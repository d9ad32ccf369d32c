package hostcontext

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// seen is a socket as the kernel tells it. sock_diag(7).
type seen struct {
	cookie        uint64 // no other socket ever has it
	inode         uint32 // 0 for one that no process has (yet, or any more)
	uid           uint32
	protocol      uint8
	state         uint8
	local, remote netip.AddrPort
}

// States of TCP, by their numbers in the kernel: include/net/tcp_states.h.
var states = [...]string{
	1: "ESTABLISHED", 2: "SYN_SENT", 3: "SYN_RECV", 4: "FIN_WAIT1", 5: "FIN_WAIT2", 6: "TIME_WAIT", 7: "CLOSE", 8: "CLOSE_WAIT", 9: "LAST_ACK",
	10: "LISTEN", 11: "CLOSING", 12: "NEW_SYN_RECV", 13: "BOUND_INACTIVE",
}

const (
	stateTimeWait = 6
	everyState    = ^uint32(0)
)

// stateName is the state in words: "TCP ESTABLISHED".
func stateName(protocol, state uint8) string {
	if protocol == unix.IPPROTO_UDP {
		return "UDP"
	}
	if int(state) < len(states) && states[state] != "" {
		return "TCP " + states[state]
	}
	return "TCP"
}

// Of struct inet_diag_req_v2 and inet_diag_msg, linux/inet_diag.h.
const (
	diagRequest = 56
	diagMessage = 72
	diagID      = 4 // struct inet_diag_sockid
	diagSource  = 8 // of the message
	diagPeer    = 24
	diagCookie  = 44
	diagUID     = 64
	diagInode   = 68
)

// sockets calls see for each socket of TCP and UDP in the namespace that is in one of the
// states.
func (d *dumper) sockets(states uint32, see func(*seen) bool) error {
	var s seen
	for _, protocol := range []uint8{unix.IPPROTO_TCP, unix.IPPROTO_UDP} {
		for _, family := range []uint8{unix.AF_INET, unix.AF_INET6} {
			request := make([]byte, diagRequest)
			request[0], request[1] = family, protocol
			binary.NativeEndian.PutUint32(request[4:], states)
			err := d.dump(unix.SOCK_DIAG_BY_FAMILY, request, func(_ uint16, b []byte) bool {
				return !parseSocket(b, protocol, &s) || see(&s)
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func parseSocket(b []byte, protocol uint8, s *seen) bool {
	if len(b) < diagMessage {
		return false
	}
	n := binary.NativeEndian
	*s = seen{
		cookie: uint64(n.Uint32(b[diagCookie:])) | uint64(n.Uint32(b[diagCookie+4:]))<<32, inode: n.Uint32(b[diagInode:]), uid: n.Uint32(b[diagUID:]),
		protocol: protocol, state: b[1],
	}
	port := binary.BigEndian
	local, remote := addressOf(b[0], b[diagSource:diagPeer]), addressOf(b[0], b[diagPeer:diagPeer+16])
	if !local.IsValid() {
		return false
	}
	s.local = netip.AddrPortFrom(local, port.Uint16(b[diagID:]))
	if p := port.Uint16(b[diagID+2:]); p != 0 {
		s.remote = netip.AddrPortFrom(remote, p)
	}
	return true
}

// addressOf reads an address. IPv4 in a socket of IPv6 is what goes over the wire.
func addressOf(family uint8, b []byte) netip.Addr {
	if family == unix.AF_INET {
		return netip.AddrFrom4([4]byte(b[:4]))
	}
	return netip.AddrFrom16([16]byte(b[:16])).Unmap()
}
