package fault

import (
	"errors"
	"slices"
	"strings"
)

// Join makes one error of those that several steps gave for the same request,
// such as reading it and validating it: all faults in order, nil when there are
// none. A member that a later step found missing only because an earlier one
// could not read it is left out. The first error of another class than Invalid
// is returned as it is.
func Join(errs ...error) error {
	var faults []Detail
	var first error
	ofFirst := 0 // how many of the faults are those of the first error
	for _, err := range errs {
		if err == nil {
			continue
		}
		e, ok := errors.AsType[*Error](err)
		if !ok || e.Class != Invalid {
			return err
		}
		details := e.Details
		if len(details) == 0 {
			details = []Detail{{Code: e.Code, Message: e.Message, Target: e.Target}}
		}
		if first == nil {
			first, faults, ofFirst = err, slices.Clone(details), len(details)
			continue
		}
		earlier := slices.Clip(faults)
		for _, f := range details {
			if !isMissing(f.Code) || !slices.ContainsFunc(earlier, f.concerns) {
				faults = append(faults, f)
			}
		}
	}
	if first == nil || len(faults) == ofFirst {
		return first
	}
	return OfRequest(faults)
}

// concerns reports whether another fault lies at the member of this one, or
// within it.
func (f Detail) concerns(other Detail) bool {
	rest, ok := strings.CutPrefix(other.Target, f.Target)
	return ok && f.Target != "" && (rest == "" || rest[0] == '.' || rest[0] == '[')
}
