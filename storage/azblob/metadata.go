package azblob

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Bounds of a blob's metadata: 8 KiB in all by the service, of which some is
// left free.
const (
	maxMetadata      = 7 << 10
	maxMetadataValue = 2 << 10
	metadataSHA      = "sha256"
)

// metadataName is what a name may be (Setting and retrieving properties and
// metadata for Blob service resources: C# identifiers), as far as it is used.
var metadataName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// headersOf makes metadata that HTTP headers can carry. What does not fit any
// more is left out.
func headersOf(metadata map[string]string, sum string) map[string]*string {
	headers := map[string]*string{metadataSHA: &sum}
	left := maxMetadata - len(metadataSHA) - len(sum)
	names := make([]string, 0, len(metadata))
	for name, value := range metadata {
		if metadataName.MatchString(name) && name != metadataSHA && value != "" {
			names = append(names, name)
		}
	}
	// The short ones first: a long list of filters goes before the times do.
	slices.SortFunc(names, func(a, b string) int {
		if d := len(metadata[a]) - len(metadata[b]); d != 0 {
			return d
		}
		return strings.Compare(a, b)
	})
	for _, name := range names {
		value := headerValue(metadata[name])
		if left -= len(name) + len(value); left < 0 {
			break
		}
		headers[name] = &value
	}
	return headers
}

// headerValue percent-encodes what a header cannot carry, and the percent sign.
// White space at either end is encoded, too, as servers cut it off and the
// signature of a request counts it.
func headerValue(s string) string {
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		edge := i == 0 || i == len(s)-1
		if c < ' ' || c > '~' || c == '%' || c == ' ' && edge {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
		if b.Len() > maxMetadataValue {
			return b.String() + "..."
		}
	}
	return b.String()
}
