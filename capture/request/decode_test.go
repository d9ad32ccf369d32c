package request

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"pcapctl/capture/fault"
	"pcapctl/filter"
)

// testNow is a fixed moment with every digit of its own.
var testNow = time.Date(2031, 2, 3, 14, 5, 6, 789_000_000, time.UTC)

func testHost() Host { return Host{GOOS: "linux", Name: "web01.example", Now: testNow} }

// details are the faults of an error, one "target: message" each, after
// checking that it is what callers are promised.
func details(t testing.TB, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	e, ok := errors.AsType[*fault.Error](err)
	if !ok || e.Class != fault.Invalid || fault.ClassOf(err) != fault.Invalid {
		t.Fatalf("not an Error of class Invalid: %v", err)
	}
	if len(e.Details) == 0 {
		t.Fatalf("no details: %v", err)
	}
	var all []string
	for _, f := range e.Details {
		if f.Code == "" || f.Message == "" {
			t.Errorf("fault without code or message: %+v", f)
		}
		all = append(all, f.Target+": "+f.Message)
	}
	return all
}

// checkFaults compares faults one by one; each wanted entry is the beginning
// of a fault, with "…" for what may stand between.
func checkFaults(t testing.TB, err error, want ...string) {
	t.Helper()
	got := details(t, err)
	if len(got) != len(want) {
		t.Errorf("got %d faults, want %d:\n%s", len(got), len(want), strings.Join(got, "\n"))
		return
	}
	for i := range want {
		rest, ok := got[i], true
		for n, part := range strings.Split(want[i], "…") {
			at := strings.Index(rest, part)
			if ok = at == 0 || n > 0 && at > 0; !ok {
				break
			}
			rest = rest[at+len(part):]
		}
		if !ok {
			t.Errorf("fault %d:\n got %s\nwant %s", i, got[i], want[i])
		}
	}
}

func props(members string) string { return `{"properties":{` + members + `}}` }

func TestDecodeRequestEverything(t *testing.T) {
	const body = `{"NAME":"pc1","id":"x","etag":7,"Type":null,"properties":{
		"provisioningState":"Succeeded","captureStartTime":"","packetCaptureStatus":"Stopped","stopReason":"Manual",
		"packetCaptureError":[],"statistics":{"a":{"a":1,"a":2}},
		"target":"t","targettype":"AzureVM","scope":{"include":[],"Exclude":["x"]},
		"bytesToCapturePerPacket":"40","totalBytesPerSession":1e3,"timeLimitinSeconds":" 60.0 ",
		"storageLocation":{"storageID":"i","storagePath":"p","FILEPATH":"f","localPath":null},
		"filters":[{"Protocol":"TCP","localIPAddress":"1","localPort":"2","remoteIPAddress":"3","remotePort":"4"},{}],
		"continuousCapture":false,"captureSettings":{"fileCount":1,"fileSizeInBytes":-0,"sessionTimeLimitInSeconds":"1E+1"}}}`
	req, err := Decode([]byte(body))
	checkFaults(t, err)
	want := &Request{Name: new("pc1"), Properties: &Properties{
		Target: new("t"), TargetType: new("AzureVM"), Scope: &Scope{Include: []string{}, Exclude: []string{"x"}},
		BytesToCapturePerPacket: new(int64(40)), TotalBytesPerSession: new(int64(1000)), TimeLimitInSeconds: new(int64(60)),
		StorageLocation: &StorageLocation{StorageID: new("i"), StoragePath: new("p"), FilePath: new("f")},
		Filters: []filter.Spec{{
			Protocol: new("TCP"), LocalIPAddress: new("1"), LocalPort: new("2"), RemoteIPAddress: new("3"), RemotePort: new("4"),
		}, {}},
		ContinuousCapture: new(false),
		CaptureSettings:   &CaptureSettings{FileCount: new(int64(1)), FileSizeInBytes: new(int64(0)), SessionTimeLimitInSeconds: new(int64(10))},
	}}
	if diff := cmp.Diff(want, req); diff != "" {
		t.Error(diff)
	}
}

func TestDecodeRequestNullIsAbsent(t *testing.T) {
	members := make([]string, 0, len(memberNames["properties"]))
	for _, name := range memberNames["properties"] {
		members = append(members, fmt.Sprintf("%q:null", name))
	}
	req, err := Decode([]byte(`{"name":null,` + props(strings.Join(members, ","))[1:]))
	checkFaults(t, err)
	if diff := cmp.Diff(&Request{Properties: &Properties{}}, req); diff != "" {
		t.Error(diff)
	}
}

// Every known name reaches a member of its own: a name in the table without a
// case in the decoder would be swallowed.
func TestEveryMemberIsRead(t *testing.T) {
	wrap := map[string]string{
		"": "%s", "properties": `"properties":{%s}`, "scope": `"properties":{"scope":{%s}}`,
		"storageLocation": `"properties":{"storageLocation":{%s}}`, "filters": `"properties":{"filters":[{%s}]}`,
		"captureSettings": `"properties":{"captureSettings":{%s}}`,
	}
	for level, names := range memberNames {
		for _, name := range names {
			// No member is a list of lists, so each must complain.
			_, err := Decode([]byte("{" + fmt.Sprintf(wrap[level], fmt.Sprintf("%q:[[0]]", name)) + "}"))
			if got := details(t, err); len(got) != 1 || !strings.Contains(got[0], name) {
				t.Errorf("%s.%s: %q", level, name, got)
			}
		}
	}
}

func TestDecodeRequestFaults(t *testing.T) {
	tests := []struct {
		name, body string
		want       []string
	}{
		{"empty", "", []string{": the request is empty"}},
		{"white space", " \r\n\t", []string{": the request is empty"}},
		{"only a byte order mark", "\ufeff", []string{": the request is empty"}},
		{"list", "[]", []string{": the request is a list; allowed: an object"}},
		{"string", `"x"`, []string{`: the request is "x" (a string); allowed`}},
		{"null", "null", []string{": the request is null; allowed"}},
		{"utf-16 without a mark", "\x00{\x00}", []string{": the request is UTF-16 text without a byte order mark: save it as UTF-8"}},
		{"utf-16 of half a character", "\xff\xfe{\x00}", []string{": the request begins as UTF-16 text and is not valid UTF-16"}},
		{"utf-16 of half a pair", "\xfe\xff\xd8\x00\x00{", []string{": the request begins as UTF-16 text and is not valid UTF-16"}},
		{"latin-1", "{\n \"a\": \"\xe9\"}", []string{"line 2, column 8: byte 0xe9 is not UTF-8"}},
		{"too large", strings.Repeat(" ", MaxBody+1), []string{": the request has more than the 1048576 bytes (1 MiB) that are allowed"}},
		{"deep", strings.Repeat("[", 40) + strings.Repeat("]", 40), []string{": the request is nested more than 32 levels"}},
		{"deep where nobody looks", `{"id":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + "}", []string{": the request is nested more than 32 levels"}},
		{"deeper than encoding/json goes", strings.Repeat("[", 20000), []string{"line 1, column…: the request is nested more than 32 levels"}},

		{"misspelt", props(`"targt":"x"`), []string{`properties.targt: there is no member "targt" here; the nearest known is "target"`}},
		{"snake case", props(`"time_limit_in_seconds":1`), []string{`properties.time_limit_in_seconds: …nearest known is "timeLimitInSeconds"`}},
		{"nothing near", `{"zzzzzz":1}`, []string{`zzzzzz: there is no member "zzzzzz" here; known are name, properties`}},
		{"in the wrong place", `{"target":"x"}`, []string{`target: there is no member "target" here; it belongs within "properties"`}},
		{"in the wrong place below", props(`"filepath":"x"`), []string{`properties.filepath: …it belongs within "properties.storageLocation"`}},
		{"unknown in a filter", props(`"filters":[{},{"port":"80"}]`), []string{`properties.filters[1].port: …known are protocol, localIPAddress`}},
		{"odd name", `{"a b\u001b":1}`, []string{`["a b\x1b"]: there is no member "a b\x1b" here`}},
		{"odd name below", props(`"":1`), []string{`properties[""]: there is no member "" here`}},
		{"letters that fold to ASCII", props(`"ſcope":{}`), []string{`properties["ſcope"]: …nearest known is "scope"`}},

		{"duplicate", props(`"target":"a","target":"b"`), []string{`properties.target: the member "target" is given twice: keep one`}},
		{"duplicate but for case", props(`"target":"a","Target":"b"`), []string{`properties.Target: the member "Target" is given already as "target", and letter case does not count`}},
		{"duplicate after null", props(`"target":null,"target":"b"`), []string{"properties.target: …twice"}},
		{"duplicate of an unknown", `{"zzzzzz":1,"zzzzzz":1}`, []string{"zzzzzz: there is no", "zzzzzz: …twice"}},

		{"number for a string", props(`"filters":[{"localPort":80}]`), []string{`properties.filters[0].localPort: 80 (a number) is given; allowed: a string: write "80"`}},
		{"list for a string", props(`"target":[]`), []string{"properties.target: a list is given; allowed: a string"}},
		{"string for an object", props(`"storageLocation":"x"`), []string{`properties.storageLocation: "x" (a string) is given; allowed: an object, with the members storageId`}},
		{"object for a list", props(`"filters":{}`), []string{"properties.filters: an object is given; allowed: a list of filters: put the object in brackets"}},
		{"null in a list", props(`"filters":[null]`), []string{"properties.filters[0]: null is given"}},
		{"strings in filters", props(`"filters":["tcp"]`), []string{`properties.filters[0]: "tcp" (a string) is given; allowed: an object`}},
		{"string for a boolean", props(`"continuousCapture":"true"`), []string{`properties.continuousCapture: "true" (a string) is given; allowed: true, false (without quotes) or null`}},
		{"number in a list of strings", props(`"scope":{"include":[1]}`), []string{"properties.scope.include[0]: 1 (a number) is given"}},
		{"boolean for a number", props(`"timeLimitInSeconds":true`), []string{"properties.timeLimitInSeconds: true (a boolean) is given; allowed: a whole number, 0 (no limit) or 1 to 18000"}},
		{"fraction", props(`"timeLimitInSeconds":1.5`), []string{"properties.timeLimitInSeconds: 1.5 (a number) is given; allowed: a whole number"}},
		{"tiny", props(`"timeLimitInSeconds":1e-999999999999999999999`), []string{"properties.timeLimitInSeconds: 1e-999999999999999999999 (a number) is given; allowed: a whole number"}},
		{"huge", props(`"timeLimitInSeconds":1e999999999999999999999`), []string{"properties.timeLimitInSeconds: 1e999999999999999999999 (a number) is out of range; allowed: 0 (no limit) or 1 to 18000"}},
		{"beyond int64", props(`"totalBytesPerSession":"9223372036854775808"`), []string{`properties.totalBytesPerSession: "9223372036854775808" (a string) is out of range`}},
		{"no number in a string", props(`"timeLimitInSeconds":"60s"`), []string{`properties.timeLimitInSeconds: "60s" (a string) is given; allowed: a whole number in decimal digits`}},
		{"empty string for a number", props(`"timeLimitInSeconds":""`), []string{"properties.timeLimitInSeconds: \"\" (a string)"}},
		{"hexadecimal", props(`"timeLimitInSeconds":"0x10"`), []string{"properties.timeLimitInSeconds: "}},
		{"plus", props(`"timeLimitInSeconds":"+1"`), []string{"properties.timeLimitInSeconds: "}},

		{"all at once", `{"nam":"x","properties":{"target":1,"filters":[{"proto":"x"},{"localPort":1,"remotePort":[]}],"timeLimitInSeconds":{}}}`, []string{
			"nam: ", "properties.target: ", "properties.filters[0].proto: ", "properties.filters[1].localPort: ",
			"properties.filters[1].remotePort: ", "properties.timeLimitInSeconds: ",
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Decode([]byte(tt.body))
			checkFaults(t, err, tt.want...)
		})
	}
}

func TestByteOrderMarkIsPassedOver(t *testing.T) {
	req, err := Decode([]byte("\ufeff{\"name\":\"x\"}"))
	if err != nil || *req.Name != "x" {
		t.Errorf("got %v, %v", req, err)
	}
}

func TestWholeNumber(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "-0": 0, "0.000": 0, "0e5": 0, "0e999999999999999999999": 0, "40": 40, "-40": -40, "40.0": 40, "1e3": 1000, "1.5e1": 15, "1500e-2": 15,
		"0.04e3": 40, "100e-2": 1, "9223372036854775807": 1<<63 - 1, "-9223372036854775808": -1 << 63, "9.223372036854775807E+18": 1<<63 - 1,
	} {
		parts := jsonNumber().FindStringSubmatch(text)
		if n, err := wholeNumber(parts[1], parts[2], parts[3], parts[4]); err != nil || n != want {
			t.Errorf("%s: got %d, %v", text, n, err)
		}
	}
	for text, want := range map[string]error{
		"0.5": errNotWhole, "1.00000000000000000000000001": errNotWhole, "15e-1": errNotWhole, "1e19": errTooLarge, "-9223372036854775809": errTooLarge, "1e2147483648": errTooLarge,
	} {
		parts := jsonNumber().FindStringSubmatch(text)
		if n, err := wholeNumber(parts[1], parts[2], parts[3], parts[4]); !errors.Is(err, want) {
			t.Errorf("%s: got %d, %v, want %v", text, n, err, want)
		}
	}
}

func TestManyFaultsAreBounded(t *testing.T) {
	_, err := Decode([]byte("{" + strings.Repeat(`"zzzzzzz":1,`, 50_000) + `"name":"x"}`))
	got := details(t, err)
	if len(got) != fault.MaxFaults || !strings.Contains(err.Error(), "more than 100 faults, the first 100 are listed") {
		t.Errorf("%d faults: %.100s", len(got), err)
	}
}

// Whatever of a request a message repeats, a signature is not in it.
func TestMessagesHideSignatures(t *testing.T) {
	const secret = "AbCd%2FsEcReT"
	for _, body := range []string{
		props(`"storageLocation":"https://a.blob.core.windows.net/c/b?sv=1&sig=` + secret + `&se=2"`),
		props(`"target":["https://a/?sig=` + secret + `"],"filters":["?sig=` + secret + `"]`),
		props(`"storageLocation":{"storagePath":"https://a.blob.core.windows.net/c/b?sig=` + secret + `" "filePath":"x"}`),
		props(`"storageLocation":{"storagePath":"https://a.blob.core.windows.net/c\b?sig=` + secret + `"}`),
		props(`"storageLocation":{"storagePath" "https://a.blob.core.windows.net/c/b?SIG=` + secret + `"`),
		props(`"storageLocation":{"storagePath":"https://u:p@a.blob.core.windows.net/c/b?sig=` + secret + `#x"}`),
		props(`"storageLocation":{"storageId":"` + testAccount + `","storagePath":"http://other.blob.core.windows.net/C_/b?sig=` + secret + `"}`),
		props(`"storageLocation":{"storagePath":"sig=` + secret + `"}`),
		props(`"storageLocation":{"filePath":"https://a.blob.core.windows.net/c/b?sig=` + secret + `"}`),
		props(`"storageLocation":{"storageId":"https://a.blob.core.windows.net/c/b?sig=` + secret + `"}`),
		props(`"filters":[{"localIPAddress":"https://a/?sig=` + secret + `"}]`),
		props(`"storageLocation":{"storagePath":"https://a/c/b&sig=` + secret + `"}`),
		`{"https://a/?sig=` + secret + `":1}`,
		`{"name":"https://a/?sig=` + secret + `"}`,
	} {
		req, err := Decode([]byte(body))
		if req != nil {
			_, err2 := NewConfig(req, testHost())
			err = fault.Join(err, err2)
		}
		if err == nil {
			t.Errorf("no fault in %s", body)
		} else if strings.Contains(fmt.Sprintf("%v %+v", err, err), "AbCd") || strings.Contains(fmt.Sprint(details(t, err)), "sEcReT") {
			t.Errorf("%s\nshows the signature: %v", body, err)
		}
	}
}

func TestDecodeFilters(t *testing.T) {
	got, err := DecodeFilters([]byte(`[{"protocol":"TCP"},{"localport":"80"}]`))
	checkFaults(t, err)
	if diff := cmp.Diff([]filter.Spec{{Protocol: new("TCP")}, {LocalPort: new("80")}}, got); diff != "" {
		t.Error(diff)
	}
	if got, err = DecodeFilters([]byte("null")); got != nil || err != nil {
		t.Errorf("null: %v, %v", got, err)
	}
	_, err = DecodeFilters([]byte(`[{"localPort":80},{"remoteprt":"1"}]`))
	checkFaults(t, err, "filters[0].localPort: 80 (a number)", `filters[1].remoteprt: …"remotePort"`)
	_, err = DecodeFilters([]byte(`{"localPort":"80"}`))
	checkFaults(t, err, "filters: an object is given; allowed: a list of filters: put the object in brackets")
	got, err = DecodeFilters([]byte(`[{"localPort":"80",},]`))
	checkFaults(t, err, "line 1, column 19: a comma before the closing", "line 1, column 21: a comma before the closing")
	if len(got) != 1 {
		t.Errorf("the fixed text was not read: %v", got)
	}
}

func TestDecodeCaptureSettings(t *testing.T) {
	got, err := DecodeCaptureSettings([]byte(`{"fileCount":"3"}`))
	checkFaults(t, err)
	if diff := cmp.Diff(&CaptureSettings{FileCount: new(int64(3))}, got); diff != "" {
		t.Error(diff)
	}
	_, err = DecodeCaptureSettings([]byte(`{"fileCount":"x","file":1}`))
	checkFaults(t, err, "captureSettings.fileCount: ", "captureSettings.file: ")
	_, err = DecodeCaptureSettings([]byte(`x`))
	checkFaults(t, err, "line 1, column 1: this is not JSON")
}

// What could not be read is not reported as missing.
func TestUnreadableIsNotMissing(t *testing.T) {
	for _, tt := range []struct {
		body string
		want []string
	}{
		{props(`"target":1,"storageLocation":{"filePath":2}`), []string{"properties.target: 1", "properties.storageLocation.filePath: 2"}},
		{props(`"target":1,"storageLocation":3`), []string{"properties.target: 1", "properties.storageLocation: 3"}},
		{props(`"target":"` + testVM + `","storageLocation":{"filepth":"x"}`), []string{"properties.storageLocation.filepth: "}},
		{`{"properties":[]}`, []string{"properties: a list"}},
		{props(`"targt":"x","storageLocation":{"filePath":"/var/captures/x","storagePath":3}`), []string{"properties.targt: ", "properties.storageLocation.storagePath: 3", "properties.target: the member"}},
		{props(`"target":"` + testVM + `","continuousCapture":"yes","storageLocation":{"localPath":"/var/captures/x"},"captureSettings":{"fileCount":0}`),
			[]string{"properties.continuousCapture: ", "properties.captureSettings.fileCount: 0 is out of range"}},
	} {
		req, err := Decode([]byte(tt.body))
		_, err2 := NewConfig(req, testHost())
		checkFaults(t, fault.Join(err, err2), tt.want...)
	}
}

// What the service would refuse of a body is told, in one note however much it is.
func TestDecodeNotesWhatIsOwn(t *testing.T) {
	body := func(filters string) *Request {
		t.Helper()
		req, err := Decode([]byte(`{"properties":{"filters":[` + filters + `]}}`))
		if err != nil {
			t.Fatal(err)
		}
		return req
	}
	req := body(`{"protocol":"TCP","localPort":"80"},{"protocol":"icmp"},{"TCPFLAGS":"syn+ack","remoteIPAddress":"10.0.0.0/8"}`)
	want := []string{"the service would refuse what is pcapctl's own: properties.filters[1].protocol (ICMP), " +
		"properties.filters[2].remoteIPAddress (a subnet in CIDR notation), properties.filters[2].tcpFlags (flags of TCP)"}
	if d := cmp.Diff(want, req.Notes); d != "" {
		t.Errorf("notes (-want +got):\n%s", d)
	}
	many := strings.Repeat(`{"tcpFlags":"rst"},`, 1000)
	if req := body(many[:len(many)-1]); len(req.Notes) != 1 || !strings.HasSuffix(req.Notes[0], "and 990 more") {
		t.Errorf("%.300q", req.Notes)
	}
	if specs, err := DecodeFilters([]byte(`[{tcp-flags:syn+ack}]`)); err != nil || len(specs) != 1 || *specs[0].TCPFlags != "syn+ack" {
		t.Errorf("shorthand: %+v, %v", specs, err)
	}
}
