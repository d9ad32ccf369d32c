package hostcontext

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// dumper asks the kernel for lists by a netlink socket. It belongs to one goroutine, and
// to the network namespace of the thread that opened it. netlink(7).
type dumper struct {
	fd  int
	seq uint32
	buf []byte
}

// dumpPatience is how long the kernel may take for an answer, in seconds.
const dumpPatience = 2

// openDumper opens a socket of a protocol, such as NETLINK_ROUTE.
func openDumper(protocol int) (*dumper, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, os.NewSyscallError("open a netlink socket: socket", err)
	}
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: dumpPatience})
	if err != nil {
		return nil, errors.Join(os.NewSyscallError("setsockopt", err), unix.Close(fd))
	}
	return &dumper{fd: fd, buf: make([]byte, 64<<10)}, nil
}

func (d *dumper) close() { _ = unix.Close(d.fd) }

// errCut means that a list has more entries than are taken.
var errCut = errors.New("the list is longer than what is kept of it")

// dump asks for all objects of a kind, and calls see with the kind and the body of each,
// which are valid during the call. When see returns false, the rest is read and passed
// over, and the error is errCut.
func (d *dumper) dump(kind uint16, request []byte, see func(kind uint16, body []byte) bool) error {
	d.seq++
	n := binary.NativeEndian
	msg := make([]byte, unix.NLMSG_HDRLEN, unix.NLMSG_HDRLEN+len(request))
	n.PutUint32(msg[0:], uint32(unix.NLMSG_HDRLEN+len(request)))
	n.PutUint16(msg[4:], kind)
	n.PutUint16(msg[6:], unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	n.PutUint32(msg[8:], d.seq)
	msg = append(msg, request...)
	if err := unix.Sendto(d.fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return fmt.Errorf("netlink: %w", err)
	}
	cut := false
	for {
		size, _, err := unix.Recvfrom(d.fd, d.buf, 0)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil:
			return fmt.Errorf("netlink: %w", err)
		}
		for b := d.buf[:size]; len(b) >= unix.NLMSG_HDRLEN; {
			length := int(n.Uint32(b))
			if length < unix.NLMSG_HDRLEN || length > len(b) {
				return errors.New("netlink: a message is damaged")
			}
			kind, seq, body := n.Uint16(b[4:]), n.Uint32(b[8:]), b[unix.NLMSG_HDRLEN:length]
			b = b[min(align(length), len(b)):]
			if seq != d.seq {
				continue // of a list before that was not read to its end
			}
			switch kind {
			case unix.NLMSG_DONE:
				if cut {
					return errCut
				}
				return nil
			case unix.NLMSG_ERROR:
				if len(body) >= 4 {
					if code := int32(n.Uint32(body)); code < 0 {
						return fmt.Errorf("netlink: %w", unix.Errno(-code))
					}
				}
				return nil
			}
			if !cut && !see(kind, body) {
				cut = true
			}
		}
	}
}

// attributeKind is the part of an attribute's type that is not flags: NLA_TYPE_MASK.
const attributeKind = 0x3fff

func align(n int) int { return (n + 3) &^ 3 }

// attributes calls see for each attribute of a message. rtnetlink(7).
func attributes(b []byte, see func(kind uint16, value []byte)) {
	const head = 4
	for len(b) >= head {
		length := int(binary.NativeEndian.Uint16(b))
		if length < head || length > len(b) {
			return
		}
		see(binary.NativeEndian.Uint16(b[2:])&attributeKind, b[head:length])
		b = b[min(align(length), len(b)):]
	}
}
