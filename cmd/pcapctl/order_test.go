package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/request"
	"pcapctl/filter"
)

// The secret of a request goes to the worker by its pipe and into no record.
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
	ord.Request = resolved(config)
	text, err := json.Marshal(ord)
	must(t, err)
	var got order
	must(t, json.Unmarshal(text, &got))
	again, err := request.NewConfig(got.Request, got.Host)
	must(t, err)
	if again.Blob.SAS.Reveal() != sas || again.FilePath != config.FilePath || again.Blob.Address != config.Blob.Address {
		t.Errorf("the worker is ordered %s", text)
	}
	record, err := json.Marshal(ord.record(&capture.Plan{Config: config, Program: &filter.Program{}}))
	must(t, err)
	if strings.Contains(string(record), "TOPSECRET") || !strings.Contains(string(record), "container/x.cap") {
		t.Errorf("the record: %s", record)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
