package azblob

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"pcapctl/storage/azblob/blobtest"
)

// hostile is a client of a server that does as it likes.
func hostile(t *testing.T, serve http.HandlerFunc) *Client {
	t.Helper()
	s := httptest.NewServer(serve)
	t.Cleanup(s.Close)
	c, err := New(Options{
		Address: address(s.URL+"/"+blobtest.Account, "container/x.cap"), getenv: env("AZURE_STORAGE_KEY", "a2V5"),
		stall: 5 * time.Second, backoff: time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// A server's answer without an end takes neither the memory nor the time of the
// machine, whatever it answers to and whether it says how long it is.
func TestEndlessAnswer(t *testing.T) {
	for _, test := range []struct {
		name   string
		status int
		length string
	}{
		{"an error", http.StatusNotFound, ""},
		{"an error that tells its length", http.StatusForbidden, fmt.Sprint(int64(1) << 40)},
		{"success", http.StatusOK, ""},
		{"a failure that is repeated", http.StatusServiceUnavailable, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			piece := []byte(strings.Repeat("<Error>", 64<<10))
			c := hostile(t, func(w http.ResponseWriter, r *http.Request) {
				if r.Method == http.MethodHead { // as if there were no blob
					w.Header().Set("x-ms-error-code", codeNoBlob)
					w.WriteHeader(http.StatusNotFound)
					return
				}
				if test.length != "" {
					w.Header().Set("Content-Length", test.length)
				}
				w.WriteHeader(test.status)
				for n := 0; n < 4<<30; n += len(piece) {
					if _, err := w.Write(piece); err != nil {
						return
					}
				}
			})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			from := time.Now()
			if err := c.Check(t.Context()); err == nil {
				t.Error("it is taken for a Blob service")
			}
			runtime.ReadMemStats(&after)
			if grown := after.Sys - before.Sys; grown > 400<<20 {
				t.Errorf("%d MiB of memory", grown>>20)
			}
			if d := time.Since(from); d > 30*time.Second {
				t.Errorf("took %v", d)
			}
		})
	}
}

// What a server puts into its answer reaches no message as it is.
func TestHostileErrorCode(t *testing.T) {
	c := hostile(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("x-ms-error-code", "No\x9b31mSuch; run rm -rf /")
		w.WriteHeader(http.StatusForbidden)
		_, _ = io.WriteString(w, "\x1b[31mred")
	})
	err := c.Check(t.Context())
	if err == nil || strings.ContainsAny(err.Error(), "\x1b;") || strings.Contains(err.Error(), "\x9b") || strings.Contains(err.Error(), "rm -rf") {
		t.Errorf("%q", err)
	}
}
