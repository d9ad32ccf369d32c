package azblob

import (
	"cmp"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// Reach is what a client may need of the network and of this machine, so that a
// process can give up the rest.
type Reach struct {
	Ports []uint16 // of TCP, on any host
	Files []string // files and folders that are read, besides those of TLS and name lookup
	// Programs says that programs may be run: those that a login asks for a token.
	Programs bool
}

const (
	portDNS = 53 // where an answer is too long for UDP
	portArc = 40342
)

// loginPlaces are variables that name where a login asks for a token.
var loginPlaces = []string{"AZURE_AUTHORITY_HOST", "IDENTITY_ENDPOINT", "MSI_ENDPOINT", "IMDS_ENDPOINT", "AZURE_POD_IDENTITY_AUTHORITY_HOST"}

// withoutPrograms are the values of AZURE_TOKEN_CREDENTIALS with which azidentity
// runs no program, in lower case.
var withoutPrograms = []string{"prod", "environmentcredential", "workloadidentitycredential", "managedidentitycredential"}

// Reach tells it by the credential that was found and the environment.
func (c *Client) Reach() Reach {
	r := Reach{Ports: []uint16{portDNS}}
	r.add(c.address.String())
	for _, name := range []string{"HTTPS_PROXY", "HTTP_PROXY"} {
		// As ProxyFromEnvironment reads them: a scheme may be left out.
		if proxy := cmp.Or(os.Getenv(name), os.Getenv(strings.ToLower(name))); strings.Contains(proxy, "://") {
			r.add(proxy)
		} else if proxy != "" {
			r.add("http://" + proxy)
		}
	}
	if c.login {
		r.addLogin()
	}
	slices.Sort(r.Ports)
	r.Ports = slices.Compact(r.Ports)
	return r
}

func (r *Reach) addLogin() {
	// The login service, and the metadata services of a VM and of Azure Arc.
	r.Ports = append(r.Ports, 443, 80, portArc)
	for _, name := range loginPlaces {
		if place := os.Getenv(name); place != "" {
			r.add(place)
		}
	}
	if !slices.Contains(withoutPrograms, strings.ToLower(strings.TrimSpace(os.Getenv("AZURE_TOKEN_CREDENTIALS")))) {
		r.Programs = true
		return
	}
	r.Files = append(r.Files, "/var/opt/azcmagent/tokens")
	for _, name := range []string{"AZURE_CLIENT_CERTIFICATE_PATH", "AZURE_FEDERATED_TOKEN_FILE"} {
		if path := os.Getenv(name); path != "" {
			r.Files = append(r.Files, filepath.Dir(path)) // it is replaced while the machine runs
		}
	}
}

// add adds the port of a URL.
func (r *Reach) add(text string) {
	u, err := url.Parse(text)
	if err != nil {
		return // it is refused where it is used
	}
	port := map[string]uint16{"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}[u.Scheme]
	if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
		port = uint16(n)
	}
	if port != 0 {
		r.Ports = append(r.Ports, port)
	}
}
