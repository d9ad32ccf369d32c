// Package blobtest runs Azurite, the Blob service's emulator, for tests, and a
// proxy in front of it that makes faults.
package blobtest

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Account is the storage account that every Azurite of the tests has.
const Account = "pcstore"

// Azurite is one running emulator. Its data lie in a folder of the test's, so
// that it can be stopped and started again.
type Azurite struct {
	Addr string // host:port
	Key  string // of the account, base64

	t    testing.TB
	dir  string
	wrap []string
	cmd  *exec.Cmd
	log  *bytes.Buffer
}

// command finds Azurite: the file that PCAPCTL_AZURITE names, or azurite-blob
// on the PATH. In CI it must be there.
func command(t testing.TB) string {
	t.Helper()
	const name = "azurite-blob"
	if path := os.Getenv("PCAPCTL_AZURITE"); path != "" {
		return path
	}
	path, err := exec.LookPath(name)
	if err != nil {
		const hint = "azurite is not installed: npm install --prefix DIR azurite, and set PCAPCTL_AZURITE=DIR/node_modules/.bin/azurite-blob"
		if os.Getenv("CI") == "true" {
			t.Fatal(hint)
		}
		t.Skip(hint)
	}
	return path
}

// Start starts Azurite on a loopback port of its own and stops it when the test
// ends. wrap is put in front of the command, such as ip netns exec NAME.
func Start(t testing.TB, wrap ...string) *Azurite {
	t.Helper()
	key := make([]byte, 64)
	_, _ = rand.Read(key)
	a := &Azurite{
		Addr: "127.0.0.1:" + freePort(t), Key: base64.StdEncoding.EncodeToString(key),
		t: t, dir: t.TempDir(), wrap: wrap, log: &bytes.Buffer{},
	}
	command(t)
	t.Cleanup(a.Stop)
	a.Restart()
	return a
}

func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// Restart starts it again with what it had.
func (a *Azurite) Restart() {
	a.t.Helper()
	a.Stop()
	host, port, _ := net.SplitHostPort(a.Addr)
	args := append(append([]string{}, a.wrap...), command(a.t),
		"--blobHost", host, "--blobPort", port, "--location", filepath.Join(a.dir, "data"),
		"--silent", "--disableTelemetry", "--skipApiVersionCheck")
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = a.dir
	cmd.Env = append(os.Environ(), "AZURITE_ACCOUNTS="+Account+":"+a.Key)
	cmd.Stdout, cmd.Stderr = a.log, a.log
	cmd.SysProcAttr = ownGroup()
	if err := cmd.Start(); err != nil {
		a.t.Fatalf("start azurite: %v", err)
	}
	a.cmd = cmd // which Stop ends
	// An answer of any kind will do; behind a namespace nobody but a command
	// in it can ask.
	end := time.Now().Add(30 * time.Second)
	for !a.answers() {
		if time.Now().After(end) {
			a.t.Fatalf("azurite did not start: %s", a.log)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func (a *Azurite) answers() bool {
	if len(a.wrap) > 0 {
		return strings.Contains(a.log.String(), "successfully listening") || a.listens()
	}
	c, err := net.DialTimeout("tcp", a.Addr, time.Second)
	if err != nil {
		return false
	}
	_ = c.Close()
	return true
}

// listens asks ss in the namespace.
func (a *Azurite) listens() bool {
	args := append(append([]string{}, a.wrap...), "ss", "-Hltn", "src", a.Addr)
	out, err := exec.Command(args[0], args[1:]...).Output()
	return err == nil && len(bytes.TrimSpace(out)) > 0
}

// Stop ends it. What it has is kept for Restart: it writes its index to the
// disk every few seconds and when it is asked to end, so it is asked first.
func (a *Azurite) Stop() {
	if a.cmd == nil {
		return
	}
	cmd := a.cmd
	a.cmd = nil
	terminate(cmd)
	late := time.AfterFunc(10*time.Second, func() { kill(cmd) })
	defer late.Stop()
	_ = cmd.Wait()
}

// Kill ends it at once, with all that it has not written to the disk: what was done in
// the last seconds.
func (a *Azurite) Kill() {
	if a.cmd == nil {
		return
	}
	cmd := a.cmd
	a.cmd = nil
	kill(cmd)
	_ = cmd.Wait()
}

// Endpoint is the URL that the account's containers lie under. host is the
// host:port to go through, "" for Azurite's own.
func (a *Azurite) Endpoint(host string) string {
	if host == "" {
		host = a.Addr
	}
	return "http://" + host + "/" + Account
}

// SAS makes an account SAS for blobs: permissions such as "rcw", valid from an
// hour ago until the time given.
func (a *Azurite) SAS(permissions string, until time.Time) string {
	const form = "2006-01-02T15:04:05Z"
	st, se := time.Now().Add(-time.Hour).UTC().Format(form), until.UTC().Format(form)
	const version = "2021-12-02"
	// The order of the members is that of "Create an account SAS".
	text := strings.Join([]string{Account, permissions, "b", "co", st, se, "", "https,http", version, "", ""}, "\n")
	key, err := base64.StdEncoding.DecodeString(a.Key)
	if err != nil {
		a.t.Fatal(err)
	}
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(text))
	return url.Values{
		"sv": {version}, "ss": {"b"}, "srt": {"co"}, "sp": {permissions}, "st": {st}, "se": {se},
		"spr": {"https,http"}, "sig": {base64.StdEncoding.EncodeToString(mac.Sum(nil))},
	}.Encode()
}

// ConnectionString is that of the account.
func (a *Azurite) ConnectionString(host string) string {
	return "DefaultEndpointsProtocol=http;AccountName=" + Account + ";AccountKey=" + a.Key + ";BlobEndpoint=" + a.Endpoint(host) + ";"
}

// request makes a request of the test's own, past every proxy, and copies the
// answer's body.
func (a *Azurite) request(method, path, query string, body []byte, into io.Writer, header ...string) (int, http.Header) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	u := a.Endpoint("") + "/" + path + "?" + a.SAS("rwdlacup", time.Now().Add(time.Hour)) + query
	req, err := http.NewRequestWithContext(ctx, method, u, bytes.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if _, err := io.Copy(into, resp.Body); err != nil {
		a.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header
}

func (a *Azurite) create(path, query string, body []byte, header ...string) {
	a.t.Helper()
	var answer bytes.Buffer
	if status, _ := a.request(http.MethodPut, path, query, body, &answer, header...); status != http.StatusCreated {
		a.t.Fatalf("PUT %s: %d %s", path, status, &answer)
	}
}

// Container makes a container.
func (a *Azurite) Container(name string) {
	a.t.Helper()
	a.create(name, "&restype=container", nil)
}

// Put makes a blob in one piece, as somebody else would.
func (a *Azurite) Put(path string, content []byte) {
	a.t.Helper()
	a.create(path, "", content, "x-ms-blob-type", "BlockBlob")
}

// PutBlock stages a block, as somebody else would.
func (a *Azurite) PutBlock(path, id string, content []byte) {
	a.t.Helper()
	a.create(path, "&comp=block&blockid="+url.QueryEscape(id), content)
}

// Get gives a blob and its headers; nil when there is none.
func (a *Azurite) Get(path string) ([]byte, http.Header) {
	a.t.Helper()
	var content bytes.Buffer
	switch status, header := a.request(http.MethodGet, path, "", nil, &content); status {
	case http.StatusOK:
		return content.Bytes(), header
	case http.StatusNotFound:
		return nil, nil
	default:
		a.t.Fatalf("GET %s: %d", path, status)
		return nil, nil
	}
}

// Sum gives the length and the SHA-256 of a blob that is too large to hold.
func (a *Azurite) Sum(path string) (length int64, sum string) {
	a.t.Helper()
	h := sha256.New()
	status, header := a.request(http.MethodGet, path, "", nil, h)
	if status != http.StatusOK {
		a.t.Fatalf("GET %s: %d", path, status)
	}
	length, _ = strconv.ParseInt(header.Get("Content-Length"), 10, 64)
	return length, fmt.Sprintf("%x", h.Sum(nil))
}

// Delete takes a blob away.
func (a *Azurite) Delete(path string) {
	a.t.Helper()
	if status, _ := a.request(http.MethodDelete, path, "", nil, io.Discard); status != http.StatusAccepted {
		a.t.Fatalf("DELETE %s: %d", path, status)
	}
}

// Head gives the headers of a blob, without its content.
func (a *Azurite) Head(path string) (status int, h http.Header) {
	a.t.Helper()
	return a.request(http.MethodHead, path, "", nil, io.Discard)
}
