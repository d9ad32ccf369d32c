// Package inspect says what a capture shows: what failed, and whom it concerns,
// before who talked how much.
//
// An [Engine] looks at packets one after the other, in the order of the file, in
// memory that has a bound, and gives a [Report]. [Files] reads capture files into
// one. A Report is what the command prints as JSON: its members, their names and
// units are stable, and docs/inspect.md describes them.
package inspect

import "time"

// SchemaVersion is that of the JSON form of a Report. It changes when a member is
// taken away or means something else, and not when one is added.
const SchemaVersion = 1

// Report is what a capture shows. Lists are sorted, the most serious or largest
// first, and hold at most Options.Top entries, but for Failures and Quality, which
// say in Limits when they were cut. Times are those of the packets, in UTC; one that
// is not known is left out. Names in it (of DNS, TLS, HTTP) are what was in the packets, and hostile.
type Report struct {
	SchemaVersion int     `json:"schemaVersion"`
	Verdict       string  `json:"verdict"` // one sentence: the first failure, or that there is none
	Input         Input   `json:"input"`
	Packets       Packets `json:"packets"`
	// Quality says whether the capture is complete: what of the traffic is not in it,
	// and what in it is an artefact of capturing.
	Quality []Finding `json:"quality"`
	// Failures are sorted by how likely each is the cause of the others: the first one
	// is where to begin. A healthy capture has none.
	Failures []Finding `json:"failures"`
	TCP      TCP       `json:"tcp"`
	DNS      DNS       `json:"dns"`
	TLS      TLS       `json:"tls"`
	HTTP     HTTP      `json:"http"`
	Talkers  Talkers   `json:"talkers"`
	Timeline Timeline  `json:"timeline"`
	Limits   Limits    `json:"limits"`
	// Context is what the machine that captured tells beside the packets; absent where the
	// capture has none.
	Context []*HostContext `json:"context,omitempty"`
}

// Input is what was read.
type Input struct {
	Files []InputFile `json:"files"`
	// Filter is what --filter keeps, in words; "" for everything.
	Filter string `json:"filter,omitempty"`
	// Interrupted says that reading was broken off by the user: the report is of what
	// was read until then.
	Interrupted bool `json:"interrupted"`
	// Error says why reading ended before the end of the files, "" when it did not.
	Error string `json:"error,omitempty"`
}

// InputFile is one capture file.
type InputFile struct {
	Path      string   `json:"path"`
	Format    string   `json:"format"` // in words
	LinkTypes []string `json:"linkTypes"`
	Packets   uint64   `json:"packets"` // read, those that the filter does not keep included
	Bytes     int64    `json:"sizeInBytes"`
}

// Packets counts the packets that the filter keeps.
type Packets struct {
	Count           uint64    `json:"count"`
	Bytes           uint64    `json:"bytes"`         // on the wire
	CapturedBytes   uint64    `json:"capturedBytes"` // in the file
	First           time.Time `json:"first,omitzero"`
	Last            time.Time `json:"last,omitzero"`
	DurationSeconds float64   `json:"durationSeconds"`
	// Skipped is how many packets the filter did not keep.
	Skipped uint64 `json:"skipped"`
	// NotDecoded is how many packets have a link type or headers that are not looked
	// into; they count in the totals only.
	NotDecoded uint64 `json:"notDecoded"`
}

// Severity is how serious a finding is.
type Severity string

// The severities.
const (
	Error   Severity = "error"   // something did not work
	Warning Severity = "warning" // something worked badly, or may be the reason of what did not
	Note    Severity = "note"    // not a fault, but it changes how the rest is to be read
)

// Finding is one thing that is wrong, with one cause: of several servers that do
// not answer each is a finding of its own.
type Finding struct {
	// ID names the kind; docs/inspect.md has a definition of each. It is stable.
	ID       string   `json:"id"`
	Severity Severity `json:"severity"`
	Title    string   `json:"title"` // one line in plain words, with the endpoints and numbers that matter
	// Count is how many there were of what Unit says: "connection", "packet", "query" …
	Count uint64 `json:"count"`
	Unit  string `json:"unit"`
	// Endpoints are whom it concerns, at most 8: "address", "address:port", "[address]:port", or
	// "client > server". More says how many others there are.
	Endpoints []string `json:"endpoints"`
	More      int      `json:"moreEndpoints"`
	// Names are the names of hosts that were asked for, as far as the packets tell, at most 8.
	Names []string `json:"names,omitempty"`
	// First and Last are of the packets that show it.
	First       time.Time `json:"first,omitzero"`
	Last        time.Time `json:"last,omitzero"`
	FirstPacket uint64    `json:"firstPacket"` // its number in the input, from 1 on; 0 where no packet shows it
	LastPacket  uint64    `json:"lastPacket"`
	// DisplayFilter is an expression for Wireshark and tshark -Y that shows these
	// packets; "" where no packet shows it.
	DisplayFilter string `json:"displayFilter,omitempty"`
	Meaning       string `json:"meaning"` // what it usually means
	Next          string `json:"next"`    // what to look at next
	// Values are numbers of the finding, by names that its definition lists, with
	// their units in the name.
	Values map[string]float64 `json:"values,omitempty"`
	// Programs had sockets at its endpoints, or to them, at its time, and Counters are those
	// of the machine that go with it and moved, as "Tcp.RetransSegs +19": of the context
	// of the capture, at most 4 programs.
	Programs []string `json:"programs,omitempty"`
	Counters []string `json:"counters,omitempty"`
}

// TCP is the health of TCP.
type TCP struct {
	TCPCounts
	// Services are server endpoints, those with most trouble first.
	Services []Service `json:"services"`
	// ServiceCount is how many there were in all.
	ServiceCount int `json:"serviceCount"`
}

// TCPCounts count packets by the definitions of Wireshark's tcp.analysis.*, and
// connections.
type TCPCounts struct {
	Packets uint64 `json:"packets"`
	// Connections is how many there were: of one pair of endpoints, a SYN with another
	// sequence number begins a new one, as in Wireshark's tcp.stream.
	Connections uint64 `json:"connections"`
	// Of them: those whose SYN is in the capture, those of which the handshake is
	// complete, those that were joined in the middle.
	Begun       uint64 `json:"begun"`
	Established uint64 `json:"established"`
	Joined      uint64 `json:"joinedInTheMiddle"`
	Unanswered  uint64 `json:"unanswered"` // a SYN, and nothing at all came back
	Refused     uint64 `json:"refused"`    // a RST came back for the SYN
	Reset       uint64 `json:"reset"`      // ended by a RST after the handshake
	Closed      uint64 `json:"closed"`     // FINs of both sides

	Resets uint64 `json:"resetPackets"` // tcp.flags.reset

	Retransmissions uint64 `json:"retransmissions"` // tcp.analysis.retransmission: all of the next three, too
	Fast            uint64 `json:"fastRetransmissions"`
	Spurious        uint64 `json:"spuriousRetransmissions"`
	Timeouts        uint64 `json:"timeoutRetransmissions"` // those that are neither fast nor spurious
	OutOfOrder      uint64 `json:"outOfOrder"`
	DuplicateAcks   uint64 `json:"duplicateAcks"`
	LostSegments    uint64 `json:"lostSegments"`    // tcp.analysis.lost_segment: a gap before the packet
	AckLostSegments uint64 `json:"ackLostSegments"` // tcp.analysis.ack_lost_segment: acknowledges what was not captured
	ZeroWindows     uint64 `json:"zeroWindows"`
	ZeroProbes      uint64 `json:"zeroWindowProbes"`
	ZeroProbeAcks   uint64 `json:"zeroWindowProbeAcks"`
	WindowFulls     uint64 `json:"windowFulls"`
	WindowUpdates   uint64 `json:"windowUpdates"`
	KeepAlives      uint64 `json:"keepAlives"`
	KeepAliveAcks   uint64 `json:"keepAliveAcks"`
	ReusedPorts     uint64 `json:"reusedPorts"`
}

// Service is a TCP server endpoint. The server is the end that answered the SYN,
// or else the one with the lower port number.
type Service struct {
	Server string `json:"server"` // address:port
	// Through is the tunnel or VLAN that the packets come in, outermost first; "" for none.
	Through string   `json:"through,omitempty"`
	Names   []string `json:"names,omitempty"` // by which clients asked for it: TLS SNI, HTTP Host; at most 8
	TCPCounts
	Clients  int       `json:"clients"` // different client addresses, counted up to 64
	ToServer Direction `json:"toServer"`
	ToClient Direction `json:"toClient"`
	// HandshakeRTT is from the SYN (the last one that was sent before the answer) to the ACK
	// that ends the handshake, as Wireshark's tcp.analysis.initial_rtt; ServerRTT is
	// the part from SYN to SYN/ACK, ClientRTT the part from there to the ACK. That part
	// is near zero which lies on the side of the capture.
	HandshakeRTT Latency `json:"handshakeRTT"`
	ServerRTT    Latency `json:"serverRTT"`
	ClientRTT    Latency `json:"clientRTT"`
	// ZeroWindowSeconds is how long windows were closed, all connections together.
	ZeroWindowSeconds float64 `json:"zeroWindowSeconds"`
	MSS               MSS     `json:"mss"`
	// WindowScaling is false when one end of a connection did not offer it: windows
	// are then at most 64 KiB. It is true when no handshake was seen.
	WindowScaling bool `json:"windowScaling"`
	// LimitedBy says what bounds the throughput of the direction with more bytes:
	// "sender", "receiver", "network", or "" when too little was sent to say.
	LimitedBy string `json:"limitedBy,omitempty"`
	Because   string `json:"limitedBecause,omitempty"` // how that was judged, with its numbers
}

// Direction is one way of a service.
type Direction struct {
	Packets         uint64 `json:"packets"`
	Bytes           uint64 `json:"bytes"`        // of frames on the wire
	PayloadBytes    uint64 `json:"payloadBytes"` // of TCP, retransmitted ones included
	DataPackets     uint64 `json:"dataPackets"`  // with payload
	Retransmissions uint64 `json:"retransmissions"`
	// RetransmissionPercent is of the packets with payload, SYN or FIN.
	RetransmissionPercent float64 `json:"retransmissionPercent"`
	OutOfOrder            uint64  `json:"outOfOrder"`
	DuplicateAcks         uint64  `json:"duplicateAcks"`
	ZeroWindows           uint64  `json:"zeroWindows"` // told by the sender of this direction
	WindowFulls           uint64  `json:"windowFulls"`
}

// Latency is a distribution of durations. Percentiles are of a histogram whose steps
// are 1/16 of the value or less.
type Latency struct {
	Count      uint64  `json:"count"`
	MinSeconds float64 `json:"minSeconds"`
	P50Seconds float64 `json:"p50Seconds"`
	P99Seconds float64 `json:"p99Seconds"`
	MaxSeconds float64 `json:"maxSeconds"`
}

// MSS is the maximum segment size, in bytes; 0 is not known.
type MSS struct {
	Client uint16 `json:"client"` // what the clients' SYNs offer, the least
	Server uint16 `json:"server"` // what the SYN/ACKs offer, the least
	// Largest is the largest segment that was sent, more than the MSS where
	// segmentation is offloaded.
	Largest int `json:"largestSegment"`
	// ClampedBy says in words what makes it less than the interface's MTU would allow;
	// "" when nothing does.
	ClampedBy string `json:"clampedBy,omitempty"`
}

// DNS counts queries and answers over UDP and TCP, port 53. A query that is
// repeated with the same id, name and endpoints is one query.
type DNS struct {
	Packets    uint64  `json:"packets"`
	Queries    uint64  `json:"queries"`  // a repeated one counts once
	Repeated   uint64  `json:"repeated"` // packets of queries that were sent again
	Answers    uint64  `json:"answers"`  // that belong to a query in the capture
	Unanswered uint64  `json:"unanswered"`
	Unasked    uint64  `json:"unasked"` // answers whose query is not in the capture
	NXDomain   uint64  `json:"nxdomain"`
	ServFail   uint64  `json:"servfail"`
	Refused    uint64  `json:"refused"`
	OtherError uint64  `json:"otherErrors"` // other response codes than 0
	Truncated  uint64  `json:"truncated"`   // TC: to be asked again over TCP
	Malformed  uint64  `json:"malformed"`
	Latency    Latency `json:"latency"` // from the first packet of a query to the answer
	// Servers and Names are sorted by failures, then by queries.
	Servers []DNSGroup `json:"servers"`
	Names   []DNSGroup `json:"names"`
	// MDNSPackets and LLMNRPackets are packets of multicast names, which are not looked at: nobody has
	// to answer them.
	MDNSPackets  uint64 `json:"mdnsPackets"`
	LLMNRPackets uint64 `json:"llmnrPackets"`
}

// DNSGroup is what came of the queries to one server, or for one name.
type DNSGroup struct {
	Name       string  `json:"name"` // of the server, address:port, or the name that was asked for
	Queries    uint64  `json:"queries"`
	Answers    uint64  `json:"answers"`
	Unanswered uint64  `json:"unanswered"`
	NXDomain   uint64  `json:"nxdomain"`
	ServFail   uint64  `json:"servfail"`
	Refused    uint64  `json:"refused"`
	OtherError uint64  `json:"otherErrors"`
	Latency    Latency `json:"latency"`
}

// TLS counts handshakes over TCP, at any port.
type TLS struct {
	ClientHellos uint64 `json:"clientHellos"`
	ServerHellos uint64 `json:"serverHellos"`
	Unanswered   uint64 `json:"unanswered"` // ClientHellos whose connection had no ServerHello nor alert
	Alerts       uint64 `json:"alerts"`     // readable ones, but close_notify
	// Names are the server names that clients asked for (SNI), those with failures first.
	Names []TLSName `json:"names"`
	// Versions are what was agreed on.
	Versions []Count `json:"versions"`
}

// TLSName is a server name that clients asked for.
type TLSName struct {
	Name         string   `json:"name"`   // "" for a ClientHello without one
	Server       string   `json:"server"` // address:port, of the first
	ClientHellos uint64   `json:"clientHellos"`
	ServerHellos uint64   `json:"serverHellos"`
	Unanswered   uint64   `json:"unanswered"`
	Alerts       uint64   `json:"alerts"`
	Versions     []string `json:"versions"` // agreed on
}

// HTTP counts responses of HTTP/1 in plain text.
type HTTP struct {
	Requests  uint64     `json:"requests"`
	Responses uint64     `json:"responses"`
	Status4xx uint64     `json:"status4xx"`
	Status5xx uint64     `json:"status5xx"`
	Hosts     []HTTPHost `json:"hosts"` // those with most failures first
}

// HTTPHost is a host as its clients name it.
type HTTPHost struct {
	Host      string  `json:"host"` // of the request's Host; the server's address:port without one
	Server    string  `json:"server"`
	Requests  uint64  `json:"requests"`
	Responses uint64  `json:"responses"`
	Status4xx uint64  `json:"status4xx"`
	Status5xx uint64  `json:"status5xx"`
	Codes     []Count `json:"codes"` // status codes from 400 on
}

// Talkers is who talks.
type Talkers struct {
	Protocols     []Count        `json:"protocols"` // the innermost that is known of each packet
	Hosts         []Host         `json:"hosts"`
	Conversations []Conversation `json:"conversations"` // by bytes
	Services      []Count        `json:"services"`      // protocol and the server's port, such as "TCP 443"
	VLANs         []Count        `json:"vlans"`
	Tunnels       []Count        `json:"tunnels"` // kind and outer endpoints
	HostCount     int            `json:"hostCount"`
	FlowCount     uint64         `json:"flowCount"`
}

// Count is a name with its packets and bytes on the wire.
type Count struct {
	Name    string `json:"name"`
	Packets uint64 `json:"packets"`
	Bytes   uint64 `json:"bytes"`
}

// Host is an IP address, the inner one of a tunnel.
type Host struct {
	Address         string `json:"address"`
	PacketsSent     uint64 `json:"packetsSent"`
	BytesSent       uint64 `json:"bytesSent"`
	PacketsReceived uint64 `json:"packetsReceived"`
	BytesReceived   uint64 `json:"bytesReceived"`
}

// Conversation is a flow: the packets of one protocol between two endpoints. A is
// the client where that is known.
type Conversation struct {
	Protocol  string    `json:"protocol"`
	A         string    `json:"a"`
	B         string    `json:"b"`
	Through   string    `json:"through,omitempty"` // the tunnel or VLAN, outermost first
	PacketsAB uint64    `json:"packetsAB"`
	BytesAB   uint64    `json:"bytesAB"`
	PacketsBA uint64    `json:"packetsBA"`
	BytesBA   uint64    `json:"bytesBA"`
	First     time.Time `json:"first,omitzero"`
	Last      time.Time `json:"last,omitzero"`
	// ProgramsA and ProgramsB are those that had the sockets of the ends on the machine that
	// captured, by the context of the capture, at most 4; one that only listened says so.
	ProgramsA []string `json:"programsA,omitempty"`
	ProgramsB []string `json:"programsB,omitempty"`
}

// Timeline is the capture in equal steps, at most 240.
type Timeline struct {
	Start       time.Time `json:"start,omitzero"`
	StepSeconds float64   `json:"stepSeconds"`
	Steps       []Step    `json:"steps"`
}

// Step is a part of the time.
type Step struct {
	Packets         uint64 `json:"packets"`
	Bytes           uint64 `json:"bytes"`
	Retransmissions uint64 `json:"retransmissions"`
	Failures        uint64 `json:"failures"` // packets that show a failure
}

// Limits says what the report's bounds left out.
type Limits struct {
	MaxFlows int `json:"maxFlows"`
	// EvictedFlows is how many flows were given up for others before the end. What
	// was counted of them is in the totals, but a later packet of one begins a new flow.
	EvictedFlows uint64 `json:"evictedFlows"`
	// Dropped counts by table what found no room, such as "hosts" or "dnsNames".
	Dropped map[string]uint64 `json:"dropped,omitempty"`
	// FailuresCut is how many findings of kinds that have very many were left out.
	FailuresCut int `json:"failuresCut"`
}
