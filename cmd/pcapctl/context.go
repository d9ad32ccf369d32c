package main

import (
	"errors"
	"io/fs"
	"os"
	"slices"

	"pcapctl/capture/fault"
	"pcapctl/capture/hostcontext"
	"pcapctl/capture/inspect"
	"pcapctl/capture/source/capfile"
)

// contextFiles are open contexts of captures.
type contextFiles []*os.File

func (c contextFiles) close() {
	for _, f := range c {
		_ = f.Close() // they were only read
	}
}

// openContexts opens the context that was named, or those of the sessions and beside the
// capture files, which may be absent. Nothing of them is read yet.
func (a *app) openContexts(in *inspected, named string) (list contextFiles, err error) {
	open := in.opener(a.settings.openCapture)
	if named != "" {
		f, err := open(named)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fault.Errorf(fault.NotFound, "--context: %w", err)
		case errors.Is(err, fs.ErrPermission):
			return nil, fault.Errorf(fault.Forbidden, "--context: %w", err)
		case err != nil:
			return nil, fault.Errorf(fault.Invalid, "--context: %w", err)
		}
		return contextFiles{f}, nil
	}
	paths := slices.Clone(in.contexts)
	for _, path := range in.paths {
		beside := path + hostcontext.Extension
		if _, ofSession := in.whose[path]; path == capfile.StandardInput || ofSession {
			continue
		}
		if _, err := os.Lstat(beside); err == nil {
			paths = append(paths, beside)
		}
	}
	for _, path := range paths {
		f, err := open(path)
		if err != nil {
			a.warn("the context of the capture is left out: " + err.Error())
			continue
		}
		list = append(list, f)
	}
	return list, nil
}

// addContexts adds what the contexts say to a report. One that cannot be read is left out,
// which changes nothing about the packets.
func (a *app) addContexts(r *inspect.Report, list contextFiles) {
	for _, f := range list {
		d, err := hostcontext.Read(f)
		if err != nil {
			a.warn("the context of the capture is left out: " + fault.Quote(f.Name()) + ": " + err.Error())
			continue
		}
		r.AddContext(f.Name(), d)
	}
}
