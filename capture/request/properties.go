package request

import (
	"time"

	"pcapctl/filter"
)

// Request is the request that makes this session, with its defaults and
// placeholders filled in. It holds no secrets, so a SAS is not in it; apart from
// that NewConfig makes an equal Config of it.
func (c *Config) Request() *Request {
	return &Request{Name: new(c.Name), Properties: new(c.Properties())}
}

// Properties are the request's members as the resource prints them. Lists are
// [] and never null, and the members of storageLocation that are not used are
// "", as the service has them.
func (c *Config) Properties() Properties {
	p := Properties{
		Target:                  new(c.Target.String()),
		TargetType:              new(c.TargetType),
		Scope:                   &Scope{Include: []string{}, Exclude: []string{}},
		BytesToCapturePerPacket: new(int64(c.SnapLen)),
		StorageLocation:         &StorageLocation{StorageID: new(""), StoragePath: new("")},
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
		p.TotalBytesPerSession = new(c.MaxBytes)
		p.TimeLimitInSeconds = new(int64(c.MaxTime / time.Second))
		return p
	}
	p.StorageLocation.LocalPath = new(c.FilePath)
	p.ContinuousCapture = new(c.Continuous.Ring)
	p.CaptureSettings = &CaptureSettings{FileCount: new(int64(c.Continuous.FileCount))}
	// 0 is not a valid value of these two. Only a capture of a file's packets has
	// no limit of the kind: its request did not have the member.
	if c.Continuous.FileSize > 0 {
		p.CaptureSettings.FileSizeInBytes = new(c.Continuous.FileSize)
	}
	if c.MaxTime > 0 {
		p.CaptureSettings.SessionTimeLimitInSeconds = new(int64(c.MaxTime / time.Second))
	}
	return p
}
