package request

import (
	"pcapctl/capture/fault"
)

// text is what a member of storageLocation holds: absent and empty are the same,
// as the service prints "" for what is not there.
func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// destination validates storageLocation as a whole and sets FilePath and Blob.
func (v *validator) destination(c *Config, p *Properties) {
	const at = "properties.storageLocation"
	l := p.StorageLocation
	if l == nil {
		l = &StorageLocation{}
	}
	file, fileAt, code := text(l.FilePath), at+".filePath", fault.CodeNoDestination
	if c.Continuous != nil {
		file, fileAt, code = text(l.LocalPath), at+".localPath", fault.CodeNoContinuousDest
		if text(l.FilePath) != "" {
			v.wrongMode(at+".filePath", "does not go with continuousCapture: use localPath, or leave out continuousCapture")
		}
	} else if text(l.LocalPath) != "" {
		v.wrongMode(at+".localPath", "belongs to continuous mode: use filePath, or add \"continuousCapture\": true or false")
	}
	switch {
	case file == StandardOutput:
		v.stream(c, l, fileAt)
		return
	case file != "":
		folder, path, faults := v.file(file)
		if len(faults) == 0 {
			c.CapturesDir, c.FilePath = folder, path
		}
		if len(faults) == 0 && c.Rotates() {
			faults = v.rotatedNameFaults(c.FilePath)
		}
		for _, f := range faults {
			v.fault(fileAt, "%s", f)
		}
	case text(l.FilePath) != "" || text(l.LocalPath) != "": // of the other mode, which is its fault
	case text(l.StorageID) == "" && text(l.StoragePath) == "":
		v.coded(code, at, "there is no destination: give %s (a file on this machine) or storageId (a storage account), or both", lastMember(fileAt))
	}
	v.host.Output.followFile(c.FilePath)
	v.blob(c, l)
}

// StandardOutput as the path of a capture file stands for standard output: the capture is a stream.
const StandardOutput = "-"

// stream validates a capture that goes to standard output, and to nowhere else.
func (v *validator) stream(c *Config, l *StorageLocation, fileAt string) {
	c.Stream = true
	if c.Continuous != nil {
		v.fault(fileAt, "a stream is not continuous mode, which makes files: leave out continuousCapture, or name a file")
	}
	if text(l.StorageID) != "" || text(l.StoragePath) != "" {
		v.fault("properties.storageLocation.storageId", "a stream goes to standard output and to no blob: leave one of them out")
	}
	if o := v.host.Output.Compress; o != "" && o != CompressOff {
		v.fault("compress", "a stream is not compressed, as its reader could not follow it then: leave it out, or say %s", CompressOff)
	}
}
