package capture

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"

	"pcapctl/capture/deliver"
	"pcapctl/capture/fault"
	"pcapctl/capture/request"
	"pcapctl/capture/source"
	"pcapctl/storage"
)

// Plan is a session as planned: everything that can be known before anything is
// opened. It is never changed by a session.
type Plan struct {
	Config *request.Config
	Source source.Spec
	// Warnings are sentences about what is allowed and probably not meant.
	Warnings []string
	// Context is what is written beside the files.
	Context Context

	made   time.Time        // stands in the names of rotated files
	upload deliver.Settings // of a capture that goes to a blob
	spool  string           // path of the file of one that goes there only
}

// NewPlan makes the plan of a config and a source for it.
func NewPlan(c *request.Config, s source.Spec) *Plan {
	return &Plan{Config: c, Source: s, made: time.Now(), Warnings: slices.Concat(c.Warnings, s.Warnings())}
}

// SaveBy tells the plan how its capture reaches its blob. A capture that goes to
// a blob only is written to a spool, whose path is settled here.
//
// Error class: Invalid.
func (p *Plan) SaveBy(s deliver.Settings) error {
	if p.Config.Blob == nil {
		return nil
	}
	p.upload = s.WithDefaults()
	if err := p.upload.Check(); err != nil {
		return err
	}
	if p.Config.FilePath == "" {
		if !filepath.IsAbs(s.SpoolDir) {
			return &fault.Error{Class: fault.Invalid, Target: "spool-dir", Message: fmt.Sprintf("%s is not an absolute path of a folder: a capture that goes to a blob only is written there before; name one with --spool-dir", fault.Quote(s.SpoolDir))}
		}
		// Two sessions of one name, of which the first was deleted before it was
		// uploaded, must not meet here.
		p.spool = filepath.Join(s.SpoolDir, p.Config.Name+"-"+time.Now().UTC().Format(request.StampLayout)+".cap"+request.Compressions[p.Config.Compress])
	}
	return nil
}

// File is the path that the packets are written to: the request's, that of the
// first file of a rotation, or that of the spool when they go to a blob only.
// folder is what it lies under.
//
// A stream has none, and both are "".
func (p *Plan) File() (folder, path string) {
	if p.Config.Stream {
		return "", ""
	}
	folder, path = p.Config.CapturesDir, p.Config.FilePath
	if path == "" {
		folder, path = p.upload.SpoolDir, p.spool
	}
	if p.Config.Rotates() && path != "" {
		path = request.FirstRotatedPath(path, p.made, 1)
	}
	return folder, path
}

// Destination is what the packets are written to, for people.
func (p *Plan) Destination() string {
	if p.Config.Stream {
		return "standard output"
	}
	_, path := p.File()
	return path
}

// CheckFile says whether the capture file could be made as far as that can be
// seen without making it. Only Start knows for sure.
//
// Error classes: Conflict, NotFound.
func (p *Plan) CheckFile() error {
	c := p.Config
	if c.FilePath == "" {
		return nil
	}
	_, path := p.File()
	paths := []string{path}
	if p.Context.On {
		paths = append(paths, p.ContextPath())
	}
	for _, path := range paths {
		if _, err := os.Lstat(path); err == nil {
			return p.createError(&fs.PathError{Op: "create", Path: path, Err: fs.ErrExist})
		}
	}
	if dir := filepath.Dir(path); dir != c.CapturesDir {
		if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
			return p.createError(err)
		}
	}
	return nil
}

// createError gives the error of a file that could not be made its class, and
// says what to do about it.
func (p *Plan) createError(err error) error {
	folder, path := p.File()
	member := "filePath"
	if p.Config.Continuous != nil {
		member = "localPath"
	}
	switch {
	case p.Config.FilePath == "" && errors.Is(err, fs.ErrPermission):
		return fault.Errorf(fault.Forbidden, "%w: a capture that goes to a blob only is written to a spool before; run pcapctl as a user who may write there, or name another folder with --spool-dir", err)
	case storage.IsReadOnly(err):
		return fault.Errorf(fault.LocalFile, "%w: name a folder that can be written to with --captures-dir", err)
	case errors.Is(err, fs.ErrExist) && p.Source.Reads(path):
		return fault.Errorf(fault.Conflict, "%s is the file that is read: nothing is overwritten; choose another %s", path, member)
	case errors.Is(err, fs.ErrExist):
		return fault.Errorf(fault.Conflict, "%w: nothing is overwritten; choose another %s, or put {startTime} into it", err, member)
	case errors.Is(err, storage.ErrOutside):
		e := fault.Errorf(fault.Invalid, "%w (%s)", err, folder)
		e.Target = "properties.storageLocation." + member
		return e
	case errors.Is(err, fs.ErrNotExist):
		return fault.Errorf(fault.NotFound, "%w: only the captures folder itself (%s) is made when it is missing; make the one below it first", err, folder)
	case errors.Is(err, fs.ErrPermission):
		return fault.Errorf(fault.Forbidden, "%w: run pcapctl as a user who may write there, or name another folder with --captures-dir", err)
	default:
		return fault.Errorf(fault.LocalFile, "%w", err)
	}
}

// Connect makes sure that the blob of the plan can be made, before anything is
// captured: the credentials, the container, and that there is no such blob. It
// takes a minute at most. The delivery is the session's when Start succeeds; else
// it must be discarded.
//
// Error classes: Forbidden, NotFound, Conflict, Invalid, Storage.
func (p *Plan) Connect(ctx context.Context) (deliver.Delivery, error) {
	if p.Config.Blob == nil {
		return deliver.None{}, nil
	}
	t, err := p.target()
	if err != nil {
		return nil, err
	}
	if err := t.Check(ctx); err != nil {
		t.Close()
		return nil, err
	}
	return deliver.New(p.Config, p.upload, t), nil
}

// CheckCredentials checks the credentials for the blob as far as that can be
// done without asking the service, and warns of what the service may refuse.
// Error classes: as of Connect.
func (p *Plan) CheckCredentials() (warnings []string, err error) {
	if p.Config.Blob == nil {
		return nil, nil
	}
	t, err := p.target()
	if err != nil {
		return nil, err
	}
	defer t.Close()
	return t.Warnings(), nil
}

func (p *Plan) target() (*deliver.Target, error) {
	var until time.Time
	if p.Config.MaxTime > 0 {
		until = time.Now().Add(p.Config.MaxTime)
	}
	b := *p.Config.Blob
	if p.Config.Rotates() {
		b.Address = request.FirstRotatedAddress(b.Address, p.made, 1)
	}
	return deliver.NewTarget(&b, p.upload.AuthMode, until)
}
