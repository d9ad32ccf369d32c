package request

import (
	"fmt"
	"path"
	"strings"

	"pcapctl/capture/fault"
	"pcapctl/capture/pcapfile"
)

// Output says what capture files look like. Like the interfaces it is not part
// of the API's request. The zero Output is what a path's extension asks for,
// and classic pcap in microseconds where it asks for nothing.
type Output struct {
	Format    string `json:"format,omitempty"`    // "", FormatPcap, FormatPcapng
	Precision string `json:"precision,omitempty"` // of classic pcap: "", PrecisionMicro, PrecisionNano
	Compress  string `json:"compress,omitempty"`  // "", CompressOff, CompressGzip, CompressZstd
}

// What the members of Output may be.
const (
	FormatPcap     = "pcap"
	FormatPcapng   = "pcapng"
	PrecisionMicro = "micro"
	PrecisionNano  = "nano"
	CompressNone   = "" // of a Config
	CompressOff    = "none"
	CompressGzip   = "gzip"
	CompressZstd   = "zstd"
)

// Compressions are the extensions of compressed files, by compression.
var Compressions = map[string]string{CompressGzip: ".gz", CompressZstd: ".zst"}

// splitCompress cuts the extension of a compression from a name.
func splitCompress(name string) (rest, ext string) {
	for _, ext := range Compressions {
		if rest, ok := cutExtension(name, ext); ok {
			return rest, name[len(rest):]
		}
	}
	return name, ""
}

func cutExtension(name, ext string) (string, bool) {
	if len(name) > len(ext) && strings.EqualFold(name[len(name)-len(ext):], ext) {
		return name[:len(name)-len(ext)], true
	}
	return name, false
}

// compressOf is the compression that a name asks for.
func compressOf(name string) string {
	for compress, ext := range Compressions {
		if _, ok := cutExtension(name, ext); ok {
			return compress
		}
	}
	return CompressNone
}

const extensionNG = ".pcapng"

// output settles the format of the files, whose paths are valid by now.
func (v *validator) output(c *Config) {
	o := v.host.Output
	switch o.Format {
	case "", FormatPcap, FormatPcapng:
	default:
		v.fault("format", "%s is not a valid format of capture files; allowed: %s, %s", fault.Quote(o.Format), FormatPcap, FormatPcapng)
	}
	switch o.Precision {
	case "", PrecisionMicro, PrecisionNano:
	default:
		v.fault("timestamp-precision", "%s is not a valid resolution of times; allowed: %s, %s", fault.Quote(o.Precision), PrecisionMicro, PrecisionNano)
	}
	switch o.Compress {
	case "", CompressOff, CompressGzip, CompressZstd:
	default:
		v.fault("compress", "%s is not a valid compression; allowed: %s, %s, %s", fault.Quote(o.Compress), CompressZstd, CompressGzip, CompressOff)
	}
	ng := o.Format == FormatPcapng || isNG(c.FilePath)
	c.Compress = compressOf(c.FilePath)
	if c.Blob != nil {
		ng = ng || isNG(c.Blob.Address.Name)
		packed := compressOf(c.Blob.Address.Name)
		if c.FilePath != "" && packed != c.Compress {
			v.fault("properties.storageLocation.storagePath", "the blob is to be compressed in another way than the file, and it is the file that is sent: give both the same extension")
		}
		c.Compress = packed
	}
	switch {
	case ng && o.Precision == PrecisionMicro:
		v.fault("timestamp-precision", "pcapng files have nanoseconds: leave it out, or write classic pcap")
	case ng:
		c.Format = pcapfile.NG
	case o.Precision == PrecisionNano:
		c.Format = pcapfile.Nano
	}
}

// FormatName is the format as Output names it.
func (c *Config) FormatName() string {
	if c.Format == pcapfile.NG {
		return FormatPcapng
	}
	return FormatPcap
}

func isNG(name string) bool {
	name, _ = splitCompress(name)
	return strings.EqualFold(path.Ext(name), extensionNG)
}

// followFile gives the default name of a capture's blob the format and the
// compression of its file.
func (o *Output) followFile(file string) {
	if o.Compress == "" {
		o.Compress = compressOf(file)
	}
	if o.Format == "" && isNG(file) {
		o.Format = FormatPcapng
	}
}

// extend gives a file's name its extension: .cap, .pcap and .pcapng stay, every
// other name gets one appended, because a dot in a name (a version, a host's
// name) does not make an extension. A name with the extension of another format
// than the one that is asked for is refused.
func (o Output) extend(name string) (extended, why string) {
	given := name
	name, packed := splitCompress(name)
	if want, ok := Compressions[o.Compress]; packed != "" && o.Compress != "" && (!ok || !strings.EqualFold(want, packed)) {
		return "", fmt.Sprintf("%s has the extension of another compression than the one that was asked for, %s: write another extension, or leave out the compression", fault.Quote(given), o.Compress)
	}
	switch lower := strings.ToLower(name); {
	case lower == ".cap" || lower == ".pcap" || lower == extensionNG || strings.Trim(name, ".") == "":
		return "", fmt.Sprintf("%s is not a valid name of a file: write one such as x.cap", fault.Quote(name))
	case strings.HasSuffix(lower, ".ntar"):
		return "", fmt.Sprintf("%s has the extension that pcapng had before it had its name: write .pcapng", fault.Quote(name))
	case strings.HasSuffix(lower, extensionNG) && o.Format == FormatPcap:
		return "", fmt.Sprintf("%s has the extension of pcapng, and classic pcap was asked for: write .cap or .pcap, or leave out the format", fault.Quote(name))
	}
	return o.capName(given), ""
}

// capName is extend for names that have no fault.
func (o Output) capName(name string) string {
	name, packed := splitCompress(name)
	if packed == "" {
		packed = Compressions[o.Compress]
	}
	return o.plainName(name) + packed
}

func (o Output) plainName(name string) string {
	switch strings.ToLower(path.Ext(name)) {
	case ".cap", ".pcap", extensionNG:
		return name
	}
	if o.Format == FormatPcapng {
		return strings.TrimRight(name, ".") + extensionNG
	}
	return strings.TrimRight(name, ".") + ".cap"
}

// Extension is what the name of a file gets that has none.
func Extension(o Output) string { return strings.TrimPrefix(o.capName("x"), "x") }
