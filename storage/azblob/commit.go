package azblob

import (
	"context"
	"crypto/md5" //nolint:gosec // G501: a checksum of the transport, which the service asks for
	"fmt"
	"io"
	"slices"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
)

// maxLosses is how often lost blocks are sent again.
const maxLosses = 3

// commit makes the blob.
func (u *Upload) commit(metadata map[string]string) error {
	headers := headersOf(metadata, u.sum)
	contentType := "application/vnd.tcpdump.pcap"
	absent := blob.ModifiedAccessConditions{IfNoneMatch: etag("*")}
	for losses := 0; ; losses++ {
		err := u.retry(0, func(ctx context.Context) error {
			r, err := u.c.blob.CommitBlockList(ctx, u.names, &blockblob.CommitBlockListOptions{
				Metadata:         headers,
				HTTPHeaders:      &blob.HTTPHeaders{BlobContentType: &contentType},
				AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &absent},
			})
			u.etag = r.ETag
			return err
		})
		if err == nil {
			return nil
		}
		switch e := explain(err, u.c.how); {
		case e.Kind == Conflict:
			return u.madeBefore(e)
		case e.Kind == Lost && losses < maxLosses:
			if err := u.sendAgain(); err != nil {
				return err
			}
		default:
			return err
		}
	}
}

// madeBefore is nil when the blob that exists is the one that was to be made:
// an earlier request made it, and its answer was lost.
func (u *Upload) madeBefore(conflict *Error) error {
	if err := u.lookAt(); err != nil || !slices.Equal(u.existing.committed, u.names) {
		return conflict
	}
	u.etag = u.existing.etag
	return nil
}

// Made identifies the blob that Finish has made, for Delete: a blob that takes
// its place has another ETag. It is "" when Finish has not made a blob.
func (u *Upload) Made() string {
	if u.etag == nil {
		return ""
	}
	return string(*u.etag)
}

// sendAgain stages the blocks that the service has lost.
func (u *Upload) sendAgain() error {
	if err := u.lookAt(); err != nil {
		return err
	}
	if u.existing.committed != nil {
		return nil // the next commit decides
	}
	buf := make([]byte, hashBuffer)
	for i, name := range u.names {
		start := int64(i) * u.o.BlockSize
		j := job{index: i, start: start, length: min(u.o.BlockSize, u.final.Load()-start), name: name}
		if u.existing.staged[name] == j.length {
			continue
		}
		if start < u.src.Given() {
			return errorf(Lost, nil, "the service has lost block %d, which was given back to the disk when it had it: somebody else has written the blob, or it took longer than a week", i)
		}
		sum := md5.New() //nolint:gosec // G401: as above
		if _, err := io.CopyBuffer(sum, onlyReader{io.NewSectionReader(u.src, start, j.length)}, buf); err != nil {
			return fmt.Errorf("read the capture file: %w", err)
		}
		j.md5 = sum.Sum(nil)
		if err := u.retry(j.length, func(ctx context.Context) error { return u.send(ctx, j) }); err != nil {
			return err
		}
	}
	return nil
}
