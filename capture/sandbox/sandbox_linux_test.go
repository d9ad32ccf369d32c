package sandbox_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"pcapctl/capture/sandbox"
)

// roleVariable has the test binary be a process that confines itself.
const roleVariable = "SANDBOX_TEST_ROLE"

// role is what such a process does.
type role struct {
	Kind   string // enter, guard, others, commands
	Policy sandbox.Policy
	Tries  []try
}

// try is an attempt from inside.
type try struct{ What, At string }

// report is what it found.
type report struct {
	Level  sandbox.Level
	Tries  []string // errors, "" for none
	Status []map[string]string
	Killed string // error of ending a process that was started before
	Err    string
}

func TestMain(m *testing.M) {
	text := os.Getenv(roleVariable)
	if text == "" {
		os.Exit(m.Run())
	}
	var r role
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		panic(err)
	}
	_ = json.NewEncoder(os.Stdout).Encode(r.play())
}

// play confines the process while many threads run, and tries.
func (r *role) play() (out report) {
	ready, end := make(chan bool), make(chan bool)
	defer close(end)
	for range 8 {
		go func() {
			runtime.LockOSThread()
			ready <- true
			<-end
		}()
		<-ready
	}
	status, err := os.ReadDir("/proc/self/task")
	if err != nil {
		panic(err)
	}
	files := make([]*os.File, len(status))
	for i, task := range status {
		if files[i], err = os.Open("/proc/self/task/" + task.Name() + "/status"); err != nil {
			panic(err)
		}
	}
	child := exec.Command("sleep", "60")
	if err := child.Start(); err != nil {
		panic(err)
	}
	switch r.Kind {
	case "enter":
		out.Level, err = sandbox.Enter(r.Policy)
	case "guard":
		err = sandbox.Guard()
	case "others":
		err = sandbox.LookAtOthers()
	case "commands":
		err = sandbox.StartCommands()
	}
	out.Err = fmt.Sprint(err)
	out.Killed = fmt.Sprint(errors.Join(child.Process.Signal(syscall.SIGSTOP), child.Process.Kill(), ignoreExit(child.Wait())))
	for _, t := range r.Tries {
		// On a thread that there was before as well as on one that comes.
		out.Tries = append(out.Tries, t.do())
	}
	for _, f := range files {
		text := make([]byte, 8192)
		n, _ := f.ReadAt(text, 0)
		if n > 0 {
			out.Status = append(out.Status, parseStatus(string(text[:n])))
		}
	}
	return out
}

// ignoreExit keeps the errors that are not of the process that was waited for.
func ignoreExit(err error) error {
	if _, ok := errors.AsType[*exec.ExitError](err); ok {
		return nil
	}
	return err
}

func parseStatus(text string) map[string]string {
	m := map[string]string{}
	for line := range strings.Lines(text) {
		if key, value, ok := strings.Cut(line, ":"); ok {
			m[key] = strings.TrimSpace(value)
		}
	}
	return m
}

func (t try) do() string {
	var err error
	switch t.What {
	case "read":
		_, err = os.ReadFile(t.At)
		if errors.Is(err, syscall.EISDIR) {
			_, err = os.ReadDir(t.At)
		}
	case "write":
		var f *os.File
		if f, err = os.OpenFile(t.At, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600); err == nil {
			err = errors.Join(f.Truncate(100), f.Close(), os.Rename(t.At, t.At+".moved"), os.Remove(t.At+".moved"))
		}
	case "connect":
		var c net.Conn
		if c, err = net.DialTimeout("tcp", t.At, 5*time.Second); err == nil {
			_ = c.Close()
		}
	case "udp":
		_, err = net.Dial("udp", t.At)
	case "unix":
		kind := map[string]int{"stream": unix.SOCK_STREAM, "datagram": unix.SOCK_DGRAM}[t.At]
		var fd int
		if fd, err = unix.Socket(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC, 0); err == nil {
			_ = unix.Close(fd)
		}
	case "exec":
		err = start(t.At, 0)
	case "signal":
		pid, _ := strconv.Atoi(t.At)
		err = syscall.Kill(pid, 0)
	case "call":
		number, _ := strconv.Atoi(t.At)
		if _, _, errno := syscall.RawSyscall(uintptr(number), ^uintptr(0), 0, 0); errno != 0 { // no descriptor, and no address
			err = errno
		}
	case "type":
		var c byte = 'x'
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(&c))); errno != 0 {
			err = errno
		}
	case "namespace":
		err = start("/bin/true", syscall.CLONE_NEWUSER)
	}
	if err == nil {
		return ""
	}
	return err.Error()
}

// start runs a program and opens nothing for that, not even /dev/null.
func start(path string, flags uintptr) error {
	pid, err := syscall.ForkExec(path, []string{path}, &syscall.ProcAttr{Sys: &syscall.SysProcAttr{Cloneflags: flags}})
	if err == nil {
		_, err = syscall.Wait4(pid, nil, 0, nil)
	}
	return err
}

func play(t *testing.T, r *role, change func(*exec.Cmd)) report {
	t.Helper()
	text, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), roleVariable+"="+string(text))
	cmd.Stderr = os.Stderr
	if change != nil {
		change(cmd)
	}
	said, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var out report
	if err := json.Unmarshal(said, &out); err != nil {
		t.Fatal(err)
	}
	if out.Err != "<nil>" || out.Killed != "<nil>" {
		t.Fatal(out.Err, out.Killed)
	}
	return out
}

// want checks a line of the status of every thread.
func (r *report) want(t *testing.T, key, value string) {
	t.Helper()
	if len(r.Status) < 9 {
		t.Fatalf("%d threads", len(r.Status))
	}
	for i, status := range r.Status {
		if status[key] != value {
			t.Errorf("thread %d: %s is %q, want %q", i, key, status[key], value)
		}
	}
}

const noCapability = "0000000000000000"

func (r *report) wantNoCapabilities(t *testing.T) {
	t.Helper()
	sets := []string{"CapInh", "CapPrm", "CapEff", "CapAmb"}
	if os.Geteuid() == 0 {
		sets = append(sets, "CapBnd")
	}
	for _, set := range sets {
		r.want(t, set, noCapability)
	}
	r.want(t, "NoNewPrivs", "1")
}

func needLandlock(t *testing.T) {
	t.Helper()
	if _, _, errno := syscall.AllThreadsSyscall(unix.SYS_GETPID, 0, 0, 0); errno != 0 {
		t.Skip("this build has cgo, as the race detector's: a system call cannot be made in all threads")
	}
	if l := sandbox.Expect(sandbox.Policy{}); l.Landlock < 4 || !l.Seccomp {
		if os.Getenv("CI") != "" {
			t.Fatal("CI must have a kernel with Landlock (version 4 or later) and seccomp")
		}
		t.Skip("this kernel has no Landlock of version 4, or no seccomp")
	}
}

func listen(t *testing.T) (address string, port uint16) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String(), uint16(l.Addr().(*net.TCPAddr).Port)
}

// What is not in the policy is refused, to every thread; what is in it works.
func TestEnter(t *testing.T) {
	needLandlock(t)
	dir := t.TempDir()
	inside, outside := filepath.Join(dir, "inside"), filepath.Join(dir, "outside")
	secret := filepath.Join(outside, "secret")
	for _, d := range []string{inside, outside} {
		if err := os.Mkdir(d, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.WriteFile(secret, nil, 0o600), os.Symlink(secret, filepath.Join(inside, "link"))); err != nil {
		t.Fatal(err)
	}
	here, port := listen(t)
	elsewhere, _ := listen(t)
	number := strconv.Itoa
	const denied, refused = "permission denied", "operation not permitted"
	for _, test := range []struct {
		name   string
		policy sandbox.Policy
		tries  map[try]string
	}{
		{"nothing", sandbox.Policy{}, map[try]string{
			{"read", secret}: denied, {"read", "/etc/passwd"}: denied, {"write", filepath.Join(inside, "x")}: denied,
			{"read", "/proc/1/status"}: denied, {"read", "/proc/self/status"}: "",
			{"connect", here}: refused, {"udp", here}: refused, {"exec", "/bin/true"}: refused,
			{"signal", number(os.Getpid())}:   refused,
			{"call", number(unix.SYS_PTRACE)}: refused, {"call", number(unix.SYS_MOUNT)}: refused, {"call", number(unix.SYS_BPF)}: refused,
			{"call", number(unix.SYS_KEYCTL)}: refused, {"call", number(unix.SYS_INIT_MODULE)}: refused, {"call", number(unix.SYS_PERF_EVENT_OPEN)}: refused,
			{"call", number(unix.SYS_SETNS)}: refused, {"call", number(unix.SYS_UNSHARE)}: refused, {"call", number(unix.SYS_IO_URING_SETUP)}: refused,
			{"call", number(unix.SYS_CLONE3)}: "function not implemented", {"call", number(unix.SYS_GETPID)}: "",
			{"namespace", ""}: refused, {"type", ""}: refused,
			// Who owns a file could open it to everybody, and Landlock does not look at that.
			{"call", number(unix.SYS_FCHMOD)}: refused, {"call", number(unix.SYS_FCHMODAT)}: refused, {"call", number(unix.SYS_FCHMODAT2)}: refused,
			{"call", number(unix.SYS_FCHOWN)}: refused, {"call", number(unix.SYS_FCHOWNAT)}: refused, {"call", number(unix.SYS_SETXATTR)}: refused,
			{"call", number(unix.SYS_FSETXATTR)}: refused, {"call", number(unix.SYS_REMOVEXATTR)}: refused,
			// Services of the machine, of which some obey root.
			{"unix", "stream"}: refused, {"unix", "datagram"}: refused,
		}},
		{"a folder", sandbox.Policy{Folders: []sandbox.Folder{{Path: inside, Changes: true}, {Path: dir + "/absent"}}}, map[try]string{
			{"write", filepath.Join(inside, "x")}: "", {"read", inside}: "", {"read", filepath.Join(inside, "link")}: denied,
			{"write", filepath.Join(outside, "x")}: denied, {"read", secret}: denied, {"exec", "/bin/true"}: refused,
			{"read", "/etc/resolv.conf"}: denied,
		}},
		{"a port", sandbox.Policy{Ports: []uint16{port}}, map[try]string{
			{"connect", here}: "", {"connect", elsewhere}: denied, {"udp", here}: "", {"exec", "/bin/true"}: refused,
			{"read", secret}: denied, {"read", "/etc/hosts"}: "", {"write", "/etc/hosts.new"}: denied,
			{"call", number(unix.SYS_LISTEN)}: refused,
		}},
		{"programs", sandbox.Policy{Ports: []uint16{port}, Programs: true}, map[try]string{
			{"connect", here}: "", {"connect", elsewhere}: denied, {"exec", "/bin/true"}: "", {"read", secret}: "",
			{"call", number(unix.SYS_PTRACE)}: refused, {"namespace", ""}: refused,
		}},
		{"off", sandbox.Policy{Off: true}, map[try]string{
			{"connect", here}: "", {"exec", "/bin/true"}: "", {"read", secret}: "", {"type", ""}: "inappropriate ioctl",
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &role{Kind: "enter", Policy: test.policy}
			for what := range test.tries {
				r.Tries = append(r.Tries, what)
			}
			out := play(t, r, nil)
			for i, what := range r.Tries {
				if want := test.tries[what]; want == "" != (out.Tries[i] == "") || !strings.Contains(out.Tries[i], want) {
					t.Errorf("%s %s: %q, want %q", what.What, what.At, out.Tries[i], want)
				}
			}
			out.wantNoCapabilities(t)
			seccomp := "2"
			if test.policy.Off {
				seccomp = "0"
			}
			out.want(t, "Seccomp", seccomp)
			if l := out.Level; len(l.Capabilities) != 0 || l.Seccomp == test.policy.Off || l.Landlock > 0 == test.policy.Off {
				t.Errorf("%+v", l)
			}
		})
	}
}

// Only a service manager is told something, by datagrams.
func TestServiceManagerIsTold(t *testing.T) {
	needLandlock(t)
	for _, socket := range []string{"/run/systemd/notify", "@notify"} {
		r := &role{Kind: "enter", Tries: []try{{"unix", "datagram"}, {"unix", "stream"}, {"udp", "127.0.0.1:9"}}}
		out := play(t, r, func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "NOTIFY_SOCKET="+socket) })
		if out.Tries[0] != "" || out.Tries[1] == "" || out.Tries[2] == "" {
			t.Errorf("%s: %q", socket, out.Tries)
		}
	}
}

// Each process of a capture has what it needs and no more.
func TestRoles(t *testing.T) {
	needLandlock(t)
	self := &role{Kind: "guard", Tries: []try{{"read", "/etc/passwd"}, {"exec", "/bin/true"}}}
	out := play(t, self, nil)
	out.wantNoCapabilities(t)
	out.want(t, "Seccomp", "2")
	if slices.Contains(out.Tries, "") {
		t.Errorf("a guard may: %q", out.Tries)
	}

	out = play(t, &role{Kind: "others", Tries: []try{{"read", "/proc/1/status"}, {"exec", "/bin/true"}, {"udp", "127.0.0.1:9"}}}, nil)
	kept := noCapability
	if os.Geteuid() == 0 {
		kept = fmt.Sprintf("%016x", 1<<unix.CAP_SYS_PTRACE)
	}
	out.want(t, "CapPrm", kept)
	out.want(t, "CapEff", kept)
	out.want(t, "Seccomp", "2")
	if out.Tries[0] != "" || out.Tries[1] == "" || out.Tries[2] == "" {
		t.Errorf("%q", out.Tries)
	}

	out = play(t, &role{Kind: "commands", Tries: []try{{"exec", "/bin/true"}}}, nil)
	kept = noCapability
	if os.Geteuid() == 0 {
		kept = fmt.Sprintf("%016x", 1<<unix.CAP_KILL)
	}
	out.want(t, "CapPrm", kept)
	out.want(t, "CapEff", kept)
	out.want(t, "NoNewPrivs", "0")
	out.want(t, "Seccomp", "0")
	if out.Tries[0] != "" {
		t.Errorf("%q", out.Tries)
	}
}

// Root without capabilities cannot write into the folder of another user: there it
// keeps the one that it needs, and only there.
func TestKeepsWhatFoldersNeed(t *testing.T) {
	needLandlock(t)
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	mine, other := t.TempDir(), t.TempDir()
	if err := os.Chown(other, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(other, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		folders []sandbox.Folder
		kept    string
	}{
		{"one's own", []sandbox.Folder{{Path: mine, Changes: true}}, noCapability},
		{"another's, only looked at", []sandbox.Folder{{Path: other}}, noCapability},
		{"another's", []sandbox.Folder{{Path: mine, Changes: true}, {Path: other, Changes: true}}, fmt.Sprintf("%016x", 1<<unix.CAP_DAC_OVERRIDE)},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &role{Kind: "enter", Policy: sandbox.Policy{Folders: test.folders}, Tries: []try{{"read", "/etc/shadow"}}}
			for _, f := range test.folders {
				if f.Changes {
					r.Tries = append(r.Tries, try{"write", filepath.Join(f.Path, "x")})
				}
			}
			out := play(t, r, nil)
			for i, err := range out.Tries {
				if (err == "") != (i > 0) {
					t.Errorf("%v: %q", r.Tries[i], err)
				}
			}
			out.want(t, "CapPrm", test.kept)
			out.want(t, "CapEff", test.kept)
			for _, set := range []string{"CapInh", "CapBnd", "CapAmb"} {
				out.want(t, set, noCapability)
			}
			var want []string
			if test.kept != noCapability {
				want = []string{"CAP_DAC_OVERRIDE"}
			}
			if !slices.Equal(out.Level.Capabilities, want) {
				t.Errorf("told: %q", out.Level.Capabilities)
			}
			if before := sandbox.Expect(r.Policy); !slices.Equal(before.Capabilities, want) || before.Landlock != out.Level.Landlock {
				t.Errorf("expected %+v, reached %+v", before, out.Level)
			}
		})
	}
}

// A process keeps what it was started with and hands it on to nobody.
func TestKeepDescriptors(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = r.Close(), w.Close() }()
	fd, err := unix.FcntlInt(w.Fd(), unix.F_DUPFD, 50) // not close-on-exec, as a shell leaves it
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	sandbox.KeepDescriptors()
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("flags %d, %v", flags, err)
	}
	if f, err := os.OpenFile(fmt.Sprintf("/dev/fd/%d", fd), os.O_WRONLY, 0); err != nil {
		t.Error(err)
	} else {
		_ = f.Close()
	}
}
