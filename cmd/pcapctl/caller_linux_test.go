package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"pcapctl/capture/testnet"
)

// The machine's configuration file is root's and has one place. Only this build of the
// program, which is the tests', can be told of another.
func init() {
	if file := os.Getenv("TEST_SYSTEM_CONFIG"); file != "" {
		systemConfig = file
	}
}

// A user whom the machine does not know, and who may do no more than everybody.
const someUser, someGroup = 54321, 54322

// sudoers is a folder with the program in it, which everybody may enter, and what root
// and others have put there.
type sudoers struct {
	*host
	secret string // the path of a file that is root's alone
}

const secretText = "hunter2-hidden"

func newSudoers(t *testing.T) *sudoers {
	t.Helper()
	testnet.Need(t, "setpriv")
	dir := outside(t)
	must(t, os.Chmod(dir, 0o755))
	h := &host{t: t, dir: dir}
	h.install()
	for _, folder := range []string{"captures", "state", "config", "config/pcapctl"} {
		must(t, os.Mkdir(h.path(folder), 0o755))
	}
	must(t, os.Chmod(h.path("captures"), 0o700))
	h.env = append(environ(), "PCAPCTL_CAPTURES_DIR="+h.path("captures"), "PCAPCTL_STATE_DIR="+h.path("state"),
		"XDG_CONFIG_HOME="+h.path("config"), "TEST_SYSTEM_CONFIG="+h.path("system.yaml"), "GORACE=atexit_sleep_ms=0")
	s := &sudoers{h, h.path("secret")}
	s.file("secret", secretText+": {", 0o600)
	must(t, writeCapture(h.path("in.cap"), "ethernet", "3"))
	must(t, os.Chmod(h.path("in.cap"), 0o644))
	return s
}

func (s *sudoers) file(name, text string, mode fs.FileMode) string {
	s.t.Helper()
	path := s.path(name)
	must(s.t, os.WriteFile(path, []byte(text), mode))
	must(s.t, os.Chmod(path, mode)) // whatever the umask
	return path
}

// program is the program as root that nobody else has called.
func (s *sudoers) program(args ...string) *exec.Cmd {
	cmd := exec.Command(s.path("pcapctl"), args...)
	cmd.Env, cmd.Dir = s.env, s.dir
	return cmd
}

// sudo is the program as root that a user has called.
func (s *sudoers) sudo(args ...string) *exec.Cmd {
	cmd := s.program(args...)
	cmd.Env = append(slices.Clip(cmd.Env), fmt.Sprintf("SUDO_UID=%d", someUser), fmt.Sprintf("SUDO_GID=%d", someGroup))
	return cmd
}

func with(cmd *exec.Cmd, env ...string) *exec.Cmd {
	cmd.Env = append(slices.Clip(cmd.Env), env...)
	return cmd
}

// carve makes a capture of a file, with a name that is not taken.
func (s *sudoers) carve(more ...string) []string {
	return append([]string{"create", "--read-file", s.path("in.cap"), "--file-path", s.path("captures/" + strings.ToLower(randomName()) + ".cap")}, more...)
}

func randomName() string { return "n" + strconv.FormatInt(time.Now().UnixNano(), 36) }

// ran tells whether the command for a file has run.
func (s *sudoers) ran() bool {
	_, err := os.Stat(s.path("ran"))
	_ = os.Remove(s.path("ran"))
	return err == nil
}

// A configuration file that somebody else could have written has no say, wherever on
// the way to it he could have done that, and that is said. One that was named is
// refused.
func TestConfigurationOfOthers(t *testing.T) {
	t.Parallel()
	s := newSudoers(t)
	text := "on-file: touch " + s.path("ran") + "\n"
	config := s.file("config/pcapctl/config.yaml", text, 0o644)
	runCmd(t, s.program(s.carve()...)).want(t, 0, "")
	if !s.ran() {
		t.Fatal("root's own configuration has no say: this test shows nothing")
	}
	for _, test := range []struct {
		name       string
		spoil      func() error
		mend       func() error
		says       string
		ofSomeUser bool
	}{
		{"everybody may write to it", func() error { return os.Chmod(config, 0o666) }, func() error { return os.Chmod(config, 0o644) }, "chmod go-w", false},
		{"it belongs to another", func() error { return os.Chown(config, someUser, 0) }, func() error { return os.Chown(config, 0, 0) }, "belongs to the user id 54321", true},
		{"its folder belongs to another", func() error { return os.Chown(s.path("config"), someUser, 0) }, func() error { return os.Chown(s.path("config"), 0, 0) }, "belongs to the user id 54321", true},
		{"everybody may write to its folder", func() error { return os.Chmod(s.path("config/pcapctl"), 0o777) }, func() error { return os.Chmod(s.path("config/pcapctl"), 0o755) }, "chmod go-w", false},
	} {
		must(t, test.spoil())
		for name, cmd := range map[string]*exec.Cmd{"root": s.program(s.carve()...), "under sudo": s.sudo(s.carve()...)} {
			o := runCmd(t, cmd)
			if o.code != 0 || s.ran() || !strings.Contains(o.err, "a configuration file is not read") || !strings.Contains(o.err, test.says) {
				t.Errorf("%s, %s: %+v", test.name, name, o)
			}
		}
		for name, cmd := range map[string]*exec.Cmd{"--config": s.program(s.carve("--config", config)...), "PCAPCTL_CONFIG": with(s.program(s.carve()...), "PCAPCTL_CONFIG="+config)} {
			o := runCmd(t, cmd)
			if o.code != 3 || s.ran() || !strings.Contains(o.err, "not believed") || !strings.Contains(o.err, test.says) {
				t.Errorf("%s, %s: %+v", test.name, name, o)
			}
		}
		// Whoever names his own file under sudo could as well give the same by flags.
		if o := runCmd(t, s.sudo(s.carve("--config", config)...)); test.ofSomeUser != (o.code == 0) || test.ofSomeUser != s.ran() {
			t.Errorf("%s, --config under sudo: %+v", test.name, o)
		}
		must(t, test.mend())
	}
}

// Under sudo no flag shows anything of a file that the user who called could not
// read, neither in a message nor in a result, and his own files are read.
func TestSudoReadsNoFileOfOthers(t *testing.T) {
	t.Parallel()
	s := newSudoers(t)
	must(t, os.Mkdir(s.path("private"), 0o700))
	must(t, os.Symlink(s.secret, s.path("link")))
	s.file("secret.yaml", secretText+": [", 0o600)
	s.file("private/secret.yaml", secretText+": [", 0o644)
	s.file("readable.json", `{"properties": {"`+secretText+`": 1}}`, 0o644)
	s.file("filters.json", `[{"protocol": "TCP"}]`, 0o644)
	for _, file := range []string{s.secret, s.path("link"), s.path("secret.yaml"), s.path("private/secret.yaml")} {
		for name, args := range map[string][]string{
			"-f":                 {"-f", file},
			"--filters":          {"--filters", "@" + file},
			"--storage-location": {"--storage-location", "@" + file},
			"--scope":            {"--scope", "@" + file},
			"--capture-settings": {"--capture-settings", "@" + file, "--continuous-capture", "true"},
			"--config":           {"--config", file},
			"--read-file":        {"--read-file", file},
		} {
			for _, verb := range []string{"validate", "create"} {
				o := runCmd(t, s.sudo(append([]string{verb, "-i", "lo", "--time-limit", "1"}, args...)...))
				if name == "--read-file" { // it does not go with an interface
					o = runCmd(t, s.sudo(append([]string{verb}, args...)...))
				}
				if o.code != 3 || strings.Contains(o.out+o.err, secretText) || !strings.Contains(o.err, "permission denied") {
					t.Errorf("%s %s %s: %+v", verb, name, file, o)
				}
			}
		}
		o := runCmd(t, with(s.sudo("upload", file, "--storage-path", "http://127.0.0.1:1/pcstore/captures/x.cap"), "AZURE_STORAGE_KEY=a2V5", "PCAPCTL_BLOB_ENDPOINT=http://127.0.0.1:1/pcstore"))
		if o.code != 3 || strings.Contains(o.out+o.err, secretText) || !strings.Contains(o.err, "permission denied") {
			t.Errorf("upload %s: %+v", file, o)
		}
		o = runCmd(t, s.sudo("inspect", file))
		if o.code != 3 || strings.Contains(o.out+o.err, secretText) || !strings.Contains(o.err, "permission denied") {
			t.Errorf("inspect %s: %+v", file, o)
		}
	}
	// Nor does a page come where only root may write.
	o := runCmd(t, s.sudo("inspect", s.path("in.cap"), "--html", s.path("private/page.html")))
	o.want(t, 3, "permission denied")
	if _, err := os.Lstat(s.path("private/page.html")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the page is there: %v", err)
	}
	// The same as root that nobody else has called reads them, and says what is wrong.
	runCmd(t, s.program("validate", "-f", s.secret)).want(t, 2, secretText)
	// And his own are read.
	runCmd(t, s.sudo("validate", "-f", s.path("readable.json"))).want(t, 2, secretText)
	runCmd(t, s.sudo("validate", "-i", "lo", "--filters", "@"+s.path("filters.json"))).want(t, 0, `"TCP"`)
	runCmd(t, s.sudo("validate", "--read-file", s.path("in.cap"))).want(t, 0, "pcap")
	// A shell opens what it redirects as the user himself.
	cmd := s.sudo("validate", "-f", "-", "-i", "lo")
	cmd.Stdin = strings.NewReader("{}")
	runCmd(t, cmd).want(t, 2, "properties")
}

// Captures that root has made in this machine's captures folder are read under sudo,
// and those that only seem to lie there are not.
func TestSudoReadsCapturesOfRoot(t *testing.T) {
	t.Parallel()
	s := newSudoers(t)
	s.file("system.yaml", "captures-dir: "+s.path("captures")+"\n", 0o600)
	runCmd(t, s.sudo(s.carve()...)).want(t, 0, "3 of 3 packets")
	made, err := filepath.Glob(s.path("captures/*.cap"))
	must(t, err)
	st, err := os.Stat(made[0])
	must(t, err)
	if st.Mode().Perm() != 0o600 || st.Sys().(*syscall.Stat_t).Uid != 0 {
		t.Errorf("the capture is %v", st)
	}
	runCmd(t, s.sudo("validate", "--read-file", made[0])).want(t, 0, made[0])
	runCmd(t, s.sudo("create", "--read-file", made[0], "--file-path", s.path("captures/carved.cap.gz"))).want(t, 0, "3 of 3 packets")
	must(t, os.Mkdir(s.path("elsewhere"), 0o700))
	must(t, os.Rename(made[0], s.path("elsewhere/x.cap")))
	for _, path := range []string{s.path("elsewhere/x.cap"), s.path("captures/../elsewhere/x.cap"), s.secret} {
		runCmd(t, s.sudo("validate", "--read-file", path)).want(t, 3, "permission denied")
		// The folder is the machine's, and not the one of a flag.
		runCmd(t, s.sudo("validate", "--read-file", path, "--captures-dir", s.path("elsewhere"))).want(t, 3, "permission denied")
	}
	must(t, os.Chown(s.path("captures"), someUser, 0))
	must(t, os.Symlink(s.path("elsewhere/x.cap"), s.path("captures/y.cap")))
	runCmd(t, s.sudo("validate", "--read-file", s.path("captures/y.cap"))).want(t, 3, "permission denied")
}

// What the machine's configuration forbids those who run pcapctl as root, nothing that
// they give allows.
func TestPolicyOfTheMachine(t *testing.T) {
	t.Parallel()
	s := newSudoers(t)
	touch := "touch " + s.path("ran")
	own := s.file("own.yaml", "on-file: "+touch+"\nspool-dir: "+s.path("elsewhere")+"\n", 0o644)
	must(t, os.Mkdir(s.path("hooks"), 0o755))
	hook := s.file("hooks/note", "#!/bin/sh\n"+touch+"\n", 0o755)
	ways := map[string]func(command string) *exec.Cmd{
		"--on-file":         func(c string) *exec.Cmd { return s.sudo(s.carve("--on-file", c)...) },
		"PCAPCTL_ON_FILE":   func(c string) *exec.Cmd { return with(s.sudo(s.carve()...), "PCAPCTL_ON_FILE="+c) },
		"--on-file of root": func(c string) *exec.Cmd { return s.program(s.carve("--on-file", c)...) },
		"no-wait": func(c string) *exec.Cmd {
			return s.sudo("create", "--no-wait", "-i", "lo", "--time-limit", "1", "--file-path", s.path("captures/"+randomName()+".cap"), "--on-file", c)
		},
	}
	refused := func(what, says string, cmd *exec.Cmd) {
		t.Helper()
		if o := runCmd(t, cmd); o.code != 3 || s.ran() || !strings.Contains(o.err, says) || !strings.Contains(o.err, s.path("system.yaml")) {
			t.Errorf("%s: %+v", what, o)
		}
	}
	s.file("system.yaml", "policy:\n  on-file: never\n", 0o644)
	for way, command := range ways {
		refused(way, "no command may be run", command(touch))
		refused(way, "no command may be run", command(hook))
	}
	refused("--config", "no command may be run", s.sudo(s.carve("--config", own)...))
	refused("the default configuration", "no command may be run", with(s.program(s.carve()...), "PCAPCTL_CONFIG="+own))
	runCmd(t, s.sudo(s.carve()...)).want(t, 0, "")

	s.file("system.yaml", "policy: {on-file: "+s.path("hooks")+"}\n", 0o644)
	for way, command := range ways {
		for _, line := range []string{touch, hook + " x", hook + ";" + touch, hook + "\n" + touch, s.path("hooks/../own.yaml"), s.path("hooks"), "note", s.path("hooks/$(id)"), "'" + hook + "'"} {
			refused(way+" "+line, "must be the path", command(line))
		}
		refused(way, "not believed", command(s.path("hooks/absent")))
	}
	runCmd(t, s.sudo(s.carve("--on-file", hook)...)).want(t, 0, "")
	if !s.ran() {
		t.Error("a command of the folder has not run")
	}
	must(t, os.Chown(hook, someUser, 0))
	refused("a command of another", "not believed", s.sudo(s.carve("--on-file", hook)...))
	must(t, errors.Join(os.Chown(hook, 0, 0), os.Chmod(s.path("hooks"), 0o777)))
	refused("a folder that others write to", "not believed", s.sudo(s.carve("--on-file", hook)...))

	s.file("system.yaml", "captures-dir: "+s.path("captures")+"\npolicy:\n  fixed: [captures-dir, spool-dir]\n", 0o644)
	for what, cmd := range map[string]*exec.Cmd{
		"--captures-dir":       s.sudo("create", "--read-file", s.path("in.cap"), "--captures-dir", s.path("elsewhere")),
		"PCAPCTL_CAPTURES_DIR": with(s.sudo(s.carve()...), "PCAPCTL_CAPTURES_DIR="+s.path("elsewhere")),
		"--spool-dir":          s.sudo("validate", "--spool-dir", s.path("elsewhere"), "-i", "lo"),
		"--config":             s.sudo(s.carve("--config", own)...),
	} {
		refused(what, "fixes it", cmd)
	}
	runCmd(t, s.sudo(s.carve()...)).want(t, 0, "") // the same value is no other
	var free []string
	for _, e := range s.env {
		if !strings.HasPrefix(e, "PCAPCTL_CAPTURES_DIR=") {
			free = append(free, e)
		}
	}
	s.env = free
	runCmd(t, s.sudo("validate", "-i", "lo", "-n", "x", "--query", "properties.storageLocation.filePath")).want(t, 0, s.path("captures/x.cap"))

	// A policy that cannot be known forbids everything; one in another file is none.
	s.file("system.yaml", "policy: {on-file: never}\n", 0o666)
	runCmd(t, s.sudo(s.carve()...)).want(t, 3, "not believed")
	for text, says := range map[string]string{
		"policy: {on-fail: never}":                 "no such member",
		"policy: {on-file: hooks}":                 "allowed: never",
		"policy: {on-file: [a]}":                   "has no text there",
		"policy: {fixed: on-file}":                 "has no list there",
		"policy: {fixed: [on-fil]}":                "on-file",
		"policy: never":                            "no such member",
		"policy: {fixed: [time-limit-in-seconds]}": "member of the request",
	} {
		s.file("system.yaml", text+"\n", 0o644)
		runCmd(t, s.sudo(s.carve()...)).want(t, 2, says)
	}
	must(t, os.Remove(s.path("system.yaml")))
	runCmd(t, s.program("version", "--config", s.file("other.yaml", "policy: {on-file: never}\n", 0o644))).want(t, 2, "only that of the machine")
}

// What the machine's configuration has in it is not shown to those for whom root
// reads it.
func TestConfigurationOfTheMachineIsNotShown(t *testing.T) {
	t.Parallel()
	s := newSudoers(t)
	s.file("system.yaml", "state-dir: x\n"+secretText+": [ {\n", 0o600)
	o := runCmd(t, s.sudo("version"))
	if o.code != 2 || strings.Contains(o.out+o.err, secretText) || !strings.Contains(o.err, "line ") {
		t.Errorf("%+v", o)
	}
}

// An environment that names no valid user is refused: as whom to go on would be a
// guess.
func TestHostileSudoEnvironment(t *testing.T) {
	t.Parallel()
	s := newSudoers(t)
	for _, id := range []string{"4294967295", "-1", "x", "0x0", "\x1b[31m"} {
		o := runCmd(t, with(s.program("validate", "-f", s.secret), "SUDO_UID="+id, "SUDO_GID=1000"))
		if o.code != 3 || strings.Contains(o.out+o.err, secretText) || strings.Contains(o.err, "\x1b") {
			t.Errorf("%q: %+v", id, o)
		}
	}
}

// procStatus gives lines of /proc/PID/status.
func procStatus(t *testing.T, pid int, names ...string) string {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	var found []string
	for line := range strings.Lines(string(text)) {
		for _, name := range names {
			if strings.HasPrefix(line, name+":") {
				found = append(found, strings.Join(strings.Fields(line), " "))
			}
		}
	}
	return strings.Join(found, "; ")
}

// becomes waits until a process has this status.
func becomes(t *testing.T, pid int, want string, names ...string) {
	t.Helper()
	var got string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
		if got = procStatus(t, pid, names...); got == want {
			return
		}
	}
	t.Errorf("%s, want %s", got, want)
}

const (
	gaveUp  = "Uid: 54321 54321 54321 54321; Gid: 54322 54322 54322 54322; CapPrm: 0000000000000000; CapEff: 0000000000000000"
	lowered = "Uid: 0 54321 0 54321; Gid: 0 54322 0 54322; CapEff: 0000000000000000"
)

// Verbs that only read have given up root when they come to what others have written,
// or to what they print.
func TestReadingVerbsGiveUpRoot(t *testing.T) {
	t.Parallel()
	s := newSudoers(t)
	rights := []string{"Uid", "Gid", "CapPrm", "CapEff"}
	for name, args := range map[string][]string{
		"validate":             {"validate", "-f", "-", "-i", "lo"},
		"validate --filters":   {"validate", "--filters", "@-", "-i", "lo"},
		"validate --read-file": {"validate", "--read-file", "-"},
		"inspect":              {"inspect", "-"},
	} {
		cmd := s.sudo(args...)
		in, err := cmd.StdinPipe()
		must(t, err)
		must(t, cmd.Start())
		becomes(t, cmd.Process.Pid, gaveUp, rights...) // it waits for its input
		must(t, in.Close())
		if err := cmd.Wait(); err == nil {
			t.Errorf("%s: nothing is taken for a request", name)
		}
	}
	for _, args := range [][]string{{"list"}, {"interfaces"}} {
		var ends [2]int
		must(t, unix.Pipe2(ends[:], unix.O_CLOEXEC|unix.O_NONBLOCK))
		for {
			if _, err := unix.Write(ends[1], make([]byte, 4096)); err != nil {
				break // it is full
			}
		}
		must(t, unix.SetNonblock(ends[1], false))
		r, w := os.NewFile(uintptr(ends[0]), "reader"), os.NewFile(uintptr(ends[1]), "writer")
		cmd := s.sudo(args...)
		cmd.Stdout = w
		must(t, cmd.Start())
		_ = w.Close()
		becomes(t, cmd.Process.Pid, gaveUp, rights...) // it waits for the reader
		_, err := io.Copy(io.Discard, r)
		must(t, errors.Join(err, cmd.Wait(), r.Close()))
	}
}

// A capture that is read is read without the rights of root, and the files that are
// made of it are root's.
func TestReadFileGivesUpRoot(t *testing.T) {
	t.Parallel()
	s := newSudoers(t)
	capture, err := os.ReadFile(s.path("in.cap"))
	must(t, err)
	for _, name := range []string{"x.cap", "x.cap.gz", "x.pcapng"} {
		cmd := s.sudo("create", "--read-file", "-", "--file-path", s.path("captures/"+name), "--on-file", "id -u >"+s.path("ran"))
		var errs bytes.Buffer
		cmd.Stderr = &errs
		in, err := cmd.StdinPipe()
		must(t, err)
		must(t, cmd.Start())
		becomes(t, cmd.Process.Pid, lowered, "Uid", "Gid", "CapEff")
		_, err = in.Write(capture[:len(capture)-10]) // its head
		must(t, err)
		for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
			if st, err := os.Stat(s.path("captures/" + name)); err == nil && st.Sys().(*syscall.Stat_t).Uid == 0 {
				break
			}
		}
		becomes(t, cmd.Process.Pid, lowered, "Uid", "Gid", "CapEff") // it has made the file, and waits for the rest
		_, err = in.Write(capture[len(capture)-10:])
		must(t, errors.Join(err, in.Close()))
		if err := cmd.Wait(); err != nil || !strings.Contains(errs.String(), "3 of 3 packets") || strings.Contains(errs.String(), "warning") {
			t.Errorf("%s: %v\n%s", name, err, &errs)
		}
		if !s.ran() {
			t.Errorf("%s: no command for the file", name)
		}
	}
	// What is no capture leaves nothing, also in a folder that is root's.
	cmd := s.sudo("create", "--read-file", "-", "--file-path", s.path("captures/none.cap"))
	cmd.Stdin = strings.NewReader("this is no capture")
	runCmd(t, cmd).want(t, 2, "")
	left, err := filepath.Glob(s.path("captures/none*"))
	must(t, err)
	if left != nil {
		t.Errorf("%q is left", left)
	}
	cmd = s.sudo("create", "--read-file", "-", "--captures-dir", s.path("made/for it"))
	must(t, os.Mkdir(s.path("made"), 0o755))
	cmd.Stdin = strings.NewReader("this is no capture")
	runCmd(t, cmd).want(t, 2, "neither a pcap nor a pcapng file")
	if _, err := os.Stat(s.path("made/for it")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the captures folder was left behind: ", err)
	}
}

// Another process of the same user can neither look into the memory of pcapctl nor
// have it dumped, and a dump that root makes has no secret in it.
func TestMemoryIsKept(t *testing.T) {
	t.Parallel()
	s := newSudoers(t)
	// prlimit(1) of the same package as setpriv: whether there are core dumps here.
	cmd := exec.Command("prlimit", "--core=unlimited", "setpriv", "--reuid", strconv.Itoa(someUser), "--regid", strconv.Itoa(someGroup), "--clear-groups",
		s.path("pcapctl"), "validate", "-f", "-", "-i", "lo")
	cmd.Env, cmd.Dir = with(s.program(), "GOTRACEBACK=crash", "AZURE_STORAGE_KEY="+secretText).Env, s.path("state")
	must(t, os.Chmod(s.path("state"), 0o777))
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	pid := cmd.Process.Pid
	becomes(t, pid, "Name: pcapctl", "Name")
	proc := func(name string) string { return fmt.Sprintf("/proc/%d/%s", pid, name) }
	owner := func() uint32 {
		st, err := os.Stat(proc("environ"))
		must(t, err)
		return st.Sys().(*syscall.Stat_t).Uid
	}
	for deadline := time.Now().Add(10 * time.Second); owner() != 0 && time.Now().Before(deadline); time.Sleep(2 * time.Millisecond) {
	}
	if owner() != 0 {
		t.Error("/proc/PID/environ is the user's: the process can be dumped")
	}
	for _, name := range []string{"environ", "mem", "maps"} {
		look := exec.Command("setpriv", "--reuid", strconv.Itoa(someUser), "--regid", strconv.Itoa(someGroup), "--clear-groups", "head", "-c1", proc(name))
		if out, err := look.CombinedOutput(); err == nil {
			t.Errorf("another process of the user reads %s: %q", name, out)
		}
	}
	filter, err := os.ReadFile(proc("coredump_filter"))
	must(t, err)
	if strings.Trim(string(filter), "0\n") != "" {
		t.Errorf("a dump has memory in it: coredump_filter is %s", filter)
	}
	limits, err := os.ReadFile(proc("limits"))
	must(t, err)
	if !strings.Contains(strings.Join(strings.Fields(string(limits)), " "), "Max core file size 0 unlimited") {
		t.Errorf("the limit of core dumps:\n%s", limits)
	}
	must(t, cmd.Process.Signal(syscall.SIGABRT))
	_ = cmd.Wait()
	_ = in.Close()
	if ws, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || ws.CoreDump() {
		t.Errorf("it left a core dump: %v", cmd.ProcessState)
	}
}
