package save

import (
	"errors"

	"golang.org/x/sys/windows"
)

// isLeft tells the errors of a pipe that nobody reads any more: while its other end is being closed, and afterwards. No call of
// Windows gives EPIPE.
func isLeft(err error) bool {
	return errors.Is(err, windows.ERROR_NO_DATA) || errors.Is(err, windows.ERROR_BROKEN_PIPE)
}
