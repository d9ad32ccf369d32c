package request

import (
	"crypto/rand"
	"fmt"
	"regexp"
	"strings"
	"sync"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
	"pcapctl/filter"
	"pcapctl/storage/secret"
)

// The types of target that the API has.
const targetTypeVM, targetTypeSS = "AzureVM", "AzureVMSS"

// Host is what a request is judged against besides itself. Nothing here is
// looked up on the machine: paths are judged as text.
type Host struct {
	GOOS          string    // "windows" for its rules of paths, anything else for those of Linux
	Name          string    // the host's name
	CapturesDir   string    // the captures folder, absolute; "" is the default of the system
	StorageSuffix string    // DNS suffix of blob endpoints; "" is core.windows.net
	BlobEndpoint  string    // URL that stands for the account's own blob endpoint, such as an emulator's; http to loopback only; "" for none
	Now           time.Time // when the session is made
	Output        Output    // what the files shall look like
	Application   string    // version of the program, for those who read its files
}

// Config is a valid session: plain values, defaults filled in. NewConfig makes
// one, and it is not changed afterwards.
type Config struct {
	Name        string // 1 to 80 characters
	HostName    string
	Application string // version of the program that captures
	Target      ResourceID
	TargetType  string // "AzureVM"

	SnapLen  uint32        // bytes recorded of each packet, 0 = whole
	MaxBytes int64         // of one file, its header included; 0 = no limit
	MaxTime  time.Duration // of the session; 0 = no limit

	CapturesDir string // the captures folder, clean and absolute
	FilePath    string // clean absolute path under the captures folder, "" when none
	Format      pcapfile.Format
	Compress    string      // CompressNone, CompressGzip, CompressZstd
	Blob        *Blob       // nil when none
	Continuous  *Continuous // nil for a classic capture

	Filters filter.Set

	// Warnings are sentences about what is allowed and probably not meant.
	Warnings []string
}

// Blob is where in a storage account the capture goes.
type Blob struct {
	StorageID ResourceID
	URL       string      // of the blob, without a query
	SAS       secret.Text // the query of a shared access signature, without "?"; zero when none was given
}

// Continuous are the settings of continuous mode. The session's time limit is
// Config.MaxTime.
type Continuous struct {
	Ring      bool  // true: the oldest file goes once there are FileCount; false: one file, and the session ends when it is full
	FileCount int   // 1 to 10000
	FileSize  int64 // bytes, 102400 to 4294967295
}

// NewConfig judges a request and fills in its defaults. The error is an *Error
// of class Invalid with every fault, each with its JSON path. Nothing on the
// machine is looked at and nothing is changed.
func NewConfig(req *Request, host Host) (*Config, error) {
	if req == nil {
		req = &Request{}
	}
	j := &judge{host: host.withDefaults()}
	c := &Config{Name: j.name(req.Name), CapturesDir: j.host.CapturesDir, HostName: j.host.Name, Application: j.host.Application}
	p := req.Properties
	if p == nil {
		j.missing("properties", `the member "properties" is missing: everything that describes a capture stands within it`)
		p = &Properties{}
	} else {
		c.Target = j.target(p.Target)
	}
	c.TargetType = j.targetType(p.TargetType)
	j.scope(p.Scope)
	c.SnapLen = uint32(j.number("properties.bytesToCapturePerPacket", p.BytesToCapturePerPacket, boundsPerPacket))
	j.limits(c, p)
	if req.Properties != nil {
		j.destination(c, p)
	}
	j.output(c)
	c.Filters = j.filters(p.Filters)
	c.Warnings = j.warnings
	if err := fault.OfRequest(j.faults); err != nil {
		return nil, err
	}
	return c, nil
}

// withoutICMPErrors is the same session with filters that leave out the ICMP
// errors about their packets.
func (c *Config) WithoutICMPErrors() *Config {
	other := *c
	other.Filters = c.Filters.WithICMPErrors(false)
	return &other
}

func (h Host) withDefaults() Host {
	if h.StorageSuffix == "" {
		h.StorageSuffix = "core.windows.net"
	}
	if h.CapturesDir == "" {
		h.CapturesDir = "/var/captures"
		if h.windows() {
			h.CapturesDir = `C:\Captures`
		}
	}
	h.CapturesDir = rulesOf(h).clean(h.CapturesDir)
	h.Now = h.Now.UTC()
	return h
}

func (h Host) windows() bool { return h.GOOS == "windows" }

// IsRing reports whether the capture goes into a ring of files.
func (c *Config) IsRing() bool { return c.Continuous != nil && c.Continuous.Ring }

// judge gathers what is wrong with a request.
type judge struct {
	host     Host
	session  string // the session's name, for placeholders
	faults   []fault.Detail
	warnings []string
}

func (j *judge) fault(path, format string, args ...any) {
	j.coded(fault.CodeInvalidValue, path, format, args...)
}

func (j *judge) missing(path, format string, args ...any) {
	j.coded(fault.CodeMissing, path, format, args...)
}

func (j *judge) coded(code, path, format string, args ...any) {
	if len(j.faults) > fault.MaxFaults {
		return // more than one answer lists
	}
	j.faults = append(j.faults, fault.Detail{Code: code, Target: path, Message: fmt.Sprintf(format, args...)})
}

// pattern is a regular expression that is compiled when it is first asked for:
// to compile all of them takes a tenth of a start, and a run needs few.
func pattern(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// validName is the API's rule for the name of a packet capture.
var validName = pattern(`^[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,78}[A-Za-z0-9_])?$`)

func (j *judge) name(given *string) string {
	if given == nil {
		j.session = j.host.defaultName()
		return j.session
	}
	j.session = *given
	if !validName().MatchString(*given) {
		j.fault("name", "%s is no name of a packet capture; allowed: 1 to 80 letters, digits, _ . and -, a letter or digit first, a letter, digit or _ last", fault.Quote(*given))
		j.session = "name"
	}
	return j.session
}

// TimeLayout is how the service writes times.
const TimeLayout = "2006-01-02T15:04:05.0000000Z"

// StampLayout is a time that may stand in a name on every system, in UTC and
// to the millisecond.
const StampLayout = "20060102T150405.000Z"

// defaultName never comes twice: two sessions of one millisecond differ in
// their last eight characters, which are 40 random bits.
func (h Host) defaultName() string {
	host := h.safeName()
	host = strings.TrimRight(host[:min(len(host), 40)], ".-")
	return "pcapctl-" + host + "-" + h.Now.Format(StampLayout) + "-" + strings.ToLower(rand.Text()[:8])
}

var unsafeInName = pattern(`[^A-Za-z0-9_-]+`)

// safeName is the host's name as it may stand in a file's name and in a
// session's: letters, digits, - and _, and single dots within.
func (h Host) safeName() string {
	var labels []string
	for label := range strings.SplitSeq(h.Name, ".") {
		if label = unsafeInName().ReplaceAllString(label, "-"); label != "" {
			labels = append(labels, label)
		}
	}
	name := strings.Join(labels, ".")
	name = strings.Trim(name[:min(len(name), 63)], ".-")
	if name == "" {
		return "host"
	}
	return name
}

func (j *judge) target(given *string) ResourceID {
	const path = "properties.target"
	if given == nil {
		j.missing(path, "the member \"target\" is missing: the resource id of this virtual machine, /subscriptions/<id>/resourceGroups/<group>/providers/%s/<name>", kindVM)
		return ResourceID{}
	}
	id, err := parseVM(*given)
	if err != nil {
		j.fault(path, "%v", err)
		return ResourceID{}
	}
	j.warnPlaceholders(path, id)
	return id
}

func (j *judge) warnPlaceholders(path string, id ResourceID) {
	if left := id.Placeholders(); len(left) > 0 {
		j.warnings = append(j.warnings, fmt.Sprintf("%s still holds %s from the documentation; it is kept as it is, as a label", path, strings.Join(left, " and ")))
	}
}

func (j *judge) targetType(given *string) string {
	const path = "properties.targetType"
	switch {
	case given == nil || sameName(*given, targetTypeVM):
	case sameName(*given, targetTypeSS):
		j.fault(path, "%s is a scale set, and pcapctl captures on the one machine it runs on: run it on each instance, with targetType %q; allowed: %s", fault.Quote(*given), targetTypeVM, targetTypeVM)
	default:
		j.fault(path, "%s is no type of target; allowed: %s", fault.Quote(*given), targetTypeVM)
	}
	return targetTypeVM
}

func (j *judge) scope(given *Scope) {
	if given == nil {
		return
	}
	for _, list := range []struct {
		name  string
		items []string
	}{{"include", given.Include}, {"exclude", given.Exclude}} {
		if len(list.items) > 0 {
			j.fault("properties.scope."+list.name, "%d instances of a scale set are named, and pcapctl captures on the one machine it runs on; allowed: an empty list", len(list.items))
		}
	}
}

func (j *judge) filters(specs []filter.Spec) filter.Set {
	filters := make([]filter.Filter, 0, len(specs))
	for i, spec := range specs {
		f, faults := filter.Parse(spec)
		for _, why := range faults {
			j.fault(fmt.Sprintf("properties.filters[%d].%s", i, why.Field), "%s", fault.Mask(why.Reason))
		}
		filters = append(filters, f)
	}
	return filter.NewSet(filters...)
}
