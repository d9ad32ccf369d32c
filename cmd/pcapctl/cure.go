package main

import (
	"errors"
	"syscall"

	"pcapctl/capture/fault"
)

// cures say what to do about errors of the system that may come from anywhere.
var cures = []struct {
	errno syscall.Errno
	cure  string
}{
	{syscall.EMFILE, "the limit of open files is reached: raise it with `ulimit -n 1024`, or LimitNOFILE= of a unit"},
	{syscall.ENFILE, "the whole machine has reached its limit of open files (fs.file-max)"},
}

// withCure adds to an error what to do about it.
func withCure(err error) error {
	for _, c := range cures {
		if !errors.Is(err, c.errno) {
			continue
		}
		e := &fault.Error{Class: fault.ClassOf(err), Message: err.Error()}
		if known, ok := errors.AsType[*fault.Error](err); ok {
			*e = *known
		}
		e.Message, e.Err = e.Message+"; "+c.cure, err
		return e
	}
	return err
}
