package request

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pcapctl/capture/fault"
)

// checkTargets holds the faults of a text to what they promise: each has a code
// of the list and a place, in the text or among the members of a request.
func checkTargets(t *testing.T, text []byte, err error) {
	t.Helper()
	e, ok := errors.AsType[*fault.Error](err)
	if !ok || e.Class != fault.Invalid || len(e.Details) == 0 {
		t.Fatalf("got %v", err)
	}
	if plain, faults := plainText(text); faults == nil {
		text = plain // in which the places are told
	}
	lines := bytes.Split(bytes.TrimPrefix(text, []byte("\ufeff")), []byte("\n"))
	for _, d := range e.Details {
		var line, column int
		n, _ := fmt.Sscanf(d.Target, "line %d, column %d", &line, &column)
		switch {
		case d.Message == "" || !slices.Contains(codes, d.Code):
			t.Fatalf("%+v", d)
		case n == 2:
			if line < 1 || line > len(lines) || column < 1 || column > len(lines[line-1])+1 {
				t.Fatalf("%+v is not in the text", d)
			}
		case d.Target == "": // of the text as a whole
			if d.Code != fault.CodeBadRequest && !strings.HasPrefix(d.Message, "the request is ") {
				t.Fatalf("%+v has no place", d)
			}
		case strings.ContainsFunc(d.Target, func(r rune) bool { return !unicode.IsPrint(r) }) || utf8.RuneCountInString(d.Target) > 2000:
			t.Fatalf("%+v cannot be shown", d)
		}
	}
}

var codes = []string{fault.CodeBadRequest, fault.CodeInvalidValue, fault.CodeMissing, fault.CodeNoDestination, fault.CodeNoContinuousDest, fault.CodeWrongMode}

// What is accepted makes the same Config again, by way of its own request; what
// is refused says where and why.
func FuzzDecode(f *testing.F) {
	seed, err := os.ReadFile("testdata/seed-request.json")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(seed)
	for _, s := range []string{
		props(`"target":"` + testVM + `","storageLocation":{"filePath":"/var/captures/{starttime}"},"filters":[{"localPort":"80-85"}]`),
		props(`"target":"` + testVM + `","storageLocation":{"storageId":"` + testAccount + `"},"continuousCapture":true,"captureSettings":{"fileCount":"2"}`),
		props(`"target":"` + testVM + `","storageLocation":{"storageId":"` + testAccount + `","storagePath":"https://pcstore.blob.core.windows.net/a-b/c d?sig=x"},"totalBytesPerSession":0`),
		`{'a':1}`, `{'a\\'b"':'\\'}`, "\xff\xfe{\x00}\x00", `{"etag":1,"target":"'","zzz":'}`, `{a:1}`, `{"a":True}`, `{"a":"\`, `{"a":"\u12`, "{\"a\":\"\n", `[1 2]`, `{"a" "b"}`, `{,}`, `{"a":1}}`, `{"a":1,,}`, `/* c */{}`, "{}//", `“`, `{"a":1;"b":2}`, `{"a":"C:\x\","b":"\"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		req, err := Decode(data)
		if err != nil {
			checkTargets(t, data, err)
		} else if req == nil {
			t.Fatal("neither a request nor an error")
		}
		if req == nil {
			return
		}
		for _, goos := range []string{"linux", "windows"} {
			h := testHost()
			h.GOOS = goos
			c, err2 := NewConfig(req, h)
			if err2 != nil {
				checkTargets(t, data, err2)
				continue
			}
			checkConfig(t, c)
			roundTrip(t, c, h)
		}
	})
}

// The URL of a blob that is accepted is the same when it is written and read
// again, and one that is refused is not shown with its signature.
func FuzzParseBlob(f *testing.F) {
	const own = "https://pcstore.blob.core.windows.net/"
	for _, s := range []string{
		own + "abc/x", own + "abc/{hostname}/{startTime}.pcapng?sv=1&sig=AbCdEf", own + "$root/a%20b.cap.gz", own + "a--b/%7Bx%7D/..", "http://127.0.0.1:10000/devstoreaccount1/abc/x",
		"https://u:p@other.blob.core.windows.net/abc/x#y", own + "abc/x&sig=AbCdEf", "", "?", "*://{x}/{y",
	} {
		f.Add(s, testAccount, "")
		f.Add(s, "", "http://127.0.0.1:10000/devstoreaccount1")
	}
	f.Fuzz(func(t *testing.T, text, id, endpoint string) {
		h := testHost()
		h.BlobEndpoint = endpoint
		b, err := ParseBlob(id, text, h)
		if err != nil {
			checkTargets(t, nil, err)
			if _, query, ok := strings.Cut(text, "?"); ok && len(query) > 16 && strings.Contains(err.Error(), query) {
				t.Fatalf("the query %q is shown: %v", query, err)
			}
			return
		}
		if b.Address.Faults() != nil || (id != "") == b.StorageID.IsZero() || b.Address.Account == "" {
			t.Fatalf("accepted %+v", b)
		}
		if _, query, _ := strings.Cut(text, "?"); b.SAS.Reveal() != query {
			t.Fatalf("the query %q is the signature %q", query, b.SAS.Reveal())
		}
		again, err := ParseBlob(id, storagePath(b), h)
		if err != nil || again.Address != b.Address || !again.SAS.Equal(b.SAS) {
			t.Fatalf("%s again: %+v, %v", b.Address, again, err)
		}
	})
}
