package main

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pcapctl/storage/azblob/blobtest"
)

// The frames of a capture of 17 MB, in two halves: four blocks and a bit.
const (
	halfFrames = 6000
	allFrames  = 2 * halfFrames
)

// blocksStaged waits until Azurite has taken n blocks.
func (r *blobRig) blocksStaged(n int) {
	r.t.Helper()
	until(r.t, fmt.Sprintf("%d blocks", n), func() bool { return len(r.p.Blocks()) >= n })
}

// givenBack waits until most of what was sent from the spool does not take the
// disk's space any more.
func (r *blobRig) givenBack() {
	r.t.Helper()
	until(r.t, "the disk to get back what was sent", func() bool {
		var st syscall.Stat_t
		return syscall.Stat(r.spool(), &st) == nil && st.Blocks*512 <= st.Size-4<<20
	})
}

// end ends a capture once all that was sent is in its file.
func (run *blobRun) end(code int) {
	run.r.t.Helper()
	run.r.captured()
	run.signal(os.Interrupt)
	run.wait(code)
}

func onBlocks(f blobtest.Fault, from, to int) func(blobtest.Request) blobtest.Fault {
	return func(q blobtest.Request) blobtest.Fault {
		if q.Comp == "block" && q.N >= from && q.N < to {
			return f
		}
		return blobtest.Pass
	}
}

const forGood = 1 << 30

// Faults that pass: the blob is complete in the end, and no packet is lost.
func TestBlobFaultsThatPass(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		rule func(blobtest.Request) blobtest.Fault
		long bool
	}{
		{name: "500", rule: onBlocks(blobtest.Fail500, 0, 5)},
		{name: "503", rule: onBlocks(blobtest.Fail503, 1, 6)},
		{name: "reset in mid-block", rule: onBlocks(blobtest.Reset, 0, 6)},
		{name: "403 for a while", rule: onBlocks(blobtest.Forbid, 1, 3)},
		{name: "hang", rule: onBlocks(blobtest.Hang, 1, 2), long: true},
		{name: "answer to the commit lost", rule: func(q blobtest.Request) blobtest.Fault {
			if q.Method == http.MethodPut && q.Comp == "blocklist" && q.N == 1 { // 0 is the look before the capture
				return blobtest.LoseAnswer
			}
			return blobtest.Pass
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.long && testing.Short() {
				t.Skip("takes as long as a connection may hang")
			}
			t.Parallel()
			r := newBlobRig(t)
			r.env = append(r.env, "PCAPCTL_UPLOAD_GRACE=60s")
			r.p.Rule(tt.rule)
			run := r.capture("--storage-path", r.url("captures/x.cap"))
			r.send(halfFrames)
			r.captured()
			r.send(halfFrames)
			run.end(0)
			r.packets(r.blob("captures/x.cap"), allFrames)
			if st := run.statistics(); st.PacketsCaptured != allFrames || st.PacketsDroppedByKernel != 0 || st.Upload.Retries == 0 {
				t.Errorf("%+v, upload %+v", st, st.Upload)
			}
		})
	}
	t.Run("azurite away for a while", func(t *testing.T) {
		t.Parallel()
		r := newBlobRig(t)
		run := r.capture("--storage-path", r.url("captures/x.cap"))
		r.send(halfFrames)
		r.blocksStaged(1)
		r.a.Stop()
		r.send(halfFrames)
		time.Sleep(2 * time.Second)
		r.a.Restart()
		run.end(0)
		r.packets(r.blob("captures/x.cap"), allFrames)
	})
}

// Faults that last: the exit code says so, the file is kept, named and whole,
// and upload finishes it.
func TestBlobFaultsThatLast(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, says string
		file       bool // there is a file of the user's besides
		spoil      func(*blobRig)
		repair     func(*blobRig)
		to         string // the blob that upload makes
	}{
		{
			name: "azurite gone for good", says: "cut",
			spoil: func(r *blobRig) { r.a.Stop() }, repair: func(r *blobRig) { r.a.Restart() },
		},
		{
			name: "azurite gone for good, with a file", says: "cut", file: true,
			spoil: func(r *blobRig) { r.a.Stop() }, repair: func(r *blobRig) { r.a.Restart() },
		},
		{
			name: "403 in the middle", says: "firewall",
			spoil: func(r *blobRig) { r.p.Rule(onBlocks(blobtest.Forbid, 0, forGood)) }, repair: func(r *blobRig) { r.p.Rule(nil) },
		},
		{
			name: "made by somebody else", says: "somebody else", to: "captures/other.cap",
			spoil: func(r *blobRig) { r.a.Put("captures/x.cap", []byte("theirs")) }, repair: func(*blobRig) {},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := newBlobRig(t)
			r.env = append(r.env, "PCAPCTL_UPLOAD_GRACE=2s")
			args := []string{"--storage-path", r.url("captures/x.cap")}
			file := r.path("captures/x.cap")
			if tt.file {
				args = append(args, "--file-path", file)
			}
			run := r.capture(args...)
			r.send(halfFrames)
			r.blocksStaged(1)
			tt.spoil(r)
			r.send(halfFrames)
			run.end(8)
			if !tt.file {
				file = r.spool()
			}
			r.packets(file, allFrames)
			for _, text := range []string{`"code": "StorageFailed"`, tt.says, file, "pcapctl upload s"} {
				if !strings.Contains(run.err.String(), text) {
					t.Errorf("no %q in %s", text, &run.err)
				}
			}
			if st := run.statistics(); st.PacketsCaptured != allFrames || len(st.Blobs) != 0 || st.Files[0].Path != file || st.Upload.State != "Failed" {
				t.Errorf("%+v, upload %+v", st, st.Upload)
			}
			sum := sumOf(t, file)
			r.run(8, "wait", "s")

			tt.repair(r)
			to := "captures/x.cap"
			up := []string{"upload", "s"}
			if tt.to != "" {
				r.run(5, up...)
				if b, _ := r.a.Get(to); string(b) != "theirs" {
					t.Error("their blob was changed")
				}
				to = tt.to
				up = append(up, "--storage-path", r.url(to))
			}
			r.run(0, up...)
			if got := sumOf(t, r.blob(to)); got != sum {
				t.Error("the blob differs from the file")
			}
			if tt.to == "" {
				r.onlyOnce()
			}
			if _, err := os.Stat(file); (err == nil) != tt.file {
				t.Errorf("the file afterwards: %v", err)
			}
			shown := r.run(0, "show", "s")
			if st := shown.statistics(); len(st.Blobs) != 1 || st.Upload.State != "Complete" || !strings.Contains(shown.out.String(), `"packetCaptureStatus": "Stopped"`) {
				t.Errorf("shown afterwards: %s", &shown.out)
			}
			r.run(0, "wait", "s")
			r.run(0, "upload", "s") // and nothing happens
		})
	}
}

// Where the registry cannot be used, upload would not find the session by its
// name: the error names the file and the blob.
func TestBlobFaultOfAnUnlistedCapture(t *testing.T) {
	t.Parallel()
	r := newBlobRig(t)
	r.env = append(r.env, "PCAPCTL_UPLOAD_GRACE=2s")
	must(t, os.WriteFile(r.path("file"), nil, 0o600))
	r.env = append(r.env, "PCAPCTL_STATE_DIR="+r.path("file"))
	file, url := r.path("captures/x.cap"), r.url("captures/x.cap")
	run := r.capture("--storage-path", url, "--file-path", file)
	r.p.Rule(onBlocks(blobtest.Forbid, 0, forGood))
	r.send(halfFrames)
	until(t, "all frames to be in the file", func() bool {
		st, err := os.Stat(file)
		return err == nil && st.Size() == 24+halfFrames*int64(16+r.frame)
	})
	run.signal(os.Interrupt)
	run.wait(8)
	for _, text := range []string{"this capture is in no list", "Ctrl-C leaves the rest for `pcapctl upload " + file + " --storage-path " + url + "`", "`pcapctl upload " + file + " --storage-path " + url + "` goes on with it"} {
		if !strings.Contains(run.err.String(), text) {
			t.Errorf("no %q in %s", text, &run.err)
		}
	}
	r.p.Rule(nil)
	sum := sumOf(t, file)
	r.run(0, "upload", file, "--storage-path", url)
	if got := sumOf(t, r.blob("captures/x.cap")); got != sum {
		t.Error("the blob differs from the file")
	}
}

func TestBlobKilled(t *testing.T) {
	t.Parallel()
	for _, file := range []bool{false, true} {
		t.Run(fmt.Sprintf("file %v", file), func(t *testing.T) {
			t.Parallel()
			r := newBlobRig(t)
			args := []string{"--storage-path", r.url("captures/x.cap")}
			path := r.path("captures/x.cap")
			if file {
				args = append(args, "--file-path", path)
			}
			run := r.capture(args...)
			r.send(halfFrames)
			r.blocksStaged(2)
			r.send(halfFrames)
			run.signal(syscall.SIGKILL)
			<-run.done
			r.run(0, "show-status", "s") // and the file is in order
			if !file {
				path = r.spool()
			}
			sum := sumOf(t, path)
			before := len(r.p.Blocks())
			up := r.run(0, "upload", "s")
			if got := sumOf(t, r.blob("captures/x.cap")); got != sum {
				t.Error("the blob differs from the file")
			}
			r.onlyOnce()
			if after := len(r.p.Blocks()); before < 2 || after <= before {
				t.Errorf("%d blocks before, %d after: %s", before, after, &up.out)
			}
			if out, err := exec.Command("capinfos", "-c", r.blob("captures/x.cap")).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	// Most of a spool that was sent has been given back to the disk.
	t.Run("given back", func(t *testing.T) {
		t.Parallel()
		r := newBlobRig(t)
		r.env = append(r.env, "PCAPCTL_SPOOL_SIZE=1MiB")
		run := r.capture("--storage-path", r.url("captures/x.cap"))
		r.send(halfFrames)
		r.blocksStaged(2)
		r.givenBack()
		r.send(halfFrames)
		r.captured()
		run.signal(syscall.SIGKILL)
		<-run.done
		r.run(0, "upload", "s")
		r.packets(r.blob("captures/x.cap"), allFrames)
		_, h := r.a.Get("captures/x.cap")
		if got := sumOf(t, r.path("blob.cap")); got != h.Get("x-ms-meta-sha256") {
			t.Errorf("SHA-256 %s, metadata %v", got, h)
		}
		r.onlyOnce()
	})
}

// A first Ctrl-C ends the capture and finishes the upload, a second one leaves
// at once.
func TestBlobCtrlCTwice(t *testing.T) {
	t.Parallel()
	r := newBlobRig(t)
	r.p.Rule(onBlocks(blobtest.Fail503, 1, forGood))
	run := r.capture("--storage-path", r.url("captures/x.cap"))
	r.send(allFrames)
	r.blocksStaged(1)
	r.captured()
	run.signal(os.Interrupt)
	run.waitFor("Ctrl-C leaves the rest for `pcapctl upload s`")
	time.Sleep(sameInterrupt) // within which two are one
	again := time.Now()
	run.signal(os.Interrupt)
	run.wait(8)
	if d := time.Since(again); d > 3*time.Second {
		t.Errorf("it took %s to leave", d)
	}
	r.packets(r.spool(), allFrames)
	r.p.Rule(nil)
	r.run(0, "upload", "s")
	r.packets(r.blob("captures/x.cap"), allFrames)
	r.onlyOnce()
}

// A request that is refused has made nothing, here or there.
func TestBlobRefusals(t *testing.T) {
	t.Parallel()
	r := newBlobRig(t)
	r.a.Put("captures/there.cap", []byte("x"))
	old, short := r.a.SAS("rcw", time.Now().Add(-time.Minute)), r.a.SAS("rcw", time.Now().Add(time.Minute))
	for _, tt := range []struct {
		name, blob, says string
		code             int
		env              []string
	}{
		{"the blob exists", "captures/there.cap", "exists already", 5, nil},
		{"no container", "missing/x.cap", "container does not exist", 4, nil},
		{"wrong key", "captures/x.cap", "key in AZURE_STORAGE_KEY", 3, []string{"AZURE_STORAGE_KEY=AAAA" + r.a.Key[4:]}},
		{"no key", "captures/x.cap", "not a valid account key", 2, []string{"AZURE_STORAGE_KEY=!"}},
		{"expired SAS", "captures/x.cap?" + old, "expired at", 3, nil},
		{"SAS that ends too early", "captures/x.cap?" + short, "before the time limit ends the capture", 3, nil},
		{"SAS that may not write", "captures/x.cap?" + r.a.SAS("r", time.Now().Add(9*time.Hour)), "sp=rcw", 3, nil},
		{"storage away", "captures/x.cap", "cut", 8, []string{"away"}},
		{"no such mode", "captures/x.cap", "allowed: key, sas, login", 2, []string{"PCAPCTL_AUTH_MODE=magic"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := *r
			r.t = t
			r.env = append(slices.Clip(r.env), tt.env...)
			if len(tt.env) > 0 && tt.env[0] == "away" {
				r.p.Rule(func(blobtest.Request) blobtest.Fault { return blobtest.Reset })
				defer r.p.Rule(nil)
			}
			run := r.run(tt.code, "create", "-n", "s", "-i", "v1", "--storage-account", testAccountID, "--storage-path", r.url(tt.blob))
			if !strings.Contains(run.err.String(), tt.says) || run.out.String() != "" {
				t.Errorf("said %s%s", &run.err, &run.out)
			}
			var left []string
			_ = filepath.WalkDir(r.dir, func(path string, d os.DirEntry, _ error) error {
				if d != nil && !d.IsDir() {
					left = append(left, path)
				}
				return nil
			})
			if left != nil {
				t.Errorf("left behind: %v", left)
			}
		})
	}
	if b, _ := r.a.Get("captures/x.cap"); b != nil {
		t.Error("a blob was made")
	}
}

// Nothing of the upload is in a capture of all interfaces, however often its
// connections are cut; another client of the same endpoint is captured whole.
func TestBlobLeavesItselfOut(t *testing.T) {
	t.Parallel()
	r := newBlobRig(t)
	run := r.start("create", "-n", "s", "-i", "any", "--buffer-size", "64MiB", "--storage-account", testAccountID,
		"--storage-path", r.url("captures/any.cap"), "--file-path", r.path("captures/any.cap"))
	run.waitFor("capturing on")
	var foreign []string
	const answer = 300_000
	r.a.Put("captures/foreign.bin", make([]byte, answer))
	visit := func() {
		var conn net.Conn
		var err error
		r.ns.Do(func() { conn, err = net.DialTimeout("tcp", r.p.Addr, 5*time.Second) })
		if err != nil {
			t.Fatal(err)
		}
		_, port, _ := net.SplitHostPort(conn.LocalAddr().String())
		foreign = append(foreign, port)
		sas := r.a.SAS("r", time.Now().Add(time.Hour))
		_, err = fmt.Fprintf(conn, "GET /%s/captures/foreign.bin?%s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", blobtest.Account, sas, r.p.Addr)
		n, rerr := readAll(conn)
		if err != nil || rerr != nil || n < answer {
			t.Fatalf("%d bytes: %v %v", n, err, rerr)
		}
		_ = conn.Close()
	}
	for range 4 {
		visit()
		before := len(r.p.Blocks())
		r.send(halfFrames)
		r.recorded(2 * r.sent) // they leave by v0 and arrive by v1
		r.blocksStaged(before + 1)
		r.p.Cut()
	}
	run.end(0)
	peers := r.p.Peers()
	t.Logf("%d connections, %d of them foreign", len(peers), len(foreign))
	if len(peers)-len(foreign) < 5 {
		t.Errorf("the uploader has made %d connections only", len(peers)-len(foreign))
	}
	_, port, _ := net.SplitHostPort(r.p.Addr)
	path := r.path("captures/any.cap")
	own := "tcp.port == " + port
	for _, f := range foreign {
		own += " && tcp.port != " + f
	}
	if out := tshark(t, path, own, "frame.number"); len(out) != 0 {
		t.Errorf("%d packets of the upload were captured", len(out))
	}
	for _, f := range foreign {
		sum := 0
		for _, n := range tshark(t, path, "tcp.srcport == "+port+" && tcp.dstport == "+f, "tcp.len") {
			i, _ := strconv.Atoi(n)
			sum += i
		}
		syns := tshark(t, path, "tcp.flags.syn == 1 && tcp.port == "+f, "frame.number")
		fins := tshark(t, path, "tcp.flags.fin == 1 && tcp.port == "+f, "frame.number")
		lost := tshark(t, path, "tcp.analysis.lost_segment && tcp.port == "+f, "frame.number")
		if sum < answer || len(syns) != 2 || len(fins) != 2 || len(lost) != 0 {
			t.Errorf("foreign connection %s: %d bytes of %d, %d SYN, %d FIN, %d lost", f, sum, answer, len(syns), len(fins), len(lost))
		}
	}
	if sumOf(t, r.blob("captures/any.cap")) != sumOf(t, path) {
		t.Error("blob and file differ")
	}
}

func readAll(c net.Conn) (n int, err error) {
	_ = c.SetDeadline(time.Now().Add(20 * time.Second))
	buf := make([]byte, 64<<10)
	for {
		m, err := c.Read(buf)
		n += m
		if err != nil {
			if err.Error() == "EOF" {
				return n, nil
			}
			return n, err
		}
	}
}

// tshark gives a field of the packets that a filter chooses.
func tshark(t *testing.T, path, filter, field string) []string {
	t.Helper()
	out, err := exec.Command("tshark", "-n", "-r", path, "-Y", filter, "-T", "fields", "-e", field).Output()
	if err != nil {
		t.Fatalf("tshark: %v", err)
	}
	return strings.Fields(string(out))
}

// Files without a session can be uploaded, too: any file, and the spool of a
// session that was deleted, of which some was given back to the disk.
func TestBlobUploadOfAFile(t *testing.T) {
	t.Parallel()
	r := newBlobRig(t)
	file := r.path("captures/file.cap")
	run := r.start("create", "-n", "s", "-i", "v1", "--promiscuous=false", "--file-path", file)
	run.waitFor("capturing on")
	r.send(halfFrames)
	run.end(0)
	r.run(2, "upload", "s")
	r.run(0, "delete", "s")
	r.run(2, "upload", file)
	up := r.run(0, "upload", file, "--storage-path", r.url("captures/file.cap"))
	if !strings.Contains(up.out.String(), `"bytesThereBefore": 0`) {
		t.Errorf("printed %s", &up.out)
	}
	again := r.run(0, "upload", file, "--storage-path", r.url("captures/file.cap"))
	if !strings.Contains(again.out.String(), `"bytesSent": 0`) {
		t.Errorf("printed %s", &again.out)
	}
	if sumOf(t, r.blob("captures/file.cap")) != sumOf(t, file) {
		t.Error("blob and file differ")
	}
	r.onlyOnce()
	f, err := os.OpenFile(file, os.O_APPEND|os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteString("more")
		_ = f.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	other := r.run(5, "upload", file, "--storage-path", r.url("captures/file.cap"))
	if !strings.Contains(other.err.String(), "another content") {
		t.Errorf("said %s", &other.err)
	}
	r.run(4, "upload", r.path("captures/missing.cap"), "--storage-path", r.url("captures/missing.cap"))
	r.run(4, "upload", "nosuch")

	r.env = append(r.env, "PCAPCTL_UPLOAD_GRACE=1s", "PCAPCTL_SPOOL_SIZE=1MiB")
	run = r.capture("--storage-path", r.url("captures/spool.cap"))
	r.run(5, "upload", "s") // it uploads by itself
	from := len(r.p.Blocks())
	r.send(halfFrames)
	r.blocksStaged(from + 2)
	r.givenBack()
	r.p.Rule(onBlocks(blobtest.Forbid, 0, forGood))
	r.send(halfFrames)
	run.end(8)
	r.p.Rule(nil)
	spool := r.spool()
	r.run(0, "delete", "s")
	r.run(0, "upload", spool, "--storage-path", r.url("captures/spool.cap"))
	r.packets(r.blob("captures/spool.cap"), allFrames)
	r.onlyOnce()
	if r.spool() != "" {
		t.Error("the spool is left")
	}
}
