package request

import (
	"fmt"
	"strings"

	"pcapctl/capture/fault"
)

// knownPlaceholders are filled in where a path has their name in braces.
var knownPlaceholders = []string{"packetCaptureName", "hostname", "startTime"}

// placeholder is any name in braces, also one that was copied from documentation
// and is never filled in. Braces that do not pair are not matched.
var placeholder = pattern(`\{([^{}]*)\}`)

// fill replaces the placeholders of a path. Those it does not know are faults,
// because they were left from documentation; they are replaced by their names, so
// that the rest of the path can be validated, too.
func (v *validator) fill(given string) (filled string, faults []string) {
	filled = placeholder().ReplaceAllStringFunc(given, func(match string) string {
		name := match[1 : len(match)-1]
		switch strings.ToLower(name) {
		case "packetcapturename":
			return v.session
		case "hostname":
			return v.host.safeName()
		case "starttime":
			return v.host.Now.Format(StampLayout)
		}
		why := fmt.Sprintf("%s is not filled in; known are {packetCaptureName}, {hostname} and {startTime}", shorten(match))
		if near := fault.Nearest(name, knownPlaceholders); near != "" {
			why = fmt.Sprintf("%s is not filled in; the nearest known is {%s}", shorten(match), near)
		}
		faults = append(faults, why)
		return unsafeInName().ReplaceAllString(name, "-")
	})
	if strings.ContainsAny(filled, "{}") {
		faults = append(faults, "a brace without its counterpart; braces stand around the name of a placeholder only")
		filled = strings.NewReplacer("{", "", "}", "").Replace(filled)
	}
	return filled, faults
}
