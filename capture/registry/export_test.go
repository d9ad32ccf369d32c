//go:build linux || windows

package registry

import (
	"errors"
	"os"
)

// HoldForChange takes the lock of those who change a session.
func HoldForChange(lock string) (release func(), err error) {
	f, err := os.OpenFile(lock, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	if ok, err := tryLock(f, changeLock); err != nil || !ok {
		return nil, errors.Join(err, errors.New("another process has the lock"), f.Close())
	}
	return func() { _ = f.Close() }, nil
}
