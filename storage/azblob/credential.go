package azblob

import (
	"encoding/base64"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/cloud"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/azidentity"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"

	"pcapctl/storage/azblob/bloburl"
	"pcapctl/storage/secret"
)

// AuthMode restricts which credentials are looked for.
type AuthMode string

// The modes. AuthAny takes the first there is: a SAS in the URL,
// AZURE_STORAGE_SAS_TOKEN, AZURE_STORAGE_CONNECTION_STRING, AZURE_STORAGE_KEY,
// and then the default chain of azidentity.
const (
	AuthAny   AuthMode = ""
	AuthKey   AuthMode = "key"
	AuthSAS   AuthMode = "sas"
	AuthLogin AuthMode = "login"
)

// The variables that credentials are looked for in, which az and AzCopy know, too.
const (
	envSAS        = "AZURE_STORAGE_SAS_TOKEN"
	envConnection = "AZURE_STORAGE_CONNECTION_STRING"
	envKey        = "AZURE_STORAGE_KEY"
)

// credential is who asks: one of key and sas, or neither for a login.
type credential struct {
	key *blob.SharedKeyCredential
	sas secret.Text
	how string // in words
	// doubt is a sentence about what this machine's clock says against the credential; "" for nothing.
	doubt string
}

// findCredential takes the first credential there is and checks it.
func findCredential(o *Options) (*credential, error) {
	getenv := o.getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	// A token pasted into a file or a variable often ends in a newline.
	env := func(name string) string { return strings.TrimSpace(getenv(name)) }
	sas, key := o.Mode == AuthAny || o.Mode == AuthSAS, o.Mode == AuthAny || o.Mode == AuthKey

	switch o.Mode {
	case AuthAny, AuthKey, AuthSAS, AuthLogin:
	default:
		return nil, errorf(Invalid, nil, "%q is not a valid way to authenticate; allowed: key, sas, login", o.Mode)
	}
	if sas && !o.SAS.IsZero() {
		return useSAS(o, o.SAS.Reveal(), "the SAS in storagePath")
	}
	if token := env(envSAS); sas && token != "" {
		return useSAS(o, token, "the SAS in "+envSAS)
	}
	if text := env(envConnection); text != "" && (sas || key) {
		if c, err := useConnection(o, text, sas, key); c != nil || err != nil {
			return c, err
		}
	}
	if text := env(envKey); key && text != "" {
		return useKey(o, text, "the key in "+envKey)
	}
	switch o.Mode {
	case AuthSAS:
		return nil, errorf(Forbidden, nil, "--auth-mode sas, and there is no SAS: put it behind the ? of storagePath or into %s", envSAS)
	case AuthKey:
		return nil, errorf(Forbidden, nil, "--auth-mode key, and there is no key: put it into %s or %s", envKey, envConnection)
	default:
		return &credential{how: "the identity of this machine or user"}, nil
	}
}

func useKey(o *Options, key, how string) (*credential, error) {
	if _, err := base64.StdEncoding.DecodeString(key); err != nil {
		return nil, errorf(Invalid, nil, "%s is not a valid account key: those are base64", how)
	}
	c, err := blob.NewSharedKeyCredential(o.Address.Account, key)
	if err != nil {
		return nil, errorf(Invalid, nil, "%s is not a valid account key", how)
	}
	return &credential{key: c, how: how}, nil
}

// useConnection takes what a connection string has of what is asked for; nil
// when it has nothing of that.
func useConnection(o *Options, text string, sas, key bool) (*credential, error) {
	fields, err := parseConnectionString(text)
	if err != nil {
		return nil, err
	}
	if name := fields[memberAccount]; name != "" && !strings.EqualFold(name, o.Address.Account) {
		return nil, errorf(Invalid, nil, "%s is for the account %s, and storageId names %s: set it to that account's, or unset it", envConnection, name, o.Address.Account)
	}
	switch token, text := fields[memberSAS], fields[memberKey]; {
	case token != "" && sas:
		if err := fields.checkPlace(o.Address); err != nil {
			return nil, err
		}
		return useSAS(o, token, "the SAS in "+envConnection)
	case text != "" && key:
		if err := fields.checkPlace(o.Address); err != nil {
			return nil, err
		}
		return useKey(o, text, "the key in "+envConnection)
	case fields[memberDevelopment] != "":
		return nil, errorf(Invalid, nil, "%s stands for the emulator (UseDevelopmentStorage): set blob-endpoint (PCAPCTL_BLOB_ENDPOINT) to http://127.0.0.1:10000/devstoreaccount1, "+
			"%s to the emulator's key, and unset %s", envConnection, envKey, envConnection)
	case token == "" && text == "":
		return nil, errorf(Invalid, nil, "%s has neither AccountKey nor SharedAccessSignature in it", envConnection)
	}
	return nil, nil
}

// useSAS checks a shared access signature by what it says of itself, so that
// one that is not good enough is refused before any packet is captured.
func useSAS(o *Options, token, how string) (*credential, error) {
	token = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(token), "?"))
	q, err := url.ParseQuery(token)
	if err != nil || !bloburl.IsSAS(token) {
		return nil, errorf(Invalid, nil, "%s is not a valid shared access signature: %s", how, bloburl.CureOfSAS(bloburl.RuleOfSAS(token)))
	}
	doubt, err := checkTimes(q, how, time.Now(), o.Until)
	if err != nil {
		return nil, err
	}
	// Permissions and the rest may lie in a stored access policy (si).
	if sp := q.Get("sp"); sp != "" {
		if !strings.Contains(sp, "r") || !strings.ContainsAny(sp, "cw") {
			return nil, errorf(Forbidden, nil, "%s has the permissions sp=%s; needed are read, create and write: sp=rcw", how, printable(sp))
		}
	}
	if ss := q.Get("ss"); ss != "" && !strings.Contains(ss, "b") {
		return nil, errorf(Forbidden, nil, "%s is for the services ss=%s; needed is Blob: ss=b", how, printable(ss))
	}
	if srt := q.Get("srt"); srt != "" && !strings.Contains(srt, "o") {
		return nil, errorf(Forbidden, nil, "%s is for the resource types srt=%s; needed is object: srt=o, or srt=co to make the default container, too", how, printable(srt))
	}
	if q.Get("spr") == "https" && !o.Address.IsHTTPS() {
		return nil, errorf(Forbidden, nil, "%s is good for https only (spr=https), and the endpoint is http", how)
	}
	return &credential{sas: secret.New(token), how: how, doubt: doubt}, nil
}

// printable keeps a garbled token from being shown: the members that are shown
// consist of single letters.
func printable(s string) string {
	if len(s) > 16 || strings.ContainsFunc(s, func(r rune) bool { return r < 'a' || r > 'z' }) {
		return "…"
	}
	return s
}

// clockTolerance is how far this machine's clock may be off without its word counting: as much as the service lets
// the clock of a request be off ("Authorize with Shared Key"). Who is right is then the service's to say.
const clockTolerance = 15 * time.Minute

// checkTimes looks at start and expiry. until is zero when it is not known. doubt is a sentence about what the service
// may not accept.
func checkTimes(q url.Values, how string, now, until time.Time) (doubt string, err error) {
	const show = "2006-01-02T15:04:05Z"
	const clocks = "the service goes by its own clock: if it refuses, set this machine's clock right, or "
	if st := q.Get("st"); st != "" {
		start, ok := sasTime(st)
		if !ok {
			return "", errorf(Invalid, nil, "%s has a start time (st) that is not a valid time", how)
		}
		switch early := start.Sub(now); {
		case early > clockTolerance:
			return "", errorf(Forbidden, nil, "%s is not valid before %s (st), and it is %s now", how, start.Format(show), now.UTC().Format(show))
		case early > 0:
			doubt = fmt.Sprintf("%s is valid from %s (st), and this machine's clock says %s; "+clocks+"wait as long", how, start.Format(show), now.UTC().Format(show))
		}
	}
	se := q.Get("se")
	if se == "" {
		return doubt, nil // in a stored access policy
	}
	end, ok := sasTime(se)
	switch {
	case !ok:
		return "", errorf(Invalid, nil, "%s has an expiry time (se) that is not a valid time", how)
	case now.Sub(end) >= clockTolerance || !end.After(now) && !until.IsZero(): // for a capture to come it is too late by any clock
		return "", errorf(Forbidden, nil, "%s expired at %s (se), and it is %s now: get a new one", how, end.Format(show), now.UTC().Format(show))
	case !until.IsZero() && end.Before(until):
		return "", errorf(Forbidden, nil, "%s expires at %s (se), before the time limit ends the capture at %s: get one that lasts longer, or set a shorter time limit",
			how, end.Format(show), until.UTC().Format(show))
	case !end.After(now):
		doubt = fmt.Sprintf("%s expired at %s (se), and this machine's clock says %s; "+clocks+"get a new one", how, end.Format(show), now.UTC().Format(show))
	}
	return doubt, nil
}

// sasTime reads the forms of ISO 8601 that the service accepts in a SAS.
func sasTime(s string) (time.Time, bool) {
	for _, layout := range []string{"2006-01-02T15:04:05.9999999Z07:00", "2006-01-02T15:04Z07:00", time.DateOnly} {
		if t, err := time.Parse(layout, s); err == nil {
			return t.UTC(), true
		}
	}
	return time.Time{}, false
}

// login is azidentity's default chain, over the same connections as the upload.
func login(host string, t *transport) (azcore.TokenCredential, error) {
	return azidentity.NewDefaultAzureCredential(&azidentity.DefaultAzureCredentialOptions{
		ClientOptions: policy.ClientOptions{Transport: t, Cloud: cloudOf(host)},
	})
}

// cloudOf finds who gives out tokens for a host of the service: each sovereign
// cloud has its own.
func cloudOf(host string) cloud.Configuration {
	switch {
	case strings.HasSuffix(host, ".core.usgovcloudapi.net"):
		return cloud.AzureGovernment
	case strings.HasSuffix(host, ".core.chinacloudapi.cn"):
		return cloud.AzureChina
	}
	return cloud.AzurePublic
}

func etag(s string) *azcore.ETag { return (*azcore.ETag)(&s) }
