package capture

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/google/uuid"

	"pcapctl/capture/deliver"
	"pcapctl/capture/fault"
	"pcapctl/capture/request"
	"pcapctl/capture/sandbox"
	"pcapctl/capture/save"
	"pcapctl/capture/source"
	"pcapctl/filter"
)

// Result is what came of a capture.
type Result struct {
	Config     *request.Config
	Started    time.Time
	Elapsed    time.Duration
	StopReason StopReason
	Err        error // nil for a complete capture
	// Warnings are sentences about what went wrong on the way without harm to
	// the packets.
	Warnings []string

	Packets  uint64 // in the file
	Bytes    uint64 // of packet data in the file
	Received uint64 // passed the kernel's filter, those dropped included
	Freezes  uint64 // how often the kernel found the ring full
	Dropped  Drops
	Gaps     Gaps
	// AfterLimit is how many packets came after what ended the capture (a limit, the event, the disk reserve, a reader that
	// left) while it was on its way to the end. They are no losses.
	AfterLimit uint64
	// Truncated is the number of packets in the file that are cut though all of
	// their bytes, or more of them, were asked for.
	Truncated uint64

	Event save.Event // the packet that Config.StopWhen was looking for; zero when it was not seen

	Source  source.Report // where packets came from
	Read    uint64        // packets of a file that were looked at
	Files   []save.File
	Blobs   []deliver.Blob  // complete ones
	Upload  *deliver.Status // nil when the capture goes to a file only
	Sandbox *sandbox.Level  // nil when nothing was given up
	Context *ContextResult  // nil when there is none
}

// Drops are packets that matched and are not in the file, by who lost them.
type Drops struct {
	ByKernel    uint64 // the ring was full
	ByInterface uint64 // the interface lost them for sure; whether they matched is not known
	ByFile      uint64 // the disk did not take them
	// AroundLimit are those for which the ring was full while the process was held up over the limit that ended the
	// capture: some of them may have come after it, and would not have been recorded anyhow.
	AroundLimit uint64
}

// Total is the number of packets lost, those that may have come too late included.
func (d Drops) Total() uint64 { return d.ByKernel + d.ByInterface + d.ByFile + d.AroundLimit }

// Seconds is a duration as results have it: to the millisecond, and the float64 that is written so. Duration.Seconds adds
// two floats, and gives 3.8120000000000003 for 3.812 s.
func Seconds(d time.Duration) float64 {
	return float64(d.Round(time.Millisecond).Milliseconds()) / 1000
}

// Duration is that of the capture, to the millisecond.
func (st *Statistics) Duration() time.Duration {
	return time.Duration(st.DurationInSeconds * float64(time.Second)).Round(time.Millisecond)
}

// Dropped is the number of packets lost, by whomever; those that may have come too late
// are among them, as in Drops.Total.
func (st *Statistics) Dropped() uint64 {
	return st.PacketsDroppedByKernel + st.PacketsDroppedByInterface + st.PacketsNotWritten + st.PacketsDroppedAroundLimit
}

// Provisioning states of a resource, as the API names them.
const (
	StateUpdating  = "Updating" // made just now
	StateSucceeded = "Succeeded"
	StateFailed    = "Failed"
)

// Statuses of a capture, as the API names them.
const (
	StatusNotStarted = "NotStarted"
	StatusRunning    = "Running"
	StatusStopped    = "Stopped"
	StatusError      = "Error"
	StatusUnknown    = "Unknown"
)

const (
	// ResourceType is the type of every Resource.
	ResourceType = "Microsoft.Network/networkWatchers/packetCaptures"
	// watcherName stands where the service names its regional watcher.
	watcherName = "local"
)

// Resource is a session as the API's resource, which create and show print, with
// the members in the order in which the service sends them.
type Resource struct {
	Name       string             `json:"name"`
	ID         string             `json:"id,omitempty"`
	Etag       string             `json:"etag,omitempty"` // constant while the request is
	Properties ResourceProperties `json:"properties"`
	Type       string             `json:"type"`
}

// ResourceProperties are the request with its defaults filled in, the members
// of the API's status, and statistics that only pcapctl has.
type ResourceProperties struct {
	ProvisioningState string `json:"provisioningState"`
	request.Properties
	request.Limits
	CaptureStartTime    string      `json:"captureStartTime,omitempty"`
	PacketCaptureStatus string      `json:"packetCaptureStatus"`
	StopReason          StopReason  `json:"stopReason,omitempty"`
	PacketCaptureError  []string    `json:"packetCaptureError"`
	Statistics          *Statistics `json:"statistics,omitempty"`
}

// Statistics tell what was captured and what was not. All counts are exact.
type Statistics struct {
	DurationInSeconds         float64           `json:"durationInSeconds"`
	PacketsCaptured           uint64            `json:"packetsCaptured"`
	BytesCaptured             uint64            `json:"bytesCaptured"`
	PacketsReceived           uint64            `json:"packetsReceived"`
	PacketsDroppedByKernel    uint64            `json:"packetsDroppedByKernel"`
	PacketsDroppedByInterface uint64            `json:"packetsDroppedByInterface"`
	PacketsNotWritten         uint64            `json:"packetsNotWritten"`
	PacketsDroppedAroundLimit uint64            `json:"packetsDroppedAroundLimit"`
	PacketsAfterLimit         uint64            `json:"packetsAfterLimit"`
	PacketsTruncated          uint64            `json:"packetsTruncated"`
	RingFreezes               uint64            `json:"ringFreezes"`
	FilterMode                string            `json:"filterMode"`
	LinkType                  string            `json:"linkType"`
	Exclude                   []filter.Spec     `json:"exclude,omitempty"`     // see request.Additions
	HeadersOnly               bool              `json:"headersOnly,omitempty"` // the same
	StopWhen                  []filter.Spec     `json:"stopWhen,omitempty"`    // the same
	StopAfterInSeconds        *float64          `json:"stopAfterInSeconds,omitempty"`
	EventTime                 string            `json:"eventTime,omitempty"`   // of the packet that StopWhen was looking for
	EventPacket               uint64            `json:"eventPacket,omitempty"` // its number among those recorded, from 1 on
	Interfaces                []InterfaceResult `json:"interfaces"`
	Files                     []FileResult      `json:"files"`
	Blobs                     []FileResult      `json:"blobs"`
	Upload                    *deliver.Status   `json:"upload,omitempty"`
	Warnings                  []string          `json:"warnings,omitempty"`
	ReadFile                  *ReadFileResult   `json:"readFile,omitempty"`
	// Gaps are where the packets are missing that the kernel dropped, the first ones; GapsNotListed counts the others.
	Gaps          []GapResult  `json:"gaps,omitempty"`
	GapsNotListed *GapsSummary `json:"gapsNotListed,omitempty"`
	// Container is whose interfaces were captured on: its name, its runtime and its id.
	Container string `json:"container,omitempty"`
	// Context is the file beside the capture that says which programs had the sockets, and
	// what the machine counted.
	Context *ContextResult `json:"context,omitempty"`
	// Sandbox is what the process that captured had given up.
	Sandbox *sandbox.Level `json:"sandbox,omitempty"`
}

// Where names the capture files and blobs, for people.
func (st *Statistics) Where() string {
	list := make([]string, len(st.Files))
	for i, f := range st.Files {
		list[i] = f.Path
	}
	if summary := SummarizeFiles(list); summary != "" {
		list = []string{summary}
	}
	for _, b := range st.Blobs {
		list = append(list, b.Path)
	}
	return strings.Join(list, ", ")
}

// SummarizeFiles names the files of a rotation by the first and the last of them. It is
// "" for so few that each can be named.
func SummarizeFiles(paths []string) string {
	n := len(paths)
	if n <= 3 {
		return ""
	}
	return fmt.Sprintf("%d files from %s to %s", n, paths[0], paths[n-1])
}

// ReadFileResult is the file that packets were read from instead of interfaces.
type ReadFileResult struct {
	Path        string `json:"path"`
	PacketsRead uint64 `json:"packetsRead"` // recorded or not
}

// GapResult is a place where packets are missing. A time is absent where there is no packet on that side.
type GapResult struct {
	PacketsDropped uint64 `json:"packetsDropped"`
	LastBefore     string `json:"lastPacketBefore,omitempty"`
	FirstBehind    string `json:"firstPacketBehind,omitempty"`
}

// GapsSummary counts gaps that are not listed.
type GapsSummary struct {
	Gaps           int    `json:"gaps"`
	PacketsDropped uint64 `json:"packetsDropped"`
}

// InterfaceResult is one interface that was captured on.
type InterfaceResult struct {
	Name                      string `json:"name"`
	Index                     int    `json:"index"`
	PacketsDroppedByInterface uint64 `json:"packetsDroppedByInterface"`
	// Counters is absent while the session runs.
	Counters *DriverCounters `json:"driverCounters,omitempty"`
}

// DriverCounters are what an interface counted besides what it lost for sure,
// under the names that the kernel gives them. See source.DriverCounters.
type DriverCounters struct {
	Dropped   uint64 `json:"rxDropped"`
	Errors    uint64 `json:"rxErrors"`
	NoHandler uint64 `json:"rxNohandler"`
}

// FileResult is one file or blob that was written.
type FileResult struct {
	Path        string `json:"path"`
	SizeInBytes int64  `json:"sizeInBytes"`
	// Of a file of a rotation: its number, when it was begun, and its packets.
	Sequence  int     `json:"sequence,omitempty"`
	StartTime string  `json:"startTime,omitempty"`
	Packets   *uint64 `json:"packets,omitempty"`
}

// Resource makes the API's resource of a finished capture.
func (r *Result) Resource() *Resource {
	p := ResourceProperties{
		ProvisioningState:   StateSucceeded,
		PacketCaptureStatus: StatusStopped,
		StopReason:          r.StopReason,
		PacketCaptureError:  []string{},
		Statistics:          r.statistics(),
	}
	if r.Err != nil {
		p.ProvisioningState, p.PacketCaptureStatus = StateFailed, StatusError
		p.PacketCaptureError = []string{fault.ClassOf(r.Err).CaptureError()}
	}
	return newResource(r.Config, r.Started, p)
}

// Resource makes the API's resource of a session that has not begun.
func (p *Plan) Resource() *Resource {
	r := Result{Config: p.Config, Source: p.Source.Report()}
	if _, path := p.File(); path != "" {
		r.Files = []save.File{{Path: path}}
	}
	if p.Config.Blob != nil {
		r.Upload = &deliver.Status{State: deliver.Running}
	}
	if p.Context.On {
		r.Context = &ContextResult{Path: p.ContextPath()}
	}
	return newResource(p.Config, time.Time{}, ResourceProperties{
		ProvisioningState:   StateUpdating,
		PacketCaptureStatus: StatusNotStarted,
		PacketCaptureError:  []string{},
		Statistics:          r.statistics(),
	})
}

func newResource(c *request.Config, started time.Time, p ResourceProperties) *Resource {
	p.Properties, p.Limits = c.Properties(), c.Limits()
	res := &Resource{
		Name: c.Name,
		ID: "/subscriptions/" + c.Target.Subscription + "/resourceGroups/" + c.Target.ResourceGroup +
			"/providers/Microsoft.Network/networkWatchers/" + watcherName + "/packetCaptures/" + c.Name,
		Type:       ResourceType,
		Properties: p,
	}
	res.SetStart(started)
	res.setEtag()
	return res
}

// AsPrinted writes the resource as this program prints one. The record of a
// session may be by an older program.
func (r *Resource) AsPrinted() {
	p := &r.Properties
	p.Properties = p.AsPrinted()
	if p.PacketCaptureError == nil {
		p.PacketCaptureError = []string{}
	}
	if start, err := time.Parse(time.RFC3339, p.CaptureStartTime); err == nil {
		r.SetStart(start)
	}
	r.setEtag()
}

// SetStart sets when the capture began; a zero time is a capture that has not.
func (r *Resource) SetStart(t time.Time) {
	r.Properties.CaptureStartTime = timeText(t)
}

// setEtag gives the resource its tag. It tells one request from another, and
// stays the same while the capture goes on and after it.
func (r *Resource) setEtag() {
	r.Etag = ""
	if body, err := json.Marshal([]any{r.ID, r.Properties.Properties}); err == nil {
		r.Etag = `W/"` + uuid.NewSHA1(uuid.NameSpaceURL, body).String() + `"`
	}
}

// linkType is what records begin with, in words.
func linkType(r *source.Report) string {
	if r.PerInterface {
		return "that of each interface"
	}
	return r.LinkType.String()
}

func (r *Result) statistics() *Statistics {
	s := &Statistics{
		DurationInSeconds:         Seconds(r.Elapsed),
		PacketsCaptured:           r.Packets,
		BytesCaptured:             r.Bytes,
		PacketsReceived:           r.Received,
		PacketsDroppedByKernel:    r.Dropped.ByKernel,
		PacketsDroppedByInterface: r.Dropped.ByInterface,
		PacketsNotWritten:         r.Dropped.ByFile,
		PacketsDroppedAroundLimit: r.Dropped.AroundLimit,
		PacketsAfterLimit:         r.AfterLimit,
		PacketsTruncated:          r.Truncated,
		RingFreezes:               r.Freezes,
		FilterMode:                r.Source.FilterMode,
		LinkType:                  linkType(&r.Source),
		Exclude:                   r.Config.Additions.Exclude,
		HeadersOnly:               r.Config.Additions.HeadersOnly,
		StopWhen:                  r.Config.Additions.StopWhen,
		EventPacket:               r.Event.Number,
		Interfaces:                make([]InterfaceResult, 0, len(r.Source.Links)),
		Files:                     make([]FileResult, 0, len(r.Files)),
		Blobs:                     make([]FileResult, 0, len(r.Blobs)),
		Upload:                    r.Upload,
		Warnings:                  r.Warnings,
		Sandbox:                   r.Sandbox,
		Container:                 r.Source.Container,
		Context:                   r.Context,
	}
	if s.StopWhen != nil {
		s.StopAfterInSeconds = new(Seconds(r.Config.Additions.StopAfter))
	}
	if !r.Event.At.IsZero() {
		s.EventTime = r.Event.At.UTC().Format(time.RFC3339Nano)
	}
	if r.Source.File.Path != "" {
		s.ReadFile = &ReadFileResult{Path: r.Source.File.Path, PacketsRead: r.Read}
	}
	for _, i := range r.Source.Links {
		n := InterfaceResult{Name: i.Name, Index: i.Index, PacketsDroppedByInterface: i.Dropped}
		if r.StopReason != "" {
			n.Counters = &DriverCounters{Dropped: i.Other.Unclaimed, Errors: i.Other.Errors, NoHandler: i.Other.NoHandler}
		}
		s.Interfaces = append(s.Interfaces, n)
	}
	for _, g := range r.Gaps.List {
		s.Gaps = append(s.Gaps, GapResult{g.Packets, timeText(g.After), timeText(g.Before)})
	}
	if r.Gaps.More > 0 {
		s.GapsNotListed = &GapsSummary{r.Gaps.More, r.Gaps.Lost}
	}
	for _, f := range r.Files {
		s.Files = append(s.Files, FileResultOf(f))
	}
	for _, b := range r.Blobs {
		f := FileResultOf(b.File)
		f.Path, f.SizeInBytes = b.URL, b.Size
		s.Blobs = append(s.Blobs, f)
	}
	return s
}

// timeText is a time as results have it, "" for none.
func timeText(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(request.TimeLayout)
}

// FileResultOf is a file as statistics have it.
func FileResultOf(f save.File) FileResult {
	r := FileResult{Path: f.Path, SizeInBytes: f.Size}
	if f.Sequence > 0 {
		r.Sequence, r.StartTime, r.Packets = f.Sequence, f.Started.UTC().Format(request.TimeLayout), new(f.Packets)
	}
	return r
}

// Metadata is what the blob of a capture says of it: name, host, target,
// filters, times, packets, drops, and why it ended.
func (r *Resource) Metadata() map[string]string {
	p := &r.Properties
	m := deliver.Metadata{Name: r.Name, StopReason: string(p.StopReason), StartTime: p.CaptureStartTime}
	m.Host, _ = os.Hostname()
	if p.Target != nil {
		m.Target = *p.Target
	}
	set := filter.NewSet(parseAll(p.Filters)...)
	if st := p.Statistics; st != nil {
		set = set.Without(parseAll(st.Exclude)...)
		if start, err := time.Parse(time.RFC3339, p.CaptureStartTime); err == nil {
			m.EndTime = start.Add(st.Duration()).Format(time.RFC3339Nano)
		}
		m.Packets, m.PacketBytes, m.LinkType = st.PacketsCaptured, st.BytesCaptured, st.LinkType
		m.Dropped = st.Dropped()
	}
	m.Filters = set.String()
	return m.Map()
}

// parseAll are the filters of a record, those that are not valid left out.
func parseAll(specs []filter.Spec) (filters []filter.Filter) {
	for _, spec := range specs {
		if f, faults := filter.Parse(spec); faults == nil {
			filters = append(filters, f)
		}
	}
	return filters
}

// result says what a session has come to.
func (s *Session) result(reason StopReason, end time.Time) *Result {
	st := s.src.Stats()
	n := s.counters.Count()
	inTime, around, _ := s.drops.split(st.Dropped, end.Sub(s.Started))
	inTime, around, after := s.gaps.split(st.Dropped, inTime, around)
	r := &Result{
		Config:     s.Plan.Config,
		Started:    s.Started,
		Elapsed:    end.Sub(s.Started),
		StopReason: reason,
		Packets:    n.Packets,
		Bytes:      n.Bytes,
		Received:   st.Received,
		Freezes:    st.Freezes,
		Dropped:    Drops{ByKernel: inTime, ByInterface: st.Lost, ByFile: n.Lost, AroundLimit: around},
		Gaps:       s.gaps.Gaps,
		AfterLimit: n.Late + after,
		Truncated:  s.rec.Truncated(),
		Source:     s.src.Report(),
		Read:       st.Seen,
		Files:      s.sink.Files(),
		Sandbox:    s.level,
	}
	r.Event, _ = s.rec.Event()
	if s.limit.ofFile { // in the middle of what had been read
		r.Read, r.Received = s.limit.read, n.Packets+n.Lost+s.limit.refused
	}
	return r
}
