// Package deliver brings capture files into blobs of a storage account: those of
// a running capture while they grow, and files of a capture that has ended.
package deliver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/request"
	"pcapctl/capture/save"
	"pcapctl/filter"
	"pcapctl/storage/azblob"
	"pcapctl/storage/azblob/bloburl"
)

// Settings say how a capture reaches its blob. They are the host's, and no part
// of the request.
type Settings struct {
	// AuthMode restricts which credentials are used: key, sas, login, or "" for
	// the first there is.
	AuthMode string
	// Grace is how long the upload may go without progress once the capture has
	// ended; 0 is DefaultGrace.
	Grace time.Duration
	// SpoolDir is the folder for the file of a capture that goes to a blob only,
	// absolute.
	SpoolDir string
	// SpoolSize is how many bytes of such a file stay on the disk although they
	// have been sent; 0 is DefaultSpoolSize.
	SpoolSize int64
}

// Defaults of the settings. What a session of the default size has sent stays
// on the disk until the blob is complete, so that nothing that happens to the
// blob in between can lose a packet.
const (
	DefaultGrace     = 5 * time.Minute
	DefaultSpoolSize = 1 << 30
)

// WithDefaults fills in the defaults.
func (s Settings) WithDefaults() Settings {
	if s.Grace == 0 {
		s.Grace = DefaultGrace
	}
	if s.SpoolSize == 0 {
		s.SpoolSize = DefaultSpoolSize
	}
	return s
}

// Check finds what is wrong with the settings.
//
// Error class: Invalid.
func (s Settings) Check() error {
	invalid := func(target, format string, args ...any) error {
		return &fault.Error{Class: fault.Invalid, Target: target, Message: fmt.Sprintf(format, args...)}
	}
	switch azblob.AuthMode(s.AuthMode) {
	case azblob.AuthAny, azblob.AuthKey, azblob.AuthSAS, azblob.AuthLogin:
	default:
		return invalid("auth-mode", "%s given; allowed: key, sas, login", fault.Quote(s.AuthMode))
	}
	if s.Grace < 0 {
		return invalid("upload-grace", "%s given; allowed: a duration such as 5m", s.Grace)
	}
	if s.SpoolSize < 0 {
		return invalid("spool-size", "%d bytes given; allowed: a size such as 1GiB", s.SpoolSize)
	}
	return nil
}

// Delivery brings the files of one session into blobs, told of them by events.
// It is never slower than the network, and nobody waits for it but Finish.
type Delivery interface {
	save.Events
	// Warnings are sentences about the credentials, for the start.
	Warnings() []string
	// Reach is what the delivery may need of the network and of this machine, from
	// now to its end.
	Reach() Reach
	// Start begins to send. Before a connection sends its first packet, exclude
	// is given all flows that the delivery has, so that none of them is captured.
	//
	// Error classes: LocalFile, Internal.
	Start(exclude func([]filter.Flow) error) error
	// CaptureEnded says that nobody captures any more, so that flows need not be
	// excluded.
	CaptureEnded()
	// Progress may be called from any goroutine.
	Progress() Progress
	// Ending is closed when the capture has ended and the rest is being sent; nil
	// when nothing is ever sent.
	Ending() <-chan struct{}
	// Abandon ends the delivery without waiting any longer. What was sent stays
	// with the service. It is false when there is nothing to end: before the capture
	// has ended its files are not complete.
	Abandon() bool
	// Resume is the command, in backquotes, that sends what Abandon has left. by is
	// as Ended.ResumeBy.
	Resume(by string) string
	// Discard gives up a delivery of a session that never began.
	Discard()
	// Finish sends what is left, as long as there is progress.
	Finish(e Ended) Delivered
}

// Ended is what is known of a session when its files are complete.
type Ended struct {
	Files    []save.File
	Remove   func(save.File) error // takes a file away
	Folder   string                // that they lie in
	Metadata map[string]string     // for the one blob of a session
	Beside   Beside                // goes to a blob beside the first
	// ResumeBy is what `pcapctl upload` is given to go on with the upload: the name
	// of a session, or "" for the path of its file.
	ResumeBy string
}

// Delivered is what came of it.
type Delivered struct {
	Files    []save.File // those that are left on this machine
	Blobs    []Blob      // complete ones
	Status   *Status     // nil when nothing was to be sent
	Warnings []string
	Beside   BesideDone
	Err      error // a *fault.Error of class Storage, nil when all is there
}

// Blob is a blob that is complete.
type Blob struct {
	URL  string
	Size int64     // bytes
	File save.File // that was sent
}

// Status is how far the upload to a blob is, or was in the end.
type Status struct {
	State       string `json:"state"` // Uploading, Complete, Failed
	BytesStaged int64  `json:"bytesStaged"`
	BytesBehind int64  `json:"bytesBehind"` // written to the file and not staged yet
	Retries     int64  `json:"retries"`
	Problem     string `json:"problem,omitempty"`
}

// States of an upload.
const (
	Running  = "Uploading"
	Complete = "Complete"
	Failed   = "Failed"
)

// Progress is how far a delivery is.
type Progress struct {
	Size    int64 // bytes that are there to be sent
	Staged  int64 // bytes that the service has
	Retries int64 // requests that failed and were repeated
	Problem string
}

func progressOf(p azblob.Progress) Progress {
	return Progress{Size: p.Size, Staged: p.Staged, Retries: p.Retries, Problem: p.Problem}
}

// Reach is what a delivery may need: azblob.Reach.
type Reach = azblob.Reach

// None is the delivery of a session whose files stay on this machine.
type None struct{}

// Begun implements save.Events.
func (None) Begun(save.File, func() (*os.File, error)) {}

// Grew implements save.Events.
func (None) Grew(int, int64) {}

// Complete implements save.Events.
func (None) Complete(save.File) {}

// Leaving implements save.Events.
func (None) Leaving(save.File) {}

// Warn implements save.Events.
func (None) Warn(string) {}

// Start implements Delivery.
func (None) Start(func([]filter.Flow) error) error { return nil }

// CaptureEnded implements Delivery.
func (None) CaptureEnded() {}

// Reach implements Delivery.
func (None) Reach() Reach { return Reach{} }

// Warnings implements Delivery.
func (None) Warnings() []string { return nil }

// Progress implements Delivery.
func (None) Progress() Progress { return Progress{} }

// Ending implements Delivery.
func (None) Ending() <-chan struct{} { return nil }

// Abandon implements Delivery.
func (None) Abandon() bool { return false }

// Resume implements Delivery.
func (None) Resume(string) string { return "" }

// Discard implements Delivery.
func (None) Discard() {}

// Finish implements Delivery.
func (None) Finish(e Ended) Delivered { return Delivered{Files: e.Files} }

// sending is what every delivery has that sends something.
type sending struct {
	None
	target  *Target
	grace   time.Duration   // how long the upload may go without progress once the capture has ended
	ctx     context.Context // ends the upload, from wherever
	abandon context.CancelFunc
	ending  chan struct{} // closed when the capture has ended and the rest is being sent
}

func newSending(t *Target, grace time.Duration) sending {
	s := sending{target: t, grace: grace, ending: make(chan struct{})}
	s.ctx, s.abandon = context.WithCancel(context.Background())
	return s
}

// Reach implements Delivery.
func (s *sending) Reach() Reach { return s.target.Reach() }

// Warnings implements Delivery.
func (s *sending) Warnings() []string { return s.target.Warnings() }

// Ending implements Delivery.
func (s *sending) Ending() <-chan struct{} { return s.ending }

// Abandon implements Delivery.
func (s *sending) Abandon() bool {
	if !isClosed(s.ending) {
		return false
	}
	s.abandon()
	return true
}

// Target is a blob to be made.
type Target struct {
	Address bloburl.Address
	client  *azblob.Client
}

// NewTarget finds the credentials for a blob and checks them as far as that can
// be done without asking the service: whether a SAS can be read, lasts until the
// end and may do what is needed. until is zero when the end is not known.
//
// Error classes: Forbidden, NotFound, Conflict, Invalid, Storage.
func NewTarget(b *request.Blob, mode string, until time.Time) (*Target, error) {
	client, err := azblob.New(azblob.Options{Address: b.Address, SAS: b.SAS, Mode: azblob.AuthMode(mode), Until: until})
	if err != nil {
		return nil, blobError(err)
	}
	return &Target{Address: b.Address, client: client}, nil
}

// Warnings are sentences about credentials that the service may refuse, and that it alone can check.
func (t *Target) Warnings() []string { return t.client.Warnings() }

// Reach is Delivery.Reach.
func (t *Target) Reach() Reach { return t.client.Reach() }

// Check makes sure that the blob can be made: the credentials, the container,
// and that there is no such blob. It takes a minute at most. Error classes are
// those of NewTarget.
func (t *Target) Check(ctx context.Context) error {
	if err := t.client.Check(ctx); err != nil {
		return blobError(err)
	}
	return nil
}

// watchFlows tells exclude of the connections, from now on.
func (t *Target) watchFlows(exclude func([]filter.Flow) error) error {
	return t.client.WatchFlows(func(flows []azblob.Flow) error {
		list := make([]filter.Flow, len(flows))
		for i, f := range flows {
			list[i] = filter.Flow(f)
		}
		return exclude(list)
	})
}

// Close gives up the connections.
func (t *Target) Close() { t.client.Close() }

// blobError puts an error from before the capture into its class.
func blobError(err error) error {
	e, ok := errors.AsType[*azblob.Error](err)
	if !ok {
		return fault.Errorf(fault.Storage, "storage account: %w", err)
	}
	class := fault.Storage
	switch e.Kind {
	case azblob.Forbidden:
		class = fault.Forbidden
	case azblob.NotFound:
		class = fault.NotFound
	case azblob.Conflict:
		class = fault.Conflict
	case azblob.Invalid:
		class = fault.Invalid
	case azblob.Unavailable, azblob.Lost:
	}
	return &fault.Error{Class: class, Message: "storage account: " + e.Message, Target: "properties.storageLocation", Err: err}
}

// mostBytes is how many bytes of the disk a file of the config may take, 0 for
// no limit. Content that cannot be compressed takes a little more than it has.
func mostBytes(c *request.Config) int64 {
	if c.Compress == request.CompressNone {
		return c.MaxBytes
	}
	return c.MaxBytes + c.MaxBytes/100
}

// uploadFile is a file that is read beside the one who writes it.
type uploadFile interface {
	azblob.Source
	Close() error
}

// plainFile is a file of which nothing is given back any more.
type plainFile struct {
	*os.File
	given int64
}

// Given is azblob.Source's.
func (f plainFile) Given() int64 { return f.given }

// watchEvery is how often it is looked whether an upload gets on.
const watchEvery = time.Second

// watchProgress calls giveUp when the upload has come no further for as long as
// grace.
func watchProgress(done <-chan struct{}, grace time.Duration, up *azblob.Upload, giveUp func()) {
	tick := time.NewTicker(min(watchEvery, max(grace/4, time.Millisecond)))
	defer tick.Stop()
	last, since := up.Progress().Staged, time.Now()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
		}
		if now := up.Progress().Staged; now != last {
			last, since = now, time.Now()
		}
		if time.Since(since) >= grace {
			giveUp()
		}
	}
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
