package request

import (
	"slices"
	"time"

	"pcapctl/filter"
)

// Request is the request that makes this session, with its defaults and
// placeholders filled in. It holds no secrets, so a SAS is not in it; apart from
// that NewConfig makes an equal Config of it.
func (c *Config) Request() *Request {
	return &Request{Name: new(c.Name), Properties: new(c.Properties())}
}

// Properties are the request's members as the service prints them: lists are []
// and never null, a filter has all its members, and of storageLocation those
// that were not given are absent, but for storagePath.
func (c *Config) Properties() Properties {
	p := Properties{
		Target:                  new(c.Target.String()),
		TargetType:              new(c.TargetType),
		Scope:                   &Scope{Include: []string{}, Exclude: []string{}},
		BytesToCapturePerPacket: new(int64(c.SnapLen)),
		StorageLocation:         &StorageLocation{},
		Filters:                 make([]filter.Spec, 0, c.Filters.Len()),
	}
	for _, f := range c.Filters.Filters() {
		p.Filters = append(p.Filters, f.Spec())
	}
	if c.Blob != nil {
		p.StorageLocation.StorageID = new(c.Blob.StorageID.String())
		p.StorageLocation.StoragePath = new(c.Blob.Address.String())
	}
	if c.Continuous == nil {
		p.StorageLocation.FilePath = new(c.FilePath)
		if c.Stream {
			p.StorageLocation.FilePath = new(StandardOutput)
		}
		p.TotalBytesPerSession = new(c.MaxBytes)
		p.TimeLimitInSeconds = new(int64(c.MaxTime / time.Second))
		return p.AsPrinted()
	}
	p.StorageLocation.LocalPath = new(c.FilePath)
	p.ContinuousCapture = new(c.Continuous.Rotate)
	p.CaptureSettings = &CaptureSettings{FileCount: new(int64(c.Continuous.FileCount))}
	// 0 is not a valid value of these two. Only a capture of a file's packets has
	// no limit of the kind: its request did not have the member.
	if c.Continuous.FileSize > 0 {
		p.CaptureSettings.FileSizeInBytes = new(c.Continuous.FileSize)
	}
	if c.MaxTime > 0 {
		p.CaptureSettings.SessionTimeLimitInSeconds = new(int64(c.MaxTime / time.Second))
	}
	return p.AsPrinted()
}

// AsPrinted writes absent and empty members in the one way in which the service
// prints them. Records of sessions that older programs made have other ways.
func (p Properties) AsPrinted() Properties {
	if p.StorageLocation != nil {
		l := *p.StorageLocation
		for _, member := range []**string{&l.StorageID, &l.FilePath, &l.LocalPath} {
			if text(*member) == "" {
				*member = nil
			}
		}
		l.StoragePath = new(text(l.StoragePath))
		p.StorageLocation = &l
	}
	if p.Filters != nil {
		p.Filters = slices.Clone(p.Filters)
		for i := range p.Filters {
			f := &p.Filters[i]
			for _, member := range []**string{&f.Protocol, &f.LocalIPAddress, &f.LocalPort, &f.RemoteIPAddress, &f.RemotePort} {
				*member = new(text(*member))
			}
		}
	}
	return p
}
