package deliver

import (
	"context"
	"errors"
	"os"
	"time"

	"pcapctl/capture/fault"
	"pcapctl/capture/request"
	"pcapctl/storage"
	"pcapctl/storage/azblob"
)

// Job is a capture file that is to be brought into a blob after the
// capture has ended.
type Job struct {
	File     *os.File // opened for reading by whoever made sure which it is; File does not open it again
	Settings Settings
	Host     request.Host
	// StoragePath is the URI of the blob, with or without a SAS; StorageID the
	// account's resource id, "" for the account that the URI names.
	StoragePath, StorageID string
	// Extension is what the blob's name has behind that of a capture, as a Beside.
	Extension string
	Metadata  map[string]string
}

// Done is a blob that is complete.
type Done struct {
	URL     string
	Size    int64 // bytes
	Blocks  int
	Reused  int64 // bytes that had been sent before
	Retries int64
	SHA256  string
	// Warnings are sentences about what went well, and may not the next time.
	Warnings []string
}

// File brings a file into its blob, and sends only what the service does
// not have. The file stays open. A blob that is this very file is complete already. ctx ends it; what
// was sent stays for the next time.
//
// Error classes: Invalid, Forbidden, NotFound, Conflict, Storage, LocalFile.
func File(ctx context.Context, j *Job) (*Done, error) {
	b, err := request.ParseBlob(j.StorageID, j.StoragePath, j.Host)
	if err != nil {
		return nil, err
	}
	b.Address = besideAddress(b.Address, j.Extension)
	src, size, err := complete(j.File)
	if err != nil {
		return nil, err
	}
	t, err := NewTarget(b, j.Settings.AuthMode, time.Time{})
	if err != nil {
		return nil, err
	}
	defer t.Close()
	// A blob that is there may be this file: Finish tells.
	err = t.client.Check(ctx)
	if e, ok := errors.AsType[*azblob.Error](err); ok && e.Kind != azblob.Conflict {
		return nil, blobError(err)
	}
	up := t.client.Upload(src, azblob.UploadOptions{BlockSize: azblob.BlockSize(size), Resume: true})
	up.Grow(size)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan struct{})
	defer close(done)
	go watchProgress(done, j.Settings.WithDefaults().Grace, up, cancel)
	res, err := up.Finish(ctx, size, j.Metadata)
	if err != nil {
		return nil, blobError(err)
	}
	return &Done{URL: t.Address.String(), Size: res.Size, Blocks: res.Blocks, Reused: res.Reused, Retries: up.Progress().Retries, SHA256: res.SHA256, Warnings: t.Warnings()}, nil
}

// complete looks at a file that is complete, and finds what of it was given back
// to the disk.
func complete(f *os.File) (uploadFile, int64, error) {
	st, err := f.Stat()
	if err == nil && !st.Mode().IsRegular() {
		err = &os.PathError{Op: "read", Path: f.Name(), Err: errors.New("not a regular file")}
	}
	if err != nil {
		return nil, 0, sourceError(err)
	}
	given, err := storage.Given(f)
	if err != nil {
		return nil, 0, sourceError(err)
	}
	return plainFile{f, given}, st.Size(), nil
}

func sourceError(err error) error {
	switch {
	case errors.Is(err, os.ErrNotExist):
		return fault.Errorf(fault.NotFound, "%w", err)
	case errors.Is(err, os.ErrPermission):
		return fault.Errorf(fault.Forbidden, "%w", err)
	}
	return fault.Errorf(fault.LocalFile, "%w", err)
}
