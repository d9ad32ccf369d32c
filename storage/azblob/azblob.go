// Package azblob puts a growing file into an Azure block blob while it grows.
//
// A [Client] is one blob that does not exist yet. Check finds out beforehand
// whether it can be made; an [Upload] follows the file, stages its blocks as
// they become whole and commits them at the end. What was staged is found again
// by a later process from the file and the service alone, without any state of
// its own: see blockName.
//
// This package is the only one that knows the Azure SDK.
package azblob

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"

	"pcapctl/storage/azblob/bloburl"
	"pcapctl/storage/secret"
)

// Options say which blob it is, and who asks.
type Options struct {
	Address bloburl.Address // of the blob
	SAS     secret.Text     // the signature that was behind the URL, if there was one
	Mode    AuthMode        // "" is AuthAny

	// Until is when the capture ends at the latest. A SAS must last as long.
	// Zero when that is not known.
	Until time.Time

	// What tests set.
	getenv  func(name string) string // nil is os.Getenv
	stall   time.Duration            // 0 is defaultStall
	backoff time.Duration            // 0 is defaultBackoff
}

const (
	// defaultStall is how long a connection may make no progress at all, and
	// how long the service may take to answer. A block may take this long and
	// a second more for each slowestRate bytes.
	defaultStall = 30 * time.Second
	slowestRate  = 32 << 10
	// defaultBackoff is the first wait before a retry. Each wait is twice as
	// long as the one before, up to backoffSteps doublings.
	defaultBackoff = 500 * time.Millisecond
	backoffSteps   = 6
	// checkTime bounds a Check, whatever the network does.
	checkTime  = 60 * time.Second
	checkTries = 3
)

// Client is a blob to be made. It is safe for concurrent use.
type Client struct {
	address   bloburl.Address
	stall     time.Duration
	backoff   time.Duration
	how       string
	doubt     string // about the credential, see credential
	dialer    *dialer
	transport *transport
	blob      *blockblob.Client
	parent    *container.Client
}

// New finds the credentials and checks them as far as that can be done without
// the network. Errors are *Error.
func New(o Options) (*Client, error) {
	if o.Address.IsZero() {
		return nil, errorf(Invalid, nil, "the address of the blob is missing")
	}
	cred, err := findCredential(&o)
	if err != nil {
		return nil, err
	}
	c := &Client{address: o.Address, stall: o.stall, backoff: o.backoff, how: cred.how, doubt: cred.doubt}
	if c.stall <= 0 {
		c.stall = defaultStall
	}
	if c.backoff <= 0 {
		c.backoff = defaultBackoff
	}
	c.dialer = newDialer(c.stall)
	c.transport = newTransport(c.dialer, c.stall, c.address.Host())
	if err := c.connect(cred); err != nil {
		return nil, err
	}
	return c, nil
}

// Warnings are sentences about credentials that the service may refuse, and that it alone can check.
func (c *Client) Warnings() []string {
	if c.doubt == "" {
		return nil
	}
	return []string{c.doubt}
}

// connect makes the SDK's clients. They retry nothing: what is worth a retry,
// and until when, depends on the capture.
func (c *Client) connect(cred *credential) error {
	url, parent := c.address.String(), c.address.ContainerURL()
	options := policy.ClientOptions{
		Transport: c.transport,
		Retry:     policy.RetryOptions{MaxRetries: -1},
		Telemetry: policy.TelemetryOptions{ApplicationID: "pcapctl"},
	}
	blobOptions := &blockblob.ClientOptions{ClientOptions: options}
	containerOptions := &container.ClientOptions{ClientOptions: options}
	var err, cerr error
	switch {
	case cred.key != nil:
		c.blob, err = blockblob.NewClientWithSharedKeyCredential(url, cred.key, blobOptions)
		c.parent, cerr = container.NewClientWithSharedKeyCredential(parent, cred.key, containerOptions)
	case !cred.sas.IsZero():
		c.blob, err = blockblob.NewClientWithNoCredential(url+"?"+cred.sas.Reveal(), blobOptions)
		c.parent, cerr = container.NewClientWithNoCredential(parent+"?"+cred.sas.Reveal(), containerOptions)
	case !c.address.IsHTTPS():
		return errorf(Forbidden, nil, "a login is for https only, and the endpoint is http: use a key or a SAS with an emulator")
	default:
		token, terr := login(c.address.Host(), c.transport)
		if terr != nil {
			return explain(terr, c.how)
		}
		c.blob, err = blockblob.NewClient(url, token, blobOptions)
		c.parent, cerr = container.NewClient(parent, token, containerOptions)
	}
	if errors.Join(err, cerr) != nil {
		return errorf(Invalid, nil, "the blob's URL and the credentials do not go together")
	}
	return nil
}

// Close closes the connections.
func (c *Client) Close() {
	c.transport.CloseIdleConnections()
	c.dialer.close()
}

// Flow is one TCP connection of a client, as this machine sees it.
type Flow struct {
	LocalPort uint16
	Remote    netip.AddrPort
}

// WatchFlows calls f with all of the client's connections: immediately, then
// before each new one sends its first packet, and again when the last packets
// of a closed one can no longer come. A new connection is not made when f fails.
// Calls do not overlap; StopWatchingFlows ends them.
//
// The kernel gives the local port of a flow to no other program as long as the
// flow is passed to f. Systems other than Linux cannot promise that:
// errors.ErrUnsupported.
func (c *Client) WatchFlows(f func([]Flow) error) error { return c.dialer.watch(f) }

// StopWatchingFlows ends what WatchFlows began.
func (c *Client) StopWatchingFlows() { c.dialer.unwatch() }

// Check finds out whether the blob can be made: the credentials are good for it,
// the container is there, the blob is not, and nobody else is uploading to it.
// bloburl.DefaultContainer is made when it is absent; nothing else is changed.
// It takes a minute at most. Errors are *Error.
func (c *Client) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	err := c.few(ctx, c.check)
	if e, ok := errors.AsType[*Error](err); ok && e.Kind == Forbidden && c.doubt != "" {
		doubted := *e
		doubted.Message += "; " + c.doubt
		return &doubted
	}
	return err
}

// few tries what cannot wait for long.
func (c *Client) few(ctx context.Context, do func(context.Context) error) error {
	var err error
	for try := range checkTries {
		if try > 0 && !sleep(ctx, c.wait(try-1), nil) {
			break
		}
		attempt, cancel := context.WithTimeout(ctx, c.stall)
		err = do(attempt)
		cancel()
		if e, ok := errors.AsType[*Error](err); err == nil || ok && !e.Temporary {
			break
		}
	}
	return err
}

func (c *Client) check(ctx context.Context) error {
	err := c.exists(ctx)
	if e, ok := errors.AsType[*Error](err); ok && e.Kind == NotFound && e.Code == codeNoContainer && c.address.Container == bloburl.DefaultContainer {
		if err := c.makeContainer(ctx); err != nil {
			return err
		}
		err = c.exists(ctx)
	}
	if err != nil {
		return err
	}
	if err := c.mayWrite(ctx); err != nil {
		return err
	}
	return c.unused(ctx)
}

// exists is nil when the blob does not.
func (c *Client) exists(ctx context.Context) error {
	_, err := c.blob.GetProperties(ctx, nil)
	if err == nil {
		return errorf(Conflict, nil, "the blob %s exists already and nothing is overwritten: choose another storagePath, or put {startTime} into it", c.address)
	}
	e := explain(err, c.how)
	if e.Kind == NotFound && e.Code == codeNoBlob {
		return nil
	}
	return e
}

func (c *Client) makeContainer(ctx context.Context) error {
	_, err := c.parent.Create(ctx, nil)
	if err == nil {
		return nil
	}
	e := explain(err, c.how)
	switch {
	case e.Code == "ContainerAlreadyExists":
		return nil
	case e.Kind == Forbidden:
		return &Error{Kind: Forbidden, Code: e.Code, Message: "the container " + c.address.Container + " does not exist and may not be made: make it once, or " + e.Message, Err: e.Err}
	}
	return e
}

// mayWrite asks the service to commit nothing on the condition that a blob is
// there which is not. The service answers a caller who may write that the
// condition failed, and one who may not that permission is missing; in either
// case nothing happens.
func (c *Client) mayWrite(ctx context.Context) error {
	never := blob.ModifiedAccessConditions{IfMatch: etag(`"0x0"`)}
	_, err := c.blob.CommitBlockList(ctx, nil, &blockblob.CommitBlockListOptions{
		AccessConditions: &blob.AccessConditions{ModifiedAccessConditions: &never},
	})
	if err == nil {
		return errorf(Unavailable, nil, "%s does not keep to the conditions of requests: it is not a Blob service", c.address)
	}
	e := explain(err, c.how)
	if e.status == 412 || e.Kind == NotFound && e.Code == codeNoBlob {
		return nil
	}
	return e
}

// unused refuses a blob that somebody else has staged blocks for: those have
// names of another length, with which ours cannot be mixed (Put Block).
func (c *Client) unused(ctx context.Context) error {
	l, err := c.list(ctx)
	if err != nil {
		return err
	}
	for name := range l.staged {
		if len(name) != nameLen {
			return errorf(Conflict, nil, "another program is uploading to the blob %s, or has left off doing so within the last week: choose another storagePath", c.address)
		}
	}
	return nil
}

// blocks are those that the service has of a blob.
type blocks struct {
	etag      *azcore.ETag
	committed []string         // names, in their order; nil when the blob does not exist
	staged    map[string]int64 // sizes by name of those that are not committed
}

func (c *Client) list(ctx context.Context) (blocks, error) {
	l := blocks{staged: map[string]int64{}}
	r, err := c.blob.GetBlockList(ctx, blockblob.BlockListTypeAll, nil)
	if err != nil {
		e := explain(err, c.how)
		if e.Kind == NotFound && e.Code == codeNoBlob {
			return l, nil
		}
		return l, e
	}
	l.etag = r.ETag
	for _, b := range r.UncommittedBlocks {
		if b.Name != nil && b.Size != nil {
			l.staged[*b.Name] = *b.Size
		}
	}
	for _, b := range r.CommittedBlocks {
		if b.Name != nil {
			l.committed = append(l.committed, *b.Name)
		}
	}
	return l, nil
}

// wait is how long to wait before the retry that follows the failed try number
// n, counted from 0. The jitter keeps many machines from asking in step.
func (c *Client) wait(n int) time.Duration {
	d := c.backoff << min(n, backoffSteps)
	return d/2 + rand.N(d/2+1) //nolint:gosec // G404: nothing depends on nobody guessing it
}

// sleep waits, and is false when ctx ended before. early ends it, too.
func sleep(ctx context.Context, d time.Duration, early <-chan struct{}) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-t.C:
	case <-early:
	}
	return true
}
