package main

import (
	"bytes"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pcapctl/capture/deliver"
	"pcapctl/capture/request"
	"pcapctl/storage/azblob/blobtest"
)

// rotate captures into a rotation of three files of 100 KiB, which goes to blobs.
func (r *blobRig) rotate(args ...string) *blobRun {
	return r.capture(append([]string{"--continuous-capture", "true", "--capture-settings", "file-count=3", "file-size-in-bytes=102400",
		"--storage-path", r.url("captures/ring.cap")}, args...)...)
}

// name is the name of a blob, of its URL.
func (r *blobRig) name(url string) string {
	return strings.TrimPrefix(url, r.a.Endpoint(r.p.Addr)+"/")
}

// committed is how many blobs were completed.
func (r *blobRig) committed() (n int) {
	for _, q := range r.p.Requests() {
		if q.Comp == "blocklist" && q.Status == http.StatusCreated {
			n++
		}
	}
	return n
}

// Each file of a rotation is a blob of its own, which goes when the file does.
func TestRotationOfBlobs(t *testing.T) {
	t.Parallel()
	for _, local := range []bool{true, false} {
		r := newBlobRig(t)
		var args []string
		if local {
			args = []string{"--local-path", r.path("captures/ring.cap")}
		}
		run := r.rotate(args...)
		const perFile = 72 // packets
		for sent := 0; sent < 900; {
			r.send(75)
			sent += 75
			until(t, "the full files to be blobs", func() bool { return r.committed() >= sent/perFile })
		}
		run.signal(syscall.SIGTERM)
		run.wait(0)
		st := run.statistics()
		if len(st.Blobs) != 3 || st.Upload.State != deliver.Complete || st.PacketsCaptured != 900 || st.Warnings != nil {
			t.Fatalf("%+v, warnings %v", st, st.Warnings)
		}
		if local != (len(st.Files) == 3) {
			t.Errorf("files %+v", st.Files)
		}
		for i, b := range st.Blobs {
			content, header := r.a.Get(r.name(b.Path))
			if content == nil || int64(len(content)) != b.SizeInBytes || !strings.HasSuffix(b.Path, ".cap") {
				t.Errorf("%+v: %d bytes", b, len(content))
			}
			if header.Get("X-Ms-Meta-Packets") == "" || header.Get("X-Ms-Meta-Sequence") == "" {
				t.Errorf("%v", header)
			}
			if local {
				on, err := os.ReadFile(st.Files[i].Path)
				if err != nil || !bytes.Equal(on, content) {
					t.Errorf("%s and its blob differ: %v", st.Files[i].Path, err)
				}
			}
		}
		for sequence := 1; sequence < st.Blobs[0].Sequence; sequence++ {
			if status, _ := r.a.Head(r.name(request.RotatedPath(st.Blobs[0].Path, sequence))); status != http.StatusNotFound {
				t.Errorf("blob %d has left the rotation: status %d", sequence, status)
			}
		}
		if st.Blobs[0].Sequence < 8 {
			t.Errorf("only %d rotations", st.Blobs[0].Sequence)
		}
		if !local {
			if left, _ := os.ReadDir(r.path("state/.spool")); len(left) != 0 {
				t.Errorf("left in the spool: %v", left)
			}
		}
	}
}

// The storage is away: the rotation goes on. What it holds in the end is kept when
// the storage stays away, and sent when it comes back.
func TestRotationWhileStorageIsAway(t *testing.T) {
	t.Parallel()
	for _, back := range []bool{false, true} {
		r := newBlobRig(t)
		r.env = append(r.env, "PCAPCTL_UPLOAD_GRACE=3s")
		run := r.rotate("--local-path", r.path("captures/ring.cap"))
		r.p.Rule(func(blobtest.Request) blobtest.Fault { return blobtest.Fail503 })
		for range 8 {
			r.send(75)
			r.captured()
		}
		if back {
			r.p.Rule(nil)
		}
		from := time.Now()
		run.signal(syscall.SIGTERM)
		code := 8
		if back {
			code = 0
		}
		run.wait(code)
		st := run.statistics()
		if st.PacketsCaptured != 600 || len(st.Files) != 3 || time.Since(from) > 20*time.Second {
			t.Errorf("%+v after %v", st, time.Since(from))
		}
		if want := map[bool]int{true: 3, false: 0}[back]; len(st.Blobs) != want {
			t.Errorf("blobs %+v", st.Blobs)
		}
		if len(st.Warnings) != 1 || !strings.Contains(st.Warnings[0], "left the ring before they could be sent") {
			t.Errorf("warnings %v", st.Warnings)
		}
		if !back && !strings.Contains(run.err.String(), "Ctrl-C leaves the rest for `pcapctl upload FILE --storage-path URL`") {
			t.Errorf("told %s", &run.err)
		}
		if !back && !strings.Contains(run.err.String(), "3 of the 3 files of the ring are not in the storage account") {
			t.Errorf("%s", &run.err)
		}
	}
}

// A kill leaves a rotation whose files are whole, those of the spool as well, and
// each of them can be sent.
func TestRotationOfBlobsKilled(t *testing.T) {
	t.Parallel()
	for _, local := range []bool{true, false} {
		r := newBlobRig(t)
		var args []string
		where := r.path("state/.spool")
		if local {
			where = r.path("captures")
			args = []string{"--local-path", filepath.Join(where, "ring.cap")}
		}
		run := r.rotate(args...)
		r.send(300) // four files and a bit
		until(t, "the full files to be blobs", func() bool { return r.committed() >= 2 })
		r.p.Rule(onBlocks(blobtest.Forbid, 0, forGood))
		r.send(200)
		until(t, "the seventh file to have the last 68 packets", func() bool {
			files, _ := filepath.Glob(filepath.Join(where, "*_000007.cap"))
			if len(files) != 1 {
				return false
			}
			st, err := os.Stat(files[0])
			return err == nil && st.Size() == 24+(500-6*72)*int64(16+r.frame)
		})
		run.signal(syscall.SIGKILL)
		<-run.done
		shown := r.run(0, "show-status", "s")
		if !strings.Contains(shown.out.String(), "AgentStopped") {
			t.Errorf("shown: %s", &shown.out)
		}
		r.p.Rule(nil)
		files, _ := filepath.Glob(filepath.Join(where, "*.cap"))
		if len(files) != 3 {
			t.Fatalf("local %v: files %v", local, files)
		}
		sent := 0
		for i, file := range files {
			sum := sumOf(t, file)
			out, err := exec.Command("capinfos", "-c", "-M", file).CombinedOutput()
			words := strings.Fields(string(out))
			if err != nil || bytes.Contains(out, []byte("cut short")) {
				t.Fatalf("%s: %v: %s", file, err, out)
			}
			n, _ := strconv.Atoi(words[len(words)-1])
			sent += n
			blob := fmt.Sprintf("captures/again%d.cap", i)
			r.run(0, "upload", file, "--storage-path", r.url(blob))
			if sumOf(t, r.blob(blob)) != sum {
				t.Errorf("%s and its blob differ", file)
			}
		}
		if sent != 500-4*72 {
			t.Errorf("%d packets in three files", sent)
		}
		r.run(0, "delete", "s")
	}
}
