package main

import (
	"errors"
	"syscall"

	"pcapctl/capture/fault"
)

// hints say what to do about errors of the system that any call may return.
var hints = []struct {
	errno syscall.Errno
	hint  string
}{
	{syscall.EMFILE, "the limit of open files is reached: raise it with `ulimit -n 1024`, or LimitNOFILE= of a unit"},
	{syscall.ENFILE, "the whole machine has reached its limit of open files (fs.file-max)"},
}

// withHint adds to an error what to do about it.
func withHint(err error) error {
	for _, h := range hints {
		if !errors.Is(err, h.errno) {
			continue
		}
		e := &fault.Error{Class: fault.ClassOf(err), Message: err.Error()}
		if known, ok := errors.AsType[*fault.Error](err); ok {
			*e = *known
		}
		e.Message, e.Err = e.Message+"; "+h.hint, err
		return e
	}
	return err
}
