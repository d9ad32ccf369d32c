package main

import (
	"bytes"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"pcapctl/storage/azblob/blobtest"
)

// A capture of 1 GiB, the default limit, is uploaded while it runs, in memory
// that does not grow with it.
func TestBlobOfOneGiB(t *testing.T) {
	if testing.Short() {
		t.Skip("moves a gibibyte")
	}
	t.Parallel()
	r := newBlobRig(t, "65000")
	r.frame = 60_000
	run := r.capture("--storage-path", r.url("captures/large.cap"), "--time-limit", "120")
	var most int
	var last time.Time
	for sent := 0; ; sent++ {
		select {
		case <-run.done:
		default:
			if sent%100 == 0 {
				most = max(most, anonymous(t, run.cmd.Process.Pid))
				time.Sleep(80 * time.Millisecond)
			}
			if !strings.Contains(run.err.String(), "the capture has ended") {
				r.send(1)
				last = time.Now()
			}
			continue
		}
		break
	}
	after := time.Since(last)
	run.wait(0)
	st := run.statistics()
	size, sum := r.a.Sum("captures/large.cap")
	t.Logf("%d bytes, %d packets, %d dropped, uploaded %s after the last packet, at most %d MiB of memory of its own",
		size, st.PacketsCaptured, st.PacketsDroppedByKernel, after.Round(time.Millisecond), most>>20)
	_, h := r.a.Head("captures/large.cap")
	if size < 1<<30-70_000 || size > 1<<30 || h.Get("x-ms-meta-sha256") != sum {
		t.Errorf("%d bytes with SHA-256 %s: %v", size, sum, h)
	}
	if most == 0 || most > 64<<20 {
		t.Errorf("%d bytes of memory", most)
	}
	if after > 20*time.Second {
		t.Errorf("the upload took %s after the last packet", after)
	}
}

// anonymous is the memory that a process has of its own, without files and
// rings that are mapped into it.
func anonymous(t *testing.T, pid int) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0 // it has just ended
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	return 0
}

// A secret is nowhere but where it was put: not in what is printed or written,
// and on no command line of a process that pcapctl starts.
func TestBlobSecretsAreNotShown(t *testing.T) {
	t.Parallel()
	r := newBlobRig(t)
	sas := r.a.SAS("rcw", time.Now().Add(time.Hour))
	q, err := url.ParseQuery(sas)
	if err != nil {
		t.Fatal(err)
	}
	secrets := []string{q.Get("sig"), url.QueryEscape(q.Get("sig")), r.a.Key, url.QueryEscape(r.a.Key)}
	clean := func(what, text string) {
		t.Helper()
		for _, s := range secrets {
			if strings.Contains(text, s) {
				t.Errorf("a secret is in %s: %s", what, text)
			}
		}
	}
	commandLines := func() {
		t.Helper()
		all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
		guards := 0
		for _, path := range all {
			text, _ := os.ReadFile(path)
			if bytes.HasPrefix(text, []byte("pcap-guard")) || bytes.Contains(text, []byte("worker")) {
				guards++
				clean(path, string(text))
			}
		}
		if guards == 0 {
			t.Error("no child of pcapctl was seen")
		}
	}
	request := r.path("request.json")
	body := fmt.Sprintf(`{"properties":{"target":"/subscriptions/0/resourceGroups/rg/providers/Microsoft.Compute/virtualMachines/vm",
		"timeLimitInSeconds":3,"storageLocation":{"storageId":%q,"storagePath":%q}}}`, testAccountID, r.url("captures/secret.cap")+"?"+sas)
	for i, env := range [][]string{
		{"AZURE_STORAGE_KEY="}, // the SAS in the request
		{"AZURE_STORAGE_SAS_TOKEN=" + sas, "AZURE_STORAGE_KEY="}, // and in the environment
		{"PCAPCTL_AUTH_MODE=key", "AZURE_SDK_GO_LOGGING=all"},    // the key, with all that the SDK can log
		{"AZURE_STORAGE_KEY=", "AZURE_STORAGE_CONNECTION_STRING=" + r.a.ConnectionString(r.p.Addr), "PCAPCTL_AUTH_MODE=key"},
	} {
		r := *r
		r.env = append(append([]string{}, r.env...), env...)
		r.env = append(r.env, "PCAPCTL_UPLOAD_GRACE=1s")
		if err := os.WriteFile(request, []byte(strings.Replace(body, "secret.cap", fmt.Sprintf("secret%d.cap", i), 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		name := fmt.Sprintf("s%d", i)
		run := r.run(0, "create", "--no-wait", "-f", request, "-n", name, "-i", "v1", "--verbose", "--debug")
		commandLines()
		r.send(100)
		runs := []*blobRun{run, r.run(0, "show-status", name), r.run(0, "wait", name), r.run(0, "show", name), r.run(0, "list")}
		// And where it fails, before and after the capture.
		runs = append(runs, r.run(5, "create", "-f", request, "-n", "again", "-i", "v1", "--debug"))
		if err := os.WriteFile(request, []byte(strings.Replace(body, "secret.cap", fmt.Sprintf("failed%d.cap", i), 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		failing := r.start("create", "-f", request, "-n", "failing"+name, "-i", "v1", "--debug", "--time-limit", "1")
		failing.waitFor("capturing on")
		r.p.Rule(func(blobtest.Request) blobtest.Fault { return blobtest.Reset })
		failing.wait(8)
		r.p.Rule(func(blobtest.Request) blobtest.Fault { return blobtest.Forbid })
		runs = append(runs, failing, r.run(3, "upload", "failing"+name, "--storage-path", r.url("captures/secret.cap")+"?"+sas, "--debug"))
		r.p.Rule(nil)
		for _, run := range runs {
			clean("what "+strings.Join(run.cmd.Args[4:6], " ")+" printed", run.out.String()+run.err.String())
		}
	}
	files := 0
	err = filepath.WalkDir(r.path("state"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		text, err := os.ReadFile(path)
		clean(path, string(text))
		return err
	})
	if err != nil || files < 10 {
		t.Errorf("%d files looked at: %v", files, err)
	}
	b, h := r.a.Get("captures/secret0.cap")
	clean("the blob", fmt.Sprint(h)+string(b))
}
