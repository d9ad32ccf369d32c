package main

import (
	"errors"
	"fmt"
	"strings"

	"pcapctl/capture/fault"
)

// exitCodes is the one table of classes, exit codes and the API's status
// codes, in the order of the exit codes.
var exitCodes = []struct {
	code   int
	class  fault.Class
	status string
	text   string
}{
	{1, fault.Internal, "500", "internal error"},
	{2, fault.Invalid, "400", "invalid request, flag or combination"},
	{3, fault.Forbidden, "403", "no privilege"},
	{4, fault.NotFound, "404", "no such interface, session, directory, container or storage account"},
	{5, fault.Conflict, "409", "the name, the file or the blob exists already"},
	{6, fault.Failed, "500 CaptureFailed", "the kernel could not begin the capture, or it failed after it had begun"},
	{7, fault.LocalFile, "500 LocalFileFailed", "the local file could not be completed"},
	{8, fault.Storage, "500 StorageFailed", "the storage account was not reached at the start, and nothing was captured; or the upload failed, and the local copy is kept"},
	{9, fault.Dropped, "-", "packets were dropped and --fail-on-drops was given"},
	{10, fault.TimedOut, "-", "the time of --timeout is over (wait, stop, delete --stop); the session goes on"},
}

// exitCode is the one place where an error becomes an exit code.
func exitCode(err error) int {
	if err == nil {
		return 0
	}
	class := fault.ClassOf(err)
	for _, e := range exitCodes {
		if e.class == class {
			return e.code
		}
	}
	return 1
}

func exitCodeHelp() string {
	var b strings.Builder
	b.WriteString("Exit codes:\n")
	const column = 6
	writeEntry(&b, "   0", "complete, also when ended by Ctrl-C, SIGTERM or stop", column)
	for _, e := range exitCodes {
		writeEntry(&b, fmt.Sprintf("  %2d", e.code), e.text, column)
	}
	return strings.TrimRight(b.String(), "\n")
}

// envelope is the API's error envelope.
type envelope struct {
	Error envelopeError `json:"error"`
}

type envelopeError struct {
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Target  string         `json:"target,omitempty"`
	Details []fault.Detail `json:"details"` // never null
}

func envelopeOf(err error) envelope {
	body := envelopeError{Code: fault.ClassOf(err).Code(), Message: err.Error()}
	if e, ok := errors.AsType[*fault.Error](err); ok {
		body.Message, body.Target, body.Details = e.Message, e.Target, e.Details
		if e.Code != "" {
			body.Code = e.Code
		}
	}
	if body.Details == nil {
		body.Details = []fault.Detail{}
	}
	return envelope{Error: body}
}
