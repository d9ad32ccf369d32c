package capture_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pcapctl/capture/request"
)

func testHost() request.Host {
	return request.Host{GOOS: "linux", Name: "web01.example", Now: time.Date(2031, 2, 3, 14, 5, 6, 789_000_000, time.UTC)}
}

// testRequest makes a request that has all it needs, and the given members.
func testRequest(t testing.TB, members string) *request.Request {
	t.Helper()
	if !strings.Contains(members, `"target"`) {
		members += `,"target":"/subscriptions/11111111-2222-3333-4444-555555555555/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm1"`
	}
	if !strings.Contains(members, `"storageLocation"`) {
		members += `,"storageLocation":{"filePath":"/var/captures/x"}`
	}
	req, err := request.Decode([]byte(`{"name":"pc1","properties":{` + strings.TrimPrefix(members, ",") + "}}"))
	if err != nil {
		t.Fatalf("%s\n%v", members, err)
	}
	return req
}

// savedAs is the member that names a file in a folder.
func savedAs(dir, name string) string {
	path, _ := json.Marshal(filepath.Join(dir, name)) // a string always becomes JSON
	return `"storageLocation":{"filePath":` + string(path) + `}`
}

func mustConfig(t testing.TB, members string, h request.Host) *request.Config {
	t.Helper()
	c, err := request.NewConfig(testRequest(t, members), h)
	if err != nil {
		t.Fatalf("%s\n%v", members, err)
	}
	return c
}
