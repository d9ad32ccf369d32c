//go:build !linux && !windows

package main

import (
	"errors"
	"os"
	"os/exec"

	"pcapctl/capture/fault"
)

var errNoBackground = errors.New("captures in the background are only supported on Linux and Windows")

func canDetach() error                                               { return fault.Errorf(fault.Invalid, "%w", errNoBackground) }
func startDetached(*exec.Cmd, *os.File, *os.File) (*exec.Cmd, error) { return nil, errNoBackground }
func endDetached(*exec.Cmd)                                          {}
func (*app) workerPipes() (order, answer *os.File, err error)        { return nil, nil, errNoBackground }
func (*app) redirectStderr(*os.File) error                           { return errNoBackground }
func canInherit() error                                              { return nil }
func writable(int) bool                                              { return true }
