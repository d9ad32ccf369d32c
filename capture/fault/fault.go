// Package fault is what a user is told when something is wrong: the class of an
// error, the error, its details, how the errors of several steps are joined, and
// how text from outside is quoted safely. It imports nothing of pcapctl.
package fault

import (
	"errors"
	"fmt"
	"strings"
)

// Class says what a caller can do about an error. Every error that leaves the
// program has exactly one; ClassOf finds it. Only the exit codes and the API's
// status codes depend on it.
type Class uint8

// The classes, in the order of the documented exit codes.
const (
	Internal  Class = iota // a bug of pcapctl: report it
	Invalid                // the request is not valid: fix it
	Forbidden              // a privilege is missing: grant it
	NotFound               // an interface, session, directory, container or account is not there
	Conflict               // the name, the file or the blob exists already: choose another
	Failed                 // the kernel could not begin the capture, or it failed after it had begun
	LocalFile              // the local file could not be completed
	Storage                // the upload failed; the local copy is kept
	Dropped                // packets were lost and the caller had asked for none to be
	TimedOut               // what was waited for has not come yet: wait again
)

// Error is an error with a class, fit to be printed as the API's error
// envelope. Details carry the single faults of a request.
type Error struct {
	Class   Class
	Code    string   // the API's code, or "" for the class's own
	Message string   // what, where and what to do next; lower case, no final stop
	Target  string   // the JSON path or the object at fault, or ""
	Details []Detail // every fault, when there may be several
	Err     error    // the cause, for errors.Is and errors.As; may be nil
}

// Detail is one fault of a request: what is wrong, and where.
type Detail struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Target  string `json:"target,omitempty"` // JSON path such as properties.filters[2].localPort, or "line 3, column 14"
}

// Errorf makes an Error of a class. A %w in the format is kept as the cause.
func Errorf(class Class, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	return &Error{Class: class, Message: err.Error(), Err: errors.Unwrap(err)}
}

// MaxFaults bounds what one error lists; a body of a mebibyte can hold hundreds
// of thousands of faults, and nobody reads such a list.
const MaxFaults = 100

// OfRequest makes the error of a request, an *Error of class Invalid, from its
// faults. It is nil when there are no faults, and lists the first MaxFaults. Its
// code is that of the first fault, as the service answers.
func OfRequest(faults []Detail) error {
	if len(faults) == 0 {
		return nil
	}
	e := &Error{Class: Invalid, Code: faults[0].Code, Target: faults[0].Target, Details: faults}
	switch n := len(faults); {
	case n == 1:
		e.Message = faults[0].Message
	case n > MaxFaults:
		e.Message = fmt.Sprintf("the request has more than %d faults, the first %d are listed", MaxFaults, MaxFaults)
		e.Details = faults[:MaxFaults]
		e.Target = ""
	default:
		e.Message = fmt.Sprintf("the request has %d faults", n)
		e.Target = ""
	}
	return e
}

// Error is the message, followed by every detail on a line of its own where
// there are several.
func (e *Error) Error() string {
	if len(e.Details) < 2 {
		return located(e.Target, e.Message)
	}
	var b strings.Builder
	b.WriteString(e.Message)
	for _, d := range e.Details {
		b.WriteString("\n  " + strings.ReplaceAll(located(d.Target, d.Message), "\n", "\n    "))
	}
	return b.String()
}

// located puts the place before a message that does not begin with it.
func located(target, message string) string {
	if target == "" || strings.HasPrefix(message, target+" ") {
		return message
	}
	return target + ": " + message
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// ClassOf is the class of the first Error in err's tree, Internal when there
// is no Error in it.
func ClassOf(err error) Class {
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Class
	}
	return Internal
}

// Code is the API's error code of a class, where the error has none of its
// own.
func (c Class) Code() string {
	switch c {
	case Invalid:
		return "BadRequest"
	case Forbidden:
		return "Forbidden"
	case NotFound:
		return "NotFound"
	case Conflict:
		return "Conflict"
	case Failed:
		return "CaptureFailed"
	case LocalFile:
		return "LocalFileFailed"
	case Storage:
		return "StorageFailed"
	case Dropped:
		return "PacketsDropped"
	case TimedOut:
		return "TimedOut"
	case Internal:
	}
	return "InternalServerError"
}

// CaptureError is what packetCaptureError of the API's status says of a
// capture that failed with the class.
func (c Class) CaptureError() string {
	switch c {
	case Failed, LocalFile, Storage:
		return c.Code()
	default:
		return "InternalError"
	}
}
