package request

import (
	"fmt"

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
	"filters":         {"protocol", "localIPAddress", "localPort", "remoteIPAddress", "remotePort", "tcpFlags"},
	"captureSettings": {"fileCount", "fileSizeInBytes", "sessionTimeLimitInSeconds"},
}

// Decode reads the body of the API's PUT, strictly: the error is a *fault.Error
// of class Invalid that lists every fault, each with its line and column (syntax)
// or its JSON path (meaning).
//
// Keys may have any letter case, null is the same as absent, numbers may be
// strings, strings may stand in single quotes. The text is UTF-8, or UTF-16 with
// a byte order mark. Members that only a printed resource or a template has are
// ignored, and the flat form in which az and PowerShell print a resource is read,
// too; Request.Notes tell of it.
//
// The request is returned beside the error as far as it could be read, nil when
// it could not: give it to NewConfig and both errors to fault.Join, to report
// every fault at once.
func Decode(data []byte) (*Request, error) {
	root, notes, faults := readJSON(data)
	if root == nil {
		return nil, fault.OfRequest(faults)
	}
	d := decoder{faults: faults, notes: notes}
	req := d.request(d.resource(*root))
	if req != nil {
		req.Notes = d.allNotes()
	}
	return req, fault.OfRequest(d.faults)
}

// readJSON makes a tree of a text. With faults and a tree, the tree is that of
// the text with its syntax faults fixed.
func readJSON(data []byte) (root *node, notes []string, faults []fault.Detail) {
	text, faults := plainText(data)
	if faults != nil {
		return nil, nil, faults
	}
	return readText(text)
}

// readText is readJSON for a text that is UTF-8.
func readText(text []byte) (root *node, notes []string, faults []fault.Detail) {
	fixed, notes, faults := repair(text)
	if fixed == nil {
		return nil, notes, faults
	}
	tree, err := parseTree(fixed)
	if err != nil {
		return nil, notes, append(faults, fault.Detail{Code: fault.CodeBadRequest, Message: err.Error()})
	}
	return &tree, notes, faults
}

// decoder turns a tree into a Request and gathers the faults on the way.
type decoder struct {
	faults []fault.Detail
	notes  []string

	printed  bool     // the text is a resource as a client or the service printed it
	template bool     // the text is a resource of a template
	ignored  []string // members that were passed over and that a note names
	own      []string // what the service would refuse
	hyphens  bool     // names may have hyphens, as az writes them
}

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
			req.Name = d.resourceName(v, path)
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
		case "tcpFlags":
			s.TCPFlags = d.text(v, path)
		}
	})
	d.noteOwn(path, s)
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
