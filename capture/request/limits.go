package request

import (
	"fmt"
	"math"
	"time"

	"pcapctl/capture/fault"
)

// bounds are what a number of a request may be.
type bounds struct {
	low, high int64
	zero      string // what 0 means beside low..high; "" when 0 is nothing special
	why       string // why a number below low is refused, where it does not go without saying
	absent    int64  // the default
}

// The numbers of a request. What 0 means for the two limits of a session is
// documented nowhere; that it means no limit is pcapctl's own decision, and so
// is the lower bound of totalBytesPerSession: the header of a pcap file alone
// has 24 bytes.
var (
	boundsPerPacket   = bounds{low: 1, high: math.MaxUint32, zero: "the whole packet"}
	boundsTotal       = bounds{low: 24, high: math.MaxUint32, zero: "no limit", why: "the header of a pcap file alone has 24 bytes", absent: 1 << 30}
	boundsTime        = bounds{low: 1, high: 18000, zero: "no limit", absent: 18000}
	boundsFileCount   = bounds{low: 1, high: 10000, absent: 10}
	boundsFileSize    = bounds{low: 102400, high: math.MaxUint32, absent: 104857600}
	boundsSessionTime = bounds{low: 1, high: 604800, absent: 86400}
)

// String is what is allowed, in words.
func (b bounds) String() string {
	s := fmt.Sprintf("%d to %d", b.low, b.high)
	if b.zero != "" {
		s = fmt.Sprintf("0 (%s) or %s", b.zero, s)
	}
	return s
}

func (b bounds) allow(n int64) bool { return n >= b.low && n <= b.high || n == 0 && b.zero != "" }

// number is the value of a member, or its default.
func (v *validator) number(path string, given *int64, b bounds) int64 {
	if given == nil {
		return b.absent
	}
	if !b.allow(*given) {
		reason := "is out of range"
		if b.why != "" && *given > 0 && *given < b.low {
			reason = "is too small, " + b.why
		}
		v.fault(path, "%d %s; allowed: %s", *given, reason, b)
		return b.absent
	}
	return *given
}

// limit is the value of a member that ends a capture, or its default: that of
// the live capture, or none for packets of a file.
func (v *validator) limit(path string, given *int64, b bounds) int64 {
	if given == nil && v.host.FromFile {
		return 0
	}
	return v.number(path, given, b)
}

// limits sets the limits of either mode. What switches the mode is that
// continuousCapture is there, not whether it is true.
func (v *validator) limits(c *Config, p *Properties) {
	if p.ContinuousCapture == nil {
		c.MaxBytes = v.limit("properties.totalBytesPerSession", p.TotalBytesPerSession, boundsTotal)
		c.MaxTime = time.Duration(v.limit("properties.timeLimitInSeconds", p.TimeLimitInSeconds, boundsTime)) * time.Second
		if p.CaptureSettings != nil && *p.CaptureSettings != (CaptureSettings{}) {
			v.wrongMode("properties.captureSettings", `belong to continuous mode: leave them out, or add "continuousCapture": true or false`)
		}
		return
	}
	if p.TotalBytesPerSession != nil {
		v.wrongMode("properties.totalBytesPerSession", "does not go with continuousCapture: use captureSettings.fileSizeInBytes and fileCount, or leave out continuousCapture")
	}
	if p.TimeLimitInSeconds != nil {
		v.wrongMode("properties.timeLimitInSeconds", "does not go with continuousCapture: use captureSettings.sessionTimeLimitInSeconds, or leave out continuousCapture")
	}
	s := p.CaptureSettings
	if s == nil {
		s = &CaptureSettings{}
	}
	const path = "properties.captureSettings."
	c.Continuous = &Continuous{
		Rotate:    *p.ContinuousCapture,
		FileCount: int(v.number(path+"fileCount", s.FileCount, boundsFileCount)),
		FileSize:  v.limit(path+"fileSizeInBytes", s.FileSizeInBytes, boundsFileSize),
	}
	c.MaxBytes = c.Continuous.FileSize
	c.MaxTime = time.Duration(v.limit(path+"sessionTimeLimitInSeconds", s.SessionTimeLimitInSeconds, boundsSessionTime)) * time.Second
}

// wrongMode is the fault of a member of the one mode in a request of the other.
func (v *validator) wrongMode(path, reason string) {
	v.coded(fault.CodeWrongMode, path, "%s", lastMember(path)+" "+reason)
}

// Limits are those that the API's request has no member for. Like the interfaces they are settings of the host.
type Limits struct {
	// Packets is how many packets a session records, 0 for any number.
	Packets uint64 `json:"packetLimit,omitempty"`
	// RotateEverySeconds is how many seconds a file of a ring is for at the most, 0 for any: a part of a day.
	RotateEverySeconds int64 `json:"rotateEveryInSeconds,omitempty"`
}

const secondsOfDay = 24 * 60 * 60

// ownLimits settles the limits of the host. That of a ring's files says nothing for a capture that is none.
func (v *validator) ownLimits(c *Config) {
	l := v.host.Limits
	c.MaxPackets = l.Packets
	every := l.RotateEverySeconds
	if every < 0 || every > secondsOfDay || every > 0 && secondsOfDay%every != 0 {
		v.fault("rotate-every", "%d seconds given; allowed: a part of a day, as 10s, 5m, 1h, 24h, so that the files of each day begin at the same times", every)
		return
	}
	if c.Rotates() {
		c.Continuous.Every = time.Duration(every) * time.Second
	}
}

// Limits are the limits that are no part of the request, of this session.
func (c *Config) Limits() Limits {
	return Limits{Packets: c.MaxPackets, RotateEverySeconds: int64(c.RotateEvery() / time.Second)}
}
