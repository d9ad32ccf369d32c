package request

import (
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture/fault"
)

func TestSeedRequest(t *testing.T) {
	data, err := os.ReadFile("testdata/seed-request.json")
	if err != nil {
		t.Fatal(err)
	}
	req, syntax := Decode(data)
	checkFaults(t, syntax,
		`line 10, column 42: a backslash in a JSON string is written twice: write "d:\\capture\\{packetCaptureName}"`,
		`line 17, column 53: a comma is missing between two members: write a comma here, before "remotePort"`,
		`line 20, column 14: a comma before the closing "}": nothing follows it, remove this comma`)
	if req == nil {
		t.Fatal("the fixed request was not read")
	}
	_, meaning := NewConfig(req, testHost())
	golden(t, "testdata/seed-request.golden", fault.Join(syntax, meaning).Error()+"\n")
}

// The seed's request, fixed as the messages say and saved to a file alone.
func TestSeedRequestFixed(t *testing.T) {
	data, err := os.ReadFile("testdata/seed-request.json")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.NewReplacer(
		`d:\capture\{packetCaptureName}`, "/var/captures/{packetCaptureName}.cap",
		`"20.147.11.23"`, `"20.147.11.23",`,
		"],\n", "]\n",
		`https://{storageaccountname}.blob.core.windows.net/capture/{packetCapturenName}`, "",
		"/subscriptions/{subscriptionId}/resourceGroups/{resourceGroupName}/providers/Microsoft.Storage/storageAccounts/pcstore", "",
	).Replace(string(data))
	req, err := Decode([]byte(text))
	checkFaults(t, err)
	req.Name = new("vm1PacketCapture")
	c, err := NewConfig(req, testHost())
	checkFaults(t, err)
	if c.FilePath != "/var/captures/vm1PacketCapture.cap" || c.SnapLen != 40 || c.MaxBytes != 252144000 || c.MaxTime != time.Minute || c.Filters.Len() != 1 || len(c.Warnings) != 1 {
		t.Errorf("got %+v", c)
	}
}

// golden compares with a file; PCAPCTL_UPDATE_GOLDEN=1 writes it anew.
func golden(t *testing.T, file, got string) {
	t.Helper()
	if os.Getenv("PCAPCTL_UPDATE_GOLDEN") != "" {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Error(diff)
	}
}
