package capture

import (
	"fmt"
	"path"
	"strings"

	"pcapctl/capture/pcapfile"
)

// Output says what capture files look like. Like the interfaces it is no part
// of the API's request. The zero Output is what a path's extension asks for,
// and classic pcap in microseconds where it asks for nothing.
type Output struct {
	Format    string `json:"format,omitempty"`    // "", FormatPcap, FormatPcapng
	Precision string `json:"precision,omitempty"` // of classic pcap: "", PrecisionMicro, PrecisionNano
}

// What the members of Output may be.
const (
	FormatPcap     = "pcap"
	FormatPcapng   = "pcapng"
	PrecisionMicro = "micro"
	PrecisionNano  = "nano"
)

const extensionNG = ".pcapng"

// output settles the format of the files, whose paths have been judged.
func (j *judge) output(c *Config) {
	o := j.host.Output
	switch o.Format {
	case "", FormatPcap, FormatPcapng:
	default:
		j.fault("format", "%s is no format of capture files; allowed: %s, %s", show(o.Format), FormatPcap, FormatPcapng)
	}
	switch o.Precision {
	case "", PrecisionMicro, PrecisionNano:
	default:
		j.fault("timestamp-precision", "%s is no resolution of times; allowed: %s, %s", show(o.Precision), PrecisionMicro, PrecisionNano)
	}
	ng := o.Format == FormatPcapng || hasExtension(c.FilePath, extensionNG)
	if c.Blob != nil {
		ng = ng || hasExtension(c.Blob.URL, extensionNG)
	}
	switch {
	case ng && o.Precision == PrecisionMicro:
		j.fault("timestamp-precision", "pcapng files have nanoseconds: leave it out, or write classic pcap")
	case ng:
		c.Format = pcapfile.NG
	case o.Precision == PrecisionNano:
		c.Format = pcapfile.Nano
	}
}

// formatName is the format as Output names it.
func (c *Config) formatName() string {
	if c.Format == pcapfile.NG {
		return FormatPcapng
	}
	return FormatPcap
}

func hasExtension(name, ext string) bool { return strings.EqualFold(path.Ext(name), ext) }

// extend gives a file's name its extension: .cap, .pcap and .pcapng stay,
// whatever else there is gets one behind it, because a dot in a name (a
// version, a host's name) makes no extension. A name that promises another
// format than the one that is asked for is refused.
func (o Output) extend(name string) (extended, fault string) {
	switch lower := strings.ToLower(name); {
	case lower == ".cap" || lower == ".pcap" || lower == extensionNG || strings.Trim(name, ".") == "":
		return "", fmt.Sprintf("%s is no name of a file: write one such as x.cap", show(name))
	case strings.HasSuffix(lower, ".ntar"):
		return "", fmt.Sprintf("%s has the extension that pcapng had before it had its name: write .pcapng", show(name))
	case strings.HasSuffix(lower, extensionNG) && o.Format == FormatPcap:
		return "", fmt.Sprintf("%s has the extension of pcapng, and classic pcap was asked for: write .cap or .pcap, or leave out the format", show(name))
	}
	return o.capName(name), ""
}

// capName is extend for names that have no fault.
func (o Output) capName(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".cap", ".pcap", extensionNG:
		return name
	}
	if o.Format == FormatPcapng {
		return strings.TrimRight(name, ".") + extensionNG
	}
	return strings.TrimRight(name, ".") + ".cap"
}
