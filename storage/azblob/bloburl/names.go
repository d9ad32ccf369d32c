package bloburl

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Bounds of a blob's name, by the service.
const (
	MaxName     = 1024 // characters
	MaxSegments = 254
)

// Rule is what an address does not keep to.
type Rule uint8

// The rules. Names are those of "Naming and referencing containers, blobs, and
// metadata" in the documentation of the Blob service.
const (
	Malformed         Rule = iota + 1 // the text is not the URL of a host
	HasFragment                       // there is a # in it
	HasUser                           // there is a user or password in it
	NotSAS                            // its query is not a shared access signature
	EscapedSAS                        // the query of one is written as in HTML, with &amp; for &
	CutSAS                            // the query has members of one, and not its signature
	NotHTTPS                          // packets are sent over https only; Value is the scheme
	NotEndpoint                       // Value, the host, is not a blob endpoint of the cloud
	WrongAccount                      // Value is another account than the one that is named
	UnknownAccount                    // no account is given, and Value, the endpoint, does not name one
	EndpointMalformed                 // Account.Endpoint is not a plain URL
	EndpointNotHTTPS                  // Account.Endpoint, Value, is http to another machine
	BadContainer                      // Value is not a valid name of a container
	NameMissing                       // there is no name of a blob behind the container; Value is the container
	BadPath                           // Value, the blob's name, has a segment that is empty, "." or ".."
	BadSegment                        // Value, a segment of the name, ends in a dot or a backslash
	NameTooLong                       // Value, the blob's name, is longer than MaxName or has more than MaxSegments
)

// Fault is one rule that an address does not keep to. Its texts are as they were
// given: quote them before they are shown.
type Fault struct {
	Rule    Rule
	Value   string // what does not keep to it, or ""
	Instead string // the URL to write instead, or ""
}

// ValidAccount reports whether a storage account can have a name: 3 to 24
// lower-case letters and digits.
func ValidAccount(name string) bool {
	return len(name) >= 3 && len(name) <= 24 && !strings.ContainsFunc(name, notAlphanumeric)
}

func notAlphanumeric(r rune) bool { return (r < 'a' || r > 'z') && (r < '0' || r > '9') }

// validContainer is the rule for containers: 3 to 63 lower-case letters, digits
// and hyphens, no hyphen at an end or beside another. Of the three containers
// that have a dollar sign, $logs cannot be written to.
func validContainer(name string) bool {
	if name == "$root" || name == "$web" {
		return true
	}
	if len(name) < 3 || len(name) > 63 {
		return false
	}
	for part := range strings.SplitSeq(name, "-") {
		if part == "" || strings.ContainsFunc(part, notAlphanumeric) {
			return false
		}
	}
	return true
}

// Faults are the rules that the names of the container and the blob do not keep
// to, nil when there are none.
func (a Address) Faults() []Fault {
	var faults []Fault
	if !validContainer(a.Container) {
		faults = append(faults, Fault{Rule: BadContainer, Value: a.Container})
	}
	segments := strings.Split(a.Name, "/")
	switch {
	case segments[len(segments)-1] == "":
		return append(faults, Fault{Rule: NameMissing, Value: strings.TrimSuffix(a.Container+"/"+a.Name, "/")})
	case slices.ContainsFunc(segments, func(s string) bool { return s == "" || s == "." || s == ".." }):
		return append(faults, Fault{Rule: BadPath, Value: a.Name})
	}
	for _, s := range segments {
		if strings.HasSuffix(s, ".") || strings.HasSuffix(s, `\`) {
			faults = append(faults, Fault{Rule: BadSegment, Value: s})
		}
	}
	if utf8.RuneCountInString(a.Name) > MaxName || len(segments) > MaxSegments {
		faults = append(faults, Fault{Rule: NameTooLong, Value: a.Name})
	}
	return faults
}
