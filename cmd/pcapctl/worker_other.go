//go:build !linux

package main

import (
	"errors"
	"os"
	"syscall"
)

var errNoBackground = errors.New("captures in the background are only supported on Linux in this build")

func detached() *syscall.SysProcAttr                   { return nil }
func workerPipes() (order, answer *os.File, err error) { return nil, nil, errNoBackground }
func redirectStderr(*os.File) error                    { return errNoBackground }
func writable(int) bool                                { return true }
