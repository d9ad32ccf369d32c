package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"

	"pcapctl/capture"
	"pcapctl/capture/deliver"
	"pcapctl/capture/fault"
	"pcapctl/capture/registry"
	"pcapctl/capture/request"
	"pcapctl/capture/sandbox"
	"pcapctl/capture/save"
	"pcapctl/capture/source/live"
	"pcapctl/storage/secret"
)

// order is everything that makes a session, so that another process, the
// worker, can make the same one.
type order struct {
	Request     *request.Request `json:"request"`         // with its defaults filled in, and without its SAS
	Notes       []string         `json:"notes,omitempty"` // about the text of the request
	Host        request.Host     `json:"host"`
	Source      live.Options     `json:"source"`
	StateDir    string           `json:"stateDir"`
	FailOnDrops bool             `json:"failOnDrops"`

	sessionSettings
	Upload    deliver.Settings `json:"upload"`
	LogFormat string           `json:"logFormat"`

	sas   secret.Text      // of the blob; only forWorker reveals it
	given *request.Request // as it was before anything was filled in
	// noStateDir says why there is no state folder; nil when there is one. A capture
	// in the foreground does without.
	noStateDir error
}

// claim takes the session's name in the registry.
func (o *order) claim(plan *livePlan) (*registry.Claim, error) {
	if o.noStateDir != nil {
		return nil, o.noStateDir
	}
	return registry.New(o.StateDir).Claim(o.record(plan), false)
}

// sessionSettings are the settings of the host for every session, wherever its
// packets come from.
type sessionSettings struct {
	MinFree *int64      `json:"minFree,omitempty"`
	OnFile  save.OnFile `json:"onFile,omitzero"`
	Sandbox string      `json:"sandbox"` // sandboxAuto, sandboxOff
	Context bool        `json:"context,omitempty"`
}

// session reads the settings of a session. Its error has all their faults.
func (s *settings) session() (o sessionSettings, err error) {
	errs := make([]error, 5)
	_, errs[3] = s.ownLimits()
	o.Context, errs[4] = setContext.value(s)
	o.Sandbox, errs[2] = setSandbox.value(s)
	o.MinFree, errs[0] = setMinFree.value(s)
	o.OnFile, errs[1] = s.onFile()
	return o, fault.Join(errs...)
}

// options are the options of a session that has the settings.
func (o sessionSettings) options() capture.Options {
	return capture.Options{Guard: guardProgram(), MinFree: o.MinFree, OnFile: o.OnFile}
}

// checkOnFile finds a command that must not be run for the files of a plan.
func (o sessionSettings) checkOnFile(plan *capture.Plan) error {
	_, path := plan.File()
	if err := o.OnFile.Check(plan.Config, path); err != nil {
		return wrongSetting(setOnFile.key, "%v", err)
	}
	return nil
}

// order fills in the settings of the host. Its error has all their faults.
func (s *settings) order(o *order) error {
	errs := make([]error, 4)
	o.Source, errs[0] = s.source()
	o.StateDir, o.noStateDir = s.stateDir()
	o.Upload, errs[2] = s.upload(o.StateDir)
	o.sessionSettings, errs[3] = s.session()
	_, errs[1] = setKeepEnded.value(s)
	return fault.Join(append(errs, s.oneNetwork())...)
}

// livePlan is the plan of a capture on interfaces.
type livePlan struct {
	*capture.Plan
	spec    *live.Planned
	outlet  save.Outlet      // of a stream, else nil
	folders []sandbox.Folder // of what else is written
}

// plan makes the plan of the order's config.
func (o *order) plan(config *request.Config) (*livePlan, error) {
	if o.Source.NoICMPErrors {
		config = config.WithoutICMPErrors()
	}
	spec, planned, err := newSource(config, o.Source)
	if err != nil {
		return nil, err
	}
	plan := capture.NewPlan(config, spec)
	plan.Context = capture.Context{On: o.Context && !config.Stream, Netns: o.Source.Netns}
	return &livePlan{Plan: plan, spec: planned}, fault.Join(plan.SaveBy(o.Upload), o.checkOnFile(plan))
}

// setConfig makes the order one for the session of a config, which was made of
// the given request.
func (o *order) setConfig(config *request.Config, given *request.Request) {
	o.Request, o.given = config.Request(), given
	o.Host.Additions = config.Additions
	o.Notes = given.Notes
	if config.Blob != nil {
		o.sas = config.Blob.SAS
	}
}

// forWorker is the order as the worker reads it from its pipe. The text has the
// SAS in it: it goes into that pipe and nowhere else.
func (o *order) forWorker() ([]byte, error) {
	full := *o
	if !o.sas.IsZero() {
		req, p, l := *o.Request, *o.Request.Properties, *o.Request.Properties.StorageLocation
		l.StoragePath = new(*l.StoragePath + "?" + o.sas.Reveal())
		p.StorageLocation, req.Properties, full.Request = &l, &p, &req
	}
	return json.Marshal(full)
}

// record is what the registry keeps of the session.
func (o *order) record(plan *livePlan) registry.Record {
	return registry.Record{
		Name:        plan.Config.Name,
		Created:     o.Host.Now,
		Source:      o.Source,
		Output:      o.Host.Output,
		Limits:      o.Host.Limits,
		Additions:   plan.Config.Additions,
		FailOnDrops: o.FailOnDrops,
		Resource:    plan.Resource(),
	}
}

// same tells whether the order's request is the one that made the session: whether
// it would have made the same session at the same time. So {startTime} in a path
// is not a difference, nor is a default that is written out.
func (o *order) same(rec *registry.Record) bool {
	host, req := o.Host, *o.given
	host.Now, req.Name = rec.Created, &rec.Name
	config, err := request.NewConfig(&req, host)
	if err != nil {
		return false
	}
	a, err1 := json.Marshal([]any{config.Properties(), config.Additions})
	b, err2 := json.Marshal([]any{rec.Resource.Properties.Properties, rec.Additions})
	return err1 == nil && err2 == nil && bytes.Equal(a, b) &&
		o.FailOnDrops == rec.FailOnDrops && o.Context == (rec.Resource.Properties.Statistics.Context != nil) &&
		o.Host.Output == rec.Output && o.Host.Limits == rec.Limits && sameSource(o.Source, rec.Source)
}

func sameSource(a, b live.Options) bool {
	return a.Promiscuous == b.Promiscuous && a.Netns == b.Netns && a.NoICMPErrors == b.NoICMPErrors && a.CookedLink() == b.CookedLink() &&
		cmp.Or(a.BufferSize, live.DefaultBufferSize) == cmp.Or(b.BufferSize, live.DefaultBufferSize) &&
		slices.Equal(names(a.Interfaces), names(b.Interfaces))
}

func names(list []string) []string {
	list = slices.Clone(list)
	slices.Sort(list)
	return slices.Compact(list)
}
