package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/pcapfile"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
	"pcapctl/capture/source/live"
	"pcapctl/filter"
)

// The SAS of a request goes to the worker by its pipe, and is nowhere else: not
// in the order of a capture in the foreground and not in a session's record.
func TestSecretOfAnOrder(t *testing.T) {
	const sas = "sv=2024-01-01&sig=TOPSECRET"
	ord := &order{Host: request.Host{Name: "h", Now: time.Now()}}
	config, err := request.NewConfig(&request.Request{Name: new("x"), Properties: &request.Properties{
		Target: new(vmID("", "vm")),
		StorageLocation: &request.StorageLocation{
			StorageID:   new(armID("g", "Microsoft.Storage/storageAccounts/account1")),
			StoragePath: new("https://account1.blob.core.windows.net/container/x.cap?" + sas),
			FilePath:    new("/var/captures/x.cap"),
		},
	}}, ord.Host)
	must(t, err)
	ord.setConfig(config, &request.Request{})
	shown, err := json.Marshal(ord)
	must(t, err)
	shown = fmt.Appendf(shown, "%+v %s", ord, *ord.Request.Properties.StorageLocation.StoragePath)
	if strings.Contains(string(shown), "TOPSECRET") {
		t.Errorf("the order of a capture in the foreground: %s", shown)
	}
	text, err := ord.forWorker()
	must(t, err)
	var got order
	must(t, json.Unmarshal(text, &got))
	again, err := request.NewConfig(got.Request, got.Host)
	must(t, err)
	if again.Blob.SAS.Reveal() != sas || again.FilePath != config.FilePath || again.Blob.Address != config.Blob.Address {
		t.Errorf("the worker is ordered %s", text)
	}
	if *ord.Request.Properties.StorageLocation.StoragePath != config.Blob.Address.String() {
		t.Error("the order itself has got the SAS")
	}
	record, err := json.Marshal(ord.record(&livePlan{Plan: capture.NewPlan(config, noSource{})}))
	must(t, err)
	if strings.Contains(string(record), "TOPSECRET") || !strings.Contains(string(record), "container/x.cap") {
		t.Errorf("the record: %s", record)
	}
}

// Whatever makes another capture makes the request of --if-exists return another one.
func TestOrdersOfOneSession(t *testing.T) {
	of := func(change func(*order)) (*order, *livePlan) {
		ord := &order{Host: request.Host{Name: "h", GOOS: linux, Now: time.Now()}}
		change(ord)
		given := &request.Request{Name: new("x"), Properties: &request.Properties{
			Target: new(vmID("", "vm")), StorageLocation: &request.StorageLocation{FilePath: new("/var/captures/x.cap")},
		}}
		config, err := request.NewConfig(given, ord.Host)
		must(t, err)
		ord.setConfig(config, given)
		plan := capture.NewPlan(config, noSource{})
		plan.Context.On = ord.Context
		return ord, &livePlan{Plan: plan}
	}
	first, plan := of(func(*order) {})
	rec := first.record(plan)
	udp := []filter.Spec{{Protocol: new("UDP")}}
	for name, test := range map[string]struct {
		change func(*order)
		same   bool
	}{
		"nothing":            {func(*order) {}, true},
		"defaults":           {func(o *order) { o.Source.BufferSize, o.Source.Cooked = live.DefaultBufferSize, pcapfile.SLL2 }, true},
		"cooked":             {func(o *order) { o.Source.Cooked = pcapfile.SLL }, false},
		"buffer":             {func(o *order) { o.Source.BufferSize = 1 << 20 }, false},
		"interfaces":         {func(o *order) { o.Source.Interfaces = []string{"lo"} }, false},
		"namespace":          {func(o *order) { o.Source.Netns, o.Source.Container = "12@34", "web (docker, 0123)" }, false},
		"context":            {func(o *order) { o.Context = true }, false},
		"drops":              {func(o *order) { o.FailOnDrops = true }, false},
		"packet limit":       {func(o *order) { o.Host.Limits.Packets = 5 }, false},
		"format":             {func(o *order) { o.Host.Output.Format = request.FormatPcapng }, false},
		"headers only":       {func(o *order) { o.Host.Additions.HeadersOnly = true }, false},
		"exclude":            {func(o *order) { o.Host.Additions.Exclude = udp }, false},
		"event":              {func(o *order) { o.Host.Additions.StopWhen = udp }, false},
		"event, and a while": {func(o *order) { o.Host.Additions.StopWhen, o.Host.Additions.StopAfter = udp, time.Second }, false},
	} {
		ord, plan := of(test.change)
		back := ord.record(plan)
		if ord.same(&rec) != test.same || first.same(&back) != test.same || !ord.same(&back) {
			t.Errorf("%s: same session %v, want %v; the other way round %v; itself %v", name, ord.same(&rec), test.same, first.same(&back), ord.same(&back))
		}
	}
}

// noSource is a source of which nothing is known.
type noSource struct{ source.Spec }

func (noSource) Report() source.Report { return source.Report{} }
func (noSource) Warnings() []string    { return nil }

// environ is the environment without settings of whoever runs the tests.
func environ() []string {
	return slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, variablePrefix) })
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
