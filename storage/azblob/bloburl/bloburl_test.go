package bloburl_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"pcapctl/storage/azblob/bloburl"
)

const (
	suffix   = "core.windows.net"
	emulator = "http://127.0.0.1:10000/devstoreaccount1"
)

func TestAddress(t *testing.T) {
	for _, tt := range []struct {
		name, account, endpoint string
		container, blob         string
		url, containerURL, host string
		https                   bool
	}{
		{"plain", "pcstore", "", "abc", "x.cap", "https://pcstore.blob.core.windows.net/abc/x.cap", "https://pcstore.blob.core.windows.net/abc", "pcstore.blob.core.windows.net", true},
		{"letter case of the account", "PCstore", "", "abc", "X.cap", "https://pcstore.blob.core.windows.net/abc/X.cap", "https://pcstore.blob.core.windows.net/abc", "pcstore.blob.core.windows.net", true},
		{"escaped", "pcstore", "", "$root", "a b/?#%.cap", "https://pcstore.blob.core.windows.net/$root/a%20b/%3F%23%25.cap", "https://pcstore.blob.core.windows.net/$root", "pcstore.blob.core.windows.net", true},
		{"emulator", "pcstore", emulator + "/", "abc", "d/x.cap", emulator + "/abc/d/x.cap", emulator + "/abc", "127.0.0.1", false},
		{"emulator with IPv6", "pcstore", "http://[::1]:10000", "abc", "x.cap", "http://[::1]:10000/abc/x.cap", "http://[::1]:10000/abc", "::1", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			account := bloburl.Account{Name: tt.account, Suffix: suffix, Endpoint: tt.endpoint}
			a, faults := account.Address(tt.container, tt.blob)
			if faults != nil || a.String() != tt.url || a.ContainerURL() != tt.containerURL || a.Host() != tt.host || a.IsHTTPS() != tt.https {
				t.Fatalf("%+v: %s, %s, %s, %t; faults %v", a, a, a.ContainerURL(), a.Host(), a.IsHTTPS(), faults)
			}
			if a.Account != "pcstore" || a.Container != tt.container || a.Name != tt.blob || a.IsZero() {
				t.Errorf("got %+v", a)
			}
			if again, faults := account.Parse(a.String()); faults != nil || again != a {
				t.Errorf("parsed again: %+v, %v", again, faults)
			}
			sibling := a.WithName("other.cap")
			if !sibling.SameContainer(a) || sibling == a || sibling.String() != tt.containerURL+"/other.cap" {
				t.Errorf("sibling %s", sibling)
			}
			sibling.Container = "other"
			if sibling.SameContainer(a) {
				t.Error("another container is taken for the same")
			}
		})
	}
	if zero := (bloburl.Address{}); !zero.IsZero() || zero.String() != "" {
		t.Errorf("zero: %q", zero)
	}
}

func TestParse(t *testing.T) {
	known := bloburl.Account{Name: "PCStore", Suffix: suffix}
	unknown := bloburl.Account{Suffix: suffix}
	local := bloburl.Account{Name: "pcstore", Suffix: suffix, Endpoint: emulator}
	localUnknown := bloburl.Account{Suffix: suffix, Endpoint: emulator + "/"}
	const own = "https://pcstore.blob.core.windows.net"
	for _, tt := range []struct {
		name    string
		account bloburl.Account
		text    string
		want    bloburl.Address
	}{
		{"as it is", known, own + "/abc/d/x.cap", bloburl.Address{own, "pcstore", "abc", "d/x.cap"}},
		{"letter case and port", known, "HTTPS://PCstore.BLOB.core.windows.net:443/abc/X.cap", bloburl.Address{own, "pcstore", "abc", "X.cap"}},
		{"escapes", known, own + "/abc/a%20b%2Fc", bloburl.Address{own, "pcstore", "abc", "a b/c"}},
		{"account from the host", unknown, own + "/abc/x", bloburl.Address{own, "pcstore", "abc", "x"}},
		{"emulator of another account", local, emulator + "/abc/x", bloburl.Address{emulator, "pcstore", "abc", "x"}},
		{"emulator, account from the path", localUnknown, "HTTP://127.0.0.1:10000/devstoreaccount1/abc/x", bloburl.Address{emulator, "devstoreaccount1", "abc", "x"}},
		{"endpoint, account from the host", bloburl.Account{Suffix: suffix, Endpoint: "https://pcstore.private.example"}, "https://pcstore.private.example/abc/x", bloburl.Address{"https://pcstore.private.example", "pcstore", "abc", "x"}},
		{"the account itself beside an emulator", local, own + "/abc/x", bloburl.Address{own, "pcstore", "abc", "x"}},
		{"a container of the account's name", local, emulator + "/pcstore/x", bloburl.Address{emulator, "pcstore", "pcstore", "x"}},
		{"hyphens", known, own + "/a-b/x", bloburl.Address{own, "pcstore", "a-b", "x"}},
		{"longest container", known, own + "/" + strings.Repeat("a", 63) + "/x", bloburl.Address{own, "pcstore", strings.Repeat("a", 63), "x"}},
		{"longest name", known, own + "/abc/" + strings.Repeat("é", 1024), bloburl.Address{own, "pcstore", "abc", strings.Repeat("é", 1024)}},
		{"most segments", known, own + "/abc" + strings.Repeat("/n", 254), bloburl.Address{own, "pcstore", "abc", strings.Repeat("n/", 253) + "n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, faults := tt.account.Parse(tt.text)
			if diff := cmp.Diff(tt.want, got); diff != "" || faults != nil {
				t.Fatalf("faults %v\n%s", faults, diff)
			}
			if again, faults := tt.account.Parse(got.String()); faults != nil || again != got {
				t.Errorf("%s parsed again: %+v, %v", got, again, faults)
			}
		})
	}
}

func TestParseFaults(t *testing.T) {
	known := bloburl.Account{Name: "pcstore", Suffix: suffix}
	const own = "https://pcstore.blob.core.windows.net"
	long := strings.Repeat("n", 1025)
	for _, tt := range []struct {
		name    string
		account bloburl.Account
		text    string
		want    []bloburl.Fault
	}{
		{"no URL", known, "pcstore/abc/x", []bloburl.Fault{{Rule: bloburl.Malformed, Value: "pcstore/abc/x"}}},
		{"no host", known, "https:///abc/x", []bloburl.Fault{{Rule: bloburl.Malformed, Value: "https:///abc/x"}}},
		{"bad escape, password", known, "https://u:p@pcstore.blob.core.windows.net/%zz", []bloburl.Fault{{Rule: bloburl.Malformed, Value: own + "/%zz"}}},
		{"password of no scheme", known, "u:p@pcstore", []bloburl.Fault{{Rule: bloburl.Malformed, Value: "pcstore"}}},
		{"query", known, own + "/abc/x?sig=1", []bloburl.Fault{{Rule: bloburl.Malformed, Value: own + "/abc/x?sig=1"}}},
		{"fragment", known, own + "/abc/x#1", []bloburl.Fault{{Rule: bloburl.Malformed, Value: own + "/abc/x#1"}}},
		{"user", known, "https://u:p@pcstore.blob.core.windows.net/abc/x", []bloburl.Fault{{Rule: bloburl.HasUser, Instead: own + "/abc/x"}}},
		{"http", known, "http://pcstore.blob.core.windows.net/abc/x", []bloburl.Fault{{Rule: bloburl.NotHTTPS, Value: "http", Instead: own + "/abc/x"}}},
		{"another service", known, "https://pcstore.file.core.windows.net/abc/x", []bloburl.Fault{{Rule: bloburl.NotEndpoint, Value: "pcstore.file.core.windows.net"}}},
		{"another cloud", known, "https://pcstore.blob.core.chinacloudapi.cn/abc/x", []bloburl.Fault{{Rule: bloburl.NotEndpoint, Value: "pcstore.blob.core.chinacloudapi.cn"}}},
		{"another port", known, "https://pcstore.blob.core.windows.net:8443/abc/x", []bloburl.Fault{{Rule: bloburl.NotEndpoint, Value: "pcstore.blob.core.windows.net:8443"}}},
		{"account that cannot be", bloburl.Account{Suffix: suffix}, "https://pc-store.blob.core.windows.net/abc/x", []bloburl.Fault{{Rule: bloburl.NotEndpoint, Value: "pc-store.blob.core.windows.net"}}},
		{"another account", known, "https://other.blob.core.windows.net/abc/x", []bloburl.Fault{{Rule: bloburl.WrongAccount, Value: "other"}}},
		{"no account at an endpoint", bloburl.Account{Suffix: suffix, Endpoint: "http://[::1]:10000"}, "http://[::1]:10000/abc/x", []bloburl.Fault{{Rule: bloburl.UnknownAccount, Value: "http://[::1]:10000"}}},
		{"endpoint with a user", bloburl.Account{Name: "pcstore", Suffix: suffix, Endpoint: "http://u:p@127.0.0.1/a"}, own + "/abc/x", []bloburl.Fault{{Rule: bloburl.EndpointMalformed}}},
		{"endpoint of another machine", bloburl.Account{Name: "pcstore", Suffix: suffix, Endpoint: "http://10.0.0.1/a"}, own + "/abc/x", []bloburl.Fault{{Rule: bloburl.EndpointNotHTTPS, Value: "http://10.0.0.1/a"}}},
		{"endpoint of another name", known, "http://127.0.0.1.example/abc/x", []bloburl.Fault{{Rule: bloburl.NotHTTPS, Value: "http", Instead: "https://127.0.0.1.example/abc/x"}, {Rule: bloburl.NotEndpoint, Value: "127.0.0.1.example"}}},
		{"no container", known, own, []bloburl.Fault{{Rule: bloburl.BadContainer}, {Rule: bloburl.NameMissing}}},
		{"no name", known, own + "/abc/", []bloburl.Fault{{Rule: bloburl.NameMissing, Value: "abc"}}},
		{"slash at the end", known, own + "/abc/d/", []bloburl.Fault{{Rule: bloburl.NameMissing, Value: "abc/d"}}},
		{"short container", known, own + "/ab/x", []bloburl.Fault{{Rule: bloburl.BadContainer, Value: "ab"}}},
		{"long container", known, own + "/" + strings.Repeat("a", 64) + "/x", []bloburl.Fault{{Rule: bloburl.BadContainer, Value: strings.Repeat("a", 64)}}},
		{"capitals", known, own + "/Abc/x", []bloburl.Fault{{Rule: bloburl.BadContainer, Value: "Abc"}}},
		{"two hyphens", known, own + "/a--b/x", []bloburl.Fault{{Rule: bloburl.BadContainer, Value: "a--b"}}},
		{"hyphen first", known, own + "/-ab/x", []bloburl.Fault{{Rule: bloburl.BadContainer, Value: "-ab"}}},
		{"hyphen last", known, own + "/ab-/x", []bloburl.Fault{{Rule: bloburl.BadContainer, Value: "ab-"}}},
		{"logs", known, own + "/$logs/x", []bloburl.Fault{{Rule: bloburl.BadContainer, Value: "$logs"}}},
		{"empty segment", known, own + "/abc/a//x", []bloburl.Fault{{Rule: bloburl.BadPath, Value: "a//x"}}},
		{"dots", known, own + "/abc/%2e%2e/x", []bloburl.Fault{{Rule: bloburl.BadPath, Value: "../x"}}},
		{"dot", known, own + "/abc/a./b%5C/x", []bloburl.Fault{{Rule: bloburl.BadSegment, Value: "a."}, {Rule: bloburl.BadSegment, Value: `b\`}}},
		{"long name", known, own + "/abc/" + long, []bloburl.Fault{{Rule: bloburl.NameTooLong, Value: long}}},
		{"many segments", known, own + "/abc" + strings.Repeat("/n", 255), []bloburl.Fault{{Rule: bloburl.NameTooLong, Value: strings.Repeat("n/", 254) + "n"}}},
		{"all at once", known, "http://u@other.blob.core.windows.net/AB/a.", []bloburl.Fault{
			{Rule: bloburl.HasUser, Instead: "https://other.blob.core.windows.net/AB/a."},
			{Rule: bloburl.NotHTTPS, Value: "http", Instead: "https://other.blob.core.windows.net/AB/a."},
			{Rule: bloburl.WrongAccount, Value: "other"}, {Rule: bloburl.BadContainer, Value: "AB"}, {Rule: bloburl.BadSegment, Value: "a."},
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, faults := tt.account.Parse(tt.text)
			if diff := cmp.Diff(tt.want, faults); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAddressFaults(t *testing.T) {
	for _, tt := range []struct {
		name            string
		endpoint        string
		container, blob string
		want            bloburl.Rule
	}{
		{"endpoint", "127.0.0.1:10000", "abc", "x", bloburl.EndpointMalformed},
		{"ftp", "ftp://127.0.0.1/a", "abc", "x", bloburl.EndpointNotHTTPS},
		{"container", "", "a", "x", bloburl.BadContainer},
		{"name", "", "abc", "a/", bloburl.NameMissing},
	} {
		a, faults := bloburl.Account{Name: "pcstore", Suffix: suffix, Endpoint: tt.endpoint}.Address(tt.container, tt.blob)
		if len(faults) != 1 || faults[0].Rule != tt.want || !a.IsZero() {
			t.Errorf("%s: %+v, %v", tt.name, a, faults)
		}
	}
}

func TestSplitSAS(t *testing.T) {
	const own = "https://pcstore.blob.core.windows.net/abc/x"
	for _, tt := range []struct {
		text, url, sas string
		want           bloburl.Rule
	}{
		{own, own, "", 0},
		{own + "?sv=1&sig=a%2Bb", own, "sv=1&sig=a%2Bb", 0},
		{own + "?sig=a?b", own, "sig=a?b", 0},
		{own + "?", own, "", bloburl.NotSAS},
		{own + "?snapshot=1", own, "", bloburl.NotSAS},
		{own + "?sig=", own, "", bloburl.NotSAS},
		{own + "?sig=%zz", own, "", bloburl.NotSAS},
		{own + "?sv=1&amp;sp=rcw&amp;sig=a", own, "", bloburl.EscapedSAS},
		{own + "?sig=a&amp;sv=1", own, "", bloburl.EscapedSAS},
		{own + "?sv=2021-12-02", own, "", bloburl.CutSAS},
		{own + "?sp=rcw&se=2030-01-01", own, "", bloburl.CutSAS},
		{own + "#y", "", "", bloburl.HasFragment},
		{own + "?sig=a#y", "", "", bloburl.HasFragment},
	} {
		url, sas, faults := bloburl.SplitSAS(tt.text)
		if url != tt.url || sas.Reveal() != tt.sas || len(faults) > 1 || (len(faults) == 1) != (tt.want != 0) || tt.want != 0 && faults[0] != (bloburl.Fault{Rule: tt.want}) {
			t.Errorf("%s: %q, %q, %v", tt.text, url, sas.Reveal(), faults)
		}
	}
}

func TestValidAccount(t *testing.T) {
	for name, want := range map[string]bool{
		"abc": true, "pcstore1": true, strings.Repeat("a", 24): true,
		"": false, "ab": false, strings.Repeat("a", 25): false, "Abc": false, "a-b": false, "abé": false,
	} {
		if bloburl.ValidAccount(name) != want {
			t.Errorf("%q: %t", name, !want)
		}
	}
}

// What is accepted is the same address when it is written and read again; what
// is refused says why.
func FuzzParse(f *testing.F) {
	for _, text := range []string{
		"https://pcstore.blob.core.windows.net/abc/x.cap", emulator + "/abc/d/x.cap", "https://u:p@pcstore.blob.core.windows.net:443/$root/a%20b%2Fc?sig=x",
		"http://[::1]:1/abc/x", "https://pcstore.blob.core.windows.net/abc/%2e%2e/%ff%00", "https://pcstore.blob.core.windows.net//x#y", "*", "mailto:x",
	} {
		for _, endpoint := range []string{"", emulator, "https://pcstore.private.example/", "http://[::1]:1"} {
			f.Add(text, endpoint, "pcstore")
			f.Add(text, endpoint, "")
		}
	}
	f.Fuzz(func(t *testing.T, text, endpoint, name string) {
		account := bloburl.Account{Name: name, Suffix: suffix, Endpoint: endpoint}
		if name != "" && !bloburl.ValidAccount(strings.ToLower(name)) {
			return // a caller's fault: names are validated before
		}
		url, sas, faults := bloburl.SplitSAS(text)
		if strings.ContainsAny(url, "?#") || faults != nil && !sas.IsZero() {
			t.Fatalf("split into %q and %q", url, sas.Reveal())
		}
		a, faults := account.Parse(url)
		for _, fault := range faults {
			if fault.Rule < bloburl.Malformed || fault.Rule > bloburl.NameTooLong {
				t.Fatalf("rule %d", fault.Rule)
			}
		}
		if faults != nil {
			return
		}
		if !bloburl.ValidAccount(a.Account) || name != "" && a.Account != strings.ToLower(name) || a.Faults() != nil {
			t.Fatalf("accepted %+v", a)
		}
		if !a.IsHTTPS() && a.Host() != "localhost" && a.Host() != "::1" && !strings.HasPrefix(a.Host(), "127.") && !strings.HasPrefix(a.Host(), "::") {
			t.Fatalf("packets go to %s in the clear", a)
		}
		if s := a.String(); strings.ContainsAny(s, "?# ") {
			t.Fatalf("%+v is written %s", a, s)
		}
		if again, faults := account.Parse(a.String()); faults != nil || again != a {
			t.Fatalf("%+v is written %s and read as %+v, %v", a, a, again, faults)
		}
	})
}
