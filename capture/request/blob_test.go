package request

import (
	"strings"
	"testing"
	"time"

	"pcapctl/storage/azblob/bloburl"
)

func TestParseBlob(t *testing.T) {
	emulator := testHost()
	emulator.BlobEndpoint = "http://127.0.0.1:10000/devstoreaccount1"
	private := testHost()
	private.BlobEndpoint = "http://[::1]:10000"
	for _, tt := range []struct {
		name, id, path string
		host           Host
		url, account   string
		fault          string // "" when it is accepted
	}{
		{"account from the URL", "", "https://PCstore.blob.core.windows.net/a-b/x?sig=s", testHost(), "https://pcstore.blob.core.windows.net/a-b/x.cap", "pcstore", ""},
		{"account from the id", testAccount, "https://pcstore.blob.core.windows.net/abc/x.pcapng", testHost(), "https://pcstore.blob.core.windows.net/abc/x.pcapng", "pcstore", ""},
		{"account from the emulator's path", "", "http://127.0.0.1:10000/devstoreaccount1/abc/x", emulator, "http://127.0.0.1:10000/devstoreaccount1/abc/x.cap", "devstoreaccount1", ""},
		{"account of the id at the emulator", testAccount, "http://127.0.0.1:10000/devstoreaccount1/abc/x", emulator, "http://127.0.0.1:10000/devstoreaccount1/abc/x.cap", "pcstore", ""},
		{"account beside the emulator", "", "https://pcstore.blob.core.windows.net/abc/x", emulator, "https://pcstore.blob.core.windows.net/abc/x.cap", "pcstore", ""},
		{"no account", "", "http://[::1]:10000/abc/x", private, "", "", "properties.storageLocation.storagePath: the blob endpoint of this host's settings, \"http://[::1]:10000\", does not name the storage account"},
		{"another account", testAccount, "https://other.blob.core.windows.net/abc/x", testHost(), "", "", `properties.storageLocation.storagePath: the account "other" is not that of storageId`},
		{"an id that is not valid", "pcstore", "https://pcstore.blob.core.windows.net/abc/x", testHost(), "", "", `properties.storageLocation.storageId: "pcstore" is not a valid resource id`},
		{"not a blob", "", "https://example.com/abc/x", testHost(), "", "", `properties.storageLocation.storagePath: "example.com" is not a valid blob endpoint; allowed: https://<account>.blob.core.windows.net/<container>/<blob>`},
		{"another cloud", testAccount, "https://pcstore.blob.core.usgovcloudapi.net/abc/x", testHost(), "", "", `is not a valid blob endpoint; allowed: https://pcstore.blob.core.windows.net/<container>/<blob>; for the cloud of "core.usgovcloudapi.net" set storage-suffix (PCAPCTL_STORAGE_SUFFIX) to it`},
		{"a private endpoint", testAccount, "https://pcstore.privatelink.blob.example/abc/x", testHost(), "", "", `; for another endpoint of the account set blob-endpoint (PCAPCTL_BLOB_ENDPOINT)`},
		{"the sample of the documentation", testAccount, "https://mytestaccountname.blob.core.windows.net/capture/vm1Capture.cap", testHost(), "", "",
			`the account "mytestaccountname" is not that of storageId, "pcstore": name the same account in both, by https://pcstore.blob.core.windows.net/… here, or by …/storageAccounts/mytestaccountname in storageId`},
		{"a signature copied from a web page", testAccount, "https://pcstore.blob.core.windows.net/abc/x?sv=1&amp;sig=s", testHost(), "", "", `: it has &amp; for &, as web pages write it: write & in each place`},
		{"a signature cut by the shell", testAccount, "https://pcstore.blob.core.windows.net/abc/x?sv=2021-12-02", testHost(), "", "", `: there is no sig= in it, though it begins as one: give all of it, in quotes`},
		{"nothing at an account", testAccount, "", testHost(), "", "", `properties.storageLocation.storagePath: "" is not a valid URI of a blob`},
		{"nothing", "", "", testHost(), "", "", `properties.storageLocation.storagePath: "" is not a valid URI of a blob`},
		{"a terminal's escape in the host", "", "https://u@%e2%80%ae.example/abc/x", testHost(), "", "", `properties.storageLocation.storagePath: a blob's URI has no user or password in it: write https://\u202e.example/abc/x…"\u202e.example" is not a valid blob endpoint`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := ParseBlob(tt.id, tt.path, tt.host)
			if tt.fault != "" {
				if got := strings.Join(details(t, err), "\n"); b != nil || !inOrder(got, strings.Split(tt.fault, "…")) {
					t.Errorf("got %s", got)
				}
				return
			}
			if err != nil || b.Address.String() != tt.url || b.Address.Account != tt.account || b.StorageID.IsZero() != (tt.id == "") {
				t.Errorf("got %+v, %v", b, err)
			}
			if tt.name == "account from the URL" && (b.SAS.Reveal() != "sig=s" || storagePath(b) != tt.url+"?sig=s") {
				t.Errorf("signature %q, path %q", b.SAS.Reveal(), storagePath(b))
			}
		})
	}
}

func inOrder(s string, parts []string) bool {
	for _, part := range parts {
		at := strings.Index(s, part)
		if at < 0 {
			return false
		}
		s = s[at+len(part):]
	}
	return true
}

// The files of a rotation and their blobs have names that sort by time.
func TestRotatedNames(t *testing.T) {
	start := time.Date(2031, 2, 3, 14, 5, 6, 789_000_000, time.FixedZone("", 3600))
	for _, tt := range []struct{ given, first, other, late string }{
		{"/var/captures/x.cap", "/var/captures/x_20310203T130506.789Z_000001.cap", "/var/captures/x_20310203T130506.789Z_000012.cap", "/var/captures/x_20310203T130506.789Z_1234567.cap"},
		{"a b/x_y.pcapng.zst", "a b/x_y_20310203T130506.789Z_000001.pcapng.zst", "a b/x_y_20310203T130506.789Z_000012.pcapng.zst", "a b/x_y_20310203T130506.789Z_1234567.pcapng.zst"},
	} {
		first := FirstRotatedPath(tt.given, start, 1)
		if other, late := RotatedPath(first, 12), RotatedPath(first, 1_234_567); first != tt.first || other != tt.other || late != tt.late {
			t.Errorf("%s: %s, %s, %s", tt.given, first, other, late)
		}
		blob := bloburl.Address{Endpoint: "https://pcstore.blob.core.windows.net", Account: "pcstore", Container: "abc", Name: tt.given}
		address := FirstRotatedAddress(blob, start, 1)
		if other := RotatedAddress(address, 12); address != blob.WithName(tt.first) || other != blob.WithName(tt.other) {
			t.Errorf("%s: %s, %s", tt.given, address, other)
		}
	}
}

// The blob that is named after the target must keep to the service's rules, too.
func TestDefaultBlobOfATarget(t *testing.T) {
	_, err := NewConfig(testRequest(t, `"target":"`+strings.Replace(testVM, "rg1", "rg1.", 1)+`","storageLocation":{"storageId":"`+testAccount+`"}`), testHost())
	checkFaults(t, err, `properties.target: the segment "rg1." of the blob's name ends in a dot`)
}

// storagePath is the member of a request that names the blob.
func storagePath(b *Blob) string {
	if b.SAS.IsZero() {
		return b.Address.String()
	}
	return b.Address.String() + "?" + b.SAS.Reveal()
}

// The names of a ring's blobs are checked with the time and the number that each has.
func TestRingBlobNames(t *testing.T) {
	name := func(n int) string { return strings.Repeat("n", 250) + "/" + strings.Repeat("m", n-251) }
	request := func(mode string, n int) *Request {
		return testRequest(t, `"continuousCapture":`+mode+`,"storageLocation":{"storageId":"`+testAccount+`","storagePath":"https://pcstore.blob.core.windows.net/abc/`+name(n)+`"}`)
	}
	const added = len("_20310203T140506.789Z_1000000000.cap")
	if _, err := NewConfig(request("true", bloburl.MaxName-added), testHost()); err != nil {
		t.Errorf("the longest: %v", err)
	}
	if _, err := NewConfig(request("false", bloburl.MaxName-len(".cap")), testHost()); err != nil {
		t.Errorf("the longest of one file: %v", err)
	}
	_, err := NewConfig(request("true", bloburl.MaxName-added+1), testHost())
	checkFaults(t, err, `properties.storageLocation.storagePath: the names of the blobs of a ring are 32 characters longer than "nnn…allowed: up to 1024 characters in all`)
}
