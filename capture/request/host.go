package request

import "time"

// Host is what a request is validated against: the machine that captures, as its
// caller describes it. Nothing is looked up on the machine; paths are text.
type Host struct {
	GOOS          string    // "windows" for its rules of paths, anything else for those of Linux
	Name          string    // the host's name
	CapturesDir   string    // the captures folder, absolute; "" is the default of the system. On Windows a request may then name a file in any folder
	StorageSuffix string    // DNS suffix of blob endpoints; "" is core.windows.net
	BlobEndpoint  string    // URL that stands for the account's own blob endpoint, such as an emulator's; http to loopback only; "" for none
	Now           time.Time // when the session is made
	Output        Output    // what the files shall look like
	Limits        Limits    // that the API's request has no member for
	Additions     Additions // what of the capture the request has no member for
	Application   string    // version of the program, for those who read its files
	// FromFile says that packets come from a capture file. The defaults of limits
	// are for a capture of interfaces, which would otherwise go on until somebody
	// remembers it: a file ends by itself, so a limit that was not given does not
	// apply.
	FromFile bool

	anyFolder bool // a request may name a file in any folder
}

// DefaultCapturesDir is the captures folder of a machine, except on Windows. There the service takes "a valid local path" of any
// folder, and this one is where a file without a folder lies.
const (
	DefaultCapturesDir        = "/var/captures"
	defaultWindowsCapturesDir = `C:\Captures`
)

// withDefaults fills in what was left empty.
func (h Host) withDefaults() Host {
	if h.StorageSuffix == "" {
		h.StorageSuffix = "core.windows.net"
	}
	if h.CapturesDir == "" {
		h.CapturesDir = DefaultCapturesDir
		if h.windows() {
			h.CapturesDir, h.anyFolder = defaultWindowsCapturesDir, true
		}
	}
	h.CapturesDir = rulesOf(h).clean(h.CapturesDir)
	h.Now = h.Now.UTC()
	return h
}

func (h Host) windows() bool { return h.GOOS == "windows" }
