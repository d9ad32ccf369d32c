package inspect

import (
	"pcapctl/filter"
)

// The bounds of an Engine unless Options say otherwise.
const (
	DefaultTop      = 10
	DefaultMaxFlows = 100_000
)

// Options say how an Engine works.
type Options struct {
	Top      int // entries of a list, DefaultTop when 0
	MaxFlows int // flows that are held at the same time, DefaultMaxFlows when 0
	Filter   filter.Set
	Lost     Losses // what else is known to be lost, from the record of a session
	// Observe is called for every packet with what it was marked as, when it is not nil: for
	// tests, which compare the marks with those of other tools.
	Observe func(number uint64, marks Marks)
}

// Marks is what one packet shows. Those of TCP are Wireshark's tcp.analysis.*.
type Marks uint32

// The marks.
const (
	Retransmission Marks = 1 << iota // set with FastRetransmission and SpuriousRetransmission, too
	FastRetransmission
	SpuriousRetransmission
	OutOfOrder
	DuplicateAck
	LostSegment
	AckLostSegment
	ZeroWindow
	ZeroWindowProbe
	ZeroWindowProbeAck
	WindowFull
	WindowUpdate
	KeepAlive
	KeepAliveAck
	ReusedPorts
	Reset         // tcp.flags.reset
	NewConnection // the first packet of a tcp.stream
	HandshakeDone // the ACK that ends a handshake: tcp.analysis.initial_rtt is known from here on
	DNSQuery      // also a repeated one
	DNSAnswer
	DNSError  // an answer with a response code other than 0
	Duplicate // the packet is there twice
)
