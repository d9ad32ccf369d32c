package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"pcapctl/capture"
	"pcapctl/capture/deliver"
	"pcapctl/capture/fault"
	"pcapctl/capture/hostcontext"
	"pcapctl/capture/registry"
	"pcapctl/capture/request"
)

// destinations says where a capture goes.
func destinations(c *request.Config) string {
	var list []string
	if c.Stream {
		list = append(list, toStdout)
	}
	if c.FilePath != "" {
		list = append(list, c.FilePath)
	}
	if c.Blob != nil {
		list = append(list, c.Blob.Address.String())
	}
	return strings.Join(list, " and ")
}

func describeUpload(p deliver.Progress) string {
	text := fmt.Sprintf("%s of %s uploaded", sizeText(p.Staged), sizeText(max(p.Size, p.Staged)))
	if p.Problem != "" {
		text += ", trying again: " + p.Problem
	}
	return text
}

// watchUpload says what is left to send when the capture has ended, and lets
// Ctrl-C end that. The function it returns ends watching.
func (a *app) watchUpload(s *capture.Session) (end func()) {
	if s.Uploading() == nil {
		return func() {}
	}
	a.uploading.Store(s)
	done := make(chan struct{})
	go func() {
		select {
		case <-done:
		case <-s.Uploading():
			a.say("the capture has ended and is complete on the disk; %s; Ctrl-C leaves the rest for %s",
				describeUpload(s.Progress().Upload), s.ResumeUpload())
		}
	}()
	return func() {
		close(done)
		a.uploading.Store(nil)
	}
}

// abandonUpload ends the upload of a capture that has ended, if there is one.
func (a *app) abandonUpload() bool {
	s := a.uploading.Load()
	return s != nil && s.AbandonUpload()
}

func (a *app) uploadCommand() *cobra.Command {
	var storagePath, account string
	named := nameFlags{paths: true}
	cmd := &cobra.Command{
		Use:   "upload NAME | FILE",
		Short: "Finish the upload of a session, or upload a capture file",
		Long: `upload brings a capture that is on the disk into its blob: what the upload of a
session has left, because the storage was away or the process was killed, or any
capture file. Blocks that the storage has already are not sent again.

The blob is the one that the session was made with, or --storage-path. A SAS
is not kept: put it behind the ? of --storage-path or into
AZURE_STORAGE_SAS_TOKEN.`,
		Example: `  pcapctl upload web
  pcapctl upload /var/captures/x.cap \
      --storage-path 'https://pcstore.blob.core.windows.net/captures/x.cap'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fault.Errorf(fault.Invalid, "%s needs the name of a session (`pcapctl list` shows them) or the path of a capture file", cmd.CommandPath())
			}
			return sessionArgs(1)(cmd, args)
		},
		ValidArgsFunction: a.completeSessions(1, func(s *registry.Session) bool { return !s.Alive }),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.upload(cmd.Context(), args[0], storagePath, account)
		},
	}
	f := cmd.Flags()
	f.StringVar(&storagePath, "storage-path", "", "`URI` of the blob (default: the session's)")
	f.StringVar(&account, "storage-account", "", "name or resource id of the storage account (default: the session's, or that of --storage-path)")
	addSettingFlags(cmd, uploadCommand)
	named.add(cmd)
	return cmd
}

// uploaded is what upload prints.
type uploaded struct {
	File           string `json:"file,omitempty"`
	Blob           string `json:"blob"`
	SizeInBytes    int64  `json:"sizeInBytes"`
	SHA256         string `json:"sha256,omitempty"`
	Blocks         int    `json:"blocks,omitempty"`
	BytesSent      int64  `json:"bytesSent"`
	BytesThere     int64  `json:"bytesThereBefore"`
	RequestRetries int64  `json:"retries"`
	// Context is the blob of the session's context, which was sent as well.
	Context string `json:"context,omitempty"`
}

func (a *app) upload(parent context.Context, what, storagePath, account string) error {
	stateDir, err := a.settings.stateDir()
	if err != nil {
		return err
	}
	settings, err := a.settings.upload(stateDir)
	if err != nil {
		return err
	}
	reg := registry.New(stateDir)
	j := deliver.Job{Settings: settings, Host: a.settings.host(), StoragePath: storagePath, StorageID: account}
	session, err := a.uploadOf(reg, what, &j)
	if err != nil {
		return err
	}
	var beside *capture.ContextResult
	if session != nil {
		beside = session.Record.Resource.Properties.Statistics.Context
	}
	if session != nil && j.File == nil {
		st := session.Record.Resource.Properties.Statistics
		view := uploaded{Blob: st.Blobs[0].Path, SizeInBytes: st.Blobs[0].SizeInBytes, BytesThere: st.Blobs[0].SizeInBytes}
		ctx, stop := a.untilSignal(parent)
		defer stop()
		j.StoragePath = *session.Record.Resource.Properties.StorageLocation.StoragePath
		if view.Context, err = a.uploadContext(ctx, reg, session, beside, j); err != nil {
			return err
		}
		if view.Context == "" {
			a.say("the upload of session %s is complete already", session.Name)
		}
		return a.printDone(view)
	}
	if j.StorageID != "" && !strings.HasPrefix(j.StorageID, "/") {
		j.StorageID = armID("", "Microsoft.Storage/storageAccounts/"+j.StorageID)
	}
	defer func() { _ = j.File.Close() }()
	if session == nil {
		j.StoragePath, j.Extension = withoutExtension(j.StoragePath)
	}
	path := j.File.Name()
	ctx, stop := a.untilSignal(parent)
	defer stop()
	res, err := deliver.File(ctx, &j)
	if err != nil {
		return err
	}
	a.warn(res.Warnings...)
	view := uploaded{
		File: path, Blob: res.URL, SizeInBytes: res.Size, SHA256: res.SHA256, Blocks: res.Blocks,
		BytesSent: res.Size - res.Reused, BytesThere: res.Reused, RequestRetries: res.Retries,
	}
	a.say("%s is complete: %s, of which %s had been sent before", res.URL, sizeText(res.Size), sizeText(res.Reused))
	// A spool is there for the upload alone.
	spool := filepath.Dir(path) == settings.SpoolDir
	files := []capture.FileResult{{Path: path, SizeInBytes: res.Size}}
	if session != nil {
		if spool {
			files = []capture.FileResult{}
		}
		err = reg.Uploaded(context.WithoutCancel(ctx), session.Name, capture.FileResult{Path: res.URL, SizeInBytes: res.Size}, files,
			deliver.Status{State: deliver.Complete, BytesStaged: res.Size, Retries: res.Retries})
	}
	if err == nil && session != nil {
		view.Context, err = a.uploadContext(ctx, reg, session, beside, j)
	}
	if err == nil && spool && stillNamed(j.File) {
		// Which folder is a spool is for whoever calls to say. So what is no session's is
		// removed if he could do that himself.
		remove := func() error { return os.Remove(path) }
		if u := a.settings.caller; u != nil && session == nil {
			remove = func() error { return u.Do(func() error { return os.Remove(path) }) }
		}
		if err := remove(); err == nil {
			view.File = ""
		}
	}
	if perr := a.printDone(view); err == nil {
		err = perr
	}
	return err
}

// stillNamed tells whether a file that is open is the one at its path.
func stillNamed(f *os.File) bool {
	open, err1 := f.Stat()
	named, err2 := os.Lstat(f.Name())
	return err1 == nil && err2 == nil && os.SameFile(open, named)
}

// uploadOf settles which file it is and where it goes: that of a session, or a
// file. It opens the file, which is not opened again. The session is nil for a file;
// the file is nil for a session whose blob is complete.
func (a *app) uploadOf(reg *registry.Registry, what string, j *deliver.Job) (*registry.Session, error) {
	if !strings.ContainsRune(what, filepath.Separator) {
		session, err := a.session(what)
		if err != nil {
			if _, ferr := os.Stat(what); ferr == nil && errors.Is(err, registry.ErrUnknown) {
				return nil, fault.Errorf(fault.NotFound, "%w; for the file of that name write .%c%s", err, filepath.Separator, what)
			}
			return nil, err
		}
		return session, sessionUpload(session, j)
	}
	path, err := filepath.Abs(what)
	if err != nil {
		return nil, fault.Errorf(fault.Internal, "%w", err)
	}
	// A file that a session of this user's has left belongs to it still.
	list, _ := reg.List()
	for _, s := range slices.Backward(list) { // the newest first
		if s.Record != nil && !rotates(s) && len(s.Record.Resource.Properties.Statistics.Files) > 0 && s.Record.Resource.Properties.Statistics.Files[0].Path == path {
			return s, sessionUpload(s, j)
		}
	}
	return nil, fileUpload(path, j, a.settings.openCapture)
}

// fileUpload opens a file that no session knows, and finds what is missing to upload
// it.
func fileUpload(path string, j *deliver.Job, open func(path string) (*os.File, error)) error {
	why := ""
	switch {
	case j.StoragePath != "":
	case j.StorageID != "":
		why = "no session knows " + path + ", and --storage-account alone does not tell which blob it is"
	default:
		why = "no session knows " + path
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return fault.Errorf(fault.NotFound, "%w; name a session or a capture file", err)
	}
	if why != "" {
		return &fault.Error{Class: fault.Invalid, Target: "--storage-path", Message: why + ": name the blob it goes to, https://<account>.blob.core.windows.net/<container>/<blob>"}
	}
	var err error
	j.File, err = open(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fault.Errorf(fault.Forbidden, "%w", err)
	case err != nil:
		return fault.Errorf(fault.LocalFile, "%w", err)
	}
	return nil
}

// rotates reports whether the files of a session rotate: more than one, the oldest removed.
func rotates(s *registry.Session) bool {
	c := s.Record.Resource.Properties.ContinuousCapture
	return c != nil && *c
}

// sessionUpload takes from a session what was not given, and opens its file, unless
// its blob is complete.
func sessionUpload(s *registry.Session, j *deliver.Job) error {
	switch {
	case s.Alive:
		return fault.Errorf(fault.Conflict, "session %q is still running, and uploads by itself: stop it first", s.Name)
	case s.Err != nil:
		return s.Err
	}
	p := &s.Record.Resource.Properties
	st := p.Statistics
	if rotates(s) {
		e := &fault.Error{Class: fault.Invalid, Target: s.Name, Message: fmt.Sprintf("session %q is a ring of files, each of which has a blob of its own: ", s.Name)}
		if len(st.Files) == 0 {
			e.Message += "there are no files of it on this machine"
		} else {
			e.Message += fmt.Sprintf("send those that are missing by `pcapctl upload %s --storage-path URL`", st.Files[0].Path)
		}
		return e
	}
	if len(st.Blobs) > 0 && j.StoragePath == "" {
		return nil // there is nothing to do
	}
	if len(st.Files) == 0 {
		return fault.Errorf(fault.NotFound, "session %q has left no file on this machine", s.Name)
	}
	if l := p.StorageLocation; l != nil { // a record that another program has written may have none
		if j.StoragePath == "" && l.StoragePath != nil {
			j.StoragePath = *l.StoragePath
		}
		if j.StorageID == "" && l.StorageID != nil {
			j.StorageID = *l.StorageID
		}
	}
	if j.StoragePath == "" {
		return &fault.Error{Class: fault.Invalid, Target: "--storage-path", Message: fmt.Sprintf("session %q was to go to no blob: name one", s.Name)}
	}
	j.Metadata = s.Record.Resource.Metadata()
	var err error
	j.File, err = s.OpenFile()
	return err
}

// uploadContext sends the context of a session, if it has one that its own upload did not
// send. It is the blob that it came to, "" for none.
func (a *app) uploadContext(ctx context.Context, reg *registry.Registry, s *registry.Session, c *capture.ContextResult, j deliver.Job) (string, error) {
	if c == nil || c.Blob != "" || c.Path == "" {
		return "", nil
	}
	file, err := registry.OpenOwn(fmt.Sprintf("the context of session %q", s.Name), c.Path)
	if err != nil {
		a.warn(err.Error())
		return "", nil
	}
	defer func() { _ = file.Close() }()
	j.File, j.Metadata = file, nil
	j.Extension = hostcontext.Extension
	res, err := deliver.File(ctx, &j)
	if err != nil {
		return "", err
	}
	a.say("%s is complete: %s", res.URL, sizeText(res.Size))
	done := *c
	done.Blob = res.URL
	if filepath.Dir(c.Path) == j.Settings.SpoolDir && stillNamed(file) && os.Remove(c.Path) == nil {
		done.Path = ""
	}
	return res.URL, reg.UploadedContext(context.WithoutCancel(ctx), s.Name, &done)
}

// withoutExtension takes the extension of a context from the URI of its blob. A SAS stays
// behind it.
func withoutExtension(uri string) (rest, extension string) {
	path, query, has := strings.Cut(uri, "?")
	path, isContext := strings.CutSuffix(path, hostcontext.Extension)
	if !isContext {
		return uri, ""
	}
	if has {
		path += "?" + query
	}
	return path, hostcontext.Extension
}
