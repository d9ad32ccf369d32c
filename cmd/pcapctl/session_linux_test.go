package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/gopacket/pcapgo"
	"go.uber.org/goleak"

	"pcapctl/capture"
	"pcapctl/capture/request"
	"pcapctl/capture/source/live"
	"pcapctl/capture/testnet"
)

// host is a machine for a test: a network with v0 and v1 connected, and the
// program, with folders of its own, that everybody may get to.
type host struct {
	*testnet.NS
	t   *testing.T
	dir string
	env []string
}

func newHost(t *testing.T) *host {
	t.Helper()
	testnet.Need(t, "ip", "setpriv", "mount")
	h := &host{NS: testnet.New(t), t: t}
	h.Veth("v0", "v1")
	var err error
	// Not t.TempDir, which other users cannot enter.
	h.dir, err = os.MkdirTemp("", "pcapctl-host-") //nolint:usetesting // see above
	must(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(h.dir) })
	must(t, os.Chmod(h.dir, 0o755))
	h.install()
	must(t, os.Mkdir(h.path("captures"), 0o700))
	must(t, os.Mkdir(h.path("config"), 0o755))
	h.env = append(environ(), "PCAPCTL_CAPTURES_DIR="+h.path("captures"), "PCAPCTL_STATE_DIR="+h.path("state"),
		"XDG_CONFIG_HOME="+h.path("config"), "GORACE=atexit_sleep_ms=0") // a second at each exit else
	t.Cleanup(func() {
		stop := exec.Command(h.path("pcapctl"), "stop", "--all") // without t.Context, which has ended
		stop.Env = h.env
		_ = stop.Run()
		h.nothingLeft()
	})
	return h
}

// install copies the test binary, which is the program when it has its name. Another
// process does so: a program that is open for writing is not executed (ETXTBSY), and
// of what is open here, a child that another test starts in that moment has a copy.
func (h *host) install() {
	h.t.Helper()
	self, err := os.Executable()
	must(h.t, err)
	must(h.t, exec.Command("cp", self, h.path("pcapctl")).Run())
	must(h.t, os.Chmod(h.path("pcapctl"), 0o755))
}

func (h *host) path(name string) string { return filepath.Join(h.dir, name) }

func (h *host) command(args ...string) *exec.Cmd {
	cmd := h.Command(h.path("pcapctl"), args...)
	cmd.Env = h.env
	return cmd
}

// as runs the program as another user, with no privilege but one.
func (h *host) as(uid int, args ...string) *exec.Cmd {
	id := strconv.Itoa(uid)
	cmd := h.Command("setpriv", append([]string{"--reuid", id, "--regid", id, "--clear-groups",
		"--no-new-privs", "--bounding-set=-all,+net_raw", "--inh-caps=-all,+net_raw", "--ambient-caps=-all,+net_raw", "--",
		h.path("pcapctl")}, args...)...)
	cmd.Env = h.env
	return cmd
}

type outcome struct {
	code     int
	out, err string
}

func runCmd(t *testing.T, cmd *exec.Cmd) outcome {
	t.Helper()
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		t.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

func (h *host) run(args ...string) outcome {
	h.t.Helper()
	return runCmd(h.t, h.command(args...))
}

// want checks exit code and what is said.
func (o outcome) want(t *testing.T, code int, says string) outcome {
	t.Helper()
	if o.code != code || !strings.Contains(o.out+o.err, says) {
		t.Fatalf("exit code %d, want %d and %q:\n%s%s", o.code, code, says, o.out, o.err)
	}
	return o
}

func (h *host) create(name string, more ...string) *exec.Cmd {
	return h.command(append([]string{"create", "-n", name, "--file-path", h.path("captures/" + name + ".cap"), "-i", "v1"}, more...)...)
}

// count waits until a session has counted that many packets.
func (h *host) count(name string, want int) {
	h.t.Helper()
	var o outcome
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		o = h.run("show-status", name, "--query", "statistics.packetsCaptured")
		if strings.TrimSpace(o.out) == strconv.Itoa(want) {
			return
		}
	}
	h.t.Fatalf("%s has not counted %d packets: %+v", name, want, o)
}

// send sends numbered frames, not faster than they can be taken.
func (h *host) send(n int) {
	h.t.Helper()
	s := h.Sender("v0")
	for i := range n {
		s.Send(numbered(i))
		if i%500 == 499 {
			time.Sleep(5 * time.Millisecond)
		}
	}
}

func numbered(i int) []byte {
	frame := make([]byte, 64)
	copy(frame, "\x02\x00\x00\x00\x00\x02\x02\x00\x00\x00\x00\x01\x88\xb5")
	binary.BigEndian.PutUint32(frame[14:], uint32(i))
	return frame
}

// numbers checks with a reader that is not ours that a file has the frames
// 0 to n-1 and nothing else.
func numbers(t *testing.T, path string, n int) {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer func() { _ = f.Close() }()
	r, err := pcapgo.NewReader(f)
	must(t, err)
	for i := 0; ; i++ {
		data, _, err := r.ReadPacketData()
		if errors.Is(err, io.EOF) && i == n {
			return
		}
		if err != nil {
			t.Fatalf("%s: packet %d of %d: %v", path, i, n, err)
		}
		if i >= n || !bytes.Equal(data, numbered(i)) {
			t.Fatalf("%s: packet %d of %d is % x", path, i, n, data)
		}
	}
}

// nothingLeft finds no process that has anything of the host's open.
func (h *host) nothingLeft() {
	h.t.Helper()
	var left []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if left = h.holders(); left == nil {
			return
		}
	}
	h.t.Errorf("left behind: %s", strings.Join(left, ", "))
}

// holders lists the processes that run the host's program or have a file of
// the host's open.
func (h *host) holders() (found []string) {
	links, err := filepath.Glob("/proc/[0-9]*/fd/*")
	must(h.t, err)
	exes, err := filepath.Glob("/proc/[0-9]*/exe")
	must(h.t, err)
	for _, link := range append(links, exes...) {
		if to, err := os.Readlink(link); err == nil && strings.HasPrefix(to, h.dir+"/") {
			found = append(found, link+" -> "+to)
		}
	}
	return found
}

func (h *host) pid(name string) int {
	h.t.Helper()
	text, err := os.ReadFile(h.path("state/" + name + "/record.json"))
	must(h.t, err)
	var rec struct{ PID int }
	must(h.t, json.Unmarshal(text, &rec))
	return rec.PID
}

func TestFiftyCreatesOfOneName(t *testing.T) {
	h := newHost(t)
	codes := make([]int, 50)
	var wg sync.WaitGroup
	for i := range codes {
		wg.Go(func() {
			file := h.path(fmt.Sprintf("captures/%d.cap", i))
			codes[i] = runCmd(t, h.command("create", "--no-wait", "-n", "One", "--file-path", file, "-i", "v1")).code
		})
	}
	wg.Wait()
	count := map[int]int{}
	for _, c := range codes {
		count[c]++
	}
	if count[0] != 1 || count[5] != 49 {
		t.Errorf("exit codes: %v", count)
	}
	for dir, want := range map[string]int{"state": 1, "captures": 1} {
		if list, err := os.ReadDir(h.path(dir)); err != nil || len(list) != want {
			t.Errorf("%s has %v, %v", dir, list, err)
		}
	}
	h.send(10)
	h.count("one", 10)
	h.run("stop", "one").want(t, 0, "10 packets")
}

func TestTwentySessionsAtOnce(t *testing.T) {
	const sessions, packets = 20, 5000
	h := newHost(t)
	var wg sync.WaitGroup
	for i := range sessions {
		wg.Go(func() { runCmd(t, h.create(fmt.Sprint("s", i), "--no-wait", "-o", "none")).want(t, 0, "") })
	}
	wg.Wait()
	h.send(packets)
	for i := range sessions {
		h.count(fmt.Sprint("s", i), packets)
	}
	h.run("stop", "--all").want(t, 0, "stopped s19")
	h.run("wait").want(t, 0, "s0 has ended")
	for i := range sessions {
		numbers(t, h.path(fmt.Sprintf("captures/s%d.cap", i)), packets)
	}
	for _, s := range h.statuses() {
		if s.Status != capture.StatusStopped || s.Reason != "Manual" || s.Packets != packets || s.Dropped != 0 {
			t.Errorf("%+v", s)
		}
	}
}

type status struct {
	Name, Status, Reason string
	Packets, Dropped     int
}

func (h *host) statuses() (list []status) {
	h.t.Helper()
	o := h.run("list", "--query", "value[].{name: name, status: properties.packetCaptureStatus, reason: properties.stopReason, "+
		"packets: properties.statistics.packetsCaptured, dropped: properties.statistics.packetsDroppedByKernel}").want(h.t, 0, "")
	must(h.t, json.Unmarshal([]byte(o.out), &list))
	return list
}

// foreground captures in the foreground, sends packets and ends it by SIGTERM.
func (h *host) foreground(cmd *exec.Cmd, packets int) outcome {
	h.t.Helper()
	r, w, err := os.Pipe()
	must(h.t, err)
	defer func() { _ = r.Close() }()
	cmd.ExtraFiles = []*os.File{w}
	cmd.Args = append(cmd.Args, "--ready-fd", "3")
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	must(h.t, cmd.Start())
	_ = w.Close()
	if _, err := io.ReadAll(r); err != nil {
		h.t.Error(err)
	}
	h.send(packets)
	must(h.t, cmd.Process.Signal(syscall.SIGTERM))
	_ = cmd.Wait()
	return outcome{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// The state folder is of no use. In the background a session cannot do without
// it, and leaves nothing; in the foreground the packets matter more.
func TestStateFolderOfNoUse(t *testing.T) {
	h := newHost(t)
	state := h.path("state")
	mount := func(size string, more ...string) {
		must(t, os.Mkdir(state, 0o700))
		out, err := exec.Command("mount", "-t", "tmpfs", "-o", "mode=700,size="+size, "none", state).CombinedOutput()
		if err == nil && more != nil {
			out, err = exec.Command("mount", append(more, state)...).CombinedOutput()
		}
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	unmount := func() { _ = syscall.Unmount(state, syscall.MNT_DETACH) }
	t.Cleanup(unmount)
	for _, test := range []struct {
		name string
		make func()
		code int
		says string
	}{
		{"readonly", func() { mount("1m", "-o", "remount,ro") }, 3, "read-only file system; name another folder with --state-dir"},
		{"full", func() { mount("1m"); fillUp(t, state) }, 7, "no space left on device; free some space"},
		{"almost", func() { mount("16k") }, 7, "no space left on device; free some space"},
		{"foreign", func() { must(t, os.Mkdir(state, 0o755)); must(t, os.Chown(state, 23001, 23001)) }, 3, "belongs to another user (user id 23001)"},
		{"open", func() { must(t, os.Mkdir(state, 0o700)); must(t, os.Chmod(state, 0o777)) }, 3, "close it with `chmod go-w"},
		{"file", func() { must(t, os.WriteFile(state, nil, 0o600)) }, 2, "name another folder with --state-dir"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.make()
			defer func() { unmount(); must(t, os.RemoveAll(state)) }()
			before, _ := os.ReadDir(state)
			runCmd(t, h.create(test.name, "--no-wait")).want(t, test.code, test.says)
			runCmd(t, h.create(test.name, "--if-exists", "return")).want(t, test.code, test.says)
			if _, err := os.Lstat(h.path("captures/" + test.name + ".cap")); !os.IsNotExist(err) {
				t.Error("a capture file was left: ", err)
			}
			if after, _ := os.ReadDir(state); len(after) != len(before) {
				t.Errorf("left in the state folder: %v", after)
			}
			o := h.foreground(h.create(test.name), 100).want(t, 0, test.says)
			if !strings.Contains(o.err, "this capture is in no list") || !strings.Contains(o.out, `"stopReason": "Manual"`) {
				t.Errorf("%+v", o)
			}
			numbers(t, h.path("captures/"+test.name+".cap"), 100)
		})
	}
	t.Run("full in the end", func(t *testing.T) {
		mount("1m")
		defer func() { unmount(); must(t, os.RemoveAll(state)) }()
		runCmd(t, h.create("end", "--no-wait", "-o", "none")).want(t, 0, "")
		runCmd(t, h.create("killed", "--no-wait", "-o", "none")).want(t, 0, "")
		fillUp(t, state)
		h.send(200)
		h.count("end", 200)
		h.count("killed", 200)
		h.run("stop", "end").want(t, 0, "stopped end (Manual): 200 packets")
		h.run("show", "end").want(t, 0, `"stopReason": "Manual"`)
		must(t, syscall.Kill(h.pid("killed"), syscall.SIGKILL))
		h.run("wait", "killed").want(t, 6, "AgentStopped")
		h.run("show-status", "killed").want(t, 0, `"packetsCaptured": 200,`)
		numbers(t, h.path("captures/end.cap"), 200)
		numbers(t, h.path("captures/killed.cap"), 200)
		h.run("delete", "end", "killed").want(t, 0, "deleted killed")
	})
}

// fillUp takes all the space there is in a folder.
func fillUp(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, ".fill"))
	must(t, err)
	defer func() { _ = f.Close() }()
	for size := 1 << 16; size > 0; {
		if _, err := f.Write(make([]byte, size)); err != nil {
			size /= 2
		}
	}
}

// A session that has nothing to do does nothing, and holds nothing that it does
// not need.
func TestIdleSessionCostsNothing(t *testing.T) {
	h := newHost(t)
	r, w, err := os.Pipe()
	must(t, err)
	cmd := h.create("idle", "--no-wait", "-o", "none")
	cmd.ExtraFiles = []*os.File{w} // somebody's pipe, which does not concern the session
	runCmd(t, cmd).want(t, 0, "capturing")
	_ = w.Close()
	must(t, r.SetReadDeadline(time.Now().Add(5*time.Second)))
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Error("the session holds a descriptor of its caller's: ", err)
	}
	pid := h.pid("idle")
	proc := fmt.Sprintf("/proc/%d/", pid)
	for fd, want := range map[string]string{"fd/0": os.DevNull, "fd/1": os.DevNull, "fd/2": h.path("state/idle/log"), "cwd": "/"} {
		if got, err := os.Readlink(proc + fd); err != nil || got != want {
			t.Errorf("%s is %s, %v; want %s", fd, got, err, want)
		}
	}
	stat := statOf(t, pid)
	if stat[3] != strconv.Itoa(pid) || stat[4] != "0" {
		t.Errorf("session %s, terminal %s; want a session of its own and no terminal", stat[3], stat[4])
	}
	before := cpu(t, pid)
	time.Sleep(3 * time.Second)
	// A tick is 10 ms; one or two are taken for looking at the interfaces.
	if ticks := cpu(t, pid) - before; ticks > 2 {
		t.Errorf("%d ticks in three seconds", ticks)
	}
	must(t, syscall.Kill(pid, syscall.SIGHUP)) // logging out
	h.send(5)
	h.count("idle", 5)
	h.run("delete", "--stop", "idle").want(t, 0, "deleted idle")
	h.nothingLeft()
	// It lets go of the session a moment before it ends.
	for deadline := time.Now().Add(2 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		text, err := os.ReadFile(proc + "stat")
		if err != nil || bytes.Contains(text, []byte(") Z ")) { // a zombie is init's business
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the process is still there: %s", text)
		}
	}
}

// statOf is the fields of /proc/PID/stat behind the name. proc_pid_stat(5).
func statOf(t *testing.T, pid int) []string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	must(t, err)
	return strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
}

func cpu(t *testing.T, pid int) int {
	t.Helper()
	stat := statOf(t, pid)
	user, err1 := strconv.Atoi(stat[11])
	system, err2 := strconv.Atoi(stat[12])
	must(t, errors.Join(err1, err2))
	return user + system
}

func TestNoGoroutineIsLeft(t *testing.T) {
	testnet.Need(t)
	dir := t.TempDir()
	// Before, so that what the signal package starts once and for all is there.
	untilSignal := func() { _, stop := (&app{}).untilSignal(t.Context()); stop() }
	untilSignal()
	leak := goleak.IgnoreCurrent()
	var out, errs bytes.Buffer
	code := run([]string{"create", "-n", "leak", "-i", "lo", "--time-limit", "1", "--captures-dir", dir, "--state-dir", filepath.Join(dir, "state"),
		"--file-path", filepath.Join(dir, "leak.cap")}, strings.NewReader(""), &out, &errs)
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, errs.String())
	}
	goleak.VerifyNone(t, leak)
}

// The command that had the worker started is killed before it can be told: the
// capture, of which nobody knows, ends.
func TestNobodyHearsTheAnswer(t *testing.T) {
	h := newHost(t)
	req := &request.Request{Name: new("orphan"), Properties: &request.Properties{
		Target: new(vmID("", "vm")), StorageLocation: &request.StorageLocation{FilePath: new(h.path("captures/orphan.cap"))},
	}}
	text, err := json.Marshal(order{
		Request: req, Host: request.Host{CapturesDir: h.path("captures"), Now: time.Now()},
		Source: live.Options{Interfaces: []string{"v1"}}, StateDir: h.path("state"),
	})
	must(t, err)
	orderR, orderW, err := os.Pipe()
	must(t, err)
	answerR, answerW, err := os.Pipe()
	must(t, err)
	must(t, answerR.Close())
	cmd := h.command(workerName, "orphan")
	cmd.ExtraFiles = []*os.File{orderR, answerW}
	go func() {
		_, _ = orderW.Write(text)
		_ = orderW.Close()
	}()
	runCmd(t, cmd).want(t, 0, "")
	_, _ = orderR.Close(), answerW.Close()
	h.run("show", "orphan", "--query", "properties.stopReason").want(t, 0, "Manual")
	if log, err := os.ReadFile(h.path("state/orphan/log")); err != nil || !bytes.Contains(log, []byte("before it could be told: stopping")) {
		t.Errorf("%s, %v", log, err)
	}
}

func TestServiceManagerIsTold(t *testing.T) {
	h := newHost(t)
	path := h.path("notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	must(t, err)
	defer func() { _ = conn.Close() }()
	cmd := h.create("unit", "--time-limit", "1", "-o", "none")
	cmd.Env = append(slices.Clone(h.env), "NOTIFY_SOCKET="+path)
	done := make(chan outcome)
	go func() { done <- runCmd(t, cmd) }()
	must(t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	b := make([]byte, 1000)
	for _, want := range []string{"READY=1\nSTATUS=capturing on v1", "STOPPING=1"} {
		n, err := conn.Read(b)
		must(t, err)
		if string(b[:n]) != want {
			t.Errorf("told %q, want %q", b[:n], want)
		}
	}
	(<-done).want(t, 0, "")
}

// A worker has no business with the service manager of its caller, nor with
// its caller's secrets on the command line.
func TestWorkerEnvironment(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/x")
	t.Setenv("PCAPCTL_TEST", "kept")
	env := strings.Join(workerEnv(), "\n")
	if strings.Contains(env, "NOTIFY_SOCKET") || !strings.Contains(env, "PCAPCTL_TEST=kept") {
		t.Error(env)
	}
}

// Many make and delete sessions of one name at once. Each gets an answer that
// was true at some moment, and what is left is one session or none.
func TestCreateAndDeleteAtOnce(t *testing.T) {
	h := newHost(t)
	var wg sync.WaitGroup
	for i := range 30 {
		wg.Go(func() {
			file := h.path(fmt.Sprintf("captures/%d.cap", i))
			o := runCmd(t, h.command("create", "--no-wait", "-n", "x", "--file-path", file, "-i", "v1", "-o", "none"))
			if o.code != 0 && o.code != 5 {
				t.Errorf("create: %+v", o)
			}
		})
		wg.Go(func() {
			if o := runCmd(t, h.command("delete", "--stop", "x")); o.code != 0 && o.code != 4 {
				t.Errorf("delete: %+v", o)
			}
		})
	}
	wg.Wait()
	if list := h.statuses(); len(list) > 1 || len(list) == 1 && list[0].Status != capture.StatusRunning {
		t.Errorf("%+v", list)
	}
	if o := h.run("delete", "--stop", "x"); o.code != 0 && o.code != 4 {
		t.Errorf("%+v", o)
	}
	h.nothingLeft()
	if left, err := os.ReadDir(h.path("state")); err != nil || len(left) > 0 {
		t.Errorf("left in the state folder: %v, %v", left, err)
	}
}

// Ctrl-C comes while create --no-wait waits for its worker.
func TestInterruptedWhileStarting(t *testing.T) {
	h := newHost(t)
	file := h.path("captures/early.cap")
	config, err := request.NewConfig(&request.Request{Name: new("early"), Properties: &request.Properties{
		Target: new(vmID("", "vm")), StorageLocation: &request.StorageLocation{FilePath: &file},
	}}, request.Host{CapturesDir: h.path("captures")})
	must(t, err)
	ord := &order{Request: config.Request(), Source: live.Options{Interfaces: []string{"lo"}}, StateDir: h.path("state")}
	ord.Host.CapturesDir = config.CapturesDir
	plan, err := ord.plan(config)
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var out, errs bytes.Buffer
	a := &app{out: &out, err: &errs, output: output{format: "json"}}
	if err := a.createDetached(ctx, ord, plan, &readiness{}); err != nil {
		t.Error(err)
	}
	if !strings.Contains(out.String(), `"stopReason": "Manual"`) || !strings.Contains(errs.String(), "stopped early (Manual)") {
		t.Errorf("%s%s", &out, &errs)
	}
}
