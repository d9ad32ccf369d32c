package request

import (
	"slices"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/filter"
)

// Config is a valid session: plain values, defaults filled in. NewConfig makes
// it, and it is not changed afterwards.
type Config struct {
	Name        string // 1 to 80 characters
	HostName    string
	Application string // version of the program that captures
	Target      ResourceID
	TargetType  string // "AzureVM"

	SnapLen    uint32        // bytes recorded of each packet, 0 = whole
	MaxBytes   int64         // of one file, its header included; 0 = no limit
	MaxTime    time.Duration // of the session; 0 = no limit
	MaxPackets uint64        // recorded by the session; 0 = no limit

	CapturesDir string // the captures folder, clean and absolute
	FilePath    string // clean absolute path under the captures folder, "" when none
	Stream      bool   // the capture goes to standard output, and to no file
	Format      pcapfile.Format
	Compress    string      // CompressNone, CompressGzip, CompressZstd
	Blob        *Blob       // nil when none
	Continuous  *Continuous // nil for a classic capture

	Filters  filter.Set   // those of Additions.Exclude are in it
	StopWhen filter.Event // the packet that ends the capture; zero for none
	// Additions are canonical.
	Additions Additions

	// Warnings are sentences about what is allowed and probably not meant.
	Warnings []string
}

// Continuous are the settings of continuous mode. The session's time limit is
// Config.MaxTime.
type Continuous struct {
	Rotate    bool  // true: the oldest file goes once there are FileCount; false: one file, and the session ends when it is full
	FileCount int   // 1 to 10000
	FileSize  int64 // bytes, 102400 to 4294967295; 0 = no limit, for packets of a file only
	// Every ends a file of a ring at each boundary of the clock as well: whole seconds that divide a day of 24 hours, in
	// UTC. 0 is by size alone.
	Every time.Duration
}

// NewConfig validates a request and fills in its defaults. The error is a
// *fault.Error of class Invalid with every fault, each with its JSON path.
// Nothing on the machine is looked at and nothing is changed.
func NewConfig(req *Request, host Host) (*Config, error) {
	if req == nil {
		req = &Request{}
	}
	v := &validator{host: host.withDefaults()}
	c := &Config{Name: v.name(req.Name), CapturesDir: v.host.CapturesDir, HostName: v.host.Name, Application: v.host.Application}
	p := req.Properties
	if p == nil {
		v.missing("properties", `the member "properties" is missing: everything that describes a capture belongs into it`)
		p = &Properties{}
	} else {
		c.Target = v.target(p.Target)
	}
	c.TargetType = v.targetType(p.TargetType)
	v.scope(p.Scope)
	c.SnapLen = uint32(v.number("properties.bytesToCapturePerPacket", p.BytesToCapturePerPacket, boundsPerPacket))
	v.limits(c, p)
	v.ownLimits(c)
	if req.Properties != nil {
		v.destination(c, p)
	}
	v.output(c)
	c.Filters = v.filters(p.Filters)
	v.additions(c)
	c.Warnings = slices.Concat(req.Notes, v.warnings)
	if err := fault.OfRequest(v.faults); err != nil {
		return nil, err
	}
	return c, nil
}

// WithoutICMPErrors is the same session with filters that leave out the ICMP
// errors about their packets.
func (c *Config) WithoutICMPErrors() *Config {
	other := *c
	other.Filters = c.Filters.WithICMPErrors(false)
	return &other
}

// Rotates reports whether the capture goes from file to file and keeps the newest.
func (c *Config) Rotates() bool { return c.Continuous != nil && c.Continuous.Rotate }

// RotateEvery is how often a ring begins a file by the clock, 0 for never and for a capture that is none.
func (c *Config) RotateEvery() time.Duration {
	if !c.Rotates() {
		return 0
	}
	return c.Continuous.Every
}
