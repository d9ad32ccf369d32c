package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// leakFolder names the folder of TestVerbsLeakNothing to the process that it starts.
const leakFolder = "TEST_LEAKS_IN"

// No verb leaves a descriptor or a goroutine behind, whether it succeeds or fails. In
// a process of its own, as other tests open things at the same time.
func TestVerbsLeakNothing(t *testing.T) {
	if dir := os.Getenv(leakFolder); dir != "" {
		runVerbs(t, dir)
		return
	}
	t.Parallel()
	h := newHost(t)
	must(t, writeCapture(h.path("in.cap"), "ethernet", "5"))
	whole, err := os.ReadFile(h.path("in.cap"))
	must(t, err)
	must(t, os.WriteFile(h.path("damaged.cap"), append(whole, whole[:20]...), 0o600))
	var l net.Listener
	h.Do(func() { l, err = net.Listen("tcp", "127.0.0.1:0") })
	must(t, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	cmd := h.Command(os.Args[0], "-test.run=^TestVerbsLeakNothing$", "-test.v", "-test.timeout=100s")
	cmd.Env = append(slices.Clip(h.env), leakFolder+"="+h.dir, "PCAPCTL_BLOB_ENDPOINT=http://"+l.Addr().String()+"/pcstore", "AZURE_STORAGE_KEY=a2V5")
	out, err := cmd.CombinedOutput()
	if err != nil || bytes.Count(out, []byte("--- PASS: TestVerbsLeakNothing/")) < 20 {
		t.Errorf("%v\n%s", err, out)
	}
}

// verb is a command line and the exit code that it ends with. {} in it is different
// each time.
type verb struct {
	code int
	line string
}

func runVerbs(t *testing.T, dir string) {
	t.Chdir(dir)
	for _, group := range [][]verb{
		{{0, "version"}}, {{0, "help"}}, {{0, "create --help"}}, {{0, "completion bash"}}, {{0, "__complete create --format "}},
		{{0, "interfaces"}}, {{2, "no-such-verb"}}, {{2, "list --no-such-flag"}},
		{{0, "validate -i v1"}}, {{2, "validate --filter x=y"}}, {{4, "validate -i nosuch"}}, {{4, "validate -f nosuch"}},
		{{0, "validate --read-file in.cap"}}, {{4, "validate --read-file nosuch"}},
		{{0, "create --read-file in.cap -n r{}"}}, {{0, "create --read-file in.cap --file-path z{}.cap.gz --on-file true"}},
		{{6, "create --read-file damaged.cap -n d{}"}}, {{2, "create --read-file -"}},
		{{0, "create -i v1 -n f{} --time-limit 1"}, {5, "create -i v1 --file-path f{}.cap"}, {0, "delete f{}"}},
		{{4, "create -i nosuch"}}, {{4, "create --no-wait -i nosuch"}},
		{
			{0, "create --no-wait -i v1 -n b{} --continuous-capture true --compress zstd"}, {5, "create --no-wait -i v1 -n b{}"}, {0, "list"},
			{0, "show b{}"}, {0, "show-status b{}"}, {10, "wait b{} --timeout 1ms"}, {0, "stop b{}"}, {0, "wait b{}"}, {0, "delete b{}"},
		},
		{{4, "show nosuch"}}, {{4, "stop nosuch"}}, {{4, "delete nosuch"}},
		{{3, "upload ./in.cap --storage-path {endpoint}/captures/x.cap"}}, {{4, "upload ./nosuch --storage-path {endpoint}/captures/x.cap"}},
		{{3, "create -i v1 --storage-account pcstore --storage-path {endpoint}/captures/x.cap"}},
	} {
		t.Run(group[0].line, func(t *testing.T) {
			round := func(n int) {
				for _, v := range group {
					line := strings.NewReplacer("{}", fmt.Sprint(n), "{endpoint}", os.Getenv("PCAPCTL_BLOB_ENDPOINT")).Replace(v.line)
					var out, errs bytes.Buffer
					if code := run(strings.Split(line, " "), strings.NewReader(""), &out, &errs); code != v.code {
						t.Errorf("%s: exit code %d, want %d\n%s%s", line, code, v.code, &out, &errs)
					}
				}
			}
			round(1) // what the runtime and libraries make once, they keep
			before, known := openFiles(t), goleak.IgnoreCurrent()
			round(2)
			// A helper process, which a goroutine waits for, and a connection, which one closes, may not have
			// come to their end yet.
			deadline := time.Now().Add(10 * time.Second)
			leak := goleak.Find(known)
			for leak != nil && time.Now().Before(deadline) {
				leak = goleak.Find(known)
			}
			if leak != nil {
				t.Error(leak)
			}
			after := openFiles(t)
			for len(beyond(before, after)) > 0 && time.Now().Before(deadline) {
				time.Sleep(5 * time.Millisecond)
				after = openFiles(t)
			}
			if leaked := beyond(before, after); len(leaked) > 0 {
				t.Errorf("descriptors that stay open:\n%s", strings.Join(leaked, "\n"))
			}
		})
	}
}

// beyond are the members of after that before does not have. What before has besides was still on its way to
// be closed, as the descriptor of a helper process.
func beyond(before, after []string) []string {
	left := slices.Clone(before)
	return slices.DeleteFunc(slices.Clone(after), func(name string) bool {
		i := slices.Index(left, name)
		if i >= 0 {
			left = slices.Delete(left, i, i+1)
		}
		return i >= 0
	})
}

// openFiles are what the descriptors of this process stand for, sorted.
func openFiles(t *testing.T) []string {
	t.Helper()
	d, err := os.Open("/proc/self/fd")
	must(t, err)
	names, err := d.Readdirnames(-1)
	must(t, errors.Join(err, d.Close()))
	var list []string
	for _, name := range names {
		to, err := os.Readlink(filepath.Join("/proc/self/fd", name))
		if errors.Is(err, fs.ErrNotExist) {
			continue // the folder itself
		}
		must(t, err)
		list = append(list, to)
	}
	slices.Sort(list)
	return list
}
