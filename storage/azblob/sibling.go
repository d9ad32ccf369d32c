package azblob

import (
	"context"
	"net/http"

	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"

	"pcapctl/storage/azblob/bloburl"
)

// Sibling is another blob of the same container, reached with the same
// credentials by the same connections: Close and WatchFlows of c are for both.
func (c *Client) Sibling(address bloburl.Address) (*Client, error) {
	if address.Name == "" || !address.SameContainer(c.address) {
		return nil, errorf(Invalid, nil, "the blob %s is not in the container %s", address, c.address.ContainerURL())
	}
	s := *c
	s.address, s.blob = address, c.parent.NewBlockBlobClient(address.Name)
	return &s, nil
}

// Delete removes the blob that an upload has made; made is what Upload.Made
// returned. It succeeds without doing anything when the blob does not exist any
// more, or when another one has taken its place. It takes a minute at most.
// Errors are *Error.
func (c *Client) Delete(ctx context.Context, made string) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	mine := blob.ModifiedAccessConditions{IfMatch: etag(made)}
	return c.few(ctx, func(ctx context.Context) error {
		_, err := c.blob.Delete(ctx, &blob.DeleteOptions{AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &mine}})
		if err == nil {
			return nil
		}
		e := explain(err, c.how)
		if e.Kind == NotFound && e.Code == codeNoBlob || e.status == http.StatusPreconditionFailed {
			return nil
		}
		return e
	})
}
