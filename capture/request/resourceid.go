package request

import (
	"errors"
	"fmt"
	"strings"

	"pcapctl/capture/fault"
	"pcapctl/storage/azblob/bloburl"
)

// ResourceID is a well-formed ARM resource id: /subscriptions/…
// /resourceGroups/…/providers/namespace/type/name. Its spelling is kept as it
// was given; ARM compares ids without regard to letter case.
//
// ParseResourceID makes one; the zero ResourceID stands for no id.
type ResourceID struct {
	Subscription  string // the subscription's id
	ResourceGroup string
	Kind          string // namespace/type, such as Microsoft.Compute/virtualMachines
	Name          string // the resource's own: the VM's, the storage account's

	id string
}

// The two kinds of resource that a request names.
const (
	kindVM      = "Microsoft.Compute/virtualMachines"
	kindStorage = "Microsoft.Storage/storageAccounts"
)

// maxSegment bounds one segment of an id, in bytes. ARM's own longest is a
// resource group's 90 characters.
const maxSegment = 128

// segmentRest is what a segment may hold beside placeholders.
var segmentRest = pattern(`^[\pL\pN._()-]*$`)

// ParseResourceID reads an id of any kind of resource. Placeholders such as
// {subscriptionId} may stand in its segments; Placeholders lists them.
func ParseResourceID(s string) (ResourceID, error) {
	rest, ok := strings.CutPrefix(s, "/")
	if !ok {
		return ResourceID{}, errors.New(`it does not begin with "/subscriptions/"`)
	}
	if why := slashes(s); why != "" {
		return ResourceID{}, errors.New(why)
	}
	parts := strings.Split(rest, "/")
	for i, want := range []string{0: "subscriptions", 2: "resourceGroups", 4: "providers"} {
		if want != "" && (i >= len(parts) || !sameName(parts[i], want)) {
			return ResourceID{}, fmt.Errorf("segment %d is not %q", i+1, want)
		}
	}
	if len(parts) != 8 {
		return ResourceID{}, fmt.Errorf("it has %d segments instead of 8", len(parts))
	}
	for i, part := range parts {
		if err := checkSegment(part); err != nil {
			return ResourceID{}, fmt.Errorf("segment %d %w", i+1, err)
		}
	}
	return ResourceID{
		Subscription: parts[1], ResourceGroup: parts[3],
		Kind: parts[5] + "/" + parts[6], Name: parts[7], id: s,
	}, nil
}

// slashes says that an id has slashes too many, when it has nothing else against
// it.
func slashes(s string) string {
	parts := strings.FieldsFunc(s, func(r rune) bool { return r == '/' })
	plain := "/" + strings.Join(parts, "/")
	if plain == s {
		return ""
	}
	if _, err := ParseResourceID(plain); err != nil {
		return "" // which says more
	}
	switch {
	case strings.HasPrefix(s, "//"):
		return `it begins with more than one "/": write one`
	case strings.HasSuffix(s, "/"):
		return `it ends in a "/": leave that out`
	default:
		return `there are two "/" in a row in it: write one`
	}
}

func checkSegment(s string) error {
	switch {
	case s == "":
		return errors.New("is empty")
	case len(s) > maxSegment:
		return fmt.Errorf("is longer than %d bytes", maxSegment)
	case !segmentRest().MatchString(placeholder().ReplaceAllString(s, "")):
		return fmt.Errorf("(%s) holds a character that no id has", fault.Quote(s))
	}
	return nil
}

// String is the id as it was given.
func (r ResourceID) String() string { return r.id }

// IsZero reports whether there is no id.
func (r ResourceID) IsZero() bool { return r.id == "" }

// Equal reports whether both were given in the same spelling; go-cmp calls it.
func (r ResourceID) Equal(other ResourceID) bool { return r == other }

// Placeholders lists what was left in the id from documentation, such as
// {subscriptionId}, in its order.
func (r ResourceID) Placeholders() []string { return placeholder().FindAllString(r.id, -1) }

// parseVM reads the id of a virtual machine. The published sample writes
// virtualMachine once, so that is taken for the same.
func parseVM(s string) (ResourceID, error) {
	r, err := ParseResourceID(s)
	switch {
	case err == nil && (sameName(r.Kind, kindVM) || sameName(r.Kind, strings.TrimSuffix(kindVM, "s"))):
		return r, nil
	case containsFold(s, "/virtualMachineScaleSets/"):
		err = errors.New("it names a scale set or one of its instances, and pcapctl captures on the one machine it runs on")
	case err == nil:
		err = fmt.Errorf("it names a resource of type %s", fault.Quote(r.Kind))
	}
	return ResourceID{}, badID(s, "a virtual machine", kindVM, err)
}

// parseStorageAccount reads the id of a storage account.
func parseStorageAccount(s string) (ResourceID, error) {
	r, err := ParseResourceID(s)
	switch {
	case err == nil && !sameName(r.Kind, kindStorage):
		err = fmt.Errorf("it names a resource of type %s", fault.Quote(r.Kind))
	case err == nil && placeholder().MatchString(r.Name):
		err = fmt.Errorf("%s is a placeholder: write the account's name in its place", fault.Quote(r.Name))
	case err == nil && !bloburl.ValidAccount(strings.ToLower(r.Name)):
		err = fmt.Errorf("%s is not a valid account name, which has 3 to 24 letters and digits", fault.Quote(r.Name))
	}
	if err != nil {
		return ResourceID{}, badID(s, "a storage account", kindStorage, err)
	}
	return r, nil
}

func badID(given, what, kind string, reason error) error {
	return fmt.Errorf("%s is not a valid resource id of %s: %w; allowed: /subscriptions/<id>/resourceGroups/<group>/providers/%s/<name>",
		fault.Quote(given), what, reason, kind)
}

// sameName compares names as the API does, without regard to the letter case
// of ASCII. The lengths must agree as well, which keeps out the two letters
// beyond ASCII (U+017F and U+212A) that fold into it.
func sameName(a, b string) bool { return len(a) == len(b) && strings.EqualFold(a, b) }

func containsFold(s, part string) bool {
	return strings.Contains(strings.ToLower(s), strings.ToLower(part))
}
