package request

import (
	"fmt"
	"path"
	"strings"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/storage/azblob/bloburl"
	"pcapctl/storage/secret"
)

// The members of a request that name a blob.
const (
	storageIDPath   = "properties.storageLocation.storageId"
	storagePathPath = "properties.storageLocation.storagePath"
)

// Blob is where in a storage account the capture goes.
type Blob struct {
	StorageID ResourceID      // of the account; zero when only the blob's URL was given, as for a file that is uploaded
	Address   bloburl.Address // of the blob
	SAS       secret.Text     // the query of a shared access signature, without "?"; zero when none was given
}

// ParseBlob validates the URL of a blob by the rules of a request. id is the
// resource id of its account; when it is "" the URL names the account. The error
// is as that of NewConfig.
func ParseBlob(id, path string, host Host) (*Blob, error) {
	v := &validator{host: host.withDefaults(), session: "upload"}
	b := &Blob{}
	if id != "" {
		b.StorageID = v.storageAccount(id)
	}
	b.Address, b.SAS = v.blobAddress(path, b.StorageID.Name)
	if err := fault.OfRequest(v.faults); err != nil {
		return nil, err
	}
	return b, nil
}

// blob validates the members of a request that name a blob, and sets Blob.
func (v *validator) blob(c *Config, l *StorageLocation) {
	given := text(l.StoragePath)
	if text(l.StorageID) == "" {
		if given != "" {
			v.missing(storageIDPath, "storagePath is given without storageId: add the resource id of the account that the blob lies in, or leave storagePath out")
			v.blobAddress(given, "")
		}
		return
	}
	id := v.storageAccount(*l.StorageID)
	switch {
	case given != "":
		c.Blob = &Blob{StorageID: id}
		c.Blob.Address, c.Blob.SAS = v.blobAddress(given, id.Name)
		v.rotatedBlobs(c, storagePathPath)
	case !id.IsZero():
		c.Blob = &Blob{StorageID: id, Address: v.defaultAddress(c, id.Name)}
		v.rotatedBlobs(c, "properties.target")
	}
}

// rotatedBlobs finds that the names of the blobs of a ring would be too long.
func (v *validator) rotatedBlobs(c *Config, at string) {
	a := c.Blob.Address
	if !c.Rotates() || a.IsZero() {
		return
	}
	longest := FirstRotatedAddress(a, time.Unix(0, 0), mostRotatedFiles)
	if longest.Faults() != nil {
		v.fault(at, "the names of the blobs of a ring are %d characters longer than %s, with the time and the number of each; allowed: up to %d characters in all",
			len(longest.Name)-len(a.Name), fault.Quote(a.Name), bloburl.MaxName)
	}
}

// storageAccount validates a storageId. It is zero when there are faults.
func (v *validator) storageAccount(given string) ResourceID {
	id, err := parseStorageAccount(given)
	if err != nil {
		v.fault(storageIDPath, "%v", err)
		return ResourceID{}
	}
	v.warnPlaceholders(storageIDPath, id)
	return id
}

// account is what addresses of blobs are parsed with. The name is "" when it is
// not known.
func (v *validator) account(name string) bloburl.Account {
	return bloburl.Account{Name: name, Suffix: v.host.StorageSuffix, Endpoint: v.host.BlobEndpoint}
}

// defaultAddress is the address that the service computes: its path is the
// target's id in lower case and the start time in UTC.
func (v *validator) defaultAddress(c *Config, account string) bloburl.Address {
	if c.Target.IsZero() {
		return bloburl.Address{} // the target has a fault of its own
	}
	if left := c.Target.Placeholders(); len(left) > 0 {
		v.fault("properties.target", "%s must be replaced by your own, as the blob's path is made from the target: or name the blob by storageLocation.storagePath", strings.Join(left, " and "))
		return bloburl.Address{}
	}
	name := strings.ToLower(fmt.Sprintf("subscriptions/%s/resourcegroups/%s/providers/microsoft.compute/virtualmachines/%s/",
		c.Target.Subscription, c.Target.ResourceGroup, c.Target.Name)) +
		v.host.Now.Format("2006/01/02/packetcapture_15_04_05_") + v.host.Output.capName(fmt.Sprintf("%03d", v.host.Now.Nanosecond()/1e6))
	address, faults := v.account(account).Address(bloburl.DefaultContainer, name)
	for _, f := range faults {
		at := storageIDPath
		if f.Rule != bloburl.EndpointMalformed && f.Rule != bloburl.EndpointNotHTTPS {
			at = "properties.target" // which the name is made from
		}
		v.addressFault(at, f, account)
	}
	return address
}

// blobAddress validates a storagePath and takes it apart into the address of the
// blob and the SAS. The account is "" when it is not known; then only the form
// counts. The query never appears in a message.
func (v *validator) blobAddress(given, account string) (bloburl.Address, secret.Text) {
	before := len(v.faults)
	given, sas, faults := bloburl.SplitSAS(given)
	for _, f := range faults {
		v.addressFault(storagePathPath, f, account)
	}
	if given == "" && len(faults) > 0 {
		return bloburl.Address{}, secret.Text{}
	}
	// Also one that is empty: the name gets an extension, which would then be read as the signature.
	if fault.HoldsSecret(given + "x") {
		v.fault(storagePathPath, "there is a signature in the blob's path: it belongs into the query, behind a ?")
		return bloburl.Address{}, secret.Text{}
	}
	if scheme, rest, ok := strings.Cut(given, "://"); ok {
		given = scheme + "://" + v.fillAddress(rest, account)
	}
	address, faults := v.account(account).Parse(given)
	for _, f := range faults {
		v.addressFault(storagePathPath, f, account)
	}
	v.captureName(address.Name)
	if len(v.faults) > before {
		return bloburl.Address{}, secret.Text{}
	}
	address = address.WithName(v.host.Output.capName(address.Name))
	for _, f := range address.Faults() { // the extension may make it too long
		v.addressFault(storagePathPath, f, account)
	}
	return address, sas
}

// captureName validates the name of a blob by the rules for capture files, which
// come on top of those of the service.
func (v *validator) captureName(name string) {
	if name == "" {
		return // which has a fault of its own
	}
	if why := unprintable(name); why != "" {
		v.fault(storagePathPath, "%s", why)
	}
	if base := path.Base(name); base != "." && base != ".." && !strings.HasSuffix(name, "/") {
		if _, why := v.host.Output.extend(base); why != "" {
			v.fault(storagePathPath, "%s", why)
		}
	}
	if strings.ContainsAny(name, "{}") {
		v.fault(storagePathPath, "the blob's name %s holds an encoded brace; write placeholders as they are, such as {startTime}", fault.Quote(name))
	}
}

// fillAddress fills in the placeholders of the path and refuses those of the
// host, which decides where the packets go.
func (v *validator) fillAddress(rest, account string) string {
	host, tail, _ := strings.Cut(rest, "/")
	if left := placeholder().FindAllString(host, -1); len(left) > 0 {
		standIn := "account"
		if account != "" {
			standIn = strings.ToLower(account)
		}
		v.fault(storagePathPath, "%s is not filled in: write the account's name, https://%s.blob.%s/…", shorten(strings.Join(left, " and ")), exampleAccount(account), v.host.StorageSuffix)
		host = placeholder().ReplaceAllString(host, standIn) // so that the rest can be validated, too
	}
	filled, faults := v.fill(tail)
	for _, f := range faults {
		v.fault(storagePathPath, "%s", f)
	}
	return host + "/" + filled
}
