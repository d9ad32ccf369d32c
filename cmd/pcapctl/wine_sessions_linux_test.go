package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"pcapctl/capture"
	"pcapctl/capture/testnet"
	"pcapctl/capture/testwine"
)

// buildForWindows builds the program for Windows, with what Wine 8 needs to remove files.
var buildForWindows = sync.OnceValues(func() (string, error) {
	flags, err := exec.Command("go", "run", "pcapctl/capture/testwine/winerun").Output()
	if err != nil {
		return "", fmt.Errorf("winerun: %w", err)
	}
	dir, err := os.MkdirTemp("", "pcapctl-windows-")
	if err != nil {
		return "", err
	}
	program := filepath.Join(dir, "pcapctl.exe")
	overlay, _, _ := strings.Cut(string(flags), " ")
	build := exec.Command("go", "build", overlay, "-o", program, ".")
	build.Env = append(os.Environ(), "GOOS=windows", "GOARCH=amd64", "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, said)
	}
	return program, nil
})

// windows is a Windows for a test, in a network with v0 and v1 connected.
type windows struct {
	*testnet.NS
	*testwine.Prefix
	t       *testing.T
	program string
}

func newWindows(t *testing.T) *windows {
	t.Helper()
	testnet.Need(t, "ip")
	ns := testnet.New(t)
	ns.Veth("v0", "v1")
	w := &windows{ns, testwine.New(t, ns.Command), t, ""}
	var err error
	w.program, err = buildForWindows()
	must(t, err)
	return w
}

// pcapctl is the program, which has its sessions in C:\state.
func (w *windows) pcapctl(args ...string) *exec.Cmd {
	cmd := w.Prefix.Command(w.program, args...)
	cmd.Env = append(cmd.Env, `PCAPCTL_STATE_DIR=C:\state`, `PCAPCTL_CAPTURES_DIR=C:\Captures`)
	return cmd
}

// run runs it. What it says goes to files: a pipe stays open for as long as its worker and its guard, to which Wine hands
// the descriptors on.
func (w *windows) run(args ...string) outcome {
	w.t.Helper()
	cmd := w.pcapctl(args...)
	said := func(to *io.Writer) func() string {
		f, err := os.CreateTemp(w.t.TempDir(), "")
		must(w.t, err)
		*to = f
		return func() string {
			text, err := os.ReadFile(f.Name())
			must(w.t, errors.Join(err, f.Close()))
			return string(text)
		}
	}
	out, errs := said(&cmd.Stdout), said(&cmd.Stderr)
	err := cmd.Run()
	if _, ok := errors.AsType[*exec.ExitError](err); err != nil && !ok {
		w.t.Fatal(err)
	}
	return outcome{cmd.ProcessState.ExitCode(), out(), errs()}
}

// status is what show-status says.
func (w *windows) status(name string) (status struct {
	PacketCaptureStatus string
	PacketCaptureError  []string
	StopReason          capture.StopReason
	Message             string
	Statistics          capture.Statistics
}) {
	w.t.Helper()
	text := w.run("show-status", name).want(w.t, 0, "").out
	if err := json.Unmarshal([]byte(text), &status); err != nil {
		w.t.Fatalf("%v: %s", err, text)
	}
	return status
}

// send sends numbered frames.
func (w *windows) send(n int) {
	w.t.Helper()
	s := w.Sender("v0")
	for i := range n {
		s.Send(numbered(i))
	}
}

// counted waits until the session has counted n packets.
func (w *windows) counted(name string, n uint64) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		got := w.status(name).Statistics.PacketsCaptured
		if got == n {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%d packets counted, want %d", got, n)
		}
	}
}

// processes are those of this Windows whose command line begins so, as Linux knows them.
func (w *windows) processes(begin ...string) (pids []int) {
	w.t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*")
	must(w.t, err)
	for _, p := range all {
		line, _ := os.ReadFile(p + "/cmdline")
		env, _ := os.ReadFile(p + "/environ")
		if !strings.HasPrefix(string(line), strings.Join(begin, "\x00")+"\x00") || !strings.Contains(string(env), "WINEPREFIX="+filepath.Dir(w.C(""))+"\x00") {
			continue
		}
		var pid int
		if _, err := fmt.Sscan(filepath.Base(p), &pid); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// end ends processes at once, in that moment all of them.
func (w *windows) end(pids ...int) {
	w.t.Helper()
	for _, pid := range pids {
		must(w.t, syscall.Kill(pid, syscall.SIGKILL))
	}
	for _, pid := range pids {
		for deadline := time.Now().Add(time.Minute); syscall.Kill(pid, 0) == nil; time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				w.t.Fatalf("process %d does not end", pid)
			}
		}
	}
}

// A session of Windows in the background has its whole life: it is begun, seen, refused a second time, stopped, waited for and
// deleted; one is killed, one is killed with its guard, and one is ended by Ctrl-C.
func TestSessionsOnWindows(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program for Windows, and starts it some forty times")
	}
	t.Parallel()
	w := newWindows(t)
	create := []string{"create", "--no-wait", "-i", "v1"}

	w.run(append(create, "-n", "one")...).want(t, 0, `"packetCaptureStatus": "Running"`)
	w.run(append(create, "-n", "ONE")...).want(t, 5, "exists")
	w.run(append(create, "-n", "other", "--file-path", `C:\Captures\one.cap`)...).want(t, 5, "exists") // as its worker tells
	w.run("list", "--query", "length(value)").want(t, 0, "1")
	w.send(7)
	w.counted("one", 7)
	w.run("delete", "one").want(t, 5, "still capturing")
	w.run("wait", "one", "--timeout", "0").want(t, 10, "")
	w.run("stop", "one").want(t, 0, "stopped one (Manual): 7 packets")
	w.run("wait", "one").want(t, 0, "")
	numbers(t, w.C(`Captures\one.cap`), 7)
	if s := w.status("one"); s.PacketCaptureStatus != capture.StatusStopped || s.StopReason != capture.Manual {
		t.Errorf("%+v", s)
	}
	w.run("delete", "one").want(t, 0, "deleted one")
	w.run("show", "one").want(t, 4, "no such session")

	for name, guarded := range map[string]bool{"killed": true, "unguarded": false} {
		w.run(append(create, "-n", name)...).want(t, 0, "")
		w.send(5)
		w.counted(name, 5)
		workers, guards := w.processes("pcapctl", "worker", name), w.processes("pcap-guard")
		if len(workers) != 1 || len(guards) != 1 {
			t.Fatalf("%s: workers %v, guards %v", name, workers, guards)
		}
		if guarded {
			guards = nil
		}
		w.end(append(guards, workers...)...)
		w.run("wait", name).want(t, 6, "was killed or has crashed")
		if s := w.status(name); s.PacketCaptureStatus != capture.StatusError || len(s.PacketCaptureError) != 1 || s.PacketCaptureError[0] != "AgentStopped" || s.Statistics.PacketsCaptured != 5 {
			t.Errorf("%s: %+v", name, s)
		}
		numbers(t, w.C(`Captures\`+name+".cap"), 5)
		w.run("stop", name).want(t, 0, "had already ended")
		w.run("delete", name).want(t, 0, "deleted "+name)
	}

	here := startForeground(t, w.pcapctl("create", "-i", "v1", "-n", "here"), "capturing on v1")
	w.send(3)
	w.counted("here", 3)
	must(t, here.cmd.Process.Signal(os.Interrupt)) // of which Wine makes Ctrl-C
	<-here.done
	if text := here.err.String(); here.cmd.ProcessState.ExitCode() != 0 || !strings.Contains(text, "stopping; once more to leave at once") || !strings.Contains(text, "ended (Manual): 3 packets") {
		t.Errorf("exit code %d: %s", here.cmd.ProcessState.ExitCode(), text)
	}
	numbers(t, w.C(`Captures\here.cap`), 3)
	w.run("show", "here", "--query", "properties.stopReason").want(t, 0, `"Manual"`)
	w.run("delete", "--ended").want(t, 0, "here")
	if left := w.processes("pcap-guard"); len(left) > 0 {
		t.Errorf("guards left: %v", left)
	}
}
