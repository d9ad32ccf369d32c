package azblob

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"

	"pcapctl/storage/azblob/bloburl"
)

// Kind says what a caller can do about an error.
type Kind uint8

// The kinds of errors.
const (
	Unavailable Kind = iota // the service was not reached, or did not do it
	Forbidden               // the credentials are missing or not good for it
	NotFound                // no such account or container
	Conflict                // the blob exists, or somebody is making it
	Invalid                 // a setting or credential cannot be understood
	Lost                    // the service does not have the blocks any more, and neither has the file
)

// Error is what went wrong, in words. No text in it, nor in what it wraps,
// holds a secret.
type Error struct {
	Kind      Kind
	Code      string // the service's own error code, or ""
	Message   string
	Temporary bool  // the same request may well succeed a little later
	Err       error // the cause, for errors.Is; may be nil

	status     int           // of HTTP; 0 when there was no answer
	retryAfter time.Duration // the service asked for
}

func (e *Error) Error() string { return e.Message }

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

func errorf(kind Kind, cause error, format string, args ...any) *Error {
	return &Error{Kind: kind, Message: fmt.Sprintf(format, args...), Err: cause}
}

const (
	codeNoBlob      = "BlobNotFound"
	codeNoContainer = "ContainerNotFound"
	codeBadList     = "InvalidBlockList"
)

// explain puts an error of the SDK into words. The SDK's own text is never
// used: it has many lines, and a header of the request could get into it.
func explain(err error, how string) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	if r, ok := errors.AsType[*azcore.ResponseError](err); ok {
		return explainAnswer(r, how)
	}
	if isLogin(err) {
		return &Error{Kind: Forbidden, Code: "LoginFailed", Message: "no way to log in to Azure worked (" + oneLine(err.Error()) + "): " +
			"give this machine a managed identity, run az login, or use a SAS or a key", Temporary: isNetwork(err)}
	}
	return explainNetwork(err)
}

func isLogin(err error) bool {
	if _, ok := errors.AsType[*azidentity.AuthenticationFailedError](err); ok {
		return true
	}
	// The SDK does not export the error of a chain in which nothing worked.
	text := err.Error()
	return strings.Contains(text, "DefaultAzureCredential") || strings.Contains(text, "ChainedTokenCredential")
}

func isNetwork(err error) bool {
	_, ok := errors.AsType[net.Error](err)
	return ok
}

const maxReason = 400

func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) && !unicode.IsSpace(r) {
			return '?'
		}
		return r
	}, s)
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > maxReason {
		s = strings.ToValidUTF8(s[:maxReason], "") + "…"
	}
	return s
}

// codeOf is the error code of an answer as it may be shown: a server that is none
// of Azure's can put anything there.
func codeOf(r *azcore.ResponseError) string {
	isLetter := func(c rune) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' }
	const longest = 64
	if len(r.ErrorCode) > longest || strings.ContainsFunc(r.ErrorCode, func(c rune) bool { return !isLetter(c) }) {
		return ""
	}
	return r.ErrorCode
}

// answers say what to do about the codes of the service that a user can do
// something about. Common error codes, and Blob service error codes, of the
// Storage services' REST reference.
var answers = map[string]struct {
	kind Kind
	text string
}{
	"AuthenticationFailed":              {Forbidden, "the service does not accept %s: the key or signature is wrong, has been revoked or has expired"},
	"InvalidAuthenticationInfo":         {Forbidden, "the service does not accept %s: the token is wrong or has expired, or is for another tenant"},
	"NoAuthenticationInformation":       {Forbidden, "the service saw no credentials, though there was %s"},
	"AuthorizationFailure":              {Forbidden, "the account refuses %s: its firewall does not let this machine in (allow its address or subnet, or use a private endpoint), or the credentials lack the permission"},
	"AuthorizationPermissionMismatch":   {Forbidden, "%s lacks the permission: a SAS needs read, create and write (sp=rcw); an identity needs the role Storage Blob Data Contributor on the account or container"},
	"AuthorizationSourceIPMismatch":     {Forbidden, "%s is bound to another address (sip=) than the one this machine comes from"},
	"AuthorizationProtocolMismatch":     {Forbidden, "%s is good for https only (spr=https)"},
	"AuthorizationResourceTypeMismatch": {Forbidden, "%s is not good for single blobs: an account SAS needs the resource type object (srt=o), and container (c) to make the default container"},
	"AuthorizationServiceMismatch":      {Forbidden, "%s is not good for the Blob service (ss=b)"},
	"KeyBasedAuthenticationNotPermitted": {Forbidden, "the account has switched off keys and the signatures made with them, so %s is refused: " +
		"use --auth-mode login, or a user delegation SAS"},
	"PublicAccessNotPermitted":       {Forbidden, "the account allows no anonymous access, and %s was not accepted"},
	"InsufficientAccountPermissions": {Forbidden, "the account is read-only for %s"},
	"AccountIsDisabled":              {Forbidden, "the storage account is disabled; %s cannot change that"},
	"UnauthorizedBlobOverwrite":      {Conflict, "the blob exists already, and %s may not overwrite it"},
	codeNoContainer:                  {NotFound, "the container does not exist (asked with %s): make it first, or name another one in storagePath; only " + bloburl.DefaultContainer + " is made by itself"},
	"ContainerDisabled":              {Forbidden, "the container has been disabled by its administrator; %s cannot change that"},
	codeNoBlob:                       {NotFound, "the blob does not exist (asked with %s)"},
	"ResourceNotFound":               {NotFound, "the container or blob does not exist (asked with %s)"},
	"BlobAlreadyExists":              {Conflict, "the blob has been made by somebody else in the meantime and was left as it is (asked with %s)"},
	"BlobImmutableDueToPolicy":       {Conflict, "the blob exists and an immutability policy guards it from %s"},
	"LeaseIdMissing":                 {Conflict, "somebody holds a lease on the blob, so that %s cannot write it"},
	"InvalidBlobType":                {Conflict, "the blob exists and is not a block blob (asked with %s)"},
	"InvalidBlobOrBlock":             {Conflict, "another program is uploading to the same blob (asked with %s)"},
	"BlobArchived":                   {Conflict, "the blob exists, in the archive (asked with %s)"},
	codeBadList:                      {Lost, "the service does not have all the blocks any more (asked with %s): it drops them a week after the last one, and when the blob is written by somebody else"},
	"ContainerBeingDeleted":          {NotFound, "the container is being deleted (asked with %s)"},
}

func explainAnswer(r *azcore.ResponseError, how string) *Error {
	e := &Error{Code: codeOf(r), status: r.StatusCode}
	answer, known := answers[e.Code]
	switch {
	case known:
		e.Kind, e.Message = answer.kind, fmt.Sprintf(answer.text, how)
	case r.StatusCode == http.StatusUnauthorized || r.StatusCode == http.StatusForbidden:
		e.Kind, e.Message = Forbidden, "the service refuses "+how
	case r.StatusCode == http.StatusNotFound:
		// Some answer to HEAD without a code, and other servers send no codes.
		e.Kind, e.Message = NotFound, "the service knows no such container or blob"
	case r.StatusCode == http.StatusPreconditionFailed:
		e.Kind, e.Message = Conflict, "the blob has been made by somebody else in the meantime and was left as it is"
	default:
		e.Kind, e.Message = Unavailable, "the service failed"
		switch r.StatusCode {
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusInternalServerError,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			e.Temporary = true
		case http.StatusBadRequest: // a body that does not match was damaged on the way
			e.Temporary = r.ErrorCode == "Md5Mismatch" || r.ErrorCode == "Crc64Mismatch"
		}
	}
	e.Message += " (" + strings.TrimSpace("HTTP "+strconv.Itoa(r.StatusCode)+" "+e.Code) + ")"
	if r.RawResponse != nil {
		e.Message += clockSkew(r.RawResponse.Header, e.Kind)
		if s, err := strconv.Atoi(r.RawResponse.Header.Get("Retry-After")); err == nil && s > 0 {
			e.retryAfter = time.Duration(min(s, 60)) * time.Second
		}
	}
	return e
}

// clockSkew says so when a refusal may come from a wrong clock: the service
// accepts a difference of 15 minutes.
func clockSkew(h http.Header, kind Kind) string {
	theirs, err := http.ParseTime(h.Get("Date"))
	if err != nil || kind != Forbidden {
		return ""
	}
	const tolerated = 5 * time.Minute
	if off := time.Since(theirs); off.Abs() > tolerated {
		return fmt.Sprintf("; this machine's clock differs from the service's by %s, set it right", off.Abs().Round(time.Second))
	}
	return ""
}

// explainNetwork puts an error into words that came before there was an answer.
func explainNetwork(err error) *Error {
	e := &Error{Kind: Unavailable, Temporary: true, Err: err}
	var (
		dns     *net.DNSError
		timeout net.Error
	)
	certificate, badCert := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case errors.As(err, &dns) && dns.IsNotFound:
		e.Kind = NotFound
		e.Message = fmt.Sprintf("there is no host %s: no such storage account, or it has a private endpoint and this network does not know its private DNS zone", dns.Name)
	case errors.As(err, &dns):
		e.Message = fmt.Sprintf("the name %s could not be looked up: %s", dns.Name, dns.Err)
	case badCert:
		e.Message = "the service's certificate is not trusted: " + oneLine(certificate.Error())
	case errors.Is(err, context.Canceled):
		e.Message = "it was given up"
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		e.Message = "the service did not answer in time: no route, a firewall on the way, or an account that is reached by its private endpoint only"
	case isRefused(err):
		e.Message = "the connection to the service was refused"
	case isUnreachable(err):
		e.Message = "there is no route to the service"
	case isCut(err), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed):
		e.Message = "the connection to the service was cut"
	default:
		e.Message = "the service was not reached: " + oneLine(err.Error())
	}
	return e
}
