package bloburl

import (
	"net/netip"
	"net/url"
	"strings"

	"pcapctl/storage/secret"
)

// Account is a storage account as the settings of a host and a request name it:
// what an address is parsed with.
type Account struct {
	// Name is the account's; letter case does not count. "" when it is not
	// known: then it is read from the URL of the blob.
	Name string
	// Suffix is the DNS suffix of the cloud's endpoints, such as
	// core.windows.net.
	Suffix string
	// Endpoint is a URL that blobs may also lie under, such as an emulator's,
	// http://127.0.0.1:10000/devstoreaccount1; http is accepted for this machine
	// only. "" for none.
	Endpoint string
}

// Address is the address of a blob of the account, whose name must be known.
// The faults are those of the account's endpoint and of the names.
func (a Account) Address(container, name string) (Address, []Fault) {
	base := "https://" + strings.ToLower(a.Name) + ".blob." + a.Suffix
	if a.Endpoint != "" {
		var faults []Fault
		if base, faults = a.endpoint(); faults != nil {
			return Address{}, faults
		}
	}
	made := Address{Endpoint: base, Account: strings.ToLower(a.Name), Container: container, Name: name}
	if faults := made.Faults(); faults != nil {
		return Address{}, faults
	}
	return made, nil
}

// endpoint is the URL in Account.Endpoint in its plain form.
func (a Account) endpoint() (string, []Fault) {
	u, err := url.Parse(a.Endpoint)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "":
		return "", []Fault{{Rule: EndpointMalformed}}
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		return "", []Fault{{Rule: EndpointNotHTTPS, Value: u.Redacted()}}
	}
	return u.Scheme + "://" + strings.ToLower(u.Host) + strings.TrimRight(u.EscapedPath(), "/"), nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback() || strings.EqualFold(host, "localhost")
}

// Parse reads the URL of a blob, which has no query: see SplitSAS. It finds all
// faults, in the order of the text. The Address is complete as far as it could
// be read, and valid when there are no faults.
func (a Account) Parse(text string) (Address, []Fault) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.Opaque != "" || u.RawQuery != "" || u.Fragment != "" {
		return Address{}, []Fault{{Rule: Malformed, Value: withoutUser(text)}}
	}
	var faults []Fault
	if u.User != nil {
		faults = append(faults, Fault{Rule: HasUser, Instead: "https://" + u.Host + u.EscapedPath()})
	}
	parsed, path, more := a.service(u)
	faults = append(faults, more...)
	parsed.Container, parsed.Name, _ = strings.Cut(path, "/")
	return parsed, append(faults, parsed.Faults()...)
}

// service finds the endpoint and the account that a URL belongs to, and what of
// its path lies behind the endpoint, decoded.
func (a Account) service(u *url.URL) (Address, string, []Fault) {
	var faults []Fault
	if a.Endpoint != "" {
		base, wrong := a.endpoint()
		if faults = wrong; wrong == nil {
			whole := strings.ToLower(u.Scheme+"://"+u.Host) + u.EscapedPath()
			if tail, ok := strings.CutPrefix(whole, base+"/"); ok {
				if path, err := url.PathUnescape(tail); err == nil {
					account, wrong := a.accountAt(base)
					return Address{Endpoint: base, Account: account}, path, wrong
				}
			}
		}
	}
	if u.Scheme != "https" {
		faults = append(faults, Fault{Rule: NotHTTPS, Value: u.Scheme, Instead: "https://" + u.Host + u.EscapedPath()})
	}
	host := strings.TrimSuffix(strings.ToLower(u.Host), ":443")
	name, suffix, _ := strings.Cut(host, ".")
	switch {
	case suffix != "blob."+a.Suffix || !ValidAccount(name):
		faults = append(faults, Fault{Rule: NotEndpoint, Value: u.Host})
	case a.Name != "" && name != strings.ToLower(a.Name):
		faults = append(faults, Fault{Rule: WrongAccount, Value: name})
	}
	return Address{Endpoint: "https://" + host, Account: name}, strings.TrimPrefix(u.Path, "/"), faults
}

// accountAt is the account that an endpoint of the settings belongs to. Where
// nobody has said it, the path names it, as emulators have it, or else the host.
func (a Account) accountAt(base string) (string, []Fault) {
	if a.Name != "" {
		return strings.ToLower(a.Name), nil
	}
	_, rest, _ := strings.Cut(base, "://")
	host, path, ok := strings.Cut(rest, "/")
	if !ok {
		path, _, _ = strings.Cut(host, ".")
	}
	if name := strings.ToLower(path); ValidAccount(name) {
		return name, nil
	}
	return "", []Fault{{Rule: UnknownAccount, Value: base}}
}

// SplitSAS parts the shared access signature from the URL of a blob. Neither the
// URL nor a fault holds anything of the query.
func SplitSAS(text string) (blobURL string, sas secret.Text, faults []Fault) {
	blobURL, query, has := strings.Cut(text, "?")
	switch {
	case strings.Contains(blobURL+query, "#"):
		return "", secret.Text{}, []Fault{{Rule: HasFragment}}
	case has && !IsSAS(query):
		return blobURL, secret.Text{}, []Fault{{Rule: RuleOfSAS(query)}}
	}
	return blobURL, secret.New(query), nil
}

// RuleOfSAS is the rule that a query does not keep to, of which IsSAS says that it is
// not a shared access signature: NotSAS, EscapedSAS or CutSAS.
func RuleOfSAS(query string) Rule {
	if strings.Contains(query, "&amp;") {
		return EscapedSAS
	}
	values, _ := url.ParseQuery(query) // as much as can be read
	for _, member := range []string{"sv", "sp", "se", "st", "sr", "si", "ss", "srt", "spr", "sip"} {
		if values.Has(member) && !values.Has("sig") {
			return CutSAS
		}
	}
	return NotSAS
}

// CureOfSAS says in words what is wrong with a query by its rule, and what to do
// about it, but for NotSAS, where that depends on why there is a query.
func CureOfSAS(r Rule) string {
	switch r {
	case EscapedSAS:
		return "it has &amp; for &, as web pages write it: write & in each place"
	case CutSAS:
		return "there is no sig= in it, though it begins as one: give all of it, in quotes, as a shell cuts it at the first &"
	default:
		return "there is no sig= in it"
	}
}

// IsSAS reports whether a query is a shared access signature: whether it has
// the member sig.
func IsSAS(query string) bool {
	values, err := url.ParseQuery(query)
	return err == nil && values.Get("sig") != ""
}

// withoutUser leaves out what stands before an @, which may be a password.
func withoutUser(s string) string {
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		return scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
	}
	return s[strings.LastIndexByte(s, '@')+1:]
}
