package azblob

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// logins is the machine's whole network: whoever is asked for, this server answers.
type logins struct {
	endless string // the path whose answer has no end
	status  int    // of that
	sent    atomic.Int64
	asked   atomic.Int64 // how often for that path
}

func (l *logins) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	host := "https://login.microsoftonline.com/tenant"
	switch {
	case strings.HasPrefix(r.URL.Path, l.endless):
		l.asked.Add(1)
		w.WriteHeader(l.status)
		piece := []byte(`{"a":["` + strings.Repeat("x", 64<<10))
		for n := 0; n < 1<<30; n += len(piece) {
			if _, err := w.Write(piece); err != nil {
				return
			}
			l.sent.Add(int64(len(piece)))
		}
	case strings.HasPrefix(r.URL.Path, "/common/discovery/instance"):
		_, _ = fmt.Fprintf(w, `{"tenant_discovery_endpoint": "%s/v2.0/.well-known/openid-configuration", "metadata": []}`, host)
	case strings.HasSuffix(r.URL.Path, "/openid-configuration"):
		_, _ = fmt.Fprintf(w, `{"token_endpoint": "%[1]s/oauth2/v2.0/token", "authorization_endpoint": "%[1]s/a", "issuer": "%[1]s/v2.0"}`, host)
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
}

// network leads every connection of a transport to the server.
func (l *logins) network(t *testing.T) *transport {
	t.Helper()
	plain := httptest.NewServer(l)
	secure := httptest.NewTLSServer(l)
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	tr := newTransport(newDialer(5*time.Second), 5*time.Second, "pcstore.blob.core.windows.net")
	tr.Proxy = nil
	tr.TLSClientConfig = &tls.Config{InsecureSkipVerify: true}
	tr.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		to := plain
		if strings.HasSuffix(address, ":443") {
			to = secure
		}
		return (&net.Dialer{}).DialContext(ctx, network, to.Listener.Addr().String())
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// An answer without an end of the login service, or of the one that gives a machine
// its identity, takes neither the memory nor the time of the machine: at each step of
// a login, as a success and as an error.
func TestEndlessAnswerOfLogin(t *testing.T) {
	secret := map[string]string{"AZURE_TENANT_ID": "tenant", "AZURE_CLIENT_ID": "client", "AZURE_CLIENT_SECRET": "secret", "AZURE_TOKEN_CREDENTIALS": "EnvironmentCredential"}
	machine := map[string]string{"AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential"}
	for _, test := range []struct {
		name, path string
		env        map[string]string
	}{
		{"instance discovery", "/common/discovery/instance", secret},
		{"discovery of the tenant", "/tenant/v2.0/.well-known", secret},
		{"token", "/tenant/oauth2/v2.0/token", secret},
		{"machine's identity, probe", "/metadata/identity", map[string]string{"AZURE_TOKEN_CREDENTIALS": "prod"}},
		{"machine's identity", "/metadata/identity", machine},
		{"App Service's identity", "/msi/token", map[string]string{
			"AZURE_TOKEN_CREDENTIALS": "ManagedIdentityCredential", "IDENTITY_ENDPOINT": "http://localhost:1/msi/token", "IDENTITY_HEADER": "x",
		}},
	} {
		for _, status := range []int{http.StatusOK, http.StatusServiceUnavailable} {
			t.Run(fmt.Sprintf("%s, %d", test.name, status), func(t *testing.T) {
				for _, name := range []string{
					"AZURE_TENANT_ID", "AZURE_CLIENT_ID", "AZURE_CLIENT_SECRET", "AZURE_AUTHORITY_HOST", "AZURE_FEDERATED_TOKEN_FILE",
					"IDENTITY_ENDPOINT", "IDENTITY_HEADER", "MSI_ENDPOINT", "IMDS_ENDPOINT",
				} {
					t.Setenv(name, "") // and back, when the test has ended
					if err := os.Unsetenv(name); err != nil {
						t.Fatal(err)
					}
				}
				for name, value := range test.env {
					t.Setenv(name, value)
				}
				l := &logins{endless: test.path, status: status}
				cred, err := login("pcstore.blob.core.windows.net", l.network(t))
				if err != nil {
					t.Fatal(err)
				}
				var before, after runtime.MemStats
				runtime.ReadMemStats(&before)
				ctx, cancel := context.WithTimeout(t.Context(), time.Second) // of its waits between tries
				defer cancel()
				if _, err := cred.GetToken(ctx, policy.TokenRequestOptions{Scopes: []string{"https://storage.azure.com/.default"}}); err == nil {
					t.Error("there is a token")
				} else if text := explain(err, "a login").Error(); len(text) > 2000 || strings.Contains(text, "xxxx") {
					t.Errorf("%d bytes of message: %.300s", len(text), text)
				}
				runtime.ReadMemStats(&after)
				asked, sent := l.asked.Load(), l.sent.Load()
				// What the two sockets hold comes on top of maxOther.
				if asked == 0 || asked > 8 || sent > asked*(maxOther+12<<20) {
					t.Errorf("asked %d times, %d MiB sent", asked, sent>>20)
				}
				if grown := int64(after.Sys) - int64(before.Sys); grown > 200<<20 {
					t.Errorf("%d MiB of memory", grown>>20)
				}
			})
		}
	}
}

// So do headers, which come before the body and are read whole as well.
func TestLongHeader(t *testing.T) {
	c := hostile(t, func(w http.ResponseWriter, r *http.Request) {
		for i := range 16 {
			w.Header().Set(fmt.Sprintf("x-ms-meta-%d", i), strings.Repeat("x", maxHeader/8))
		}
		w.Header().Set("x-ms-error-code", codeNoBlob)
		w.WriteHeader(http.StatusNotFound)
	})
	if err := c.Check(t.Context()); err == nil || !strings.Contains(err.Error(), "headers exceeded") {
		t.Errorf("%v", err)
	}
}

// A redirect is not followed, wherever it leads: the signature would go there, too.
func TestRedirect(t *testing.T) {
	var elsewhere atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { elsewhere.Add(1) }))
	t.Cleanup(other.Close)
	c := hostile(t, func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	})
	if err := c.Check(t.Context()); err == nil || elsewhere.Load() != 0 {
		t.Errorf("%v; followed %d times", err, elsewhere.Load())
	}
}

// An answer that comes byte by byte is waited for no longer than one that does not
// come at all.
func TestDrippingAnswer(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		for r.Context().Err() == nil {
			_, _ = w.Write([]byte("x"))
			_ = http.NewResponseController(w).Flush()
			time.Sleep(10 * time.Millisecond)
		}
	}))
	t.Cleanup(s.Close)
	c, err := New(Options{
		Address: address(s.URL+"/devstoreaccount1", "container/x.cap"), getenv: env("AZURE_STORAGE_SAS_TOKEN", "sv=2024-11-04&sp=rcw&sig=x"),
		stall: 300 * time.Millisecond, backoff: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := c.few(ctx, c.unused); err == nil || ctx.Err() != nil {
		t.Errorf("%v, %v", err, ctx.Err())
	}
}
