package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/testnet"
	"pcapctl/storage/azblob/blobtest"
)

// blobRig is pcapctl in a network namespace, with two interfaces v0 and v1 that
// are connected, and a proxy before Azurite, which is out of the namespace's
// sight: what is captured on any interface there is the traffic of pcapctl with
// the proxy, and of nobody with Azurite.
type blobRig struct {
	t     *testing.T
	ns    *testnet.NS
	a     *blobtest.Azurite
	p     *blobtest.Proxy
	dir   string
	env   []string
	out   *testnet.Sender
	frame int // size of the frames that are sent
	sent  int // frames since the capture began
}

func newBlobRig(t *testing.T, mtu ...string) *blobRig {
	t.Helper()
	testnet.Need(t, "capinfos")
	r := &blobRig{t: t, ns: testnet.New(t), a: blobtest.Start(t), dir: t.TempDir(), frame: 1400}
	r.ns.Veth("v0", "v1")
	for _, m := range mtu {
		r.ns.IP("link", "set", "v0", "mtu", m)
		r.ns.IP("link", "set", "v1", "mtu", m)
	}
	var l net.Listener
	var err error
	r.ns.Do(func() { l, err = net.Listen("tcp", "127.0.0.1:0") })
	if err != nil {
		t.Fatal(err)
	}
	r.p = blobtest.NewProxy(t, r.a, l, nil)
	r.a.Container("captures")
	r.out = r.ns.Sender("v0")
	r.env = append(environ(),
		"PCAPCTL_BLOB_ENDPOINT="+r.a.Endpoint(r.p.Addr), "PCAPCTL_STATE_DIR="+r.path("state"), "PCAPCTL_CAPTURES_DIR="+r.path("captures"),
		"XDG_CONFIG_HOME="+r.path("config"), "PCAPCTL_UPLOAD_GRACE=20s", "AZURE_STORAGE_KEY="+r.a.Key,
		"AZURE_STORAGE_SAS_TOKEN=", "AZURE_STORAGE_CONNECTION_STRING=")
	return r
}

func (r *blobRig) path(name string) string { return filepath.Join(r.dir, name) }

func (r *blobRig) url(blob string) string { return r.a.Endpoint(r.p.Addr) + "/" + blob }

// account is the storage account as a request names it.
const testAccountID = "/subscriptions/0/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/" + blobtest.Account

// run is a command that is under way.
type blobRun struct {
	r        *blobRig
	cmd      *exec.Cmd
	out, err lockedBuffer
	done     chan struct{}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// start starts pcapctl in the namespace.
func (r *blobRig) start(args ...string) *blobRun {
	r.t.Helper()
	if args[0] == "create" {
		r.sent = 0
	}
	run := &blobRun{r: r, done: make(chan struct{})}
	run.cmd = r.ns.Command("pcapctl", args...)
	run.cmd.Env, run.cmd.Stdout, run.cmd.Stderr = r.env, &run.out, &run.err
	if err := run.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	go func() {
		_ = run.cmd.Wait()
		close(run.done)
	}()
	return run
}

// capture starts to capture on v1, with the flags given, and returns when it does.
func (r *blobRig) capture(args ...string) *blobRun {
	r.t.Helper()
	run := r.start(append([]string{"create", "-n", "s", "-i", "v1", "--promiscuous=false",
		"--buffer-size", "64MiB", "--storage-account", testAccountID}, args...)...)
	run.waitFor("capturing on")
	return run
}

func (run *blobRun) waitFor(text string) {
	run.r.t.Helper()
	until(run.r.t, "pcapctl to say "+text, func() bool {
		select {
		case <-run.done:
			if !strings.Contains(run.err.String(), text) {
				run.r.t.Fatalf("pcapctl ended without %q: %s%s", text, &run.err, &run.out)
			}
		default:
		}
		return strings.Contains(run.err.String(), text)
	})
}

func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// wait wants the command to end with an exit code.
func (run *blobRun) wait(code int) {
	run.r.t.Helper()
	select {
	case <-run.done:
	case <-time.After(90 * time.Second):
		_ = run.cmd.Process.Kill()
		run.r.t.Fatalf("pcapctl does not end: %s", &run.err)
	}
	if got := run.cmd.ProcessState.ExitCode(); got != code {
		run.r.t.Fatalf("exit code %d, want %d: %s%s", got, code, &run.err, &run.out)
	}
}

func (run *blobRun) signal(s os.Signal) {
	run.r.t.Helper()
	if err := run.cmd.Process.Signal(s); err != nil {
		run.r.t.Fatal(err)
	}
}

func (run *blobRun) statistics() *capture.Statistics {
	run.r.t.Helper()
	var res capture.Resource
	if err := json.Unmarshal([]byte(run.out.String()), &res); err != nil || res.Properties.Statistics == nil {
		run.r.t.Fatalf("no resource: %v: %s", err, &run.out)
	}
	return res.Properties.Statistics
}

// run runs a command to its end.
func (r *blobRig) run(code int, args ...string) *blobRun {
	r.t.Helper()
	run := r.start(args...)
	run.wait(code)
	return run
}

// send sends n frames with numbers that go on from one call to the next.
func (r *blobRig) send(n int) {
	frame := make([]byte, r.frame)
	copy(frame, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x88\xb5")
	for i := range n {
		binary.BigEndian.PutUint32(frame[14:], uint32(i))
		r.out.Send(frame)
	}
	r.sent += n
}

// captured waits until the session has recorded all frames that were sent, and
// has written them, if it has one file: the last ones come when traffic is slow.
func (r *blobRig) captured() {
	r.t.Helper()
	r.recorded(r.sent)
}

// recorded waits until the session has recorded n packets or more.
func (r *blobRig) recorded(n int) {
	r.t.Helper()
	until(r.t, fmt.Sprintf("%d packets to be recorded", n), func() bool {
		run := r.start("show-status", "s", "--query", "statistics.packetsCaptured")
		<-run.done
		now, err := strconv.Atoi(strings.TrimSpace(run.out.String()))
		return err == nil && now >= n
	})
}

// blob gives the path of a blob's content on the disk; it must be there.
func (r *blobRig) blob(name string) string {
	r.t.Helper()
	b, _ := r.a.Get(name)
	if b == nil {
		r.t.Fatalf("there is no blob %s", name)
	}
	path := r.path("blob.cap")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

// packets wants a file to be whole and to have that many packets.
func (r *blobRig) packets(path string, n int) {
	r.t.Helper()
	out, err := exec.Command("capinfos", "-c", "-M", path).CombinedOutput()
	words := strings.Fields(string(out))
	if err != nil || bytes.Contains(out, []byte("cut short")) || words[len(words)-1] != fmt.Sprint(n) {
		r.t.Fatalf("want %d packets in %s: %v\n%s", n, path, err, out)
	}
}

func sumOf(t testing.TB, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(b))
}

// spool is the file of the one capture that has none of its own, "" for none.
func (r *blobRig) spool() string {
	files, _ := filepath.Glob(r.path("state/.spool/*.cap"))
	if len(files) != 1 {
		return ""
	}
	return files[0]
}

// onlyOnce wants every block that Azurite has taken to have been sent once.
func (r *blobRig) onlyOnce() {
	r.t.Helper()
	for id, n := range r.p.Blocks() {
		if n != 1 {
			r.t.Errorf("block %s was sent %d times", id, n)
		}
	}
}

func TestBlobDestinations(t *testing.T) {
	t.Parallel()
	r := newBlobRig(t)
	const frames = 6000 // 8.5 MB: two blocks and a bit
	sas := r.a.SAS("rcw", time.Now().Add(time.Hour))
	for _, tt := range []struct {
		name string
		env  []string
		file bool
		path string
	}{
		{"blob only, key", nil, false, "/captures/key.cap"},
		{"blob only, SAS", []string{"AZURE_STORAGE_SAS_TOKEN=?" + sas + "\n", "AZURE_STORAGE_KEY="}, false, "/captures/sas"},
		{"both, SAS in the URL", []string{"AZURE_STORAGE_KEY="}, true, "/captures/url.cap?" + sas},
		{"both, connection string", []string{"AZURE_STORAGE_CONNECTION_STRING=" + r.a.ConnectionString(r.p.Addr), "AZURE_STORAGE_KEY="}, true, "/captures/connection.cap"},
		{"both, where the service puts it", nil, true, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := *r
			r.t, r.env = t, append(slices.Clip(r.env), tt.env...)
			args := []string{"--time-limit", "60"}
			if tt.path != "" {
				args = append(args, "--storage-path", r.a.Endpoint(r.p.Addr)+tt.path)
			}
			file := filepath.Join(r.path("captures"), strings.ReplaceAll(tt.name, " ", "-")+".cap")
			if tt.file {
				args = append(args, "--file-path", file)
			}
			run := r.capture(args...)
			r.send(frames)
			r.captured()
			stopped := time.Now()
			run.signal(os.Interrupt)
			run.wait(0)
			if d := time.Since(stopped); d > 5*time.Second {
				t.Errorf("it took %s to end", d)
			}
			st := run.statistics()
			if len(st.Blobs) != 1 || st.Upload == nil || st.Upload.State != "Complete" {
				t.Fatalf("statistics %+v", st)
			}
			name := strings.TrimPrefix(st.Blobs[0].Path, r.a.Endpoint(r.p.Addr)+"/")
			blob := r.blob(name)
			r.packets(blob, frames)
			_, h := r.a.Get(name)
			if h.Get("x-ms-meta-sha256") != sumOf(t, blob) || h.Get("x-ms-meta-packets") != fmt.Sprint(frames) || h.Get("x-ms-meta-name") != "s" {
				t.Errorf("metadata %v", h)
			}
			if tt.file && sumOf(t, file) != sumOf(t, blob) {
				t.Error("file and blob differ")
			}
			if got := len(st.Files); got != map[bool]int{true: 1, false: 0}[tt.file] {
				t.Errorf("%d files", got)
			}
			if _, err := os.Stat(r.path("state/.spool")); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the spool is left: %v", err)
			}
			r.run(0, "delete", "s")
		})
	}
	t.Run("file only", func(t *testing.T) {
		r := *r
		r.t = t
		before := len(r.p.Requests())
		file := filepath.Join(r.path("captures"), "only.cap")
		run := r.start("create", "-n", "s", "-i", "v1", "--promiscuous=false", "--file-path", file)
		run.waitFor("capturing on")
		r.send(100)
		r.captured()
		run.signal(os.Interrupt)
		run.wait(0)
		r.packets(file, 100)
		if len(r.p.Requests()) != before {
			t.Error("the storage was asked")
		}
	})
}
