//go:build !windows

package save

import (
	"errors"
	"syscall"
)

// isLeft tells the error of a pipe that nobody reads any more.
func isLeft(err error) bool { return errors.Is(err, syscall.EPIPE) }
