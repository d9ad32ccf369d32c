package registry

import (
	"errors"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/deliver"
)

// State is what a session is doing.
type State uint8

// The states. A session that has Ended may have failed: Session.Failure tells.
const (
	Starting State = iota // the name is taken, no packet is captured yet
	Running
	Ended
	Lost    // its process ended and wrote no outcome: killed, crashed, or the machine went down
	Unknown // the record cannot be read
	Foreign // of another user, whose record is not believed
)

// Session is what is known of a session, as of the moment it was looked at.
type Session struct {
	Name    string // as it was given
	State   State
	Alive   bool          // a process holds the session
	Owner   string        // the user it belongs to, when it is Foreign
	Record  *Record       // nil when State is Unknown or Foreign
	Err     error         // why the record cannot be read; nil in every State but Unknown
	Start   time.Time     // zero when it never began
	Elapsed time.Duration // of the capture, so far or in all

	size int64 // bytes of the file, towards the limit
}

// EndTime is when a session ended that has: zero for one that has not, or whose
// record cannot be read. Of one that never began it is when it was made.
func (s *Session) EndTime() time.Time {
	switch {
	case s.Alive || s.Record == nil || s.State != Ended && s.State != Lost:
		return time.Time{}
	case s.Start.IsZero():
		return s.Record.Created
	}
	return s.Start.Add(s.Elapsed)
}

// NeedsUpload reports whether `pcapctl upload` has something left to do for a
// session that has ended.
func (s *Session) NeedsUpload() bool {
	if s.Alive || s.Record == nil {
		return false
	}
	u := s.Record.Resource.Properties.Statistics.Upload
	return u != nil && u.State == deliver.Failed
}

// Failure is the error that the session ended with: nil for a complete one and
// for one that has not ended.
func (s *Session) Failure() error {
	switch {
	case s.Err != nil:
		return s.Err
	case s.Record == nil || s.Record.Outcome == nil:
		return nil
	}
	return s.Record.Outcome.Err()
}

// session looks at the session in the folder. One whose process has ended and
// wrote no outcome gets one. Of another user's it tells only whether a process holds
// it.
func (f *folder) session() *Session {
	s := &Session{Name: f.name}
	if !f.own() {
		s.State, s.Owner = Foreign, userName(f.owner)
		s.Alive, _ = f.alive()
		return s
	}
	if f.problem != nil {
		s.State, s.Err = Unknown, f.problem
		s.Alive, _ = f.alive()
		return s
	}
	// The lock before the record: a process writes the outcome and then lets go
	// of the lock. So when the lock is free first and the record then has no
	// outcome, the process will never write one.
	proc, alive, err := holdingProcess(f.lock)
	if s.Alive = alive; alive {
		// Which process it is may not be known, in another container for one. Then it is
		// not known to be a stranger, either.
		if err == nil {
			err = f.checkHolder(proc)
		}
		if !errors.Is(err, ErrStranger) {
			err = nil
		}
		proc.close()
	}
	if err == nil {
		s.Record, err = f.record()
	}
	if err != nil {
		s.State, s.Err = Unknown, err
		return s
	}
	if s.Record.Outcome == nil && !alive {
		s.Record = f.finishLost(s.Record)
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
	s.Elapsed = p.Statistics.Duration()
	return s
}

// observe fills in the counters of a session that has not ended.
func (f *folder) observe(s *Session) {
	now := f.counters()
	if now.start.IsZero() {
		s.State = Starting
		return
	}
	s.State, s.Start, s.size = Running, now.start, now.Size
	s.Elapsed = max(0, monotonic()-now.clock)
	res := s.Record.Resource
	res.Properties.ProvisioningState = capture.StateSucceeded
	res.Properties.PacketCaptureStatus = capture.StatusRunning
	res.SetStart(now.start)
	now.Elapsed = s.Elapsed
	now.fill(res.Properties.Statistics, now.Written.Size)
	if files := f.rotatedFiles(s.Record); files != nil {
		res.Properties.Statistics.Files = results(files, now.Written)
	}
}

// Resource is the session as the API's resource. One whose record cannot be
// read has a name, and the status Unknown.
func (s *Session) Resource() *capture.Resource {
	if s.Record != nil {
		return s.Record.Resource
	}
	return &capture.Resource{Name: s.Name, Type: capture.ResourceType, Properties: capture.ResourceProperties{
		ProvisioningState:   capture.StateFailed,
		PacketCaptureStatus: capture.StatusUnknown,
		PacketCaptureError:  []string{"InternalError"},
	}}
}
