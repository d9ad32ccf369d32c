// Package tpacket reads packets from the Linux kernel through an AF_PACKET socket
// with a TPACKET_V3 ring: memory shared with the kernel, cut into blocks that
// change their owner whole. There is no copy and no system call per packet.
//
// Source of all formats: Documentation/networking/packet_mmap.rst,
// include/uapi/linux/if_packet.h and packet(7).
//
// The order of a capture matters and is the order of the methods:
//
//	Open    socket with protocol 0 (receives nothing), filter, ring
//	Start   bind: from here on every packet passes the filter into the ring
//	Wait, Next, Release   the packet loop
//	Detach  nothing more comes in; what is in the ring stays readable
//	Stats, Close
package tpacket

import (
	"errors"
	"time"

	"golang.org/x/net/bpf"
)

// Options describe a ring.
type Options struct {
	// Interface is the index of the one interface to bind to, or 0 for all of
	// them, those that appear later included. The filter then has to choose.
	Interface int
	// Promiscuous lists the indexes of the interfaces that shall accept frames
	// for other stations as long as the ring is open. The kernel ends it when
	// the socket is closed, however that comes about.
	Promiscuous []int
	// Filter is the classic BPF program that says which packets are copied
	// into the ring and how much of each. It must not be empty.
	Filter []bpf.RawInstruction
	// Replaceable asks for room for a second filter of the same size, which
	// SetFilter needs: the kernel lets go of the old one last.
	Replaceable bool
	// BlockSize is the size of one block in bytes, a multiple of the page
	// size. A packet that does not fit into a block is cut by the kernel, so it
	// must be larger than the snap length.
	BlockSize int
	// Blocks is how many blocks the ring has, at least 2.
	Blocks int
	// Retire is how long the kernel waits for a block to fill before it hands
	// it over part-filled, in whole milliseconds.
	Retire time.Duration
}

// Stats count what the socket saw since it was opened.
type Stats struct {
	// Received is the number of packets that passed the filter, those dropped
	// included.
	Received uint64
	// Dropped is the number of packets that passed the filter and found the
	// ring full.
	Dropped uint64
	// Freezes is how often the ring was found full.
	Freezes uint64
}

// ErrInterfaceDown is returned by Wait when the interface that the ring is
// bound to went down. The kernel binds it again when the interface comes back
// up; whether it still exists is for the caller to find out. packet(7).
var ErrInterfaceDown = errors.New("interface is down")

// ErrFilterTooLarge is returned by Open when the kernel has no room for the
// filter (net.core.optmem_max, about 20 KiB for long, bounds what a socket's
// filter may take). A shorter one may fit.
var ErrFilterTooLarge = errors.New("the kernel has no room for a filter of this size")

// ErrUnsupported is returned by Open on systems other than Linux.
var ErrUnsupported = errors.New("capturing is only supported on Linux in this build")
