package request

import (
	"encoding/json"
	"errors"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture/fault"
	"pcapctl/filter"
	"pcapctl/storage/secret"
)

// compareConfigs are the options that compare Configs by what they mean.
var compareConfigs = cmp.Options{
	cmp.Comparer(func(a, b filter.Event) bool { return reflect.DeepEqual(a, b) }),
	cmp.Comparer(func(a, b filter.Set) bool {
		return slices.EqualFunc(a.Filters(), b.Filters(), filter.Filter.Equal)
	}),
}

// roundTrip shows that a Config's request makes the same Config, by way of
// JSON, also at another time.
func roundTrip(t testing.TB, c *Config, h Host) {
	t.Helper()
	text, err := json.Marshal(c.Request())
	if err != nil {
		t.Fatal(err)
	}
	req, err := Decode(text)
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	h.Now = h.Now.Add(time.Hour)
	again, err := NewConfig(req, h)
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	want := *c
	if c.Blob != nil {
		blob := *c.Blob
		blob.SAS = secret.Text{} // the request holds no secrets
		want.Blob = &blob
	}
	if diff := cmp.Diff(&want, again, compareConfigs); diff != "" {
		t.Fatalf("%s\n%s", text, diff)
	}
}

// checkConfig holds a Config to what its fields promise.
func checkConfig(t testing.TB, c *Config) {
	t.Helper()
	switch {
	case !validName().MatchString(c.Name) || len(c.Name) > 80:
		t.Fatalf("name %q", c.Name)
	case c.Target.IsZero() || c.TargetType != "AzureVM":
		t.Fatalf("target %v %q", c.Target, c.TargetType)
	case c.MaxBytes < 0 || c.MaxBytes > 0 && c.MaxBytes < 24 || c.MaxBytes > 1<<32-1:
		t.Fatalf("bytes %d", c.MaxBytes)
	case c.MaxTime < 0 || c.MaxTime > 604800*time.Second || c.Continuous == nil && c.MaxTime > 18000*time.Second:
		t.Fatalf("time %v", c.MaxTime)
	case c.FilePath == "" && c.Blob == nil && !c.Stream:
		t.Fatal("no destination")
	case c.Blob != nil && (c.Blob.Address.IsZero() || c.Blob.StorageID.IsZero() || strings.ContainsAny(c.Blob.Address.String(), "?#{} ")):
		t.Fatalf("blob %+v", c.Blob)
	}
}

// testRequest makes a request that has all it needs, and the given members.
func testRequest(t testing.TB, members string) *Request {
	t.Helper()
	if !strings.Contains(members, `"target"`) {
		members += `,"target":"` + testVM + `"`
	}
	if !strings.Contains(members, `"storageLocation"`) {
		members += `,"storageLocation":{"filePath":"/var/captures/x"}`
	}
	req, err := Decode([]byte(`{"name":"pc1","properties":{` + strings.TrimPrefix(members, ",") + "}}"))
	if err != nil {
		t.Fatalf("%s\n%v", members, err)
	}
	return req
}

func mustConfig(t testing.TB, members string, h Host) *Config {
	t.Helper()
	c, err := NewConfig(testRequest(t, members), h)
	if err != nil {
		t.Fatalf("%s\n%v", members, err)
	}
	checkConfig(t, c)
	roundTrip(t, c, h)
	return c
}

func TestNewConfigDefaults(t *testing.T) {
	c := mustConfig(t, "", testHost())
	vm, err := parseVM(testVM)
	if err != nil {
		t.Fatal(err)
	}
	want := &Config{
		Name: "pc1", Target: vm, TargetType: "AzureVM", MaxBytes: 1073741824, MaxTime: 5 * time.Hour,
		CapturesDir: "/var/captures", FilePath: "/var/captures/x.cap", HostName: testHost().Name,
	}
	if diff := cmp.Diff(want, c, compareConfigs); diff != "" {
		t.Error(diff)
	}
}

func TestNewConfigValues(t *testing.T) {
	c := mustConfig(t, `"targetType":"azurevm","scope":{"include":[],"exclude":[]},"bytesToCapturePerPacket":4294967295,"totalBytesPerSession":4294967295,
		"timeLimitInSeconds":1,"captureSettings":{},"storageLocation":{"storageId":"","storagePath":"","filePath":"/var/captures/{startTime}","localPath":""},
		"filters":[{"protocol":"tcp","localPort":"80;443;"},{"remoteIPAddress":"10.0.0.0-10.0.0.9"}]`, testHost())
	if c.SnapLen != 1<<32-1 || c.MaxBytes != 1<<32-1 || c.MaxTime != time.Second || c.TargetType != "AzureVM" || c.Filters.Len() != 2 || c.FilePath != "/var/captures/20310203T140506.789Z.cap" || c.Warnings != nil {
		t.Errorf("got %+v", c)
	}
	c = mustConfig(t, `"bytesToCapturePerPacket":0,"totalBytesPerSession":0,"timeLimitInSeconds":0`, testHost())
	if c.SnapLen != 0 || c.MaxBytes != 0 || c.MaxTime != 0 {
		t.Errorf("0 is no limit, got %+v", c)
	}
	if c = mustConfig(t, `"totalBytesPerSession":24`, testHost()); c.MaxBytes != 24 {
		t.Errorf("got %d bytes", c.MaxBytes)
	}
}

func TestContinuousMode(t *testing.T) {
	c := mustConfig(t, `"continuousCapture":true,"storageLocation":{"localPath":"/var/captures/x"},"captureSettings":{"fileCount":3}`, testHost())
	want := &Continuous{Rotate: true, FileCount: 3, FileSize: 104857600}
	if diff := cmp.Diff(want, c.Continuous); diff != "" || c.MaxTime != 24*time.Hour || c.FilePath != "/var/captures/x.cap" || c.MaxBytes != 104857600 {
		t.Errorf("%s\n%+v", diff, c)
	}
	c = mustConfig(t, `"continuousCapture":false,"storageLocation":{"localPath":"/var/captures/x","filePath":""},"captureSettings":{"fileCount":10000,"fileSizeInBytes":102400,"sessionTimeLimitInSeconds":604800}`, testHost())
	want = &Continuous{FileCount: 10000, FileSize: 102400}
	if diff := cmp.Diff(want, c.Continuous); diff != "" || c.MaxTime != 7*24*time.Hour {
		t.Errorf("%s\n%+v", diff, c)
	}
	text, err := json.Marshal(c.Properties())
	if err != nil {
		t.Fatal(err)
	}
	for _, member := range []string{"totalBytesPerSession", "timeLimitInSeconds", "filePath"} {
		if strings.Contains(string(text), member) {
			t.Errorf("%s is in %s", member, text)
		}
	}
}

// A default of a live capture is not one of packets of a file, in either mode; a
// limit that was given is.
func TestDefaultsOfLiveCaptureAreNotThoseOfAFile(t *testing.T) {
	h := testHost()
	h.FromFile = true
	for _, test := range []struct {
		members string
		bytes   int64
		time    time.Duration
	}{
		{"", 0, 0},
		{`"timeLimitInSeconds":0,"totalBytesPerSession":0`, 0, 0},
		{`"timeLimitInSeconds":null`, 0, 0},
		{`"timeLimitInSeconds":60`, 0, time.Minute},
		{`"totalBytesPerSession":5000`, 5000, 0},
		{`"continuousCapture":false`, 0, 0},
		{`"continuousCapture":false,"captureSettings":{}`, 0, 0},
		{`"continuousCapture":false,"captureSettings":{"fileSizeInBytes":200000}`, 200000, 0},
		{`"continuousCapture":false,"captureSettings":{"sessionTimeLimitInSeconds":60}`, 0, time.Minute},
	} {
		if strings.Contains(test.members, "continuousCapture") {
			test.members += `,"storageLocation":{"localPath":"/var/captures/x"}`
		}
		c := mustConfig(t, test.members, h)
		if c.MaxBytes != test.bytes || c.MaxTime != test.time {
			t.Errorf("%s: %d bytes, %v; want %d, %v", test.members, c.MaxBytes, c.MaxTime, test.bytes, test.time)
		}
		roundTrip(t, c, h)
	}
}

func TestNewConfigFaults(t *testing.T) {
	const loc = "properties.storageLocation"
	account := `"storageId":"` + testAccount + `"`
	blob := func(uri string) string { return `"storageLocation":{` + account + `,"storagePath":"` + uri + `"}` }
	tests := []struct {
		name, members string
		want          []string
		code          string
	}{
		{"below 0", `"bytesToCapturePerPacket":-1,"totalBytesPerSession":-1,"timeLimitInSeconds":-1`, []string{
			"properties.bytesToCapturePerPacket: -1 is out of range; allowed: 0 (the whole packet) or 1 to 4294967295",
			"properties.totalBytesPerSession: -1 is out of range; allowed: 0 (no limit) or 24 to 4294967295",
			"properties.timeLimitInSeconds: -1 is out of range; allowed: 0 (no limit) or 1 to 18000",
		}, fault.CodeInvalidValue},
		{"above", `"bytesToCapturePerPacket":4294967296,"totalBytesPerSession":4294967296,"timeLimitInSeconds":18001`, []string{
			"properties.bytesToCapturePerPacket: 4294967296 is", "properties.totalBytesPerSession: 4294967296 is", "properties.timeLimitInSeconds: 18001 is",
		}, fault.CodeInvalidValue},
		{"no room for a header", `"totalBytesPerSession":23`, []string{"properties.totalBytesPerSession: 23 is too small, the header of a pcap file alone has 24 bytes; allowed: 0"}, fault.CodeInvalidValue},
		{"scale set", `"targetType":"azurevmss"`, []string{`properties.targetType: "azurevmss" is a scale set, and pcapctl captures on the one machine it runs on`}, fault.CodeInvalidValue},
		{"type", `"targetType":"VM"`, []string{`properties.targetType: "VM" is not a valid type of target; allowed: AzureVM`}, fault.CodeInvalidValue},
		{"empty type", `"targetType":""`, []string{`properties.targetType: "" is not a valid type`}, fault.CodeInvalidValue},
		{"scope", `"scope":{"include":["1"],"exclude":["2","3"]}`, []string{"properties.scope.include: 1 instances", "properties.scope.exclude: 2 instances"}, fault.CodeInvalidValue},
		{"target", `"target":"vm1"`, []string{`properties.target: "vm1" is not a valid resource id of a virtual machine`}, fault.CodeInvalidValue},
		{"empty target", `"target":""`, []string{`properties.target: "" is not a valid resource id`}, fault.CodeInvalidValue},
		{"filters", `"filters":[{},{"protocol":"IGMP","localIPAddress":"1.1.1.1-255.255.255","localPort":"65536"},{"remotePort":"9-1"}]`, []string{
			"properties.filters[1].protocol: ", "properties.filters[1].localIPAddress: ", "properties.filters[1].localPort: ", "properties.filters[2].remotePort: ",
		}, fault.CodeInvalidValue},

		{"no destination", `"storageLocation":{}`, []string{loc + ": there is no destination: give filePath"}, fault.CodeNoDestination},
		{"empty destination", `"storageLocation":{"storageId":"","storagePath":"","filePath":""}`, []string{loc + ": there is no destination"}, fault.CodeNoDestination},
		{"no continuous destination", `"continuousCapture":false,"storageLocation":{}`, []string{loc + ": there is no destination: give localPath"}, fault.CodeNoContinuousDest},
		{"storagePath alone", `"storageLocation":{"storagePath":"https://pcstore.blob.core.windows.net/abc/x"}`, []string{loc + ".storageId: storagePath is given without storageId"}, fault.CodeMissing},
		{"storagePath without its account", `"storageLocation":{"storagePath":"http://x/{y}","filePath":"/tmp/x"}`, []string{
			loc + ".filePath: ", loc + ".storageId: storagePath is given without", loc + ".storagePath: {y} is not", loc + `.storagePath: "http://…" is not https`, loc + `.storagePath: "x" is not a valid blob endpoint`, loc + ".storagePath: …container", loc + ".storagePath: a blob's name is missing",
		}, fault.CodeInvalidValue},
		{"localPath in classic mode", `"storageLocation":{"filePath":"/var/captures/x","localPath":"/var/captures/y"}`, []string{loc + ".localPath: localPath belongs to continuous mode"}, fault.CodeWrongMode},
		{"settings in classic mode", `"captureSettings":{"fileCount":1}`, []string{"properties.captureSettings: captureSettings belong to continuous mode"}, fault.CodeWrongMode},
		{"classic members in continuous mode", `"continuousCapture":false,"totalBytesPerSession":1073741824,"timeLimitInSeconds":0,"storageLocation":{"filePath":"/var/captures/x","localPath":"/var/captures/x"}`, []string{
			"properties.totalBytesPerSession: totalBytesPerSession does not go with", "properties.timeLimitInSeconds: timeLimitInSeconds does not go with", loc + ".filePath: filePath does not go with",
		}, fault.CodeWrongMode},
		{"settings out of range", `"continuousCapture":true,"storageLocation":{"localPath":"/var/captures/x"},"captureSettings":{"fileCount":0,"fileSizeInBytes":102399,"sessionTimeLimitInSeconds":604801}`, []string{
			"properties.captureSettings.fileCount: 0 is out of range; allowed: 1 to 10000",
			"properties.captureSettings.fileSizeInBytes: 102399 is out of range; allowed: 102400 to 4294967295",
			"properties.captureSettings.sessionTimeLimitInSeconds: 604801 is out of range; allowed: 1 to 604800",
		}, fault.CodeInvalidValue},

		{"storageId", `"storageLocation":{"storageId":"pcstore","storagePath":"https://other.blob.core.windows.net/abc/x"}`, []string{loc + ".storageId: \"pcstore\" is not a valid resource id of a storage account"}, fault.CodeInvalidValue},
		{"default blob of a placeholder", `"target":"/subscriptions/{subscriptionId}/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/{vm}","storageLocation":{` + account + `}`, []string{"properties.target: {subscriptionId} and {vm} must be replaced by your own"}, fault.CodeInvalidValue},
		{"http", blob("http://pcstore.blob.core.windows.net/abc/x"), []string{loc + `.storagePath: "http://…" is not https, and packets are sent encrypted only: write https://pcstore.blob.core.windows.net/abc/x`}, fault.CodeInvalidValue},
		{"another account", blob("https://other.blob.core.windows.net/abc/x"), []string{loc + `.storagePath: the account "other" is not that of storageId, "pcstore"`}, fault.CodeInvalidValue},
		{"another service", blob("https://pcstore.file.core.windows.net/abc/x"), []string{loc + `.storagePath: "pcstore.file.core.windows.net" is not a valid blob endpoint; allowed: https://pcstore.blob.core.windows.net/<container>/<blob>`}, fault.CodeInvalidValue},
		{"another cloud", blob("https://pcstore.blob.core.chinacloudapi.cn/abc/x"), []string{loc + ".storagePath: …is not a valid blob endpoint"}, fault.CodeInvalidValue},
		{"another port", blob("https://pcstore.blob.core.windows.net:8443/abc/x"), []string{loc + ".storagePath: …is not a valid blob endpoint"}, fault.CodeInvalidValue},
		{"user", blob("https://u:p@pcstore.blob.core.windows.net/abc/x"), []string{loc + ".storagePath: a blob's URI has no user or password in it: write https://pcstore.blob.core.windows.net/abc/x"}, fault.CodeInvalidValue},
		{"fragment", blob("https://pcstore.blob.core.windows.net/abc/x#y"), []string{loc + ".storagePath: a blob's URI has no fragment"}, fault.CodeInvalidValue},
		{"query", blob("https://pcstore.blob.core.windows.net/abc/x?snapshot=1"), []string{loc + ".storagePath: the query behind the ? is not a valid shared access signature"}, fault.CodeInvalidValue},
		{"signature in the path", blob("https://pcstore.blob.core.windows.net/abc/x&sig=AbCd"), []string{loc + ".storagePath: there is a signature in the blob's path"}, fault.CodeInvalidValue},
		{"empty signature in the path", blob("https://pcstore.blob.core.windows.net/abc/x&sig="), []string{loc + ".storagePath: there is a signature in the blob's path"}, fault.CodeInvalidValue},
		{"no URI", blob("pcstore/abc/x"), []string{loc + ".storagePath: \"pcstore/abc/x\" is not a valid URI of a blob; allowed: https://<account>.blob.core.windows.net/<container>/<blob>"}, fault.CodeInvalidValue},
		{"bad escape", blob("https://pcstore.blob.core.windows.net/abc/%zz"), []string{loc + ".storagePath: …is not a valid URI"}, fault.CodeInvalidValue},
		{"no blob", blob("https://pcstore.blob.core.windows.net/abc/"), []string{loc + ".storagePath: a blob's name is missing behind the container: write …/abc/x.cap"}, fault.CodeInvalidValue},
		{"no container", blob("https://pcstore.blob.core.windows.net"), []string{loc + `.storagePath: "" is not a valid name of a container`, loc + ".storagePath: a blob's name is missing"}, fault.CodeInvalidValue},
		{"containers", blob("https://pcstore.blob.core.windows.net/My--Box/x"), []string{loc + `.storagePath: "My--Box" is not a valid name of a container; allowed: 3 to 63 lower-case`}, fault.CodeInvalidValue},
		{"short container", blob("https://pcstore.blob.core.windows.net/ab/x"), []string{loc + ".storagePath: \"ab\" is not a valid name of a container"}, fault.CodeInvalidValue},
		{"long container", blob("https://pcstore.blob.core.windows.net/" + strings.Repeat("a", 64) + "/x"), []string{loc + ".storagePath: …is not a valid name of a container"}, fault.CodeInvalidValue},
		{"logs container", blob("https://pcstore.blob.core.windows.net/$logs/x"), []string{loc + ".storagePath: …is not a valid name of a container"}, fault.CodeInvalidValue},
		{"empty segment", blob("https://pcstore.blob.core.windows.net/abc/a//x"), []string{loc + ".storagePath: …an empty segment"}, fault.CodeInvalidValue},
		{"dots", blob("https://pcstore.blob.core.windows.net/abc/%2e%2e/x"), []string{loc + ".storagePath: …an empty segment"}, fault.CodeInvalidValue},
		{"dot at the end", blob("https://pcstore.blob.core.windows.net/abc/a./x"), []string{loc + ".storagePath: the segment \"a.\""}, fault.CodeInvalidValue},
		{"old pcapng", blob("https://pcstore.blob.core.windows.net/abc/x.ntar"), []string{loc + ".storagePath: …pcapng"}, fault.CodeInvalidValue},
		{"encoded brace", blob("https://pcstore.blob.core.windows.net/abc/%7BstartTime%7D"), []string{loc + ".storagePath: …encoded brace"}, fault.CodeInvalidValue},
		{"control character", blob("https://pcstore.blob.core.windows.net/abc/a%00b"), []string{loc + ".storagePath: …U+0000"}, fault.CodeInvalidValue},
		{"long name", blob("https://pcstore.blob.core.windows.net/abc/" + strings.Repeat("n", 1021)), []string{loc + ".storagePath: the blob's name has 1025 characters"}, fault.CodeInvalidValue},
		{"placeholder in the host", blob("https://{account}.blob.core.windows.net/abc/{foo}/{startTim}"), []string{
			loc + ".storagePath: {account} is not filled in: write the account's name, https://pcstore.blob.core.windows.net/…", loc + ".storagePath: {foo} is not", loc + ".storagePath: {startTim} is not filled in; the nearest known is {startTime}",
		}, fault.CodeInvalidValue},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := NewConfig(testRequest(t, tt.members), testHost())
			if c != nil {
				t.Errorf("got a Config: %+v", c)
			}
			checkFaults(t, err, tt.want...)
			if err != nil {
				for _, f := range err.(*fault.Error).Details { //nolint:errorlint // checked by checkFaults
					if f.Code != tt.code && len(tt.want) == 1 {
						t.Errorf("code %s, want %s", f.Code, tt.code)
					}
				}
			}
		})
	}
}

func TestNewConfigWithoutMembers(t *testing.T) {
	for _, req := range []*Request{nil, {}} {
		_, err := NewConfig(req, testHost())
		checkFaults(t, err, `properties: the member "properties" is missing`)
	}
	_, err := NewConfig(&Request{Properties: &Properties{}}, testHost())
	checkFaults(t, err, `properties.target: the member "target" is missing`, "properties.storageLocation: there is no destination")
}

func TestFaultsComeAllAtOnce(t *testing.T) {
	req := testRequest(t, `"target":"x","targetType":"y","scope":{"include":["z"]},"bytesToCapturePerPacket":-1,"totalBytesPerSession":5,"timeLimitInSeconds":99999,
		"storageLocation":{"filePath":"{a}/{b}","localPath":"x","storageId":"i","storagePath":"p#"},"filters":[{"localPort":"x","remotePort":"y"}],"captureSettings":{"fileCount":0}`)
	req.Name = new("-bad-")
	_, err := NewConfig(req, testHost())
	checkFaults(t, err, "name: ", "properties.target: ", "properties.targetType: ", "properties.scope.include: ", "properties.bytesToCapturePerPacket: ",
		"properties.totalBytesPerSession: ", "properties.timeLimitInSeconds: ", "properties.captureSettings: ", "properties.storageLocation.localPath: ",
		"properties.storageLocation.filePath: {a}", "properties.storageLocation.filePath: {b}",
		"properties.storageLocation.storageId: ", "properties.storageLocation.storagePath: ", "properties.filters[0].localPort: ", "properties.filters[0].remotePort: ")
}

func TestBlob(t *testing.T) {
	account := `"storageId":"` + testAccount + `"`
	emulator := testHost()
	emulator.BlobEndpoint = "http://127.0.0.1:10000/devstoreaccount1/"
	china := testHost()
	china.StorageSuffix = "core.chinacloudapi.cn"
	const computed = "/network-watcher-logs/subscriptions/s1/resourcegroups/rg1/providers/microsoft.compute/virtualmachines/vm1/2031/02/03/packetcapture_14_05_06_789.cap"
	for _, tt := range []struct {
		name, location string
		host           Host
		url, sas       string
	}{
		{"computed", account, testHost(), "https://pcstore.blob.core.windows.net" + computed, ""},
		{"computed at the emulator", account, emulator, "http://127.0.0.1:10000/devstoreaccount1" + computed, ""},
		{"computed in another cloud", account, china, "https://pcstore.blob.core.chinacloudapi.cn" + computed, ""},
		{"given", account + `,"storagePath":"https://PCstore.blob.core.windows.net:443/abc/a%20b/{packetCaptureName}"`, testHost(), "https://pcstore.blob.core.windows.net/abc/a%20b/pc1.cap", ""},
		{"with a signature", account + `,"storagePath":"https://pcstore.blob.core.windows.net/$root/x.pcap?sv=1&sig=a%2Bb"`, testHost(), "https://pcstore.blob.core.windows.net/$root/x.pcap", "sv=1&sig=a%2Bb"},
		{"given at the emulator", account + `,"storagePath":"HTTP://127.0.0.1:10000/devstoreaccount1/abc/x"`, emulator, "http://127.0.0.1:10000/devstoreaccount1/abc/x.cap", ""},
		{"at the account though there is an emulator", account + `,"storagePath":"https://pcstore.blob.core.windows.net/abc/x"`, emulator, "https://pcstore.blob.core.windows.net/abc/x.cap", ""},
		{"longest name", account + `,"storagePath":"https://pcstore.blob.core.windows.net/abc/` + strings.Repeat("n", 1020) + `"`, testHost(), "https://pcstore.blob.core.windows.net/abc/" + strings.Repeat("n", 1020) + ".cap", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := mustConfig(t, `"storageLocation":{`+tt.location+"}", tt.host)
			if c.Blob == nil || c.Blob.Address.String() != tt.url || c.Blob.SAS.Reveal() != tt.sas || c.Blob.StorageID.Name != "pcstore" {
				t.Errorf("got %+v", c.Blob)
			}
			if text, _ := json.Marshal(c.Request()); strings.Contains(string(text), "sig=") || strings.Contains(string(text), "REDACTED") {
				t.Errorf("the request shows the signature: %s", text)
			}
		})
	}
}

func TestBlobEndpointOfSettings(t *testing.T) {
	for endpoint, says := range map[string]string{
		"http://10.0.0.1:10000/a":  "is not https, and http is allowed to this machine itself only",
		"http://u:p@127.0.0.1/a":   "is not a valid URL",
		"127.0.0.1:10000":          "is not a valid URL",
		"https://x.example/?sig=1": "is not a valid URL",
		"ftp://127.0.0.1/a":        "is not https",
	} {
		h := testHost()
		h.BlobEndpoint = endpoint
		for _, more := range []string{"", `,"storagePath":"https://pcstore.blob.core.windows.net/abc/x"`} {
			_, err := NewConfig(testRequest(t, `"storageLocation":{"storageId":"`+testAccount+`"`+more+`}`), h)
			if got := strings.Join(details(t, err), "\n"); !strings.Contains(got, "the blob endpoint of this host's settings") || !strings.Contains(got, says) || strings.Contains(got, "u:p") {
				t.Errorf("%s: got %s", endpoint, got)
			}
		}
		// A request that saves to a file alone does not mind.
		mustConfig(t, "", h)
	}
}

func TestWarnings(t *testing.T) {
	c := mustConfig(t, `"target":"/subscriptions/{subscriptionId}/resourceGroups/{rg}/providers/Microsoft.Compute/virtualMachines/vm1",
		"storageLocation":{"storageId":"/subscriptions/{subscriptionId}/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/pcstore","storagePath":"https://pcstore.blob.core.windows.net/abc/x"}`, testHost())
	want := []string{
		"properties.target still holds {subscriptionId} and {rg} from the documentation; it is kept as it is, as a label",
		"properties.storageLocation.storageId still holds {subscriptionId} from the documentation; it is kept as it is, as a label",
	}
	if diff := cmp.Diff(want, c.Warnings); diff != "" {
		t.Error(diff)
	}
}

func TestNames(t *testing.T) {
	for _, good := range []string{"a", "1", "pc1", "a.b-c_", "A" + strings.Repeat("-", 78) + "_"} {
		req := testRequest(t, "")
		req.Name = &good
		if c, err := NewConfig(req, testHost()); err != nil || c.Name != good {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", "-a", "_a", ".a", "a-", "a.", "a b", "a/b", "é", "a\n", strings.Repeat("a", 81), "{packetCaptureName}"} {
		req := testRequest(t, "")
		req.Name = &bad
		_, err := NewConfig(req, testHost())
		checkFaults(t, err, "name: …is not a valid name of a packet capture; allowed: 1 to 80 letters")
	}
}

func TestDefaultName(t *testing.T) {
	form := regexp.MustCompile(`^pcapctl-web01\.example-20310203T140506\.789Z-[a-z2-7]{8}$`)
	seen := map[string]bool{}
	for range 100 {
		req := testRequest(t, `"storageLocation":{"filePath":"/var/captures/{packetCaptureName}"}`)
		req.Name = nil
		c, err := NewConfig(req, testHost())
		if err != nil {
			t.Fatal(err)
		}
		if !form.MatchString(c.Name) || seen[c.Name] || c.FilePath != "/var/captures/"+c.Name+".cap" {
			t.Fatalf("name %q, path %q", c.Name, c.FilePath)
		}
		seen[c.Name] = true
	}
	for _, host := range []string{"", "-", strings.Repeat("long.", 60), "größe", "a/b"} {
		h := testHost()
		h.Name = host
		if name := h.defaultName(); !validName().MatchString(name) {
			t.Errorf("host %q: name %q", host, name)
		}
	}
}

func TestPropertiesAsTheResourcePrintsThem(t *testing.T) {
	c := mustConfig(t, "", testHost())
	text, err := json.MarshalIndent(c.Properties(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "testdata/properties.golden", string(text)+"\n")
}

func TestExampleRequest(t *testing.T) {
	c, h := exampleConfig(t)
	if c.MaxTime <= 0 || c.MaxTime > 10*time.Second || c.MaxBytes <= 0 || c.MaxBytes > 1<<20 || c.Warnings != nil {
		t.Errorf("not small: %+v", c)
	}
	h.Now = h.Now.Add(time.Second)
	if again, _ := exampleConfigAt(t, h); again.FilePath == c.FilePath {
		t.Errorf("a second run would write to %s again", c.FilePath)
	}
}

func exampleConfig(t *testing.T) (*Config, Host) { return exampleConfigAt(t, testHost()) }

// exampleConfigAt reads the request that the README begins with.
func exampleConfigAt(t *testing.T, h Host) (*Config, Host) {
	t.Helper()
	data, err := os.ReadFile("../../docs/examples/request.json")
	if err != nil {
		t.Fatal(err)
	}
	req, err := Decode(data)
	if err != nil {
		t.Fatal(err)
	}
	c, err := NewConfig(req, h)
	if err != nil {
		t.Fatal(err)
	}
	return c, h
}

// The requests that the documentation shows are right.
func TestDocumentedRequests(t *testing.T) {
	doc, err := os.ReadFile("../../docs/request.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllSubmatch(doc, -1)
	if len(blocks) < 2 {
		t.Fatalf("%d requests found", len(blocks))
	}
	for _, block := range blocks {
		req, err := Decode(block[1])
		if err != nil {
			t.Fatalf("%s\n%v", block[1], err)
		}
		c, err := NewConfig(req, testHost())
		if err != nil {
			t.Fatalf("%s\n%v", block[1], err)
		}
		checkConfig(t, c)
	}
	for level := range outputOnly {
		for _, name := range slices.Concat(memberNames[level], outputOnly[level]) {
			if !strings.Contains(string(doc), "`"+name) {
				t.Errorf("%s is not in docs/request.md", name)
			}
		}
	}
}

// What the request has no member for is checked with it, and given back in canonical form.
func TestAdditions(t *testing.T) {
	host := Host{Name: "h", Additions: Additions{
		Exclude:  []filter.Spec{{Protocol: new("udp"), RemotePort: new("53;53")}, {RemoteIPAddress: new("10.0.0.0/8")}},
		StopWhen: []filter.Spec{{TCPFlags: new("RST")}}, StopAfter: time.Second, HeadersOnly: true,
	}}
	req := &Request{Properties: &Properties{Target: new("/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm"),
		StorageLocation: &StorageLocation{FilePath: new("/var/captures/x.cap")}, Filters: []filter.Spec{{Protocol: new("UDP")}}}}
	c, err := NewConfig(req, host)
	if err != nil {
		t.Fatal(err)
	}
	want := Additions{
		Exclude:  []filter.Spec{{Protocol: new("UDP"), RemotePort: new("53")}, {Protocol: new("Any"), RemoteIPAddress: new("10.0.0.0-10.255.255.255")}},
		StopWhen: []filter.Spec{{Protocol: new("TCP"), TCPFlags: new("rst")}}, StopAfter: time.Second, HeadersOnly: true,
	}
	if d := cmp.Diff(want, c.Additions); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
	if got := c.Filters.String(); got != "UDP; but not UDP, remote port 53; or remote 10.0.0.0-10.255.255.255" {
		t.Errorf("the set: %s", got)
	}
	if got := c.WithoutICMPErrors().Filters.String(); got != c.Filters.String() {
		t.Errorf("without ICMP errors: %s", got)
	}
	host.Additions = c.Additions // as a worker has them
	if again, err := NewConfig(c.Request(), host); err != nil || !cmp.Equal(again.Additions, want) {
		t.Errorf("again: %+v, %v", again, err)
	}
	host.Additions = Additions{Exclude: []filter.Spec{{}, {LocalPort: new("x")}}, StopWhen: []filter.Spec{{TCPFlags: new("x")}}, StopAfter: -1}
	_, err = NewConfig(req, host)
	for _, target := range []string{"--exclude #2, localPort", "--stop-when #1, tcpFlags", "--stop-after"} {
		if e, ok := errors.AsType[*fault.Error](err); !ok || !slices.ContainsFunc(e.Details, func(d fault.Detail) bool { return d.Target == target }) {
			t.Errorf("%s is not told: %v", target, err)
		}
	}
}
