package request

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"pcapctl/capture/fault"
	"pcapctl/filter"
)

// The bounds of a request as a text.
const (
	MaxBody  = 1 << 20 // bytes; the whole body
	maxDepth = 32      // objects and lists within one another
)

// memberNames are the members of each object of a request, by the name of the
// member that holds the object.
var memberNames = map[string][]string{
	"":           {"name", "properties"},
	"properties": {"target", "targetType", "scope", "bytesToCapturePerPacket", "totalBytesPerSession", "timeLimitInSeconds", "storageLocation", "filters", "continuousCapture", "captureSettings"},
	"scope":      {"include", "exclude"},
	"storageLocation": {
		"storageId", "storagePath", "filePath", "localPath",
	},
	"filters":         {"protocol", "localIPAddress", "localPort", "remoteIPAddress", "remotePort"},
	"captureSettings": {"fileCount", "fileSizeInBytes", "sessionTimeLimitInSeconds"},
}

// outputOnly are the members of a resource that create and show print and that
// are not part of a request. They are ignored, whatever they hold, so that what
// was printed can be sent again.
var outputOnly = map[string][]string{
	"":           {"id", "etag", "type"},
	"properties": {"provisioningState", "captureStartTime", "packetCaptureStatus", "stopReason", "packetCaptureError", "statistics"},
}

// Decode reads the body of the API's PUT, strictly: the error is a *fault.Error
// of class Invalid that lists every fault, each with its line and column (syntax)
// or its JSON path (meaning).
//
// Keys may have any letter case, null is the same as absent, numbers may be
// strings. Members that only a printed resource has are ignored.
//
// The request is returned beside the error as far as it could be read, nil when
// it could not: give it to NewConfig and both errors to fault.Join, to report
// every fault at once.
func Decode(data []byte) (*Request, error) {
	root, faults := readJSON(data)
	if root == nil {
		return nil, fault.OfRequest(faults)
	}
	d := decoder{faults: faults}
	req := d.request(*root)
	return req, fault.OfRequest(d.faults)
}

// DecodeFilters reads the list of filters by itself, as a flag gives it. Paths
// of faults begin at filters[0]. The error is as that of Decode, and so is what
// is returned beside it.
func DecodeFilters(data []byte) ([]filter.Spec, error) {
	root, faults := readJSON(data)
	if root == nil {
		return nil, fault.OfRequest(faults)
	}
	d := decoder{faults: faults}
	filters := d.filters(*root, "filters")
	return filters, fault.OfRequest(d.faults)
}

// DecodeCaptureSettings reads the settings of continuous mode by themselves,
// as a flag gives them. Paths of faults begin at captureSettings. The error is as
// that of Decode, and so is what is returned beside it.
func DecodeCaptureSettings(data []byte) (*CaptureSettings, error) {
	root, faults := readJSON(data)
	if root == nil {
		return nil, fault.OfRequest(faults)
	}
	d := decoder{faults: faults}
	settings := d.captureSettings(*root, "captureSettings")
	return settings, fault.OfRequest(d.faults)
}

// readJSON makes a tree of a text. With faults and a tree, the tree is that of
// the text with its syntax faults fixed.
func readJSON(data []byte) (*node, []fault.Detail) {
	bad := func(format string, args ...any) (*node, []fault.Detail) {
		return nil, []fault.Detail{{Code: fault.CodeBadRequest, Message: fmt.Sprintf(format, args...)}}
	}
	if len(data) > MaxBody {
		return bad("the request has more than the %d bytes (1 MiB) that are allowed", MaxBody)
	}
	// Windows editors put a byte order mark before UTF-8; RFC 8259, section
	// 8.1, lets a reader ignore it.
	data = bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xfe")), bytes.HasPrefix(data, []byte("\xfe\xff")),
		len(data) > 1 && (data[0] == 0) != (data[1] == 0): // an ASCII character of two bytes
		return bad("the request is UTF-16 text: save it as UTF-8")
	case !utf8.Valid(data):
		return nil, []fault.Detail{badUTF8(data)}
	case len(bytes.TrimSpace(data)) == 0:
		return bad("the request is empty; a request is a JSON object that begins with {\"properties\":")
	}
	fixed, faults := repair(data)
	if fixed == nil {
		return nil, faults
	}
	root, err := parseTree(fixed)
	if err != nil {
		return nil, append(faults, fault.Detail{Code: fault.CodeBadRequest, Message: err.Error()})
	}
	return &root, faults
}

func badUTF8(data []byte) fault.Detail {
	at := 0
	for at < len(data) {
		r, size := utf8.DecodeRune(data[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return fault.Detail{
		Code: fault.CodeBadRequest, Target: positionOf(data, at).String(),
		Message: fmt.Sprintf("byte 0x%02x is not UTF-8: save the request as UTF-8\n%s", data[at], snippet(data, at)),
	}
}

// decoder turns a tree into a Request and gathers the faults on the way.
type decoder struct{ faults []fault.Detail }

func (d *decoder) fault(path, format string, args ...any) {
	if len(d.faults) > fault.MaxFaults {
		return // more than one answer lists
	}
	d.faults = append(d.faults, fault.Detail{Code: fault.CodeInvalidValue, Target: path, Message: fmt.Sprintf(format, args...)})
}

func (d *decoder) request(v node) *Request {
	req := &Request{}
	ok := d.object(v, "", "", func(name, path string, v node) {
		switch name {
		case "name":
			req.Name = d.text(v, path)
		case "properties":
			req.Properties = d.properties(v, path)
		}
	})
	if !ok {
		return nil
	}
	return req
}

func (d *decoder) properties(v node, path string) *Properties {
	p := &Properties{}
	ok := d.object(v, path, "properties", func(name, path string, v node) {
		switch name {
		case "target":
			p.Target = d.text(v, path)
		case "targetType":
			p.TargetType = d.text(v, path)
		case "scope":
			p.Scope = d.scope(v, path)
		case "bytesToCapturePerPacket":
			p.BytesToCapturePerPacket = d.integer(v, path, boundsPerPacket)
		case "totalBytesPerSession":
			p.TotalBytesPerSession = d.integer(v, path, boundsTotal)
		case "timeLimitInSeconds":
			p.TimeLimitInSeconds = d.integer(v, path, boundsTime)
		case "storageLocation":
			p.StorageLocation = d.storageLocation(v, path)
		case "filters":
			p.Filters = d.filters(v, path)
		case "continuousCapture":
			p.ContinuousCapture = d.bool(v, path)
		case "captureSettings":
			p.CaptureSettings = d.captureSettings(v, path)
		}
	})
	if !ok {
		return nil
	}
	return p
}

func (d *decoder) scope(v node, path string) *Scope {
	s := &Scope{}
	d.object(v, path, "scope", func(name, path string, v node) {
		switch name {
		case "include":
			s.Include = d.texts(v, path)
		case "exclude":
			s.Exclude = d.texts(v, path)
		}
	})
	return s
}

func (d *decoder) storageLocation(v node, path string) *StorageLocation {
	l := &StorageLocation{}
	ok := d.object(v, path, "storageLocation", func(name, path string, v node) {
		switch name {
		case "storageId":
			l.StorageID = d.text(v, path)
		case "storagePath":
			l.StoragePath = d.text(v, path)
		case "filePath":
			l.FilePath = d.text(v, path)
		case "localPath":
			l.LocalPath = d.text(v, path)
		}
	})
	if !ok {
		return nil
	}
	return l
}

// filters is never nil for a list, however empty.
func (d *decoder) filters(v node, path string) []filter.Spec {
	specs := []filter.Spec{}
	ok := d.list(v, path, "filters", func(path string, v node) {
		specs = append(specs, d.filter(v, path))
	})
	if !ok {
		return nil
	}
	return specs
}

func (d *decoder) filter(v node, path string) filter.Spec {
	var s filter.Spec
	d.object(v, path, "filters", func(name, path string, v node) {
		switch name {
		case "protocol":
			s.Protocol = d.text(v, path)
		case "localIPAddress":
			s.LocalIPAddress = d.text(v, path)
		case "localPort":
			s.LocalPort = d.text(v, path)
		case "remoteIPAddress":
			s.RemoteIPAddress = d.text(v, path)
		case "remotePort":
			s.RemotePort = d.text(v, path)
		}
	})
	return s
}

func (d *decoder) captureSettings(v node, path string) *CaptureSettings {
	s := &CaptureSettings{}
	ok := d.object(v, path, "captureSettings", func(name, path string, v node) {
		switch name {
		case "fileCount":
			s.FileCount = d.integer(v, path, boundsFileCount)
		case "fileSizeInBytes":
			s.FileSizeInBytes = d.integer(v, path, boundsFileSize)
		case "sessionTimeLimitInSeconds":
			s.SessionTimeLimitInSeconds = d.integer(v, path, boundsSessionTime)
		}
	})
	if !ok {
		return nil
	}
	return s
}
