package capture

import (
	"fmt"
	"path/filepath"
	"sync"

	"pcapctl/capture/deliver"
	"pcapctl/capture/fault"
	"pcapctl/capture/hostcontext"
	"pcapctl/capture/save"
	"pcapctl/storage"
)

// Context says whether a session writes its context beside its files: the programs that
// had the sockets, and what the machine counted.
type Context struct {
	On bool
	// Netns is the network namespace that is looked at, as netif.In takes it.
	Netns string
}

// ContextResult is the context of a session.
type ContextResult struct {
	Path        string `json:"path"` // "" for one that went to a blob only
	SizeInBytes int64  `json:"sizeInBytes"`
	Blob        string `json:"blob,omitempty"`
	// Complete is false while the session runs, and when it could not be written to its
	// end.
	Complete     bool `json:"complete"`
	SocketsSeen  int  `json:"socketsSeen"`
	SocketsNamed int  `json:"socketsNamed"`
}

// ContextPath is the path of the context of the plan's session.
func (p *Plan) ContextPath() string {
	_, path := p.File()
	return path + hostcontext.Extension
}

// contextWriter is the context of a session while it is written.
type contextWriter struct {
	file    *storage.File
	sampler *hostcontext.Sampler
	names   *save.Names
	naming  sync.WaitGroup
}

// startContext begins to sample. It returns after the first look: connections that there
// are have their names before the first packet.
//
// Error classes: those of createError; Internal.
func (s *Session) startContext() (err error) {
	if !s.Plan.Context.On {
		return nil
	}
	c := s.Plan.Config
	path := s.Plan.ContextPath()
	w := &contextWriter{names: s.names}
	if w.file, err = s.folder.Create(filepath.Base(path)); err != nil {
		return s.Plan.createError(err)
	}
	defer func() {
		if err != nil {
			w.discard()
		}
	}()
	file, err := w.file.Open()
	if err != nil {
		return fault.Errorf(fault.LocalFile, "%w", err)
	}
	_, capture := s.Plan.File()
	w.sampler, err = hostcontext.Start(s.options.Guard, hostcontext.Options{
		Netns: s.Plan.Context.Netns, Host: c.HostName, Session: c.Name, Capture: filepath.Base(capture), Tell: s.names != nil,
	}, file)
	_ = file.Close()
	if err != nil {
		return fault.Errorf(fault.Internal, "--context: %w", err)
	}
	// It appears with the start in it.
	if err := w.file.Appear(); err != nil {
		return s.Plan.createError(err)
	}
	s.context = w
	if s.names != nil {
		w.naming.Go(func() {
			for socket := range w.sampler.Sockets() {
				if socket.Remote.IsValid() {
					w.names.Add(socket.Protocol, socket.Local, socket.Remote, fmt.Sprintf("%s is %s (sampled)", socket.Local, socket.Name()))
				}
			}
		})
	}
	return nil
}

// ended says that the capture has ended. It does not wait.
func (w *contextWriter) ended() {
	if w != nil {
		w.sampler.End()
	}
}

// discard takes back what was made for a capture that does not begin.
func (w *contextWriter) discard() {
	if w == nil {
		return
	}
	if w.sampler != nil {
		w.sampler.Close()
		w.naming.Wait()
	}
	_ = w.file.Discard()
}

// finishContext waits until the context is written, and says what came of it. What goes
// wrong with it takes nothing from the capture.
func (s *Session) finishContext() *ContextResult {
	w := s.context
	if w == nil {
		return nil
	}
	told := w.sampler.Wait()
	w.naming.Wait()
	if told == nil {
		told = &hostcontext.Told{Problems: []string{"the process that looks at sockets has ended, or does not answer"}}
	}
	const most = 8 // the file has them all
	for _, text := range told.Problems[:min(len(told.Problems), most)] {
		s.notes.add("--context: " + fault.VisibleLine(text))
	}
	err := w.file.Taken()
	if ferr := w.file.Finish(); err == nil {
		err = ferr
	}
	r := &ContextResult{Path: w.file.Path(), SizeInBytes: w.file.Size(), Complete: told.Complete && err == nil, SocketsSeen: told.Sockets, SocketsNamed: told.Named}
	switch {
	case err != nil:
		s.notes.add(fmt.Sprintf("--context: %v; the capture itself is complete without it", err))
	case !r.Complete:
		s.notes.add(fmt.Sprintf("--context: %s has the start of the capture only; the capture itself is complete without it", r.Path))
	}
	return r
}

// beside is the context as it goes to a blob.
func (w *contextWriter) beside(r *ContextResult) deliver.Beside {
	if w == nil {
		return deliver.Beside{}
	}
	return deliver.Beside{Extension: hostcontext.Extension, Size: r.SizeInBytes, Open: w.file.Open, Remove: w.file.Remove}
}

// contextDelivered says what came of the context on its way to a blob.
func (s *Session) contextDelivered(r *ContextResult, done deliver.Delivered) {
	if r == nil || s.Plan.Config.Blob == nil {
		return
	}
	r.Blob = done.Beside.URL
	if done.Beside.Removed {
		r.Path = ""
	}
	if done.Beside.Err != nil && done.Err == nil { // else the capture's own failure says how to go on
		s.notes.add(fmt.Sprintf("--context: it is not in the storage account: %v; it is kept in %s, and %s sends it", done.Beside.Err, r.Path, s.contextResume(r)))
	}
}

// contextResume is the command, in backquotes, that sends the context of a session.
func (s *Session) contextResume(r *ContextResult) string {
	if by := s.resumeBy(); by != "" && !s.Plan.Config.Rotates() {
		return fmt.Sprintf("`pcapctl upload %s`", by)
	}
	return fmt.Sprintf("`pcapctl upload %s --storage-path URL`", r.Path)
}
