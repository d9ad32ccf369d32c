package request

import (
	"net/url"
	"strings"

	"pcapctl/capture/fault"
)

// parseBlob judges a blob by the rules of a request.
func ParseBlob(id, path string, host Host) (*Blob, error) {
	if id == "" {
		id = accountOf(path, host)
	}
	j := &judge{host: host.withDefaults(), session: "upload"}
	c := &Config{}
	j.blob(c, &StorageLocation{StorageID: &id, StoragePath: &path})
	if err := fault.OfRequest(j.faults); err != nil {
		return nil, err
	}
	return c.Blob, nil
}

// accountOf makes an id of the account that a blob's URI names: in its host, or
// in the path of the endpoint that the host's settings name.
func accountOf(path string, host Host) string {
	name := ""
	if u, err := url.Parse(host.BlobEndpoint); err == nil && host.BlobEndpoint != "" && strings.HasPrefix(path, host.BlobEndpoint) {
		name = strings.Trim(u.Path, "/")
	}
	if name == "" {
		if u, err := url.Parse(path); err == nil {
			name, _, _ = strings.Cut(u.Hostname(), ".")
		}
	}
	return "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/none/providers/Microsoft.Storage/storageAccounts/" + name
}
