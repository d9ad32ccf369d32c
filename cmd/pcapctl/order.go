package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"

	"pcapctl/capture"
	"pcapctl/capture/fault"
	"pcapctl/capture/registry"
	"pcapctl/capture/request"
)

// order is everything that makes a session, so that another process can make
// the same. It may hold a secret and goes from one to the other by a pipe.
type order struct {
	Request     *request.Request `json:"request"` // with nothing left to fill in
	Host        request.Host     `json:"host"`
	Source      capture.Source   `json:"source"`
	StateDir    string           `json:"stateDir"`
	FailOnDrops bool             `json:"failOnDrops"`

	MinFree   *int64                 `json:"minFree,omitempty"`
	OnFile    capture.OnFile         `json:"onFile,omitzero"`
	Upload    capture.UploadSettings `json:"upload"`
	LogFormat string                 `json:"logFormat"`

	given *request.Request // as it was before anything was filled in
}

// order fills in what of an order is settings of the host. Its error has all
// their faults.
func (s *settings) order(o *order) error {
	errs := make([]error, 5)
	o.Source, errs[0] = s.source()
	if o.StateDir, errs[1] = s.stateDir(); errs[1] == nil {
		o.Upload, errs[2] = s.upload(o.StateDir)
	}
	o.MinFree, errs[3] = s.minFree()
	o.OnFile, errs[4] = s.onFile()
	return fault.Join(errs...)
}

// plan makes the plan of the order's config.
func (o *order) plan(config *request.Config) (*capture.Plan, error) {
	plan, err := capture.NewPlan(config, o.Source)
	if err != nil {
		return nil, err
	}
	return plan, plan.SaveBy(o.Upload)
}

// resolved is the request that makes the config again, its secret included.
func resolved(c *request.Config) *request.Request {
	req := c.Request()
	if c.Blob != nil && !c.Blob.SAS.IsZero() {
		req.Properties.StorageLocation.StoragePath = new(c.Blob.StoragePath())
	}
	return req
}

// record is what the registry keeps of the session.
func (o *order) record(plan *capture.Plan) registry.Record {
	return registry.Record{
		Name:        plan.Config.Name,
		Created:     o.Host.Now,
		Source:      o.Source,
		Output:      o.Host.Output,
		FailOnDrops: o.FailOnDrops,
		Resource:    plan.Resource(),
	}
}

// same tells whether the order's request is the one that made the session:
// whether it would be the same session, had it been given when that was. So
// {startTime} in a path is no difference, and a default that is written out is
// none.
func (o *order) same(rec *registry.Record) bool {
	host, req := o.Host, *o.given
	host.Now, req.Name = rec.Created, &rec.Name
	config, err := request.NewConfig(&req, host)
	if err != nil {
		return false
	}
	a, err1 := json.Marshal(config.Properties())
	b, err2 := json.Marshal(rec.Resource.Properties.Properties)
	return err1 == nil && err2 == nil && bytes.Equal(a, b) &&
		o.FailOnDrops == rec.FailOnDrops && o.Host.Output == rec.Output && sameSource(o.Source, rec.Source)
}

func sameSource(a, b capture.Source) bool {
	return a.Promiscuous == b.Promiscuous && a.Netns == b.Netns && a.NoICMPErrors == b.NoICMPErrors &&
		cmp.Or(a.BufferSize, capture.DefaultBufferSize) == cmp.Or(b.BufferSize, capture.DefaultBufferSize) &&
		slices.Equal(names(a.Interfaces), names(b.Interfaces))
}

func names(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}
