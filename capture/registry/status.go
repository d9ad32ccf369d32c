package registry

import (
	"strings"
	"time"

	"pcapctl/capture"
)

// Status is the API's answer to "query status". Message and all that follows
// are pcapctl's own.
type Status struct {
	Name                string              `json:"name"`
	ID                  string              `json:"id"`
	CaptureStartTime    string              `json:"captureStartTime,omitempty"`
	PacketCaptureStatus string              `json:"packetCaptureStatus"`
	StopReason          capture.StopReason  `json:"stopReason,omitempty"`
	PacketCaptureError  []string            `json:"packetCaptureError"`
	Message             string              `json:"message,omitempty"` // what went wrong, in words
	Statistics          *capture.Statistics `json:"statistics,omitempty"`
	Remaining           *Remaining          `json:"remaining,omitempty"`
}

// Remaining is what is left of each limit of a running session; a limit that
// the session does not have is absent.
type Remaining struct {
	TotalBytesPerSession *int64   `json:"totalBytesPerSession,omitempty"`
	TimeLimitInSeconds   *float64 `json:"timeLimitInSeconds,omitempty"`
	PacketLimit          *uint64  `json:"packetLimit,omitempty"`
}

// Status makes the status of the session.
func (s *Session) Status() *Status {
	res := s.Resource()
	p := &res.Properties
	st := &Status{
		Name: res.Name, ID: res.ID,
		CaptureStartTime:    p.CaptureStartTime,
		PacketCaptureStatus: p.PacketCaptureStatus,
		StopReason:          p.StopReason,
		PacketCaptureError:  p.PacketCaptureError,
		Statistics:          p.Statistics,
	}
	if err := s.Failure(); err != nil {
		st.Message = strings.TrimSpace(err.Error())
	}
	if s.State == Running {
		st.Remaining = s.remaining(p)
	}
	return st
}

// remaining is what is left of the limits. p is what the session has come to.
func (s *Session) remaining(p *capture.ResourceProperties) *Remaining {
	left := &Remaining{}
	bytes, seconds := p.TotalBytesPerSession, p.TimeLimitInSeconds
	if c := p.CaptureSettings; c != nil {
		seconds = c.SessionTimeLimitInSeconds
	}
	if bytes != nil && *bytes > 0 {
		left.TotalBytesPerSession = new(max(0, *bytes-s.size))
	}
	if seconds != nil && *seconds > 0 {
		rest := time.Duration(*seconds)*time.Second - s.Elapsed
		left.TimeLimitInSeconds = new(max(0, capture.Seconds(rest)))
	}
	if limit := p.Packets; limit > 0 {
		left.PacketLimit = new(limit - min(limit, p.Statistics.PacketsCaptured))
	}
	return left
}
