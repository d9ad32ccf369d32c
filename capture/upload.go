package capture

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/request"
	"pcapctl/storage/azblob"
	"pcapctl/storage/azblob/bloburl"
)

// UploadSettings say how a capture reaches its blob. They are the host's, and
// no part of the request.
type UploadSettings struct {
	// AuthMode restricts which credentials are used: key, sas, login, or "" for
	// the first there is.
	AuthMode string
	// Grace is how long the upload may go without progress once the capture has
	// ended; 0 is DefaultUploadGrace.
	Grace time.Duration
	// SpoolDir is the folder for the file of a capture that goes to a blob only,
	// absolute.
	SpoolDir string
	// SpoolSize is how many bytes of such a file stay on the disk although they
	// have been sent; 0 is DefaultSpoolSize.
	SpoolSize int64
}

// Defaults of the settings. What a session of the default size has sent stays
// on the disk until the blob is complete, so that nothing that happens to the
// blob in between can lose a packet.
const (
	DefaultUploadGrace = 5 * time.Minute
	DefaultSpoolSize   = 1 << 30
)

func (s UploadSettings) withDefaults() UploadSettings {
	if s.Grace == 0 {
		s.Grace = DefaultUploadGrace
	}
	if s.SpoolSize == 0 {
		s.SpoolSize = DefaultSpoolSize
	}
	return s
}

// SaveBy tells the plan how its capture reaches its blob. A capture that goes to
// a blob only is written to a spool, whose path is settled here.
//
// Error class: Invalid.
func (p *Plan) SaveBy(s UploadSettings) error {
	if p.Config.Blob == nil {
		return nil
	}
	p.upload = s.withDefaults()
	switch azblob.AuthMode(s.AuthMode) {
	case azblob.AuthAny, azblob.AuthKey, azblob.AuthSAS, azblob.AuthLogin:
	default:
		return &fault.Error{Class: fault.Invalid, Target: "auth-mode", Message: fmt.Sprintf("%s given; allowed: key, sas, login", fault.Quote(s.AuthMode))}
	}
	if p.upload.Grace < 0 {
		return &fault.Error{Class: fault.Invalid, Target: "upload-grace", Message: fmt.Sprintf("%s given; allowed: a duration such as 5m", p.upload.Grace)}
	}
	if p.upload.SpoolSize < 0 {
		return &fault.Error{Class: fault.Invalid, Target: "spool-size", Message: fmt.Sprintf("%d bytes given; allowed: a size such as 1GiB", p.upload.SpoolSize)}
	}
	if p.Config.FilePath == "" {
		if !filepath.IsAbs(s.SpoolDir) {
			return &fault.Error{Class: fault.Invalid, Target: "spool-dir", Message: fmt.Sprintf("%s is no absolute path of a folder", fault.Quote(s.SpoolDir))}
		}
		// Two sessions of one name, of which the first was deleted before it was
		// uploaded, must not meet here.
		p.spool = filepath.Join(s.SpoolDir, p.Config.Name+"-"+time.Now().UTC().Format(request.StampLayout)+".cap"+request.Compressions[p.Config.Compress])
	}
	return nil
}

// File is the path that the packets are written to: the request's, that of the
// first file of a ring, or that of the spool when they go to a blob only. folder is what it lies under.
func (p *Plan) File() (folder, path string) {
	folder, path = p.Config.CapturesDir, p.Config.FilePath
	if path == "" {
		folder, path = p.upload.SpoolDir, p.spool
	}
	if p.Config.IsRing() && path != "" {
		path = request.FirstRingPath(path, p.made, 1)
	}
	return folder, path
}

// createError is that of the file that the packets are written to.
func (p *Plan) createError(folder string, err error) error {
	if p.Config.FilePath == "" && errors.Is(err, fs.ErrPermission) {
		return fault.Errorf(fault.Forbidden, "%w: a capture that goes to a blob only is written to a spool before; run pcapctl as a user who may write there, or name another folder with --spool-dir", err)
	}
	return createError(folder, err)
}

// BlobTarget is the blob of a session, found good.
type BlobTarget struct {
	Address bloburl.Address
	client  *azblob.Client
}

// OpenBlob makes sure that the blob of the plan can be made, before anything is
// captured: the credentials, the container, and that there is no such blob. It
// is nil for a capture that goes to a file only. It takes a minute at most.
//
// Error classes: Forbidden, NotFound, Conflict, Invalid, Storage.
func (p *Plan) OpenBlob(ctx context.Context) (*BlobTarget, error) {
	if p.Config.Blob == nil {
		return nil, nil
	}
	t, err := p.blobTarget()
	if err != nil {
		return nil, err
	}
	if err := t.client.Check(ctx); err != nil {
		t.Close()
		return nil, blobError(err)
	}
	return t, nil
}

// CheckCredentials judges the credentials for the blob as far as that can be
// done without asking the service: whether a SAS can be read, lasts long enough
// and may do what is needed. Error classes: as of OpenBlob.
func (p *Plan) CheckCredentials() error {
	if p.Config.Blob == nil {
		return nil
	}
	t, err := p.blobTarget()
	t.Close()
	return err
}

func (p *Plan) blobTarget() (*BlobTarget, error) {
	o := azblob.Options{Mode: azblob.AuthMode(p.upload.AuthMode)}
	if p.Config.MaxTime > 0 {
		o.Until = time.Now().Add(p.Config.MaxTime)
	}
	b := *p.Config.Blob
	if p.Config.IsRing() {
		b.Address = request.FirstRingAddress(b.Address, p.made, 1)
	}
	return newBlobTarget(&b, o)
}

func newBlobTarget(b *request.Blob, o azblob.Options) (*BlobTarget, error) {
	o.Address, o.SAS = b.Address, b.SAS
	client, err := azblob.New(o)
	if err != nil {
		return nil, blobError(err)
	}
	return &BlobTarget{Address: b.Address, client: client}, nil
}

// Close gives up the blob's connections. It is nil-safe.
func (t *BlobTarget) Close() {
	if t != nil {
		t.client.Close()
	}
}

// blobError puts an error from before the capture into its class.
func blobError(err error) error {
	e, ok := errors.AsType[*azblob.Error](err)
	if !ok {
		return fault.Errorf(fault.Storage, "storage account: %w", err)
	}
	class := fault.Storage
	switch e.Kind {
	case azblob.Forbidden:
		class = fault.Forbidden
	case azblob.NotFound:
		class = fault.NotFound
	case azblob.Conflict:
		class = fault.Conflict
	case azblob.Invalid:
		class = fault.Invalid
	case azblob.Unavailable, azblob.Lost:
	}
	return &fault.Error{Class: class, Message: "storage account: " + e.Message, Target: "properties.storageLocation", Err: err}
}

// UploadProgress is how far the upload of a session is.
type UploadProgress struct {
	Size    int64 // bytes of the file that are there to be sent
	Staged  int64 // bytes that the service has
	Retries int64 // requests that failed and were repeated
	Problem string
}
