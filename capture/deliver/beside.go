package deliver

import (
	"context"
	"os"

	"pcapctl/storage/azblob"
	"pcapctl/storage/azblob/bloburl"
)

// Beside is a complete file that goes to a blob beside the capture's, which has its name
// and an extension more. The zero value is none.
type Beside struct {
	Extension string
	Size      int64 // bytes
	Open      func() (*os.File, error)
	Remove    func() error // takes it away
}

// BesideDone is what came of it.
type BesideDone struct {
	URL     string // of the blob, "" when there is none
	Removed bool   // it is not on this machine any more
	Err     error
}

// besideAddress is the address of the blob beside another.
func besideAddress(a bloburl.Address, extension string) bloburl.Address {
	return a.WithName(a.Name + extension)
}

// sendBeside sends such a file, as long as there is progress. Of a spool it is removed
// then.
func (s *sending) sendBeside(b *Beside, spool bool) (done BesideDone) {
	if b.Open == nil {
		return done
	}
	address := besideAddress(s.target.Address, b.Extension)
	client, err := s.target.client.Sibling(address)
	if err != nil {
		return BesideDone{Err: err}
	}
	file, err := b.Open()
	if err != nil {
		return BesideDone{Err: err}
	}
	src := plainFile{File: file}
	defer func() { _ = src.Close() }()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	up := client.Upload(src, azblob.UploadOptions{BlockSize: azblob.BlockSize(b.Size)})
	up.Grow(b.Size)
	ended := make(chan struct{})
	defer close(ended)
	go watchProgress(ended, s.grace, up, cancel)
	if _, err := up.Finish(ctx, b.Size, nil); err != nil {
		up.Abort()
		return BesideDone{Err: err}
	}
	done.URL = address.String()
	if spool {
		done.Removed = b.Remove() == nil
	}
	return done
}
