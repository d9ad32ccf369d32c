package azblob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pcapctl/storage/azblob/blobtest"
	"pcapctl/storage/azblob/bloburl"
	"pcapctl/storage/secret"
)

// whole is a source of which nothing was given back.
type whole struct{ *bytes.Reader }

func (whole) Given() int64 { return 0 }

const testBlock = 64 << 10

func content(n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)})
	_, _ = r.Read(b)
	return b
}

// env is an environment for credentials.
func env(pairs ...string) func(string) string {
	return func(name string) string {
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				return pairs[i+1]
			}
		}
		return ""
	}
}

// address is that of a blob, container/name, of the tests' account.
func address(endpoint, path string) bloburl.Address {
	container, name, _ := strings.Cut(path, "/")
	return bloburl.Address{Endpoint: endpoint, Account: blobtest.Account, Container: container, Name: name}
}

func client(t *testing.T, a *blobtest.Azurite, host, path string, change ...func(*Options)) *Client {
	t.Helper()
	o := Options{
		Address: address(a.Endpoint(host), path),
		getenv:  env("AZURE_STORAGE_KEY", a.Key+"\n"),
		stall:   2 * time.Second, backoff: 20 * time.Millisecond,
	}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func kindOf(t *testing.T, err error) Kind {
	t.Helper()
	e, ok := errors.AsType[*Error](err)
	if !ok {
		t.Fatalf("%v (%T) is not an *Error", err, err)
	}
	return e.Kind
}

func wantKind(t *testing.T, err error, kind Kind, text string) {
	t.Helper()
	if err == nil {
		t.Fatalf("succeeded, want an error with %q", text)
	}
	if got := kindOf(t, err); got != kind || !strings.Contains(err.Error(), text) {
		t.Errorf("kind %d: %v; want kind %d with %q", got, err, kind, text)
	}
}

func within(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

// until waits for something to happen. Half a minute is for machines that do
// much else.
func until(t *testing.T, what string, happened func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !happened(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("did not happen: %s", what)
		}
	}
}

// untilStaged waits until the service has at least so many bytes.
func untilStaged(t *testing.T, u *Upload, bytes int64) {
	t.Helper()
	until(t, fmt.Sprintf("%d bytes are staged", bytes), func() bool { return u.Progress().Staged >= bytes })
}

func TestCheck(t *testing.T) {
	a := blobtest.Start(t)
	a.Container("captures")
	a.Put("captures/there.cap", []byte("x"))
	a.PutBlock("captures/foreign.cap", "AAAA", []byte("x"))
	sas := func(permissions string) func(*Options) {
		return func(o *Options) {
			o.getenv = env("AZURE_STORAGE_SAS_TOKEN", "?"+a.SAS(permissions, time.Now().Add(time.Hour))+"\n")
		}
	}
	connection := func(o *Options) {
		o.getenv = env("AZURE_STORAGE_CONNECTION_STRING", a.ConnectionString("")+"\n")
	}
	t.Run("good", func(t *testing.T) {
		for name, change := range map[string]func(*Options){
			"key": func(*Options) {}, "sas": sas("rcw"), "connection string": connection,
			"sas in the URL": func(o *Options) { o.SAS = secret.New(a.SAS("rw", time.Now().Add(time.Hour))) },
		} {
			if err := client(t, a, "", "captures/new.cap", change).Check(t.Context()); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if b, _ := a.Get("captures/new.cap"); b != nil {
			t.Error("Check made the blob")
		}
	})
	t.Run("default container", func(t *testing.T) {
		for range 2 { // once it is made, once it is there
			if err := client(t, a, "", bloburl.DefaultContainer+"/a/b.cap").Check(t.Context()); err != nil {
				t.Error(err)
			}
		}
		a.Put(bloburl.DefaultContainer+"/x", nil)
	})
	other := func(o *Options) { o.getenv = env("AZURE_STORAGE_KEY", "AAAA"+a.Key[4:]) }
	for _, tt := range []struct {
		name, path, text string
		kind             Kind
		change           func(*Options)
	}{
		{"the blob exists", "captures/there.cap", "exists already", Conflict, func(*Options) {}},
		{"no container", "missing/x.cap", "container does not exist", NotFound, func(*Options) {}},
		{"no container, SAS", "missing/x.cap", "container does not exist", NotFound, sas("rcw")},
		{"somebody uploads", "captures/foreign.cap", "another program is uploading", Conflict, func(*Options) {}},
		{"wrong key", "captures/x.cap", "key in AZURE_STORAGE_KEY", Forbidden, other},
		{"wrong signature", "captures/x.cap", "SAS in AZURE_STORAGE_SAS_TOKEN", Forbidden, func(o *Options) {
			o.getenv = env("AZURE_STORAGE_SAS_TOKEN", strings.Replace(a.SAS("rcw", time.Now().Add(time.Hour)), "sp=rcw", "sp=rcwd", 1))
		}},
		{"refused", "captures/x.cap", "refused", Unavailable, func(o *Options) { o.Address.Endpoint = "http://127.0.0.1:1/pcstore" }},
		{"no such host", "captures/x.cap", "there is no host", NotFound, func(o *Options) { o.Address.Endpoint = "https://nowhere.invalid" }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wantKind(t, client(t, a, "", tt.path, tt.change).Check(within(t, 10*time.Second)), tt.kind, tt.text)
		})
	}
	t.Run("hang", func(t *testing.T) {
		p := blobtest.NewProxy(t, a, nil, nil)
		p.Rule(func(blobtest.Request) blobtest.Fault { return blobtest.Hang })
		c := client(t, a, p.Addr, "captures/x.cap", func(o *Options) { o.stall = 100 * time.Millisecond })
		wantKind(t, c.Check(within(t, 10*time.Second)), Unavailable, "did not answer in time")
	})
}

// follow uploads b as it grows, piece by piece.
func follow(u *Upload, b []byte) {
	for n := 0; n < len(b); n = min(n+10_000, len(b)) {
		u.Grow(int64(n))
	}
}

func TestUpload(t *testing.T) {
	a := blobtest.Start(t)
	a.Container("captures")
	for _, n := range []int{24, HeadLen, testBlock - 1, testBlock, testBlock + 1, 10 * testBlock, 10*testBlock + 77} {
		p := blobtest.NewProxy(t, a, nil, nil)
		b := content(n)
		path := "captures/upload-" + time.Now().Format("150405.000000") + ".cap"
		var sent int64
		c := client(t, a, p.Addr, path)
		u := c.Upload(whole{bytes.NewReader(b)}, UploadOptions{BlockSize: testBlock, Sent: func(to int64) { sent = to }})
		follow(u, b)
		r, err := u.Finish(within(t, 20*time.Second), int64(n), map[string]string{"host": "vm1", "filters": "lokal é 100%\n", "Bad-Name": "x"})
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		got, h := a.Get(path)
		if !bytes.Equal(got, b) {
			t.Fatalf("%d bytes: the blob differs", n)
		}
		for name, want := range map[string]string{
			"x-ms-meta-host": "vm1", "x-ms-meta-filters": "lokal %C3%A9 100%25%0A", "x-ms-meta-sha256": r.SHA256,
			"Content-Type": "application/vnd.tcpdump.pcap", "x-ms-meta-bad-name": "",
		} {
			if h.Get(name) != want {
				t.Errorf("%s is %q, want %q", name, h.Get(name), want)
			}
		}
		if want := int64(n / testBlock * testBlock); sent != want {
			t.Errorf("%d bytes: %d were reported as sent, want %d", n, sent, want)
		}
		if pr := u.Progress(); pr.Staged != int64(n) || pr.Size != int64(n) || pr.Retries != 0 || pr.Problem != "" {
			t.Errorf("progress %+v", pr)
		}
		if got, want := len(p.Blocks()), (n+testBlock-1)/testBlock; got != want || r.Blocks != want {
			t.Errorf("%d bytes: %d blocks, want %d", n, got, want)
		}
	}
}

func TestUploadFaults(t *testing.T) {
	a := blobtest.Start(t)
	a.Container("captures")
	const n = 20*testBlock + 5
	b := content(n)
	// A block meets the fault once: one that is refused twice while somebody waits ends the upload.
	every := func(f blobtest.Fault, method string) func(blobtest.Request) blobtest.Fault {
		return func(r blobtest.Request) blobtest.Fault {
			if r.Comp == method && r.Try == 0 && r.N%3 == 0 && r.N < 15 {
				return f
			}
			return blobtest.Pass
		}
	}
	for _, tt := range []struct {
		name    string
		rule    func(blobtest.Request) blobtest.Fault
		retries bool
	}{
		{"500", every(blobtest.Fail500, "block"), true},
		{"503", every(blobtest.Fail503, "block"), true},
		{"reset in mid-block", every(blobtest.Reset, "block"), true},
		{"hang", every(blobtest.Hang, "block"), true},
		{"403 for a while", every(blobtest.Forbid, "block"), true},
		{"answers lost", every(blobtest.LoseAnswer, "block"), true},
		{"connections cut", every(blobtest.CutAfter, "block"), false},
		{"500 at the end", every(blobtest.Fail500, "blocklist"), true},
		{"answer to the commit lost", every(blobtest.LoseAnswer, "blocklist"), true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			p := blobtest.NewProxy(t, a, nil, nil)
			p.Rule(tt.rule)
			path := "captures/" + strings.ReplaceAll(tt.name, " ", "-") + ".cap"
			c := client(t, a, p.Addr, path, func(o *Options) { o.stall = 500 * time.Millisecond })
			u := c.Upload(whole{bytes.NewReader(b)}, UploadOptions{BlockSize: testBlock})
			u.Grow(n)
			until(t, "the service has a block", func() bool { return u.Progress().Staged > 0 })
			r, err := u.Finish(within(t, 30*time.Second), n, nil)
			if err != nil {
				t.Fatal(err)
			}
			if got, _ := a.Get(path); !bytes.Equal(got, b) {
				t.Fatal("the blob differs")
			}
			if got := u.Progress().Retries > 0; got != tt.retries {
				t.Errorf("%d retries", u.Progress().Retries)
			}
			if r.Blocks != 21 {
				t.Errorf("%d blocks", r.Blocks)
			}
		})
	}
}

func TestUploadFails(t *testing.T) {
	a := blobtest.Start(t)
	a.Container("captures")
	const n = 5*testBlock + 5
	b := content(n)
	// start uploads until some blocks have been staged.
	start := func(t *testing.T, staged int64, rule func(blobtest.Request) blobtest.Fault) (*Upload, *blobtest.Proxy, string) {
		p := blobtest.NewProxy(t, a, nil, nil)
		p.Rule(rule)
		path := "captures/" + strings.ReplaceAll(filepath.Base(t.Name()), " ", "-") + ".cap"
		u := client(t, a, p.Addr, path).Upload(whole{bytes.NewReader(b)}, UploadOptions{BlockSize: testBlock})
		u.Grow(n)
		untilStaged(t, u, staged*testBlock)
		return u, p, path
	}
	after := func(at int, f blobtest.Fault) func(blobtest.Request) blobtest.Fault {
		return func(r blobtest.Request) blobtest.Fault {
			if r.Comp != "block" || r.N >= at {
				return f
			}
			return blobtest.Pass
		}
	}
	t.Run("403 for good", func(t *testing.T) {
		u, p, path := start(t, 2, after(2, blobtest.Forbid))
		began := time.Now()
		_, err := u.Finish(within(t, 30*time.Second), n, nil)
		wantKind(t, err, Forbidden, "firewall")
		if d := time.Since(began); d > 10*time.Second {
			t.Errorf("took %s, though waiting helps nothing", d)
		}
		resumes(t, a, p, path, b, 2)
	})
	t.Run("gone for good", func(t *testing.T) {
		u, p, path := start(t, 3, after(3, blobtest.Reset))
		_, err := u.Finish(within(t, 2*time.Second), n, nil)
		wantKind(t, err, Unavailable, "cut")
		resumes(t, a, p, path, b, 3)
	})
	t.Run("hanging for good", func(t *testing.T) {
		u, p, path := start(t, 3, after(3, blobtest.Hang))
		_, err := u.Finish(within(t, 3*time.Second), n, nil)
		wantKind(t, err, Unavailable, "did not answer in time")
		resumes(t, a, p, path, b, 3)
	})
	t.Run("made by somebody else", func(t *testing.T) {
		u, _, path := start(t, 3, nil)
		a.Put(path, []byte("theirs"))
		_, err := u.Finish(within(t, 30*time.Second), n, nil)
		wantKind(t, err, Conflict, "by somebody else")
		if got, _ := a.Get(path); string(got) != "theirs" {
			t.Error("their blob was changed")
		}
	})
	t.Run("blocks lost", func(t *testing.T) {
		u, p, path := start(t, 3, nil)
		a.Put(path, []byte("theirs"))
		a.Delete(path)
		if _, err := u.Finish(within(t, 30*time.Second), n, nil); err != nil {
			t.Fatal(err)
		}
		if got, _ := a.Get(path); !bytes.Equal(got, b) {
			t.Error("the blob differs")
		}
		if len(p.Blocks()) != 6 {
			t.Errorf("%d different blocks were sent", len(p.Blocks()))
		}
	})
}

// resumes goes on with an upload in what might be another process, and wants
// every block to be taken once in all.
func resumes(t *testing.T, a *blobtest.Azurite, p *blobtest.Proxy, path string, b []byte, before int) {
	t.Helper()
	p.Rule(nil)
	if got := len(p.Blocks()); got != before {
		t.Errorf("%d blocks had been sent before, want %d", got, before)
	}
	for range 2 { // the second time it is all there
		u := client(t, a, p.Addr, path).Upload(whole{bytes.NewReader(b)}, UploadOptions{BlockSize: 2 * testBlock, Resume: true})
		r, err := u.Finish(within(t, 30*time.Second), int64(len(b)), nil)
		if err != nil {
			t.Fatal(err)
		}
		if r.Reused < int64(before)*testBlock {
			t.Errorf("%d bytes were taken over", r.Reused)
		}
	}
	if got, _ := a.Get(path); !bytes.Equal(got, b) {
		t.Error("the blob differs")
	}
	for id, n := range p.Blocks() {
		if n != 1 {
			t.Errorf("block %s was sent %d times", id, n)
		}
	}
	b2 := append([]byte{}, b...)
	b2[len(b2)-1]++
	u := client(t, a, p.Addr, path).Upload(whole{bytes.NewReader(b2)}, UploadOptions{BlockSize: testBlock, Resume: true})
	_, err := u.Finish(within(t, 30*time.Second), int64(len(b2)), nil)
	wantKind(t, err, Conflict, "another content")
}

func TestUploadWhileAzuriteIsAway(t *testing.T) {
	a := blobtest.Start(t)
	a.Container("captures")
	const n = 12*testBlock + 1
	b := content(n)
	u := client(t, a, "", "captures/away.cap").Upload(whole{bytes.NewReader(b)}, UploadOptions{BlockSize: testBlock})
	u.Grow(4 * testBlock)
	untilStaged(t, u, 4*testBlock)
	a.Stop()
	u.Grow(10 * testBlock)
	until(t, "five retries", func() bool { return u.Progress().Retries >= 5 })
	if pr := u.Progress(); !strings.Contains(pr.Problem, "refused") || pr.Size-pr.Staged != 6*testBlock {
		t.Errorf("progress %+v", pr)
	}
	a.Restart()
	if _, err := u.Finish(within(t, 30*time.Second), n, nil); err != nil {
		t.Fatal(err)
	}
	if got, _ := a.Get("captures/away.cap"); !bytes.Equal(got, b) {
		t.Fatal("the blob differs")
	}
}

// punched is a source whose start was given back.
type punched struct {
	*os.File
	given int64
}

func (p *punched) Given() int64 { return p.given }

func TestResumeOfWhatWasGivenBack(t *testing.T) {
	a := blobtest.Start(t)
	a.Container("captures")
	p := blobtest.NewProxy(t, a, nil, nil)
	const n = 9*testBlock + 9
	b := content(n)
	path := filepath.Join(t.TempDir(), "spool")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	u := client(t, a, p.Addr, "captures/spool.cap").Upload(&punched{File: f}, UploadOptions{BlockSize: testBlock})
	u.Grow(5*testBlock + 1)
	untilStaged(t, u, 5*testBlock)
	u.Abort()
	if _, err := f.WriteAt(make([]byte, 3*testBlock-HeadLen), HeadLen); err != nil {
		t.Fatal(err)
	}
	resume := func() (*Result, error) {
		c := client(t, a, p.Addr, "captures/spool.cap")
		return c.Upload(&punched{f, 3 * testBlock}, UploadOptions{Resume: true, BlockSize: testBlock}).Finish(within(t, 30*time.Second), n, nil)
	}
	for range 2 { // once to finish it, once to find it complete
		r, err := resume()
		if err != nil {
			t.Fatal(err)
		}
		if r.SHA256 != hexSum(b) {
			t.Errorf("SHA-256 %s, want %s", r.SHA256, hexSum(b))
		}
	}
	if got, _ := a.Get("captures/spool.cap"); !bytes.Equal(got, b) {
		t.Fatal("the blob differs")
	}
	for id, n := range p.Blocks() {
		if n != 1 {
			t.Errorf("block %s was sent %d times", id, n)
		}
	}
	a.Delete("captures/spool.cap")
	_, err = resume()
	wantKind(t, err, Lost, "given back")
}

func TestServiceChecksBlocks(t *testing.T) {
	a := blobtest.Start(t)
	a.Container("captures")
	c := client(t, a, "", "captures/x.cap")
	u := &Upload{c: c, src: whole{bytes.NewReader(content(100))}}
	err := u.send(t.Context(), job{length: 100, name: blockName{}.String(), md5: make([]byte, 16)})
	e := explain(err, "x")
	if err == nil || !e.Temporary || e.Code != "Md5Mismatch" {
		t.Errorf("a block with a wrong MD5: %v", err)
	}
}

// A blob goes when it is the one that was made, and not when another has taken
// its place.
func TestDelete(t *testing.T) {
	a := blobtest.Start(t)
	a.Container("captures")
	p := blobtest.NewProxy(t, a, nil, nil)
	b := content(1000)
	for _, lose := range []bool{false, true} { // the answer to the commit
		p.Rule(func(q blobtest.Request) blobtest.Fault {
			if lose && q.Method == http.MethodPut && q.Comp == "blocklist" {
				lose = false
				return blobtest.LoseAnswer
			}
			return blobtest.Pass
		})
		c := client(t, a, p.Addr, "captures/mine.cap")
		u := c.Upload(whole{bytes.NewReader(b)}, UploadOptions{BlockSize: testBlock})
		if _, err := u.Finish(within(t, 20*time.Second), int64(len(b)), nil); err != nil {
			t.Fatal(err)
		}
		a.Put("captures/mine.cap", []byte("theirs"))
		if err := c.Delete(t.Context(), u.Made()); err != nil {
			t.Error(err)
		}
		if got, _ := a.Get("captures/mine.cap"); string(got) != "theirs" {
			t.Fatalf("their blob is now %q", got)
		}
		a.Delete("captures/mine.cap")
		u = c.Upload(whole{bytes.NewReader(b)}, UploadOptions{BlockSize: testBlock})
		if _, err := u.Finish(within(t, 20*time.Second), int64(len(b)), nil); err != nil {
			t.Fatal(err)
		}
		for range 2 { // the second time there is none
			if err := c.Delete(t.Context(), u.Made()); err != nil {
				t.Error(err)
			}
		}
		if status, _ := a.Head("captures/mine.cap"); status != http.StatusNotFound {
			t.Errorf("the blob is still there: status %d", status)
		}
	}
}
