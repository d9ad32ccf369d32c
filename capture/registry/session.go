package registry

import (
	"path/filepath"
	"strings"
	"time"

	"pcapctl/capture"
)

// State is what a session is doing.
type State uint8

// The states. A session that has Ended may have failed: Session.Failure tells.
const (
	Starting State = iota // the name is taken, no packet is captured yet
	Running
	Ended
	Lost    // its process ended without a word: killed, crashed, or the machine went down
	Unknown // the record cannot be read
)

// Session is one session, looked at once.
type Session struct {
	Name    string // as it was given
	State   State
	Alive   bool          // a process holds the session
	Record  *Record       // nil when State is Unknown
	Err     error         // why it is
	Start   time.Time     // zero when it never began
	Elapsed time.Duration // of the capture, so far or in all

	size   int64 // of the file, towards the limit
	folder string
}

// LogFile is where a background session writes its log.
func (s *Session) LogFile() string { return filepath.Join(s.folder, logName) }

// Failure is the error that the session ended with: nil for a complete one and
// for one that has not ended.
func (s *Session) Failure() error {
	switch {
	case s.Err != nil:
		return s.Err
	case s.Record.Outcome == nil:
		return nil
	}
	return s.Record.Outcome.err()
}

// session looks at the session in the folder, and brings it in order if its
// process has left it without.
func (f *folder) session() *Session {
	s := &Session{Name: f.name, folder: filepath.Join(f.reg.dir, f.name)}
	// The lock before the record: a process writes the record's last version
	// and then lets go, so that a free lock and no outcome mean that there will
	// never be one.
	_, alive, err := holder(f.lock)
	s.Alive = alive
	if err == nil {
		s.Record, err = f.record()
	}
	if err != nil {
		s.State, s.Err = Unknown, err
		return s
	}
	if s.Record.Outcome == nil && !alive {
		s.Record = f.settle(s.Record)
	}
	s.Name = s.Record.Name
	if s.Record.Outcome == nil {
		f.observe(s)
		return s
	}
	s.State = Ended
	if s.Record.Outcome.Code == CodeAgentStopped {
		s.State = Lost
	}
	p := &s.Record.Resource.Properties
	s.Start, _ = time.Parse(time.RFC3339, p.CaptureStartTime)
	s.Elapsed = time.Duration(p.Statistics.DurationInSeconds * float64(time.Second))
	return s
}

// observe fills in what a living session has come to.
func (f *folder) observe(s *Session) {
	l := f.live()
	if l.start.IsZero() {
		s.State = Starting
		return
	}
	s.State, s.Start, s.size = Running, l.start, l.Size
	s.Elapsed = max(0, monotonic()-l.clock)
	res := s.Record.Resource
	res.Properties.ProvisioningState = capture.StateSucceeded
	res.Properties.PacketCaptureStatus = capture.StatusRunning
	res.SetStart(l.start)
	l.Elapsed = s.Elapsed
	l.fill(res.Properties.Statistics, l.Written.Size)
	if list := f.places(s.Record); list != nil {
		res.Properties.Statistics.Files = results(list, l.Written)
	}
	res.Seal()
}

// fill puts the counters into statistics. size is that of the capture file.
func (l *liveCounters) fill(st *capture.Statistics, size int64) {
	st.DurationInSeconds = l.Elapsed.Round(time.Millisecond).Seconds()
	st.PacketsCaptured = l.Packets
	st.BytesCaptured = l.Bytes
	st.PacketsReceived = l.Received
	st.RingFreezes = l.Freezes
	st.PacketsDroppedByKernel = l.Dropped.ByKernel
	st.PacketsDroppedByInterface = l.Dropped.ByInterface
	st.PacketsNotWritten = l.Dropped.ByFile
	for i := range st.Interfaces {
		st.Interfaces[i].PacketsDroppedByInterface = l.links[st.Interfaces[i].Index]
	}
	if len(st.Files) > 0 {
		st.Files[0].SizeInBytes = size
	}
	if u := st.Upload; u != nil {
		u.BytesStaged, u.Retries = l.Upload.Staged, l.Upload.Retries
		u.BytesBehind = max(0, size-u.BytesStaged)
	}
}

// Resource is the session as the API's resource. One whose record cannot be
// read has a name, and the status Unknown.
func (s *Session) Resource() *capture.Resource {
	if s.Record != nil {
		return s.Record.Resource
	}
	return &capture.Resource{Name: s.Name, Properties: capture.ResourceProperties{
		ProvisioningState:   capture.StateFailed,
		PacketCaptureStatus: capture.StatusUnknown,
		PacketCaptureError:  []string{"InternalError"},
	}}
}

// Status is the API's answer to "query status". Message and all that follows
// are pcapctl's own.
type Status struct {
	Name                string              `json:"name"`
	ID                  string              `json:"id"`
	CaptureStartTime    string              `json:"captureStartTime"`
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
		st.Remaining = s.remaining()
	}
	return st
}

func (s *Session) remaining() *Remaining {
	p := &s.Record.Resource.Properties
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
		left.TimeLimitInSeconds = new(max(0, rest.Round(time.Millisecond).Seconds()))
	}
	return left
}
