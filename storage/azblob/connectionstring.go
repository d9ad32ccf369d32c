package azblob

import (
	"net/url"
	"slices"
	"strings"

	"pcapctl/storage/azblob/bloburl"
)

// Members of a connection string ("Configure Azure Storage connection strings" in the service's documentation), in lower
// case. What is said there of other services does not matter here.
const (
	memberAccount     = "accountname"
	memberKey         = "accountkey"
	memberSAS         = "sharedaccesssignature"
	memberEndpoint    = "blobendpoint"
	memberSuffix      = "endpointsuffix"
	memberProtocol    = "defaultendpointsprotocol"
	memberDevelopment = "usedevelopmentstorage"
)

var passedOver = []string{
	"blobsecondaryendpoint", "queueendpoint", "queuesecondaryendpoint", "tableendpoint", "tablesecondaryendpoint",
	"fileendpoint", "filesecondaryendpoint", "developmentstorageproxyuri",
}

// connectionString is a connection string: what its members hold.
type connectionString map[string]string

// parseConnectionString reads a connection string. No error shows anything of it: in a garbled one, a name may be a part of
// a key.
func parseConnectionString(text string) (connectionString, error) {
	c := connectionString{}
	n := 0
	for part := range strings.SplitSeq(text, ";") {
		if part = strings.TrimSpace(part); part == "" {
			continue
		}
		n++
		name, value, ok := strings.Cut(part, "=")
		if !ok {
			return nil, errorf(Invalid, nil, "%s is not a valid connection string: it is made of name=value pairs with ; between them", envConnection)
		}
		name = strings.ToLower(strings.TrimSpace(name))
		known := []string{memberAccount, memberKey, memberSAS, memberEndpoint, memberSuffix, memberProtocol, memberDevelopment}
		switch {
		case slices.Contains(passedOver, name):
			continue
		case !slices.Contains(known, name):
			return nil, errorf(Invalid, nil, "%s is not a valid connection string: the name of pair %d is not known; known are AccountName, AccountKey, "+
				"SharedAccessSignature, BlobEndpoint, EndpointSuffix and DefaultEndpointsProtocol", envConnection, n)
		}
		if _, twice := c[name]; twice {
			return nil, errorf(Invalid, nil, "%s is not a valid connection string: pair %d has the name of one before it", envConnection, n)
		}
		c[name] = strings.TrimSpace(value)
	}
	return c, nil
}

// checkPlace makes sure that the connection string is for the place that the blob goes to. The place is settled by the
// request and this host's settings; a connection string gives credentials only, and one that names another place is
// refused.
func (c connectionString) checkPlace(a bloburl.Address) error {
	if given := c[memberEndpoint]; given != "" {
		endpoint, ok := plainEndpoint(given)
		switch {
		case !ok:
			return errorf(Invalid, nil, "the BlobEndpoint in %s is not a valid URL of an endpoint, such as https://pcstore.blob.core.windows.net", envConnection)
		case endpoint != a.Endpoint:
			return errorf(Invalid, nil, "%s is for the blob endpoint %s, and the capture goes to %s: set blob-endpoint (PCAPCTL_BLOB_ENDPOINT) to the first, or take BlobEndpoint out of it",
				envConnection, endpoint, a.Endpoint)
		}
		return nil
	}
	// An endpoint of another form was set by name, and is none of the service's own.
	cloud, ofService := strings.CutPrefix(a.Host(), a.Account+".blob.")
	if suffix := strings.ToLower(c[memberSuffix]); suffix != "" && ofService && suffix != cloud {
		return errorf(Invalid, nil, "%s is for the cloud of %q (EndpointSuffix), and the capture goes to %s: set storage-suffix (PCAPCTL_STORAGE_SUFFIX) to the first, or take EndpointSuffix out of it",
			envConnection, cutText(suffix), cloud)
	}
	switch protocol := strings.ToLower(c[memberProtocol]); {
	case protocol == "" || protocol == "https" && a.IsHTTPS() || protocol == "http" && !a.IsHTTPS():
		return nil
	case protocol == "http":
		return errorf(Invalid, nil, "%s asks for http (DefaultEndpointsProtocol), and packets are sent encrypted only: write https there", envConnection)
	case protocol == "https":
		return errorf(Invalid, nil, "%s asks for https (DefaultEndpointsProtocol), and the blob endpoint %s is http: write the same in both", envConnection, a.Endpoint)
	default:
		return errorf(Invalid, nil, "the DefaultEndpointsProtocol in %s is not a valid protocol; allowed: https", envConnection)
	}
}

// plainEndpoint is an endpoint in the form that an Address has.
func plainEndpoint(text string) (string, bool) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", false
	}
	host := strings.ToLower(u.Host)
	if u.Scheme == "https" {
		host = strings.TrimSuffix(host, ":443")
	}
	return u.Scheme + "://" + host + strings.TrimRight(u.EscapedPath(), "/"), true
}

// cutText bounds what is shown of a text from outside.
func cutText(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
