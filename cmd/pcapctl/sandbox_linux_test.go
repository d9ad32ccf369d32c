package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pcapctl/capture/sandbox"
)

// probeVariable has the program try, from inside of its process, what a capture must not do, whenever it gets
// SIGUSR1. Only the test binary knows it.
const probeVariable = "TEST_PROBE_OF_PCAPCTL"

// probe is what is tried.
type probe struct {
	Result  string // path of the file that the errors are written into, by what was tried
	Outside string // a file of no folder of the capture's
	Connect string // address of somebody else's server
}

// programWithProbe is the program, as testscript runs it.
func programWithProbe() {
	var p probe
	if json.Unmarshal([]byte(os.Getenv(probeVariable)), &p) == nil {
		out, err := os.OpenFile(p.Result, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o666)
		if err != nil {
			panic(err)
		}
		ask := make(chan os.Signal, 1)
		signal.Notify(ask, syscall.SIGUSR1)
		go func() {
			for range ask {
				_ = json.NewEncoder(out).Encode(p.try())
			}
		}()
	}
	main()
}

func (p *probe) try() map[string]string {
	said := map[string]string{}
	note := func(what string, err error) {
		if said[what] = "done"; err != nil {
			said[what] = err.Error()
		}
	}
	_, err := os.ReadFile(p.Outside)
	note("read a file outside", err)
	note("write a file outside", os.WriteFile(p.Outside+".new", nil, 0o600))
	note("remove a file outside", os.Remove(p.Outside))
	c, err := net.DialTimeout("tcp", p.Connect, 5*time.Second)
	if err == nil {
		_ = c.Close()
	}
	note("connect elsewhere", err)
	_, err = syscall.ForkExec("/bin/true", []string{"true"}, &syscall.ProcAttr{})
	note("run a program", err)
	_, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	note("open a packet socket", err)
	note("signal another process", unix.Kill(os.Getppid(), 0))
	note("become another user", unix.Setuid(12345))
	_, _, errno := unix.RawSyscall(unix.SYS_PTRACE, unix.PTRACE_ATTACH, 1, 0)
	note("trace a process", os.NewSyscallError("ptrace", errno))
	return said
}

// needSandbox is for tests of what the kernel refuses.
func needSandbox(t *testing.T) {
	t.Helper()
	l := sandbox.Expect(sandbox.Policy{})
	if len(l.Capabilities) > 0 {
		t.Skip("this build has cgo, as the race detector's: it cannot give up capabilities in all threads")
	}
	if l.Landlock < 6 || !l.Seccomp {
		if os.Getenv("CI") != "" {
			t.Fatal("CI must have a kernel with Landlock (version 6 or later) and seccomp")
		}
		t.Skip("this kernel has no Landlock of version 6, or no seccomp")
	}
}

// taskStatus is /proc/PID/task/TID/status.
type taskStatus map[string]string

// statusOf gives the status of every thread of a process.
func statusOf(t *testing.T, pid int) (list []taskStatus) {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/status", pid))
	must(t, err)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue // the thread has just ended
		}
		list = append(list, parseStatus(string(text)))
	}
	if list == nil {
		t.Fatalf("process %d is not there", pid)
	}
	return list
}

func parseStatus(text string) taskStatus {
	s := taskStatus{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			s[key] = strings.TrimSpace(value)
		}
	}
	return s
}

// confined is what the status of a process must be.
type confined struct {
	caps       uint64 // permitted and effective
	bounding   bool   // may have a bounding set: only who has CAP_SETPCAP can empty it
	noNewPrivs string
	seccomp    string
}

func (c *confined) check(t *testing.T, who string, pid int) {
	t.Helper()
	for _, s := range statusOf(t, pid) {
		want := map[string]string{
			"CapInh": hex(0), "CapPrm": hex(c.caps), "CapEff": hex(c.caps), "CapAmb": hex(0), "CapBnd": hex(0),
			"NoNewPrivs": c.noNewPrivs, "Seccomp": c.seccomp,
		}
		if c.bounding {
			delete(want, "CapBnd")
		}
		for key, value := range want {
			if s[key] != value {
				t.Errorf("%s (process %d, thread %s): %s is %s, want %s", who, pid, s["Pid"], key, s[key], value)
			}
		}
	}
}

func hex(set uint64) string { return fmt.Sprintf("%016x", set) }

// helpers are the processes that a capture has started, by their names.
func helpers(t *testing.T, pid int) map[string]int {
	t.Helper()
	found := map[string]int{}
	list, err := filepath.Glob("/proc/[0-9]*/status")
	must(t, err)
	for _, file := range list {
		text, err := os.ReadFile(file)
		if err != nil || parseStatus(string(text))["PPid"] != strconv.Itoa(pid) {
			continue
		}
		line, _ := os.ReadFile(filepath.Join(filepath.Dir(file), "cmdline"))
		name, _, _ := strings.Cut(string(line), "\x00")
		child, _ := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		found[name] = child
	}
	return found
}

// helper waits until a capture has a process of that name that has given up what it does not need.
func helper(t *testing.T, pid int, name string) int {
	t.Helper()
	found := 0
	until(t, name, func() bool {
		found = helpers(t, pid)[name]
		return found != 0
	})
	return found
}

// settled waits until a helper has given up its rights, which it does beside the capture.
func (c *confined) settled(t *testing.T, pid int) {
	t.Helper()
	until(t, "the helper to give up its rights", func() bool {
		for _, s := range statusOf(t, pid) {
			if s["Seccomp"] != c.seccomp || s["CapEff"] != hex(c.caps) {
				return false
			}
		}
		return true
	})
}

// checkAll checks a capture and all of its helpers.
func (c confined) checkAll(t *testing.T, pid int, names ...string) {
	t.Helper()
	root := statusOf(t, pid)[0]["Uid"][:1] == "0"
	c.check(t, "the capture", pid)
	want := map[string]confined{
		"pcap-guard": {bounding: !root, noNewPrivs: "1", seccomp: "2"},
		"pcap-hook":  {bounding: true, noNewPrivs: "0", seccomp: "0"}, // its commands have all that the caller has
		"pcap-netns": {bounding: !root, noNewPrivs: "1", seccomp: "2"},
	}
	if root {
		hook, netns := want["pcap-hook"], want["pcap-netns"]
		hook.caps, netns.caps = 1<<unix.CAP_KILL, 1<<unix.CAP_SYS_PTRACE
		want["pcap-hook"], want["pcap-netns"] = hook, netns
	}
	for _, name := range names {
		child := helper(t, pid, name)
		one := want[name]
		one.settled(t, child)
		one.check(t, name, child)
	}
	if got := len(helpers(t, pid)); got != len(names) {
		t.Errorf("the capture has started %v, want %v", helpers(t, pid), names)
	}
}

// noted is what a hook notes of itself.
const noteStatus = `cat /proc/self/status >"$PCAPCTL_FILE.hook"; ls -l /proc/self/fd >"$PCAPCTL_FILE.fds"`

// probed is a host whose captures can be asked what they may do.
type probed struct {
	*host
	probe probe
}

func newProbedHost(t *testing.T) *probed {
	t.Helper()
	needSandbox(t)
	h := &probed{host: newHost(t)}
	must(t, os.Chmod(h.path("captures"), 0o755))
	for _, dir := range []string{"outside", "results"} {
		must(t, os.Mkdir(h.path(dir), 0o777))
		must(t, os.Chmod(h.path(dir), 0o777))
	}
	var l net.Listener
	h.Do(func() {
		var err error
		l, err = net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
	})
	t.Cleanup(func() { _ = l.Close() })
	h.probe = probe{Outside: h.path("outside/file"), Connect: l.Addr().String()}
	must(t, os.WriteFile(h.probe.Outside, []byte("secret"), 0o666))
	must(t, os.Chmod(h.probe.Outside, 0o666))
	return h
}

// probing has a command try, when it is asked.
func (h *probed) probing(cmd *exec.Cmd, name string) *exec.Cmd {
	p := h.probe
	p.Result = h.path("results/" + name)
	text, err := json.Marshal(p)
	must(h.t, err)
	cmd.Env = append(slices.Clone(cmd.Env), probeVariable+"="+string(text))
	return cmd
}

// ask asks a capture, which must be refused everything.
func (h *probed) ask(t *testing.T, name string, pid int) {
	t.Helper()
	must(t, syscall.Kill(pid, syscall.SIGUSR1))
	var said map[string]string
	until(t, "the answer from inside", func() bool {
		text, _ := os.ReadFile(h.path("results/" + name))
		return json.Unmarshal(text, &said) == nil
	})
	if len(said) < 9 {
		t.Errorf("only %v was tried", said)
	}
	for what, err := range said {
		if !strings.Contains(err, "permission denied") && !strings.Contains(err, "operation not permitted") {
			t.Errorf("%s: %s", what, err)
		}
	}
}

// asUser is a command of a plain user with no rights at all but those of the program's file.
func (h *probed) asUser(uid int, cmd *exec.Cmd) *exec.Cmd {
	id := strconv.Itoa(uid)
	args := append([]string{"--reuid", id, "--regid", id, "--clear-groups", "--inh-caps=-all", "--ambient-caps=-all", "--", h.path("pcapctl")}, cmd.Args[slices.Index(cmd.Args, h.path("pcapctl"))+1:]...)
	return h.Command("setpriv", args...)
}

// started waits for a capture in the foreground to capture.
type foregroundRun struct {
	cmd      *exec.Cmd
	out, err lockedBuffer
	done     chan struct{}
}

func startForeground(t *testing.T, cmd *exec.Cmd, says string) *foregroundRun {
	t.Helper()
	f := &foregroundRun{cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &f.out, &f.err
	must(t, cmd.Start())
	go func() {
		_ = cmd.Wait()
		close(f.done)
	}()
	t.Cleanup(func() { _ = cmd.Process.Kill() }) // of a test that failed
	until(t, says, func() bool {
		select {
		case <-f.done:
			t.Fatalf("it has ended: %s%s", &f.err, &f.out)
		default:
		}
		return strings.Contains(f.err.String(), says)
	})
	return f
}

// end ends it by SIGTERM, and wants an exit code.
func (f *foregroundRun) end(t *testing.T, code int) string {
	t.Helper()
	_ = f.cmd.Process.Signal(syscall.SIGTERM)
	<-f.done
	if got := f.cmd.ProcessState.ExitCode(); got != code {
		t.Fatalf("exit code %d, want %d: %s%s", got, code, &f.err, &f.out)
	}
	return f.err.String() + f.out.String()
}

// Every kind of capture, while it runs: no thread of it has a capability, and what is tried from inside is refused.
func TestEveryCaptureIsConfined(t *testing.T) {
	const user = 23001
	h := newProbedHost(t)
	must(t, exec.Command("setcap", "cap_net_raw+ep", h.path("pcapctl")).Run())
	theirs := h.path("theirs")
	must(t, os.Mkdir(theirs, 0o755))
	must(t, os.Chown(theirs, user, user))
	theirState := h.path("their-state")
	must(t, os.Mkdir(theirState, 0o700))
	must(t, os.Chown(theirState, user, user))
	ring := []string{"--continuous-capture", "--capture-settings", `{"fileCount":2,"fileSizeInBytes":102400}`}
	// None of what is lost by it is missed: the files of the ring go on, in another user's folder as well.
	full := confined{noNewPrivs: "1", seccomp: "2"}
	override := full
	override.caps = 1 << unix.CAP_DAC_OVERRIDE
	plain := full
	plain.bounding = true
	off := full
	off.seccomp = "0"
	for _, test := range []struct {
		name   string
		flags  []string
		dir    string // captures folder, "" for root's
		user   bool
		status confined
		packed bool // the file is not read here
	}{
		{"pcap", nil, "", false, full, false},
		{"pcapng", []string{"--format", "pcapng"}, "", false, full, true},
		{"zstd", []string{"--compress", "zstd"}, "", false, full, true},
		{"ring", ring, "", false, full, true},
		{"ring-in-the-folder-of-another", ring, theirs, false, override, true},
		{"file-in-the-folder-of-another", nil, theirs, false, full, false},
		{"setcap", nil, theirs, true, plain, false},
		{"setcap-ring", ring, theirs, true, plain, true},
		{"without-landlock-and-seccomp", []string{"--sandbox=off"}, "", false, off, false},
	} {
		for _, background := range []bool{false, true} {
			name := test.name
			if background {
				name += "-background"
			}
			t.Run(name, func(t *testing.T) {
				dir, state := h.path("captures"), h.path("state")
				if test.dir != "" {
					dir = test.dir
				}
				args := append([]string{"create", "-n", name, "-i", "v1", "--captures-dir", dir, "--on-file", noteStatus}, test.flags...)
				if background {
					args = append(args, "--no-wait")
				}
				cmd := h.command(args...)
				if test.user {
					state = theirState
					cmd = h.asUser(user, cmd)
				}
				cmd.Env = append(slices.Clone(h.env), "PCAPCTL_STATE_DIR="+state)
				h.probing(cmd, name)
				var f *foregroundRun
				var pid int
				if background {
					runCmd(t, cmd).want(t, 0, "capturing on v1")
				} else {
					f = startForeground(t, cmd, "capturing on v1")
				}
				text, err := os.ReadFile(filepath.Join(state, name, "record.json"))
				must(t, err)
				var rec struct{ PID int }
				must(t, json.Unmarshal(text, &rec))
				pid = rec.PID
				test.status.checkAll(t, pid, "pcap-guard", "pcap-hook", "pcap-netns")
				if test.status.seccomp == "2" {
					h.ask(t, name, pid)
				}
				const packets = 4000 // more than a ring holds
				h.send(packets)
				show := func(args ...string) outcome {
					cmd := h.command(args...)
					if test.user {
						cmd = h.asUser(user, cmd) // root believes no record of others
					}
					cmd.Env = append(slices.Clone(h.env), "PCAPCTL_STATE_DIR="+state)
					return runCmd(t, cmd)
				}
				until(t, "all packets", func() bool {
					o := show("show-status", name, "--query", "statistics.packetsCaptured")
					return strings.TrimSpace(o.out) == strconv.Itoa(packets)
				})
				test.status.checkAll(t, pid, "pcap-guard", "pcap-hook", "pcap-netns") // of threads that came since, too
				if background {
					show("stop", name).want(t, 0, "4000 packets")
				} else {
					f.end(t, 0)
				}
				o := show("show", name, "-o", "json", "--query", "properties.statistics.{warnings: warnings, sandbox: sandbox, files: files[].path}").want(t, 0, "")
				var end struct {
					Warnings []string
					Sandbox  sandbox.Level
					Files    []string
				}
				must(t, json.Unmarshal([]byte(o.out), &end))
				var kept []string
				if test.status.caps != 0 {
					kept = []string{"CAP_DAC_OVERRIDE"}
				}
				if end.Warnings != nil || !slices.Equal(end.Sandbox.Capabilities, kept) || (end.Sandbox.Landlock > 0) != (test.status.seccomp == "2") {
					t.Errorf("told: %s", o.out)
				}
				last := end.Files[len(end.Files)-1]
				if !test.packed {
					numbers(t, last, packets)
				}
				// The command had what its caller has, and nothing of the sandbox.
				text, err = os.ReadFile(last + ".hook")
				must(t, err)
				hook, me := parseStatus(string(text)), statusOf(t, os.Getpid())[0]
				want := taskStatus{"CapEff": me["CapBnd"], "CapPrm": me["CapBnd"], "CapInh": hex(0), "CapAmb": hex(0), "NoNewPrivs": "0", "Seccomp": me["Seccomp"]}
				if test.user {
					want["CapEff"], want["CapPrm"] = hex(0), hex(0)
				}
				for key, value := range want {
					if hook[key] != value {
						t.Errorf("the command: %s is %s, want %s", key, hook[key], value)
					}
				}
			})
		}
	}
}

// A file is read by a process that has given up everything before the first byte.
func TestReadFileIsConfined(t *testing.T) {
	h := newProbedHost(t)
	in, feed, err := os.Pipe()
	must(t, err)
	defer func() { _, _ = in.Close(), feed.Close() }()
	must(t, os.RemoveAll(h.path("captures"))) // it is made
	cmd := h.probing(h.command("create", "-n", "read", "--read-file", "-"), "read")
	cmd.Stdin = in
	var out, errs lockedBuffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	must(t, cmd.Start())
	pid := cmd.Process.Pid
	full := confined{noNewPrivs: "1", seccomp: "2"}
	until(t, "the process to give up its rights", func() bool { return statusOf(t, pid)[0]["Seccomp"] == "2" })
	full.checkAll(t, pid, "pcap-guard")
	h.ask(t, "read", pid)
	var file bytes.Buffer
	for _, v := range []any{uint32(0xa1b2c3d4), uint16(2), uint16(4), uint64(0), uint32(65535), uint32(1), uint32(1), uint32(0), uint32(60), uint32(60), make([]byte, 60)} {
		must(t, binary.Write(&file, binary.LittleEndian, v))
	}
	_, err = feed.Write(file.Bytes())
	must(t, errors.Join(err, feed.Close()))
	if err := cmd.Wait(); err != nil || !strings.Contains(out.String(), `"packetsCaptured": 1,`) {
		t.Errorf("%v: %s%s", err, &errs, &out)
	}
	// What is refused leaves nothing, the folder included.
	must(t, os.RemoveAll(h.path("captures")))
	must(t, os.WriteFile(h.path("junk"), []byte("junk"), 0o600))
	h.run("create", "-n", "junk", "--read-file", h.path("junk")).want(t, 2, "neither a pcap nor a pcapng file")
	if _, err := os.Stat(h.path("captures")); !errors.Is(err, os.ErrNotExist) {
		t.Error("the captures folder was left behind: ", err)
	}
}

// inspect and validate read a capture when they have given up everything.
func TestReadersAreConfined(t *testing.T) {
	h := newProbedHost(t)
	for name, args := range map[string][]string{"inspect": {"inspect", "-", "--html", h.path("captures/page.html")}, "validate": {"validate", "--read-file", "-"}} {
		t.Run(name, func(t *testing.T) {
			in, feed, err := os.Pipe()
			must(t, err)
			defer func() { _, _ = in.Close(), feed.Close() }()
			cmd := h.probing(h.command(args...), name)
			cmd.Stdin = in
			var errs lockedBuffer
			cmd.Stderr = &errs
			must(t, cmd.Start())
			pid := cmd.Process.Pid
			until(t, "the process to give up its rights", func() bool { return statusOf(t, pid)[0]["Seccomp"] == "2" })
			confined{noNewPrivs: "1", seccomp: "2"}.checkAll(t, pid)
			h.ask(t, name, pid)
			_, err = feed.WriteString("this is no capture, however much of it is read")
			must(t, errors.Join(err, feed.Close()))
			if err := cmd.Wait(); err == nil || !strings.Contains(errs.String(), "neither a pcap nor a pcapng file") {
				t.Errorf("%v: %s", err, &errs)
			}
		})
	}
	if _, err := os.Lstat(h.path("captures/page.html")); !errors.Is(err, os.ErrNotExist) {
		t.Error("a page was left behind: ", err)
	}
}

// A capture to a blob connects to the service and to nobody else, while it runs and while it sends the rest.
func TestBlobCaptureIsConfined(t *testing.T) {
	needSandbox(t)
	for _, test := range []struct {
		name  string
		flags []string
	}{
		{"blob only", nil},
		{"file and blob", []string{"--file-path", "x.cap"}},
		{"ring", []string{"--continuous-capture", "--capture-settings", `{"fileCount":2,"fileSizeInBytes":1024000}`, "--storage-path", ""}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newBlobRig(t)
			var l net.Listener
			r.ns.Do(func() {
				var err error
				l, err = net.Listen("tcp", "127.0.0.1:0")
				must(t, err)
			})
			defer func() { _ = l.Close() }()
			h := &probed{host: &host{NS: r.ns, t: t, dir: r.dir}, probe: probe{Outside: r.path("file"), Connect: l.Addr().String()}}
			must(t, os.Mkdir(r.path("results"), 0o700))
			must(t, os.WriteFile(h.probe.Outside, nil, 0o600))
			cmd := h.probing(&exec.Cmd{Env: r.env}, "blob")
			r.env = cmd.Env
			flags := slices.Clone(test.flags)
			if i := slices.Index(flags, "--storage-path"); i >= 0 {
				flags[i+1] = r.url("captures/ring.cap")
			}
			run := r.capture(flags...)
			pid := run.cmd.Process.Pid
			full := confined{noNewPrivs: "1", seccomp: "2"}
			full.checkAll(t, pid, "pcap-guard", "pcap-netns")
			h.ask(t, "blob", pid)
			r.send(500)
			until(t, "the packets", func() bool {
				o := r.run(0, "show-status", "s", "--query", "statistics.packetsCaptured")
				return strings.TrimSpace(o.out.String()) == "500"
			})
			full.checkAll(t, pid, "pcap-guard", "pcap-netns")
			run.signal(syscall.SIGTERM)
			run.wait(0)
			if st := run.statistics(); len(st.Blobs) == 0 || st.Upload.State != "Complete" || st.Sandbox == nil || st.Sandbox.Programs {
				t.Errorf("%+v", st)
			}
		})
	}
}

// What the caller left open reaches none of the processes that outlive the start, and can be opened by its name.
func TestInheritedDescriptors(t *testing.T) {
	h := newProbedHost(t)
	r, w, err := os.Pipe()
	must(t, err)
	defer func() { _, _ = r.Close(), w.Close() }()
	open := func(pid int) bool {
		links, _ := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
		mine, err := os.Readlink(fmt.Sprintf("/proc/self/fd/%d", w.Fd()))
		must(t, err)
		return slices.ContainsFunc(links, func(link string) bool { to, _ := os.Readlink(link); return to == mine })
	}
	cmd := h.create("fg", "--on-file", noteStatus)
	cmd.ExtraFiles = []*os.File{w, w, w}
	f := startForeground(t, cmd, "capturing on")
	for _, name := range []string{"pcap-guard", "pcap-hook"} {
		if open(helper(t, f.cmd.Process.Pid, name)) {
			t.Errorf("%s has what the caller left open", name)
		}
	}
	f.end(t, 0)
	fds, err := os.ReadFile(h.path("captures/fg.cap.fds"))
	must(t, err)
	if n := strings.Count(string(fds), "->"); n != 4 { // the three, and the folder that ls reads
		t.Errorf("the command was started with\n%s", fds)
	}
	cmd = h.create("bg", "--no-wait")
	cmd.ExtraFiles = []*os.File{w}
	runCmd(t, cmd).want(t, 0, "capturing on")
	if pid := h.pid("bg"); open(pid) || open(helper(t, pid, "pcap-guard")) {
		t.Error("a session in the background has what the caller left open")
	}
	h.run("stop", "bg").want(t, 0, "")

	script := h.Command("bash", "-c", h.path("pcapctl")+` validate -i v1 -f <(echo '{"name":"sub","properties":{"target":"/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm1","storageLocation":{"filePath":"`+h.path("captures/sub.cap")+`"}}}') --query name`)
	script.Env = h.env
	runCmd(t, script).want(t, 0, "sub")
}

// The process that runs commands may be killed: that is told, and holds nobody up.
func TestHookKilled(t *testing.T) {
	h := newProbedHost(t)
	f := startForeground(t, h.create("killed", "--on-file", "true"), "capturing on")
	must(t, syscall.Kill(helper(t, f.cmd.Process.Pid, "pcap-hook"), syscall.SIGKILL))
	h.send(5)
	if said := f.end(t, 0); !strings.Contains(said, "killed.cap: the process that runs such commands has ended") {
		t.Error(said)
	}
	numbers(t, h.path("captures/killed.cap"), 5)
}

// What the kernel tells of interfaces, and what is done on it, needs no right that was given up.
func TestConfinedCaptureFollowsInterfaces(t *testing.T) {
	h := newProbedHost(t)
	named := startForeground(t, h.create("named"), "capturing on")
	byDefault := startForeground(t, h.command("create", "-n", "default"), "capturing on")
	h.send(3)
	h.count("named", 3)
	h.IP("link", "del", "v0") // and v1
	h.Veth("v0", "v1")
	h.Veth("w0", "w1") // joins
	until(t, "both to see what is new", func() bool {
		h.send(1)
		n := h.run("show-status", "named", "--query", "statistics.packetsCaptured").out
		return strings.TrimSpace(n) > "3"
	})
	s := h.Sender("w0")
	until(t, "the default choice to take what came", func() bool {
		s.Send(numbered(0))
		o := h.run("show-status", "default", "--query", "statistics.interfaces[?name=='w1'].name | [0]")
		p, _ := strconv.Atoi(strings.TrimSpace(h.run("show-status", "default", "--query", "statistics.packetsCaptured").out))
		return strings.Contains(o.out, "w1") || p > 10
	})
	named.end(t, 0)
	if said := byDefault.end(t, 0); !strings.Contains(said, "w1 (index") || strings.Contains(said, "is not captured") {
		t.Error(said)
	}
}

// A service manager tells every process of a unit to end (systemd.kill(5)): the helpers stay for as long as the capture
// needs them, and nothing is told as wrong.
func TestEveryProcessIsToldToEnd(t *testing.T) {
	h := newProbedHost(t)
	ns := "pcapctl-term-" + strconv.Itoa(os.Getpid())
	must(t, exec.Command("ip", "netns", "add", ns).Run())
	t.Cleanup(func() { _ = exec.Command("ip", "netns", "del", ns).Run() })
	must(t, exec.Command("ip", "-n", ns, "link", "set", "lo", "up").Run())
	f := startForeground(t, h.command("create", "-n", "unit", "-i", "lo", "--netns", ns, "--file-path", h.path("captures/unit.cap")), "capturing on")
	for _, name := range []string{"pcap-guard", "pcap-netns"} {
		pid := helper(t, f.cmd.Process.Pid, name)
		until(t, name+" to ignore the signal", func() bool {
			ignored, err := strconv.ParseUint(statusOf(t, pid)[0]["SigIgn"], 16, 64)
			return err == nil && ignored&(1<<(syscall.SIGTERM-1)) != 0
		})
		must(t, syscall.Kill(pid, syscall.SIGTERM))
	}
	if said := f.end(t, 0); strings.Contains(said, "warning") {
		t.Error(said)
	}
}

// The end of a namespace is found by a process that may look at others; one that somebody else is in has not ended.
func TestConfinedCaptureInANamespace(t *testing.T) {
	h := newProbedHost(t)
	ns := "pcapctl-end-" + strconv.Itoa(os.Getpid())
	ip := func(args ...string) {
		t.Helper()
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			t.Fatalf("ip %v: %v: %s", args, err, out)
		}
	}
	ip("netns", "add", ns)
	gone := false
	t.Cleanup(func() {
		if !gone {
			_ = exec.Command("ip", "netns", "del", ns).Run()
		}
	})
	ip("-n", ns, "link", "set", "lo", "up")
	// Of another user, whom a process without capabilities cannot look at.
	other := exec.Command("ip", "netns", "exec", ns, "setpriv", "--reuid", "23001", "--regid", "23001", "--clear-groups", "sleep", "600")
	must(t, other.Start())
	defer func() { _, _ = other.Process.Kill(), other.Wait() }()
	id, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", os.Getpid()))
	must(t, err)
	until(t, "the other process", func() bool {
		now, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", other.Process.Pid))
		uid := ""
		if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", other.Process.Pid)); err == nil {
			uid = parseStatus(string(text))["Uid"]
		}
		return now != id && strings.HasPrefix(uid, "23001")
	})
	byName := h.command("create", "-n", "byname", "-i", "lo", "--netns", ns, "--file-path", h.path("captures/byname.cap"))
	f := startForeground(t, byName, "capturing on")
	byProcess := h.command("create", "-n", "byprocess", "-i", "lo", "--netns", strconv.Itoa(other.Process.Pid), "--file-path", h.path("captures/byprocess.cap"))
	g := startForeground(t, byProcess, "capturing on")
	full := confined{noNewPrivs: "1", seccomp: "2"}
	for _, run := range []*foregroundRun{f, g} {
		full.checkAll(t, run.cmd.Process.Pid, "pcap-guard", "pcap-netns")
	}
	ip("netns", "del", ns)
	gone = true
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second) // it is looked every second
	defer cancel()
	select {
	case <-f.done:
		t.Fatalf("the capture has ended though somebody is in the namespace: %s", &f.err)
	case <-g.done:
		t.Fatalf("the capture has ended though somebody is in the namespace: %s", &g.err)
	case <-ctx.Done():
	}
	must(t, other.Process.Kill())
	_ = other.Wait()
	for _, run := range []*foregroundRun{f, g} {
		until(t, "the end of the capture", func() bool {
			select {
			case <-run.done:
				return true
			default:
				return false
			}
		})
		if !strings.Contains(run.out.String(), "NamespaceRemoved") {
			t.Errorf("%s%s", &run.err, &run.out)
		}
	}
}

// A machine without Landlock and seccomp is as one with --sandbox=off: the captures are the same, and only --verbose
// tells.
func TestSandboxIsTold(t *testing.T) {
	needSandbox(t)
	h := newHost(t)
	h.run("validate", "-i", "v1", "--verbose", "-o", "none").want(t, 0, "sandbox: no capabilities, Landlock (version ")
	h.run("validate", "-i", "v1", "--verbose", "-o", "none", "--sandbox", "off").want(t, 0, "sandbox: no capabilities, no Landlock, no seccomp filter")
	if o := h.run("validate", "-i", "v1", "-o", "none", "--sandbox", "off"); strings.Contains(o.err, "andbox") {
		t.Error(o.err)
	}
	h.run("validate", "-i", "v1", "--sandbox", "some").want(t, 2, "allowed: auto, off")
}
