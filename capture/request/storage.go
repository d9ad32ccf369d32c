package request

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"pcapctl/capture/fault"
	"pcapctl/storage/secret"
)

// logsContainer is where the service puts captures when no path is given.
const logsContainer = "network-watcher-logs"

// value is what a member of storageLocation holds: absent and empty are the
// same, as the service prints "" for what is not there.
func value(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// destination judges storageLocation as a whole and sets FilePath and Blob.
func (j *judge) destination(c *Config, p *Properties) {
	const at = "properties.storageLocation"
	l := p.StorageLocation
	if l == nil {
		l = &StorageLocation{}
	}
	file, fileAt, code := value(l.FilePath), at+".filePath", fault.CodeNoDestination
	if c.Continuous != nil {
		file, fileAt, code = value(l.LocalPath), at+".localPath", fault.CodeNoContinuousDest
		if value(l.FilePath) != "" {
			j.wrongMode(at+".filePath", "does not go with continuousCapture: use localPath, or leave out continuousCapture")
		}
	} else if value(l.LocalPath) != "" {
		j.wrongMode(at+".localPath", "belongs to continuous mode: use filePath, or add \"continuousCapture\": true or false")
	}
	switch {
	case file != "":
		var faults []string
		c.FilePath, faults = j.file(file)
		if len(faults) == 0 && c.IsRing() {
			faults = ringNameFaults(c.FilePath)
		}
		for _, f := range faults {
			j.fault(fileAt, "%s", f)
		}
	case value(l.StorageID) == "" && value(l.StoragePath) == "":
		j.coded(code, at, "there is no destination: give %s (a file on this machine) or storageId (a storage account), or both", lastSegment(fileAt))
	}
	j.host.Output.followFile(c.FilePath)
	j.blob(c, l)
}

func (j *judge) blob(c *Config, l *StorageLocation) {
	const at = "properties.storageLocation"
	idAt, pathAt := at+".storageId", at+".storagePath"
	given := value(l.StoragePath)
	if value(l.StorageID) == "" {
		if given != "" {
			j.missing(idAt, "storagePath is given without storageId: add the resource id of the account that the blob lies in, or leave storagePath out")
			j.blobURL(given, ResourceID{}, pathAt)
		}
		return
	}
	id, err := parseStorageAccount(*l.StorageID)
	if err != nil {
		j.fault(idAt, "%v", err)
	} else {
		j.warnPlaceholders(idAt, id)
	}
	switch {
	case given != "":
		u, sas := j.blobURL(given, id, pathAt)
		c.Blob = &Blob{StorageID: id, URL: u, SAS: sas}
	case err == nil:
		c.Blob = &Blob{StorageID: id, URL: j.defaultBlob(c, id)}
	}
}

// endpoint is the URL that blobs of an account lie under, with no slash at its
// end. A fault of the host's setting is told as one of the request, as the
// capture cannot go there.
func (j *judge) endpoint(account ResourceID, at string) string {
	name := strings.ToLower(account.Name)
	if j.host.BlobEndpoint == "" {
		return "https://" + name + ".blob." + j.host.StorageSuffix
	}
	u, err := url.Parse(j.host.BlobEndpoint)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Opaque != "":
		j.fault(at, "the blob endpoint of this host's settings is no plain URL such as http://127.0.0.1:10000/%s", name)
	case u.Scheme != "https" && (u.Scheme != "http" || !isLoopback(u.Hostname())):
		j.fault(at, "the blob endpoint of this host's settings, %s, is not https, and http is allowed to this machine itself only", fault.Quote(u.Redacted()))
	default:
		return u.Scheme + "://" + strings.ToLower(u.Host) + strings.TrimRight(u.EscapedPath(), "/")
	}
	return ""
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.IsLoopback() || strings.EqualFold(host, "localhost")
}

// defaultBlob is the path that the service computes: the target's id in lower
// case and the start time in UTC.
func (j *judge) defaultBlob(c *Config, account ResourceID) string {
	const at = "properties.storageLocation.storageId"
	base := j.endpoint(account, at)
	if c.Target.IsZero() {
		return "" // its own why was told
	}
	if left := c.Target.Placeholders(); len(left) > 0 {
		j.fault("properties.target", "%s must be replaced by your own, as the blob's path is made from the target: or name the blob by storageLocation.storagePath", strings.Join(left, " and "))
		return ""
	}
	name := strings.ToLower(fmt.Sprintf("subscriptions/%s/resourcegroups/%s/providers/microsoft.compute/virtualmachines/%s/",
		c.Target.Subscription, c.Target.ResourceGroup, c.Target.Name)) +
		j.host.Now.Format("2006/01/02/packetcapture_15_04_05_") + j.host.Output.capName(fmt.Sprintf("%03d", j.host.Now.Nanosecond()/1e6))
	return base + "/" + logsContainer + "/" + (&url.URL{Path: name}).EscapedPath()
}

// blobURL judges a storagePath and takes it apart into the blob's URL and the
// SAS. The account is zero when it is not known; then only the form counts.
// The query never appears in a message.
func (j *judge) blobURL(given string, account ResourceID, at string) (string, secret.Text) {
	before := len(j.faults)
	given, query, hasQuery := strings.Cut(given, "?")
	if strings.Contains(given+query, "#") {
		j.fault(at, "a blob's URI has no fragment (#…); a # in its name is written %%23")
		return "", secret.Text{}
	}
	if fault.SecretInText().MatchString(given) {
		j.fault(at, "there is a signature in the blob's path: it belongs into the query, behind a ?")
		return "", secret.Text{}
	}
	if hasQuery && !hasSignature(query) {
		j.fault(at, "the query behind the ? is no shared access signature (there is no sig= in it): take it out")
	}
	if scheme, rest, ok := strings.Cut(given, "://"); ok {
		given = scheme + "://" + j.fillBlob(rest, account, at)
	}
	u, err := url.Parse(given)
	if err != nil || u.Host == "" || u.Opaque != "" {
		j.fault(at, "%s is no well-formed URI of a blob; allowed: https://<account>.blob.%s/<container>/<blob>", fault.Quote(withoutUser(given)), j.host.StorageSuffix)
		return "", secret.Text{}
	}
	if u.User != nil {
		j.fault(at, "a blob's URI has no user or password in it: write https://%s%s", u.Host, u.EscapedPath())
	}
	base, rest := j.splitEndpoint(u, account, at)
	j.blobName(rest, at)
	if len(j.faults) > before {
		return "", secret.Text{}
	}
	container, name, _ := strings.Cut(rest, "/")
	return base + "/" + (&url.URL{Path: container + "/" + j.host.Output.capName(name)}).EscapedPath(), secret.New(query)
}

// fillBlob fills the placeholders of the path and refuses those of the host,
// which decides where the packets go.
func (j *judge) fillBlob(rest string, account ResourceID, at string) string {
	host, tail, _ := strings.Cut(rest, "/")
	if left := leftover().FindAllString(host, -1); len(left) > 0 {
		example, standIn := "<account>", "account"
		if !account.IsZero() {
			standIn = strings.ToLower(account.Name)
			example = standIn
		}
		j.fault(at, "%s is not filled in: write the account's name, https://%s.blob.%s/…", shorten(strings.Join(left, " and ")), example, j.host.StorageSuffix)
		host = leftover().ReplaceAllString(host, standIn) // so that the rest can be judged, too
	}
	filled, faults := j.fill(tail)
	for _, f := range faults {
		j.fault(at, "%s", f)
	}
	return host + "/" + filled
}

func withoutUser(s string) string {
	if scheme, rest, ok := strings.Cut(s, "://"); ok {
		return scheme + "://" + rest[strings.LastIndexByte(rest, '@')+1:]
	}
	return s[strings.LastIndexByte(s, '@')+1:]
}

func hasSignature(query string) bool {
	values, err := url.ParseQuery(query)
	return err == nil && values.Get("sig") != ""
}

// splitEndpoint parts a blob's URI into the account's endpoint and
// container/blob, decoded.
func (j *judge) splitEndpoint(u *url.URL, account ResourceID, at string) (base, rest string) {
	if j.host.BlobEndpoint != "" {
		base = j.endpoint(account, at)
		full := strings.ToLower(u.Scheme+"://"+u.Host) + u.EscapedPath()
		if tail, ok := strings.CutPrefix(full, base+"/"); ok && base != "" {
			if decoded, err := url.PathUnescape(tail); err == nil {
				return base, decoded
			}
		}
	}
	rest = strings.TrimPrefix(u.Path, "/")
	if u.Scheme != "https" {
		j.fault(at, "%s is not https, and packets are sent encrypted only: write https://%s%s", fault.Quote(u.Scheme+"://…"), u.Host, u.EscapedPath())
	}
	host := strings.TrimSuffix(strings.ToLower(u.Host), ":443")
	name, suffix, _ := strings.Cut(host, ".")
	if suffix != "blob."+j.host.StorageSuffix || !storageAccountName().MatchString(name) {
		example := "<account>"
		if !account.IsZero() {
			example = strings.ToLower(account.Name)
		}
		j.fault(at, "%s is no blob endpoint; allowed: https://%s.blob.%s/<container>/<blob>", fault.Quote(u.Host), example, j.host.StorageSuffix)
	} else if !account.IsZero() && name != strings.ToLower(account.Name) {
		j.fault(at, "the account %s is not that of storageId, %s: name the same account in both", fault.Quote(name), fault.Quote(account.Name))
	}
	return "https://" + host, rest
}

// containerName is the service's rule; the three names with a dollar sign are
// containers of its own, of which $logs cannot be written.
var containerName = pattern(`^(?:[a-z0-9](?:-?[a-z0-9]){2,62}|\$root|\$web)$`)

// blobName judges container/blob by the rules of "Naming and referencing
// containers, blobs, and metadata" of the Blob service's documentation.
func (j *judge) blobName(rest, at string) {
	container, name, _ := strings.Cut(rest, "/")
	if !containerName().MatchString(container) || len(container) > 63 {
		j.fault(at, "%s is no name of a container; allowed: 3 to 63 lower-case letters, digits and single hyphens between them", fault.Quote(container))
	}
	segments := strings.Split(name, "/")
	switch last := segments[len(segments)-1]; {
	case last == "":
		j.fault(at, "a blob's name is missing behind the container: write …/%s/x.cap", shorten(strings.TrimSuffix(rest, "/")))
		return
	case slices.Contains(segments, "") || slices.Contains(segments, ".") || slices.Contains(segments, ".."):
		j.fault(at, `the blob's name %s has an empty segment, "." or ".." in it`, fault.Quote(name))
		return
	}
	if why := unprintable(name); why != "" {
		j.fault(at, "%s", why)
	}
	if _, why := j.host.Output.extend(segments[len(segments)-1]); why != "" {
		j.fault(at, "%s", why)
	}
	for _, s := range segments {
		if strings.HasSuffix(s, ".") || strings.HasSuffix(s, `\`) {
			j.fault(at, "the segment %s of the blob's name ends in a dot or a backslash, which the service advises against", fault.Quote(s))
		}
	}
	if strings.ContainsAny(name, "{}") {
		j.fault(at, "the blob's name %s holds an encoded brace; write placeholders as they are, such as {startTime}", fault.Quote(name))
	}
	if n := utf8.RuneCountInString(j.host.Output.capName(name)); n > 1024 || len(segments) > 254 {
		j.fault(at, "the blob's name has %d characters, its extension included, in %d segments; allowed: up to 1024 in 254", n, len(segments))
	}
}
