// Package source says where packets come from: one contract for the interfaces
// of this machine and for a capture file that is read.
//
// A [Spec] is a source as planned: plain data, nothing is open. [Spec.Prepare]
// makes a [Source] of it. Package sourcetest holds every implementation to the
// contract.
package source

import (
	"errors"
	"time"

	"pcapctl/capture/pcapfile"
	"pcapctl/filter"
)

// Packet is one packet that matches the filters of the source, laid out for a
// file. It is valid until the next packet of its batch is asked for.
type Packet struct {
	Sec  int64  // time of capture, seconds since 1970
	Nsec uint32 // and nanoseconds, below 1e9
	// Flags are those of the pcapng option epb_flags: the direction, and how the
	// packet was received. 0 says nothing.
	Flags uint32
	// Interface is the number of the interface, for Describe.
	Interface int
	Length    int // bytes on the wire, those of Prefix included
	// Prefix comes before Data: a VLAN tag that is put back, or a cooked header.
	Prefix []byte
	Data   []byte
	// Headers is how many bytes of Data are recorded of a packet with a Block, of which only headers are wanted; else 0.
	Headers int
	// Timed is false when the source has no time for the packet.
	Timed bool
	// Apart says that this is not a packet but another block, of a BlockSource. It
	// counts as nothing.
	Apart bool
	// Event says that this is a packet that the capture was told to end at.
	Event bool
	// Number counts the packets of a file from 1 on, those that do not match
	// included. It is 0 on interfaces. That of a block apart is of the packet that
	// comes behind it.
	Number uint64
	// Block is the whole block that the packet stands in, or, of one Apart, the
	// block, of a BlockSource. It is nil otherwise.
	Block []byte
}

// Batch is a number of packets that a source hands over together. Between the
// packets of one batch nobody needs to look at the clock or to tell counters.
//
// The packets are made one by one, as they are asked for: each is in memory that
// has just been read, so that the code that copies it finds it in the processor's cache.
type Batch interface {
	// Next gives the next packet, nil behind the last. It does not wait, and
	// allocates nothing.
	Next() *Packet
	// Quiet says that the traffic is slow: this is a good moment to write what
	// is held in memory, as somebody may be watching the file grow.
	Quiet() bool
	// Gap is what was lost between the batch before and this one. It is asked for before Next.
	Gap() Gap
}

// Gap is where packets were lost: they passed the filter of the source and found no room. The zero Gap is none.
type Gap struct {
	Packets uint64
	// After is when the last packet before them was captured, and Before the first one behind them; zero where there is
	// none.
	After, Before time.Time
}

// Timeline says by which clock a time limit is measured.
type Timeline uint8

// The timelines.
const (
	RealTime   Timeline = iota // packets are captured now
	PacketTime                 // packets were captured earlier; their own times count, from the first one on
)

// Interface describes an interface for the file that its packets are written
// to.
type Interface struct {
	Name, Description string
	Index             int // of this machine, 0 for an interface of a file
	LinkType          pcapfile.LinkType
	System            string // the operating system that captured, if it is known
}

// Link is what one interface counted since it is captured on.
type Link struct {
	Name    string
	Index   int
	Dropped uint64 // packets lost before the capture could see them, for sure
	Other   DriverCounters
}

// DriverCounters are what else an interface counted. None of them tells whether
// the capture saw the packets. Documentation/networking/statistics.rst of the
// kernel.
type DriverCounters struct {
	Unclaimed uint64 // rx_dropped: mostly what no protocol took, which the capture saw
	Errors    uint64 // rx_errors: bad packets
	NoHandler uint64 // rx_nohandler: of an interface that is not meant to receive
}

// Stats count since Start.
type Stats struct {
	// Received is the number of packets that passed the filter of the source,
	// those dropped included. Where the kernel filters coarsely, that is more than
	// what matches.
	Received uint64
	Dropped  uint64 // passed the filter and found the ring full
	Freezes  uint64 // how often the ring was found full
	Lost     uint64 // packets that the interfaces lost, as last known
	// Of a file that is read: packets looked at, and bytes.
	Seen uint64
	Read int64
}

// Filter modes: who decides which packets are recorded.
const (
	FilterKernel = "kernel"      // the kernel's filter program
	FilterCoarse = "kernel+user" // the program lets more through, pcapctl looks again
	FilterUser   = "user"        // pcapctl alone
)

// Report is what a source says of itself in a result.
type Report struct {
	LinkType   pcapfile.LinkType
	FilterMode string
	// PerInterface says that in a pcapng file each interface has its own link
	// type.
	PerInterface bool
	Links        []Link
	Warnings     []string // what went wrong without harm to the packets
	File         File     // zero for interfaces
	Container    string   // whose interfaces they are, in words; "" for no container
	// Absent says why there was nothing to capture on, at the end or at any time:
	// ErrGone, ErrNamespaceGone or ErrNoInterface; else nil.
	Absent error
}

// File is what is known of a file that packets are read from.
type File struct {
	Path   string // as it was given, "-" for standard input
	Format string // in words, such as "pcap, little-endian, microseconds"
	Size   int64  // bytes there are to read, -1 when that is not known, as with a pipe
}

// Spec is a source as planned. It is never changed, and holds nothing open.
type Spec interface {
	// Name is the source for people: its interfaces, or its file.
	Name() string
	// Report is what is known before anything is opened.
	Report() Report
	// Warnings are sentences about what is allowed and probably not meant.
	Warnings() []string
	// Prepare finds what the source must be refused for, before anything is
	// made: a missing privilege, a file that is not a capture. It changes
	// nothing. The source must be closed.
	//
	// It calls reading when it has open what somebody else may have written, before
	// it reads a byte of that; an error of reading is Prepare's. A source that reads
	// nothing before it is started does not call it.
	//
	// Errors are *fault.Error.
	Prepare(reading func() error) (Source, error)
	// Reads reports whether path names the very file that packets are read from.
	Reads(path string) bool
}

// Source gives packets. One goroutine calls its methods, in this order:
//
//	Open, Start, Next and Wait again and again, Detach, Next until it is empty, Tail, Close
//
// Wake, Exclude, Stats, Links, Describe and Report may be called from other
// goroutines, too. Errors are *fault.Error, but for those named here.
type Source interface {
	// Open opens everything that packets come from. None is captured yet.
	Open() error
	// Start begins. From when it returns on, every packet that matches comes in,
	// or is counted as dropped; and none that does not match ever does.
	Start() error
	// Next gives the packets that are there, and nil when there are none at the
	// moment. The batch before is given back by that. It does not wait, and allocates
	// nothing. The error is io.EOF when there will be no more packets, ErrEventOver, and ErrLate
	// when the packets' own times have passed the time limit.
	Next() (Batch, error)
	// Wait returns when there are packets, when Wake was called, or after d; a d
	// below zero waits without end. It may return early. The error is ErrGone when
	// all that packets came from has gone and did not come back within a few
	// seconds, and ErrNamespaceGone when it was deleted as a whole.
	Wait(d time.Duration) error
	// Wake ends a Wait, the one that is under way or else the next one.
	Wake()
	// Detach ends the capture. When it returns, nothing more comes in, and Next
	// gives all that did, without waiting, and then nothing for good.
	Detach() error
	// Exclude leaves out the packets of the flows, and of no others, from now on;
	// flows that were excluded before count no more. Sources that do not see this
	// machine's own traffic do nothing.
	Exclude(flows []filter.Flow) error
	// Tail is what was lost behind the last packet, when Next has given all that there were after Detach.
	Tail() Gap
	// Stats are the counters as they stand. After Close they are the last.
	Stats() Stats
	// Links asks the interfaces for what they counted. It is empty where there are
	// none. The list is the caller's to keep.
	Links() []Link
	// Describe describes the interface of a number that a packet has, or, before
	// the first packet, one of those known from the start, 0 to Interfaces()-1.
	Describe(id int) Interface
	// Interfaces is how many interfaces are known from the start.
	Interfaces() int
	// Timeline says by which clock a time limit goes.
	Timeline() Timeline
	// Report is what the source says of itself in the end.
	Report() Report
	// Close ends the source. It may be called at any time, and again.
	Close() error
}

// BlockSource is a source of the packets of a pcapng file for a file that is
// pcapng, too. It gives the file's blocks as they stand, those that are not
// packets in between. Each is valid, and in the byte order of its section. A
// section header that comes later is a block like others.
type BlockSource interface {
	Source
	// Section is the section header that the file begins with.
	Section() []byte
}

// ErrGone is returned by Wait when every interface that was captured on has
// been removed.
var ErrGone = errors.New("the interface was removed")

// ErrNamespaceGone is returned by Wait when the network namespace that was captured
// in has been deleted.
var ErrNamespaceGone = errors.New("the network namespace was deleted")

// ErrNoInterface is Report.Absent of a capture that would have taken the interfaces
// that come up, and none did.
var ErrNoInterface = errors.New("no interface came up")

// ErrEventOver is returned by Next of a source with PacketTime when a packet came later than Additions.StopAfter of the
// config after the event.
var ErrEventOver = errors.New("the time after the event is over")

// ErrLate is returned by Next of a source with PacketTime when a packet came
// later than the time limit after the first one. The source checks the limit itself
// there, as packets that match no filter count, too.
var ErrLate = errors.New("a packet is later than the time limit")
