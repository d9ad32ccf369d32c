package request

import (
	"fmt"
	"strings"

	"pcapctl/capture/fault"
)

// placeholders are what is filled in where a path has their name in braces.
var placeholders = []string{"packetCaptureName", "hostname", "startTime"}

// anyPlaceholder finds one, on either side of braces that do not pair.
var anyPlaceholder = pattern(`\{([^{}]*)\}`)

// fill replaces the placeholders of a path. Those it does not know are faults,
// because they were left from documentation; their bare names are put in, so
// that the rest of the path can be validated, too.
func (v *validator) fill(given string) (filled string, faults []string) {
	filled = anyPlaceholder().ReplaceAllStringFunc(given, func(match string) string {
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
		if near := fault.Nearest(name, placeholders); near != "" {
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
