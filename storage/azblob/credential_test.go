package azblob

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"pcapctl/storage/azblob/blobtest"
	"pcapctl/storage/azblob/bloburl"
	"pcapctl/storage/secret"
)

const planted = "UExBTlRFRFNFQ1JFVA=="

func sasWith(pairs ...string) string {
	q := url.Values{"sv": {"2021-12-02"}, "sr": {"c"}, "sp": {"rcw"}, "se": {"2999-01-01"}, "sig": {planted}}
	for i := 0; i < len(pairs); i += 2 {
		if pairs[i+1] == "" {
			q.Del(pairs[i])
		} else {
			q.Set(pairs[i], pairs[i+1])
		}
	}
	return q.Encode()
}

func TestCredentialOrder(t *testing.T) {
	sas := sasWith()
	all := []string{
		"AZURE_STORAGE_SAS_TOKEN", "?" + sas + "\r\n", "AZURE_STORAGE_CONNECTION_STRING", "AccountName=PCStore;AccountKey=" + planted + ";EndpointSuffix=core.windows.net\n",
		"AZURE_STORAGE_KEY", " " + planted + "\n",
	}
	for _, tt := range []struct {
		name string
		url  string
		env  []string
		mode AuthMode
		want string
	}{
		{"all", sas, all, AuthAny, "the SAS in storagePath"},
		{"environment", "", all, AuthAny, "the SAS in AZURE_STORAGE_SAS_TOKEN"},
		{"connection string", "", all[2:], AuthAny, "the key in AZURE_STORAGE_CONNECTION_STRING"},
		{"connection string with SAS", "", []string{all[2], "BlobEndpoint=https://PCstore.blob.core.windows.net:443/;SharedAccessSignature=" + sas}, AuthAny, "the SAS in AZURE_STORAGE_CONNECTION_STRING"},
		{"key", "", all[4:], AuthAny, "the key in AZURE_STORAGE_KEY"},
		{"none", "", nil, AuthAny, "the identity of this machine or user"},
		{"key asked for", sas, all, AuthKey, "the key in AZURE_STORAGE_CONNECTION_STRING"},
		{"key asked for, connection string with SAS", "", []string{all[2], "SharedAccessSignature=" + sas, all[4], all[5]}, AuthKey, "the key in AZURE_STORAGE_KEY"},
		{"SAS asked for", "", all, AuthSAS, "the SAS in AZURE_STORAGE_SAS_TOKEN"},
		{"login asked for", sas, all, AuthLogin, "the identity of this machine or user"},
	} {
		c, err := findCredential(&Options{Address: address("https://pcstore.blob.core.windows.net", "c/b"), SAS: secret.New(tt.url), Mode: tt.mode, getenv: env(tt.env...)})
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if c.how != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, c.how, tt.want)
		}
		if token := c.sas.Reveal(); !c.sas.IsZero() && token != sas {
			t.Errorf("%s: the token was not trimmed: %q", tt.name, token)
		}
	}
}

func TestCredentialFaults(t *testing.T) {
	at := func(d time.Duration) string { return time.Now().Add(d).UTC().Format("2006-01-02T15:04:05Z") }
	for _, tt := range []struct {
		name, sas string
		env       []string
		mode      AuthMode
		kind      Kind
		text      string
	}{
		{name: "expired", sas: sasWith("se", "2020-01-01T00:00Z"), kind: Forbidden, text: "expired at 2020-01-01T00:00:00Z"},
		{name: "ends before the capture", sas: sasWith("se", at(30*time.Minute)), kind: Forbidden, text: "before the time limit ends the capture"},
		{name: "not yet", sas: sasWith("st", at(time.Hour)), kind: Forbidden, text: "not valid before"},
		{name: "no time", sas: sasWith("se", "tomorrow"), kind: Invalid, text: "(se) that is not a valid time"},
		{name: "no time either", sas: sasWith("st", "yesterday"), kind: Invalid, text: "(st) that is not a valid time"},
		{name: "read only", sas: sasWith("sp", "rl"), kind: Forbidden, text: "sp=rcw"},
		{name: "write only", sas: sasWith("sp", "cw"), kind: Forbidden, text: "sp=rcw"},
		{name: "for queues", sas: sasWith("ss", "q"), kind: Forbidden, text: "ss=b"},
		{name: "for containers", sas: sasWith("srt", "c"), kind: Forbidden, text: "srt=o"},
		{name: "no signature", sas: sasWith("sig", ""), kind: Invalid, text: "no sig="},
		{name: "copied from a web page", env: []string{"AZURE_STORAGE_SAS_TOKEN", strings.ReplaceAll(sasWith(), "&", "&amp;")}, kind: Invalid, text: "write & in each place"},
		{name: "cut by a shell", env: []string{"AZURE_STORAGE_SAS_TOKEN", "sv=2021-12-02"}, kind: Invalid, text: "in quotes, as a shell cuts it"},
		{name: "garbage", env: []string{"AZURE_STORAGE_SAS_TOKEN", planted}, kind: Invalid, text: "not a valid shared access signature"},
		{name: "other account", env: []string{"AZURE_STORAGE_CONNECTION_STRING", "AccountName=other;AccountKey=" + planted}, kind: Invalid, text: "for the account other"},
		{name: "no connection string", env: []string{"AZURE_STORAGE_CONNECTION_STRING", planted[:8]}, kind: Invalid, text: "not a valid connection string"},
		{name: "empty connection string", env: []string{"AZURE_STORAGE_CONNECTION_STRING", "AccountName=pcstore"}, kind: Invalid, text: "neither"},
		{name: "no key", env: []string{"AZURE_STORAGE_KEY", "!" + planted}, kind: Invalid, text: "not a valid account key"},
		{name: "no SAS", mode: AuthSAS, env: []string{"AZURE_STORAGE_KEY", planted}, kind: Forbidden, text: "there is no SAS"},
		{name: "no key asked for", mode: AuthKey, sas: sasWith(), kind: Forbidden, text: "there is no key"},
		{name: "no mode", mode: "magic", kind: Invalid, text: `"magic"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := Options{Address: address("https://pcstore.blob.core.windows.net", "c/b"), SAS: secret.New(tt.sas), Mode: tt.mode, getenv: env(tt.env...), Until: time.Now().Add(time.Hour)}
			_, err := New(o)
			wantKind(t, err, tt.kind, tt.text)
			wantNoSecret(t, fmt.Sprintf("%v %+v %#v", err, err, o))
		})
	}
	for _, good := range []string{sasWith("se", at(2*time.Hour)), sasWith("se", "", "sp", "", "si", "policy"), sasWith("st", at(-time.Minute))} {
		c, err := New(Options{Address: address("https://pcstore.blob.core.windows.net", "c/b"), SAS: secret.New(good), Until: time.Now().Add(time.Hour)})
		if err != nil {
			t.Errorf("%v", err)
			continue
		}
		c.Close()
	}
}

func wantNoSecret(t *testing.T, text string) {
	t.Helper()
	for _, form := range []string{planted, url.QueryEscape(planted), planted[:10]} {
		if strings.Contains(text, form) {
			t.Errorf("shows the secret: %s", text)
		}
	}
}

// Errors of requests that carry a secret must not: net/http's own have the
// whole URL in them.
func TestErrorsShowNoSecret(t *testing.T) {
	for _, base := range []string{"http://127.0.0.1:1/pcstore", "https://nowhere.invalid"} {
		for _, o := range []Options{
			{SAS: secret.New(sasWith())},
			{getenv: env("AZURE_STORAGE_KEY", planted)},
		} {
			o.Address, o.backoff = address(base, "c/b.cap"), time.Millisecond
			c, err := New(o)
			if err != nil {
				t.Fatal(err)
			}
			err = c.Check(t.Context())
			if err == nil {
				t.Fatal("succeeded")
			}
			text, _ := json.Marshal(err)
			wantNoSecret(t, fmt.Sprintf("%v %+v %#v %s %s", err, err, err, c.address, text))
			for e := err; e != nil; {
				wantNoSecret(t, fmt.Sprintf("%v %#v", e, e))
				u, ok := e.(interface{ Unwrap() error })
				if !ok {
					break
				}
				e = u.Unwrap()
			}
			c.Close()
		}
	}
}

// FuzzSAS: whatever the text is, as a SAS or as a connection string, it is either
// refused with an *Error that shows no secret of it, or becomes the credential
// that it is: a SAS that has a signature and is still valid, or a key that is
// base64.
func FuzzSAS(f *testing.F) {
	f.Add(sasWith())
	f.Add("AccountName=a;AccountKey=" + planted)
	f.Add("SharedAccessSignature=" + sasWith())
	f.Add("AccountName=a;AccountKey=!" + planted)
	f.Add(sasWith("se", planted))
	f.Add("se=2020&sig=%zz")
	f.Add("?sp=r&sig=a")
	f.Add("AccountName=pcstore;SharedAccessSignature=sp=rcw&sig=x")
	f.Fuzz(func(t *testing.T, s string) {
		for _, o := range []Options{
			{SAS: secret.New(s), getenv: env(), Mode: AuthSAS},
			{getenv: env("AZURE_STORAGE_CONNECTION_STRING", s)},
		} {
			o.Address, o.Until = address("https://pcstore.blob.core.windows.net", "c/b"), time.Now()
			c, err := findCredential(&o)
			switch {
			case err != nil:
				// Enough of the text to be of use to somebody.
				if len(s) > 24 && strings.Contains(err.Error(), s) || kindOf(t, err) != Invalid && kindOf(t, err) != Forbidden {
					t.Fatalf("%q: %v", s, err)
				}
			case !c.sas.IsZero():
				q, err := url.ParseQuery(c.sas.Reveal())
				if err != nil || q.Get("sig") == "" || !strings.Contains(s, c.sas.Reveal()) {
					t.Fatalf("%q is taken for the signature %q: %v", s, c.sas.Reveal(), err)
				}
			case o.Mode == AuthSAS:
				t.Fatalf("%q: no signature and no error", s)
			}
		}
	})
}

// A sibling lies in the same container; nothing else is reached with the
// credentials that were found for the first.
func TestSibling(t *testing.T) {
	at := address("https://pcstore.blob.core.windows.net", "abc/d/x.cap")
	c, err := New(Options{Address: at, SAS: secret.New(sasWith())})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	s, err := c.Sibling(at.WithName("d/ü y.cap"))
	if err != nil || s.address.String() != "https://pcstore.blob.core.windows.net/abc/d/%C3%BC%20y.cap" || c.address.String() != at.String() {
		t.Fatalf("%v, %v", s, err)
	}
	if got, _, _ := strings.Cut(s.blob.URL(), "?"); got != strings.Replace(s.address.String(), "/d/", "/d%2F", 1) {
		t.Errorf("the SDK asks for %s", got)
	}
	other := at
	other.Container = "abd"
	host := at
	host.Endpoint = "https://other.blob.core.windows.net"
	for _, bad := range []bloburl.Address{{}, at.WithName(""), other, host} {
		_, err := c.Sibling(bad)
		wantKind(t, err, Invalid, "is not in the container https://pcstore.blob.core.windows.net/abc")
	}
	_, err = New(Options{SAS: secret.New(sasWith())})
	wantKind(t, err, Invalid, "the address of the blob is missing")
}

func TestLoginIsForHTTPSOnly(t *testing.T) {
	_, err := New(Options{Address: address("http://127.0.0.1:1/pcstore", "c/b.cap"), Mode: AuthLogin})
	wantKind(t, err, Forbidden, "https only")
	c, err := New(Options{Address: address("https://pcstore.blob.core.usgovcloudapi.net", "c/b.cap"), Mode: AuthLogin})
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
}

// What a connection string says of the place is never passed over: it is the place that the blob goes to, or refused
// with the setting that decides.
func TestConnectionStringPlace(t *testing.T) {
	const key = "AccountName=pcstore;AccountKey=" + planted
	const service, china, emulator = "https://pcstore.blob.core.windows.net", "https://pcstore.blob.core.chinacloudapi.cn", "http://127.0.0.1:10000/pcstore"
	for _, tt := range []struct{ name, endpoint, members, fault string }{
		{"the service", service, "EndpointSuffix=core.windows.net;DefaultEndpointsProtocol=https", ""},
		{"letter case", service, "ENDPOINTSUFFIX=Core.Windows.net;defaultendpointsprotocol=HTTPS", ""},
		{"another cloud, told", china, "EndpointSuffix=core.chinacloudapi.cn", ""},
		{"another cloud", service, "EndpointSuffix=core.chinacloudapi.cn", `for the cloud of "core.chinacloudapi.cn" (EndpointSuffix), and the capture goes to core.windows.net: set storage-suffix (PCAPCTL_STORAGE_SUFFIX)`},
		{"an endpoint set by name", "https://pcstore.private.example", "EndpointSuffix=core.windows.net", ""},
		{"endpoint", emulator, "DefaultEndpointsProtocol=http;BlobEndpoint=http://127.0.0.1:10000/pcstore/;QueueEndpoint=http://127.0.0.1:10001/pcstore", ""},
		{"another endpoint", service, "BlobEndpoint=https://pcstore.private.example/", "for the blob endpoint https://pcstore.private.example, and the capture goes to https://pcstore.blob.core.windows.net: set blob-endpoint (PCAPCTL_BLOB_ENDPOINT)"},
		{"endpoint with a user", service, "BlobEndpoint=https://u:" + planted + "@pcstore.blob.core.windows.net", "not a valid URL of an endpoint"},
		{"http", service, "DefaultEndpointsProtocol=http", "asks for http (DefaultEndpointsProtocol)"},
		{"https to an emulator", emulator, "DefaultEndpointsProtocol=https", "asks for https (DefaultEndpointsProtocol), and the blob endpoint http://127.0.0.1:10000/pcstore is http"},
		{"ftp", service, "DefaultEndpointsProtocol=ftp", "not a valid protocol"},
		{"unknown member", service, "EndpointSufix=core.chinacloudapi.cn", "the name of pair 3 is not known"},
		{"twice", service, "EndpointSuffix=core.windows.net;EndpointSuffix=core.chinacloudapi.cn", "pair 4 has the name of one before it"},
	} {
		_, err := findCredential(&Options{Address: address(tt.endpoint, "c/b"), getenv: env("AZURE_STORAGE_CONNECTION_STRING", key+";"+tt.members)})
		if tt.fault == "" {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		t.Run(tt.name, func(t *testing.T) {
			wantKind(t, err, Invalid, tt.fault)
			wantNoSecret(t, fmt.Sprint(err))
		})
	}
	_, err := findCredential(&Options{Address: address(service, "c/b"), getenv: env("AZURE_STORAGE_CONNECTION_STRING", "UseDevelopmentStorage=true")})
	wantKind(t, err, Invalid, "stands for the emulator (UseDevelopmentStorage): set blob-endpoint")
}

// Whose clock is right is the service's to say, within what it tolerates: it is asked, and that is told.
func TestClockOfSAS(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	at := func(d time.Duration) string { return now.Add(d).Format("2006-01-02T15:04:05Z") }
	for _, tt := range []struct {
		name, st, se  string
		doubt, refuse string
	}{
		{"good", at(-time.Minute), at(time.Hour), "", ""},
		{"starts in a few seconds", at(7 * time.Second), at(time.Hour), "valid from 2026-01-02T03:04:12Z (st), and this machine's clock says 2026-01-02T03:04:05Z", ""},
		{"starts in a quarter of an hour", at(15 * time.Minute), at(time.Hour), "valid from", ""},
		{"starts later", at(15*time.Minute + time.Second), at(time.Hour), "", "not valid before"},
		{"expired a few seconds ago", "", at(-7 * time.Second), "expired at 2026-01-02T03:03:58Z (se), and this machine's clock says", ""},
		{"expired this second", "", at(0), "expired at", ""},
		{"expired long ago", "", at(-15 * time.Minute), "", "get a new one"},
	} {
		doubt, err := checkTimes(url.Values{"st": {tt.st}, "se": {tt.se}}, "the SAS", now, time.Time{})
		if !strings.Contains(doubt, tt.doubt) || (doubt == "") != (tt.doubt == "") {
			t.Errorf("%s: warns %q, want %q", tt.name, doubt, tt.doubt)
		}
		if (err == nil) != (tt.refuse == "") || err != nil && !strings.Contains(err.Error(), tt.refuse) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.refuse)
		}
	}
}

// The doubt about a SAS is told by whoever asks the client, and when the service refuses.
func TestClientWarnsOfClock(t *testing.T) {
	soon := time.Now().Add(time.Minute).UTC().Format("2006-01-02T15:04:05Z")
	a := blobtest.Start(t)
	a.Container("captures")
	c := client(t, a, "", "captures/clock.cap", func(o *Options) { o.getenv = env("AZURE_STORAGE_SAS_TOKEN", sasWith("st", soon)) })
	if w := c.Warnings(); len(w) != 1 || !strings.Contains(w[0], "valid from "+soon) {
		t.Errorf("warnings %q", w)
	}
	wantKind(t, c.Check(within(t, 10*time.Second)), Forbidden, "valid from "+soon)
}
