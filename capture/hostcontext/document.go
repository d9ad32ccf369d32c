// Package hostcontext says what a capture file cannot: which programs had the sockets,
// and what the machine counted meanwhile. A process of its own samples it beside the
// capture (Start, Main) and writes one JSON file, a [Document]; Read reads it back.
package hostcontext

import (
	"net/netip"
	"time"
)

// SchemaVersion is that of a Document. It changes when a member is taken away or means
// something else, and not when one is added.
const SchemaVersion = 1

// Extension is what the name of a capture file has added for its context.
const Extension = ".context.json"

// Document is what the file holds. docs/context.md describes it. Names in it (of
// programs, users, containers, interfaces) are what others have chosen, and hostile.
type Document struct {
	SchemaVersion int `json:"schemaVersion"`
	// Complete is false while the capture runs, and for good when the end could not be
	// looked at or written.
	Complete bool      `json:"complete"`
	Host     string    `json:"host"`
	Session  string    `json:"session"`
	Capture  string    `json:"capture"` // name of the capture file, of a ring the first
	Started  time.Time `json:"started"`
	Ended    time.Time `json:"ended,omitzero"`
	Sampling Sampling  `json:"sampling"`
	// Counters are those that moved, by name.
	Counters []Moved  `json:"countersMoved"`
	Sockets  []Socket `json:"sockets"`
	Start    *Machine `json:"start"`
	End      *Machine `json:"end,omitempty"`
	// Problems are sentences about what could not be looked at.
	Problems []string `json:"problems"`

	own map[netip.Addr]bool // the machine's addresses, once they are asked for
}

// Sampling says how the sockets were looked at. A socket that lived between two looks
// was not seen.
type Sampling struct {
	EverySeconds        float64 `json:"everySeconds"` // between two looks, unless that took too much of the processor
	Samples             int     `json:"samples"`
	LongestPauseSeconds float64 `json:"longestPauseSeconds"`
	SocketsSeen         int     `json:"socketsSeen"`
	SocketsNamed        int     `json:"socketsNamed"`
	SocketsNotKept      int     `json:"socketsNotKept"` // there was no room for them
	CPUSeconds          float64 `json:"cpuSeconds"`     // that the looks took
}

// Socket is one socket of TCP or UDP that was seen.
type Socket struct {
	Protocol string         `json:"protocol"` // TCP, UDP
	Local    netip.AddrPort `json:"local"`
	Remote   netip.AddrPort `json:"remote,omitzero"`   // absent for one that is not connected
	State    string         `json:"state,omitempty"`   // of TCP, when it was seen last
	Program  string         `json:"program,omitempty"` // name of its file, "" when the process was not found
	Command  string         `json:"command,omitempty"` // what the process calls itself, where that is another name
	PID      int            `json:"pid,omitempty"`
	UID      uint32         `json:"uid"` // of the socket's owner
	User     string         `json:"user,omitempty"`
	// Container is whose process it is, by its cgroup: name, runtime and id.
	Container string    `json:"container,omitempty"`
	First     time.Time `json:"first"` // seen; it may have begun up to a look before
	Last      time.Time `json:"last"`
}

// Machine is what it was like at one moment.
type Machine struct {
	Time       time.Time      `json:"time"`
	Interfaces []Interface    `json:"interfaces"`
	Routes     []string       `json:"routes"`
	Rules      []string       `json:"rules"`
	Neighbours []string       `json:"neighbours"`
	States     map[string]int `json:"socketsByState"` // "TCP ESTABLISHED", "UDP" …
	// Counters are those of /proc/net/snmp, snmp6, netstat, softnet_stat and
	// stat/nf_conntrack, and of the interfaces.
	Counters   map[string]uint64 `json:"counters"`
	Sysctls    map[string]string `json:"sysctls"`
	NFTables   string            `json:"nftables,omitempty"` // as nft prints them
	IPTables   string            `json:"iptables,omitempty"` // as iptables-save and ip6tables-save print them
	ResolvConf string            `json:"resolvConf,omitempty"`
	Clock      *Clock            `json:"clock,omitempty"`
}

// Interface is one of the network namespace.
type Interface struct {
	Name      string   `json:"name"`
	Index     int      `json:"index"`
	State     string   `json:"state"`
	MTU       int      `json:"mtu"`
	MAC       string   `json:"mac,omitempty"`
	Queueing  string   `json:"qdisc,omitempty"`
	Addresses []string `json:"addresses"`
}

// Clock is the state of the system's clock. adjtimex(2).
type Clock struct {
	Synchronized  bool    `json:"synchronized"`
	OffsetSeconds float64 `json:"offsetSeconds"`
	ErrorSeconds  float64 `json:"estimatedErrorSeconds"`
	MaxSeconds    float64 `json:"maximumErrorSeconds"`
	FrequencyPPM  float64 `json:"frequencyPPM"`
}

// Moved is a counter that is not what it was at the start.
type Moved struct {
	Name  string `json:"name"`
	Start uint64 `json:"start"`
	End   uint64 `json:"end"`
	// Delta is the difference. A counter that is less than it was began anew: it is then
	// what it has counted since.
	Delta uint64 `json:"delta"`
}
