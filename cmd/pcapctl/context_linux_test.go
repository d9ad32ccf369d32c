package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/hostcontext"
	"pcapctl/capture/inspect"
	"pcapctl/capture/registry"
	"pcapctl/capture/sandbox"
	"pcapctl/capture/testnet"
)

// contextOf reads the context of a session, and what the session says of it.
func (h *host) contextOf(name string) (*hostcontext.Document, *capture.ContextResult) {
	h.t.Helper()
	var st capture.Statistics
	must(h.t, json.Unmarshal([]byte(h.run("show", name, "--query", "properties.statistics", "-o", "json").want(h.t, 0, "").out), &st))
	if st.Context == nil {
		h.t.Fatalf("%s has no context", name)
	}
	return readContext(h.t, st.Context.Path), st.Context
}

func readContext(t *testing.T, path string) *hostcontext.Document {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer func() { _ = f.Close() }()
	d, err := hostcontext.Read(f)
	must(t, err)
	return d
}

// talk sends count small segments over loopback in the host's namespace.
func (h *host) talk(port, count int) {
	h.t.Helper()
	at := fmt.Sprintf("127.0.0.1:%d", port)
	var l net.Listener
	var err error
	h.Do(func() { l, err = net.Listen("tcp", at) })
	must(h.t, err)
	defer func() { _ = l.Close() }()
	got := make(chan int64, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			got <- -1
			return
		}
		n, _ := io.Copy(io.Discard, conn)
		_ = conn.Close()
		got <- n
	}()
	var conn net.Conn
	h.Do(func() { conn, err = net.Dial("tcp", at) })
	must(h.t, err)
	for range count {
		_, err := conn.Write(make([]byte, 100))
		must(h.t, err)
		time.Sleep(25 * time.Millisecond)
	}
	must(h.t, conn.Close())
	if n := <-got; n != int64(count)*100 {
		h.t.Fatalf("%d bytes arrived of %d", n, count*100)
	}
}

// A connection of this very program that loses packets: who it is, that the machine sent
// again, and that inspect says both.
func TestContextOfLosses(t *testing.T) {
	testnet.Need(t, "nft")
	h := newHost(t)
	path := h.path("captures/lossy.pcapng")
	h.run("create", "--no-wait", "--context", "-n", "lossy", "-i", "lo", "--file-path", path).want(t, 0, "")
	rules := h.Command("nft", "-f", "-")
	rules.Stdin = strings.NewReader("table inet lossy { chain in { type filter hook input priority 0; tcp dport 9000 tcp flags & (syn|fin) == 0 numgen inc mod 10 == 7 drop; }; }\n")
	if out, err := rules.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s", err, out)
	}
	h.talk(9000, 60)
	h.run("stop", "lossy").want(t, 0, "")

	d, told := h.contextOf("lossy")
	if !told.Complete || !d.Complete || len(d.Problems) > 0 || told.Path != path+hostcontext.Extension {
		t.Errorf("the context is not complete: %+v, problems %q", told, d.Problems)
	}
	if !slices.ContainsFunc(d.Counters, func(m hostcontext.Moved) bool { return m.Name == "Tcp.RetransSegs" && m.Delta >= 3 }) {
		t.Errorf("RetransSegs has not moved: %+v", d.Counters)
	}
	if !strings.Contains(d.End.NFTables, "numgen") || strings.Contains(d.Start.NFTables, "numgen") {
		t.Errorf("the rules at the end are %q, at the start %q", d.End.NFTables, d.Start.NFTables)
	}
	self := filepath.Base(must1(os.Executable()))
	st, err := os.Stat(told.Path)
	must(t, err)
	if st.Mode().Perm() != 0o600 || st.Size() != told.SizeInBytes {
		t.Errorf("the file has mode %v and %d bytes; %d were told", st.Mode(), st.Size(), told.SizeInBytes)
	}

	for _, what := range []string{"lossy", path} { // a session, and a file with its context beside it
		var r inspect.Report
		must(t, json.Unmarshal([]byte(h.run("inspect", what, "-o", "json").want(t, 0, "").out), &r))
		if len(r.Context) != 1 || !slices.ContainsFunc(r.Context[0].Counters, func(c inspect.HostCounter) bool { return c.Name == "Tcp.RetransSegs" }) {
			t.Fatalf("inspect %s does not say that the machine sent again: %+v", what, r.Context)
		}
		at := slices.IndexFunc(r.Failures, func(f inspect.Finding) bool { return f.ID == "tcp-retransmissions" })
		if at < 0 || !strings.Contains(strings.Join(r.Failures[at].Counters, " "), "Tcp.RetransSegs +") || !strings.Contains(strings.Join(r.Failures[at].Programs, " "), self) {
			t.Errorf("the finding does not say so: %+v", r.Failures)
		}
		v := r.Talkers.Conversations[0]
		if !strings.Contains(strings.Join(v.ProgramsA, " "), self) || !strings.Contains(strings.Join(v.ProgramsB, " "), self) {
			t.Errorf("the conversation is said to be of %q and %q", v.ProgramsA, v.ProgramsB)
		}
	}
	h.run("inspect", path, "-o", "table").want(t, 0, "Tcp.RetransSegs +")
	h.run("inspect", path, "--html", h.path("page.html"), "-o", "none").want(t, 0, "")
	if page, err := os.ReadFile(h.path("page.html")); err != nil || !strings.Contains(string(page), "What the machine counted") || !strings.Contains(string(page), "Tcp.RetransSegs") || strings.Count(string(page), self) < 2 {
		t.Errorf("the page does not say so: %v", err)
	}
	h.run("inspect", path, "--context", h.path("nosuch"), "-o", "none").want(t, 4, "--context")
	must(t, os.WriteFile(told.Path, []byte(`{"schemaVersion":99}`), 0o600))
	h.run("inspect", path, "-o", "none").want(t, 0, "left out")

	if _, err := exec.LookPath("tshark"); err == nil {
		out, err := exec.Command("tshark", "-r", path, "-Y", "frame.comment", "-T", "fields", "-e", "frame.comment").Output()
		must(t, err)
		if n := strings.Count(string(out), "\n"); n < 1 || n > 2 || !strings.Contains(string(out), " is "+self+", process "+strconv.Itoa(os.Getpid())) {
			t.Errorf("comments of the packets: %q", out)
		}
	}
	h.run("delete", "lossy").want(t, 0, told.Path)
	if _, err := os.Stat(told.Path); err != nil {
		t.Errorf("delete has taken the context away: %v", err)
	}
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// Of a ring there is one context, beside the first file, also when that has gone.
func TestContextOfARing(t *testing.T) {
	h := newHost(t)
	h.run("create", "--no-wait", "--context", "-n", "ring", "-i", "v1", "--local-path", h.path("captures/ring.pcapng"), "--continuous-capture", "true",
		"--capture-settings", "file-count=2", "file-size-in-bytes=102400").want(t, 0, "")
	for i := range 5 {
		h.send(1000)
		h.count("ring", 1000*(i+1))
	}
	h.run("stop", "ring").want(t, 0, "")
	d, told := h.contextOf("ring")
	if !d.Complete || !strings.HasSuffix(told.Path, "_000001.pcapng"+hostcontext.Extension) {
		t.Errorf("the context is %+v", told)
	}
	found, err := filepath.Glob(h.path("captures/*" + hostcontext.Extension))
	if err != nil || len(found) != 1 {
		t.Errorf("contexts: %q, %v", found, err)
	}
	h.run("inspect", "ring", "-o", "table").want(t, 0, "What the machine counted")
}

// What goes wrong with the context takes nothing from the capture, and is told.
func TestContextFails(t *testing.T) {
	h := newHost(t)
	t.Run("its name is taken", func(t *testing.T) {
		must(t, os.WriteFile(h.path("captures/taken.cap"+hostcontext.Extension), nil, 0o600))
		h.run("validate", "--context", "-i", "v1", "--file-path", h.path("captures/taken.cap")).want(t, 5, "taken.cap.context.json")
		o := runCmd(t, h.create("taken", "--context")).want(t, 5, "taken.cap.context.json")
		if _, err := os.Stat(h.path("captures/taken.cap")); err == nil {
			t.Errorf("a capture file was left: %+v", o)
		}
	})
	t.Run("the disk is full", func(t *testing.T) {
		dir := h.path("captures/small")
		must(t, os.Mkdir(dir, 0o755))
		must(t, exec.Command("mount", "-t", "tmpfs", "-o", "size=1m", "none", dir).Run())
		defer func() { must(t, exec.Command("umount", "-l", dir).Run()) }()
		h.run("create", "--no-wait", "--context", "-n", "full", "-i", "v1", "--file-path", dir+"/full.cap").want(t, 0, "")
		h.send(5)
		h.count("full", 5)
		var sockets []net.PacketConn
		defer func() {
			for _, s := range sockets {
				_ = s.Close()
			}
		}()
		for range 300 { // more than there was room for at the start
			h.Do(func() { sockets = append(sockets, must1(net.ListenPacket("udp", "127.0.0.1:0"))) })
		}
		fill, err := os.Create(dir + "/fill")
		must(t, err)
		_, err = io.Copy(fill, zeros{})
		if err == nil {
			t.Fatal("the disk takes more")
		}
		_ = fill.Close()
		time.Sleep(1500 * time.Millisecond) // for a look at the sockets
		h.run("stop", "full").want(t, 0, "5 packets")
		d, told := h.contextOf("full")
		if told.Complete || d.Complete || d.Start == nil || d.End != nil {
			t.Errorf("the context is said to be %+v, and has an end: %v", told, d.End != nil)
		}
		h.run("show", "full").want(t, 0, "has the start of the capture only")
	})
	t.Run("its process is killed", func(t *testing.T) {
		h.run("create", "--no-wait", "--context", "-n", "orphan", "-i", "v1", "--file-path", h.path("captures/orphan.cap")).want(t, 0, "")
		h.send(5)
		h.count("orphan", 5)
		pid := samplerOf(t, h.path("captures"))
		if len(sandbox.Expect(sandbox.Policy{}).Capabilities) == 0 { // not with cgo
			// CAP_DAC_READ_SEARCH, CAP_SYS_PTRACE, and what the tools of packet filters need.
			becomes(t, pid, "CapPrm: 0000000000083004; CapBnd: 0000000000003000; CapAmb: 0000000000000000; NoNewPrivs: 1; Seccomp: 2", "CapPrm", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
		}
		must(t, syscall.Kill(pid, syscall.SIGKILL))
		h.run("stop", "orphan").want(t, 0, "5 packets")
		if d, told := h.contextOf("orphan"); told.Complete || d.Complete {
			t.Errorf("the context is said to be complete: %+v", told)
		}
		h.run("show", "orphan").want(t, 0, "has ended, or does not answer")
	})
	t.Run("the capture is killed", func(t *testing.T) {
		h.run("create", "--no-wait", "--context", "-n", "killed", "-i", "v1", "--file-path", h.path("captures/killed.cap")).want(t, 0, "")
		record, err := registry.New(h.path("state")).Get("killed")
		must(t, err)
		must(t, syscall.Kill(record.Record.PID, syscall.SIGKILL))
		path := h.path("captures/killed.cap" + hostcontext.Extension)
		for deadline := time.Now().Add(20 * time.Second); !readContext(t, path).Complete; time.Sleep(50 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("the context was not completed")
			}
		}
		h.run("inspect", "killed", "-o", "table").want(t, 0, "What the machine counted")
	})
	t.Run("a file is read", func(t *testing.T) {
		h.run("create", "--context", "--read-file", h.path("captures/orphan.cap"), "--file-path", h.path("captures/x.cap")).want(t, 2, "--context")
	})
}

// zeros is a file without an end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }

// samplerOf finds the process that samples for a capture in a folder, by the file that it
// has open.
func samplerOf(t *testing.T, dir string) int {
	t.Helper()
	list, err := filepath.Glob("/proc/[0-9]*/fd/4")
	must(t, err)
	for _, fd := range list {
		to, err := os.Readlink(fd)
		pid := strings.Split(fd, "/")[2]
		if err != nil || !strings.HasPrefix(to, dir) {
			continue
		}
		if name, err := os.ReadFile("/proc/" + pid + "/cmdline"); err == nil && strings.HasPrefix(string(name), "pcap-context") {
			return must1(strconv.Atoi(pid))
		}
	}
	t.Fatal("no process samples")
	return 0
}

// The context goes to a blob beside the capture's, of a file, of a spool and of a ring; and
// upload sends one that did not come through.
func TestContextGoesToABlob(t *testing.T) {
	r := newBlobRig(t)
	isContext := func(name string) *hostcontext.Document {
		t.Helper()
		text, _ := r.a.Get(name)
		d, err := hostcontext.Read(strings.NewReader(string(text)))
		if err != nil || !d.Complete {
			t.Fatalf("the blob %s is not a whole context: %v, %q", name, err, text)
		}
		return d
	}
	end := func(run *blobRun) *capture.Statistics {
		t.Helper()
		r.send(100)
		r.captured()
		run.signal(os.Interrupt)
		run.wait(0)
		return run.statistics()
	}
	t.Run("spool", func(t *testing.T) {
		st := end(r.capture("--context", "--storage-path", r.url("captures/spool.cap")))
		if st.Context == nil || st.Context.Blob != r.url("captures/spool.cap.context.json") || st.Context.Path != "" || !st.Context.Complete {
			t.Errorf("the context is %+v", st.Context)
		}
		isContext("captures/spool.cap.context.json")
		if _, err := os.Stat(r.path("state/.spool")); err == nil {
			t.Error("the spool is left")
		}
		r.run(0, "delete", "s")
	})
	t.Run("ring", func(t *testing.T) {
		st := end(r.capture("--context", "--storage-path", r.url("captures/ring.cap"), "--continuous-capture", "true"))
		if st.Context == nil || !strings.HasSuffix(st.Context.Blob, "_000001.cap.context.json") {
			t.Fatalf("the context is %+v", st.Context)
		}
		isContext(strings.TrimPrefix(st.Context.Blob, r.url("")))
		r.run(0, "delete", "s")
	})
	t.Run("upload", func(t *testing.T) {
		r.a.Put("captures/later.cap.context.json", []byte("somebody's")) // nothing is overwritten
		run := r.capture("--context", "--storage-path", r.url("captures/later.cap"), "--file-path", r.path("captures/later.cap"))
		st := end(run)
		r.a.Delete("captures/later.cap.context.json")
		if st.Context == nil || st.Context.Blob != "" || !strings.Contains(strings.Join(st.Warnings, " "), "`pcapctl upload s` sends it") || len(st.Blobs) != 1 {
			t.Fatalf("the context is %+v, the warnings are %q", st.Context, st.Warnings)
		}
		if up := r.run(0, "upload", "s"); !strings.Contains(up.out.String(), `"context": "`+r.url("captures/later.cap.context.json")+`"`) {
			t.Errorf("upload has said %s%s", &up.out, &up.err)
		}
		isContext("captures/later.cap.context.json")
		r.run(0, "upload", "s").waitFor("complete already")
		show := r.run(0, "show", "s", "--query", "properties.statistics.context.blob", "-o", "tsv")
		if got := strings.TrimSpace(show.out.String()); got != r.url("captures/later.cap.context.json") {
			t.Errorf("show says %q", got)
		}
		r.run(0, "upload", st.Context.Path, "--storage-path", r.url("captures/other.cap.context.json"))
		isContext("captures/other.cap.context.json")
	})
}
