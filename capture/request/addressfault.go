package request

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"pcapctl/capture/fault"
	"pcapctl/storage/azblob/bloburl"
)

// exampleAccount is the account in the URL that a message proposes.
func exampleAccount(name string) string {
	if name == "" {
		return "<account>"
	}
	return strings.ToLower(name)
}

// otherEndpoint names the setting for a host that is not a blob endpoint of the
// cloud that this host's settings have: another cloud, or an endpoint of the
// account's own. For another service of the account there is none.
func otherEndpoint(host, suffix string) string {
	account, rest, _ := strings.Cut(strings.ToLower(host), ".")
	service, cloud, _ := strings.Cut(rest, ".")
	switch {
	case !bloburl.ValidAccount(account) || cloud == "" || strings.Contains(cloud, ":"):
		return ""
	case service == "blob" && cloud != suffix:
		return fmt.Sprintf("; for the cloud of %s set storage-suffix (PCAPCTL_STORAGE_SUFFIX) to it; for another endpoint of the account set blob-endpoint", fault.Quote(cloud))
	case cloud == suffix:
		return ""
	default:
		return "; for another endpoint of the account set blob-endpoint (PCAPCTL_BLOB_ENDPOINT)"
	}
}

// addressFault puts a fault of an address into words, and says what to write
// instead. account is the one of storageId, or "".
func (v *validator) addressFault(at string, f bloburl.Fault, account string) {
	example := "https://" + exampleAccount(account) + ".blob." + v.host.StorageSuffix
	switch f.Rule {
	case bloburl.Malformed:
		v.fault(at, "%s is not a valid URI of a blob; allowed: https://<account>.blob.%s/<container>/<blob>", fault.Quote(f.Value), v.host.StorageSuffix)
	case bloburl.HasFragment:
		v.fault(at, "a blob's URI has no fragment (#…); a # in its name is written %%23")
	case bloburl.HasUser:
		v.fault(at, "a blob's URI has no user or password in it: write %s", shorten(f.Instead))
	case bloburl.NotSAS:
		v.fault(at, "the query behind the ? is not a valid shared access signature (there is no sig= in it): take it out")
	case bloburl.EscapedSAS, bloburl.CutSAS:
		v.fault(at, "the query behind the ? is not a valid shared access signature: %s", bloburl.CureOfSAS(f.Rule))
	case bloburl.NotHTTPS:
		v.fault(at, "%s is not https, and packets are sent encrypted only: write %s", fault.Quote(f.Value+"://…"), shorten(f.Instead))
	case bloburl.NotEndpoint:
		v.fault(at, "%s is not a valid blob endpoint; allowed: %s/<container>/<blob>%s", fault.Quote(f.Value), example, otherEndpoint(f.Value, v.host.StorageSuffix))
	case bloburl.WrongAccount:
		v.fault(at, "the account %s is not that of storageId, %s: name the same account in both, by %s/… here, or by …/storageAccounts/%s in storageId",
			fault.Quote(f.Value), fault.Quote(account), example, shorten(f.Value))
	case bloburl.UnknownAccount:
		v.fault(at, "the blob endpoint of this host's settings, %s, does not name the storage account: give the account, too", fault.Quote(f.Value))
	case bloburl.EndpointMalformed:
		v.fault(at, "the blob endpoint of this host's settings is not a valid URL; allowed is one without user and query, such as http://127.0.0.1:10000/%s", exampleAccount(account))
	case bloburl.EndpointNotHTTPS:
		v.fault(at, "the blob endpoint of this host's settings, %s, is not https, and http is allowed to this machine itself only", fault.Quote(f.Value))
	case bloburl.BadContainer:
		v.fault(at, "%s is not a valid name of a container; allowed: 3 to 63 lower-case letters, digits and single hyphens between them", fault.Quote(f.Value))
	case bloburl.NameMissing:
		v.fault(at, "a blob's name is missing behind the container: write …/%s/x.cap", shorten(f.Value))
	case bloburl.BadPath:
		v.fault(at, `the blob's name %s has an empty segment, "." or ".." in it`, fault.Quote(f.Value))
	case bloburl.BadSegment:
		v.fault(at, "the segment %s of the blob's name ends in a dot or a backslash, which the service advises against", fault.Quote(f.Value))
	case bloburl.NameTooLong:
		name := v.host.Output.capName(f.Value)
		v.fault(at, "the blob's name has %d characters, its extension included, in %d segments; allowed: up to %d in %d",
			utf8.RuneCountInString(name), strings.Count(name, "/")+1, bloburl.MaxName, bloburl.MaxSegments)
	}
}
