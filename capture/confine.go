package capture

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"pcapctl/capture/deliver"
	"pcapctl/capture/fault"
	"pcapctl/capture/sandbox"
	"pcapctl/capture/save"
	"pcapctl/storage"
	"pcapctl/storage/private"
)

// startHelpers starts the processes that do for a session what it cannot do any
// more when it is confined. Calls after the first do nothing.
//
// Error class: Internal (nobody could run the command for files).
func (s *Session) startHelpers() error {
	if s.helped {
		return nil
	}
	s.helped = true
	o := &s.options
	if o.Guard == "" || s.Plan.Config.Stream { // there is no file
		return nil
	}
	if guard, err := storage.StartGuard(o.Guard); err != nil {
		s.warn(save.Unguarded(err))
	} else {
		s.guard = guard
	}
	if o.Confine == nil || o.OnFile.Command == "" {
		return nil
	}
	_, path := s.Plan.File()
	hook, err := save.StartHook(o.Guard, o.OnFile, s.Plan.Config, path)
	if err != nil {
		return fault.Errorf(fault.Internal, "%w", err)
	}
	s.commands.runner = hook
	return nil
}

// confine gives up what the session does not need from here on. Calls after the
// first do nothing.
//
// Error class: Internal; those of startHelpers, and of a captures folder that
// cannot be made.
func (s *Session) confine() (err error) {
	if s.options.Confine == nil || s.level != nil {
		return nil
	}
	p := s.Plan.policy(s.delivery.Reach(), s.options.Folders, s.folder == nil)
	p.Users = s.options.Rights.Make != nil
	if err := s.options.Rights.make(func() error {
		if err := s.startHelpers(); err != nil {
			return err
		}
		if err := s.makeFolder(); err != nil {
			return err
		}
		p.Settle()
		return nil
	}); err != nil {
		return err
	}
	level, err := s.options.Confine(p)
	if err != nil {
		return fault.Errorf(fault.Internal, "%w", err)
	}
	s.level = &level
	return nil
}

// makeFolder makes the captures folder if it is absent: rules are for folders that
// are there.
func (s *Session) makeFolder() error {
	folder, _ := s.Plan.File()
	if folder == "" {
		return nil
	}
	if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
		return nil // the file of the capture will tell what is wrong with it
	}
	if err := private.MkdirAll(folder); err != nil {
		return s.Plan.createError(err)
	}
	s.madeFolder = folder
	return nil
}

// unmakeFolder takes the folder away that was made for a capture which did not
// begin, unless somebody has put something into it.
func (s *Session) unmakeFolder() {
	if s.madeFolder != "" {
		_ = os.Remove(s.madeFolder)
	}
}

// policy is what a session of the plan needs once everything is open; first says that
// its first file is not. folders are those of others in the process.
func (p *Plan) policy(reach deliver.Reach, folders []sandbox.Folder, first bool) sandbox.Policy {
	if p.Config.Stream {
		return sandbox.Policy{Folders: folders}
	}
	folder, path := p.File()
	spool := p.Config.FilePath == ""
	out := sandbox.Policy{
		Folders: append([]sandbox.Folder{
			{Path: folder}, {Path: filepath.Dir(path), Changes: first || p.Config.Rotates() || spool},
		}, folders...),
		Emptied: []string{filepath.Dir(folder)}, // of the folder itself, when it was made for this capture or is a spool's
		Ports:   reach.Ports, Readable: reach.Files, Programs: reach.Programs,
	}
	return out
}

// Confinement is what the plan's session would give up on this machine.
// expect is as Options.Confine, and changes nothing.
func (p *Plan) Confinement(expect func(sandbox.Policy) sandbox.Level, folders []sandbox.Folder) (sandbox.Level, error) {
	var reach deliver.Reach
	if p.Config.Blob != nil {
		t, err := p.target()
		if err != nil {
			return sandbox.Level{}, err
		}
		defer t.Close()
		reach = t.Reach()
	}
	return expect(p.policy(reach, folders, false)), nil
}

// Sandbox is what the session has given up; nil for nothing.
func (s *Session) Sandbox() *sandbox.Level { return s.level }
