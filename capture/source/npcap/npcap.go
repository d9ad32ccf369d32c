// Package npcap is the source of packets that come by the adapters of a Windows
// machine now: it captures through Npcap, which the user installs.
//
// wpcap.dll is loaded at the first capture, and about twenty functions of it are
// called; nothing else of pcapctl needs it. Each adapter is opened by itself, has
// its own filter program in the driver, and a goroutine that copies its packets
// into buffers, as wpcap's memory holds a packet only until the next is asked
// for. The packet loop takes the buffers, and merges those of several adapters by
// time.
//
// Facts of Npcap that shape it, all from the sources of Npcap 1.87 and libpcap 1.10:
//
//   - The driver's buffer is emptied and its counters are zeroed when a filter is
//     set. So a filter is set twice only: one that takes nothing when the adapter
//     is opened, and the real one at the start. An upload's own connections are
//     left out in this process (filter.Exclusion).
//   - A filter that the driver refuses is run by libpcap in this process, without a
//     word; package filter makes programs that it does not refuse.
//   - There is nothing that ends a capture and keeps what is in the buffer. So the
//     end is a time: what is later is not taken.
//   - The driver tells no direction; filter.Adapter has the rule.
package npcap

import (
	"errors"
	"time"

	"golang.org/x/net/bpf"
)

// driver is wpcap.dll.
type driver interface {
	// version is what the library says of itself.
	version() string
	// devices are the names of the adapters that it can open.
	devices() ([]string, error)
	// open opens an adapter with a filter that takes nothing.
	open(device string, o openOptions) (handle, error)
}

// openOptions are what an adapter is opened with.
type openOptions struct {
	snapLen     int // bytes of a packet
	buffer      int // bytes of the driver's buffer
	promiscuous bool
	wait        time.Duration // how long next waits for packets, and how long the driver holds them back
}

// handle is an open adapter. One goroutine calls next and nonblocking; the other
// methods may be called by others at the same time, dropped by one at a time, but for
// close, which is the last.
type handle interface {
	linkType() int // DLT_…
	// clock says that times are those of the system's clock, and not of one that was
	// set by it once.
	clock() bool
	setFilter(program []bpf.RawInstruction) error
	// next waits for a packet for as long as the handle was opened for. Under Wine
	// it waits without end. It allocates nothing.
	next(p *rawPacket) (outcome, error)
	// wake ends a next, the one that is under way or else the next one.
	wake()
	// nonblocking has next wait no more.
	nonblocking() error
	// dropped is how many packets passed the filter, since it was set, and found the
	// driver's buffer full, modulo 2^32. How many passed it in all is not asked: Npcap
	// and Wine's library do not count the same. It allocates nothing.
	dropped() (uint32, error)
	close()
}

// outcome is what came of a next.
type outcome uint8

const (
	taken  outcome = iota // a packet
	idle                  // there is none
	woken                 // wake was called
	failed                // with an error
)

// rawPacket is a packet as wpcap gives it. Its data is valid until the next one.
type rawPacket struct {
	sec    uint32 // Unix seconds
	nsec   uint32
	length int // bytes on the wire
	data   []byte
}

func (p *rawPacket) time() int64 { return int64(p.sec)*1e9 + int64(p.nsec) }

// Link types as wpcap tells them, DLT_… of libpcap.
const (
	dltNull     = 0
	dltEthernet = 1
	dltRaw      = 12 // and 14 on OpenBSD
	dltRawIP    = 101
)

// minVersion is the first Npcap whose time stamps can be those of the system's
// clock (pcap_set_tstamp_type), and which has all the functions that are called.
const minVersion = "1.20"

// Errors of wpcap.dll that are not to be mended here.
var (
	// ErrUnsupported is that of systems other than Windows.
	ErrUnsupported = errors.New("capturing through Npcap is for Windows only")
	errMissing     = errors.New("it is not installed")
	errOld         = errors.New("too old")
	errDenied      = errors.New("this process may not capture")
	errNoDevice    = errors.New("there is no such adapter")
)
