package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// holdLock is the program `hold-lock FILE`: it takes the lock that a session's
// process has on its lock file, heeds no signal but SIGKILL, and says so. It exists
// only for the tests.
func holdLock() {
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	f, err := os.OpenFile(os.Args[1], os.O_RDWR, 0)
	if err == nil {
		err = unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Len: 1})
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "hold-lock:", err)
		os.Exit(1)
	}
	_, _ = os.Stdout.WriteString("held\n")
	for { // an empty select is a deadlock to the runtime
		time.Sleep(time.Hour)
	}
}

// stranger is a process of a user that holds the lock of a session without being
// its own, until the test ends.
func (h *host) stranger(uid int, session string) *os.Process {
	h.t.Helper()
	t := h.t
	if _, err := os.Lstat(h.path("hold-lock")); err != nil {
		must(t, os.Symlink("pcapctl", h.path("hold-lock")))
	}
	id := strconv.Itoa(uid)
	cmd := exec.Command("setpriv", "--reuid", id, "--regid", id, "--clear-groups", "--", h.path("hold-lock"), h.path("state/"+session+"/lock"))
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	if line, err := bufio.NewReader(out).ReadString('\n'); line != "held\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return cmd.Process
}

func (h *host) alive(p *os.Process) {
	h.t.Helper()
	if err := p.Signal(syscall.Signal(0)); err != nil {
		h.t.Errorf("process %d is gone: %v", p.Pid, err)
	}
}

// The users of the tests, beside root.
const alice, bob = 23001, 23002

// share makes a state folder that everybody may write to, and a folder for the
// files of each user.
func (h *host) share() {
	h.t.Helper()
	must(h.t, os.Mkdir(h.path("state"), 0o700))
	must(h.t, os.Chmod(h.path("state"), 0o777|os.ModeSticky))
	for _, uid := range []int{alice, bob} {
		dir := h.path(strconv.Itoa(uid))
		must(h.t, os.Mkdir(dir, 0o700))
		must(h.t, os.Chown(dir, uid, uid))
	}
}

// createAs makes a session of a user, whose file lies in the user's folder.
func (h *host) createAs(uid int, name string, more ...string) *exec.Cmd {
	dir := h.path(strconv.Itoa(uid))
	return h.as(uid, append([]string{
		"create", "-n", name, "--captures-dir", dir, "--file-path", filepath.Join(dir, name+".cap"), "-i", "v1", "-o", "none",
	}, more...)...)
}

// documentedVerbs is the table of docs/sessions.md: for each command the exit codes
// that its owner, root and another user get.
func documentedVerbs(t *testing.T) map[string][3]int {
	t.Helper()
	text, err := os.ReadFile("../../docs/sessions.md")
	must(t, err)
	_, section, _ := strings.Cut(string(text), "## Sessions of other users")
	code := regexp.MustCompile(`\((\d+)\)$`)
	verbs := map[string][3]int{}
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 || !strings.Contains(cells[2], "(") {
			continue
		}
		var codes [3]int
		for i := range codes {
			m := code.FindStringSubmatch(strings.TrimSpace(cells[2+i]))
			if m == nil {
				t.Fatalf("docs/sessions.md: no exit code in %q", line)
			}
			codes[i], err = strconv.Atoi(m[1])
			must(t, err)
		}
		verbs[strings.TrimSpace(cells[1])] = codes
	}
	return verbs
}

// Every verb on a session, by its owner, root and another user, in a folder that
// they share: each does what the table of docs/sessions.md says, and nobody but the
// owner is shown anything of the session but its name and whose it is.
func TestEveryVerbOnSessionsOfOthers(t *testing.T) {
	h := newHost(t)
	h.share()
	const owner, root, other = 0, 1, 2
	run := func(who int, args ...string) outcome {
		t.Helper()
		switch who {
		case owner:
			return runCmd(t, h.as(alice, args...))
		case root:
			return h.run(args...)
		}
		return runCmd(t, h.as(bob, args...))
	}
	file := func(name string) string { return h.path(strconv.Itoa(alice) + "/" + name + ".cap") }
	create := []string{"create", "--no-wait", "-i", "v1", "--captures-dir", h.path("captures"), "--time-limit", "3600"}
	seen := map[string]bool{}
	documented := documentedVerbs(t)
	for _, test := range []struct {
		verb  string // as in docs/sessions.md
		ended bool   // the session has ended
		args  func(name string) []string
		gone  [3]bool   // the session is gone then
		over  [3]bool   // it has ended then
		says  [3]string // by owner, root, another
	}{
		{verb: "`list`", args: func(string) []string { return []string{"list"} },
			says: [3]string{`"packetCaptureStatus": "Running"`, "NAME (user id 23001)", "NAME (user id 23001)"}},
		{verb: "`show NAME`", args: func(n string) []string { return []string{"show", n} },
			says: [3]string{`"packetCaptureStatus": "Running"`, "belongs to another user (user id 23001)", "belongs to another user (user id 23001)"}},
		{verb: "`show-status NAME`", args: func(n string) []string { return []string{"show-status", n} },
			says: [3]string{`"packetCaptureStatus": "Running"`, "belongs to another user", "belongs to another user"}},
		{verb: "`wait NAME`", ended: true, args: func(n string) []string { return []string{"wait", n} }, over: [3]bool{true, true, true},
			says: [3]string{"NAME has ended", "belongs to another user", "belongs to another user"}},
		{verb: "`wait`", ended: true, args: func(string) []string { return []string{"wait"} }, over: [3]bool{true, true, true},
			says: [3]string{"NAME has ended", "", ""}},
		{verb: "`upload NAME`", ended: true, args: func(n string) []string { return []string{"upload", n} }, over: [3]bool{true, true, true},
			says: [3]string{"was to go to no blob", "belongs to another user", "belongs to another user"}},
		{verb: "`upload FILE`", ended: true, args: func(n string) []string { return []string{"upload", file(n)} }, over: [3]bool{true, true, true},
			says: [3]string{"was to go to no blob", "no session knows", "no session knows"}},
		{verb: "`create` of the name", args: func(n string) []string { return append(create, "-n", n) },
			says: [3]string{`a session \"NAME\" exists`, "of another user (user id 23001) exists", "of another user (user id 23001) exists"}},
		{verb: "`create --if-exists return`", args: func(n string) []string {
			return []string{"create", "--if-exists", "return", "-n", n, "--captures-dir", h.path(strconv.Itoa(alice)), "--file-path", file(n), "-i", "v1"}
		},
			says: [3]string{"exists already, with the same request", "of another user (user id 23001) exists", "of another user (user id 23001) exists"}},
		{verb: "`stop NAME`", args: func(n string) []string { return []string{"stop", n} }, over: [3]bool{true, true, false},
			says: [3]string{"stopped NAME (Manual)", "stopped NAME, a session of another user (user id 23001)", "belongs to another user"}},
		{verb: "`stop --all`", args: func(string) []string { return []string{"stop", "--all"} }, over: [3]bool{true, false, false},
			says: [3]string{"stopped NAME (Manual)", "no session is capturing", "no session is capturing"}},
		{verb: "`delete NAME`", ended: true, args: func(n string) []string { return []string{"delete", n} }, gone: [3]bool{true, true, false}, over: [3]bool{true, true, true},
			says: [3]string{"deleted NAME", "deleted NAME, a session of another user (user id 23001); its record was not read", "belongs to another user"}},
		{verb: "`delete --ended`, `keep-ended`", ended: true, args: func(string) []string { return []string{"delete", "--ended"} }, gone: [3]bool{true, false, false}, over: [3]bool{true, true, true},
			says: [3]string{"deleted NAME", "no session to delete", "no session to delete"}},
		{verb: "completion", args: func(string) []string { return []string{"__complete", "show", ""} },
			says: [3]string{"NAME\tRunning", ":4", ":4"}},
	} {
		codes, ok := documented[test.verb]
		if !ok {
			t.Fatalf("docs/sessions.md does not have %s", test.verb)
		}
		seen[test.verb] = true
		if strings.HasPrefix(test.verb, "`upload") {
			codes[owner] = 2 // this session has no blob; TestBlobKilled sends one
		}
		for who := range 3 {
			t.Run(fmt.Sprint(strings.Trim(test.verb, "`"), "/", [3]string{"owner", "root", "other"}[who]), func(t *testing.T) {
				name := fmt.Sprint("s", len(seen), "x", who)
				runCmd(t, h.createAs(alice, name, "--no-wait")).want(t, 0, "capturing on v1")
				if test.ended {
					run(owner, "stop", name).want(t, 0, "stopped")
				}
				args := test.args(name)
				o := run(who, args...).want(t, codes[who], strings.ReplaceAll(test.says[who], "NAME", name))
				if said := strings.ReplaceAll(o.out+o.err, file(name), ""); who != owner && regexp.MustCompile(`(?i)`+name+`\.cap|Manual|"?packets`).MatchString(said) {
					t.Errorf("told of another's session: %s", said)
				}
				// What it came to.
				if o := run(owner, "show-status", name, "--query", "packetCaptureStatus", "-o", "tsv"); test.gone[who] {
					o.want(t, 4, "no such session")
				} else if test.over[who] {
					o.want(t, 0, "Stopped")
				} else {
					o.want(t, 0, "Running")
				}
				if !test.gone[who] {
					run(owner, "delete", "--stop", name).want(t, 0, "deleted "+name)
				}
				must(t, os.Remove(file(name)))
			})
		}
	}
	for verb := range documented {
		if !seen[verb] {
			t.Errorf("docs/sessions.md has %s, which is not tried here", verb)
		}
	}
}

// Users who share a state folder, each with no privilege but CAP_NET_RAW: one cannot
// stop, read or replace what is another's by hand, and cannot make root do it.
func TestTwoUsers(t *testing.T) {
	h := newHost(t)
	h.share()
	runCmd(t, h.createAs(alice, "Hers", "--no-wait")).want(t, 0, "capturing on v1")
	pid := h.pid("hers")
	for _, attack := range []string{
		"cat state/hers/record.json", "mv state/hers state/mine", "rm -rf state/hers", "rmdir state/hers", ": >state/hers/lock",
		fmt.Sprint("kill ", pid), fmt.Sprint("cat ", alice, "/Hers.cap"),
	} {
		cmd := h.Command("setpriv", "--reuid", strconv.Itoa(bob), "--regid", strconv.Itoa(bob), "--clear-groups", "--inh-caps=-all", "--bounding-set=-all",
			"sh", "-c", attack)
		cmd.Dir = h.dir
		if o := runCmd(t, cmd); o.code == 0 {
			t.Errorf("%s: %+v", attack, o)
		}
	}
	h.trap(bob)
	h.send(50)
	until(t, "alice's session to count", func() bool {
		o := runCmd(t, h.as(alice, "show-status", "hers", "--query", "statistics.packetsCaptured"))
		return strings.TrimSpace(o.out) == "50"
	})
	runCmd(t, h.as(alice, "stop", "hers")).want(t, 0, "stopped Hers (Manual): 50 packets")
	runCmd(t, h.as(alice, "delete", "hers")).want(t, 0, "deleted Hers")
	numbers(t, h.path("23001/Hers.cap"), 50)
}

// trap puts what an enemy may leave in a shared state folder in the way of root: a
// record that names a file of root's and a blob of the enemy's, a pipe in the place
// of a record, links, texts that a terminal obeys, a folder of root's to delete.
func (h *host) trap(uid int) {
	h.t.Helper()
	t := h.t
	victim := h.path("victim")
	must(t, os.WriteFile(victim, []byte("not a whole record"), 0o600))
	text, err := os.ReadFile(h.path("state/hers/record.json"))
	must(t, err)
	record := strings.NewReplacer("Hers", "trap", h.path("23001/Hers.cap"), victim,
		`"storageLocation": {`, `"storageLocation": {"storagePath": "https://bobs.blob.core.windows.net/c/b\u001b[2J\u009b",`).Replace(string(text))
	lay := func(name string, fill func(dir string) error) {
		dir := h.path("state/" + name)
		must(t, os.Mkdir(dir, 0o755))
		must(t, os.WriteFile(filepath.Join(dir, "lock"), nil, 0o600))
		must(t, fill(dir))
		all, err := filepath.Glob(dir + "*/*")
		must(t, err)
		for _, path := range append(all, dir) {
			must(t, os.Lchown(path, uid, uid))
		}
	}
	lay("trap", func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "record.json"), []byte(record), 0o600)
	})
	lay("pipe", func(dir string) error { return syscall.Mkfifo(filepath.Join(dir, "record.json"), 0o666) })
	lay("large", func(dir string) error {
		return os.WriteFile(filepath.Join(dir, "record.json"), make([]byte, 42<<20), 0o600)
	})
	lay("link", func(dir string) error {
		_ = os.Remove(filepath.Join(dir, "lock"))
		must(t, os.Symlink("lock", filepath.Join(dir, "record.json")))
		return os.Link(h.path("state/hers/lock"), filepath.Join(dir, "lock"))
	})
	must(t, os.Lchown(h.path("state/hers/lock"), alice, alice))
	lay("full", func(dir string) error { return nil })
	must(t, os.Mkdir(h.path("state/full/log"), 0o700)) // root's own, which bob has moved there
	must(t, os.WriteFile(h.path("state/full/log/keep"), nil, 0o600))
	must(t, os.Symlink("hers", h.path("state/other")))
	must(t, os.Lchown(h.path("state/other"), uid, uid))

	for _, format := range []string{"json", "yaml", "table", "tsv"} {
		o := h.run("list", "-o", format).want(t, 0, "trap (user id 23002)")
		if strings.Contains(o.out, "trap") || strings.Contains(o.out+o.err, "bobs") || strings.Contains(o.out+o.err, "\x1b") {
			t.Errorf("%s: %+v", format, o)
		}
	}
	for _, verb := range []string{"show", "show-status", "wait", "upload"} {
		for _, name := range []string{"trap", "pipe", "large", "full"} {
			h.run(verb, name).want(t, 3, "belongs to another user (user id 23002)")
		}
	}
	h.run("upload", victim).want(t, 2, "no session knows")
	h.run("stop", "trap").want(t, 0, "trap had already ended, a session of another user")
	h.run("stop", "link").want(t, 3, "not one that pcapctl has made")
	h.run("delete", "link").want(t, 3, "its owner can delete it")
	h.run("show", "other").want(t, 4, "no such session")

	// A process of root's that has been led to lock bob's file, and one of bob's that
	// heeds no signal.
	roots := h.stranger(0, "trap")
	h.run("stop", "trap").want(t, 5, "which is not that of the session's owner alone")
	h.run("delete", "--stop", "trap").want(t, 5, "held by a process that is not its own")
	h.run("stop", "--all").want(t, 0, "no session is capturing")
	h.run("wait").want(t, 0, "")
	h.alive(roots)
	bobs := h.stranger(bob, "pipe")
	h.run("stop", "pipe", "--timeout", "0.2").want(t, 10, "was told to end and has not after 200ms")
	h.run("delete", "--stop", "pipe", "--timeout", "0.2").want(t, 10, "was told to end")
	h.run("delete", "pipe").want(t, 5, "still capturing")
	h.alive(bobs)
	must(t, roots.Kill())
	must(t, bobs.Kill())
	until(t, "the locks to be free", func() bool {
		return strings.Contains(h.run("stop", "pipe", "trap").err, "trap had already ended") && !strings.Contains(h.run("stop", "pipe").err, "stopped")
	})

	h.run("delete", "trap", "pipe", "large").want(t, 0, "deleted pipe, a session of another user (user id 23002)")
	h.run("delete", "full").want(t, 1, "there was more in its folder than pcapctl makes")
	kept, err := filepath.Glob(h.path("state/.old-*/log/keep"))
	must(t, err)
	if len(kept) != 1 {
		t.Error("root was led to remove a file of its own")
	}
	must(t, os.Remove(h.path("state/other")))
	must(t, os.RemoveAll(h.path("state/link")))
	if text, err := os.ReadFile(victim); string(text) != "not a whole record" {
		t.Errorf("%q, %v", text, err)
	}
}

// A lock that another process has than the session's own is no session that runs:
// nothing is sent to that process, and nobody waits for it.
func TestStrangersHoldLocks(t *testing.T) {
	h := newHost(t)
	runCmd(t, h.create("one", "--no-wait", "-o", "none")).want(t, 0, "capturing")
	h.run("stop", "one").want(t, 0, "stopped one")
	p := h.stranger(0, "one")
	for _, args := range [][]string{
		{"stop", "one"}, {"stop", "--all"}, {"wait", "one"}, {"wait"}, {"delete", "one", "--stop"}, {"show", "one"}, {"show-status", "one"},
		{"wait", "one", "--created"}, {"upload", "one"}, {"create", "-n", "one", "--if-exists", "return", "--file-path", h.path("captures/one.cap"), "-i", "v1"},
	} {
		h.run(args...).want(t, 5, "its lock is held by a process that is not its own")
	}
	h.run("list").want(t, 0, "its lock is held by a process that is not its own")
	h.alive(p)
}

// A process that is stopped ends no session: stop is bounded, and says so.
func TestStopIsBounded(t *testing.T) {
	h := newHost(t)
	runCmd(t, h.create("one", "--no-wait", "-o", "none")).want(t, 0, "capturing")
	pid := h.pid("one")
	must(t, syscall.Kill(pid, syscall.SIGSTOP))
	defer func() { _ = syscall.Kill(pid, syscall.SIGCONT) }()
	h.run("stop", "one", "--timeout", "0.2").want(t, 10, "was told to end and has not after 200ms")
	h.run("stop", "--all", "--timeout", "200ms").want(t, 10, "`pcapctl wait one` waits on")
	h.run("delete", "one", "--stop", "--timeout", "0.2").want(t, 10, "was told to end")
	h.run("stop", "one", "--timeout", "never").want(t, 2, "--timeout")
	h.run("delete", "one", "--timeout", "1").want(t, 2, "it goes with --stop only")
	must(t, syscall.Kill(pid, syscall.SIGCONT))
	h.run("wait", "one").want(t, 0, "one has ended (Manual)")
}

// Without its lock file a session is told of in the same words by every verb, and its
// name is free again once it is deleted, which it is not while it captures.
func TestLostLock(t *testing.T) {
	h := newHost(t)
	runCmd(t, h.create("one", "--no-wait", "-o", "none")).want(t, 0, "capturing")
	pid := h.pid("one")
	must(t, os.Remove(h.path("state/one/lock")))
	all := func(says string) {
		t.Helper()
		h.run("list").want(t, 0, says).want(t, 0, `"packetCaptureStatus": "Unknown"`)
		for _, verb := range []string{"show", "show-status", "stop", "wait", "upload"} {
			h.run(verb, "one").want(t, 1, says)
		}
		runCmd(t, h.create("one", "--no-wait", "--if-exists", "return")).want(t, 1, says)
		runCmd(t, h.create("one", "--no-wait")).want(t, 5, "remove that one with `pcapctl delete one`")
	}
	captures := fmt.Sprintf("its lock file is lost, and its process captures still; end it with `kill %d`", pid)
	all(captures)
	h.run("list", "--running").want(t, 0, `"one"`)
	h.run("stop", "--all").want(t, 1, captures)
	h.run("delete", "one").want(t, 1, captures)
	h.run("delete", "one", "--stop").want(t, 1, captures)
	must(t, syscall.Kill(pid, syscall.SIGTERM))
	h.nothingLeft()
	all("its lock file is lost, so that nothing tells how it ended; `pcapctl delete one` forgets it")
	h.run("delete", "one").want(t, 0, "deleted one")
	h.run("show", "one").want(t, 4, "no such session")
	runCmd(t, h.create("one", "--no-wait", "-o", "none", "--file-path", h.path("captures/two.cap"))).want(t, 0, "capturing")

	// A folder of somebody's is not a session, and is left alone.
	must(t, os.MkdirAll(h.path("state/photos/mine"), 0o700))
	for _, verb := range []string{"show", "stop", "wait", "delete"} {
		h.run(verb, "photos").want(t, 4, "is not the folder of one")
	}
	runCmd(t, h.create("photos", "--no-wait")).want(t, 5, "which is not the folder of a session")
	if o := h.run("list").want(t, 0, `"one"`); strings.Contains(o.out+o.err, "photos") {
		t.Errorf("%+v", o)
	}
	if _, err := os.Lstat(h.path("state/photos/mine")); err != nil {
		t.Error(err)
	}
}

// A state folder in which others could exchange what is there is refused by all
// verbs, as it is by create: root must not act on what it finds there.
func TestStateFolderOfOthersIsNotRead(t *testing.T) {
	h := newHost(t)
	runCmd(t, h.create("one", "--no-wait", "-o", "none")).want(t, 0, "capturing")
	for _, test := range []struct {
		open, close func() error
		says        string
	}{
		{func() error { return os.Chmod(h.path("state"), 0o777) }, func() error { return os.Chmod(h.path("state"), 0o700) }, "others than its owner may change the state folder"},
		{func() error { return os.Chown(h.path("state"), bob, bob) }, func() error { return os.Chown(h.path("state"), 0, 0) }, "belongs to another user (user id 23002)"},
	} {
		must(t, test.open())
		for _, args := range [][]string{{"list"}, {"show", "one"}, {"show-status", "one"}, {"stop", "one"}, {"stop", "--all"}, {"wait"}, {"delete", "one"}, {"upload", "one"}} {
			h.run(args...).want(t, 3, test.says)
		}
		must(t, test.close())
	}
	// The same of the session's own folder.
	must(t, os.Chmod(h.path("state/one"), 0o770))
	h.run("list").want(t, 0, "others than its owner may change what is in")
	for _, verb := range []string{"show", "stop", "wait", "delete"} {
		h.run(verb, "one").want(t, 3, "chmod go-w")
	}
	must(t, os.Chmod(h.path("state/one"), 0o700))
	h.run("stop", "one").want(t, 0, "stopped one")
}
