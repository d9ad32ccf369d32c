// Package bloburl is the address of a blob: parsed once from text, with the
// naming rules of Azure's Blob service, and never taken apart again.
//
// It is pure text. It asks no service, and knows neither the Azure SDK nor
// captures.
package bloburl

import (
	"net/url"
	"strings"
)

// DefaultContainer is the container that Network Watcher writes to when a
// request names no path.
const DefaultContainer = "network-watcher-logs"

// Address is where a blob lies. It is a plain value that can be compared; the
// zero Address is none. Account.Parse and Account.Address make valid ones.
type Address struct {
	Endpoint  string // URL that the account's containers lie under, without a slash at its end: https://pcstore.blob.core.windows.net
	Account   string // name of the storage account, in lower case
	Container string
	Name      string // of the blob, not percent-encoded; slashes separate its segments
}

// IsZero reports whether there is no address at all.
func (a Address) IsZero() bool { return a == Address{} }

// String is the URL of the blob, percent-encoded and without a query; "" for
// the zero Address. Parse makes the same Address of it.
func (a Address) String() string {
	if a.IsZero() {
		return ""
	}
	return a.Endpoint + "/" + (&url.URL{Path: a.Container + "/" + a.Name}).EscapedPath()
}

// ContainerURL is the URL of the container that the blob lies in.
func (a Address) ContainerURL() string {
	return a.Endpoint + "/" + (&url.URL{Path: a.Container}).EscapedPath()
}

// WithName is the address of another blob of the same container.
func (a Address) WithName(name string) Address {
	a.Name = name
	return a
}

// SameContainer reports whether both blobs lie in one container of one account.
func (a Address) SameContainer(b Address) bool { return a.WithName("") == b.WithName("") }

// Host is the name or IP address of the service's host, without a port.
func (a Address) Host() string {
	u, err := url.Parse(a.Endpoint)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// IsHTTPS reports whether the service is asked over https. Only an emulator on
// this machine is asked over plain http.
func (a Address) IsHTTPS() bool { return strings.HasPrefix(a.Endpoint, "https://") }
