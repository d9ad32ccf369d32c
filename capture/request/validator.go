package request

import (
	"fmt"
	"regexp"
	"strings"
	"sync"

	"pcapctl/capture/fault"
)

// validator validates a request against its host, and gathers all its faults.
type validator struct {
	host     Host
	session  string // the session's name, for placeholders
	faults   []fault.Detail
	warnings []string
}

func (v *validator) fault(path, format string, args ...any) {
	v.coded(fault.CodeInvalidValue, path, format, args...)
}

func (v *validator) missing(path, format string, args ...any) {
	v.coded(fault.CodeMissing, path, format, args...)
}

func (v *validator) coded(code, path, format string, args ...any) {
	if len(v.faults) > fault.MaxFaults {
		return // more than one answer lists
	}
	v.faults = append(v.faults, fault.Detail{Code: code, Target: path, Message: fmt.Sprintf(format, args...)})
}

// pattern is a regular expression that is compiled when it is first asked for:
// to compile all of them takes a tenth of a start, and a run needs few.
func pattern(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// lastMember is the last name of a JSON path.
func lastMember(path string) string { return path[strings.LastIndexByte(path, '.')+1:] }
