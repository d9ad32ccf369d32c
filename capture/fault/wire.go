package fault

import "errors"

// Report is an error as JSON: what one process of pcapctl tells another, and
// what the record of a session keeps. The zero Report tells of success.
type Report struct {
	Class   string   `json:"class"` // Class.Code; "" for success
	Code    string   `json:"code,omitempty"`
	Message string   `json:"message,omitempty"`
	Target  string   `json:"target,omitempty"`
	Details []Detail `json:"details,omitempty"`
}

// ReportOf makes the report of an error, which may be nil. Of an error's tree
// it takes the first Error; the cause is not kept.
func ReportOf(err error) Report {
	if err == nil {
		return Report{}
	}
	r := Report{Class: ClassOf(err).Code(), Message: err.Error()}
	if e, ok := errors.AsType[*Error](err); ok {
		r.Code, r.Message, r.Target, r.Details = e.Code, e.Message, e.Target, e.Details
	}
	return r
}

// Err is the error that was reported, an *Error, or nil for success. A class
// that this program does not know, because a newer one wrote the report, is
// Internal. What a terminal would obey is written out: a report may come from
// the file of another program, and its texts go to a terminal.
func (r Report) Err() error {
	if r.Class == "" {
		return nil
	}
	class, _ := ClassOfCode(r.Class)
	e := &Error{Class: class, Code: Visible(r.Code), Message: Visible(r.Message), Target: Visible(r.Target)}
	for _, d := range r.Details {
		e.Details = append(e.Details, Detail{Code: Visible(d.Code), Message: Visible(d.Message), Target: Visible(d.Target)})
	}
	return e
}

// ClassOfCode finds a class by its Code. It is Internal, and ok is false, for
// a code that no class has.
func ClassOfCode(code string) (_ Class, ok bool) {
	internal := Internal.Code()
	// Code gives what is not a class the code of Internal, so this ends behind
	// the last class, whichever that is.
	for c := Internal + 1; c.Code() != internal; c++ {
		if c.Code() == code {
			return c, true
		}
	}
	return Internal, code == internal
}
