package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"pcapctl/capture/testnet"
)

// The test binary is the program as well: testscript runs it as `pcapctl`, and
// it runs itself as the guard of its files.
func TestMain(m *testing.M) {
	if beHelper() {
		return
	}
	// The tests spend their time waiting for programs. -parallel has the last word.
	_ = flag.Set("test.parallel", strconv.Itoa(max(4, runtime.GOMAXPROCS(0))))
	testscript.Main(m, map[string]func(){"pcapctl": programWithProbe, "send": send, "mkpcap": makeCapture, "docs-pcapctl": docsProgram, "hold-lock": holdLock, "inject": launch})
}

// TestScripts runs testdata/script/*.txtar, on Windows testdata/windows/*.txtar. Besides testscript's own commands
// there are `code N program …` (runs a program and wants exit code N), `newnet`
// (a network namespace $NETNS with v0 and v1 connected) and `captdir` (makes
// the captures folder $CAPTURES).
func TestScripts(t *testing.T) {
	t.Parallel()
	dir := "testdata/script"
	if runtime.GOOS == "windows" { // with the paths of Linux the others have little to say there
		dir = "testdata/windows"
	}
	testscript.Run(t, testscript.Params{
		Dir:                 dir,
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup:               setupScript,
		Condition:           condition,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code":    runForCode,
			"newnet":  newNet,
			"captdir": capturesDir,
			"waitfor": waitFor,
			"whole":   wholeFile,
			"fill":    fillIn,
		},
	})
}

// setupScript gives a script a captures and a state folder of its own, and no
// configuration of the machine's.
func setupScript(env *testscript.Env) error {
	for key, dir := range map[string]string{
		"PCAPCTL_CAPTURES_DIR": "captures", "PCAPCTL_STATE_DIR": "state", "XDG_CONFIG_HOME": "config",
	} {
		env.Setenv(key, filepath.Join(env.WorkDir, dir))
	}
	env.Setenv("GORACE", "atexit_sleep_ms=0") // a second at each exit of the program else
	env.Setenv("CAPTURES", filepath.Join(env.WorkDir, "captures"))
	return nil
}

func condition(cond string) (bool, error) {
	if cond == "root" {
		if os.Getuid() != 0 && os.Getenv("CI") != "" {
			return false, fmt.Errorf("CI must run the tests as root")
		}
		return os.Getuid() == 0, nil
	}
	if tool, ok := strings.CutPrefix(cond, "has:"); ok {
		_, err := exec.LookPath(tool)
		if err != nil && os.Getenv("CI") != "" {
			return false, fmt.Errorf("CI must have %s: %w", tool, err)
		}
		return err == nil, nil
	}
	return false, fmt.Errorf("unknown condition %q", cond)
}

// runForCode is `code N program args…`: the program must end with exit code N.
func runForCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N program [arg…]")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		exit, ok := err.(*exec.ExitError) //nolint:errorlint // testscript returns it unwrapped
		if !ok {
			ts.Fatalf("%s: %v", args[1], err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// newNet makes a network namespace that ends with the script: $NETNS, with v0
// and v1 connected. Nothing in it speaks by itself.
func newNet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: newnet")
	}
	name := fmt.Sprintf("pcapctl-script-%d-%s", os.Getpid(), filepath.Base(ts.Getenv("WORK")))
	name = name[:min(len(name), 60)]
	ts.Check(ts.Exec("ip", "netns", "add", name))
	ts.Defer(func() { _ = exec.Command("ip", "netns", "del", name).Run() })
	ts.Setenv("NETNS", name)
	ts.Check(ts.Exec("ip", "netns", "exec", name, "sh", "-c",
		"for c in all default; do echo 1 > /proc/sys/net/ipv6/conf/$c/disable_ipv6; done"))
	for _, line := range []string{
		"link set lo up", "link add v0 type veth peer name v1",
		"link set v0 arp off multicast off up", "link set v1 arp off multicast off up",
	} {
		ts.Check(ts.Exec("ip", append([]string{"-n", name}, strings.Fields(line)...)...))
	}
	ts.Check(testnet.WaitUntilUp(name, "v0", "v1"))
}

// waitFor is `waitfor FILE TEXT`: wait until a file has the text in it.
func waitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: waitfor file text")
	}
	path := ts.MkAbs(args[0])
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		if text, err := os.ReadFile(path); err == nil && bytes.Contains(text, []byte(args[1])) {
			return
		}
	}
	text, err := os.ReadFile(path)
	ts.Fatalf("no %q in %s after ten seconds: %v\n%s", args[1], args[0], err, text)
}

// wholeFile is `whole FILE [PACKETS]`: tcpdump and capinfos read the file to
// its end without a complaint, and it has that many packets.
func wholeFile(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 1 || len(args) > 2 {
		ts.Fatalf("usage: whole file [packets]")
	}
	path := ts.MkAbs(args[0])
	for _, cmd := range [][]string{{"tcpdump", "-nr", path, "-w", os.DevNull}, {"capinfos", "-c", "-M", path}} {
		out, err := exec.Command(cmd[0], cmd[1:]...).CombinedOutput()
		if err != nil || bytes.Contains(out, []byte("truncated")) || bytes.Contains(out, []byte("cut short")) {
			ts.Fatalf("%s: %v\n%s", strings.Join(cmd, " "), err, out)
		}
		if words := strings.Fields(string(out)); len(args) == 2 && cmd[0] == "capinfos" && words[len(words)-1] != args[1] {
			ts.Fatalf("want %s packets: %s", args[1], out)
		}
	}
}

// fillIn is `fill FILE…`: put the script's variables, written as $NAME, into
// files of the script.
func fillIn(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: fill file…")
	}
	for _, file := range args {
		path := ts.MkAbs(file)
		text, err := os.ReadFile(path)
		ts.Check(err)
		ts.Check(os.WriteFile(path, []byte(os.Expand(string(text), ts.Getenv)), 0o600))
	}
}

// capturesDir makes the captures folder, for scripts that plant something in
// it before the program does.
func capturesDir(ts *testscript.TestScript, _ bool, _ []string) {
	ts.Check(os.MkdirAll(ts.Getenv("CAPTURES"), 0o700))
}

// run is the program within this process, which keeps its rights.
func run(args []string, in io.Reader, out, errs io.Writer) int {
	return (&app{args: args, in: in, out: out, err: errs}).run()
}
