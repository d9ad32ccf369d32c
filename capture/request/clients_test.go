package request

import (
	"encoding/binary"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture/fault"
	"pcapctl/filter"
)

// asUTF16 is what PowerShell 5.1 makes of a text.
func asUTF16(text string, order binary.AppendByteOrder) string {
	out := order.AppendUint16(nil, 0xfeff)
	for _, u := range utf16.Encode([]rune(text)) {
		out = order.AppendUint16(out, u)
	}
	return string(out)
}

// The same capture, as its clients write it down.
const (
	clientProps = `"target":"` + testVM + `","bytesToCapturePerPacket":"0","timeLimitinSeconds":"60","storageLocation":{"storageId":"","storagePath":"","filePath":"/var/captures/x.cap"},"filters":[{"protocol":"TCP","localIPAddress":"","localPort":"80;443","remoteIPAddress":"","remotePort":""}]`
	flatProps   = `"bytesToCapturePerPacket":0,"captureSettings":null,"continuousCapture":null,` +
		`"filters":[{"localIPAddress":"","localPort":"80;443","protocol":"TCP","remoteIPAddress":"","remotePort":""}],` +
		`"id":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Network/networkWatchers/w/packetCaptures/pc1","name":"pc1","provisioningState":"Succeeded","resourceGroup":"g",` +
		`"scope":{"exclude":[],"include":[]},"storageLocation":{"filePath":"/var/captures/x.cap","localPath":null,"storageId":null,"storagePath":""},` +
		`"target":"` + testVM + `","targetType":"AzureVM","timeLimitInSeconds":60,"totalBytesPerSession":1073741824,"type":"Microsoft.Network/networkWatchers/packetCaptures"`
)

// Bodies that clients and documents have are the request that they mean, with a
// note where they are not a request as it should be.
func TestBodiesOfClients(t *testing.T) {
	plain := `{"name":"pc1","properties":{` + clientProps + `}}`
	pascal := `{"Name":"pc1","Etag":"W/\"x\"","Id":"/x","ProvisioningState":"Succeeded","Target":"` + testVM + `","TargetType":"AzureVM","BytesToCapturePerPacket":0,"TotalBytesPerSession":1073741824,"TimeLimitInSeconds":60,` +
		`"StorageLocation":{"StorageId":null,"StoragePath":"","FilePath":"/var/captures/x.cap","LocalPath":null},"Filters":[{"Protocol":"TCP","LocalIPAddress":"","RemoteIPAddress":"","LocalPort":"80;443","RemotePort":""}],` +
		`"Scope":{"Include":[],"Exclude":[]},"StorageLocationText":"{}","FiltersText":"[]","ContinuousCapture":null,"CaptureSettings":null}`
	for name, tt := range map[string]struct {
		body  string
		notes []string
	}{
		"plain":                            {plain, nil},
		"single quotes":                    {strings.ReplaceAll(plain, `"`, `'`), []string{noteQuotes}},
		"both quotes":                      {strings.Replace(plain, `"pc1"`, `'pc1'`, 1), []string{noteQuotes}},
		"UTF-8 with a mark":                {"\ufeff" + plain, nil},
		"UTF-16":                           {asUTF16(plain+"\r\n", binary.LittleEndian), nil},
		"UTF-16, the other order":          {asUTF16(plain, binary.BigEndian), nil},
		"UTF-16 in single quotes":          {asUTF16(strings.ReplaceAll(plain, `"`, `'`), binary.LittleEndian), []string{noteQuotes}},
		"the service's after a status":     {`{"name":"pc1","id":"/x/packetCaptures/pc1","etag":"W/\"x\"","properties":{"provisioningState":"Succeeded",` + clientProps + `,"queryPacketCaptureLastOperationId":"11111111-2222"},"type":"T"}`, nil},
		"the service's of a later version": {`{"name":"pc1","etag":"W/\"x\"","zones":[],"properties":{` + clientProps + `,"billingTag":{"a":1}}}`, []string{noteIgnored + "zones, properties.billingTag"}},
		"a template's resource": {`{"type":"Microsoft.Network/networkWatchers/packetCaptures","apiVersion":"2023-09-01","name":"NetworkWatcher_westeurope/pc1","location":"westeurope","dependsOn":["[x]"],"tags":{"a":"b"},"properties":{` + clientProps + `}}`,
			[]string{`the name "NetworkWatcher_westeurope/pc1" was read as "pc1": the watcher before it means nothing here`, noteIgnored + "apiVersion, location, dependsOn, tags"}},
		"flat, of az":         {"{" + flatProps + `,"etag":"W/\"x\"","queryPacketCaptureLastOperationId":"1"}`, []string{noteFlat}},
		"flat, of PowerShell": {pascal, []string{noteFlat}},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := Decode([]byte(tt.body))
			checkFaults(t, err)
			if d := cmp.Diff(tt.notes, req.Notes); d != "" {
				t.Error(d)
			}
			c, err := NewConfig(req, testHost())
			checkFaults(t, err)
			if d := cmp.Diff(tt.notes, c.Warnings); d != "" {
				t.Error(d)
			}
			if c.Name != "pc1" || c.FilePath != "/var/captures/x.cap" || c.MaxTime.Seconds() != 60 || c.Filters.String() != "TCP, local port 80 or 443" || c.Blob != nil {
				t.Errorf("%+v", c)
			}
		})
	}
}

// What was changed by hand in a printed resource is checked as in any request.
func TestBodiesOfClientsAreJudged(t *testing.T) {
	for body, want := range map[string][]string{
		`{"etag":"x","properties":{"timeLimtInSeconds":5}}`:      {`properties.timeLimtInSeconds: …nearest known is "timeLimitInSeconds"`},
		`{"etag":"x","properties":{"filePath":"x"}}`:             {`properties.filePath: …it belongs within "properties.storageLocation"`},
		`{"etag":"x","target":"x","filterz":[]}`:                 {`properties.filterz: …nearest known is "filters"`},
		`{"etag":"x","target":"x","filters":[{"localPort":80}]}`: {`properties.filters[0].localPort: 80 (a number)`},
		`{"etag":"x","target":"x","Target":"y"}`:                 {`properties.Target: …given already`},
		`{"target":"x","filters":[]}`:                            {`target: …it belongs within "properties"`, `filters: …it belongs within "properties"`},
		`{"location":"x","properties":{}}`:                       {`location: there is no member "location" here`},
		`{"type":"x","properties":{"location":"x"}}`:             {`properties.location: there is no member`},
		`{"name":'it's',"properties":{}}`:                        {"line 1, column 9: a single quote"},
	} {
		_, err := Decode([]byte(body))
		checkFaults(t, err, want...)
	}
	_, err := NewConfig(&Request{Name: new("w/pc1"), Properties: &Properties{Target: new(testVM), StorageLocation: &StorageLocation{FilePath: new("/var/captures/x")}}}, testHost())
	checkFaults(t, err, `name: "w/pc1" is not a valid name`)
}

// A body of a mebibyte of whatever a note is about costs no more than another one.
func TestNotesAreBounded(t *testing.T) {
	req, err := Decode([]byte(`{"etag":1,"properties":{` + strings.Repeat(`"zzzzzzzzzzzz`+strings.Repeat("z", 20)+`":1,`, 20_000) + `"q":1}}`))
	if err == nil { // all but the first are given twice
		t.Errorf("no fault: %.200q", req.Notes)
	}
	body := `{'name':'` + strings.Repeat(`"`, MaxBody-100) + `'}`
	if req, err := Decode([]byte(body)); err != nil || len(*req.Name) != MaxBody-100 {
		t.Errorf("%v", err)
	}
	var many strings.Builder
	many.WriteString(`{"etag":1`)
	for i := range 1000 {
		many.WriteString(`,"` + strings.Repeat("z", 40+i%500) + strings.Repeat("y", i/500) + `":1`)
	}
	req, err = Decode([]byte(many.String() + "}"))
	checkFaults(t, err)
	if len(req.Notes) != 1 || len(req.Notes[0]) > 10_000 || !strings.HasSuffix(req.Notes[0], "and 990 more") {
		t.Errorf("%.300q", req.Notes)
	}
}

// The forms in which az takes an argument that holds JSON.
func TestArgumentsOfAz(t *testing.T) {
	want := []filter.Spec{
		{Protocol: new("TCP"), LocalIPAddress: new("10.0.0.1-10.0.0.9"), LocalPort: new("80")},
		{RemoteIPAddress: new("fd00::1"), RemotePort: new("80;443")},
	}
	for name, text := range map[string]string{
		"JSON":             `[{"protocol":"TCP","localIPAddress":"10.0.0.1-10.0.0.9","localPort":"80"},{"remoteIPAddress":"fd00::1","remotePort":"80;443"}]`,
		"hyphens":          `[{"protocol":"TCP","local-ip-address":"10.0.0.1-10.0.0.9","local-port":"80"},{"remote-ip-address":"fd00::1","remote-port":"80;443"}]`,
		"Python":           `[{'protocol': 'TCP', 'localIPAddress': '10.0.0.1-10.0.0.9', 'localPort': '80',}, {'remoteIPAddress': 'fd00::1', 'remotePort': '80;443', 'localPort': None},]`,
		"Python, mixed":    `[{"protocol": 'TCP', 'localIPAddress': "10.0.0.1-10.0.0.9", 'localPort': '80'}, {'remoteIPAddress': 'fd00::1', 'remotePort': '80;443'}]`,
		"shorthand":        `[{protocol:TCP,local-ip-address:10.0.0.1-10.0.0.9,local-port:80},{remote-ip-address:fd00::1,remote-port:80;443}]`,
		"shorthand, space": ` [ { protocol : TCP , local-ip-address : 10.0.0.1-10.0.0.9, local-port: '80' } , { remote-ip-address: 'fd00::1', remote-port:'80;443', local-port:null } ] `,
		"UTF-16":           asUTF16(`[{protocol:TCP,local-ip-address:10.0.0.1-10.0.0.9,local-port:80},{remote-ip-address:fd00::1,remote-port:80;443}]`, binary.LittleEndian),
	} {
		got, err := DecodeFilters([]byte(text))
		checkFaults(t, err)
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	one, err := DecodeFilters([]byte(`{protocol:'it'/s, a "word"',local-port:80}`))
	checkFaults(t, err)
	if d := cmp.Diff([]filter.Spec{{Protocol: new(`it's, a "word"`), LocalPort: new("80")}}, one); d != "" {
		t.Error(d)
	}
	settings, err := DecodeCaptureSettings([]byte(`{file-count:2,file-size-in-bytes:'102400',sessionTimeLimitInSeconds:60}`))
	checkFaults(t, err)
	if d := cmp.Diff(&CaptureSettings{FileCount: new(int64(2)), FileSizeInBytes: new(int64(102400)), SessionTimeLimitInSeconds: new(int64(60))}, settings); d != "" {
		t.Error(d)
	}
	location, err := DecodeStorageLocation([]byte(`{local-path:/var/captures/x.cap,storage-path:https://a.blob.core.windows.net/c/x.cap?sv=1&sig=a%2Fb}`))
	checkFaults(t, err)
	if d := cmp.Diff(&StorageLocation{LocalPath: new("/var/captures/x.cap"), StoragePath: new("https://a.blob.core.windows.net/c/x.cap?sv=1&sig=a%2Fb")}, location); d != "" {
		t.Error(d)
	}
	scope, err := DecodeScope([]byte(`{include:[0,vm_1],exclude:[]}`))
	checkFaults(t, err)
	if d := cmp.Diff(&Scope{Include: []string{"0", "vm_1"}, Exclude: []string{}}, scope); d != "" {
		t.Error(d)
	}
}

// What is in no form gets the faults of the form that it resembles.
func TestArgumentsInNoForm(t *testing.T) {
	for text, want := range map[string][]string{
		`[{protocol:TCP,local-port:80}`:        {`line 1, column 1: this bracket is not closed: "]" is missing; allowed: JSON, or az's shorthand`},
		`[{protocol}]`:                         {`line 1, column 11: a colon and a value are missing behind the name "protocol"`},
		`[{protocol:}]`:                        {`line 1, column 12: "}" is not expected here; allowed: a word`},
		`[{protocol:TC'P}]`:                    {`line 1, column 14: "'" stands in a word that has no quotes`},
		`[{protocol:'TCP}]`:                    {`line 1, column 12: this string is not closed: ' is missing`},
		`[{protocol:TCP}]]`:                    {`line 1, column 17: nothing may follow the last bracket`},
		`[{protocol:TCP},{local-prt:80}]`:      {`filters[1].local-prt: there is no member "local-prt" here; the nearest known is "localPort"`},
		`[{local-port:80,localPort:81}]`:       {`filters[0].localPort: …given already as "local-port"`},
		`[{protocol:[a]}]`:                     {`filters[0].protocol: a list is given`},
		`[{"protocol": TCP}]`:                  {`line 1, column 15: "TCP" stands without quotes: write "TCP"`},
		`[{"protocol":"TCP,"localPort":'80'}]`: {`line 1, column`},
		strings.Repeat("[", 40):                {`line 1, column 34: it is nested more than 32 levels deep`},
	} {
		_, err := DecodeFilters([]byte(text))
		checkFaults(t, err, want...)
	}
	_, err := DecodeCaptureSettings([]byte(`{file-count:two}`))
	checkFaults(t, err, `captureSettings.fileCount: "two" is given; allowed: a whole number in decimal digits`)
}

// Whatever an argument is, it is read or refused.
func FuzzArgument(f *testing.F) {
	for _, s := range []string{`[{protocol:TCP,local-port:80}]`, `[{'a':'b\'c','d':"e"}]`, `{a:'b'/c'}`, `[{"a":1}]`, "\xff\xfe[\x00", `[[],{}]`, `{'\u00e9\`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := DecodeFilters(text)
		if err == nil {
			return
		}
		details(t, err)
		if len(got) > 0 && fault.ClassOf(err) != fault.Invalid {
			t.Error(err)
		}
	})
}
