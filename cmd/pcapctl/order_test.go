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
	"pcapctl/capture/request"
	"pcapctl/capture/source"
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
