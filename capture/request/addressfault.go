package request

import (
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
	case bloburl.NotHTTPS:
		v.fault(at, "%s is not https, and packets are sent encrypted only: write %s", fault.Quote(f.Value+"://…"), shorten(f.Instead))
	case bloburl.NotEndpoint:
		v.fault(at, "%s is not a valid blob endpoint; allowed: %s/<container>/<blob>", fault.Quote(f.Value), example)
	case bloburl.WrongAccount:
		v.fault(at, "the account %s is not that of storageId, %s: name the same account in both", fault.Quote(f.Value), fault.Quote(account))
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
