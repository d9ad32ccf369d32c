package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"pcapctl/capture/caller"
	"pcapctl/capture/fault"
	"pcapctl/capture/request"
)

// Under sudo a file that the command line names is opened as the user could who has
// called it. Else a line of sudoers that allows `pcapctl create *` would let him read
// every file: by the messages about it, or by the request that comes back in a
// result.

// openInput opens a file that the command line names.
func openInput(u *caller.User, path string) (f *os.File, err error) {
	if u == nil {
		return os.Open(path)
	}
	err = u.Do(func() (err error) {
		f, err = os.Open(path)
		return err
	})
	return f, asCaller(u, err)
}

// openCapture opens a capture file that the command line names. Those of root in the
// captures folder of this machine are what root was called for.
func (s *settings) openCapture(path string) (*os.File, error) {
	f, err := openInput(s.caller, path)
	if s.caller == nil || !errors.Is(err, fs.ErrPermission) || !s.isOfMachine(path) {
		return f, err
	}
	// OpenTrusted without an owner: it is root's, and nobody else can have put it or a
	// link there.
	own, oerr := caller.OpenTrusted(path)
	if oerr != nil {
		return nil, err
	}
	return own, nil
}

// isOfMachine tells whether a path lies in the captures folder that the machine's
// configuration names, whatever flags and environment say.
func (s *settings) isOfMachine(path string) bool {
	folder := setCapturesDir.textOf(s.system)
	if folder == "" {
		folder = request.DefaultCapturesDir
	}
	path, err := filepath.Abs(path)
	return err == nil && strings.HasPrefix(path, filepath.Clean(folder)+string(filepath.Separator))
}

// asCaller says as whom a file could not be opened.
func asCaller(u *caller.User, err error) error {
	if err == nil || !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fmt.Errorf("%w: it is opened as %s, who has called pcapctl through sudo", err, u.Name)
}

// giveUpRoot makes this process one of the user who has called root, for good, before
// it reads what others have written.
func (a *app) giveUpRoot() error {
	if a.settings.caller == nil {
		return nil
	}
	if err := a.settings.caller.GiveUp(); err != nil {
		return fault.Errorf(fault.Internal, "give up the rights of root: %w", err)
	}
	return nil
}
